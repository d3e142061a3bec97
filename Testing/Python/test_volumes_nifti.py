"""NIfTI: places against hand-computed points and nibabel, values as they are, and nothing silently made up."""

from __future__ import annotations

import gzip
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from helpers.remedies import follow
from nifti_made import ARRAY, LPS, patched, save, turned

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes import (
    Segment,
    SliceStack,
    read_segmentation,
    read_volume,
    write_saliency,
    write_segmentation,
)

VOXELS = bytes(range(60))


def patched_spacing(path: Path, *values: float) -> Path:
    return patched(path, 80, "<f4", *values)


def moved(*by: float) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, 3] = by
    return affine


def headers(count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Make NIfTI headers whose sform and qform agree, or differ as files of other programs do."""
    changes: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
        "same": lambda affine, random: affine,
        "signs": lambda affine, random: affine @ np.diag([*random.choice([-1.0, 1.0], 3), 1.0]),
        "swapped axes": lambda affine, random: affine[:, [*random.permutation(3), 3]],
        "shift": lambda affine, random: (
            affine + np.pad(random.choice([1e-6, 5e-5, 1.0, 50.0], (3, 1)), ((0, 1), (3, 0)))
        ),
        "signs and shift": lambda affine, random: changes["shift"](changes["signs"](affine, random), random),
        "turn": lambda affine, random: turned(float(random.choice([1e-4, 0.1, 90.0])), (1, 1, 1), (0, 0, 0)) @ affine,
        "scale": lambda affine, random: affine @ np.diag([*random.choice([1.0, 1.0005, 1.2], 3), 1.0]),
        "shear": lambda affine, random: affine @ (np.eye(4) + np.diag([random.choice([1e-6, 1e-4, 0.02])] * 3, 1)),
        "zeros": lambda affine, random: np.zeros((4, 4)),
    }
    random = np.random.default_rng(0)
    for number in range(count):
        name = list(changes)[number % len(changes)]
        spacing = random.choice([0.7, 0.8, 1.0, 2.0], 3)
        qform = turned(float(random.choice([0, 0, 90, 17.3])), tuple(spacing), (0, 0, 0))
        qform[:3, 3] = random.choice([0.0, -20.0, 31.25], 3)
        header = nibabel.Nifti1Header()
        header.set_data_dtype(np.uint8)
        header.set_data_shape((3, 4, 5))
        header.set_qform(qform, int(random.integers(0, 3)))
        header.set_sform(changes[name](qform, random), int(random.integers(0, 6)))
        header["pixdim"][0] *= random.choice([1, 1, 1, 0, -1, 2, 3])
        header["pixdim"][1 + random.integers(3)] *= random.choice([1, 1, 1, 1, -1])
        header["xyzt_units"] = random.choice([0, 2, 2, 3])
        header["magic"], header["vox_offset"] = b"n+1", 352
        yield name, header


def test_voxels_lie_where_itk_places_them_whatever_the_two_matrices_say(tmp_path: Path) -> None:
    path = tmp_path / "x.nii"
    refused, used = Counter(), Counter()
    voxel = (2, 1, 3)
    for name, header in headers(270):
        path.write_bytes(header.binaryblock + bytes(4) + VOXELS)
        if int(header["xyzt_units"]) == 3:
            patched(path, 123, "u1", 2)
        try:
            itk = sitk.ReadImage(str(path))
        except RuntimeError:  # of no axes at right angles
            refused[name] += 1
            continue
        volume = read_volume(path)
        assert np.array_equal(volume.array, sitk.GetArrayFromImage(itk))
        place = (volume.geometry.affine @ (*voxel, 1))[:3]
        np.testing.assert_allclose(
            place, itk.TransformIndexToPhysicalPoint(voxel), atol=1e-4, err_msg=f"{name} {header}"
        )
        matrices = volume.forms.matrices()
        away = [np.linalg.norm((matrix @ (*voxel, 1))[:3] - place) for matrix in matrices.values()]
        assert volume.notes or not matrices or max(away) < 0.1, f"{name} {header}"
        used[name] += 1
        mask = np.zeros(volume.shape, bool)
        mask[voxel[::-1]] = True
        write_segmentation(tmp_path / "mask.nii", [Segment("x", mask)], volume)
        written = sitk.ReadImage(str(tmp_path / "mask.nii"))
        np.testing.assert_allclose(written.TransformIndexToPhysicalPoint(voxel), place, atol=1e-4, err_msg=f"{name}")
    assert set(refused) <= {"shear", "zeros"} and min(used.values()) >= 8


@pytest.mark.parametrize("qfac", [1.0, 2.0, -1.0, -3.0])
def test_a_lost_mirror_of_qform_leaves_the_image_on_its_side(tmp_path: Path, qfac: float) -> None:
    """The sign of qform's third axis is lost on the way, which sform still has: by hand, k counts downward."""
    affine = np.diag([0.8, 0.9, -2.0, 1.0])
    affine[:3, 3] = 60, -50, 40
    path = patched(save(tmp_path / "x.nii", None, sform=(affine, 2), qform=(affine, 1)), 76, "<f4", qfac)
    volume = read_volume(path)
    np.testing.assert_allclose((volume.geometry.affine @ (3, 4, 5, 1))[:3], (-62.4, 46.4, 30.0), atol=1e-4)
    assert [note.split(": ")[1] for note in volume.notes] == (
        ["sform is used, as in 3D Slicer; NIfTI files written for it keep both."] if qfac > 0 else []
    )


def test_voxel_sizes_that_do_not_fit_the_matrix_are_used_as_in_slicer_with_a_note(tmp_path: Path) -> None:
    path = patched_spacing(save(tmp_path / "x.nii", np.diag([1.2, 1.2, 1.2, 1.0])), 1.0, 1.0, 1.0)
    volume = read_volume(path)
    assert volume.geometry.spacing == (1, 1, 1)  # the last voxel is at 3, 4, 5, not at 3.6, 4.8, 6
    assert "(1 x 1 x 1) do not fit its" in volume.notes[0] and "up to 1.4 mm" in volume.notes[0]


@pytest.mark.parametrize("which", ["sform", "qform", "both"])
def test_a_voxel_lies_where_the_matrix_says(tmp_path: Path, which: str) -> None:
    affine = turned(20, (0.8, 1.2, 3.0), (5.0, -7.0, 11.0))
    codes = {"sform": (affine, 2 if which != "qform" else 0), "qform": (affine, 1 if which != "sform" else 0)}
    volume = read_volume(save(tmp_path / "x.nii.gz", None, **codes))
    by_hand = (LPS @ affine @ (3, 2, 4, 1))[:3]
    np.testing.assert_allclose((volume.geometry.affine @ (3, 2, 4, 1))[:3], by_hand, atol=1e-4)
    assert volume.array[4, 2, 3] == ARRAY[3, 2, 4] and volume.notes == []
    itk = sitk.ReadImage(str(tmp_path / "x.nii.gz"))
    np.testing.assert_allclose(volume.geometry.origin, itk.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(volume.geometry.spacing, itk.GetSpacing(), atol=1e-4)
    np.testing.assert_allclose(volume.geometry.direction, itk.GetDirection(), atol=1e-4)


@pytest.mark.parametrize("codes", [(2, 1), (1, 1), (4, 2), (1, 3)])
def test_sform_and_qform_that_disagree_are_noted_and_both_kept(tmp_path: Path, codes: tuple[int, int]) -> None:
    first, second = turned(10, (1, 2, 3), (0, 0, 0)), turned(10, (1, 2, 3), (50, 0, 0))
    volume = read_volume(save(tmp_path / "x.nii.gz", None, sform=(first, codes[0]), qform=(second, codes[1])))
    assert "50.0 mm apart" in volume.notes[0]
    write_saliency(tmp_path / "map.nii.gz", np.ones(volume.shape), volume)
    header = nibabel.load(tmp_path / "map.nii.gz").header
    np.testing.assert_allclose(header.get_sform(), first, atol=1e-5)
    np.testing.assert_allclose(header.get_qform(), second, atol=1e-5)
    assert (int(header["sform_code"]), int(header["qform_code"])) == codes


@pytest.mark.parametrize("unit", ["unknown", "mm", "micron", "meter"])
@pytest.mark.parametrize("codes", list(itertools.product((0, 1, 2), repeat=2)))
def test_a_mask_lies_as_its_scan_whatever_the_codes(tmp_path: Path, codes: tuple[int, int], unit: str) -> None:
    scale = {"micron": 1000.0, "meter": 0.001}.get(unit, 1.0)
    first, second = turned(25, (0.8, 1.2, 3.0), (5.0, -7.0, 11.0)), turned(70, (0.8, 1.2, 3.0), (9.0, 3.0, -2.0))
    first[:3], second[:3] = first[:3] * scale, second[:3] * scale
    image = nibabel.Nifti1Image(ARRAY, None)
    image.header.set_xyzt_units(unit)
    image.header.set_zooms(np.array([0.8, 1.2, 3.0]) * scale)
    image.set_sform(first, codes[0])
    if codes[1]:
        image.set_qform(second, codes[1])
    nibabel.save(image, tmp_path / "scan.nii.gz")
    scan = nibabel.load(tmp_path / "scan.nii.gz")
    center = np.array([[-0.8, 0, 0, 1.2], [0, 1.2, 0, -2.4], [0, 0, 3.0, -7.5]]) * scale  # by NIfTI-1's method 1
    by_hand = first if codes[0] else second if codes[1] else np.vstack([center, [0, 0, 0, 1]])
    np.testing.assert_allclose(scan.affine, by_hand, rtol=1e-5, atol=1e-5 * scale)
    volume = read_volume(tmp_path / "scan.nii.gz")
    mask = np.zeros(volume.shape, bool)
    mask[2, 1, 3] = True
    write_segmentation(tmp_path / "mask.nii.gz", [Segment("x", mask)], volume)
    written = nibabel.load(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(written.affine, by_hand, rtol=1e-5, atol=1e-5 * scale)
    assert tuple(int(written.header[name]) for name in ("sform_code", "qform_code")) == codes
    assert np.argwhere(written.get_fdata()).tolist() == [[3, 1, 2]]
    itk = [sitk.ReadImage(str(tmp_path / name)) for name in ("scan.nii.gz", "mask.nii.gz")]
    places = [image.TransformIndexToPhysicalPoint((3, 1, 2)) for image in itk]
    np.testing.assert_allclose(places[1], places[0], rtol=1e-5, atol=1e-4)


def test_rounded_matrices_are_straightened_with_a_note(tmp_path: Path) -> None:
    affine = np.round(turned(20, (0.8, 1.2, 3.0), (5.0, -7.0, 11.0)), 2)
    path = save(tmp_path / "x.nii.gz", None, sform=(affine, 1), qform=(np.eye(4), 0))
    with pytest.raises(RuntimeError):
        sitk.ReadImage(str(path))  # and so 3D Slicer
    volume = read_volume(path)
    assert "from right angles" in volume.notes[0]
    cosines = volume.geometry.cosines
    np.testing.assert_allclose(cosines.T @ cosines, np.eye(3), atol=1e-12)
    corners = np.array([[i, j, k, 1] for i in (0, 3) for j in (0, 4) for k in (0, 5)]).T
    assert np.abs(volume.geometry.affine @ corners - LPS @ affine @ corners).max() < 0.05
    mask = np.ones(volume.shape, bool)
    write_segmentation(tmp_path / "mask.nii.gz", [Segment("x", mask)], volume)
    np.testing.assert_allclose(nibabel.load(tmp_path / "mask.nii.gz").affine, affine, atol=1e-6)
    (back,) = read_segmentation(tmp_path / "mask.nii.gz", volume)
    assert back.mask.all()


def test_shear_is_refused_with_a_remedy_that_works(tmp_path: Path) -> None:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[0, 2] = 0.5  # a tilted gantry
    path = save(tmp_path / "sheared.nii.gz", None, sform=(affine, 1))
    with pytest.raises(InputError, match="14.0 degrees from right angles") as caught:
        read_volume(path)
    follow(caught.value.remedy, tmp_path)
    assert read_volume(tmp_path / "straight.nii.gz").notes == []


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_nan_is_kept_out_with_a_note(tmp_path: Path, ending: str) -> None:
    array = np.full((6, 6, 3), -800.0, np.float32)
    array[1:4, 1:4] = np.linspace(-200, 300, 27).reshape(3, 3, 3)
    array[0] = np.nan
    volume = read_volume(save(tmp_path / f"x{ending}", np.eye(4), array))
    assert "18 NaN" in volume.notes[0] and volume.array.min() == -800
    assert np.isfinite(volume.array).all() and SliceStack(volume).window[0] < 0
    with pytest.raises(InputError, match="no finite voxel"):
        read_volume(save(tmp_path / f"nan{ending}", np.eye(4), np.full((3, 3, 3), np.nan, np.float32)))


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 1e-6, 1e30])
@pytest.mark.parametrize("axis", [0, 2])
def test_spacing_that_cannot_be_is_refused_at_once(tmp_path: Path, value: float, axis: int) -> None:
    path = save(tmp_path / "x.nii", np.eye(4))
    steps = [1.0, 1.0, 1.0, 1.0]
    steps[axis] = value
    with pytest.raises(InputError, match="voxel spacing") as caught:
        read_volume(patched_spacing(path, *steps))
    assert caught.value.remedy and "\n" not in str(caught.value)


def test_voxels_too_thin_for_an_image_are_refused(tmp_path: Path) -> None:
    volume = read_volume(save(tmp_path / "x.nii", np.diag([0.0002, 1.0, 900.0, 1.0])))
    with pytest.raises(InputError, match="pixels"):
        SliceStack(volume, "coronal")


@pytest.mark.parametrize("axes", ["RAS", "LPS", "AIR", "PSL", "IAL"])
def test_a_flat_file_is_shown_as_the_same_slice_of_a_volume(tmp_path: Path, axes: str) -> None:
    image = np.random.default_rng(0).integers(10, 200, (7, 9)).astype(np.int16)
    start = nibabel.orientations.axcodes2ornt(axes)
    affine = nibabel.orientations.inv_ornt_aff(start, (7, 9, 1)) @ np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, :3] *= 1.5
    deep = read_volume(save(tmp_path / "deep.nii.gz", affine, image[..., None]))
    flat = read_volume(save(tmp_path / "flat.nii.gz", affine, image))
    assert not flat.natural and flat.geometry.is_close(deep.geometry)
    plane = {2: "axial", 1: "coronal", 0: "sagittal"}[int(np.abs(affine[:3, 2]).argmax())]
    first, second = (SliceStack(volume, plane, (0, 200)) for volume in (flat, deep))
    assert np.array_equal(first.image(0), second.image(0))


