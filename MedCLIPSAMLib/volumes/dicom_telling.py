"""Tags that distinguish images at one position: phases, echoes, b-values, times."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_description, dictionary_has_tag, dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.uid import UID

from MedCLIPSAMLib.volumes.dicom_header import Frame, object_class
from MedCLIPSAMLib.volumes.dicom_values import numbers

Value = Callable[[Frame], Hashable | None]
Tag = tuple[str, str, Value]
"""Name, unit and value of a tag."""
HALF_DAY = 12 * 3600.0
"""Gap between times of day in one series, in seconds, that may be the day between two nights."""
NO_VALUES = ("AT", "O", "PN", "SQ", "UN")
"""Beginnings of value representations without words or numbers, or with names of persons."""
OF_ONE_IMAGE = {"SOPInstanceUID", "InstanceNumber", "InstanceCreationDate", "InstanceCreationTime"}


def _number(*keywords: str) -> Value:
    def value(frame: Frame) -> Hashable | None:
        found = frame.numbers(*keywords)
        return round(found[0], 2) if found else None

    return value


def _as_stated(*keywords: str) -> Value:
    def value(frame: Frame) -> Hashable | None:
        found = frame.get(*keywords)
        if found is None or isinstance(found, (str, int, float)):
            return found
        return " ".join(str(value) for value in np.atleast_1d(found))

    return value


@dataclass(frozen=True)
class _Times:
    """Tags of a date and time, or of a date and of a time of day if there is no such tag."""

    whole: tuple[str, ...]
    date: str
    time: str

    def __call__(self, frame: Frame, dated: bool = False) -> Hashable | None:
        """Return a text that sorts by time, with the date if `dated`; a date alone is no time."""
        time = frame.text(self.time)
        found = frame.text(*self.whole) or (self._day(frame) + time if dated and time else time)
        match = re.match(r"\d{6,14}(\.\d+)?", found.replace(":", ""))
        return match[0] if match else None

    def among(self, frames: Sequence[Frame]) -> Value:
        """Return times that sort correctly over midnight if the images have several dates."""
        dates = {self._day(frame) for frame in frames}
        return self if "" in dates or len(dates) < 2 else lambda frame: self(frame, dated=True)

    def _day(self, frame: Frame) -> str:
        return frame.text(self.date).replace(".", "")


def as_number(value: Hashable | None) -> float | None:
    """Return a value as a number; times of day, with or without a date before them, become seconds."""
    if not isinstance(value, str):
        return float(value) if isinstance(value, (int, float)) else None
    match = re.fullmatch(r"(\d*?)(\d\d)(\d\d)(\d\d(?:\.\d+)?)", value)
    if match is None:
        return None
    try:
        day = date.fromisoformat(match[1]).toordinal() if match[1] else 0
    except ValueError:
        day = int(match[1])
    return ((day * 24 + int(match[2])) * 60 + int(match[3])) * 60 + float(match[4])


def may_pass_midnight(times: Iterable[Hashable | None]) -> bool:
    """Tell whether undated times of day have so long a gap that the early ones may belong to the next day."""
    of_day = (time for time in times if isinstance(time, str) and re.fullmatch(r"\d{6}(\.\d+)?", time))
    seconds = sorted(as_number(time) or 0.0 for time in of_day)
    return any(after - before > HALF_DAY for before, after in pairwise(seconds))


def b_value(frame: Frame) -> Hashable | None:
    """Read the b-value in s/mm2: from the standard tag, private tags (Siemens, GE, Philips, UIH) or sequence name."""
    found = frame.numbers("DiffusionBValue")
    if found:
        return round(found[0])
    header, maker = frame.header, frame.text("Manufacturer").upper()
    for group, element, creator, name in (
        (0x0019, 0x0C, "SIEMENS MR HEADER", "SIEMENS"),
        (0x0043, 0x39, "GEMS_PARM_01", "GE"),
        (0x2001, 0x03, "Philips Imaging DD 001", "PHILIPS"),
        (0x0065, 0x09, "Image Private Header", "UIH"),
    ):
        try:
            raw = header.private_block(group, creator)[element].value
        except KeyError:
            plain = header.get((group, 0x1000 + element)) if name in maker else None
            raw = None if plain is None else plain.value
        value = _first_number(raw)
        if value is not None:
            return round(value % 100_000)  # GE adds 1e9 to mark it as a b-value
    match = re.search(r"b(\d+)", frame.text("SequenceName"))
    return int(match[1]) if match else None


def _first_number(raw: Any) -> float | None:
    """Read the first number of a private tag, which is bytes if its type is unknown."""
    if isinstance(raw, bytes):
        try:
            raw = raw.decode("ascii").strip(" \0").split("\\")[0]
            return float(raw)
        except (UnicodeDecodeError, ValueError):
            sizes = {4: "<f", 8: "<d"}
            value = struct.unpack(sizes[len(raw)], raw)[0] if isinstance(raw, bytes) and len(raw) in sizes else None
            return value if value is not None and 0 <= value < 1e5 else None
    found = numbers(raw)
    return found[0] if found else None


# Tags that distinguish images at one position, the most specific first.
TELLING: tuple[Tag, ...] = (
    ("temporal position", "", _number("TemporalPositionIndex", "TemporalPositionIdentifier")),
    ("time offset", " s", _number("TemporalPositionTimeOffset")),
    ("echo time", " ms", _number("EffectiveEchoTime", "EchoTime")),
    ("echo", "", _as_stated("EchoNumbers")),
    ("b-value", "", b_value),
    ("diffusion direction", "", _as_stated("DiffusionGradientOrientation")),
    ("velocity direction", "", _as_stated("VelocityEncodingDirection")),
    ("labeling", "", _as_stated("ASLContext")),
    ("cardiac phase", " %", _number("NominalPercentageOfCardiacPhase")),
    ("respiratory phase", " %", _number("NominalPercentageOfRespiratoryPhase")),
    ("trigger time", " ms", _number("NominalCardiacTriggerDelayTime", "TriggerTime")),
    ("inversion time", " ms", _number("InversionTime", "InversionTimes")),
    ("flip angle", " degrees", _number("FlipAngle")),
    ("image type", "", _as_stated("FrameType", "ImageType")),
    ("component", "", _as_stated("ComplexImageComponent")),
    ("tube voltage", " kV", _number("KVP")),
    ("energy", " keV", _number("MonoenergeticEnergyEquivalent")),
    ("kernel", "", _as_stated("ConvolutionKernel")),
    ("pixel spacing", " mm", lambda frame: frame.pixel_spacing and round(frame.pixel_spacing[0], 3)),
    ("slice thickness", " mm", _number("SliceThickness")),
    ("frame reference time", " ms", _number("FrameReferenceTime")),
    ("acquisition", "", _number("FrameAcquisitionNumber", "AcquisitionNumber")),
    (
        "acquisition time",
        "",
        _Times(("FrameAcquisitionDateTime", "AcquisitionDateTime"), "AcquisitionDate", "AcquisitionTime"),
    ),
    ("content time", "", _Times(("FrameReferenceDateTime",), "ContentDate", "ContentTime")),
    ("repetition time", " ms", _number("RepetitionTime")),
    ("class", "", lambda frame: UID(object_class(frame.header)).name or None),
    ("comment", "", _as_stated("FrameComments", "ImageComments")),
    ("file", "", lambda frame: None if frame.single else frame.path.name),
)


def telling_tags(frames: Sequence[Frame]) -> list[Tag]:
    """Return the tags that may distinguish these images; the dimensions that the files declare come last."""
    frame = frames[0]
    pointers = [item.get("DimensionIndexPointer") for item in frame.header.get("DimensionIndexSequence") or []]
    names = [dictionary_description(tag).lower() if tag and dictionary_has_tag(tag) else "" for tag in pointers]
    count = len(frame.numbers("DimensionIndexValues"))
    names += [""] * (count - len(names))
    return [
        *((name, unit, value.among(frames) if isinstance(value, _Times) else value) for name, unit, value in TELLING),
        *((names[place] or f"dimension {place + 1} =", "", _dimension(place)) for place in range(count)),
    ]


def other_tags(frames: Sequence[Frame]) -> list[Tag]:
    """Return all tags of words or numbers that differ among images, except those of the patient (group 0010).

    Programs store phases under many tags.
    """
    tags = set().union(*(frame.header.keys() for frame in frames))
    known = {keyword_for_tag(tag) for tag in tags if tag >> 16 != 0x10}.union(*(frame.own for frame in frames))
    return [
        (dictionary_description(keyword).lower(), "", value)
        for keyword in sorted(filter(tag_for_keyword, known - OF_ONE_IMAGE))
        if not dictionary_VR(keyword).startswith(NO_VALUES)
        and len({(value := _as_stated(keyword))(frame) for frame in frames}) > 1
    ]


def _dimension(place: int) -> Value:
    def value(frame: Frame) -> Hashable | None:
        found = frame.numbers("DimensionIndexValues")
        return int(found[place]) if place < len(found) else None

    return value


INSTANCE = ("instance number", "", _number("InstanceNumber"))
