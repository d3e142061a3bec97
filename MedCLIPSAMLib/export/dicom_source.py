"""The slices of a DICOM series as objects that refer to them need them: readable, on one grid, text in Unicode."""

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
"""Elements by which other objects refer to a slice."""
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
"""Elements on patient and study that DICOM objects need, also where they are empty."""
SEXES = ("M", "F", "O")


def source_slices(volume: Volume) -> list[Dataset]:
    """Read the slices of a volume, without their pixels, slice 0 along K first as in its arrays.

    Each has the elements that others refer to it by, its own position, and size of pixels, orientation and frame of
    reference of the volume. The first one also has what its file says of patient, study and the rest, but for elements
    that cannot be read, and with `IDENTITY`, empty where it says nothing that DICOM allows.

    Raises:
        InputError: it was not read from DICOM, or the files do not make its slices.
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
    """Refuse slices without a place, and those that cannot be referred to.

    Raises:
        InputError: naming what they lack.
    """
    placed = ("ImagePositionPatient", "ImageOrientationPatient")
    if any(frame.position is None or frame.orientation is None for frame in frames) or any(
        keyword not in frame.header for frame in frames for keyword in placed
    ):
        raise InputError(
            f"'{volume.path}' is not a DICOM series with positions and orientation.", "Choose another format."
        )
    lacks = [name for name in REFERENCES[1:] if not all(text(frame.header, name) for frame in frames)]
    lacks += [] if all(object_class(frame.header) for frame in frames) else REFERENCES[:1]
    if lacks:
        raise InputError(
            f"'{volume.path}' has slices without {' and '.join(lacks)}, by which DICOM objects refer to them.",
            "Export it again, or choose another format.",
        )


def _decimals(values: Iterable[float]) -> list[DSfloat]:
    """Return decimal strings of at most the 16 letters that DICOM allows."""
    return [DSfloat(value, auto_format=True) for value in values]


def _readable(header: Dataset) -> Dataset:
    """Return the elements of a header that can be read, as Unicode, and those of `IDENTITY`."""
    characters = header.get("SpecificCharacterSet")
    made = Dataset()
    for tag in header.keys():  # noqa: SIM118  (a data set iterates over its elements, and converts each)
        if tag.is_private or tag == 0x00080005:  # the character set, which is Unicode's now
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
    """Tell whether a value is a single one, and a date, a time or a sex where it should be."""
    if isinstance(value, (MultiValue, list)):
        return False
    written, kind = str(value or "").strip(), dictionary_VR(keyword)
    try:
        if written and kind in ("DA", "TM"):
            (DA if kind == "DA" else TM)(written)
    except ValueError:
        return False
    return keyword != "PatientSex" or written in ("", *SEXES)
