"""Protection of the user's slices of a segment: those edited by hand since the models wrote them, and locked ones.

Both are stored as tags of the segment, so that they are undone, saved and loaded with it. For slices that the models
wrote, the tag holds a checksum per slice; a slice with another checksum has been edited.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from MedCLIPSAMLib.errors import InputError

from . import segments, segmentTags
from .labelmaps import geometryOf, geometryText, labelmapOf
from .sliceGeometry import SceneSlices, extentOf, ijkToRAS, isSameGrid, placementOf
from .sliceMasks import EMPTY, SliceMasks, checkSlab
from .strings import _

WRITTEN_TAG = "MedCLIPSAM.Written"
LOCKED_TAG = "MedCLIPSAM.Locked"
WRITTEN_ON_TAG, LOCKED_ON_TAG = "MedCLIPSAM.WrittenOn", "MedCLIPSAM.LockedOn"
"""Tags for the volume that the slice numbers refer to, its voxel grid, and the segment's grid then; see `_gridsOf`."""
ALL = "all"
PLANES = ("axial", "coronal", "sagittal")
_NUMBER = re.compile("[0-9]{1,6}")
_CHECKED = re.compile("([0-9]{1,6})=([0-9a-f]{1,8})")
"""Formats in the tags; other content, which a scene or a .seg.nrrd file of other origin may have, is ignored."""


class Everything:
    """The set of slices of a locked segment, which contains every number."""

    def __contains__(self, _number: object) -> bool:
        return True

    def __iter__(self):
        return iter(())


EVERYTHING, ELSEWHERE = Everything(), Everything()
"""EVERYTHING: the segment is locked. ELSEWHERE: slices are locked on another voxel grid, and therefore here all are."""


def written(segmentationNode, segmentId: str, slices: SceneSlices) -> dict[int, str] | None:
    """Read the checksums of slices as the models wrote them, by slice number; empty if the models never wrote any.

    None if they last wrote along another plane or on another voxel grid, which has other slices.
    """
    plane, *pairs = segmentTags.tag(segmentationNode, segmentId, WRITTEN_TAG).split() or [""]
    if plane not in PLANES:
        return {}
    if plane != slices.plane or not _isOn(segmentationNode, segmentId, WRITTEN_ON_TAG, slices.volumeNode):
        return None
    found = (_CHECKED.fullmatch(pair) for pair in pairs)
    return {int(pair[1]): pair[2] for pair in found if pair}


def recordWritten(segmentationNode, segmentId: str, slices: SceneSlices, checks: Mapping[int, str]) -> None:
    """Store checksums of the slices that the models have just written, and keep those of other slices of the plane."""
    notes = written(segmentationNode, segmentId, slices) or {}
    _storeWritten(segmentationNode, segmentId, slices, {**notes, **checks})


def forgetWritten(segmentationNode, segmentId: str, slices: SceneSlices, numbers: Iterable[int]) -> None:
    """Mark these slices as the user's.

    If the models last wrote along another plane or on another voxel grid, nothing has to be stored, because the
    checksums of the slices there no longer match.
    """
    notes = written(segmentationNode, segmentId, slices)
    if notes is not None:
        _storeWritten(segmentationNode, segmentId, slices, {k: notes[k] for k in notes if k not in {*numbers}})


def _storeWritten(segmentationNode, segmentId: str, slices: SceneSlices, notes: Mapping[int, str]) -> None:
    text = " ".join([slices.plane, *(f"{k}={notes[k]}" for k in sorted(notes))])
    grids = _gridsOf(segmentationNode, segmentId, slices.volumeNode)
    segmentTags.setTags(segmentationNode, segmentId, {WRITTEN_TAG: text, WRITTEN_ON_TAG: grids})


def own(segmentationNode, segmentId: str, slices: SceneSlices) -> dict[int, np.ndarray]:
    """Read the user's slices of a segment, bool (H, W) by slice number: edited, painted, or locked.

    An empty slice among them was erased by the user, or locked while it was empty.
    """
    notes = written(segmentationNode, segmentId, slices) or {}
    keep = locked(segmentationNode, segmentId, slices.plane, slices.volumeNode)
    used = segments.usedSlices(segmentationNode, segmentId, slices)
    numbers = [k for k in {*used, *notes, *keep} if k < len(slices)]
    changed = [
        k
        for k, slab in segments.readSlabs(segmentationNode, segmentId, slices, numbers)
        if k in keep or checkSlab(slab) != notes.get(k, EMPTY)
    ]
    return segments.readSlices(segmentationNode, segmentId, slices, sorted(changed))


