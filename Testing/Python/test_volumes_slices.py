"""Slices are upright, and what is drawn on them returns to the very voxels it was drawn on."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes import SliceStack, Volume, read_volume
from MedCLIPSAMLib.volumes.slices import nearest_axes

SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_shared_data = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason=f"the real images are not at {SHARED_DATA}")
PLANES = ("axial", "coronal", "sagittal")
LEFT, POSTERIOR, SUPERIOR = np.eye(3)
DOWN_RIGHT_NEXT = {
    "axial": (POSTERIOR, LEFT, SUPERIOR),
    "coronal": (-SUPERIOR, LEFT, -POSTERIOR),
    "sagittal": (-SUPERIOR, POSTERIOR, LEFT),
}


def make_volume(
    array: np.ndarray,
    direction: np.ndarray | None = None,
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0),
    origin: tuple[float, ...] = (0.0, 0.0, 0.0),
    **known: object,
) -> Volume:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection((np.eye(3) if direction is None else direction).astype(float).ravel().tolist())
    return Volume.from_sitk(image, **known)


def random_direction(rng: np.random.Generator) -> np.ndarray:
    """A rotation, a permutation and flips of the axes: any ITK direction matrix, left-handed ones too."""
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return rotation[:, rng.permutation(3)] * rng.choice([-1, 1], 3)


@pytest.mark.parametrize(
    ("plane", "slice_number", "row", "column"),
    # Voxel axes I to superior, J to the right, K to posterior, 4 x 5 x 6 voxels; marked (1, 2, 3), so the slices are
    # axial: I upward, 1; posterior K downward, 3; J flipped to go left, 5 - 1 - 2 = 2
    # coronal: K from posterior to anterior, 6 - 1 - 3 = 2; I from the top, 4 - 1 - 1 = 2; J flipped, 2
    # sagittal: J from right to left, 5 - 1 - 2 = 2; I from the top, 2; K from anterior, 3
    [("axial", 1, 3, 2), ("coronal", 2, 2, 2), ("sagittal", 2, 2, 3)],
)
def test_a_bright_voxel_is_where_a_radiologist_would_see_it(
    plane: str, slice_number: int, row: int, column: int
) -> None:
    array = np.zeros((6, 5, 4), np.int16)
    array[3, 2, 1] = 100
    direction = np.array([[0, -1, 0], [0, 0, 1], [1, 0, 0]])
    stack = SliceStack(make_volume(array, direction), plane, window=(0, 100))
    seen = np.argwhere([stack.image(k)[..., 0] == 255 for k in range(len(stack))])
    np.testing.assert_array_equal(seen, [[slice_number, row, column]])


def test_anisotropic_images_have_square_pixels() -> None:
    # 4 x 5 x 6 voxels of 1 x 2 x 3 mm, axes as above: axial slices are K (6 x 3 mm) down and J (5 x 2 mm) across
    direction = np.array([[0, -1, 0], [0, 0, 1], [1, 0, 0]])
    array = np.zeros((6, 5, 4), np.int16)
    array[3, 2, 1] = 100
    stack = SliceStack(make_volume(array, direction, spacing=(1, 2, 3)), "axial", window=(0, 100))
    assert stack.voxel_shape == (6, 5)
    assert stack.image_shape == (9, 5)
    assert stack.pixel_spacing == pytest.approx((2.0, 2.0))
    assert stack.slice_spacing == 1.0
    bright = np.argwhere(stack.image(1)[..., 0] > 127)
    np.testing.assert_array_equal(bright, [[4, 2], [5, 2]])  # voxel row 3 spans pixel rows 4.5 to 6


@given(seed=st.integers(0, 2**32 - 1), plane=st.sampled_from(PLANES))
@settings(max_examples=60, deadline=None)
def test_steps_on_an_image_go_the_radiological_way(seed: int, plane: str) -> None:
    rng = np.random.default_rng(seed)
    array = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(6, 5, 4)
    volume = make_volume(array, random_direction(rng), origin=tuple(rng.normal(size=3) * 100))
    stack = SliceStack(volume, plane, window=(0, 255))

    def position(k: int, row: int, column: int) -> np.ndarray:
        z, y, x = np.argwhere(array == stack.image(k)[row, column, 0])[0]
        return np.array(volume.to_sitk().TransformIndexToPhysicalPoint((int(x), int(y), int(z))))

    start = position(0, 0, 0)
    steps = position(0, 1, 0) - start, position(0, 0, 1) - start, position(1, 0, 0) - start
    for step, meant in zip(steps, DOWN_RIGHT_NEXT[plane]):
        assert np.linalg.norm(step) == pytest.approx(1.0, abs=1e-6)
        assert step @ meant > 0
    closeness = sum(step @ meant for step, meant in zip(steps, DOWN_RIGHT_NEXT[plane]))
    cosines = np.abs(np.array(volume.geometry.direction).reshape(3, 3))
    assert closeness == pytest.approx(max(np.trace(cosines[:, order]) for order in permutations(range(3))))


@given(seed=st.integers(0, 2**32 - 1), plane=st.sampled_from(PLANES))
@settings(max_examples=60, deadline=None)
def test_masks_of_square_pixels_round_trip_exactly(seed: int, plane: str) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(2, 9, 3))
    volume = make_volume((rng.random(shape) > 0.5).astype(np.uint8), random_direction(rng), (1.3, 1.3, 1.3))
    stack = SliceStack(volume, plane, window=(0, 1))
    masks = {k: stack.image(k)[..., 0] > 127 for k in range(len(stack))}
    np.testing.assert_array_equal(stack.to_grid(masks), volume.array.astype(bool))
    saliency = {k: stack.image(k)[..., 0] / 255 for k in range(len(stack))}
    assert stack.to_grid(saliency).dtype == np.float32
    np.testing.assert_array_equal(stack.to_grid(saliency), volume.array)


@given(seed=st.integers(0, 2**32 - 1), plane=st.sampled_from(PLANES))
@settings(max_examples=60, deadline=None)
def test_masks_of_enlarged_images_round_trip_exactly_when_drawn_voxel_by_voxel(seed: int, plane: str) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(2, 12, 3))
    spacing = tuple(np.exp(rng.uniform(-1.5, 1.5, 3)))
    volume = make_volume((rng.random(shape) > 0.5).astype(np.uint8), random_direction(rng), spacing)
    stack = SliceStack(volume, plane)
    truth = volume.array.astype(bool)
    masks = {k: stack.from_grid(truth, k) for k in range(len(stack))}
    assert all(mask.shape == stack.image_shape for mask in masks.values())
    np.testing.assert_array_equal(stack.to_grid(masks), truth)
    row_mm, column_mm = stack.pixel_spacing
    rows, columns = stack.voxel_shape
    assert stack.image_shape[0] * row_mm / rows in [pytest.approx(mm) for mm in spacing]
    assert stack.image_shape[1] * column_mm / columns in [pytest.approx(mm) for mm in spacing]


def test_a_disc_drawn_on_an_enlarged_image_keeps_its_place_to_less_than_a_voxel() -> None:
    volume = make_volume(np.zeros((30, 200, 200), np.int16), spacing=(0.8, 0.8, 5.0))
    stack = SliceStack(volume, "coronal")
    assert stack.image_shape == (188, 200)
    rows, columns = np.mgrid[: stack.image_shape[0], : stack.image_shape[1]]
    mask = np.hypot(rows - 70, columns - 90) < 40
    grid = stack.to_grid({50: mask})
    k, j, i = np.argwhere(grid).mean(axis=0)
    assert j == 199 - 50
    assert i == pytest.approx(90, abs=0.05)
    height = 30 * 5.0 - (70.5 * 30 * 5.0 / 188)  # mm above the lower edge of the volume
    assert (k + 0.5) * 5.0 == pytest.approx(height, abs=0.25 * 5.0)
    assert grid.sum() * 0.8 * 5.0 == pytest.approx(np.pi * 32**2, rel=0.04)


def test_a_45_degree_oblique_gives_each_plane_an_axis_of_its_own() -> None:
    c = np.sqrt(0.5)
    assert sorted(nearest_axes(np.array([[1, 0, 0], [0, c, -c], [0, c, c]]))) == [0, 1, 2]
    assert sorted(nearest_axes(np.full((3, 3), 1 / np.sqrt(3)))) == [0, 1, 2]


@pytest.mark.parametrize("flip", [1, -1])
def test_source_index_names_the_voxel_plane_of_a_slice(flip: int) -> None:
    array = np.broadcast_to(np.arange(10, dtype=np.uint8)[:, None, None], (10, 4, 4)).copy()
    stack = SliceStack(make_volume(array, np.diag([1, 1, flip])), "axial", window=(0, 255))
    assert stack.source_axis == "K"
    for k in range(10):
        assert stack.image(k)[0, 0, 0] == stack.source_index(k)


def test_images_without_orientation_are_shown_as_stored_in_every_plane() -> None:
    array = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    volume = make_volume(array, natural=True)
    for plane in PLANES:
        stack = SliceStack(volume, plane)
        assert stack.plane == "natural"
        assert len(stack) == 1
        np.testing.assert_array_equal(stack.image(0), np.repeat(array[0, :, :, None], 3, axis=2))


def test_rgb_images_keep_their_colors() -> None:
    array = np.random.default_rng(0).integers(0, 256, (1, 5, 6, 3), dtype=np.uint8)
    image = sitk.GetImageFromArray(array, isVector=True)
    stack = SliceStack(Volume.from_sitk(image, natural=True))
    np.testing.assert_array_equal(stack.image(0), array[0])
    assert stack.to_grid({0: np.ones((5, 6), bool)}).all()


def test_only_given_slices_are_set() -> None:
    stack = SliceStack(make_volume(np.zeros((4, 5, 6), np.int16)))
    grid = stack.to_grid({2: np.ones((5, 6), bool)})
    assert grid.dtype == bool
    assert grid[2].all()
    assert grid.sum() == 30
    assert not stack.to_grid({}).any()


@pytest.mark.parametrize("k", [-1, 4])
def test_a_slice_out_of_range_is_refused_with_the_range(k: int) -> None:
    stack = SliceStack(make_volume(np.zeros((4, 5, 6), np.int16)))
    with pytest.raises(InputError, match="0 to 3"):
        stack.image(k)
    with pytest.raises(InputError, match="0 to 3"):
        stack.to_grid({k: np.zeros((5, 6), bool)})


def test_a_map_of_another_shape_and_an_unknown_plane_are_refused() -> None:
    volume = make_volume(np.zeros((4, 5, 6), np.int16))
    with pytest.raises(InputError, match=r"\(6, 5\)"):
        SliceStack(volume).to_grid({0: np.zeros((6, 5), bool)})
    with pytest.raises(InputError, match="axial, coronal, sagittal"):
        SliceStack(volume, "oblique")


def test_a_plane_across_a_single_slice_is_refused_with_the_plane_to_use() -> None:
    volume = make_volume(np.zeros((1, 5, 6), np.int16), np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]]))
    assert len(SliceStack(volume, "sagittal")) == 1
    with pytest.raises(InputError, match="Use the plane 'sagittal'"):
        SliceStack(volume, "axial")


@needs_shared_data
def test_real_images_are_upright() -> None:
    # abdominal CT: table below the body, liver (bright, large) on the left of the image, air of the lungs is dark
    stack = SliceStack(read_volume(SHARED_DATA / "ct-3slice"))
    image = stack.image(1)[..., 0].astype(float)
    assert image[150:350, 80:230].mean() > image[150:350, 380:450].mean() + 30
    assert image[480:512].sum() < image[340:450, 200:320].sum()  # the spine is in the lower half
    # head CT: the face protrudes to the left of a sagittal image below the forehead, the skull cap is above
    sagittal = SliceStack(read_volume(SHARED_DATA / "CT_pitch.nii.gz"), "sagittal")
    middle = sagittal.image(len(sagittal) // 2)[..., 0]
    outline = [np.flatnonzero(middle[row] > 100) for row in (92, 100, 156)]
    assert outline[1][0] < outline[0][0] - 8 and outline[2][0] == 0 and outline[2][-1] < outline[0][-1] - 10
    # brain MR: the brain is wider at the back than at the front, and narrow at the bottom of the coronal image
    axial = SliceStack(read_volume(SHARED_DATA / "MR_Gd.nii.gz"), "axial")
    widths = (axial.image(len(axial) // 2)[..., 0] > 30).sum(axis=1)
    assert widths[120:150].mean() > widths[25:55].mean()
    coronal = SliceStack(axial.volume, "coronal")
    widths = (coronal.image(len(coronal) // 2)[..., 0] > 30).sum(axis=1)
    assert widths[20:60].mean() > widths[110:].mean()


def test_a_point_of_an_image_has_a_hand_computed_voxel_index() -> None:
    # Voxel axes I to superior, J to the right, K to posterior; 4 x 5 x 6 voxels of 1 x 2 x 3 mm.
    image = sitk.Image(4, 5, 6, sitk.sitkUInt8)
    image.SetSpacing((1, 2, 3))
    image.SetDirection((0, -1, 0, 0, 0, 1, 1, 0, 0))
    axial = SliceStack(Volume.from_sitk(image), "axial", window=(0, 1))
    # Slices go up with I, rows back with K, columns left against J. 6 x 5 voxels of 3 x 2 mm: 9 x 5 pixels of 2 mm.
    assert axial.image_shape == (9, 5)
    # x 1.5 is the center of column 1, so J = 4 - 1; y 3.75 is 7.5 mm from the top: K = 7.5 / 3 - 0.5.
    assert axial.index_at(2, 1.5, 3.75) == pytest.approx((2, 3, 2))
    assert axial.image_at((2, 3, 2)) == pytest.approx((2, 1.5, 3.75))


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_points_of_images_and_masks_on_the_grid_agree(plane: str) -> None:
    image = sitk.Image(7, 5, 6, sitk.sitkUInt8)
    image.SetSpacing((1, 2, 3.3))
    image.SetDirection((0, -1, 0, 0, 0, 1, 1, 0, 0))
    stack = SliceStack(Volume.from_sitk(image), plane, window=(0, 1))
    rng = np.random.default_rng(0)
    for k in range(len(stack)):
        grid = np.zeros(stack.volume.shape, bool)
        voxel = rng.integers(0, grid.shape)
        grid[tuple(voxel)] = True
        number, x, y = stack.image_at(voxel[::-1])
        assert stack.from_grid(grid, round(number))[int(y), int(x)]
        np.testing.assert_allclose(stack.index_at(number, x, y), voxel[::-1])
        slab = stack.to_slab(round(number), stack.from_grid(grid, round(number)))
        assert slab.shape["KJI".index(stack.source_axis)] == 1 and slab.sum() == 1
