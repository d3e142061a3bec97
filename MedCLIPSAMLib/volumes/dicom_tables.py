"""Tables of DICOM images: from stored values to units of the modality, and from these to brightness."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from MedCLIPSAMLib.volumes.dicom_header import Frame
from MedCLIPSAMLib.volumes.dicom_values import numbers
from MedCLIPSAMLib.volumes.window import Curve


def voi_curve(frame: Frame) -> Curve | None:
    """Return the curve of a VOI LUT; None if there is none or it is constant."""
    tables = frame.get("VOILUTSequence")
    if not tables:
        return None
    first_may_be_negative = (
        frame.header.get("PixelRepresentation") == 1 or min(frame.numbers("RescaleIntercept") or [0.0]) < 0
    )
    table = _lut(tables[0], first_may_be_negative, frame.header)
    if table is None:
        return None
    first, outputs, bits = table
    brightness = np.clip(outputs / (2.0**bits - 1), 0, 1)
    if np.ptp(brightness) == 0:
        return None
    return Curve(first + np.arange(len(outputs), dtype=float), brightness)


def modality_table(frame: Frame, negative: bool) -> tuple[int, np.ndarray] | None:
    """Return the first value and the outputs of a Modality LUT; None if there is none or it is damaged.

    Args:
        negative: stored values can be negative, so the first value can be too.
    """
    tables = frame.header.get("ModalityLUTSequence")
    table = _lut(tables[0], negative, frame.header) if tables else None
    return None if table is None else table[:2]


def entries(element: DataElement, header: Dataset) -> bytes:
    """Return the data of a table in little-endian order; OW consists of 16-bit words, swapped in big-endian files."""
    data = bytes(element.value)
    little = (getattr(header, "original_encoding", None) or (None, True))[1]
    return data if little is not False or element.VR == "OB" else np.frombuffer(data, ">u2").astype("<u2").tobytes()


def _lut(item: Dataset, negative: bool, header: Dataset) -> tuple[int, np.ndarray, int] | None:
    """Read (first value, outputs, bits per output) of a table; None if it is damaged."""
    described = [int(value) for value in numbers(item.get("LUTDescriptor"))]
    data: Any = item.get("LUTData")
    if len(described) != 3 or data is None:
        return None
    count, first, bits = described[0] or 65536, described[1], described[2]
    if isinstance(data, bytes):
        data = entries(item["LUTData"], header)
        data = np.frombuffer(data, np.uint8 if len(data) < 2 * count else "<u2")
    outputs = np.array(data, np.int64).reshape(-1)[:count] & 0xFFFF
    if negative and first >= 32768:
        first -= 65536
    return (first, outputs, bits) if len(outputs) == count and 1 <= bits <= 16 else None
