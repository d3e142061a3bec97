"""DICOM images compressed by JPEG 2000 have their values, or are refused."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from dicom_made import image, save
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000, JPEG2000Lossless

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes import read_volume

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
