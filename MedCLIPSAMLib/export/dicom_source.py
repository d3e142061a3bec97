"""The slices of a DICOM series, prepared for objects that refer to them: readable, on one grid, with Unicode text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydicom.charset import decode_element
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import generate_uid
from pydicom.valuerep import DA, TM, DSfloat

from ..errors import InputError
from ..volumes import Volume
from ..volumes.dicom_header import DAMAGED, Frame, object_class, quiet, read_header, text

REFERENCES = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
"""Elements by which other DICOM objects refer to a slice."""
IDENTITY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Elements on the patient and study that DICOM objects must have, even if empty."""
SEXES = ("M", "F", "O")


def source_slices(volume: Volume) -> list[Dataset]:
    """Read the headers of a volume's slices, without pixels, in the order of its array along K.

    Each has the elements of `REFERENCES`, its own position, and the volume's pixel size, orientation and frame of
    reference. The first one also has all other readable elements of its file except private ones, such as those on the
    patient and study, and all elements of `IDENTITY`, empty if the file has no valid value.

    Raises:
        InputError: the volume was not read from a DICOM series with one file per slice, or a slice lacks its position
            or the elements by which objects refer to it.
    """
    if not volume.files:
        raise InputError(
            f"'{volume.path}' is not a DICOM series with one file per slice, as DICOM objects need.",
            "Unpack zip files; for multi-frame files and others, use another format.",
        )
    with quiet():
        frames = [Frame(file, read_header(file)) for file in volume.files]
        _check(frames, volume)
        first = _readable(frames[0].header)
        slices = [first, *(Dataset() for _ in frames[1:])]
        space = text(first, "FrameOfReferenceUID") or generate_uid()
        columns_apart, rows_apart, slices_apart = volume.geometry.spacing
        orientation = frames[0].numbers("ImageOrientationPatient")
        thickness = frames[0].numbers("SliceThickness")
        for dataset, frame in zip(slices, frames):
            for keyword in REFERENCES:
                setattr(dataset, keyword, text(frame.header, keyword))
            dataset.SOPClassUID = object_class(frame.header)
            dataset.Rows, dataset.Columns, _ = frame.size
            dataset.FrameOfReferenceUID = space
            dataset.ImagePositionPatient = _decimals(frame.numbers("ImagePositionPatient"))
            dataset.ImageOrientationPatient = _decimals(orientation)
            dataset.PixelSpacing = _decimals((rows_apart, columns_apart))
            dataset.SliceThickness = _decimals([*filter(lambda step: step > 0, thickness), slices_apart])[0]
    return slices


def _check(frames: Sequence[Frame], volume: Volume) -> None:
    """Refuse slices without a position, or without the elements by which objects refer to them.

    Raises:
        InputError: a slice lacks them; missing elements for references are named.
    """
    placed = ("ImagePositionPatient", "ImageOrientationPatient")
    if any(frame.position is None or frame.orientation is None for frame in frames) or any(
        keyword not in frame.header for frame in frames for keyword in placed
    ):
        raise InputError(
            f"'{volume.path}' is not a DICOM series with positions and an orientation.", "Choose another format."
        )
    lacks = [name for name in REFERENCES[1:] if not all(text(frame.header, name) for frame in frames)]
    lacks += [] if all(object_class(frame.header) for frame in frames) else REFERENCES[:1]
    if lacks:
        raise InputError(
            f"'{volume.path}' has slices without {' and '.join(lacks)}, by which DICOM objects refer to them.",
            "Export it again, or choose another format.",
        )


def _decimals(values: Iterable[float]) -> list[DSfloat]:
    """Return DICOM decimal strings, which have at most 16 characters."""
    return [DSfloat(value, auto_format=True) for value in values]


def _readable(header: Dataset) -> Dataset:
    """Return the readable public elements of a header, with text as Unicode, and all elements of `IDENTITY`."""
    characters = header.get("SpecificCharacterSet")
    made = Dataset()
    for tag in header.keys():  # noqa: SIM118  (a data set iterates over its elements, and converts each)
        if tag.is_private or tag == 0x00080005:  # the character set: text is Unicode now
            continue
        try:
            element = header[tag]
            decode_element(element, characters)
            made.add(element)
        except DAMAGED:
            continue
    for keyword in IDENTITY:
        if keyword not in made or not _is_usable(keyword, made[keyword].value):
            setattr(made, keyword, "")
    return made


def _is_usable(keyword: str, value: object) -> bool:
    """Tell whether a value is a single one, and a valid date, time or sex if the element holds one."""
    if isinstance(value, (MultiValue, list)):
        return False
    written, kind = str(value or "").strip(), dictionary_VR(keyword)
    try:
        if written and kind in ("DA", "TM"):
            (DA if kind == "DA" else TM)(written)
    except ValueError:
        return False
    return keyword != "PatientSex" or written in ("", *SEXES)
