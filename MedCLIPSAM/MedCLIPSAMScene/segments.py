"""Segments of the scene: writing and reading masks of slices on the grid of a volume."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes.terminology import color_for, terminology_for

from .labelmaps import (
    ADD,
    BINARY,
    CLEAR,
    REPLACE,
    commonGrid,
    merge,
    orientedImage,
    referenceGeometry,
    requireGrid,
    resampled,
    usedExtent,
)
from .segmentTags import ITEM_TAG, MARKED_TAG, PROMPT_TAG, setTags, tags, tagText
from .sequences import Item
from .sliceGeometry import SceneSlices, extentOf, ijkToRAS
from .sliceMasks import SliceMasks, around, cut, shapeOf, within
from .strings import _, nodeName


def newSegmentation(volumeNode, name: str | None = None):
    """Add a segmentation with a volume's geometry, under its transform and next to it in the subject hierarchy."""
    name = nodeName(name or _segmentationName(volumeNode))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    takeGeometry(node, volumeNode)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    if hierarchy:
        beside, root = hierarchy.GetItemByDataNode(volumeNode), hierarchy.GetSceneItemID()
        item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(root, node)
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(beside) if beside else root)
    return node


def requireFit(segmentationNode, volumeNode) -> None:
    """Check that masks of a volume can be written into a segmentation.

    Raises:
        InputError: the node is not a segmentation, its segments are not label maps, or they are under another transform
            than the volume and would move.
    """
    requireSegmentation(segmentationNode)
    requireLabelmaps(segmentationNode)
    hasSegments = segmentationNode.GetSegmentation().GetNumberOfSegments() > 0
    if hasSegments and segmentationNode.GetTransformNodeID() != volumeNode.GetTransformNodeID():
        raise InputError(
            _("The segmentation '{segmentation}' and the volume '{volume}' are under different transforms.").format(
                segmentation=segmentationNode.GetName(), volume=volumeNode.GetName()
            ),
            _("Put both under the same one in the Transforms module, or choose another segmentation."),
        )


def requireSegmentation(segmentationNode) -> None:
    """Check that a node is a segmentation.

    Raises:
        InputError: it is None or another object.
    """
    if segmentationNode is None:
        raise InputError(_("No segmentation was chosen."), _("Choose one, or segment with a prompt first."))
    if not isinstance(segmentationNode, slicer.vtkMRMLSegmentationNode):
        raise InputError(
            _("Expected a segmentation node, got {value!r}.").format(value=segmentationNode),
            _("Give the node itself: slicer.util.getNode finds it by its name."),
        )


def requireItemOf(segmentationNode, segmentId: str, item: Item | None) -> None:
    """Check that a segment does not belong to another item of a sequence than the one that a volume shows.

    Args:
        item: item that the volume shows; None if it is not in a sequence, which allows any segment.

    Raises:
        InputError: the segment belongs to another item.
    """
    segment = requireSegment(segmentationNode, segmentId)
    own = tags(segment).get(ITEM_TAG, "")
    if item is not None and own and own != tagText(item.value):
        raise InputError(
            _("The segment '{name}' belongs to another item of the sequence than the one shown.").format(
                name=segment.GetName()
            ),
            _("Show that item, or choose another segment."),
        )


def segmentIdOf(segmentationNode, segment: str) -> str:
    """Return the id of a segment that a script has given by its id or its name.

    Raises:
        InputError: there is no such segment, or several have this name.
    """
    requireSegmentation(segmentationNode)
    segmentation = segmentationNode.GetSegmentation()
    names = {one: segmentation.GetSegment(one).GetName() for one in segmentation.GetSegmentIDs()}
    found = [segment] if segment in names else [one for one, name in names.items() if name == segment]
    if len(found) != 1:
        text = _("'{node}' has several segments named '{name}'.") if found else _("'{node}' has no segment '{name}'.")
        raise InputError(
            text.format(node=segmentationNode.GetName(), name=segment),
            _("Give the name or ID of one of its segments: {segments}.").format(
                segments=", ".join(f"{name} ({one})" for one, name in names.items()) or _("there is none")
            ),
        )
    return found[0]


