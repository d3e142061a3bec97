"""The voxels of DICOM files and how they are shown: by element, whatever else stands in the file."""

from __future__ import annotations

import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_made import CR, CT, colored, enhanced, image, item, save, sequence, slice_at
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.export.dataset import gray
from MedCLIPSAMLib.volumes import SliceStack, read_volume
from MedCLIPSAMLib.volumes.window import window_range

RAMP = np.arange(24, dtype=np.uint16).reshape(4, 6) * 100
PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def written(folder: Path, pixels: np.ndarray = RAMP, **tags: Any) -> Path:
    return save(image(pixels, CR, "CR", **tags), folder / f"x{len(list(folder.iterdir()))}.dcm")


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize("window", [{}, {"WindowCenter": 1000, "WindowWidth": 800}])
@pytest.mark.parametrize("kind", ["MONOCHROME1", "monochrome1"])
def test_monochrome1_is_inverted_for_images_models_and_exports(
    tmp_path: Path, window: dict[str, int], kind: str
) -> None:
    bits = {"BitsStored": 12, "HighBit": 11}
    plain = read_volume(written(tmp_path, **bits, **window))
    inverted = read_volume(written(tmp_path, PhotometricInterpretation=kind, **bits, **window))
    assert np.array_equal(inverted.array[0], 4095 - RAMP.astype(int)) and "MONOCHROME1" in inverted.notes[0]
    assert np.array_equal(gray(inverted), inverted.array)
    shown, other = (SliceStack(volume).image(0).astype(int) for volume in (plain, inverted))
    if window:
        np.testing.assert_allclose(other, 255 - shown, atol=1)
    assert other[0, 0, 0] > other[-1, -1, 0]


def test_monochrome1_of_8_bits_is_as_stored_but_inverted(tmp_path: Path) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    volume = read_volume(written(tmp_path, pixels, PhotometricInterpretation="MONOCHROME1"))
    assert volume.array.dtype == np.uint8 and window_range(volume) == (0, 255)
    assert np.array_equal(SliceStack(volume).image(0)[..., 0], 255 - pixels)


def test_only_the_element_says_that_high_is_dark(tmp_path: Path) -> None:
    output = {"SeriesDescription": "MONOCHROME1", "ImageComments": "MONOCHROME1 MONOCHROME2"}
    assert np.array_equal(read_volume(written(tmp_path, **output)).array[0], RAMP)
    volume = read_volume(written(tmp_path, PhotometricInterpretation="MONOCHROME1", **output))
    assert np.array_equal(volume.array[0], 65535 - RAMP.astype(int))


def test_monochrome1_with_sign_slope_and_several_slices(tmp_path: Path) -> None:
    for n in range(3):
        made = slice_at((0, 0, n), n, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)
        made.RescaleSlope, made.RescaleIntercept = 2, -100
        save(made, tmp_path / f"{n}.dcm")
    volume = read_volume(tmp_path)  # stored -2048 to 2047, so -4196 to 3994: v becomes -202 - v
    assert volume.array[:, 0, 0].tolist() == [-202 - (2 * n - 100) for n in range(3)]


@pytest.mark.parametrize("dark", [0, 1, 2])
def test_only_slices_that_say_so_are_inverted(tmp_path: Path, dark: int) -> None:
    for n in range(3):
        stored = 4095 - 100 * n if n == dark else 100 * n
        tags = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 4095 - 150 if n == dark else 150, "WindowWidth": 300}
        kind = "MONOCHROME1" if n == dark else "MONOCHROME2"
        made = slice_at((0, 0, n), n, PhotometricInterpretation=kind, **tags)
        made.PixelData, made.PixelRepresentation = np.full((4, 6), stored, np.uint16).tobytes(), 0
        save(made, tmp_path / f"{n}.dcm")
    volume = read_volume(tmp_path)
    assert volume.array[:, 0, 0].tolist() == [0, 100, 200] and volume.window == (150, 300)
    assert volume.notes == ["High values are dark in the file in 1 of 3 images (MONOCHROME1): they were inverted."]


