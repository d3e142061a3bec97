"""Named masks on the voxel grid of a volume, and their separation for a label map, with one label per voxel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from MedCLIPSAMLib.errors import InputError, check_type
from MedCLIPSAMLib.volumes.terminology import Color, Terminology, color_for, terminology_for

SCORE = "MedCLIPSAM.Score"
"""Tag of a segment with the score of its mask."""


@dataclass(frozen=True, eq=False)
class Segment:
    """A mask with its name, color and terminology.

    Attributes:
        name: name shown to the user, usually the prompt.
        mask: (K, J, I) bool, on the grid of its volume.
        color: (red, green, blue), 0 to 1; by default derived from the name, always the same for the same name.
        terminology: by default looked up from the words of the name.
        tags: further facts kept with the segment in .seg.nrrd files, such as prompt and models.

    Raises:
        InputError: the name is not text, or the mask is not an array of bool.
    """

    name: str
    mask: np.ndarray
    color: Color = None  # type: ignore[assignment]
    terminology: Terminology = None  # type: ignore[assignment]
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_type(self.name, str, "the name of a segment as text")
        check_type(self.mask, np.ndarray, f"the mask of '{self.name}' as an array (K, J, I) of bool")
        if self.mask.dtype != bool:
            raise InputError(f"Expected the mask of '{self.name}' as bool, got {self.mask.dtype}.", "Give mask > 0.")
        if self.color is None:
            object.__setattr__(self, "color", color_for(self.name))
        if self.terminology is None:
            object.__setattr__(self, "terminology", terminology_for(self.name))


def without_overlap(segments: Sequence[Segment]) -> tuple[list[Segment], list[str]]:
    """Assign voxels in several segments to the one with the highest score, by its tag; ties go to the first.

    Returns:
        The segments in their order, and a note for the user on each that lost voxels.
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
            winners = [f"'{segments[n].name}'" for n in layers if n != number and (segments[n].mask & lost).any()]
            share = f"{int(lost.sum())} of {int(segment.mask.sum())} voxels"
            notes.append(
                f"'{segment.name}' overlaps {' and '.join(winners)}: the label map gives {share} to the surer one."
            )
        taken = taken | segment.mask
    return [layers[number] for number in range(len(segments))], notes