def locked(segmentationNode, segmentId: str, plane: str, volumeNode) -> set[int] | Everything:
    """Return the locked slices of a volume along a plane; `EVERYTHING` or `ELSEWHERE` if the segment is locked."""
    byPlane = _lockedByPlane(segmentationNode, segmentId, volumeNode)
    return byPlane if isinstance(byPlane, Everything) else byPlane.get(plane, set())


def setLocked(segmentationNode, segmentId: str, plane: str, value: set[int] | Everything, volumeNode) -> None:
    """Lock these slices of a volume instead of those locked before in the plane, or `EVERYTHING`.

    An empty set unlocks.
    """
    byPlane, grids = _lockedByPlane(segmentationNode, segmentId, volumeNode), ""
    if isinstance(value, Everything):
        text = ALL
    else:
        others = {} if isinstance(byPlane, Everything) else byPlane
        text = "; ".join(
            " ".join([name, *map(str, sorted(numbers))])
            for name, numbers in {**others, plane: value}.items()
            if numbers
        )
        grids = _gridsOf(segmentationNode, segmentId, volumeNode) if text else ""
    segmentTags.setTags(segmentationNode, segmentId, {LOCKED_TAG: text, LOCKED_ON_TAG: grids})


def dropLocked(segmentationNode, segmentId: str, masks: SliceMasks) -> int:
    """Drop the locked slices of a segment from masks, and return their number."""
    keep = locked(segmentationNode, segmentId, masks.slices.plane, masks.slices.volumeNode)
    count = sum(k in keep for k in masks.checks)
    masks.drop(keep)
    return count


def countCorrected(segmentationNode, segmentId: str, masks: SliceMasks) -> int | None:
    """Count the slices that were corrected since the models wrote them, and that the masks would change.

    A segment that the models never wrote is entirely the user's. If the models last wrote along another plane or on
    another grid, corrections are not known by slice; the result is then None if the masks would change any slice.
    """
    slices, notes = masks.slices, written(segmentationNode, segmentId, masks.slices)
    numbers = masks.checks.keys() & {*segments.usedSlices(segmentationNode, segmentId, slices), *(notes or ())}
    present = segments.readSlabs(segmentationNode, segmentId, slices, numbers)
    count = sum(checkSlab(slab) not in ((notes or {}).get(k, EMPTY), masks.checks[k]) for k, slab in present)
    return count if notes is not None or not count else None


def writeUnlocked(segmentationNode, segmentId: str, masks: SliceMasks) -> None:
    """Replace a segment on the slices of masks, except on locked slices of this plane and of others."""
    dropLocked(segmentationNode, segmentId, masks)
    kept = lockedElsewhere(segmentationNode, segmentId, masks.slices)
    segments.writeSlices(segmentationNode, segmentId, masks, kept)
    if kept is not None:
        takeChecks(segmentationNode, segmentId, masks)


def takeChecks(segmentationNode, segmentId: str, masks: SliceMasks) -> None:
    """Replace the checksums of masks by those of the segment, so that kept voxels do not count as corrections later."""
    written = segments.readSlabs(segmentationNode, segmentId, masks.slices, list(masks.checks))
    masks.checks |= {k: checkSlab(slab) for k, slab in written}


def lockedElsewhere(segmentationNode, segmentId: str, slices: SceneSlices) -> np.ndarray | None:
    """Return which voxels are on locked slices of other planes, (K, J, I) bool; None if there are none."""
    byPlane = _lockedByPlane(segmentationNode, segmentId, slices.volumeNode)
    kept = None
    for plane, numbers in ({} if isinstance(byPlane, Everything) else byPlane).items():
        if plane != slices.plane and numbers:
            stack = SceneSlices(slices.volumeNode, plane).stack
            kept = np.zeros(stack.volume.shape, bool) if kept is None else kept
            places = [stack.source_index(k) for k in numbers if k < len(stack)]
            np.moveaxis(kept, "KJI".index(stack.source_axis), 0)[places] = True
    return kept


