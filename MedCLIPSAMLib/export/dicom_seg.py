"""Masks as a DICOM Segmentation that refers to the series they were made on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .. import __version__
from ..errors import InputError
from ..extras import require_extra
from ..files.atomic import atomic_path
from ..volumes import Segment, Volume
from ..volumes.dicom_header import DAMAGED, frames_of, is_dicom, quiet, read_header
from ..volumes.terminology import NO_CODE, TISSUE
from .cases import Case

SHOWN = 3
"""Maximum number of names in a message."""
MAKER, PROGRAM = "MedCLIPSAM contributors", "MedCLIPSAM"
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


def write_dicom_seg(path: Path, segments: Sequence[Segment], volume: Volume) -> None:
    """Write the segments that are not empty as one binary DICOM SEG object; where all are empty, all of them.

    Args:
        segments: masks on the grid of `volume`.
        volume: read from a DICOM file of one slice or from a series' folder.

    Raises:
        InputError: the volume did not come from DICOM, the series cannot be referred to (highdicom
            says why), or highdicom is not installed. OutputError: the file cannot be written.
    """
    check_installed()
    import highdicom

    shown = [segment for segment in segments if segment.mask.any()] or list(segments)
    slices = source_slices(volume)
    logging.getLogger("highdicom").setLevel(logging.ERROR)  # it warns of masks that are empty
    pixels = np.stack([segment.mask for segment in shown], -1)
    try:
        # The user of an export need not see warnings on patients' names in the series.
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            segmentation = highdicom.seg.Segmentation(
                source_images=slices,
                pixel_array=pixels,
                segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=_describe_segments(shown),
                series_instance_uid=highdicom.UID(),
                series_number=1000,
                sop_instance_uid=highdicom.UID(),
                instance_number=1,
                manufacturer=MAKER,
                manufacturer_model_name=PROGRAM,
                software_versions=__version__,
                device_serial_number="0",
                series_description="Segmentation, for research, not for diagnosis",
            )
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise InputError(f"No DICOM SEG can be made for '{volume.path}': {error}.", "Use another format.") from error
    with atomic_path(path) as temporary:
        segmentation.save_as(str(temporary))


def _describe_segments(segments: Sequence[Segment]) -> list:
    """Make highdicom's descriptions of segments, numbered from 1."""
    import highdicom
    from pydicom.sr.coding import Code

    coded = lambda code: Code(code[1], code[0], code[2])
    made_by = highdicom.AlgorithmIdentificationSequence(
        name=PROGRAM, version=__version__, family=Code("123109", "DCM", "Artificial Intelligence"), source=MAKER
    )
    return [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=dicom_text(segment.name),
            segmented_property_category=coded(_code_or_tissue(segment.terminology.category)),
            segmented_property_type=coded(_code_or_tissue(segment.terminology.type)),
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=made_by,
        )
        for number, segment in enumerate(segments, 1)
    ]


def _code_or_tissue(code: tuple[str, str, str]) -> tuple[str, str, str]:
    return TISSUE if code == NO_CODE else code


def dicom_text(name: str) -> str:
    """Return a name as a DICOM value of type LO: 64 characters, without the backslash between values."""
    return name.replace("\\", "/")[:64]


def check_dicom_cases(form: str, cases: Sequence[Case]) -> None:
    """Refuse images that no DICOM SEG can refer to, by their headers, before models are loaded for them.

    Raises:
        InputError: naming the first ones, or highdicom is not installed.
    """
    if form != "dcm":
        return
    check_installed()
    refused = [case.image.name for case in cases if case.image.is_file() and not _can_be_referred_to(case.image)]
    if refused:
        names = ", ".join(f"'{name}'" for name in refused[:SHOWN])
        more = f" and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
        raise InputError(
            f"{len(refused)} of {len(cases)} images are no DICOM files of a slice with its position, "
            f"as DICOM SEG needs them: {names}{more}.",
            "Leave them out by --exclude, or export all as seg.nrrd.",
        )


def _can_be_referred_to(path: Path) -> bool:
    try:
        with quiet():
            if not is_dicom(path):
                return False
            header = read_header(path)
            return "ImagePositionPatient" in header and len(frames_of(path, header)) == 1
    except (InputError, *DAMAGED):
        return True  # what is damaged fails by itself, and says how


def check_installed() -> None:
    """Refuse to go on without highdicom.

    Raises:
        InputError: it is not installed.
    """
    require_extra("dicom", "DICOM SEG")


def check_dicom_seg(volume: Volume) -> None:
    """Refuse a volume that no DICOM SEG can refer to, before long work.

    Raises:
        InputError: it is no DICOM series with a file a slice and positions, or highdicom is not installed.
    """
    check_installed()
    source_slices(volume)


def source_slices(volume: Volume) -> list:
    """Read the DICOM datasets of a volume's slices, without their pixels, slice 0 along K first as in its arrays.

    Absent elements on patient and study are added, empty; an absent thickness is that of the grid.

    Raises:
        InputError: it was not read from DICOM, or the files do not make its slices.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    if not volume.files:
        raise InputError(
            f"'{volume.path}' is no DICOM series with a file a slice, as DICOM objects need it.",
            "Unpack zip files; for multi-frame files and others, use another format.",
        )
    try:
        datasets = [pydicom.dcmread(file, stop_before_pixels=True) for file in volume.files]
    except (InvalidDicomError, OSError) as error:
        raise InputError(f"'{volume.path}' cannot be read again: {error}.", "Choose another format.") from error
    places = ("ImagePositionPatient", "ImageOrientationPatient")
    if any(keyword not in dataset for dataset in datasets for keyword in places):
        raise InputError(
            f"'{volume.path}' is no DICOM series with positions and orientation.", "Choose another format."
        )
    frame = pydicom.uid.generate_uid()
    for dataset in datasets:
        if not dataset.get("SpecificCharacterSet", "x"):
            del dataset.SpecificCharacterSet  # empty in some series, which highdicom refuses
        for keyword in IDENTITY:
            if keyword not in dataset:
                setattr(dataset, keyword, "")
        if not dataset.get("FrameOfReferenceUID"):
            dataset.FrameOfReferenceUID = frame
        if not dataset.get("SliceThickness"):
            dataset.SliceThickness = round(volume.geometry.spacing[2], 4)
    return datasets
