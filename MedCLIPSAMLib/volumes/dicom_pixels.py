"""The voxels of DICOM images: decoded, in the units of the modality, high values bright, and how to show them.

pydicom decodes gray files that are not compressed, or run-length encoded. GDCM decodes colors and the JPEG family,
from a copy that holds nothing but the pixels: so no tag of the file can make it rescale or invert them, and what
is nested in the file never reaches it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes.curve import Curve
from MedCLIPSAMLib.volumes.dicom_header import DAMAGED, Frame, read_whole
from MedCLIPSAMLib.volumes.dicom_values import numbers
from MedCLIPSAMLib.volumes.itk_read import itk_image

try:
    from pydicom.pixels import apply_color_lut

    WHOLE_FILE: dict[str, bool] = {"enforce_file_format": True}
except ImportError:  # pydicom 2.4, as in 3D Slicer 5.10
    from pydicom.pixel_data_handlers.util import apply_color_lut  # type: ignore[no-redef]

    WHOLE_FILE = {"write_like_original": False}

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
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
INVERTED_NOTE = "High values are dark in the file (MONOCHROME1): they were inverted."
DEEP_NOTE = "16-bit RGB was reduced to 8-bit."


def read_voxels(frames: Sequence[Frame], notes: list[str]) -> tuple[np.ndarray, float | None]:
    """Read the voxels of images in their order.

    Returns:
        (K, J, I) in the units of the modality, or (K, J, I, 3) uint8; and the sum of a value in the file and the value
        it became, where high values were dark, else None.

    Raises:
        InputError: damaged, or compressed in a way that cannot be read.
    """
    by_path: dict[Path, list[Frame]] = {}
    for frame in frames:
        by_path.setdefault(frame.path, []).append(frame)
    found: dict[Frame, np.ndarray] = {}
    for path, of_file in by_path.items():
        decoded = _decode(path)
        for frame in of_file:
            if frame.index >= len(decoded):
                raise InputError(
                    f"Expected {frame.header.get('NumberOfFrames')} frames in '{path}', got {len(decoded)}.",
                    "Copy or export it again.",
                )
            stored = decoded[frame.index]
            found[frame] = stored if stored.ndim == 3 else _in_units(stored, frame)
    voxels = [found[frame] for frame in frames]
    if voxels[0].ndim == 3:
        if any(frame.dtype not in (np.uint8, np.uint16) for frame in voxels):
            raise InputError(f"'{frames[0].path}' has colors of {voxels[0].dtype}.", "Save it as 8-bit RGB.")
        if any(frame.dtype != np.uint8 for frame in voxels):
            notes.append(DEEP_NOTE)
            voxels = [np.rint(frame / 257).astype(np.uint8) if frame.dtype != np.uint8 else frame for frame in voxels]
        return np.stack(voxels), None
    array = _fitting(np.stack(voxels))
    middle = frames[len(frames) // 2]
    if middle.text("PhotometricInterpretation") != "MONOCHROME1":
        return array, None
    notes.append(INVERTED_NOTE)
    low, high = _stored_range(middle.header)
    ends = _in_units(np.array([low, high]), middle)
    total = float(ends[0]) + float(ends[-1])
    inverted = _fitting(total - array.astype(np.float64))
    if inverted.dtype.kind in "iu" and array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype)
        if limits.min <= inverted.min() and inverted.max() <= limits.max:
            inverted = inverted.astype(array.dtype)
    return inverted, total


def shown_by(frames: Sequence[Frame], total: float | None) -> tuple[tuple[float, float] | None, Curve | None]:
    """Return the window (center, width) and the curve of the middle image, for the voxels of `read_voxels`.

    A table of values (VOI LUT) takes precedence over a window.
    """
    frame = frames[len(frames) // 2]
    curve = _table(frame)
    center, width = frame.numbers("WindowCenter"), frame.numbers("WindowWidth")
    window = None
    if center and width and width[0] > 0 and np.isfinite([center[0], width[0]]).all():
        window = center[0], width[0]
        if curve is None and frame.text("VOILUTFunction") == "SIGMOID":
            curve = Curve.sigmoid(*window)
    if total is not None:
        window = None if window is None else (total - window[0], window[1])
        curve = None if curve is None else curve.mirror(total)
    return window, curve


def _decode(path: Path) -> np.ndarray:
    """Decode the stored values of a file, (frames, J, I), or (frames, J, I, 3) with red, green and blue."""
    dataset = read_whole(path)
    if not any(keyword in dataset for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise InputError(f"'{path}' is DICOM, but holds no complete image.", "Copy or export it again.")
    syntax = _transfer_syntax(dataset)
    gray = int(dataset.get("SamplesPerPixel") or 1) == 1
    kind = dataset.get("PhotometricInterpretation")
    try:
        by_pydicom = not syntax.is_compressed or syntax in (RLELossless, DeflatedExplicitVRLittleEndian)
        # GDCM exchanges the bytes of colors of 16 bits that are compressed by run lengths
        plain = gray or (kind == "RGB" and syntax == RLELossless)
        array = dataset.pixel_array if by_pydicom and plain else _by_gdcm(dataset)
        frames = int((numbers(dataset.get("NumberOfFrames")) or [1])[0])
        array = array.reshape((max(frames, 1), *array.shape[-2 if gray else -3 :]))
        if kind == "PALETTE COLOR":
            array = apply_color_lut(array, dataset)[..., :3]
            return (array >> 8).astype(np.uint8) if array.dtype == np.uint16 else array
    except DAMAGED as error:
        how = f" (compressed by {syntax.name})" if syntax.is_compressed else ""
        reason = str(error).strip().splitlines()[-1].split("): ")[-1][:200] if str(error).strip() else "damaged"
        raise InputError(f"The pixels of '{path}' cannot be read{how}: {reason}", "Copy or export it again.") from error
    return _used_bits(array, dataset) if gray else array


def _transfer_syntax(dataset: Dataset) -> UID:
    """Return the encoding of a file; as it was read, where the file does not state it."""
    meta = getattr(dataset, "file_meta", None) or FileMetaDataset()
    dataset.file_meta = meta
    if "TransferSyntaxUID" not in meta:
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
    syntax = dataset.file_meta.TransferSyntaxUID
    bare.SOPClassUID, bare.SOPInstanceUID = SECONDARY_CAPTURE, generate_uid()
    bare["PixelData"].is_undefined_length = syntax.is_encapsulated
    bare.is_little_endian, bare.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = syntax
    bare.file_meta.MediaStorageSOPClassUID = bare.SOPClassUID
    bare.file_meta.MediaStorageSOPInstanceUID = bare.SOPInstanceUID
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "pixels.dcm"
        bare.save_as(copy, **WHOLE_FILE)
        return sitk.GetArrayFromImage(itk_image(copy))


def _used_bits(array: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Remove the unused bits of integers and restore their sign."""
    allocated, used = int(dataset.get("BitsAllocated") or 16), int(dataset.get("BitsStored") or 0)
    if array.dtype.kind not in "iu" or not 0 < used < allocated or allocated != array.itemsize * 8:
        return array
    signed = int(dataset.get("PixelRepresentation") or 0) == 1
    array = array.view(np.dtype(f"{'i' if signed else 'u'}{array.itemsize}"))
    return (array << (allocated - used)) >> (allocated - used)


