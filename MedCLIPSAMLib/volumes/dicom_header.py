"""Headers of DICOM files: which files are DICOM, what kind of object each is, and the tags of its image planes."""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID

from MedCLIPSAMLib.errors import InputError, without_controls
from MedCLIPSAMLib.volumes.dicom_steps import follow_time, step_places
from MedCLIPSAMLib.volumes.dicom_values import numbers

DIRECTORY = "1.2.840.10008.1.3.10"
"""SOP class of a DICOMDIR, which is an index and not an object."""
ROOT = "1.2.840.10008."
STORAGE = "1.2.840.10008.5.1.4.1.1."
NO_IMAGES = {
    "66.4": "segmentation",
    "66.7": "segmentation",
    "66.5": "surface segmentation",
    "66.": "registration or raw data",
    "66": "raw data",
    "67": "real world value mapping",
    "481.2": "radiotherapy dose",
    "481.3": "radiotherapy structures",
    "481.": "radiotherapy plan or record",
    "88.59": "key object selection",
    "88.": "structured report",
    "11.": "presentation state",
    "104.": "encapsulated document",
    "9.": "waveform",
    "4.2": "spectroscopy",
    "68.": "surface scan",
}
"""Kinds of objects without images, by the beginning of their class after `STORAGE`; the first match applies."""
RADIOTHERAPY_IMAGE = "481.1"
DAMAGED = (
    OSError,
    RuntimeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    TypeError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
    BytesLengthException,
    InvalidDicomError,
    StopIteration,
)
"""Errors that readers raise for damaged files."""
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "ImagePlanePixelSpacing")
"""Tags of the pixel size; that within the body comes first."""
REGIONS = "SequenceOfUltrasoundRegions"
CENTIMETERS = 3
SEQUENCES = tuple(STORAGE + ending for ending in ("3.1", "6.1", "7", "7.2"))
"""Classes of ultrasound images that 3D Slicer reads as image sequences."""
MAX_FRAMES = 1_000_000
LOCALIZERS = {"LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW"}
NUCLEAR_MEDICINE = STORAGE + "20"
PROJECTIONS = {"STATIC", "DYNAMIC", "GATED", "WHOLE BODY", "TOMO", "GATED TOMO"}


def is_dicom(path: Path) -> bool:
    """Tell whether a file begins as DICOM does, with or without a preamble, whatever its name.

    A file without a preamble begins with an element of group 2 or 8. Because other data can begin with such numbers,
    its value representation must follow, or after it another element of group 8 or 16.
    """
    if not path.is_file():  # reading a pipe may never end
        return False
    try:
        with path.open("rb") as file:
            head = file.read(300)
    except OSError:
        return False
    if head[128:132] == b"DICM":
        return True
    if len(head) < 8:
        return False
    for order in "<>":
        group, element, length = struct.unpack(f"{order}HHI", head[:8])
        if group not in (2, 8) or element > 0x18:
            continue
        if head[4:6].isalpha() and head[4:6].isupper():
            return True
        after = head[8 + length : 12 + length]
        if len(after) == 4 and (8, element) < struct.unpack(f"{order}HH", after) <= (16, 0xFFFF):
            return True
    return False


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom's warnings about invalid values that other programs wrote; use it wherever DICOM is read."""
    with warnings.catch_warnings(action="ignore"):
        yield


def is_directory(path: Path) -> bool:
    """Tell whether a file is a DICOMDIR, the index of the folder that contains it."""
    try:
        with quiet():
            return bool(read_file_meta_info(path).get("MediaStorageSOPClassUID") == DIRECTORY)
    except DAMAGED:
        return False


def read_header(path: Path, with_pixels: bool = False) -> Dataset:
    """Read the tags of a file, and optionally its stored pixels.

    Raises:
        InputError: the file is not DICOM, or is damaged.
    """
    try:
        dataset = pydicom.dcmread(path, force=True, stop_before_pixels=not with_pixels)
        known = "SOPClassUID" in dataset or "Rows" in dataset or "MediaStorageSOPClassUID" in dataset.file_meta
    except DAMAGED as error:
        raise InputError(f"'{path}' is damaged DICOM: {error}.", "Copy or export it again.") from error
    if not known:
        raise InputError(f"'{path}' is DICOM, but holds no complete image.", "Copy or export it again.")
    return dataset


def text(dataset: Dataset, keyword: str) -> str:
    """Return a tag as text; empty if it is missing."""
    value = dataset.get(keyword)
    return "" if value is None else without_controls(str(value).strip(" \0"))


