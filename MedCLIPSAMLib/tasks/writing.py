"""Write the segments of an image in the requested formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..choices import MaskFormat
from ..export.dicom_seg import check_dicom_seg, write_dicom_seg
from ..export.dicom_source import source_slices
from ..segmentation.result import PromptedResult
from ..volumes import Segment, SliceStack, Volume, write_saliency, write_segmentation
from ..volumes.write import check_slices, fit
from .segmented import Segmented


def check_form(form: MaskFormat, path: Path, volume: Volume) -> None:
    """Refuse a format in which an image's masks cannot be written, before long work.

    Raises:
        OutputError: the format holds one slice, but the image has several. InputError: the format is a DICOM object,
            but the image is not a DICOM series.
    """
    check_slices(path, volume)
    if form == MaskFormat.RTSTRUCT:
        source_slices(volume)
    if form == MaskFormat.DICOM_SEG:
        check_dicom_seg(volume)


def write(segmented: Segmented, form: MaskFormat) -> Segmented:
    """Write the files of an image, and return it with notes on what the format lost and which masks were not written.

    Kept masks of an earlier run are not replaced, as a person may have corrected them.

    Raises:
        OutputError: a file cannot be written.
    """
    places = segmented.places
    segments = list(segmented.segments.values())
    notes: list[str] = []
    parts = {"": segments} if "" in places.masks else {segment.name: [segment] for segment in segments}
    for label, part in parts.items():
        path = places.masks[label]
        if path in places.kept:
            notes.append(
                f"'{path.name}' already existed and stays as it is; --overwrite replaces it. Scores, sizes, maps and "
                "pictures belong to the new mask, which is not in that file."
            )
        else:
            notes += write_masks(path, form, part, segmented.volume)
    for kind, path in places.maps.items():
        if kind in ("saliency", "uncertainty"):
            values = saliency(segmented) if kind == "saliency" else uncertainty(segmented)
            write_saliency(path, values, segmented.volume)
        else:
            from .drawing import draw_montage, draw_overlay

            (draw_overlay if kind == "overlay" else draw_montage)(path, segmented)
    return replace(segmented, notes=(*segmented.notes, *notes))


def write_masks(path: Path, form: MaskFormat, segments: Sequence[Segment], volume: Volume) -> list[str]:
    """Write segments into one file, and return notes on overlaps that the format cannot hold."""
    if form == MaskFormat.DICOM_SEG:
        write_dicom_seg(path, segments, volume)
        return []
    if form == MaskFormat.RTSTRUCT:
        from .rtstruct import write_rtstruct

        write_rtstruct(path, segments, volume)
        return []
    fitting, notes = fit(path, segments)
    write_segmentation(path, fitting, volume)
    return notes


def saliency(segmented: Segmented) -> np.ndarray:
    """Return the saliency of the first label on the image's grid, (K, J, I) float32, 0 where none was computed."""
    first = next(iter(segmented.results.values()))
    maps = {number: result.where.saliency for number, result in first.items() if isinstance(result, PromptedResult)}
    return _to_grid(segmented, maps)


def uncertainty(segmented: Segmented) -> np.ndarray:
    """Return the maximum uncertainty over all labels on the image's grid, (K, J, I) float32, 0 where no masks voted."""
    maps: dict[int, np.ndarray] = {}
    for by_slice in segmented.results.values():
        for number, result in by_slice.items():
            if isinstance(result, PromptedResult) and result.uncertainty is not None:
                maps[number] = np.maximum(maps.get(number, np.float32(0)), result.uncertainty)
    return _to_grid(segmented, maps)


def _to_grid(segmented: Segmented, maps: Mapping[int, np.ndarray]) -> np.ndarray:
    """Place slice maps of the segmented region on the image's grid."""
    if segmented.region is None:
        return segmented.stack.to_grid(maps)
    part = SliceStack(segmented.region.cut(segmented.volume), segmented.stack.plane)
    return segmented.region.paste(part.to_grid(maps), segmented.volume)
