"""Colors of JPEG images in DICOM whose data differ from their Photometric Interpretation.

The rules are pydicom's (`_conform_jpg_colorspace`) and libjpeg's (`default_decompress_parms`).
"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

JPEG = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)
RGB_NAMES = (b"RGB", b"rgb")
START, APP0, APP14, SCAN = 0xD8, 0xE0, 0xEE, 0xDA
FRAMES = {0xC0, 0xC1, 0xC2, 0xC3}
"""Markers of the segment that names the components, one per kind of coding (ISO/IEC 10918-1 table B.1)."""


def coded_colors(dataset: Dataset) -> str:
    """Return the photometric interpretation of the first frame of compressed colors.

    If the components are named R, G and B, it is RGB. Otherwise, a JFIF marker, or Adobe's with transform 1, means
    luminance and chrominance. All other images are as their tag states.
    """
    stated = str(dataset.get("PhotometricInterpretation"))
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax not in JPEG or int(dataset.get("SamplesPerPixel") or 1) != 3:
        return stated
    names, is_ybr = _read_segments(bytes(dataset.PixelData))
    if names in RGB_NAMES:
        return "RGB"
    if is_ybr and not stated.startswith("YBR"):
        return "YBR_FULL_422" if syntax == JPEGBaseline8Bit else "YBR_FULL"
    return stated


def _read_segments(encapsulated: bytes) -> tuple[bytes, bool]:
    """Read the names of the components of the first frame, one byte each, and whether a marker declares YCbCr."""
    place = 8 + int.from_bytes(encapsulated[4:8], "little") + 8  # after the offset table and the header of an item
    is_ybr = False
    while encapsulated[place : place + 1] == b"\xff" and place + 4 <= len(encapsulated):
        marker = encapsulated[place + 1]
        if marker == START:
            place += 2
            continue
        length = int.from_bytes(encapsulated[place + 2 : place + 4], "big")
        content = encapsulated[place + 4 : place + 2 + length]
        is_ybr |= marker == APP0 and content.startswith(b"JFIF")
        is_ybr |= marker == APP14 and content.startswith(b"Adobe") and content[11:12] == b"\x01"
        if marker in FRAMES:
            return content[6::3], is_ybr
        if marker == SCAN:
            break
        place += 2 + length
    return b"", is_ybr
