"""Segments on another voxel grid than the volume: writing one slice leaves the others as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicer
from helpers.scene import PROMPT, TIMEOUT, add_volume, axial, load_segmentation, oblique
from MedCLIPSAMScene import labelmaps, protect, segments, segmentTags
from MedCLIPSAMScene.sliceGeometry import SceneSlices, ijkToRAS
from MedCLIPSAMScene.sliceMasks import SliceMasks

from MedCLIPSAMLib.errors import InputError

SLICES = 5
SHAPE = SLICES, 128, 128


def part(factors: tuple[float, float, float], shift: float = 0.0) -> np.ndarray:
    """Return the matrix to the volume's voxels from a grid of voxels `factors` times as large, with the same corner."""
    matrix = np.diag([*factors, 1.0])
    matrix[:3, 3] = (np.array(factors) - 1) / 2 + shift
    return matrix


def flipped() -> np.ndarray:
    matrix = np.diag([1.0, 1.0, -1.0, 1.0])
    matrix[2, 3] = SLICES - 1
    return matrix


OBLIQUE_SHAPE = 90, 160, 160


def turned(matrix: np.ndarray) -> np.ndarray:
    """A grid of isotropic voxels of 0.6 mm, oblique to the volume and around its middle."""
    toRAS = oblique()
    toRAS[:3, :3] *= 0.6 / np.linalg.norm(toRAS[:3, :3], axis=0)
    toRAS[:3, 3] = (matrix @ (63.5, 63.5, 2, 1))[:3] - toRAS[:3, :3] @ ((np.array(OBLIQUE_SHAPE[::-1]) - 1) / 2)
    return np.linalg.inv(matrix) @ toRAS


# From the voxels of the segment's grid to the volume's, whose voxels are 1 x 1 x 4 mm, and its shape (K, J, I).
GRIDS = {
    "finer": (part((0.5, 0.5, 0.5)), (10, 256, 256)),
    "flipped": (flipped(), SHAPE),
    "oblique": (turned(axial()), OBLIQUE_SHAPE),
    "coarser": (part((2, 2, 2)), (3, 64, 64)),
    "half a voxel beside": (part((1, 1, 1), 0.5), SHAPE),
    "coarser in the slice, finer across": (part((2, 2, 0.25)), (20, 64, 64)),
}


@pytest.fixture(params=GRIDS)
def grid(request) -> str:
    return request.param


@pytest.fixture
def scanned(scene, phantom):
    """A volume, a segmentation, and the slices of the volume."""
    volume = add_volume(phantom.image, axial(), slices=SLICES, at=2)
    return volume, segments.newSegmentation(volume), SceneSlices(volume)


