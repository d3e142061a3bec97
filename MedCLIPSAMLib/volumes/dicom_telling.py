"""The tags that tell images at one position apart: phases, echoes, b-values, times."""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_description, dictionary_has_tag
from pydicom.uid import UID

from MedCLIPSAMLib.volumes.dicom_header import Frame, object_class
from MedCLIPSAMLib.volumes.dicom_ranks import as_number
from MedCLIPSAMLib.volumes.dicom_values import numbers

Value = Callable[[Frame], Hashable | None]
HALF_DAY = 12 * 3600.0
"""Seconds without an image, in times of day of one series, that may be the day between two nights."""


def _number(*keywords: str, digits: int = 2) -> Value:
    def value(frame: Frame) -> Hashable | None:
        found = frame.numbers(*keywords)
        return round(found[0], digits) if found else None

    return value


def _text(*keywords: str) -> Value:
    def value(frame: Frame) -> Hashable | None:
        found = frame.get(*keywords)
        if found is None:
            return None
        return found if isinstance(found, str) else " ".join(str(value) for value in np.atleast_1d(found))

    return value


@dataclass(frozen=True)
class _Times:
    """A tag of a date and time; where that is not there, one of a time of day, and the one of its date."""

    whole: tuple[str, ...]
    date: str
    time: str

    def __call__(self, frame: Frame, dated: bool = False) -> Hashable | None:
        """Return a text that sorts, with the date of a time of day where asked; a date alone is no time."""
        time = frame.text(self.time)
        found = frame.text(*self.whole) or (self._day(frame) + time if dated and time else time)
        match = re.match(r"\d{6,14}(\.\d+)?", found.replace(":", ""))
        return match[0] if match else None

    def among(self, frames: Sequence[Frame]) -> Value:
        """Return times that sort over midnight too: by dates that differ; without any, with the number of the day.

        That is where the series seems to have begun late in the day, see `_late_first`.
        """
        dates = {self._day(frame) for frame in frames}
        if "" not in dates and len(dates) > 1:
            return lambda frame: self(frame, dated=True)
        times = sorted({str(found) for frame in frames if (found := self(frame)) is not None})
        if dates != {""} or len(times) < 2 or any(len(found.split(".")[0]) != 6 for found in times):
            return self
        seconds = [as_number(found) or 0.0 for found in times]
        gaps = [after - before for before, after in pairwise(seconds)]
        if max(gaps) <= HALF_DAY:
            return self
        at = gaps.index(max(gaps)) + 1
        late = {frame: found >= times[at] for frame in frames if isinstance(found := self(frame), str)}
        if not _late_first(late, seconds, at):
            return self
        return lambda frame: (0 if late[frame] else 1, self(frame)) if frame in late else None

    def _day(self, frame: Frame) -> str:
        return frame.text(self.date).replace(".", "")


def _late_first(late: Mapping[Frame, bool], seconds: Sequence[float], at: int) -> bool:
    """Tell whether images late in a day were acquired before the early ones, which then are of the next day.

    The beginning of the study, or else of the series, says so, or the order of the instance numbers at each position.

    Args:
        late: which images are late.
        seconds: all times of day, sorted.
        at: place of the first late one.
    """
    begin = min(as_number(frame.text("StudyTime", "SeriesTime").replace(":", "")) or 0.0 for frame in late)
    if seconds[at - 1] < begin <= seconds[at]:
        return True
    if 0 < begin <= seconds[0]:  # 0 is what many programs write for a time that they remove
        return False
    by_place: dict[Hashable, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for frame, is_late in late.items():
        place = None if frame.position is None else tuple(np.round(frame.position, 1).tolist())
        by_place[place][is_late].extend(frame.numbers("InstanceNumber")[:1])
    both = [pair for pair in by_place.values() if all(pair)]
    return bool(both) and all(min(early) > max(before) for early, before in both)


def b_value(frame: Frame) -> Hashable | None:
    """Read the b-value in s/mm2 from the standard tag, those of Siemens, GE, Philips and UIH, or the sequence name."""
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
    """Read the first number of a private tag, which is bytes where its type is not known."""
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


# Tags that distinguish images at one position, the most specific first: name, unit, value.
TELLING: tuple[tuple[str, str, Value], ...] = (
    ("temporal position", "", _number("TemporalPositionIndex", "TemporalPositionIdentifier")),
    ("time offset", " s", _number("TemporalPositionTimeOffset")),
    ("echo time", " ms", _number("EffectiveEchoTime", "EchoTime")),
    ("echo", "", _text("EchoNumbers")),
    ("b-value", "", b_value),
    ("diffusion direction", "", _text("DiffusionGradientOrientation")),
    ("velocity direction", "", _text("VelocityEncodingDirection")),
    ("labeling", "", _text("ASLContext")),
    ("cardiac phase", " %", _number("NominalPercentageOfCardiacPhase")),
    ("trigger time", " ms", _number("NominalCardiacTriggerDelayTime", "TriggerTime")),
    ("inversion time", " ms", _number("InversionTime", "InversionTimes")),
    ("flip angle", " degrees", _number("FlipAngle")),
    ("image type", "", _text("FrameType", "ImageType")),
    ("component", "", _text("ComplexImageComponent")),
    ("tube voltage", " kV", _number("KVP")),
    ("energy", " keV", _number("MonoenergeticEnergyEquivalent")),
    ("kernel", "", _text("ConvolutionKernel")),
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
    ("comment", "", _text("FrameComments", "ImageComments")),
    ("file", "", lambda frame: None if frame.single else frame.path.name),
)


def telling_tags(frames: Sequence[Frame]) -> tuple[tuple[str, str, Value], ...]:
    """Return the tags that may tell these images apart, at last the dimensions that their files state themselves."""
    frame = frames[0]
    pointers = [item.get("DimensionIndexPointer") for item in frame.header.get("DimensionIndexSequence") or []]
    names = [dictionary_description(tag).lower() if tag and dictionary_has_tag(tag) else "" for tag in pointers]
    count = len(frame.numbers("DimensionIndexValues"))
    names += [""] * (count - len(names))
    return (
        *((name, unit, value.among(frames) if isinstance(value, _Times) else value) for name, unit, value in TELLING),
        *((names[place] or f"dimension {place + 1} =", "", _dimension(place)) for place in range(count)),
    )


def _dimension(place: int) -> Value:
    def value(frame: Frame) -> Hashable | None:
        found = frame.numbers("DimensionIndexValues")
        return int(found[place]) if place < len(found) else None

    return value


INSTANCE = ("instance number", "", _number("InstanceNumber"))