def test_inversion_takes_no_copy_of_all_images(tmp_path: Path) -> None:
    path = written(tmp_path, np.zeros((16, 128, 128), np.uint16), PhotometricInterpretation="MONOCHROME1")
    tracemalloc.start()
    volume = read_volume(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert volume.array.min() == volume.array.max() == 65535
    assert peak / volume.array.size < 9  # bytes a voxel: 2 in the file, as decoded, and of the stack


def voi(first: int, outputs: list[int], bits: int) -> Sequence:
    return Sequence([item(LUTDescriptor=[len(outputs), first, bits], LUTData=np.array(outputs, "<u2").tobytes())])


def test_a_voi_lut_is_applied_as_pydicom_does(tmp_path: Path) -> None:
    falling = [4095 - n for n in range(0, 4096, 2)]
    path = written(tmp_path, VOILUTSequence=voi(100, falling, 12), WindowCenter=0, WindowWidth=10)
    volume = read_volume(path)
    expected = apply_voi_lut(RAMP, pydicom.dcmread(path)) / 4095 * 255
    np.testing.assert_allclose(SliceStack(volume).image(0)[..., 0], expected, atol=0.51)
    assert SliceStack(volume, window=(0, 2300)).image(0)[-1, -1, 0] == 255  # a window that is asked for goes first
    path = written(tmp_path, VOILUTSequence=voi(100, falling, 12), PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_allclose(SliceStack(read_volume(path)).image(0)[..., 0], 255 - expected, atol=0.51)


def test_a_voi_lut_over_negative_values(tmp_path: Path) -> None:
    outputs = list(range(0, 65536, 256))
    path = written(tmp_path, VOILUTSequence=voi(65536 - 128, outputs, 16), RescaleIntercept=-1000, RescaleSlope=1)
    volume = read_volume(path)
    shown = SliceStack(volume).image(0)[..., 0]
    expected = np.clip(volume.array[0].astype(int) + 128, 0, 255) * 256 / 65535 * 255
    np.testing.assert_allclose(shown, expected, atol=0.51)


def test_the_sigmoid_of_dicom(tmp_path: Path) -> None:
    path = written(tmp_path, VOILUTFunction="SIGMOID", WindowCenter=1000, WindowWidth=800)
    expected = 255 / (1 + np.exp(-4 * (RAMP.astype(float) - 1000) / 800))
    np.testing.assert_allclose(SliceStack(read_volume(path)).image(0)[..., 0], expected, atol=1)


def test_the_window_of_8_bit_images_is_taken(tmp_path: Path) -> None:
    pixels = np.linspace(60, 95, 24).astype(np.uint8).reshape(4, 6)
    volume = read_volume(written(tmp_path, pixels, WindowCenter=80, WindowWidth=30))
    assert window_range(volume) == (65, 95)
    assert window_range(read_volume(written(tmp_path, pixels))) == (0, 255)
    assert window_range(read_volume(written(tmp_path, pixels, WindowCenter=128, WindowWidth=256))) == (0, 255)
    assert window_range(read_volume(written(tmp_path, pixels, WindowCenter=200, WindowWidth=2))) == (0, 255)


def test_the_frame_s_own_window_and_scale_are_used(tmp_path: Path) -> None:
    frames = [
        {
            "FrameVOILUTSequence": sequence(WindowCenter=-600.0, WindowWidth=1500.0),
            "PixelValueTransformationSequence": sequence(RescaleSlope=10.0 * (n + 1), RescaleIntercept=-1000.0),
        }
        for n in range(3)
    ]
    volume = read_volume(save(enhanced([(0, 0, n) for n in range(3)], frames), tmp_path / "e.dcm"))
    assert volume.array[:, 0, 0].tolist() == [-1000, -980, -940] and volume.window == (-600, 1500)


def test_what_is_in_private_sequences_is_not_of_the_frame(tmp_path: Path) -> None:
    made = enhanced([(0, 0, n) for n in range(3)])
    made.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence = sequence(
        RescaleSlope=2.0, RescaleIntercept=0.0
    )
    for group in made.PerFrameFunctionalGroupsSequence:
        block = group.private_block(0x2005, "Philips MR Imaging DD 005", create=True)
        block.add_new(0x0F, "SQ", sequence(RescaleSlope=7.0, RescaleIntercept=1.0, PixelSpacing=[9.0, 9.0]))
    volume = read_volume(save(made, tmp_path / "x.dcm"))
    assert volume.array[:, 0, 0].tolist() == [0, 2, 4] and volume.geometry.spacing == (0.5, 0.7, 1)


def test_each_slice_has_its_own_slope(tmp_path: Path) -> None:
    for n in range(3):
        made = slice_at((0, 0, n), 100, Modality="PT", RescaleSlope=0.5 * (n + 1), RescaleIntercept=0)
        save(made, tmp_path / f"{n}.dcm")
    assert read_volume(tmp_path).array[:, 0, 0].tolist() == [50, 100, 150]


def test_a_modality_lut_is_applied_as_pydicom_does(tmp_path: Path) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    squares = (np.arange(20, dtype="<u2") ** 2).tobytes()
    tables = Sequence([item(LUTDescriptor=[20, 2, 16], LUTData=squares, ModalityLUTType="US")])
    path = written(tmp_path, pixels, ModalityLUTSequence=tables)
    assert np.array_equal(read_volume(path).array[0], apply_modality_lut(pixels, pydicom.dcmread(path)))
    tables[0].LUTDescriptor[1] = 65536 - 2  # of signed values: -2, to which the first entry belongs
    path = written(tmp_path, pixels.astype(np.int16), ModalityLUTSequence=tables)
    assert np.array_equal(read_volume(path).array[0], np.minimum(pixels.astype(int) + 2, 19) ** 2)


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_unused_bits_are_left_out(tmp_path: Path, bits: int, signed: bool) -> None:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    values = np.array([low, high, 0, 1], np.int64).reshape(2, 2)
    stored = (values & (2**bits - 1)).astype(np.uint16) | np.uint16(0x10000 - 2**bits)  # an overlay above
    tags = {"BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": int(signed)}
    assert np.array_equal(read_volume(written(tmp_path, stored, **tags)).array[0], values)


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless]
)
@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("lowest", [0, -1000])
def test_transfer_syntaxes_give_the_same_voxels(tmp_path: Path, syntax: str, bits: int, lowest: int) -> None:
    values = RAMP.astype(np.int16 if lowest < 0 else np.uint16) + lowest
    made = image(values, CT, "CT", BitsStored=bits, HighBit=bits - 1)
    if syntax == RLELossless:
        made.file_meta = pydicom.dataset.FileMetaDataset()
        made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        made.compress(RLELossless)
    elif syntax == ExplicitVRBigEndian:
        made.PixelData = values.byteswap().tobytes()
    volume = read_volume(save(made, tmp_path / "x.dcm", syntax))
    assert np.array_equal(volume.array[0], values)


