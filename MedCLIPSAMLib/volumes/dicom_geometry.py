"""Order of the images of a series by position, and the geometry of their volume."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import numpy as np

from MedCLIPSAMLib.counted import counted
from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes.dicom_decode import decode
from MedCLIPSAMLib.volumes.dicom_header import STORAGE, Frame, object_class
from MedCLIPSAMLib.volumes.dicom_nuclear import split_views, take_for_views
from MedCLIPSAMLib.volumes.dicom_phases import FrameGroup, depths_of, group_by, is_uneven, tell_apart
from MedCLIPSAMLib.volumes.dicom_spacing import TOMOGRAPHY, pixel_spacing
from MedCLIPSAMLib.volumes.dicom_unplaced import PLANES, assume_orientation, order_unplaced, without_places
from MedCLIPSAMLib.volumes.dicom_values import holds_words, numbers
from MedCLIPSAMLib.volumes.geometry import Geometry, check_spacing, straight

WHOLE_SLIDE = STORAGE + "77.1.6"
SAME_AXES = 2e-3
"""Maximum difference of the direction cosines of slices in one stack."""
ROUNDED_AXES = 0.01
"""Maximum cosine between rows and columns when orientations are rounded to hundredths."""
ODD_SHARE = 4
"""Images of another size, orientation or modality are ignored if they are at most 1 / ODD_SHARE of the others."""
ROUNDED_MM = 0.25
"""Maximum difference between slice distances, in mm, that is explained by positions rounded to 0.1 mm."""
ROUNDED_STEP_MM = 0.1
"""The same within an even stack, in which each position is rounded to the nearest 0.1 mm."""
MAX_LISTED = 40


def find_parts(frames: Sequence[Frame], where: str, notes: list[str]) -> list[FrameGroup]:
    """Group the images of one series into stacks; usually there is one.

    Localizers, a few images of another size or orientation, and images without a position among others with one are
    left out, with a note in `notes`.

    Args:
        where: names the series in messages.
        notes: receives notes for the user.

    Raises:
        InputError: the images are tiles or separate images, or no tag distinguishes images at one position.
    """
    _check_tiles(frames)
    take_for_views(frames)
    images = [frame for frame in frames if not frame.is_localizer]
    if images and len(images) < len(frames):
        notes.append(f"Left out: {_images(len(frames) - len(images))} of the series marked as localizer.")
    groups = _split(images or list(frames), lambda frame: frame.size, "another size", notes)
    parts: list[FrameGroup] = []
    for group in groups:
        if not is_flat(group[0]):
            without_places(group, notes)
            assume_orientation(group, notes)
        rows, columns, samples = group[0].size
        label = f"{columns} x {rows} pixels{' in color' if samples > 1 else ''}" if len(groups) > 1 else ""
        for view in split_views(group):
            parts += [part.within(label, view.label) for part in _stacks(view.frames, where, notes)]
    return parts


def choose_part(parts: Sequence[FrameGroup], phase: str | None, where: str, notes: list[str]) -> FrameGroup:
    """Choose the only stack, or one by its number in the list (from 1) or by words of its label.

    Raises:
        InputError: none or several fit; the message lists them.
    """
    lines = [f"  {number}  {part.label}, {_images(len(part.frames))}" for number, part in enumerate(parts, 1)]
    if len(lines) > MAX_LISTED:
        lines[MAX_LISTED:] = [f"  and {len(parts) - MAX_LISTED} more"]
    listing = "\n".join(lines)
    if phase is None:
        if len(parts) == 1:
            return parts[0]
        frames = [frame for part in parts for frame in part.frames]
        count = len({tuple(frame.position.round(2)) for frame in frames if frame.position is not None})
        places = counted(count, "position")
        what = (
            f"has several images at one position: {len(frames)} images at {places} in {len(parts)} phases"
            if 0 < count < len(frames)
            else f"holds {len(frames)} images in {len(parts)} stacks"
        )
        raise InputError(
            f"{where} {what}:\n{listing}\n", "Choose one with --phase: its number in this list, or words of its label."
        )
    wanted = " ".join(phase.split()).casefold()
    if wanted.isdigit() and 1 <= int(wanted) <= len(parts):
        fitting = [parts[int(wanted) - 1]]
    else:
        fitting = [part for part in parts if wanted == part.label.casefold()]
        fitting = fitting or [part for part in parts if holds_words(part.label, wanted)]
    if len(fitting) != 1:
        what = "no phase" if not fitting else f"{len(fitting)} phases"
        if len(parts) == 1:
            raise InputError(f"{where} is a single stack of images: no phase '{phase}'.", "Leave --phase out.")
        raise InputError(f"{where} has {what} '{phase}'.", f"It has:\n{listing}")
    if len(parts) > 1:
        notes.append(f"Phase {list(parts).index(fitting[0]) + 1} of {len(parts)}: {fitting[0].label}.")
    return fitting[0]


def in_order(part: FrameGroup, notes: list[str]) -> tuple[list[Frame], Geometry]:
    """Sort the images of a stack along their normal; also return the geometry of the volume.

    The slice spacing is the mean distance, as in ITK and 3D Slicer; uneven distances are noted in `notes`.

    Raises:
        InputError: the distances are impossible.
    """
    frames = list(part.frames)
    rows, columns = pixel_spacing(frames, notes)
    spaces = {frame.text("FrameOfReferenceUID") for frame in frames} - {""}
    if len(spaces) > 1:
        notes.append(
            f"The images refer to {len(spaces)} frames of reference: their positions cannot be compared, so slices may "
            "be in the wrong place."
        )
    if any(frame.position is None or frame.orientation is None for frame in frames):
        frames, order, heights = order_unplaced(frames)
        step = _own_step(frames[0]) if heights is None else _even_step(heights, notes)
        axes = frames[0].orientation
        origin = frames[0].position
        unplaced = (axes is not None and origin is None) or (len(frames) > 1 and not is_flat(frames[0]))
        first = numbers(frames[0].header.get("ImagePositionPatient"))
        of_first = axes is not None and origin is None and not frames[0].single and len(first) == 3
        origin = np.array(first) if of_first else origin
        if unplaced and frames[0].follows_time:
            notes.append("The frames follow one another in time: they are a loop of images, not slices of a body.")
        elif unplaced:
            what = "no patient positions" if origin is None else "no orientation that fits their positions"
            if of_first:
                what = f"only the position of the first, and were taken to be {step:g} mm apart (1 mm in 3D Slicer)"
            notes.append(f"The DICOM images carry {what}: slices are in the order of their {order}.")
    else:
        axes = frames[0].orientation
        depths = depths_of(frames)
        frames = [frames[place] for place in np.argsort(depths, kind="stable")]
        origin = frames[0].position
        step = _step(frames, notes)
    spacing = (columns, rows, step)
    what = f"The DICOM series '{frames[0].text('SeriesDescription') or frames[0].path.name}'"
    check_spacing(spacing, what)
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if axes is None else axes) * spacing
    affine[:3, 3] = 0 if origin is None else origin
    return frames, replace(straight(affine, what, notes, "Export it again.", ROUNDED_AXES), spacing=spacing)


def are_separate_images(frames: Sequence[Frame]) -> bool:
    """Tell whether these are separate images, such as radiographs: several files, none with a position."""
    take_for_views(frames)
    if any(frame.position is not None and frame.orientation is not None for frame in frames):
        return False
    return len({frame.path for frame in frames}) > 1 and is_flat(frames[0])


def is_one_stack(frames: Sequence[Frame]) -> bool:
    """Tell whether images form one even stack, each at its own position, with few slices missing."""
    return images_per_place(frames) == 1


def images_per_place(frames: Sequence[Frame]) -> int:
    """Count the images at each position of an even stack: 1, or one for each phase; 0 if they do not form such a stack.

    A few slices may be missing, in all phases.
    """
    if any(frame.position is None or frame.orientation is None for frame in frames):
        return 0
    axes = _axes_of(frames)
    kinds = {(frame.size, tuple(np.round(frame.pixel_spacing or 0, 2).flat), axes(frame)) for frame in frames}
    depths, counts = np.unique(depths_of(frames), return_counts=True)
    gaps = np.diff(depths)
    missing = _missing(gaps)
    steps = gaps / (missing + 1)
    is_even = len(gaps) == 0 or np.ptp(steps) <= min(ROUNDED_STEP_MM, steps.min() / 5) + 1e-6
    is_whole = len(kinds) == 1 and np.ptp(counts) == 0 and missing.sum() <= len(depths) / ODD_SHARE
    return int(counts[0]) if is_even and is_whole else 0


def is_cut(parts: Sequence[Sequence[Frame]]) -> bool:
    """Tell whether parts of a series are pieces of one even stack, or of its phases, rather than separate stacks.

    Parts that are even stacks by themselves must follow one another: time points and reconstructions would overlap.
    """
    if not images_per_place([frame for part in parts for frame in part]):
        return False
    extents = sorted((min(depths), max(depths)) for depths in map(depths_of, parts))
    return not all(map(images_per_place, parts)) or all(low[1] < high[0] for low, high in pairwise(extents))


def is_flat(frame: Frame) -> bool:
    """Tell whether an image without a position stands alone, such as a radiograph, and is not a slice of a body."""
    return frame.is_projection or frame.text("Modality") not in TOMOGRAPHY


def _check_tiles(frames: Sequence[Frame]) -> None:
    """Refuse files whose frames are tiles of one large picture."""
    is_tiled = lambda frame: (
        object_class(frame.header) == WHOLE_SLIDE or frame.text("DimensionOrganizationType").startswith("TILED")
    )
    tiles = [frame for frame in frames if not frame.single and is_tiled(frame)]
    if tiles:
        raise InputError(
            f"'{tiles[0].path}' holds tiles of a whole-slide image, which are not slices.",
            "Save a region or an overview as PNG or TIFF, for example in QuPath.",
        )


def _stacks(frames: list[Frame], where: str, notes: list[str]) -> list[FrameGroup]:
    placed = [frame for frame in frames if frame.position is not None and frame.orientation is not None]
    if not placed:
        if are_separate_images(frames):
            raise InputError(
                f"{where} holds {len(frames)} separate images (without positions).",
                f"Give one of the files, such as '{frames[0].path}'.",
            )
        return [FrameGroup("", frames)]
    if len(placed) < len(frames):
        notes.append(f"Left out: {_images(len(frames) - len(placed))} without a position.")
    groups = _split(placed, _axes_of(placed), "another orientation", notes)
    parts: list[FrameGroup] = []
    for label, group in zip(_planes(groups), groups):
        stacks = group_by(group, lambda frame: frame.text("StackID"))
        for name in sorted(stacks):
            phases = _phases(stacks[name], notes)
            if phases is None:
                places = counted(len(set(depths_of(stacks[name]))), "position")
                raise InputError(
                    f"{where} has {len(stacks[name])} images at {places}, and no tag tells them apart.",
                    "Give a folder with the files of one time point or echo."
                    if len({frame.path for frame in stacks[name]}) > 1
                    else "Split the file into volumes first, for example with dcm2niix.",
                )
            stack = f"stack {name}" if len(stacks) > 1 else ""
            parts += [part.within(label, stack) for part in phases]
    return parts


def _phases(frames: Sequence[Frame], notes: list[str]) -> list[FrameGroup] | None:
    """Separate the images of a stack into phases: by their tags, else after removing copies, else by number alone."""
    phases = tell_apart(frames, by_number=False)
    if phases is None:
        said: list[str] = []
        kept = _without_copies(frames, said)
        once = len(kept) < len(frames) and len(kept) == len(set(depths_of(frames)))
        phases = None if once else tell_apart(frames)
        if phases is None:
            notes += said
            phases = tell_apart(kept)
    return phases


def _without_copies(frames: Sequence[Frame], notes: list[str]) -> list[Frame]:
    """Leave out images with the same pixels as another at their position, with a note in `notes`."""
    kept: list[Frame] = []
    seen: set[tuple[float, bytes]] = set()
    depths = depths_of(frames)
    count = Counter(depths)
    for frame, depth in zip(frames, depths):
        pixels = None
        if frame.single and count[depth] > 1:
            with suppress(InputError):  # reported when the chosen images are read
                pixels = decode(frame.path)[0][frame.index]
        key = (float(depth), hashlib.sha256(pixels.tobytes() if pixels is not None else b"").digest())
        if pixels is None or key not in seen:
            kept.append(frame)
        seen.add(key)
    if copies := len(frames) - len(kept):
        notes.append(f"Left out: {_images(copies)} with the same pixels as another at the same position.")
    return kept


def _split(frames: list[Frame], key: Callable[[Frame], Hashable], what: str, notes: list[str]) -> list[list[Frame]]:
    """Group images by a key, the largest group first; return only the largest if the others are few."""
    ordered = sorted(group_by(frames, key).values(), key=len, reverse=True)
    others = len(frames) - len(ordered[0])
    if 0 < others <= len(ordered[0]) / ODD_SHARE:
        notes.append(f"Left out: {_images(others)} of {what} than the other {len(ordered[0])}.")
        return ordered[:1]
    return ordered


def _axes_of(frames: Sequence[Frame]) -> Callable[[Frame], Hashable]:
    """Return a key function that is equal for orientations within `SAME_AXES`."""
    known: list[np.ndarray] = []
    keys: dict[Frame, int] = {}
    for frame in frames:
        axes = np.asarray(frame.orientation)
        keys[frame] = next((n for n, step in enumerate(known) if np.abs(step - axes).max() < SAME_AXES), len(known))
        if keys[frame] == len(known):
            known.append(axes)
    return keys.__getitem__


def _planes(groups: Sequence[Sequence[Frame]]) -> list[str]:
    """Name the planes of groups, adding directions (L, P, S) if names are equal; "" for a single group."""
    axes = [np.asarray(group[0].orientation) for group in groups]
    labels = [PLANES[int(np.abs(own[:, 2]).argmax())] for own in axes] if len(groups) > 1 else [""]
    for column, name in ((2, "normal"), (0, "rows along")):
        count = Counter(labels)
        directions = [" ".join(f"{value:.2f}" for value in own[:, column].round(2) + 0.0) for own in axes]
        labels = [
            label if count[label] == 1 else f"{label}, {name} {direction}"
            for label, direction in zip(labels, directions)
        ]
    return labels


def _own_step(frame: Frame) -> float:
    """Return the slice distance that a single image states: its spacing, else its thickness, else 1 mm."""
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        values = frame.numbers(keyword)
        if values and np.isfinite(values[0]) and values[0] != 0:
            return abs(values[0])
    return 1.0


def _step(frames: list[Frame], notes: list[str]) -> float:
    """Compute the mean distance between sorted slices; uneven or shifted ones are noted in `notes`."""
    if len(frames) == 1:
        return _own_step(frames[0])
    positions = np.array([frame.position for frame in frames])
    normal = np.asarray(frames[0].orientation)[:, 2]
    _even_step(positions @ normal, notes)
    shifts = positions - positions[0]
    sideways = float(np.linalg.norm(shifts - np.outer(shifts @ normal, normal), axis=1).max())
    if sideways > 0.5:
        notes.append(
            f"Slices are shifted sideways by {sideways:.1f} mm over the stack (gantry tilt): stacked as if straight."
        )
    return float(np.linalg.norm(positions[-1] - positions[0])) / (len(frames) - 1)


def _even_step(heights: np.ndarray, notes: list[str]) -> float:
    """Compute the mean distance between sorted heights; uneven ones are noted in `notes`."""
    gaps = np.diff(heights)
    if is_uneven(gaps):
        low, high = gaps.min(), gaps.max()
        count = int(_missing(gaps).sum())
        guess = "."
        if count:
            guess = f": missing slices? {count} slice{'s seem' if count != 1 else ' seems'} to be missing."
        elif high - low < ROUNDED_MM:
            guess = ": rounded positions?"
        notes.append(
            f"Uneven slice spacing ({low:.2f} to {high:.2f} mm){guess} Positions along the stack and volumes are "
            "inexact."
        )
    return float(gaps.mean())


def _missing(gaps: np.ndarray) -> np.ndarray:
    """Count the slices that seem to be missing in each gap, relative to the median gap (the lower one of two)."""
    return np.maximum(np.rint(gaps / (np.sort(gaps)[(len(gaps) - 1) // 2] if len(gaps) else 1)) - 1, 0)


def _images(count: int) -> str:
    return counted(count, "image")
