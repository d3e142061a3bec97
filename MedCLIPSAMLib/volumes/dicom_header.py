"""Headers of DICOM files: which files are DICOM, what each object is, and the tags of each image plane in it."""

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
"""A DICOMDIR: an index, not an object."""
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
"""Kinds of objects that hold no image, by the beginning of their class after `STORAGE`; the first match counts."""
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
"""Errors of readers on damaged files."""
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "ImagePlanePixelSpacing")
"""Tags of the size of a pixel, that in the body first."""
REGIONS = "SequenceOfUltrasoundRegions"
CENTIMETERS = 3
SEQUENCES = tuple(STORAGE + ending for ending in ("3.1", "6.1", "7", "7.2"))
"""Classes of ultrasound that 3D Slicer reads as sequences of images."""
MAX_FRAMES = 1_000_000
LOCALIZERS = {"LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW"}
NUCLEAR_MEDICINE = STORAGE + "20"
PROJECTIONS = {"STATIC", "DYNAMIC", "GATED", "WHOLE BODY", "TOMO", "GATED TOMO"}


def is_dicom(path: Path) -> bool:
    """Tell whether a file begins as DICOM does, with or without a preamble, whatever its name is.

    Without, it begins with an element of group 2 or 8, by its type, or by another one of group 8 or 16 behind it:
    voxels may be such numbers, too.
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
    """Keep pydicom from warning about values that other programs wrote wrongly, wherever DICOM is read."""
    with warnings.catch_warnings(action="ignore"):
        yield


def is_directory(path: Path) -> bool:
    """Tell whether a file is a DICOMDIR, the index of the folder that it is in."""
    try:
        with quiet():
            return bool(read_file_meta_info(path).get("MediaStorageSOPClassUID") == DIRECTORY)
    except DAMAGED:
        return False


def read_header(path: Path, with_pixels: bool = False) -> Dataset:
    """Read the tags of a file, and its stored pixels where they are wanted.

    Raises:
        InputError: no DICOM, or damaged.
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
    """Return a tag as text; empty where it is absent."""
    value = dataset.get(keyword)
    return "" if value is None else without_controls(str(value).strip(" \0"))


def object_class(dataset: Dataset) -> str:
    """Return the SOP class UID of a file; empty where it is none, such as what else is in a damaged file."""
    uid = text(dataset, "SOPClassUID") or str(getattr(dataset, "file_meta", {}).get("MediaStorageSOPClassUID", ""))
    return uid if re.fullmatch(r"[\d.]{1,64}", uid) else ""


def no_image(dataset: Dataset) -> str | None:
    """Name the kind of an object that holds no image, such as "segmentation"; None for images."""
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
    """Tell whether a file ends within its header: it has no size, and its class is one of images, or no whole one."""
    uid = object_class(dataset)
    name = UID(uid).name
    is_partial = name == uid and uid[: len(ROOT)] == ROOT[: len(uid)]
    return "Columns" not in dataset and (is_partial or name.endswith("Image Storage"))