def addOn(grid: str, volume, node, seed: int = 1) -> str:
    """Add a segment of large random blocks on a grid."""
    toVolume, shape = GRIDS[grid]
    blocks = np.random.default_rng(seed).random([-(-size // 16) for size in shape]) < 0.6
    mask = blocks.repeat(16, 0).repeat(16, 1).repeat(16, 2)[: shape[0], : shape[1], : shape[2]].copy()
    mask[shape[0] // 3] ^= True
    identifier = segments.addSegment(node, "tumor")
    segments.writeMask(node, identifier, mask, ijkToRAS(volume) @ toVolume)
    return identifier


def read(node, identifier: str, slices: SceneSlices) -> list[np.ndarray]:
    return [segments.readSlice(node, identifier, slices, k) for k in range(len(slices))]


def square() -> np.ndarray:
    mask = np.zeros(SHAPE[1:], bool)
    mask[50:70, 41:64] = True
    return mask


@pytest.mark.parametrize("mask", [square(), np.zeros(SHAPE[1:], bool), ~square()], ids=["square", "empty", "around"])
def test_a_slice_is_replaced_alone(scanned, grid: str, mask: np.ndarray) -> None:
    volume, node, slices = scanned
    identifier = addOn(grid, volume, node)
    before = read(node, identifier, slices)
    segments.writeSlices(node, identifier, SliceMasks.of(slices, {2: mask}))
    after = read(node, identifier, slices)
    assert all(mask.any() for mask in before)
    assert [np.array_equal(after[k], before[k]) for k in (0, 1, 3, 4)] == [True] * 4
    assert np.array_equal(after[2], mask)


@pytest.mark.parametrize("plane", ["coronal", "sagittal"])
def test_a_slice_of_another_plane_is_replaced_alone(scanned, grid: str, plane: str) -> None:
    volume, node, _axial = scanned
    slices = SceneSlices(volume, plane)
    identifier = addOn(grid, volume, node)
    before = [segments.readSlice(node, identifier, slices, k) for k in (58, 59, 60, 61, 62)]
    segments.writeSlices(node, identifier, SliceMasks.of(slices, {60: ~before[2]}))
    after = [segments.readSlice(node, identifier, slices, k) for k in (58, 59, 60, 61, 62)]
    assert [np.array_equal(one, other) for one, other in zip(before, after)] == [True, True, False, True, True]
    assert np.array_equal(after[2], ~before[2])


def test_what_is_finer_than_the_volume_is_kept_on_the_other_slices(scanned) -> None:
    """Half a voxel of the volume, and a quarter of a slice: neither can be seen on the volume's grid."""
    volume, node, slices = scanned
    for grid in ("finer", "coarser in the slice, finer across"):
        toVolume, shape = GRIDS[grid]
        checkered = np.indices(shape).sum(0) % 2 == 0
        identifier = segments.addSegment(node, grid)
        matrix = ijkToRAS(volume) @ toVolume
        segments.writeMask(node, identifier, checkered, matrix)
        segments.writeSlices(node, identifier, SliceMasks.of(slices, {2: square()}))
        after = segments.readMask(node, identifier, shape, matrix)
        thickness = shape[0] // SLICES
        others = np.r_[0 : 2 * thickness, 3 * thickness : shape[0]]
        assert np.array_equal(after[others], checkered[others]), grid


def test_the_slices_that_a_segment_is_on_are_found_on_any_grid(scanned, grid: str) -> None:
    volume, node, slices = scanned
    toVolume, shape = GRIDS[grid]
    identifier = segments.addSegment(node, "tumor")
    k, j, i = np.indices(shape)
    at = toVolume[2] @ np.array([i.ravel(), j.ravel(), k.ravel(), np.ones(i.size)])  # slice of the volume
    segments.writeMask(node, identifier, ((at > 2.4) & (at < 3.6)).reshape(shape), ijkToRAS(volume) @ toVolume)
    on = [number for number, mask in enumerate(read(node, identifier, slices)) if mask.any()]
    assert on and set(on) <= set(segments.usedSlices(node, identifier, slices))
    assert grid == "oblique" or 0 not in segments.usedSlices(node, identifier, slices)


@pytest.mark.parametrize("how", ["refine", "boxes", "prompt"])
def test_a_run_on_one_slice_changes_it_alone(operations, scanned, grid: str, how: str) -> None:
    volume, node, slices = scanned
    identifier = addOn(grid, volume, node)
    segmentTags.setTags(node, identifier, {segmentTags.PROMPT_TAG: PROMPT})
    before = read(node, identifier, slices)
    if how == "refine":
        operations.refine.run(node, identifier, volume, 2, timeout=TIMEOUT)
    elif how == "boxes":
        boxes = {2: np.array([[40, 40, 80, 80]], np.float32)}
        start = lambda done: operations.refine.startFromBoxes(node, identifier, slices, boxes, done)
        operations.session.wait(start, TIMEOUT)
    else:
        operations.segment.run(volume, [PROMPT], node, slices=[2], timeout=TIMEOUT)
    after = read(node, identifier, slices)
    assert [np.array_equal(one, other) for one, other in zip(before, after)] == [True, True, False, True, True]
    assert operations.session.undo(node)
    assert [np.array_equal(one, other) for one, other in zip(before, read(node, identifier, slices))] == [True] * SLICES


def test_a_locked_slice_of_another_plane_stays(scanned, grid: str) -> None:
    volume, node, slices = scanned
    identifier = addOn(grid, volume, node)
    coronal = SceneSlices(volume, "coronal")
    protect.setLocked(node, identifier, "coronal", {60}, volume)
    before, locked = read(node, identifier, slices), segments.readSlice(node, identifier, coronal, 60)
    protect.writeUnlocked(node, identifier, SliceMasks.of(slices, {2: ~before[2]}))
    after = read(node, identifier, slices)
    assert np.array_equal(segments.readSlice(node, identifier, coronal, 60), locked)
    assert [np.array_equal(after[k], before[k]) for k in (0, 1, 3, 4)] == [True] * 4
    # Coronal slice 60 is row 67 of the image.
    assert np.array_equal(np.delete(after[2], 67, 0), np.delete(~before[2], 67, 0))


def test_what_is_finer_than_the_volume_is_kept_on_a_locked_slice_of_another_plane(scanned) -> None:
    """Coronal slice 60, row 67 of the volume, is rows 134 and 135 of voxels of half the size."""
    volume, node, slices = scanned
    toVolume, shape = GRIDS["finer"]
    checkered, matrix = np.indices(shape).sum(0) % 2 == 0, ijkToRAS(volume) @ toVolume
    identifier = segments.addSegment(node, "tumor")
    segments.writeMask(node, identifier, checkered, matrix)
    protect.setLocked(node, identifier, "coronal", {60}, volume)
    protect.writeUnlocked(node, identifier, SliceMasks.of(slices, {2: np.ones(SHAPE[1:], bool)}))
    after = segments.readMask(node, identifier, shape, matrix)
    assert np.array_equal(after[:, 134:136], checkered[:, 134:136])
    assert after[4:6, :134].all() and after[4:6, 136:].all()


def test_the_segment_keeps_its_label_beside_others_in_its_label_map(scanned) -> None:
    """As in a file of two segments on one layer, on a grid that is counted from the other end."""
    volume, node, slices = scanned
    first, second = addOn("flipped", volume, node), addOn("flipped", volume, node, seed=2)
    node.GetSegmentation().CollapseBinaryLabelmaps(True)
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    before = [read(node, identifier, slices) for identifier in (first, second)]
    segments.writeSlices(node, second, SliceMasks.of(slices, {2: square()}))
    assert all(np.array_equal(one, other) for one, other in zip(read(node, first, slices), before[0]))
    after = read(node, second, slices)
    assert np.array_equal(after[2], square()) and np.array_equal(after[1], before[1][1])


def saved(node, folder: Path):
    """Return the segmentation as Slicer writes and reads it in a file, resampled to its reference geometry."""
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(folder / "saved.seg.nrrd"))
    assert storage.WriteData(node) == 1
    return load_segmentation(folder / "saved.seg.nrrd")


def thick(shift: float = 0.0):
    """A volume of thicker voxels and a smaller field of view."""
    return add_volume(np.zeros((40, 40), np.int16), axial((3, 3, 9), np.array([50.0, 60, -20]) + shift), slices=3)


def test_an_empty_segmentation_of_another_volume_gets_the_grid_of_the_new_one(scanned, tmp_path: Path) -> None:
    """The Segment Editor makes such a segmentation for the volume that was chosen before."""
    volume, _node, slices = scanned
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentation")
    node.SetReferenceImageGeometryParameterFromVolumeNode(thick())
    segments.takeGeometry(node, volume)
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is volume
    identifier = segments.addSegment(node, "tumor")
    segments.writeSlices(node, identifier, SliceMasks.of(slices, {2: square()}))
    masks = read(saved(node, tmp_path), identifier, slices)
    assert np.array_equal(masks[2], square()) and [mask.sum() for mask in masks] == [0, 0, square().sum(), 0, 0]


@pytest.mark.parametrize("shift", [0, 1.5])
@pytest.mark.parametrize("new", [True, False], ids=["a new segment", "the segment of the other volume"])
def test_a_segmentation_of_another_volume_is_saved_as_it_is(scanned, tmp_path: Path, shift: float, new: bool) -> None:
    _volume, _node, slices = scanned
    other = thick(shift)
    node = segments.newSegmentation(other)
    first = segments.addSegment(node, "first")
    block = np.zeros((3, 40, 40), bool)
    block[1:, 4:20, 8:30] = True
    segments.writeMask(node, first, block, ijkToRAS(other))
    identifier = segments.addSegment(node, "tumor") if new else first
    segments.writeSlices(node, identifier, SliceMasks.of(slices, {2: square()}))
    shown = {name: read(node, name, slices) for name in (first, identifier)}
    assert np.array_equal(shown[identifier][2], square())
    again = saved(node, tmp_path)
    for name, masks in shown.items():
        assert [np.array_equal(*pair) for pair in zip(read(again, name, slices), masks)] == [True] * SLICES
    if new:
        assert np.array_equal(segments.readMask(again, first, block.shape, ijkToRAS(other)), block)


def test_undo_of_a_change_of_the_grid_loses_nothing(operations, scanned, tmp_path: Path) -> None:
    _volume, _node, slices = scanned
    other = thick(1.5)
    node = segments.newSegmentation(other)
    identifier = segments.addSegment(node, "first")
    block = np.random.default_rng(1).random((3, 40, 40)) < 0.5
    segments.writeMask(node, identifier, block, ijkToRAS(other))
    before = node.GetSegmentation().GetConversionParameter("Reference image geometry")
    write = lambda: segments.writeSlices(node, identifier, SliceMasks.of(slices, {2: square()}))
    operations.session.change(node, write)
    assert node.GetSegmentation().GetConversionParameter("Reference image geometry") != before
    assert operations.session.undo(node)
    assert np.array_equal(segments.readMask(saved(node, tmp_path), identifier, block.shape, ijkToRAS(other)), block)


@pytest.mark.parametrize("ratio", [1.004, 1.0085, 1.00002])
def test_a_grid_that_is_beside_the_volumes_far_from_its_origin_is_another(scene, ratio: float) -> None:
    """Also where the segment ends long before that: slice 395 of the volume is 393.4 of the grid at 1.004."""
    volume = add_volume(np.zeros((32, 32), np.int16), axial(), slices=400)
    slices, node = SceneSlices(volume), segments.newSegmentation(volume)
    identifier, matrix = segments.addSegment(node, "tumor"), ijkToRAS(volume)
    matrix[:3, 2] *= ratio
    block = np.random.default_rng(1).random((396, 32, 32)) < 0.5
    segments.writeMask(node, identifier, block, matrix)
    at = [59, 60, 61, 124, 125, 126, 394, 395, 396]
    before, mask = [segments.readSlice(node, identifier, slices, k) for k in at], np.zeros((32, 32), bool)
    mask[2:6, 2:6] = True
    for k in at[1::3]:
        segments.writeSlices(node, identifier, SliceMasks.of(slices, {k: mask}))
        before[at.index(k)] = mask
        after = [segments.readSlice(node, identifier, slices, k) for k in at]
        assert [np.array_equal(*pair) for pair in zip(after, before)] == [True] * 9, k


@pytest.mark.parametrize("empty", [True, False], ids=["the reference geometry", "the segment"])
def test_a_grid_of_too_many_voxels_is_refused_and_nothing_is_changed(
    operations, scanned, monkeypatch, empty: bool
) -> None:
    """0.1 x 0.1 x 8 mm: in the slice 11 parts of each voxel of the volume, 5 x 1408 x 1408 in all."""
    _volume, _node, slices = scanned
    fine = add_volume(np.zeros((1280, 1280), np.int16), axial((0.1, 0.1, 8)), slices=3)
    node = segments.newSegmentation(fine)
    identifier = segments.addSegment(node, "tumor")
    if not empty:
        block = np.zeros((3, 1280, 1280), bool)
        block[1, 1:9, 2:10] = block[0, 900, 900] = True
        segments.writeMask(node, identifier, block, ijkToRAS(fine))
    before, geometry = read(node, identifier, slices), labelmaps.referenceGeometry(node)
    write = lambda: segments.writeSlices(node, identifier, SliceMasks.of(slices, {2: square()}))
    monkeypatch.setattr(labelmaps, "MAX_VOXELS", 1e6)
    with pytest.raises(InputError, match=r"million voxels.* new segmentation"):
        operations.session.change(node, write)
    after, same = read(node, identifier, slices), labelmaps.referenceGeometry(node)
    assert [np.array_equal(*pair) for pair in zip(after, before)] == [True] * SLICES
    assert np.array_equal(same[0], geometry[0]) and same[1] == geometry[1]
