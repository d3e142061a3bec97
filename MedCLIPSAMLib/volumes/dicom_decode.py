"""Decoding of the stored values of DICOM files.

pydicom decodes uncompressed and run-length encoded files. GDCM decodes the JPEG family, from a copy that contains only
the pixels: so no tag can make it rescale or invert them, and nested data of the file never reach it. What GDCM refuses
is left to pydicom.
"""

from __future__ import annotations

import re
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)

from MedCLIPSAMLib.errors import InputError, shorten
from MedCLIPSAMLib.volumes.dicom_header import DAMAGED, read_header
from MedCLIPSAMLib.volumes.dicom_jpeg import coded_colors
from MedCLIPSAMLib.volumes.dicom_padding import find_padding
from MedCLIPSAMLib.volumes.dicom_pixel_tags import HALF_COLORS, complete_pixel_tags, frame_count, stored_range
from MedCLIPSAMLib.volumes.dicom_tables import entries
from MedCLIPSAMLib.volumes.dicom_values import numbers
from MedCLIPSAMLib.volumes.itk_read import itk_image

try:
    from pydicom.pixels import apply_color_lut, pixel_array

    WHOLE_FILE: dict[str, bool] = {"enforce_file_format": True}
except ImportError:  # pydicom 2.4, as in 3D Slicer 5.10
    from pydicom.pixel_data_handlers.util import apply_color_lut, convert_color_space  # type: ignore[no-redef]

    WHOLE_FILE = {"write_like_original": False}

    def pixel_array(src: Dataset) -> np.ndarray:  # type: ignore[misc]
        """Decode the pixels of a data set, with colors as red, green and blue."""
        kind = src.PhotometricInterpretation
        return convert_color_space(src.pixel_array, kind, "RGB") if kind.startswith("YBR_FULL") else src.pixel_array


SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
PIXEL_TAGS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
)
COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
"""Photometric interpretations of three samples per pixel that are converted to red, green and blue."""
JPEG_2000 = tuple(f"1.2.840.10008.1.2.4.{ending}" for ending in (91, 203, 90, 201, 202))
"""JPEG 2000, including the high-throughput ones; the first two may be lossy."""
READ = re.compile(r"1\.2\.840\.10008\.1\.2(\.(1|2|5|1\.9[89]|4\.([56]\d|70|8[01]|9[0-3]|20[1-3])))?")
"""Supported transfer syntaxes: all but videos, JPIP, JPEG XL and non-standard ones (PS3.6, table A-1)."""
MOST_BY_RLE = 64
"""Maximum number of bytes that a byte of run-length encoding stands for: two bytes stand for 128 (PS3.5 G.3.1)."""
PALETTES = tuple(f"{color}PaletteColorLookupTableData" for color in ("Red", "Green", "Blue"))