def requireLabelmaps(segmentationNode) -> None:
    """Check that the segments of a segmentation are stored as label maps.

    Others are not converted automatically: a conversion loses details and drops the original representation, and cannot
    be undone.

    Raises:
        InputError: they are stored as surfaces or contours.
    """
    segmentation = segmentationNode.GetSegmentation()
    kind = segmentation.GetSourceRepresentationName()
    if segmentation.GetNumberOfSegments() and kind != BINARY:
        raise InputError(
            _("The segments of '{name}' are stored as '{kind}', not as label maps.").format(
                name=segmentationNode.GetName(), kind=kind
            ),
            _(
                "Convert them first (Segmentations module, Representations: create 'Binary labelmap', then 'Make "
                "source'), or choose another segmentation."
            ),
        )


def takeGeometry(segmentationNode, volumeNode) -> None:
    """Put an empty segmentation under a volume's transform, and on its voxel grid unless it has a finer one.

    With a grid chosen for another volume, voxels could be lost when Slicer edits or saves the segments. The transform
    is set first, because Slicer compares grids across transforms.
    """
    segmentation = segmentationNode.GetSegmentation()
    if segmentation.GetNumberOfSegments() == 0:
        segmentationNode.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
        geometry, matrix = referenceGeometry(segmentationNode), ijkToRAS(volumeNode)
        if geometry is None or commonGrid(*geometry, matrix, extentOf(volumeNode)) is not geometry[0]:
            segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)


def segmentsOfPrompt(segmentationNode, prompt: str, item: str = "") -> list[str]:
    """Return the ids of the segments with an earlier result of the prompt, ignoring case and blanks.

    They include segments that were made from a point or a box while the prompt was in the panel.

    Args:
        item: index value of an item of a sequence; segments of other items are left out.
    """
    words, item, found = tagText(prompt).lower().split(), tagText(item), []
    segmentation = segmentationNode.GetSegmentation()
    for index in range(segmentation.GetNumberOfSegments()):
        known = tags(segmentation.GetNthSegment(index))
        if (
            known.get(PROMPT_TAG, known.get(MARKED_TAG, "")).lower().split() == words
            and known.get(ITEM_TAG, "") == item
        ):
            found.append(segmentation.GetNthSegmentID(index))
    return found


