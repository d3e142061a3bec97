"""Write what an image gave in the formats that were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..choices import MaskFormat
from ..export.dicom_seg import check_dicom_seg, source_slices, write_dicom_seg
from ..segmentation.result import PromptedResult
from ..volumes import Segment, Volume, write_saliency, write_segmentation
from ..volumes.write import check_slices, fit
from .segmented import Segmented


def check_form(form: MaskFormat, path: Path, volume: Volume) -> None:
    """Refuse a format that an image cannot be written in, before long work is done for it.

    Raises:
        OutputError: several slices into an image. InputError: no DICOM series for a DICOM object.
    """
    check_slices(path, volume)
    if form == MaskFormat.RTSTRUCT:
        source_slices(volume)
    if form == MaskFormat.DICOM_SEG:
        check_dicom_seg(volume)


def write(made: Segmented, form: MaskFormat) -> Segmented:
    """Write the files of `made.places`; returns it with what the masks lost in that format as notes of the volume.

    Raises:
        OutputError: a file cannot be written.
    """
    places = made.places
    segments = list(made.segments.values())
    if "" in places.masks:
        write_masks(places.masks[""], form, segments, made.volume)
    else:
        for segment in segments:
            write_masks(places.masks[segment.name], form, [segment], made.volume)
    if places.saliency is not None:
        write_saliency(places.saliency, saliency(made), made.volume)
    if places.overlay is not None:
        from .drawing import draw_overlay

        draw_overlay(places.overlay, made)
    if places.montage is not None:
        from .drawing import draw_montage

        draw_montage(places.montage, made)
    return made


def write_masks(path: Path, form: MaskFormat, segments: Sequence[Segment], volume: Volume) -> None:
    """Write segments into one file; where they overlap and the format cannot hold it, a note of the volume says so."""
    if form == MaskFormat.DICOM_SEG:
        write_dicom_seg(path, segments, volume)
        return
    if form == MaskFormat.RTSTRUCT:
        from .rtstruct import write_rtstruct

        write_rtstruct(path, segments, volume)
        return
    fitting, notes = fit(path, segments)
    volume.notes.extend(notes)
    write_segmentation(path, fitting, volume)


def saliency(made: Segmented) -> np.ndarray:
    """Return the saliency of the first label on the image's grid, (K, J, I) float32, 0 where it was not looked at."""
    first = next(iter(made.results.values()))
    maps = {number: result.where.saliency for number, result in first.items() if isinstance(result, PromptedResult)}
    if made.region is None:
        return made.stack.to_grid(maps)
    part = type(made.stack)(made.region.cut(made.volume), made.stack.plane)
    return made.region.paste(part.to_grid(maps), made.volume)
