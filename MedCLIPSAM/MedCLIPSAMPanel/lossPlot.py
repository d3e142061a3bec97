"""A small plot of a training: smoothed loss by step, and validation loss and retrieval by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import qt

WIDTH, HEIGHT, MARGIN = 260, 160, 42
"""Pixels. In the narrowest panel, 300 pixels wide, the section has 260 for the plot."""
TRAINING, VALIDATION, RETRIEVAL, FRAME = "#9aa5b1", "#d9534f", "#2a7de1", "#808080"
SMOOTHING = 0.9


def draw(label, losses: Sequence[float], validation: Sequence[tuple[int, float, float]]) -> None:
    """Draw the plot into a QLabel.

    Args:
        losses: by step.
        validation: (step, loss, top-1 retrieval) by epoch; retrieval, 0 to 1, has a separate axis on the right.
    """
    pixmap = qt.QPixmap(WIDTH, HEIGHT)
    pixmap.fill(qt.QColor("#ffffff"))
    painter = qt.QPainter(pixmap)
    shown = [*smooth(losses), *(loss for _step, loss, _top in validation)]
    low, high = min(shown, default=0.0), max(shown, default=1.0)
    span = max(high - low, 1e-6)
    x = lambda step: int(MARGIN + (WIDTH - 2 * MARGIN) * step / max(1, len(losses)))
    y = lambda share: int(HEIGHT - MARGIN / 2 - (HEIGHT - MARGIN) * share)
    painter.setPen(qt.QColor(FRAME))
    painter.drawRect(MARGIN, y(1), WIDTH - 2 * MARGIN, y(0) - y(1))
    painter.drawText(2, y(1) + 10, f"{high:.2f}")
    painter.drawText(2, y(0), f"{low:.2f}")
    painter.drawText(WIDTH - MARGIN + 4, y(1) + 10, "100%")
    painter.drawText(WIDTH - MARGIN + 4, y(0), "0%")
    lines = (
        (TRAINING, [(x(at + 1), y((loss - low) / span)) for at, loss in enumerate(smooth(losses))], False),
        (VALIDATION, [(x(step), y((loss - low) / span)) for step, loss, _top in validation], True),
        (RETRIEVAL, [(x(step), y(top)) for step, _loss, top in validation], True),
    )
    for color, points, marked in lines:
        painter.setPen(qt.QColor(color))
        for (x0, y0), (x1, y1) in pairwise(points):
            painter.drawLine(x0, y0, x1, y1)
        for x0, y0 in points if marked else ():
            painter.drawRect(x0 - 2, y0 - 2, 4, 4)
    painter.end()
    label.setPixmap(pixmap)


def smooth(losses: Sequence[float]) -> list[float]:
    """Smooth losses by an exponential moving average, corrected for its start."""
    values, mean, weight = [], 0.0, 0.0
    for loss in losses:
        mean, weight = SMOOTHING * mean + (1 - SMOOTHING) * loss, SMOOTHING * weight + 1 - SMOOTHING
        values.append(mean / weight)
    return values
