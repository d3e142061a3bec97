"""DICOM series and single files as volumes."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes.volume import clean_name

MODALITY, DESCRIPTION, SERIES_UID = "0008|0060", "0008|103e", "0020|000e"
POSITION, ORIENTATION = "0020|0032", "0020|0037"
PHOTOMETRIC, WINDOW_CENTRE, WINDOW_WIDTH = "0028|0004", "0028|1050", "0028|1051"
TOMOGRAPHY = ("CT", "MR", "PT")  # multi-frame files keep their orientation where the tags above do not show it
GAP_TOLERANCE_MM = 0.05


def read_series(folder: Path, series: str | None = None) -> tuple[dict[str, Any], sitk.Image]:
    """The DICOM series of a folder (its sub-folders are not searched), slices sorted along their normal.

    Args:
        series: the SeriesInstanceUID, needed when the folder holds several.

    Returns:
        What is known of the volume, by `Volume`'s attributes, and the pixels as read.

    Raises:
        InputError: no series, several and none chosen, an unknown UID, several images at one position, or mixed
            orientations.
    """
    uids = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not uids:
        entries = list(folder.iterdir())
        files = sum(entry.is_file() for entry in entries)
        found = f"holds {files} files but no DICOM image" if files else "holds only folders" if entries else "is empty"
        raise InputError(f"The folder '{folder}' {found}.", "Give a folder with one DICOM series, or an image file.")
    if series is None and len(uids) > 1:
        listing = "\n".join(f"  {uid}  {_describe(folder, uid)}" for uid in uids)
        raise InputError(
            f"The folder '{folder}' holds {len(uids)} DICOM series:\n{listing}\n", "Choose one by its UID."
        )
    uid = series or uids[0]
    if uid not in uids:
        raise InputError(f"The folder '{folder}' has no DICOM series '{uid}'.", f"It has: {', '.join(uids)}.")
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
    if len(files) == 1:
        return read_file(Path(files[0]))
    headers = [read_header(file) for file in files]
    notes = _check_geometry(headers, folder)
    middle = headers[len(headers) // 2]
    return _shown(describe(middle, folder, notes), files, middle)


def read_file(path: Path) -> tuple[dict[str, Any], sitk.Image]:
    """One DICOM file: a slice, a radiograph, or all frames of a multi-frame image. Returns as `read_series` does."""
    header = read_header(path)
    return _shown(describe(header, path, []), [str(path)], header)


def read_header(path: str | Path) -> sitk.ImageFileReader:
    """The tags of a DICOM file, without its pixels."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader


def _shown(known: dict[str, Any], files: Sequence[str], header: sitk.ImageFileReader) -> tuple[dict, sitk.Image]:
    """The pixels with high values bright, and the window that goes with them."""
    if _tag(header, PHOTOMETRIC) != "MONOCHROME1":
        return known, _read_pixels(files, False)
    bits, signed = int(_tag(header, "0028|0101")), _tag(header, "0028|0103") == "1"
    slope, intercept = (
        (_numbers(header, key) or [default])[0] for key, default in (("0028|1053", 1), ("0028|1052", 0))
    )
    total = slope * (-1 if signed else 2**bits - 1) + 2 * intercept
    if known["window"]:
        known["window"] = total - known["window"][0], known["window"][1]
    return known, sitk.Cast(total - sitk.Cast(_read_pixels(files, True), sitk.sitkFloat32), sitk.sitkFloat32)


def describe(header: sitk.ImageFileReader, path: Path, notes: list[str]) -> dict[str, Any]:
    """The name, modality, window and orientation that the tags give."""
    centre, width = _numbers(header, WINDOW_CENTRE), _numbers(header, WINDOW_WIDTH)
    modality = _tag(header, MODALITY) or None
    oriented = header.HasMetaDataKey(ORIENTATION) or header.GetDirection() != _identity(header.GetDimension())
    return dict(
        name=clean_name(_tag(header, DESCRIPTION) or (path.name if path.is_dir() else path.stem)),
        modality=modality,
        window=(centre[0], width[0]) if centre and width and width[0] > 0 else None,
        path=path,
        notes=notes,
        natural=not oriented and modality not in TOMOGRAPHY,
    )


def _read_pixels(files: Sequence[str], monochrome1: bool) -> sitk.Image:
    """The stored values, rescaled to the modality's units and never inverted.

    GDCM inverts the voxels of MONOCHROME1 files (the uncompressed ones at least) but not their window tags, which then
    miss them. It is kept from doing so by copies that say MONOCHROME2.
    """
    if not monochrome1:
        return sitk.ReadImage(files if len(files) > 1 else files[0])
    with tempfile.TemporaryDirectory() as folder:
        copies = [str(Path(folder) / f"{number}.dcm") for number in range(len(files))]
        for file, copy in zip(files, copies):
            Path(copy).write_bytes(Path(file).read_bytes().replace(b"MONOCHROME1", b"MONOCHROME2", 1))
        return _read_pixels(copies, monochrome1=False)


def _identity(dimension: int) -> tuple[float, ...]:
    return tuple(np.eye(dimension).ravel().tolist())


def _check_geometry(headers: list[sitk.ImageFileReader], folder: Path) -> list[str]:
    """Notes on uneven or sheared stacks; refuses what is no single stack of slices."""
    if not all(header.HasMetaDataKey(POSITION) and header.HasMetaDataKey(ORIENTATION) for header in headers):
        return ["The DICOM files carry no patient positions: slices are in the order of the file names."]
    orientations = np.array([_numbers(header, ORIENTATION) for header in headers])
    if np.abs(orientations - orientations[0]).max() > 1e-3:
        raise InputError(
            f"The DICOM series in '{folder}' mixes slice orientations (a localiser?).",
            "Give one orientation at a time.",
        )
    positions = np.array([_numbers(header, POSITION) for header in headers])
    normal = np.cross(orientations[0][:3], orientations[0][3:])
    depths = positions @ normal
    gaps = np.diff(depths)
    if np.abs(gaps).min() < 1e-3:
        raise InputError(
            f"The DICOM series in '{folder}' has several images at one position (time points or echoes): "
            f"{len(headers)} images at {len(np.unique(depths.round(3)))} positions.",
            "Give a folder with the files of one time point.",
        )
    notes = []
    if np.ptp(np.abs(gaps)) > GAP_TOLERANCE_MM:
        low, high = np.abs(gaps).min(), np.abs(gaps).max()
        notes.append(
            f"Uneven slice spacing ({low:.2f} to {high:.2f} mm): missing slices? Positions along the stack are inexact."
        )
    shift = positions[-1] - positions[0]
    sideways = float(np.linalg.norm(shift - normal * (shift @ normal)))
    if sideways > 0.5:
        notes.append(
            f"Slices are shifted sideways by {sideways:.1f} mm over the stack (gantry tilt): shown as straight."
        )
    return notes


def _describe(folder: Path, uid: str) -> str:
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
    header = read_header(files[0])
    parts = [_tag(header, MODALITY), _tag(header, DESCRIPTION) or "no description", f"{len(files)} files"]
    return ", ".join(part for part in parts if part)


def _tag(header: sitk.ImageFileReader, key: str) -> str:
    return header.GetMetaData(key).strip(" \0") if header.HasMetaDataKey(key) else ""


def _numbers(header: sitk.ImageFileReader, key: str) -> list[float]:
    try:
        return [float(part) for part in _tag(header, key).split("\\") if part.strip()]
    except ValueError:
        return []