def decode(path: Path, notes: list[str] | None = None, as_stored: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
    """Decode the stored values of a file.

    Args:
        notes: receives notes on the values assumed for missing tags.
        as_stored: return the indices of a palette instead of its colors.

    Returns:
        The values of all frames that are present, (frames, J, I), or (frames, J, I, 3) in red, green and blue; and a
        mask of the padding of gray images, if the file declares padding.

    Raises:
        InputError: the pixels are missing, damaged, or of an unsupported kind.
    """
    dataset = read_header(path, with_pixels=True)
    stored = [dataset[keyword].value for keyword in PIXELS if keyword in dataset]
    if not any(stored):
        lacks = "its pixel data are empty (0 bytes)" if stored else "holds no complete image"
        raise InputError(f"'{path}' is DICOM, but {lacks}.", "Copy or export it again.")
    syntax = _transfer_syntax(dataset)
    if not READ.fullmatch(syntax):
        raise InputError(
            f"'{path}' has the transfer syntax {syntax.name}, which is not supported.",
            "Export it without compression; export the frames of a video as images.",
        )
    said = complete_pixel_tags(dataset)
    if notes is not None:
        notes += [note for note in said if note not in notes]
    samples, kind = int(dataset.get("SamplesPerPixel") or 1), dataset.get("PhotometricInterpretation")
    gray = samples == 1
    if not gray and (samples != 3 or kind not in COLORS):
        raise InputError(
            f"'{path}' has colors of the kind {kind}, which are not supported with {samples} samples per pixel.",
            "Save it as RGB.",
        )
    as_words = (not syntax.is_encapsulated or syntax == RLELossless) and not str(kind).startswith("YBR")
    try:
        array = _in_frames(_words(dataset) if as_words else _by_gdcm_or_pydicom(dataset), dataset)
        if kind == "PALETTE COLOR" and not as_stored:
            return _colors(array, dataset), None
    except DAMAGED as error:
        how = f" (compressed by {syntax.name})" if syntax.is_compressed else ""
        reason = str(error).strip().splitlines()[-1].split("): ")[-1] if str(error).strip() else "damaged"
        if isinstance(error, StopIteration):  # raised by pydicom, without a message
            reason = f"there are fewer than the {frame_count(dataset)} frames that it declares"
        raise InputError(
            f"The pixels of '{path}' cannot be read{how}: {shorten(reason.rstrip('.'), 300)}.",
            "Copy or export it again.",
        ) from error
    if not gray and array.dtype != np.uint16:
        return array, None
    values = _used_bits(array, dataset, as_words)
    return values, None if not gray else find_padding(array, values, dataset)


def _in_frames(array: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Add an axis of frames if it is missing, and convert to the byte order of this machine."""
    gray = int(dataset.get("SamplesPerPixel") or 1) == 1
    rows, columns = array.shape[-2 if gray else -3 :][:2]
    if (rows, columns) != (dataset.Rows, dataset.Columns):
        raise ValueError(f"Expected {dataset.Columns} x {dataset.Rows} pixels, got {columns} x {rows}.")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return array.reshape((-1, *array.shape[-2 if gray else -3 :]))


def _words(dataset: Dataset) -> np.ndarray:
    """Return the words of a file with all of their bits; pydicom would clear those that it considers unused."""
    stored = {keyword: dataset.get(keyword) for keyword in ("BitsStored", "HighBit")}
    allocated = int(dataset.get("BitsAllocated") or 0)
    size = frame_count(dataset) * int(dataset.Rows) * int(dataset.Columns) * allocated // 8
    if dataset.file_meta.TransferSyntaxUID == RLELossless and size > MOST_BY_RLE * len(dataset.PixelData):
        raise ValueError(f"{len(dataset.PixelData)} bytes cannot hold {size} bytes of pixels")
    if allocated == 12:  # without gaps, two pixels in three bytes (ACR-NEMA)
        count = frame_count(dataset) * dataset.Rows * dataset.Columns
        data = np.frombuffer(dataset.PixelData, np.uint8, -(-count * 3 // 2))
        low, middle, high = np.append(data, [0] * (-len(data) % 3)).astype(np.uint16).reshape(-1, 3).T
        pixels = np.stack([low | (middle & 15) << 8, middle >> 4 | high << 4], axis=1).reshape(-1)
        dataset.BitsAllocated = 16
        return pixels[:count].reshape(-1, dataset.Rows, dataset.Columns)
    if allocated % 8 == 0 and None not in stored.values():
        dataset.BitsStored, dataset.HighBit = allocated, allocated - 1
    array = dataset.pixel_array
    for keyword, value in stored.items():
        if value is not None:
            setattr(dataset, keyword, value)
    return array


def _by_gdcm_or_pydicom(dataset: Dataset) -> np.ndarray:
    """Decode the JPEG family with GDCM, or with pydicom what GDCM cannot decode.

    These are several fragments per frame (PS3.5 A.4), which GDCM refuses, and JPEG 2000 of more than 16 bits, which it
    decodes to wrong values.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated and dataset.PhotometricInterpretation == HALF_COLORS:
        size = 2 * int(dataset.Rows) * int(dataset.Columns) * frame_count(dataset)
        if len(dataset.PixelData) > size + 2:  # pydicom would ignore the rest
            raise ValueError(f"Expected {size} bytes of {HALF_COLORS}, got {len(dataset.PixelData)}.")
    if not syntax.is_encapsulated or syntax == RLELossless or (syntax in JPEG_2000 and int(dataset.BitsAllocated) > 16):
        return pixel_array(dataset)
    try:
        return _in_frames(_by_gdcm(dataset), dataset)
    except DAMAGED:
        with suppress(*DAMAGED):
            return pixel_array(dataset)
        raise


def _colors(array: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Replace palette indices by colors, uint8.

    Entries of 8 bits may be packed into words (PS3.3 C.7.6.3.1.6). Unpacked ones are converted to words, because
    pydicom takes the size of the indices from the size of the entries.
    """
    for keyword in PALETTES:
        if keyword in dataset:
            data = entries(dataset[keyword], dataset)
            count = int(dataset[keyword.replace("Data", "Descriptor")].value[0]) or 65536
            is_words = len(data) >= 2 * count
            dataset[keyword].value = data if is_words else np.frombuffer(data, "u1").astype("<u2").tobytes()
    high = False
    if apply_color_lut(array[:1, :1, :1], dataset).dtype == np.uint16:
        count, first = (int(value) for value in dataset.RedPaletteColorLookupTableDescriptor[:2])
        high = apply_color_lut(np.arange(first, first + (count or 65536)), dataset)[..., :3].max() > 255
    colors = np.empty((*array.shape, 3), np.uint8)
    for shown, frame in zip(colors, array):
        of_frame = apply_color_lut(frame, dataset)[..., :3]
        shown[...] = of_frame >> 8 if high else of_frame
    return colors


def _transfer_syntax(dataset: Dataset) -> UID:
    """Return the transfer syntax of a file; if the file does not state it, the encoding with which it was read."""
    meta = getattr(dataset, "file_meta", None) or FileMetaDataset()
    dataset.file_meta = meta
    if not meta.get("TransferSyntaxUID"):
        implicit, little = getattr(dataset, "original_encoding", None) or (
            dataset.is_implicit_VR,
            dataset.is_little_endian,
        )
        big = ExplicitVRBigEndian if little is False else ExplicitVRLittleEndian
        meta.TransferSyntaxUID = big if implicit is False else ImplicitVRLittleEndian
    return meta.TransferSyntaxUID


def _by_gdcm(dataset: Dataset) -> np.ndarray:
    bare = Dataset()
    for keyword in PIXEL_TAGS:
        if keyword in dataset:
            bare[keyword] = dataset[keyword]
    if int(dataset.get("SamplesPerPixel") or 1) == 1:
        bare.PhotometricInterpretation = "MONOCHROME2"
    else:
        bare.PhotometricInterpretation = coded_colors(dataset)
    syntax = dataset.file_meta.TransferSyntaxUID
    bare.SOPClassUID, bare.SOPInstanceUID = SECONDARY_CAPTURE, generate_uid()
    bare["PixelData"].is_undefined_length = True
    bare.is_little_endian, bare.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = syntax
    bare.file_meta.MediaStorageSOPClassUID = bare.SOPClassUID
    bare.file_meta.MediaStorageSOPInstanceUID = bare.SOPInstanceUID
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "pixels.dcm"
        bare.save_as(copy, **WHOLE_FILE)
        return sitk.GetArrayFromImage(itk_image(copy))


def _used_bits(array: np.ndarray, dataset: Dataset, as_words: bool) -> np.ndarray:
    """Remove the unused bits of integers and restore their sign.

    Args:
        as_words: the values are the words of the file, in which the used bits end at the high bit (PS3.5 8.1.1). If
            there are values in the bits below these, other than overlays (retired), the high bit is wrong and ignored.
    """
    allocated, used = int(dataset.get("BitsAllocated") or 16), int(dataset.get("BitsStored") or 0)
    if array.dtype.kind not in "iu" or not 0 < used < allocated or allocated != array.itemsize * 8:
        return array
    signed = int(dataset.get("PixelRepresentation") or 0) == 1
    array = array.view(np.dtype(f"{'i' if signed else 'u'}{array.itemsize}"))
    if not as_words and dataset.file_meta.TransferSyntaxUID in JPEG_2000[:2] and (array.min() < 0 or not signed):
        return np.clip(array, *stored_range(dataset))  # lossy compression can exceed the range of these bits
    below = int(dataset.get("HighBit") or 0) + 1 - used
    of_overlays = sum({1 << bit for bit in _overlay_bits(dataset) if bit < max(below, 0)})
    if not (as_words and 0 < below <= allocated - used) or (array & ((1 << below) - 1 - of_overlays)).any():
        below = 0
    return (array << (allocated - used - below)) >> (allocated - used)


def _overlay_bits(dataset: Dataset) -> list[int]:
    """Return the pixel bits that hold overlays (PS3.3-2004 C.9.2): those of overlays without data of their own."""
    groups = [group for group in range(0x6000, 0x6020, 2) if (group, 0x3000) not in dataset]
    places = [dataset.get((group, 0x0102)) for group in groups]
    return [int(bit) for place in places if place is not None for bit in numbers(place.value)[:1]]