@pytest.mark.parametrize(("signed", "last"), [(0, 0xFFF), (1, -1)])
def test_pixels_of_12_bits_without_gaps_are_read(tmp_path: Path, signed: int, last: int) -> None:
    made = image(np.zeros((1, 3), np.uint16), BitsAllocated=12, BitsStored=12, HighBit=11, PixelRepresentation=signed)
    made.PixelData = bytes.fromhex("236145ff0f00")  # of the first two pixels 23 and 1, then 6 and 45; a byte to be even
    assert read_volume(save(made, tmp_path / "x.dcm")).array.tolist() == [[[0x123, 0x456, last]]]
    made.PixelData = made.PixelData[:4]
    with pytest.raises(InputError, match="cannot be read"):
        read_volume(save(made, tmp_path / "x.dcm"))


def test_whole_numbers_of_32_bits_stay_exact(tmp_path: Path) -> None:
    pixels = np.array([[0, 4_000_000_001]], np.uint32)
    assert read_volume(written(tmp_path, pixels)).array.tolist() == [pixels.tolist()]


@pytest.mark.parametrize("signed", [False, True])
def test_bits_lie_below_the_high_bit(tmp_path: Path, signed: bool) -> None:
    values = np.array([[0, 100, 2047, -2048 if signed else 4095]])
    stored = ((values << 4) & 0xFFFF).astype(np.uint16)
    tags = {"BitsStored": 12, "HighBit": 15, "PixelRepresentation": int(signed)}
    assert np.array_equal(read_volume(written(tmp_path, stored, **tags)).array[0], values)
    wrong = (values & 0xFFF).astype(np.uint16)  # a high bit that is not where the values are
    assert np.array_equal(read_volume(written(tmp_path, wrong, **tags)).array[0], values)


@pytest.mark.parametrize("signed", [False, True])
def test_an_overlay_in_the_low_bits_is_no_value(tmp_path: Path, signed: bool) -> None:
    values = np.array([[0, 100, 2047, -2048 if signed else 4095]])
    stored = ((values << 4) & 0xFFFF | [[1, 0, 1, 5]]).astype(np.uint16)  # one overlay in bit 0, one in bit 2
    made = image(stored, CR, "CR", BitsStored=12, HighBit=15, PixelRepresentation=int(signed))
    for group, bit in ((0x6000, 0), (0x6002, 2)):
        made.add_new((group, 0x0010), "US", 1)
        made.add_new((group, 0x0011), "US", 4)
        made.add_new((group, 0x0100), "US", 16)
        made.add_new((group, 0x0102), "US", bit)
    assert np.array_equal(read_volume(save(made, tmp_path / "x.dcm")).array[0], values)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize(("bits", "highest"), [(12, 4095), (10, 1023), (8, 255), (16, 65535)])