def object_class(dataset: Dataset) -> str:
    """Return the SOP class UID of a file; empty if it is not a UID, as in a damaged file."""
    uid = text(dataset, "SOPClassUID") or str(getattr(dataset, "file_meta", {}).get("MediaStorageSOPClassUID", ""))
    return uid if re.fullmatch(r"[\d.]{1,64}", uid) else ""


def no_image(dataset: Dataset) -> str | None:
    """Name the kind of an object without an image, such as "segmentation"; None for images."""
    uid = object_class(dataset)
    if uid.startswith(STORAGE) and uid != STORAGE + RADIOTHERAPY_IMAGE:
        own = uid.removeprefix(STORAGE)
        for beginning, what in NO_IMAGES.items():
            if own == beginning or (beginning.endswith(".") and own.startswith(beginning)):
                return what
    if not (dataset.get("Rows") and dataset.get("Columns")):
        return f"{UID(uid).name} without pixels" if uid else "object without pixels"
    return None


def is_cut_short(dataset: Dataset) -> bool:
    """Tell whether a file ends within its header: it has no image size, but an image class or an incomplete class."""
    uid = object_class(dataset)
    name = UID(uid).name
    is_partial = name == uid and uid[: len(ROOT)] == ROOT[: len(uid)]
    return "Columns" not in dataset and (is_partial or name.endswith("Image Storage"))


@dataclass(eq=False)
class Frame:
    """One image plane: a file with one image, or a frame of a multi-frame file.

    Attributes:
        path: the file.
        header: header of the file.
        index: index of the frame in the file, from 0.
        single: whether the file holds nothing else.
        own: tags of this frame or of all frames, by keyword; they take precedence over those of the file.
    """

    path: Path
    header: Dataset
    index: int = 0
    single: bool = True
    own: dict[str, Any] = field(default_factory=dict)

    def get(self, *keywords: str) -> Any:
        """Return the first of these tags that is present in the frame, in all frames, or in the file."""
        for keyword in keywords:
            value = self.own.get(keyword)
            if value is None:
                value = self.header.get(keyword)
            if value is not None and value != "":
                return value
        return None

    def text(self, *keywords: str) -> str:
        """Return the first of these tags that is present, as text; empty if none is."""
        value = self.get(*keywords)
        return "" if value is None else str(value).strip(" \0")

    def numbers(self, *keywords: str) -> list[float]:
        """Return the numbers of the first of these tags that is present; empty if none is."""
        return numbers(self.get(*keywords))

    @cached_property
    def position(self) -> np.ndarray | None:
        """Center of the first pixel, LPS in mm, or in the frame of an ultrasound volume; None if unknown."""
        values = [] if self.is_projection else self.numbers("ImagePositionPatient", "ImagePositionVolume")
        return np.array(values) if len(values) == 3 and np.isfinite(values).all() else None

    @cached_property
    def orientation(self) -> np.ndarray | None:
        """Unit vectors along a row, along a column, and their normal, as columns (3, 3); None if unknown."""
        values = [] if self.is_projection else self.numbers("ImageOrientationPatient", "ImageOrientationVolume")
        if len(values) != 6 or not np.isfinite(values).all():
            return None
        row, column = np.array(values[:3]), np.array(values[3:])
        if np.linalg.norm(row) < 0.5 or np.linalg.norm(np.cross(row, column)) < 0.5:
            return None
        row, column = row / np.linalg.norm(row), column / np.linalg.norm(column)
        return np.stack([row, column, np.cross(row, column)], axis=1)

    @property
    def size(self) -> tuple[int, int, int]:
        """Rows, columns, and samples per pixel."""
        return int(self.header.Rows), int(self.header.Columns), int(self.header.get("SamplesPerPixel") or 1)

    @property
    def kind_of_pixels(self) -> str:
        """Value of Photometric Interpretation in capitals."""
        return self.text("PhotometricInterpretation").upper()

    @cached_property
    def spacing_tag(self) -> str:
        """Tag of the pixel size: the first with a usable value, else the first that is not 0; "" if unknown."""
        known = {keyword: values for keyword in SPACINGS if len(values := self.numbers(keyword)) == 2 and any(values)}
        return next((keyword for keyword, values in known.items() if min(values) > 0), next(iter(known), ""))

    @property
    def pixel_spacing(self) -> tuple[float, float] | None:
        """Spacing (between rows, between columns) in mm; None if unknown."""
        rows, columns = self.numbers(self.spacing_tag) if self.spacing_tag else (0.0, 0.0)
        return (rows, columns) if self.spacing_tag else None

    @property
    def magnification(self) -> float:
        """Factor by which lengths at the pixel spacing exceed those in the body if that is the detector's; otherwise 1.

        Pixel Spacing, if present, is within the body; Imager Pixel Spacing is at the detector (PS3.3 10.7.1.3).
        """
        values = self.numbers("EstimatedRadiographicMagnificationFactor")
        at_detector = self.spacing_tag == "ImagerPixelSpacing"
        return values[0] if at_detector and values and np.isfinite(values[0]) and values[0] > 0 else 1.0

    @property
    def image_type(self) -> list[str]:
        """Values of Image Type in capitals."""
        kind = self.get("ImageType", "FrameType")
        return [str(value).upper() for value in ([kind] if isinstance(kind, str) else list(kind or []))]

    @property
    def follows_time(self) -> bool:
        """Whether this is a frame of a loop in time rather than a slice."""
        return not self.single and follow_time(self.header)

    @property
    def is_localizer(self) -> bool:
        """Whether the image is marked as a localizer."""
        return not LOCALIZERS.isdisjoint(self.image_type)

    @property
    def has_type_of_views(self) -> bool:
        """Whether the type is that of nuclear medicine views through the body (PS3.3 C.8.4.9.1.1)."""
        return object_class(self.header) == NUCLEAR_MEDICINE and not PROJECTIONS.isdisjoint(self.image_type[2:3])

    @cached_property
    def is_projection(self) -> bool:
        """Whether this is a view through the body; an image that is alone in its file and has its own plane is not."""
        plane = len(self.numbers("ImagePositionPatient")), len(self.numbers("ImageOrientationPatient"))
        return self.has_type_of_views and not (self.single and plane == (3, 6))


