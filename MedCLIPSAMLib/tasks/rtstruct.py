"""Write masks as a DICOM RT Structure Set: closed contours on the slices of the segmented series.

Written with pydicom, following DICOM PS3.3, A.19 and C.8.8.5 to C.8.8.8. Contours run halfway between the centers of
voxels inside and outside, so a mask consists of the voxels whose centers they enclose. A hole is joined to the contour
around it by a line there and back (the keyhole technique of C.8.8.6.3), which all readers understand.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import UID, ImplicitVRLittleEndian, generate_uid
from skimage.measure import find_contours

from .. import __version__
from ..export.dicom_seg import MAKER, PROGRAM, UNICODE, dicom_texts
from ..export.dicom_source import IDENTITY, source_slices
from ..files.atomic import atomic_path
from ..volumes import Segment, Volume

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
STUDY_MANAGEMENT = "1.2.840.10008.3.1.2.3.1"


def write_rtstruct(path: Path, segments: Sequence[Segment], volume: Volume) -> None:
    """Write segments as regions (ROIs) of an RT Structure Set; an empty segment becomes a region without contours.

    Args:
        segments: masks on the grid of `volume`.
        volume: a volume read from a DICOM series with one file per slice.

    Raises:
        InputError: the volume is not such a series. OutputError: the file cannot be written.
    """
    slices = source_slices(volume)
    first = slices[0]
    frame = str(first.FrameOfReferenceUID)
    dataset = _head(first, frame)
    dataset.ReferencedFrameOfReferenceSequence = DicomSequence([_reference(slices, frame)])
    regions, contours, observations = [], [], []
    names = dicom_texts(segment.name for segment in segments)
    for number, (name, segment) in enumerate(zip(names, segments), 1):
        region = _item(ROINumber=number, ROIName=name, ROIGenerationAlgorithm="AUTOMATIC")
        region.ReferencedFrameOfReferenceUID = frame
        regions.append(region)
        color = [round(255 * channel) for channel in segment.color]
        outlined = _item(ROIDisplayColor=color, ReferencedROINumber=number)
        drawn = [_contour(points, source) for mask, source in zip(segment.mask, slices) for points in outlines(mask)]
        if drawn:
            outlined.ContourSequence = DicomSequence(drawn)
        contours.append(outlined)
        observations.append(
            _item(ObservationNumber=number, ReferencedROINumber=number, RTROIInterpretedType="", ROIInterpreter="")
        )
    dataset.StructureSetROISequence = DicomSequence(regions)
    dataset.ROIContourSequence = DicomSequence(contours)
    dataset.RTROIObservationsSequence = DicomSequence(observations)
    with atomic_path(path) as temporary:
        dataset.save_as(str(temporary), enforce_file_format=True)


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Find the closed contours of a mask (rows, columns), each (N, 2) rows and columns; holes are joined to them."""
    lines = [line[:-1] - 1 for line in find_contours(np.pad(mask, 1).astype(float), 0.5, fully_connected="low")]
    holes = [n for n, line in enumerate(lines) if _turns(line) < 0]
    # A hole is joined at its leftmost point to the next contour point to the left in the same row: between them lies
    # only the mask.
    places = [(n, at) for n, line in enumerate(lines) for at in range(len(line))]
    points = np.concatenate(lines) if lines else np.zeros((0, 2))
    order = np.lexsort(points.T[::-1])
    before = dict(zip(order[1:].tolist(), order[:-1].tolist()))
    first = np.cumsum([0, *map(len, lines)])
    leftmost = {n: int(lines[n][:, 1].argmin()) for n in holes}
    detours: list[list[tuple[int, np.ndarray]]] = [[] for _ in lines]
    for n in sorted(holes, key=lambda n: lines[n][leftmost[n], 1], reverse=True):  # holes joined to a hole come first
        start = leftmost[n]
        joined = _with_detours(lines[n], detours[n], start)
        around, at = places[before[int(first[n]) + start]]
        detours[around].append((at, np.concatenate([joined, joined[:1]])))
    return [_with_detours(line, detours[n]) for n, line in enumerate(lines) if n not in leftmost]


