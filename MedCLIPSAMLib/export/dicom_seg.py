"""Write masks as a DICOM Segmentation that refers to the segmented series."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from .. import __version__
from ..counted import list_names
from ..errors import InputError, require_extra
from ..files.atomic import atomic_path
from ..volumes import Segment, Volume
from ..volumes.dicom_header import DAMAGED, frames_of, is_dicom, quiet, read_header
from ..volumes.terminology import NO_CODE, TISSUE
from .cases import Case
from .dicom_source import source_slices

MAKER, PROGRAM = "MedCLIPSAM contributors", "MedCLIPSAM"
UNICODE = "ISO_IR 192"
"""The character set of written objects, UTF-8: labels may be in any language."""


def write_dicom_seg(path: Path, segments: Sequence[Segment], volume: Volume) -> None:
    """Write the segments as one binary DICOM SEG object, without empty ones unless all are empty.

    Args:
        segments: masks on the grid of `volume`.
        volume: a volume read from a DICOM file of one slice or from the folder of a series.

    Raises:
        InputError: the volume did not come from DICOM, objects cannot refer to its series (the reason is highdicom's),
            or highdicom is not installed. OutputError: the file cannot be written.
    """
    made = _make(segments, volume, source_slices(volume))
    with atomic_path(path) as temporary:
        made.save_as(str(temporary))


def _make(segments: Sequence[Segment], volume: Volume, slices: Sequence[Dataset]) -> Any:
    """Make a DICOM SEG object of segments on some slices of a volume; see `write_dicom_seg`."""
    require_extra("dicom", "DICOM SEG")
    import highdicom

    shown = [segment for segment in segments if segment.mask.any()] or list(segments)
    logging.getLogger("highdicom").setLevel(logging.ERROR)  # it warns about empty masks
    pixels = np.stack([segment.mask for segment in shown], -1)
    try:
        # The user of an export need not see warnings about patient names in the series.
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            return highdicom.seg.Segmentation(
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
                content_label=PROGRAM.upper(),
                specific_character_set=UNICODE,
            )
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        # highdicom raises a KeyError for SOP classes that it does not know.
        reason = str(error).rstrip(".")
        if isinstance(error, KeyError) and error.args[:1] == (slices[0].SOPClassUID,):
            reason = f"highdicom does not know its SOP class {slices[0].SOPClassUID}"
        raise InputError(f"No DICOM SEG can be made for '{volume.path}': {reason}.", "Use another format.") from error


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
            segment_label=label,
            segmented_property_category=coded(_code_or_tissue(segment.terminology.category)),
            segmented_property_type=coded(_code_or_tissue(segment.terminology.type)),
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=made_by,
        )
        for number, (label, segment) in enumerate(zip(dicom_texts(segment.name for segment in segments), segments), 1)
    ]


def _code_or_tissue(code: tuple[str, str, str]) -> tuple[str, str, str]:
    return TISSUE if code == NO_CODE else code


def dicom_texts(names: Iterable[str]) -> list[str]:
    """Return names as unique DICOM LO values: at most 64 characters, without the backslash, which separates values."""
    made: list[str] = []
    for name in names:
        whole = name.replace("\\", "/")
        endings = ("", *(f" ({number})" for number in range(2, len(made) + 2)))
        made.append(next(text for end in endings if (text := whole[: 64 - len(end)] + end) not in made))
    return made


def check_dicom_cases(form: str, cases: Sequence[Case]) -> None:
    """Refuse images that a DICOM SEG cannot refer to, before models are loaded; only headers are read.

    Raises:
        InputError: there are such images, of which the first ones are named; or highdicom is not installed.
    """
    if form != "dcm":
        return
    require_extra("dicom", "DICOM SEG")
    refused = [case.image.name for case in cases if case.image.is_file() and not _can_be_referred_to(case.image)]
    if refused:
        raise InputError(
            f"DICOM SEG needs DICOM files of one slice with its position, but {len(refused)} of {len(cases)} images "
            f"are not: {list_names(refused)}.",
            "Leave them out, or export all as seg.nrrd.",
        )


def _can_be_referred_to(path: Path) -> bool:
    try:
        with quiet():
            if not is_dicom(path):
                return False
            header = read_header(path)
            return "ImagePositionPatient" in header and len(frames_of(path, header)) == 1
    except (InputError, *DAMAGED):
        return True  # a damaged file fails later, with its own message


def check_dicom_seg(volume: Volume) -> None:
    """Refuse a volume that a DICOM SEG cannot refer to, before long work, by making an empty one for its first slice.

    Raises:
        InputError: see `write_dicom_seg`.
    """
    _make([Segment("nothing", np.zeros((1, *volume.shape[1:]), bool))], volume, source_slices(volume)[:1])