def read_elements(frame: Frame) -> None:
    """Access the elements that every image needs, because pydicom parses an element only at its first access.

    Raises:
        Exception: one of `DAMAGED`, if an element is damaged.
    """
    _ = frame.size, frame.position, frame.orientation, frame.pixel_spacing, frame.is_localizer


def frames_of(path: Path, header: Dataset) -> list[Frame]:
    """List the image planes of a file in stored order."""
    count = int(numbers(header.get("NumberOfFrames"))[0]) if numbers(header.get("NumberOfFrames")) else 1
    if not 0 <= count <= min(MAX_FRAMES, path.stat().st_size):
        raise InputError(f"'{path}' declares {count} frames, more than it can hold.", "Export it again.")
    items = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = header.get("SharedFunctionalGroupsSequence") or []
    common = (_flat(shared[0]) if shared else {}) | ultrasound_spacing(header)
    if count <= 1 and not items:
        return [Frame(path, header, own=common)]
    stepped = [] if items else step_places(header, count)
    frames = []
    for index in range(count):
        own = {**common, **(_flat(items[index]) if index < len(items) else {}), **(stepped[index] if stepped else {})}
        frames.append(Frame(path, header, index, count == 1, own))
    return frames


def ultrasound_spacing(header: Dataset) -> dict[str, Any]:
    """Return the pixel size of ultrasound as PixelSpacing; {} if its regions do not give one.

    The rule is that of 3D Slicer's reader of image sequences: there is only one region, of 2-D tissue or flow, with
    both sides in cm.
    """
    regions = header.get(REGIONS) or []
    if header.get("Modality") != "US" or object_class(header) not in SEQUENCES or len(regions) != 1:
        return {}
    stated = [numbers(regions[0].get(keyword)) for keyword in ("PhysicalDeltaY", "PhysicalDeltaX")]
    in_cm = all(regions[0].get(f"PhysicalUnits{axis}Direction") == CENTIMETERS for axis in "XY")
    is_tissue = regions[0].get("RegionSpatialFormat") == 1 and regions[0].get("RegionDataType") in (1, 2)
    size = [10 * value for values in stated for value in values if np.isfinite(value) and value > 0]
    return {"PixelSpacing": size} if in_cm and is_tissue and len(size) == 2 else {}


def _flat(item: Dataset) -> dict[str, Any]:
    """Collect the tags of the functional groups of a frame by keyword, without private groups."""
    found: dict[str, Any] = {}
    for element in item:
        if element.tag.is_private:
            continue
        if element.VR != "SQ":
            found.setdefault(element.keyword, element.value)
        elif element.value:
            for name, value in _flat(element.value[0]).items():
                found.setdefault(name, value)
    return found
