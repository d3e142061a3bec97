"""DICOM files made for tests, by pydicom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from MedCLIPSAMLib.volumes import read_volume

CT, MR, CR, PET, US, SC = (f"1.2.840.10008.5.1.4.1.1.{ending}" for ending in ("2", "4", "1", "128", "6.1", "7"))
SEG, RTDOSE, SR, PDF, PR, KO, RTSTRUCT = (
    f"1.2.840.10008.5.1.4.1.1.{ending}" for ending in ("66.4", "481.2", "88.11", "104.1", "11.1", "88.59", "481.3")
)
ENHANCED_CT, ENHANCED_MR, NM = (f"1.2.840.10008.5.1.4.1.1.{ending}" for ending in ("2.1", "4.1", "20"))
AXIAL = (1, 0, 0, 0, 1, 0)
CORONAL = (1, 0, 0, 0, 0, -1)
SAGITTAL = (0, 1, 0, 0, 0, -1)


def save(dataset: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian, whole: bool = True) -> Path:
    """Write a data set; without `whole`, as old programs did: no preamble and no meta header."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    if whole:
        dataset.save_as(path, enforce_file_format=True)
    else:
        del dataset.file_meta
        dataset.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)
    return path


def image(pixels: np.ndarray, kind: str = CT, modality: str = "CT", **tags: Any) -> Dataset:
    """An image of whole numbers, (rows, columns) or (frames, rows, columns); `tags` by keyword, None leaves one out."""
    dataset = Dataset()
    known: dict[str, Any] = {
        "SOPClassUID": kind,
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "SeriesNumber": "1",
        "SeriesDescription": "made",
        "PatientID": "p1",
        "Modality": modality,
        "StudyDate": "20260102",
        "Rows": pixels.shape[-2],
        "Columns": pixels.shape[-1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": pixels.itemsize * 8,
        "BitsStored": pixels.itemsize * 8,
        "HighBit": pixels.itemsize * 8 - 1,
        "PixelRepresentation": 1 if pixels.dtype.kind == "i" else 0,
        "PixelData": pixels.tobytes(),
    }
    if pixels.ndim == 3:
        known["NumberOfFrames"] = len(pixels)
    for keyword, value in (known | tags).items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    return dataset


def colored(pixels: np.ndarray, **tags: Any) -> Dataset:
    """An ultrasound image of colors, (rows, columns, 3) or (frames, rows, columns, 3)."""
    known = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "RGB"}
    return image(pixels[..., 0], US, "US", **(known | {"PixelData": pixels.tobytes()} | tags))


def slice_at(position: Sequence[float], value: int, **tags: Any) -> Dataset:
    """A slice of 4 x 6 pixels of one value; 0.7 mm between rows, 0.5 mm between columns."""
    known = {
        "ImagePositionPatient": [float(value) for value in position],
        "ImageOrientationPatient": [float(value) for value in AXIAL],
        "PixelSpacing": [0.7, 0.5],
        "InstanceNumber": str(value + 1),
    }
    return image(np.full((4, 6), value, np.int16), **(known | tags))


def write_series(folder: Path, depths: Iterable[float], **tags: Any) -> None:
    """Axial slices at these heights in mm; the voxels of slice n are n."""
    for number, depth in enumerate(depths):
        save(slice_at((0, 0, depth), number, **tags), folder / f"{tags.get('SeriesInstanceUID', 's')}-{number:03d}.dcm")


def values(path: Path, **which: Any) -> list[int]:
    """Read the value of each slice: n where the slices of `write_series` are in order."""
    return read_volume(path, **which).array[:, 0, 0].tolist()


def item(**tags: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset


def sequence(**tags: Any) -> DicomSequence:
    return DicomSequence([item(**tags)])


def enhanced(
    positions: Sequence[Sequence[float]],
    frames: Sequence[dict[str, Any]] = (),
    orientations: Sequence[Sequence[float]] = (),
    kind: str = ENHANCED_CT,
    modality: str = "CT",
    **tags: Any,
) -> Dataset:
    """A multi-frame image whose frame n has the value n; `frames` are further functional groups of each."""
    count = len(positions)
    pixels = np.repeat(np.arange(count, dtype=np.int16), 24).reshape(count, 4, 6)
    groups = []
    for number, position in enumerate(positions):
        group = item(
            PlanePositionSequence=sequence(ImagePositionPatient=[float(value) for value in position]),
            PlaneOrientationSequence=sequence(
                ImageOrientationPatient=[float(value) for value in (orientations[number] if orientations else AXIAL)]
            ),
        )
        for keyword, value in (frames[number] if frames else {}).items():
            setattr(group, keyword, value)
        groups.append(group)
    return image(
        pixels,
        kind,
        modality,
        SharedFunctionalGroupsSequence=sequence(PixelMeasuresSequence=sequence(PixelSpacing=[0.7, 0.5])),
        PerFrameFunctionalGroupsSequence=DicomSequence(groups),
        **tags,
    )