def test_a_flat_file_has_its_anterior_up(tmp_path: Path) -> None:
    image = np.zeros((4, 6), np.int16)
    image[0, 5] = 100  # x = -i in RAS: i = 0 is the right-most; y = j: j = 5 is the most anterior
    volume = read_volume(save(tmp_path / "x.nii.gz", np.diag([-1.0, 1.0, 1.0, 1.0]), image))
    shown = SliceStack(volume, "axial", (0, 100)).image(0)[..., 0]
    assert np.argwhere(shown == 255).tolist() == [[0, 0]]  # at the top; the patient's right is left on an image


def test_a_file_without_codes_is_taken_as_itk_takes_it(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(ARRAY, None)
    image.header.set_zooms((1, 2, 3))
    nibabel.save(image, tmp_path / "x.nii")
    volume = read_volume(tmp_path / "x.nii")
    assert "does not say how it lies" in volume.notes[0]
    itk = sitk.ReadImage(str(tmp_path / "x.nii"))
    assert volume.geometry.origin == itk.GetOrigin() and volume.geometry.spacing == itk.GetSpacing()
    assert volume.geometry.direction == itk.GetDirection()
    nibabel.save(nibabel.Nifti1Image(ARRAY[..., 0], None), tmp_path / "flat.nii")
    assert read_volume(tmp_path / "flat.nii").natural


def test_a_compressed_file_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "x.nii.gz", np.eye(4), np.random.default_rng(0).integers(0, 99, (60, 60, 60), np.int16))
    read = []
    original = gzip.GzipFile.read
    monkeypatch.setattr(
        gzip.GzipFile, "read", lambda file, size=-1: read.append(len(got := original(file, size))) or got
    )
    read_volume(path)
    assert 60**3 * 2 <= sum(read) < 1.1 * 60**3 * 2


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8", ">i2", ">f4"])
def test_types_keep_their_values(tmp_path: Path, kind: str) -> None:
    array = np.array([0, 1, 100, 120], np.dtype(kind)).reshape(2, 2, 1).repeat(3, 2)
    header = nibabel.Nifti1Header(endianness=">" if kind[0] == ">" else "<")
    header.set_data_dtype(array.dtype)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4), header, dtype=array.dtype), tmp_path / "x.nii")
    volume = read_volume(tmp_path / "x.nii")
    assert volume.array.dtype.isnative and np.array_equal(volume.array, array.T)
    assert np.array_equal(volume.array, sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "x.nii"))))


