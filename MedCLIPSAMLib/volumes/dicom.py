"""DICOM as volumes: a folder with a series, or one file."""

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
    "The image is a mosaic: the slices of a volume side by side in one picture (Siemens), which is shown as it is. "
    "dcm2niix converts it to a volume."
)
PROBE_NOTE = (
    "Positions are those in the ultrasound volume, not in the patient: its axes were taken for left, posterior and "
    "superior."
)


def read_folder(folder: Path, series: str | None = None, phase: str | None = None) -> Volume:
    """Read a DICOM series of a folder or its sub-folders, its slices in the order of their positions.

    Args:
        series: its UID, its number, or words of its description; needed where there are several.
        phase: the number of a phase, echo, b-value or time point in the list that the error without it shows, or part
            of its label there; needed where several images lie at one position.

    Raises:
        InputError: no series, several and none chosen, none that fits, or no single stack of images.
    """
    found, files = find_series(folder)
    choice_notes: list[str] = []
    chosen = choose_series(found, series, folder, choice_notes)
    notes = files.notes({path.parent for path in chosen.files} if series is not None else None) + choice_notes
    if chosen.copies:
        notes.append(f"Left out: {counted(chosen.copies, 'file')}, of images that occur twice.")
    notes += directory_notes(chosen.missing, chosen.outside)
    name = chosen.description or folder.name
    where = f"The DICOM series '{chosen.description or chosen.uid}' in '{folder}'"
    return _volume(chosen.frames(), phase, where, name, folder, notes)


def read_file(path: Path, series: str | None = None, phase: str | None = None) -> Volume:
    """Read one DICOM file: a slice, a radiograph, or the frames of a multi-frame image; see `read_folder`.

    A DICOMDIR stands for the folder that it is in.

    Raises:
        InputError: it holds no image, is damaged, or a series is chosen of a file that has one only.
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
        notes.append(
            f"{alike} of {len(ordered)} slices share a SOPInstanceUID, so that references to one are in doubt."
        )
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
