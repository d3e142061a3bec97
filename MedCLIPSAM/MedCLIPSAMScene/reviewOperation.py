"""Review the least sure cases of an ensemble: open one in the scene, and save its correction as a trusted label."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.export.cases import check_case
from MedCLIPSAMLib.export.image_names import find_image
from MedCLIPSAMLib.nnunet.ranking import dataset_of, mask_file, rank_records, uncertainty_file
from MedCLIPSAMLib.nnunet.raw_dataset import read_dataset
from MedCLIPSAMLib.nnunet.trust import trust, trusted_cases
from MedCLIPSAMLib.volumes import Volume, read_segmentation, read_volume
from MedCLIPSAMLib.volumes.read import read_image
from MedCLIPSAMLib.volumes.slices import SliceStack

from . import overlay, segments
from .removal import removedOnError, removeNode
from .sliceGeometry import RAS_TO_LPS, Placement, ijkToRAS, placementOf, requirePlacement, transformToWorld
from .strings import _


@dataclass(frozen=True)
class ReviewCase:
    """A predicted case.

    Args:
        case: name of the case.
        uncertainty: 0 (certain) to 1; None if the prediction failed.
        trusted: whether a person has reviewed its label in the dataset.
        problem: why the prediction failed.
    """

    case: str
    uncertainty: float | None
    trusted: bool
    problem: str = ""


@dataclass(frozen=True)
class OpenCase:
    """A case in the scene.

    Args:
        case: name of the case.
        predictions: folder of predictions that it was opened from.
        dataset: dataset that the correction goes into.
        image: file of its image, or folder of its series.
        volume, segmentation: nodes of the case.
        placement: placement of the volume when it was opened.
        series: UID of its DICOM series, or None.
    """

    case: str
    predictions: Path
    dataset: Path
    image: Path
    volume: Any
    segmentation: Any
    placement: Placement
    series: str | None = None


class ReviewOperation:
    """Review of a folder written by `medclipsam weak predict`. The files must be accessible on this machine."""

    def cases(self, folder: str, dataset: str = "") -> list[ReviewCase]:
        """List the predicted cases, the least sure first.

        Args:
            dataset: dataset for corrections; by default the one that was named for the prediction.

        Raises:
            InputError: the folder holds no predictions.
        """
        target = Path(dataset) if dataset else dataset_of(Path(folder))
        trusted = trusted_cases(target) if target else set()
        return [
            ReviewCase(record["case"], record.get("uncertainty"), record["case"] in trusted, record.get("problem", ""))
            for record in rank_records(Path(folder))
        ]

    def open(self, folder: str, case: str, dataset: str = "") -> OpenCase:
        """Add a case to the scene: its image, its masks to be corrected, and an uncertainty map.

        The masks are the predicted ones, or for a trusted case those of its label in the dataset.

        Raises:
            InputError: there is no such case or no dataset, or a file is missing.
        """
        check_case(case)  # it comes from a file, and names of other files are made from it
        root = Path(folder)
        target = Path(dataset) if dataset else dataset_of(root)
        if target is None:
            raise InputError(
                _("The predictions in '{folder}' belong to no dataset.").format(folder=folder),
                _("Choose the dataset that corrections go into."),
            )
        raw = read_dataset(target)
        record = next((record for record in rank_records(root) if record["case"] == case), None)
        if record is None:
            raise InputError(_("'{folder}' has no case '{case}'.").format(folder=folder, case=case))
        image = raw.image(case) if case in raw.cases else find_image(root, record)
        series = None if case in raw.cases else record.get("series")
        source = read_volume(image, series)
        labels = [raw.labels[number] for number in sorted(raw.labels)]
        masks = dict.fromkeys(labels, np.zeros(source.shape, bool))
        if case in trusted_cases(target):
            values = _onGrid(raw.label(case), source)
            masks = {raw.labels[number]: values == number for number in sorted(raw.labels)}
        elif (root / mask_file(case)).is_file():
            masks |= {segment.name: segment.mask for segment in read_segmentation(root / mask_file(case), source)}
        unsure = root / uncertainty_file(case)
        uncertainty = _onGrid(unsure, source) if unsure.is_file() else None
        with removedOnError():
            volume = _addVolume(source, case)
            segmentation = segments.newSegmentation(volume, _("{case} reviewed").format(case=case))
            for label in labels:
                identifier = segments.addSegment(segmentation, label)
                if masks[label].any():
                    segments.writeMask(segmentation, identifier, masks[label], ijkToRAS(volume))
            if uncertainty is not None:
                overlay.writeUncertainty(volume, uncertainty)
        return OpenCase(case, root, target, image, volume, segmentation, placementOf(volume), series)

    def save(self, opened: OpenCase) -> int:
        """Write the segments of an opened case into its dataset as a trusted label, with their names as labels.

        Returns:
            The number of trusted cases in the dataset.

        Raises:
            InputError, OutputError: see `nnunet.trust.trust`; nothing was changed.
        """
        return trust(opened.dataset, opened.case, self.masks(opened), read_volume(opened.image, opened.series))

    def masks(self, opened: OpenCase) -> dict[str, np.ndarray]:
        """Read the current masks of an opened case, (K, J, I) bool by the names of the segments.

        Raises:
            InputError: the case is no longer in the scene, was moved or transformed, or two segments share a name.
        """
        self.requireInPlace(opened)
        segments.requireFit(opened.segmentation, opened.volume)
        shape = slicer.util.arrayFromVolume(opened.volume).shape[:3]
        segmentation = opened.segmentation.GetSegmentation()
        masks: dict[str, np.ndarray] = {}
        for index in range(segmentation.GetNumberOfSegments()):
            identifier, name = segmentation.GetNthSegmentID(index), segmentation.GetNthSegment(index).GetName()
            if name in masks:
                raise InputError(
                    _("Two segments are named '{name}'.").format(name=name), _("Merge them, or rename one.")
                )
            masks[name] = segments.readMask(opened.segmentation, identifier, shape, ijkToRAS(opened.volume))
        return masks

    def requireInPlace(self, opened: OpenCase) -> None:
        """Check that an opened case is still in the scene and its volume was not moved.

        Raises:
            InputError: the case was removed, or its volume was moved.
        """
        if not all(slicer.mrmlScene.IsNodePresent(node) for node in (opened.volume, opened.segmentation)):
            raise InputError(_("'{case}' is no longer in the scene.").format(case=opened.case), _("Open it again."))
        requirePlacement(opened.volume, opened.placement, _("put it back, or open the case again"))

    def close(self, opened: OpenCase) -> None:
        """Remove a case from the scene."""
        uncertain = overlay.mapOf(opened.volume, overlay.UNCERTAINTY)
        for node in (uncertain, opened.segmentation, opened.volume):
            if node is not None and slicer.mrmlScene.IsNodePresent(node):
                removeNode(node)

    def mostUncertain(self, volumeNode) -> np.ndarray | None:
        """Find the center of uncertainty, world RAS in mm, on the most uncertain slice along K; None without any."""
        node = overlay.mapOf(volumeNode, overlay.UNCERTAINTY)
        if node is None:
            return None
        values = slicer.util.arrayFromVolume(node).astype(float)
        k = int(values.sum((1, 2)).argmax())
        if not values[k].any():
            return None
        rows, columns = np.indices(values[k].shape)
        j, i = (float((values[k] * indices).sum() / values[k].sum()) for indices in (rows, columns))
        return (transformToWorld(node) @ ijkToRAS(node) @ (i, j, k, 1))[:3]


def _onGrid(path: Path, volume: Volume) -> np.ndarray:
    """Read the voxels of a file on the grid of a volume, (K, J, I)."""
    import SimpleITK as sitk

    image = read_image(path)
    if image.GetSize() != volume.shape[::-1]:
        raise InputError(
            _("'{path}' does not have the size of its image.").format(path=path), _("Predict the images again.")
        )
    return sitk.GetArrayFromImage(image)


def _addVolume(source: Volume, name: str):
    """Add a volume node with the voxels, geometry and display window of a volume."""
    kind = "vtkMRMLVectorVolumeNode" if source.is_rgb else "vtkMRMLScalarVolumeNode"
    node = slicer.mrmlScene.AddNewNodeByClass(kind, name)
    slicer.util.updateVolumeFromArray(node, _inTypeOfVtk(source.array))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(RAS_TO_LPS @ source.geometry.affine))
    node.CreateDefaultDisplayNodes()
    if not source.is_rgb:
        low, high = SliceStack(source).window
        node.GetDisplayNode().SetAutoWindowLevel(False)
        node.GetDisplayNode().SetWindowLevelMinMax(low, high)
    return node


def _inTypeOfVtk(array: np.ndarray) -> np.ndarray:
    """Convert 64-bit integers, which Slicer's histograms and views do not support, to 32 bits or float64."""
    if array.dtype.kind not in "iu" or array.dtype.itemsize < 8:
        return array
    limits = np.iinfo(np.int32)
    fits = not array.size or (int(array.min()) >= limits.min and int(array.max()) <= limits.max)
    return array.astype(np.int32 if fits else np.float64)