def isCompleted(segmentationNode, segmentId: str) -> bool:
    """Return whether the user has set the status of a segment to Completed."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    return logic.GetSegmentStatus(requireSegment(segmentationNode, segmentId)) == logic.Completed


def nameOf(segmentationNode, segmentId: str) -> str:
    """Return the name of a segment."""
    return requireSegment(segmentationNode, segmentId).GetName()


def requireSegment(segmentationNode, segmentId: str):
    """Return a segment by its id.

    Raises:
        InputError: the segment was removed.
    """
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    if segment is None:
        raise InputError(_("The segment was removed meanwhile."), _("Choose another one."))
    return segment


def addSegment(segmentationNode, name: str, item: Item | None = None) -> str:
    """Add an empty segment with color and terminology according to the words of its name, and return its id.

    Args:
        item: item of a sequence that the segment belongs to.

    Raises:
        InputError: see `requireLabelmaps`.
    """
    requireLabelmaps(segmentationNode)
    segment = slicer.vtkSegment()
    segment.SetName(_("{prompt}, item {number}").format(prompt=name, number=item.number) if item else name)
    segment.SetColor(*color_for(name))
    segment.SetTerminology(terminology_for(name).entry())
    segmentation, kinds = segmentationNode.GetSegmentation(), list[str]()
    if segmentation.GetNumberOfSegments() == 0:
        segmentation.SetSourceRepresentationName(BINARY)
    segmentation.GetContainedRepresentationNames(kinds)
    factory = slicer.vtkSegmentationConverterFactory.GetInstance()
    for kind in kinds or [BINARY]:  # including the surfaces of other segments, which Slicer cannot make of nothing
        made = factory.ConstructRepresentationObjectByRepresentation(kind)
        if made is not None:  # None for contours, if the extension for them is not installed
            segment.AddRepresentation(kind, made)
            made.UnRegister(None)
    # Slicer writes identifiers into the scene's file without escaping: with "&", "<" or '"' it cannot be loaded.
    identifier = segmentation.GenerateUniqueSegmentID(re.sub(r"[^\w -]", "_", name))
    if not segmentation.AddSegment(segment, identifier):
        raise RuntimeError(f"the segment '{name}' could not be added to '{segmentationNode.GetName()}'")
    if item:
        setTags(segmentationNode, identifier, {ITEM_TAG: item.value})
    return identifier


def writeSlices(segmentationNode, segmentId: str, masks: SliceMasks, kept: np.ndarray | None = None) -> None:
    """Replace a segment on the slices of masks; its other slices and the other segments are not changed.

    A segment on another voxel grid stays on it if that is finer than the grid of the masks' volume; see `requireGrid`.

    Args:
        kept: (K, J, I) bool, voxels of the masks' volume on which the segment is not changed either.
    """
    if not masks.checks:
        return
    segmentation = segmentationNode.GetSegmentation()
    # A mask merged into a shared label map may end up in another segment of that map.
    sharing: list[str] = []
    segmentation.GetSegmentIDsSharingBinaryLabelmapRepresentation(segmentId, sharing, False)
    if sharing:
        segmentation.SeparateSegmentLabelmap(segmentId)
    matrix = masks.slices.ijkToRAS
    grid = requireGrid(segmentationNode, segmentId, matrix, extentOf(masks.slices.volumeNode))
    same, toGrid = grid is matrix, np.linalg.inv(grid) @ matrix
    for covered, block, corner in masks.runs():
        used = usedExtent(segmentationNode, segmentId, grid)
        before = cut(used, around(covered, toGrid))
        if kept is not None:
            block = block * ~kept[tuple(slice(at, at + size) for at, size in zip(corner[::-1], block.shape))]
        _markBegun(segmentation.GetSegment(segmentId), block)
        if same and before and before == used and block.size and kept is None:
            merge(segmentationNode, segmentId, orientedImage(block, corner, matrix), REPLACE)
            continue
        if before:
            hole = before if same else covered
            stay = np.zeros(shapeOf(hole), bool) if kept is None else kept[within(hole)]
            image = orientedImage(stay, hole[::2], matrix)
            merge(segmentationNode, segmentId, image if same else resampled(image, before, grid, outside=1), CLEAR)
        if block.size:
            image = orientedImage(block, corner, matrix)
            if not same:
                image = resampled(image, around(image.GetExtent(), toGrid), grid)
            merge(segmentationNode, segmentId, image, ADD)


def writeMask(segmentationNode, segmentId: str, mask: np.ndarray, matrix: np.ndarray) -> None:
    """Replace a whole segment by a (K, J, I) bool mask; `matrix`, 4 x 4, is from its voxels to the node's RAS."""
    _markBegun(segmentationNode.GetSegmentation().GetSegment(segmentId), mask)
    merge(segmentationNode, segmentId, orientedImage(mask, (0, 0, 0), matrix), REPLACE)


def readSlice(segmentationNode, segmentId: str, slices: SceneSlices, k: int) -> np.ndarray:
    """Read a segment's mask on a slice of a volume, (H, W) bool; the segment may be on any grid."""
    return readSlices(segmentationNode, segmentId, slices, [k])[k]


