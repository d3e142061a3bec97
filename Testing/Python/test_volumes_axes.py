"""Axes beside those of space: times, values of a voxel, and such of size 1; each is read, or refused with a way on."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from helpers.remedies import follow
from nifti_made import ARRAY, patched, save, turned

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes import Segment, read_segmentation, read_volume, write_segmentation
from MedCLIPSAMLib.volumes.slice_count import slice_count

SPACE = ["(2,0,0)", "(0,1,0)", "(0,0,3)"]
VOXELS = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
DIMENSIONS = 40
"""Where the extents of a NIfTI-1 file begin, in bytes."""
SCALE = 112


def nrrd(path: Path, sizes: str, directions: list[str], kinds: str = "", count: int = 1) -> Path:
    """The voxels `count` times, innermost axis first."""
    lines = ["NRRD0005", "type: short", f"dimension: {len(sizes.split())}", f"sizes: {sizes}", "endian: little"]
    lines += ["space: left-posterior-superior", f"space directions: {' '.join(directions)}", "space origin: (5,6,7)"]
    lines += [f"kinds: {kinds}"] * bool(kinds) + ["encoding: raw", "", ""]
    path.write_bytes("\n".join(lines).encode() + VOXELS.tobytes() * count)
    return path


@pytest.mark.parametrize(
    "sizes, directions, kinds",
    [
        ("2 3 4 1", [*SPACE, "none"], ""),
        ("1 2 3 4", ["none", *SPACE], ""),
        ("2 3 4 1", [*SPACE, "none"], "domain domain domain time"),
        ("2 3 4 1", [*SPACE, "none"], "space space space list"),
    ],
)
def test_an_axis_of_size_1_without_a_place_is_none(tmp_path: Path, sizes: str, directions: list, kinds: str) -> None:
    volume = read_volume(nrrd(tmp_path / "x.nrrd", sizes, directions, kinds))
    assert np.array_equal(volume.array, VOXELS) and volume.notes == []
    assert volume.geometry.spacing == (2, 1, 3) and volume.geometry.origin == (5, 6, 7)


def test_axes_all_of_which_lack_a_place_are_those_of_space(tmp_path: Path) -> None:
    volume = read_volume(nrrd(tmp_path / "x.nrrd", "2 3 4", ["none"] * 3))
    assert np.array_equal(volume.array, VOXELS) and volume.geometry.spacing == (1, 1, 1)


def followed(remedy: str, folder: Path) -> np.ndarray:
    """What the command of a remedy writes."""
    follow(remedy, folder)
    return read_volume(folder / "one.nii.gz").array


def test_times_of_nrrd_are_refused_with_a_remedy_that_works(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "x.nrrd", "2 3 4 2", [*SPACE, "none"], "domain domain domain time", 2)
    with pytest.raises(InputError, match=r"4-D \(2 x 3 x 4 x 2\), not a single volume") as caught:
        read_volume(path)
    assert "'kinds: domain domain domain list'" in caught.value.remedy
    path.write_bytes(path.read_bytes().replace(b"domain time", b"domain list"))
    assert np.array_equal(followed(caught.value.remedy, tmp_path), VOXELS)


def test_a_sequence_is_refused_with_a_remedy_that_works(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "x.seq.nrrd", "2 3 4 7", [*SPACE, "none"], "domain domain domain list", 7)
    with pytest.raises(InputError, match="7 values per voxel") as caught:
        read_volume(path)
    assert np.array_equal(followed(caught.value.remedy, tmp_path), VOXELS)


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.nii.bz2"])
def test_times_of_nifti_are_refused_with_a_remedy_that_works(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name, np.eye(4), np.stack([ARRAY, ARRAY + 1], -1))
    with pytest.raises(InputError, match="4-D .* not a single volume") as caught:
        read_volume(path)
    assert np.array_equal(followed(caught.value.remedy, tmp_path), ARRAY.T)


@pytest.mark.parametrize("name", ["x.mgh", "x.mgz"])
def test_images_of_freesurfer_are_refused_with_a_remedy_that_works(tmp_path: Path, name: str) -> None:
    nibabel.save(nibabel.MGHImage(ARRAY, np.eye(4)), tmp_path / name)
    with pytest.raises(InputError, match="FreeSurfer image") as caught:
        read_volume(tmp_path / name)
    assert np.array_equal(followed(caught.value.remedy, tmp_path), ARRAY.T)


def test_a_flat_image_in_a_space_of_three_axes_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 axes in a space of 3"):
        read_volume(nrrd(tmp_path / "x.nrrd", "2 3", SPACE[:2]))


@pytest.mark.parametrize("axis", [4, 5])
def test_an_extent_of_0_behind_those_of_space_is_no_axis_of_nifti(tmp_path: Path, axis: int) -> None:
    path = save(tmp_path / "x.nii", turned(0, (1, 1, 2), (0, 0, 0)))
    volume = read_volume(patched(path, DIMENSIONS, "<i2", axis, *ARRAY.shape, *[1] * (axis - 4), 0))
    assert np.array_equal(volume.array, ARRAY.T)


def test_times_of_one_slice_of_nifti_are_slices_with_a_note(tmp_path: Path) -> None:
    path = save(tmp_path / "x.nii", turned(30, (1, 1.5, 8), (3, 4, 5)), ARRAY[:, :, None])
    volume = read_volume(path)
    assert np.array_equal(volume.array, ARRAY.T) and slice_count(path) == len(volume.array)
    assert volume.notes == ["Its 6 images are time points of one slice: they are shown as slices."]
    write_segmentation(tmp_path / "mask.nii", [Segment("x", volume.array == 7)], volume)
    (mask,) = read_segmentation(tmp_path / "mask.nii", volume)
    assert np.array_equal(mask.mask, volume.array == 7)


@pytest.mark.parametrize(
    "scale, is_said, factor",
    [
        ((np.nan, 5), True, 1),
        ((np.inf, 0), True, 1),
        ((np.nan, np.nan), False, 1),
        ((0, 5), True, 1),  # ITK adds the intercept
        ((0, 0), False, 1),
        ((1, np.nan), True, 1),  # as ITK takes it
        ((-2, np.inf), True, -2),
    ],
)
def test_a_scale_of_nifti_that_is_none_is_said(
    tmp_path: Path, scale: tuple[float, float], is_said: bool, factor: int
) -> None:
    path = patched(save(tmp_path / "x.nii", turned(0, (1, 1, 2), (0, 0, 0))), SCALE, "<f4", *scale)
    volume = read_volume(path)
    assert np.array_equal(volume.array, ARRAY.T * factor)
    assert any("scale" in note for note in volume.notes) == is_said
