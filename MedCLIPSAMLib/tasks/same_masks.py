"""Segments whose masks are the same: two prompts for one thing, or words that the models cannot tell apart."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..volumes import Segment

MIN_IOU = 0.9
"""Minimum IoU of masks that are called the same."""


def notes_on_same_masks(segments: Mapping[str, Segment]) -> dict[str, str]:
    """Return by label a sentence on each segment whose mask is that of an earlier one."""
    notes = {}
    sizes = {label: int(np.count_nonzero(segment.mask)) for label, segment in segments.items()}
    earlier: list[str] = []
    for label, segment in segments.items():
        for other in earlier:
            small, large = sorted((sizes[label], sizes[other]))
            if not small or small < MIN_IOU * large:
                continue
            shared = int(np.count_nonzero(segment.mask & segments[other].mask))
            iou = shared / (small + large - shared)
            if iou >= MIN_IOU:
                notes[label] = f"'{label}' is the same mask as '{other}' (IoU {iou:.2f})."
                break
        earlier.append(label)
    return notes