def readSlices(
    segmentationNode, segmentId: str, slices: SceneSlices, numbers: Collection[int]
) -> dict[int, np.ndarray]:
    """Read a segment's masks on several slices of a volume at once, (H, W) bool by slice number."""
    slabs = readSlabs(segmentationNode, segmentId, slices, numbers)
    # `from_grid` reads one slice only, so the slab of that slice can be repeated in place of the whole volume.
    return {k: slices.stack.from_grid(np.broadcast_to(slab, slices.stack.volume.shape), k) for k, slab in slabs}


def readSlabs(
    segmentationNode, segmentId: str, slices: SceneSlices, numbers: Collection[int]
) -> Iterator[tuple[int, np.ndarray]]:
    """Read a segment's masks on several slices at once, and yield each slice number with its bool slab of the grid."""
    if not numbers:
        return
    nothing = np.zeros(slices.stack.image_shape, bool)
    empty, corner = slices.slabs({k: nothing for k in (min(numbers), max(numbers))})
    block = readMask(segmentationNode, segmentId, empty.shape, slices.ijkToRAS, corner)
    axis = "IJK".index(slices.stack.source_axis)
    for k in numbers:
        place = slices.stack.source_index(k) - corner[axis]
        yield k, block.take([place], 2 - axis)


def readMask(
    segmentationNode, segmentId: str, shape: Sequence[int], matrix: np.ndarray, corner=(0, 0, 0)
) -> np.ndarray:
    """Read a segment's mask in a (K, J, I) block of a voxel grid, bool.

    Args:
        shape: shape of the block.
        matrix: 4 x 4, from the grid's voxels to the node's RAS.
        corner: first voxel of the block, (i, j, k).

    Raises:
        InputError: see `requireLabelmaps`.
    """
    requireLabelmaps(segmentationNode)
    frame = orientedImage(np.zeros(shape, bool), corner, matrix)
    identifiers = vtk.vtkStringArray()
    identifiers.InsertNextValue(segmentId)
    merged = slicer.vtkOrientedImageData()
    segmentationNode.GenerateMergedLabelmapForAllSegments(
        merged, slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY, frame, identifiers
    )
    if merged.GetExtent() != frame.GetExtent():  # the segment is empty
        return np.zeros(shape, bool)
    return vtk_to_numpy(merged.GetPointData().GetScalars()).reshape(shape) > 0


def usedSlices(segmentationNode, segmentId: str, slices: SceneSlices) -> range:
    """Return the range of slices of a volume outside of which a segment has no voxels in the volume."""
    both = cut(usedExtent(segmentationNode, segmentId, slices.ijkToRAS), extentOf(slices.volumeNode))
    if both is None:
        return range(0)
    axis = "IJK".index(slices.stack.source_axis)
    places = {slices.stack.source_index(k): k for k in range(len(slices))}
    ends = sorted((places[both[2 * axis]], places[both[2 * axis + 1]]))
    return range(ends[0], ends[1] + 1)


def hiddenNotes(segmentationNode, segmentIds: Sequence[str]) -> list[str]:
    """Return sentences that name those of these segments that the views do not show, which is the user's choice."""
    display, segmentation = segmentationNode.GetDisplayNode(), segmentationNode.GetSegmentation()
    present = [one for one in segmentIds if segmentation.GetSegment(one) is not None]
    if display is None or not present:
        return []
    if not (display.GetVisibility() and display.GetVisibility2D()):
        text = _("The segmentation '{name}' is hidden: show it to see the result.")
        return [text.format(name=segmentationNode.GetName())]
    text = _("The segment '{name}' is hidden: show it to see the result.")
    hidden = [one for one in present if not display.GetSegmentVisibility(one)]
    return [text.format(name=nameOf(segmentationNode, one)) for one in hidden]


def _markBegun(segment, mask: np.ndarray) -> None:
    """Set the status of a segment that gets voxels to In progress if it is Not started."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    if mask.any() and logic.GetSegmentStatus(segment) == logic.NotStarted:
        logic.SetSegmentStatus(segment, logic.InProgress)


def _segmentationName(volumeNode) -> str:
    return _("{volume} segmentation").format(volume=volumeNode.GetName())
