"""DICOM images as volumes: a folder with a series, or a single file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from MedCLIPSAMLib.counted import counted
from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes.dicom_geometry import choose_part, find_parts, in_order, is_flat
from MedCLIPSAMLib.volumes.dicom_header import SPACINGS, Frame, frames_of, is_directory, no_image, read_header
from MedCLIPSAMLib.volumes.dicom_missing import concatenation_notes, directory_notes, slice_notes
from MedCLIPSAMLib.volumes.dicom_pixels import SCALE, full_window, read_voxels, shown_by
from MedCLIPSAMLib.volumes.dicom_series import choose_series, find_series
from MedCLIPSAMLib.volumes.dicom_values import comma_notes
from MedCLIPSAMLib.volumes.volume import Volume, clean_name

PLACED = ("ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "SpacingBetweenSlices")
MOSAIC_NOTE = (
    "The image is a mosaic (Siemens): the slices of a volume side by side in one picture, which is shown unchanged. "
    "dcm2niix converts it to a volume."
)
PROBE_NOTE = (
    "Positions are relative to the ultrasound volume, not to the patient: its axes were taken to be left, posterior "
    "and superior."
)


def read_folder(folder: Path, series: str | None = None, phase: str | None = None) -> Volume:
    """Read a DICOM series from a folder or its subfolders, with its slices ordered by position.

    Args:
        series: UID, number, or words of the description of the series; needed if there are several.
        phase: a phase, echo, b-value or time point: its number in the list that the error shows when it is not given,
            or part of its label there; needed if several images lie at one position.

    Raises:
        InputError: there is no series, several and none was chosen, none or several fit the choice, or the images do
            not form a single stack.
    """
    found, files = find_series(folder)
    choice_notes: list[str] = []
    chosen = choose_series(found, series, folder, choice_notes)
    notes = files.notes({path.parent for path in chosen.files} if series is not None else None) + choice_notes
    if chosen.copies:
        notes.append(f"Left out: {counted(chosen.copies, 'file')} with images that occur twice.")
    notes += directory_notes(chosen.missing, chosen.outside)
    name = chosen.description or folder.name
    where = f"The DICOM series '{chosen.description or chosen.uid}' in '{folder}'"
    return _volume(chosen.frames(), phase, where, name, folder, notes)


def read_file(path: Path, series: str | None = None, phase: str | None = None) -> Volume:
    """Read one DICOM file: a slice, a radiograph, or the frames of a multi-frame image; see `read_folder`.

    A DICOMDIR stands for the folder that contains it.

    Raises:
        InputError: the file holds no image, is damaged, or a series was chosen although it is a single file.
    """
    if is_directory(path):
        return read_folder(path.parent, series, phase)
    if series is not None:
        raise InputError(f"'{path}' is a single file: it has no series '{series}'.", "Leave --series out.")
    header = read_header(path)
    what = no_image(header)
    if what:
        raise InputError(
            f"'{path}' holds no image: {what} ({header.get('Modality', 'DICOM')}).",
            "Give the series of images that it belongs to.",
        )
    return _volume(
        frames_of(path, header), phase, f"'{path}'", header.get("SeriesDescription") or path.stem, path, notes=[]
    )


def _volume(frames: list[Frame], phase: str | None, where: str, name: str, path: Path, notes: list[str]) -> Volume:
    notes += concatenation_notes(frames)
    notes += comma_notes((keyword, frame.get(keyword)) for frame in frames for keyword in (*SPACINGS, *PLACED, *SCALE))
    part = choose_part(find_parts(frames, where, notes), phase, where, notes)
    ordered, geometry = in_order(part, notes)
    notes += slice_notes(ordered)
    objects = Counter(frame.text("SOPInstanceUID") for frame in ordered if frame.single)
    if alike := sum(count for uid, count in objects.items() if uid and count > 1):
        notes.append(f"{alike} of {len(ordered)} slices share a SOPInstanceUID, so references to them are ambiguous.")
    middle = ordered[len(ordered) // 2]
    array, total = read_voxels(ordered, notes)
    if any("MOSAIC" in frame.image_type for frame in ordered):
        notes.append(MOSAIC_NOTE)
    if middle.get("ImageOrientationPatient") is None and middle.get("ImageOrientationVolume") is not None:
        notes.append(PROBE_NOTE)
    window, curve = shown_by(ordered, total)
    natural = middle.follows_time or (middle.orientation is None and is_flat(middle))
    if natural and window is None and curve is None:
        window = full_window(middle)
    modality = middle.text("Modality") or None
    return Volume(
        array,
        geometry,
        clean_name(str(name)),
        modality,
        window,
        curve,
        path,
        files=tuple(frame.path for frame in ordered) if all(frame.single for frame in ordered) else (),
        notes=notes,
        natural=natural,
        known_spacing=any(frame.pixel_spacing is not None for frame in ordered),
        magnification=middle.magnification,
    )
