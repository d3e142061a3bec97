"""Segments made to fit a label map, in which a voxel has one label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .segment import Segment

SCORE = "MedCLIPSAM.Score"
"""Tag of a segment with the score of its mask."""


def without_overlap(segments: Sequence[Segment]) -> tuple[list[Segment], list[str]]:
    """Assign voxels of several segments to the one with the highest score, by its tag; among equals to the first.

    Returns:
        The segments in their order, and a note for people for each that lost voxels.
    """
    taken = np.zeros(segments[0].mask.shape, bool) if segments else np.zeros(0, bool)
    layers: dict[int, Segment] = {}
    notes = []
    order = sorted(range(len(segments)), key=lambda n: -float(segments[n].tags.get(SCORE, 0)))
    for number in order:
        segment = segments[number]
        lost = segment.mask & taken
        layers[number] = replace(segment, mask=segment.mask & ~taken)
        if lost.any():
            winners = [segments[n].name for n in layers if n != number and (segments[n].mask & lost).any()]
            share = f"{int(lost.sum())} of {int(segment.mask.sum())} voxels"
            notes.append(
                f"'{segment.name}' overlaps {_list_names(winners)}: the label map gives {share} to the surer one."
            )
        taken = taken | segment.mask
    return [layers[number] for number in range(len(segments))], notes


def _list_names(names: Sequence[str]) -> str:
    return " and ".join(f"'{name}'" for name in names)
