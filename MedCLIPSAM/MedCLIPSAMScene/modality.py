"""What kind of image a volume is, where it was loaded from DICOM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import slicer


def withModality(settings: Mapping[str, Any] | None, volumeNode) -> Mapping[str, Any] | None:
    """Add the modality of a volume to changes of the model's settings, where it is known and they name none."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(volumeNode) if hierarchy else 0
    if not item:
        return settings
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    modality = hierarchy.GetItemAttribute(item, name)
    return {"modality": modality} | dict(settings or {}) if modality else settings