def planeOf(segmentationNode, segmentId: str) -> str | None:
    """Return the plane of the slices that the models last wrote, or None."""
    plane, *_pairs = segmentTags.tag(segmentationNode, segmentId, WRITTEN_TAG).split() or [""]
    return plane if plane in PLANES else None


def _lockedByPlane(segmentationNode, segmentId: str, volumeNode) -> dict[str, set[int]] | Everything:
    value = segmentTags.tag(segmentationNode, segmentId, LOCKED_TAG)
    if value == ALL:
        return EVERYTHING
    parts = [part.split() for part in value.split(";") if part.strip()]
    if parts and not _isOn(segmentationNode, segmentId, LOCKED_ON_TAG, volumeNode):
        return ELSEWHERE
    return {plane: {int(k) for k in numbers if _NUMBER.fullmatch(k)} for plane, *numbers in parts if plane in PLANES}


def _isOn(segmentationNode, segmentId: str, tag: str, volumeNode) -> bool:
    """Return whether the grid in a tag is that of a volume; true if the tag of an earlier version has no grid.

    If a transform was hardened on the volume and the segmentation, both grids have moved, and count as the same. A
    segment that was resampled to another volume has not moved.
    """
    text, volumeId, ofSegment = [*segmentTags.tag(segmentationNode, segmentId, tag).split(), "", "", ""][:3]
    grid, before = geometryOf(text), geometryOf(ofSegment)
    if grid is None:
        return True
    matrices, own = [grid[0]], labelmapOf(segmentationNode, segmentId)
    if volumeId == volumeNode.GetID() and before is not None and own is not None:
        matrices.append(own[1] @ np.linalg.pinv(before[0]) @ grid[0])
    return any(isSameGrid((grid[1], matrix, None), placementOf(volumeNode)) for matrix in matrices)


def _gridsOf(segmentationNode, segmentId: str, volumeNode) -> str:
    """Return as text, for `_isOn`, the voxel grid and ID of a volume, and the grid of a segment if it has voxels."""
    own = labelmapOf(segmentationNode, segmentId)
    ofSegment = geometryText(own[1], own[0].GetExtent()) if own is not None else ""
    return f"{geometryText(ijkToRAS(volumeNode), extentOf(volumeNode))} {volumeNode.GetID()} {ofSegment}"


def requireUnlocked(segmentationNode, segmentId: str, plane: str, numbers: Iterable[int], volumeNode) -> None:
    """Refuse to change a locked segment or a locked slice of it.

    Raises:
        InputError: the segment or a slice is locked, or there is no such segment.
    """
    keep = locked(segmentationNode, segmentId, plane, volumeNode)
    name = segments.nameOf(segmentationNode, segmentId)
    if keep is EVERYTHING:
        raise InputError(_("The segment '{name}' is locked.").format(name=name), _("Unlock it to change it."))
    if keep is ELSEWHERE:
        raise InputError(
            _("Slices of '{name}' were locked on a volume with another voxel grid.").format(name=name),
            _("Choose that volume, or unlock the segment to change it."),
        )
    hit = [k for k in sorted(numbers) if k in keep]
    if hit:
        raise InputError(
            _("Slice {k} of '{name}' is locked.").format(k=hit[0], name=name), _("Unlock the slice to change it.")
        )


def requireUnchanged(segmentationNode, segmentId: str, slices: SceneSlices, before: Mapping[int, np.ndarray]) -> None:
    """Refuse to replace a segment on slices that the user has changed or undone since the run began.

    Args:
        before: the masks at the beginning of the run, (H, W) bool by slice number.

    Raises:
        InputError: a mask has changed, or there is no such segment.
    """
    name = segments.nameOf(segmentationNode, segmentId)
    for k, mask in segments.readSlices(segmentationNode, segmentId, slices, list(before)).items():
        if not np.array_equal(mask, before[k]):
            raise InputError(
                _("Slice {k} of '{name}' was changed meanwhile.").format(k=k, name=name),
                _("Nothing was written: start again, from the slice as it is now."),
            )
