"""The modality of a volume that was loaded from DICOM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import slicer

UPTAKE = "126400"
"""DICOM code (DCM) of standardized uptake values, which Slicer's PET import assigns to volumes."""


def withModality(settings: Mapping[str, Any] | None, volumeNode) -> Mapping[str, Any] | None:
    """Add the modality of a volume, if it is known, to changes of the model's settings that name none."""
    modality = _modalityOf(volumeNode)
    return {"modality": modality} | dict(settings or {}) if modality else settings


def isPET(volumeNode) -> bool:
    """Return whether a volume is known to be a PET image."""
    quantity = getattr(volumeNode, "GetVoxelValueQuantity", lambda: None)()
    return _modalityOf(volumeNode) == "PT" or (quantity is not None and quantity.GetCodeValue() == UPTAKE)


def _modalityOf(volumeNode) -> str:
    """Return the modality of a volume that was loaded from DICOM; empty if it is not known."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(volumeNode) if hierarchy else 0
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    return hierarchy.GetItemAttribute(item, name) if item else ""