def _stored_range(header: Dataset) -> tuple[int, int]:
    """Return the lowest and the highest value that can be stored."""
    bits = int(header.get("BitsStored") or header.get("BitsAllocated") or 16)
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if header.get("PixelRepresentation") == 1 else (0, 2**bits - 1)


def _in_units(stored: np.ndarray, frame: Frame) -> np.ndarray:
    """Convert stored values to units of the modality, such as Hounsfield units: by a table, or slope and intercept."""
    tables = frame.header.get("ModalityLUTSequence")
    if tables:
        table = _lut(tables[0], stored.min() < 0)
        if table is not None:
            first, outputs, _ = table
            return outputs[np.clip(stored.astype(np.int64) - first, 0, len(outputs) - 1)].astype(np.int32)
    slope = (frame.numbers("RescaleSlope") or [1.0])[0]
    intercept = (frame.numbers("RescaleIntercept") or [0.0])[0]
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        slope, intercept = 1.0, 0.0
    if slope == 1 and intercept == 0:
        return stored
    if float(slope).is_integer() and float(intercept).is_integer() and stored.dtype.kind in "iu":
        return _fitting(stored.astype(np.int64) * int(slope) + int(intercept))
    return (stored * np.float64(slope) + intercept).astype(np.float32)


def _fitting(array: np.ndarray) -> np.ndarray:
    """Cast an array to the smallest usual type of 16 bits or more that holds its values; integers stay integers."""
    if array.dtype == np.float64 and (array == np.rint(array)).all():
        array = array.astype(np.int64)
    if array.dtype.kind in "iu" and array.itemsize > 2:
        low, high = int(array.min()), int(array.max())
        fitting = (kind for kind in (np.int16, np.uint16, np.int32) if np.iinfo(kind).min <= low)
        return array.astype(next((kind for kind in fitting if high <= np.iinfo(kind).max), np.float32))
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _table(frame: Frame) -> Curve | None:
    """Return the curve of a VOI LUT; None where there is none, or it is constant."""
    tables = frame.get("VOILUTSequence")
    if not tables:
        return None
    first_may_be_negative = (
        frame.header.get("PixelRepresentation") == 1 or min(frame.numbers("RescaleIntercept") or [0.0]) < 0
    )
    table = _lut(tables[0], first_may_be_negative)
    if table is None:
        return None
    first, outputs, bits = table
    brightness = np.clip(outputs / (2.0**bits - 1), 0, 1)
    if np.ptp(brightness) == 0:
        return None
    return Curve(first + np.arange(len(outputs), dtype=float), brightness)


def _lut(item: Dataset, negative: bool) -> tuple[int, np.ndarray, int] | None:
    """Read (first value, outputs, bits of an output) of a table; None where it is damaged."""
    described = [int(value) for value in numbers(item.get("LUTDescriptor"))]
    data: Any = item.get("LUTData")
    if len(described) != 3 or data is None:
        return None
    count, first, bits = described[0] or 65536, described[1], described[2]
    if isinstance(data, bytes):
        data = np.frombuffer(data, np.uint8 if len(data) < 2 * count else "<u2")
    outputs = np.array(data, np.int64).reshape(-1)[:count] & 0xFFFF
    if negative and first >= 32768:
        first -= 65536
    return (first, outputs, bits) if len(outputs) == count and 1 <= bits <= 16 else None