def test_the_scale_is_applied(tmp_path: Path) -> None:
    path = patched(save(tmp_path / "x.nii", np.eye(4)), 112, "<f4", 0.5, -10.0)  # scl_slope, scl_inter
    assert np.array_equal(read_volume(path).array, ARRAY.T * 0.5 - 10)
    path = patched(
        save(tmp_path / "y.nii", np.eye(4), np.full((1, 1, 1), 1e6 + 0.25, np.float32)), 112, "<f4", 1.1, -1.1e6
    )
    itk = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))  # a difference of large numbers, which needs 64 bits
    assert read_volume(path).array.item() == pytest.approx(itk.item(), abs=1e-3)


def test_a_slope_of_0_scales_nothing_as_the_standard_says_and_3d_slicer_adds_the_intercept(tmp_path: Path) -> None:
    path = patched(save(tmp_path / "x.nii", np.eye(4)), 112, "<f4", 0.0, -10.0)
    volume = read_volume(path)
    assert np.array_equal(volume.array, ARRAY.T) and np.array_equal(nibabel.load(path).dataobj, ARRAY)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), ARRAY.T - 10.0)
    assert "to which 3D Slicer adds -10" in volume.notes[-1]


def test_headers_that_declare_too_much_are_refused_at_once(tmp_path: Path) -> None:
    for name in ("x.nii", "x.nii.gz"):
        path = save(tmp_path / "y.nii", np.eye(4))
        patched(path, 40, "<i2", 3, 32767, 32767, 32767)
        (tmp_path / name).write_bytes(path.read_bytes() if name == "x.nii" else gzip.compress(path.read_bytes()))
        with pytest.raises(InputError, match="truncated"):
            read_volume(tmp_path / name)
