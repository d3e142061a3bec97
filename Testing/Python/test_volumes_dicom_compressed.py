"""DICOM images that are compressed have their values and colors, or are refused."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_made import colored, image, save
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from MedCLIPSAMLib.errors import InputError, shorten
from MedCLIPSAMLib.volumes import read_volume

ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x01"
PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
BITS_20 = (
    "|4;u>04V?f0000600004000000000000006000040000000000009#L0sm3}3;+NC0RR951ONg5TmS?>p#Nk5B>(|Ka%Ew3Wn>^?c_2@4Wo}AP"
    "MMofZWpZ<AZ*CwmE;TMR|BwI*0000006_o&|C8VOQFsy>g{4cdmNqUB)K9o;DGu?X7eqou0~63=$W~!`xA<C?1+jLmewiTQHX8hCfB)G"
)
"""A lossless code stream of 20 bits, 4 x 6 values, each 40,000 above the one before."""
HIGH_THROUGHPUT = (
    "|4;u>04YEK0000600004000000000000006000040000000000009pH0sl|{2mk^A000XAQUDA90ssL31q1{@0smY86Cj9?kdTm&kdTm&kdTmw"
    "h=~7W02crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00000PXGb`lfVEbNAv{;bN~PVzyK2fr2PVibO68r62Jfz0O<e+bO7v;J^ldVGyuQ=Cx8G|"
    "08*v?fs1qi_P5{u02sh`RsjFm"
)
"""The same of high throughput and 16 bits, each value 170 above the one before."""


def coded(path: Path, stream: bytes, syntax: str, bits: int, pixels: np.ndarray) -> Path:
    made = image(pixels, BitsStored=bits, HighBit=bits - 1)
    made.PixelData = encapsulate([stream])
    made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
    return save(made, path, syntax)


@pytest.mark.parametrize(
    "stream, syntax, bits, step",
    [(BITS_20, JPEG2000Lossless, 20, 40_000), (HIGH_THROUGHPUT, "1.2.840.10008.1.2.4.201", 12, 170)],
)
def test_values_are_right_or_refused(tmp_path: Path, stream: str, syntax: str, bits: int, step: int) -> None:
    pixels = np.arange(24, dtype=np.uint32 if bits > 16 else np.uint16).reshape(4, 6) * step
    path = coded(tmp_path / "x.dcm", base64.b85decode(stream), syntax, bits, pixels)
    try:
        assert np.array_equal(read_volume(path).array[0], pixels)
    except InputError as error:  # no library that is there decodes it
        assert "cannot be read (compressed by " in error.problem


def test_values_that_loss_makes_too_high_are_not_taken_for_low_ones(tmp_path: Path) -> None:
    pixels = np.zeros((64, 64), np.uint16)
    pixels[:, 20:40] = 4095  # at whose edge the code overshoots, as it has 16 bits
    stream = io.BytesIO()
    Image.fromarray(pixels).save(
        stream, "JPEG2000", no_jp2=True, irreversible=True, quality_mode="dB", quality_layers=[45]
    )
    with Image.open(stream) as image_in_stream:
        decoded = np.asarray(image_in_stream).astype(int)
    path = coded(tmp_path / "x.dcm", stream.getvalue(), JPEG2000, 12, pixels)
    assert decoded.max() > 4095
    assert np.abs(read_volume(path).array[0] - np.minimum(decoded, 4095)).max() <= 1


@pytest.mark.parametrize("tag", ["RGB", "YBR_FULL_422"])
@pytest.mark.parametrize("marker", ["JFIF", "Adobe"])
def test_jpeg_colors_are_those_that_its_marker_says(tmp_path: Path, tag: str, marker: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 40)).save(file, "JPEG", quality=98, subsampling=0)  # with a JFIF marker
    coded = file.getvalue()
    if marker == "Adobe":
        coded = coded[:2] + ADOBE + coded[4 + int.from_bytes(coded[4:6], "big") :]
    made = colored(np.zeros((8, 8, 3), np.uint8), PhotometricInterpretation=tag)
    made.PixelData = encapsulate([coded])
    volume = read_volume(save(made, tmp_path / "x.dcm", JPEGBaseline8Bit))
    np.testing.assert_allclose(volume.array[0, 3, 3], (200, 30, 40), atol=2)


def test_what_gdcm_refuses_is_read_by_pydicom(tmp_path: Path) -> None:
    # R = Y + 1.402 (Cr - 128), G = Y - 0.344 (Cb - 128) - 0.714 (Cr - 128), B = Y + 1.772 (Cb - 128); PS3.3 C.7.6.3.1.2
    pixels = np.full((4, 6, 3), (100, 128, 178), np.uint8)
    made = colored(pixels, PhotometricInterpretation="YBR_FULL")
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    made.compress(RLELossless)
    volume = read_volume(save(made, tmp_path / "rle.dcm", RLELossless))
    np.testing.assert_allclose(volume.array[0, 0, 0], (170.1, 64.3, 100), atol=1)
    frames = []
    for color in ((200, 30, 40), (20, 180, 60)):
        file = io.BytesIO()
        Image.new("RGB", (8, 8), color).save(file, "JPEG", quality=98, subsampling=0)
        frames.append(file.getvalue())
    made = colored(np.zeros((2, 8, 8, 3), np.uint8), PhotometricInterpretation="YBR_FULL_422")
    made.PixelData = encapsulate(frames, fragments_per_frame=2)
    volume = read_volume(save(made, tmp_path / "jpeg.dcm", JPEGBaseline8Bit))
    np.testing.assert_allclose(volume.array[:, 3, 3], [(200, 30, 40), (20, 180, 60)], atol=2)


@pytest.fixture()
def gdcm_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> np.ndarray:
        raise RuntimeError("pydicom decodes")

    monkeypatch.setattr("MedCLIPSAMLib.volumes.dicom_decode.pixel_array", refuse)


@pytest.mark.usefixtures("gdcm_alone")
def test_jpeg_lossless_is_decoded_by_gdcm(tmp_path: Path) -> None:
    path, pixels = tmp_path / "lossless.dcm", np.random.default_rng(0).integers(0, 65536, (8, 8), np.uint16)
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(path))
    writer.SetUseCompression(True)
    writer.SetCompressor("JPEG")
    writer.Execute(sitk.GetImageFromArray(pixels[None]))
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == JPEGLosslessSV1
    assert np.array_equal(read_volume(path).array[0], pixels)


@pytest.mark.usefixtures("gdcm_alone")
def test_jpeg_ls_is_decoded_by_gdcm() -> None:
    path = PYDICOM_FILES / "MR_small_jpeg_ls_lossless.dcm"
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == JPEGLSLossless
    expected = pydicom.dcmread(PYDICOM_FILES / "MR_small.dcm").pixel_array
    assert np.array_equal(read_volume(path).array[0], expected)


@pytest.mark.parametrize("planes", [0, 1])
@pytest.mark.parametrize("padding", [b"", b"\0\0"])
def test_colors_of_every_pixel_are_read_where_the_tag_says_that_half_were_left_out(
    tmp_path: Path, planes: int, padding: bytes
) -> None:
    pixels = np.array([[[76, 85, 255], [150, 44, 21], [29, 255, 107], [255, 128, 128]]] * 3, np.uint8)
    stored = np.moveaxis(pixels, -1, 0) if planes else pixels
    tags = {"PhotometricInterpretation": "YBR_FULL_422", "PlanarConfiguration": planes}
    volume = read_volume(save(colored(pixels, PixelData=stored.tobytes() + padding, **tags), tmp_path / "x.dcm"))
    colors = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]
    assert np.abs(volume.array[0, 0].astype(int) - colors).max() <= 2
    assert "YBR_FULL was taken" in volume.notes[0]


def test_colors_of_half_of_the_pixels_are_read_and_those_that_are_cut_refused(tmp_path: Path) -> None:
    stored = bytes([76, 76, 85, 255, 29, 29, 255, 107] * 3)
    made = colored(np.zeros((3, 4, 3), np.uint8), PhotometricInterpretation="YBR_FULL_422", PixelData=stored)
    colors = [[255, 0, 0]] * 2 + [[0, 0, 255]] * 2
    assert np.abs(read_volume(save(made, tmp_path / "x.dcm")).array[0].astype(int) - colors).max() <= 2
    made.PixelData = bytes(30)
    with pytest.raises(InputError, match="Expected 24 bytes of YBR_FULL_422, got 30"):
        read_volume(save(made, tmp_path / "x.dcm"))


def test_no_message_ends_within_a_word(tmp_path: Path) -> None:
    made = colored(np.zeros((3, 4, 3), np.uint8))
    made.PixelData = bytes(20)
    with pytest.raises(InputError) as caught:
        read_volume(save(made, tmp_path / "x.dcm"))
    assert caught.value.problem.endswith("the transfer syntax may be incorrect.")
    assert shorten("one two three", 9) == "one two ..." and shorten("one", 3) == "one"
