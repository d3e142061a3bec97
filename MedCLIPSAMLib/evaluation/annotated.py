"""Annotated images: a strip of text above an image, and many slices side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .overlays import Color

Entry = tuple[str, Color]
"""A text and its color: red, green, blue, each 0 to 1."""

WHITE: Color = (1.0, 1.0, 1.0)
TEXT_SIZE = 16
CELL_TEXT_SIZE = 12
GAP = 6
CELL = 240
"""Longer side of a slice in a montage, in pixels."""


def annotate(image: np.ndarray, title: str, entries: Sequence[Entry]) -> np.ndarray:
    """Put a black strip with a title and colored entries above an image.

    Args:
        image: (H, W, 3) uint8.
        title: wrapped to several lines if needed.
        entries: texts with their colors, in a row, wrapped to several lines if needed.

    Returns:
        (H + strip, W, 3) uint8.
    """
    width = image.shape[1]
    font = _font(TEXT_SIZE)
    lines: list[list[Entry]] = [[(line, WHITE)] for line in _wrap(title, font, width - 2 * GAP)] + [[]]
    used = 0.0
    for text, color in entries:
        text = _cut(text, font, width - 2 * GAP)
        needed = font.getlength(text) + 3 * GAP
        if used and used + needed > width - GAP:
            lines.append([])
            used = 0.0
        lines[-1].append((text, color))
        used += needed
    height = TEXT_SIZE + GAP
    strip = Image.new("RGB", (width, height * len(lines) + GAP))
    draw = ImageDraw.Draw(strip)
    for row, line in enumerate(lines):
        x = float(GAP)
        for text, color in line:
            draw.text((x, GAP / 2 + row * height), text, font=font, fill=_bytes(color))
            x += font.getlength(text) + 3 * GAP
    return np.concatenate([np.asarray(strip), image])


def montage(cells: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    """Arrange titled images of equal size in a grid of about as many rows as columns.

    Args:
        cells: for each cell, a title and an image (H, W, 3) uint8.

    Returns:
        The grid, (height, width, 3) uint8, in which the longer side of each image has `CELL` pixels.

    Raises:
        ValueError: there are no cells.
    """
    if not cells:
        raise ValueError("Expected cells, got none.")
    columns = math.ceil(math.sqrt(len(cells)))
    rows = math.ceil(len(cells) / columns)
    height, width = cells[0][1].shape[:2]
    scale = CELL / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    step = size[0] + GAP, size[1] + CELL_TEXT_SIZE + 2 * GAP
    sheet = Image.new("RGB", (columns * step[0] + GAP, rows * step[1] + GAP))
    draw, font = ImageDraw.Draw(sheet), _font(CELL_TEXT_SIZE)
    for n, (title, image) in enumerate(cells):
        x, y = GAP + (n % columns) * step[0], GAP + (n // columns) * step[1]
        draw.text((x, y), _cut(title, font, size[0]), font=font, fill=_bytes(WHITE))
        sheet.paste(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS), (x, y + CELL_TEXT_SIZE + GAP))
    return np.asarray(sheet)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Load the sans-serif font of matplotlib, which covers most languages."""
    from matplotlib import get_data_path

    return ImageFont.truetype(str(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Break a text into lines between words; truncate a word that is too long."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return [_cut(line, font, width) for line in lines]


def _cut(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def _bytes(color: Color) -> tuple[int, int, int]:
    red, green, blue = (round(255 * channel) for channel in color)
    return red, green, blue
