"""Drawings of results: masks over an image, and contact sheets with one row per case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from MedCLIPSAMLib.files.atomic import atomic_path

Color = tuple[float, float, float]

TINT = 0.28
MIN_SIDE = 512
SALIENCY_STRENGTH = 0.75
COARSE_COLOR: Color = (1.0, 0.76, 0.03)
MASK_COLOR: Color = (0.0, 0.85, 0.80)
TRUTH_COLOR: Color = (0.38, 0.90, 0.25)
BOX_COLOR: Color = (1.0, 1.0, 1.0)
COLUMNS = ("Image", "Saliency", "Coarse mask and boxes", "Mask", "Truth")


def overlay(
    image: np.ndarray, masks: Mapping[str, np.ndarray], colors: Mapping[str, Color], boxes: np.ndarray | None = None
) -> np.ndarray:
    """Draw masks over an image as tinted areas with contours, and boxes.

    Contours are two pixels wide, so small images are enlarged by an integer factor until their shorter side has at
    least 512 pixels. Where masks overlap, the later one is on top.

    Args:
        image: (H, W, 3) uint8.
        masks: (H, W) bool by name.
        colors: (red, green, blue), 0 to 1, by the same names.
        boxes: (B, 4) x0, y0, x1, y1 in pixels of `image`, drawn white.

    Returns:
        (F H, F W, 3) uint8, with the factor F.
    """
    from skimage.segmentation import find_boundaries

    factor = max(1, -(-MIN_SIDE // min(image.shape[:2])))
    height, width = image.shape[:2]
    enlarged = Image.fromarray(image).resize((width * factor, height * factor), Image.Resampling.BICUBIC)
    canvas = np.asarray(enlarged).astype(np.float32)
    for name, mask in masks.items():
        area = mask.astype(bool).repeat(factor, 0).repeat(factor, 1)
        color = np.asarray(colors[name], np.float32) * 255
        canvas[area] += TINT * (color - canvas[area])
        canvas[find_boundaries(area)] = color  # two pixels wide
    for box in () if boxes is None else boxes:
        canvas[_frame(canvas.shape[:2], np.asarray(box) * factor)] = np.asarray(BOX_COLOR) * 255
    return canvas.round().astype(np.uint8)


def draw_heat_map(image: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """Draw the saliency over an image in the colors of "inferno", more opaque where it is higher.

    Args:
        image: (H, W, 3) uint8.
        saliency: (H, W), scaled by its own range; a constant map leaves the image unchanged.

    Returns:
        (H, W, 3) uint8.
    """
    from matplotlib import colormaps

    low, high = float(saliency.min()), float(saliency.max())
    strength = (saliency - low) / (high - low) if high > low else np.zeros_like(saliency, float)
    opacity = SALIENCY_STRENGTH * np.sqrt(strength)[..., None]
    mixed = (1 - opacity) * image + opacity * colormaps["inferno"](strength)[..., :3] * 255
    return mixed.round().astype(np.uint8)


def write_contact_sheet(rows: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Write one figure (PNG, PDF or SVG by the suffix) with one row per case, from image to truth.

    Args:
        rows: each with "title" and "caption" (str), "image" (H, W, 3) uint8, "saliency" (H, W), "boxes" (B, 4)
            x0, y0, x1, y1 in pixels, "coarse", "mask" (H, W) bool and "truth" (H, W) bool or None. If no row has a
            truth, its column is omitted.

    Raises:
        OutputError: the folder is missing or the file cannot be written.
        ValueError: there are no rows.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not rows:
        raise ValueError("a contact sheet needs at least one row")
    columns = COLUMNS if any(row["truth"] is not None for row in rows) else COLUMNS[:-1]
    cell, gap = 2.1, 0.34
    tallest = max(row["image"].shape[0] / row["image"].shape[1] for row in rows)
    figure = Figure(figsize=(cell * len(columns), (cell * tallest + gap) * len(rows) + 0.3), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for row, line in zip(rows, axes):
        for axis, image in zip(line, _cells(row)):
            axis.imshow(image, interpolation="nearest")
            axis.set_axis_off()
        line[0].set_title(row["title"], fontsize=8, fontweight="bold", loc="left", pad=3)
        line[-1].set_title(row["caption"], fontsize=8, loc="right", pad=3)
    _head_columns(figure, axes[0], columns)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=200)


def _cells(row: Mapping[str, Any]) -> list[np.ndarray]:
    image = row["image"]
    truth = row["truth"]
    return [
        overlay(image, {}, {}),
        overlay(draw_heat_map(image, row["saliency"]), {}, {}),
        overlay(image, {"coarse": row["coarse"]}, {"coarse": COARSE_COLOR}, row["boxes"]),
        overlay(image, {"mask": row["mask"]}, {"mask": MASK_COLOR}),
        np.full_like(image, 255) if truth is None else overlay(image, {"truth": truth}, {"truth": TRUTH_COLOR}),
    ]


def _head_columns(figure: Any, first_line: Sequence[Any], columns: Sequence[str]) -> None:
    """Write the names of the columns above the first row, without touching its titles."""
    inch = 1 / figure.get_size_inches()[1]
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.06 * inch, top=1 - 0.52 * inch, wspace=0.03, hspace=0.15)
    for axis, name in zip(first_line, columns):
        place = axis.get_position(original=True)
        figure.text((place.x0 + place.x1) / 2, 1 - 0.08 * inch, name, fontsize=9, ha="center", va="top", color="0.35")


def _frame(shape: tuple[int, int], box: np.ndarray) -> np.ndarray:
    """Draw the outline of a box, (H, W) bool, two pixels wide, clipped at the border of the image."""
    x0, y0, x1, y1 = np.rint(box).astype(int)
    x0, x1 = np.clip([x0, x1], 0, shape[1])
    y0, y1 = np.clip([y0, y1], 0, shape[0])
    frame = np.zeros(shape, bool)
    frame[y0:y1, x0:x1] = True
    frame[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2] = False
    return frame
