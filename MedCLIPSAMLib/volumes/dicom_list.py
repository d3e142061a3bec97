"""Lists of the DICOM series in a folder, from which the user chooses."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes.archive import is_zip, unpack_zip
from MedCLIPSAMLib.volumes.dicom_geometry import are_separate_images, find_parts, in_order
from MedCLIPSAMLib.volumes.dicom_header import DAMAGED, is_dicom, is_directory, no_image, quiet, read_header, text
from MedCLIPSAMLib.volumes.dicom_missing import concatenation_notes, directory_notes
from MedCLIPSAMLib.volumes.dicom_series import Series, find_series


@dataclass(frozen=True)
class SeriesSummary:
    """Summary of a series; nothing in it identifies the patient, unless the description does.

    Attributes:
        uid: text by which `--series` chooses it, see `Series.handle`.
        what: "volume", "localizer", "3 images", "3 phases", "segmentation (no image)" and the like.
        files: number of files.
        size: voxels along I, J and K of the largest stack; empty if there is none.
        spacing: mm along the same axes.
        date: YYYY-MM-DD, or empty.
        phases: labels from which `--phase` chooses, if there are several.
        notes: sentences for the user on how it would be read.
    """

    uid: str
    number: str
    description: str
    modality: str
    what: str
    files: int
    size: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    date: str = ""
    phases: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def list_series(folder: Path) -> tuple[list[SeriesSummary], list[str]]:
    """List the series in a folder and its subfolders, a zip file or a single file, with notes on files left out.

    A DICOMDIR stands for the folder that contains it.

    Raises:
        InputError: there is no DICOM object, or no such file or folder.
    """
    if not folder.exists():
        raise InputError(f"There is no file or folder '{folder}'.", "Check the path.")
    if folder.is_file():
        if is_directory(folder):
            return list_series(folder.parent)
        if is_zip(folder):
            with unpack_zip(folder) as inside:
                return list_series(inside)
        if not is_dicom(folder):
            raise InputError(f"'{folder}' is a file, but not DICOM.", "Give a folder, a zip file or a DICOM file.")
        with quiet():
            header = read_header(folder)
            try:
                single = Series(text(header, "SeriesInstanceUID"), no_image(header) or "", {folder: header})
                return [_list_part(single)], []
            except DAMAGED as error:
                raise InputError(f"'{folder}' is damaged DICOM: {error}.", "Copy or export it again.") from error
    with quiet():
        found, files = find_series(folder)
        return [_list_part(series) for series in found], files.notes()


def _list_part(series: Series) -> SeriesSummary:
    about = SeriesSummary(
        uid=series.handle,
        number=series.number,
        description=series.description,
        modality=series.modality,
        what=f"{series.what} (no image)",
        files=len(series.files),
        date=series.date,
    )
    if series.what:
        return about
    notes = directory_notes(series.missing, series.outside)
    try:
        frames = series.frames()
        if are_separate_images(frames):
            return replace(about, what=f"{len(frames)} images")
        notes += concatenation_notes(frames)
        parts = find_parts(frames, f"The series '{series.uid}'", notes)
        ordered, geometry = in_order(max(parts, key=lambda part: len(part.frames)), notes)
    except InputError as error:
        return replace(about, what=f"not readable: {error.problem.strip().rstrip('.')}")
    except DAMAGED as error:
        return replace(about, what=f"not readable: {error}")
    rows, columns, _ = ordered[0].size
    if len(parts) > 1:
        what = f"{len(parts)} phases"
    elif aside := series.aside:
        what = aside
    elif ordered[0].position is None:
        what = "image" if len(ordered) == 1 else f"{len(ordered)} frames"
    else:
        what = "volume" if len(ordered) > 1 else "slice"
    return replace(
        about,
        what=what,
        size=(columns, rows, len(ordered)),
        spacing=geometry.spacing,
        phases=[f"{part.label}, {len(part.frames)} images" for part in parts] if len(parts) > 1 else [],
        notes=notes,
    )
