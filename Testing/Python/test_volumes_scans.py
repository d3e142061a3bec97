"""Scans as users have them, kept beside the checkout; skipped where they are not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.export.cases import find_cases
from MedCLIPSAMLib.volumes import SliceStack, read_volume

PLACES = [parent / "shared" / "findings" / "inputs" for parent in Path(__file__).resolve().parents]
SCANS = next((place for place in PLACES if place.is_dir()), PLACES[0])
pytestmark = pytest.mark.skipif(not SCANS.is_dir(), reason=f"the scans are not at {SCANS}")

STACK = (8, 40, 36)
READ: dict[str, tuple[tuple[int, int, int], str]] = {
    "bmp-1-bit/p_1bit.bmp": ((1, 128, 128), ""),
    "ct-nan-nifti/n_ct_nan.nii.gz": (STACK, "4352 NaN"),
    "ct-nan-nifti/r_ct_nan.nrrd": (STACK, "4352 NaN"),
    "ct-with-dicom-seg/with_seg": (STACK, "segmentation"),
    "ct-with-dicom-seg": (STACK, "segmentation"),
    "ct-with-localizer-in-series/localizer": (STACK, "localizer"),
    "ct-with-scout-in-folder/localizer_own": (STACK, "--series"),
    "dicom-names-are-uids/uidnames": (STACK, ""),
    "enhanced-ct/enh/plain.dcm": (STACK, ""),
    "enhanced-ct/enh/shuffled.dcm": (STACK, ""),
    "enhanced-ct/enh/gap.dcm": ((7, 40, 36), "1 slice seems to be missing"),
    "jpeg-named-png/p_jpeg_named.png": ((1, 128, 128), "JPEG"),
    "mixed-image-sizes/sizes": (STACK, "another size"),
    "nii-gz-not-zipped/n_notgz.nii.gz": ((12, 30, 24), "uncompressed NIfTI"),
    "one-slice-twice/dup": (STACK, "twice"),
    "sform-qform-disagree/n_s_q_disagree.nii.gz": ((12, 30, 24), "50.0 mm apart"),
    "sform-rounded/n_rounded_sform.nii.gz": ((12, 30, 24), "right angles"),
}


@pytest.mark.parametrize("name", READ)
def test_scans_are_read_with_what_is_to_be_said_of_them(name: str) -> None:
    shape, expected = READ[name]
    volume = read_volume(SCANS / name)
    assert volume.shape == shape
    assert expected in " ".join(volume.notes) and bool(volume.notes) == bool(expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ct-nan-nifti/n_allnan.nii.gz", "no finite voxel"),
        ("dicom-seg-as-image/seg.dcm", "segmentation"),
        ("dynamic-series-phase-after-phase/phases", "--phase"),
        ("radiographs-one-folder/xrays", "--series"),
    ],
)
def test_what_is_no_single_image_is_refused_by_its_name(name: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        read_volume(SCANS / name)


def positions(folder: Path, **tags: Any) -> list[float]:
    headers = [pydicom.dcmread(path) for path in folder.glob("*") if path.name != "README"]
    return sorted(
        float(header.ImagePositionPatient[2]) for header in headers if all(header.get(k) == v for k, v in tags.items())
    )


def test_a_phase_is_the_stack_that_its_tags_name() -> None:
    folder = SCANS / "dynamic-series-phase-after-phase" / "phases"
    for phase in (1, 2, 3):
        volume = read_volume(folder, phase=str(phase))
        headers = {
            float(header.ImagePositionPatient[2]): header.pixel_array
            for header in map(pydicom.dcmread, folder.glob("*.dcm"))
            if header.TemporalPositionIdentifier == phase
        }
        expected = np.stack([headers[z] for z in sorted(headers)])
        assert volume.shape == STACK and volume.geometry.spacing[2] == 2.5
        assert np.corrcoef(volume.array.ravel(), expected.ravel())[0, 1] > 0.999999
    assert positions(folder, TemporalPositionIdentifier=1) == [2.5 * k for k in range(8)]


def test_frames_in_any_order_make_the_same_volume() -> None:
    plain, shuffled = (read_volume(SCANS / "enhanced-ct" / "enh" / f"{name}.dcm") for name in ("plain", "shuffled"))
    assert np.array_equal(plain.array, shuffled.array) and plain.geometry == shuffled.geometry
    assert plain.geometry.spacing == (1, 1, 2.5) and plain.window == (-600, 1500)


def test_the_scout_is_chosen_by_its_description() -> None:
    assert read_volume(SCANS / "ct-with-scout-in-folder", series="scout").shape == (1, 50, 60)


def test_images_are_shown_as_the_file_says() -> None:
    stored = pydicom.dcmread(SCANS / "monochrome1" / "comment.dcm").pixel_array
    for name in ("comment", "raw"):
        volume = read_volume(SCANS / "monochrome1" / f"{name}.dcm")
        shown = SliceStack(volume).image(0)[..., 0]
        assert shown[stored == stored.max()].max() < 5  # the highest is dark
    assert SliceStack(read_volume(SCANS / "dx-8bit-window" / "dx8bit_window.dcm")).window == (65, 95)
    path = SCANS / "voi-lut-sequence" / "voilut_inverse.dcm"
    dataset = pydicom.dcmread(path)
    bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
    expected = pydicom.pixels.apply_voi_lut(dataset.pixel_array, dataset) / (2**bits - 1) * 255
    np.testing.assert_allclose(SliceStack(read_volume(path)).image(0)[..., 0], expected, atol=0.51)


def test_a_flat_nifti_is_as_its_slice() -> None:
    flat, deep = (SliceStack(read_volume(SCANS / "nifti-2d-upside-down" / f"d{n}.nii.gz")) for n in (2, 3))
    assert np.array_equal(flat.image(0), deep.image(0))


def test_a_rounded_matrix_is_kept_within_a_fraction_of_a_voxel() -> None:
    path = SCANS / "sform-rounded" / "n_rounded_sform.nii.gz"
    volume, affine = read_volume(path), nibabel.load(path).affine
    corner = np.array([*(n - 1 for n in volume.shape[::-1]), 1.0])
    off = volume.geometry.affine @ corner - np.diag([-1, -1, 1, 1]) @ affine @ corner
    assert np.abs(off).max() < 0.3


def test_radiographs_of_a_folder_are_cases() -> None:
    cases = find_cases(SCANS / "radiographs-one-folder", {"lungs": "lungs"})
    assert [case.name for case in cases] == ["xrays_patient0", "xrays_patient1", "xrays_patient2"]
    assert [case.name for case in find_cases(SCANS / "dicom-names-are-uids", {"lungs": "lungs"})] == ["uidnames"]