def test_colors_of_more_than_8_bits_are_scaled_by_those_that_are_used(
    tmp_path: Path, bits: int, highest: int, left: bool, syntax: str
) -> None:
    pixels = np.zeros((4, 6, 3), np.uint16)
    pixels[0, 0], pixels[1, 1] = (highest, highest // 3, 0), (0, 0, highest // 5)
    if left:
        pixels <<= 16 - bits
    stored = pixels.byteswap() if syntax == ExplicitVRBigEndian else pixels
    made = colored(stored, BitsStored=bits, HighBit=15 if left else bits - 1)
    volume = read_volume(save(made, tmp_path / "x.dcm", syntax))
    assert volume.array[0, 0, 0].tolist() == [255, 85, 0] and volume.array[0, 1, 1].tolist() == [0, 0, 51]


def test_a_scale_that_cannot_be_used_is_told_of(tmp_path: Path) -> None:
    for number, slope in enumerate(("2", "1,5", "0", "abc")):
        made = slice_at((0, 0, number), 10, RescaleIntercept="-3")
        made.add_new("RescaleSlope", "LO", slope)  # as text, whose form nothing checks
        path = save(made, tmp_path / f"{number}.dcm", ImplicitVRLittleEndian)
        volume = read_volume(path)
        assert volume.array[0, 0, 0] == {"2": 17, "1,5": 12}.get(slope, 7)
        said = {"2": [], "1,5": ["RescaleSlope is written with a decimal comma (1,5)"]}
        expected = [*said.get(slope, [f"RescaleSlope is '{slope}' in 1 of 1 images"]), "The image is constant"]
        assert all(note.startswith(want) for note, want in zip(volume.notes, expected, strict=True))
    assert "in 2 of 4 images" in " ".join(read_volume(tmp_path).notes)


def test_empty_pixel_data_is_said_to_be_empty(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"its pixel data are empty \(0 bytes\)"):
        read_volume(save(slice_at((0, 0, 0), 1, PixelData=b""), tmp_path / "x.dcm"))


@pytest.mark.parametrize(
    ("kind", "whole"), [("RGB", 2 * 24 * 3), ("YBR_FULL", 2 * 24 * 3), ("YBR_FULL_422", 2 * 24 * 2)]
)
def test_colors_that_end_early_are_refused(tmp_path: Path, kind: str, whole: int) -> None:
    made = colored(np.zeros((2, 4, 6, 3), np.uint8), PhotometricInterpretation=kind)
    for syntax in (ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian):
        made.PixelData = bytes(whole)
        assert read_volume(save(made, tmp_path / "whole.dcm", syntax)).array.shape == (2, 4, 6, 3)
        made.PixelData = bytes(whole - 2)
        with pytest.raises(InputError, match=rf"less than expected \({whole - 2} vs {whole} bytes\)"):
            read_volume(save(made, tmp_path / "cut.dcm", syntax))


def readable(path: Path) -> bool:
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    except Exception:
        return False
    no_image = ("66.4", "481.")
    return "Rows" in header and not any(f"1.1.{ending}" in header.get("SOPClassUID", "") for ending in no_image)


@pytest.mark.parametrize("path", sorted(PYDICOM_FILES.glob("*.dcm")), ids=lambda path: path.name)
def test_voxels_are_those_of_gdcm_and_of_pydicom(path: Path) -> None:
    """Files of many programs, transfer syntaxes and kinds of color; each is read by two libraries."""
    with warnings.catch_warnings(action="ignore"):
        if not readable(path):
            pytest.skip("no image")
        theirs: list[np.ndarray] = []
        try:
            if "rle_16bit" not in path.name:  # of which GDCM mixes the bytes
                theirs.append(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
        except RuntimeError:
            pass
        try:
            dataset = pydicom.dcmread(path)
            if dataset.file_meta.TransferSyntaxUID in pydicom.uid.JPEGTransferSyntaxes and dataset.SamplesPerPixel > 1:
                raise ValueError("lossy colors may differ by rounding")
            pixels = pydicom.pixels.pixel_array(dataset)
            if dataset.PhotometricInterpretation != "PALETTE COLOR":
                theirs.append(apply_modality_lut(pixels, dataset))
        except Exception:
            pass
        try:
            ours = read_volume(path).array
        except InputError:
            if len(theirs) > 1:
                assert theirs[0].dtype == np.uint32  # colors of 32 bits, which are no image
            return
    assert theirs
    for frame in theirs:
        expected = frame.reshape(ours.shape).astype(np.float64)
        if frame.dtype == np.uint16 and ours.ndim == 4:
            expected = np.rint(expected / 257)
        difference = np.abs(expected - ours)
        assert difference.max() <= (1 if "JPEG" in path.name.upper() or "J2K" in path.name.upper() else 0)