@dataclass(eq=False)
class Frame:
    """One image plane: a file of one image, or a frame of a multi-frame file.

    Attributes:
        path: of the file.
        header: of the file.
        index: of the frame in the file, from 0.
        single: the file holds nothing else.
    """

    path: Path
    header: Dataset
    index: int = 0
    single: bool = True
    own: dict[str, Any] = field(default_factory=dict)

    def get(self, *keywords: str) -> Any:
        """Return the first of these tags that is present, in the frame, in all frames, or in the file."""
        for keyword in keywords:
            value = self.own.get(keyword)
            if value is None:
                value = self.header.get(keyword)
            if value is not None and value != "":
                return value
        return None

    def text(self, *keywords: str) -> str:
        """Return the first of these tags that is present, as text; empty where none is."""
        value = self.get(*keywords)
        return "" if value is None else str(value).strip(" \0")

    def numbers(self, *keywords: str) -> list[float]:
        """Return the numbers of the first of these tags that is present; empty where none is."""
        return numbers(self.get(*keywords))

    @cached_property
    def position(self) -> np.ndarray | None:
        """Center of the first pixel, LPS in mm, or in the frame of an ultrasound volume; None where unknown."""
        values = [] if self.is_projection else self.numbers("ImagePositionPatient", "ImagePositionVolume")
        return np.array(values) if len(values) == 3 and np.isfinite(values).all() else None

    @cached_property
    def orientation(self) -> np.ndarray | None:
        """Unit vectors along a row, along a column, and their normal, as columns (3, 3); None where unknown."""
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
        """The value of Photometric Interpretation, in capitals."""
        return self.text("PhotometricInterpretation").upper()

    @cached_property
    def spacing_tag(self) -> str:
        """The tag of the size of a pixel: the first usable one, else the first that is not 0; "" where unknown."""
        known = {keyword: values for keyword in SPACINGS if len(values := self.numbers(keyword)) == 2 and any(values)}
        return next((keyword for keyword, values in known.items() if min(values) > 0), next(iter(known), ""))

    @property
    def pixel_spacing(self) -> tuple[float, float] | None:
        """Spacing (between rows, between columns), mm; None where unknown."""
        rows, columns = self.numbers(self.spacing_tag) if self.spacing_tag else (0.0, 0.0)
        return (rows, columns) if self.spacing_tag else None

    @property
    def magnification(self) -> float:
        """How many times larger than in the body things are at its pixel spacing, as that is the detector's; 1 else.

        Pixel Spacing is in the body where it is there; Imager Pixel Spacing is not (PS3.3 10.7.1.3).
        """
        values = self.numbers("EstimatedRadiographicMagnificationFactor")
        at_detector = self.spacing_tag == "ImagerPixelSpacing"
        return values[0] if at_detector and values and np.isfinite(values[0]) and values[0] > 0 else 1.0

    @property
    def image_type(self) -> list[str]:
        """The values of Image Type, in capitals."""
        kind = self.get("ImageType", "FrameType")
        return [str(value).upper() for value in ([kind] if isinstance(kind, str) else list(kind or []))]

    @property
    def follows_time(self) -> bool:
        """Whether it is a frame of a loop in time, and no slice."""
        return not self.single and follow_time(self.header)

    @property
    def is_localizer(self) -> bool:
        """Whether the image is marked as a localizer."""
        return not LOCALIZERS.isdisjoint(self.image_type)

    @property
    def has_type_of_views(self) -> bool:
        """Whether its type is that of views of nuclear medicine through the body (PS3.3 C.8.4.9.1.1)."""
        return object_class(self.header) == NUCLEAR_MEDICINE and not PROJECTIONS.isdisjoint(self.image_type[2:3])

    @cached_property
    def is_projection(self) -> bool:
        """Whether it is a view through the body: not where it is alone in its file, and has a plane of its own."""
        plane = len(self.numbers("ImagePositionPatient")), len(self.numbers("ImageOrientationPatient"))
        return self.has_type_of_views and not (self.single and plane == (3, 6))


def read_elements(frame: Frame) -> None:
    """Read the elements that every image needs. pydicom parses an element at its first access only.

    Raises:
        Exception: one of `DAMAGED`, where an element is damaged.
    """
    _ = frame.size, frame.position, frame.orientation, frame.pixel_spacing, frame.is_localizer


def frames_of(path: Path, header: Dataset) -> list[Frame]:
    """List the image planes of a file, in the order in which they are stored."""
    count = int(numbers(header.get("NumberOfFrames"))[0]) if numbers(header.get("NumberOfFrames")) else 1
    if not 0 <= count <= min(MAX_FRAMES, path.stat().st_size):
        raise InputError(f"'{path}' declares {count} frames, which it cannot hold.", "Export it again.")
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
    """Return the size of the pixels of ultrasound, as PixelSpacing; {} where its regions do not give one.

    As 3D Slicer's reader of image sequences takes it: of the only region, of 2-D tissue or flow, both sides in cm.
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
    """Collect the tags of the functional groups of a frame, by keyword; what is in private ones is not of the image."""
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