def _turns(line: np.ndarray) -> float:
    """Compute twice the signed area inside, which is positive for a contour around voxels of the mask."""
    rows, columns = line.T
    return float(np.sum(columns * np.roll(rows, -1) - np.roll(columns, -1) * rows))


def _with_detours(line: np.ndarray, detours: list[tuple[int, np.ndarray]], start: int = 0) -> np.ndarray:
    """Return a contour that starts at point `start`, with closed lines inserted that leave and rejoin it at a point.

    Args:
        line: (N, 2) contour.
        detours: index of a point, and the closed line that starts and ends beside it.
        start: index of the first point of the result.
    """
    parts, last = [], 0
    line = np.roll(line, -start, 0)
    left = {(at - start) % len(line): round_hole for at, round_hole in detours}
    for at, round_hole in sorted(left.items()):
        parts += [line[last : at + 1], round_hole, line[at : at + 1]]
        last = at + 1
    return np.concatenate([*parts, line[last:]])


def _contour(points: np.ndarray, source: Dataset) -> Dataset:
    """Make a DICOM contour on a slice from (N, 2) rows and columns."""
    along_row, along_column = (np.array(source.ImageOrientationPatient[n : n + 3], float) for n in (0, 3))
    rows_apart, columns_apart = (float(value) for value in source.PixelSpacing)
    place = np.array(source.ImagePositionPatient, float)
    patient = place + points[:, 1:] * columns_apart * along_row + points[:, :1] * rows_apart * along_column
    image = _item(ReferencedSOPClassUID=source.SOPClassUID, ReferencedSOPInstanceUID=source.SOPInstanceUID)
    return _item(
        ContourImageSequence=DicomSequence([image]),
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=len(patient),
        ContourData=[f"{value:.4f}" for value in patient.ravel()],
    )


def _head(first: Dataset, frame: str) -> Dataset:
    now = datetime.now()
    dataset = _item(
        SpecificCharacterSet=UNICODE,
        SOPClassUID=RTSTRUCT,
        SOPInstanceUID=generate_uid(),
        **{name: str(first.get(name) or "") for name in IDENTITY},
        StudyInstanceUID=first.StudyInstanceUID,
        SeriesInstanceUID=generate_uid(),
        Modality="RTSTRUCT",
        SeriesNumber=1001,
        SeriesDescription="Segmentation, for research, not for diagnosis",
        OperatorsName="",
        FrameOfReferenceUID=frame,
        PositionReferenceIndicator="",
        Manufacturer=MAKER,
        ManufacturerModelName=PROGRAM,
        SoftwareVersions=__version__,
        StructureSetLabel=PROGRAM,
        StructureSetDate=now.strftime("%Y%m%d"),
        StructureSetTime=now.strftime("%H%M%S"),
        ApprovalStatus="UNAPPROVED",
    )
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = UID(RTSTRUCT)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian  # explicit VR limits contours to 64 kB
    return dataset


def _reference(slices: Sequence[Dataset], frame: str) -> Dataset:
    """Describe the series that the contours refer to, slice by slice."""
    images = [
        _item(ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID)
        for header in slices
    ]
    series = _item(SeriesInstanceUID=slices[0].SeriesInstanceUID, ContourImageSequence=DicomSequence(images))
    study = _item(
        ReferencedSOPClassUID=STUDY_MANAGEMENT,
        ReferencedSOPInstanceUID=slices[0].StudyInstanceUID,
        RTReferencedSeriesSequence=DicomSequence([series]),
    )
    return _item(FrameOfReferenceUID=frame, RTReferencedStudySequence=DicomSequence([study]))


def _item(**elements: object) -> Dataset:
    """Make a data set from elements by keyword."""
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item
