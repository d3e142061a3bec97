"""What the user is told of a finished run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .strings import _


@dataclass(frozen=True)
class PromptResult:
    """The answer to one prompt.

    Args:
        prompt: as it was typed.
        segmentId: the segment that it is in; None when nothing was found and none was there before.
        score, presence: the best over the slices, 0 to 1; the score is presence times the predicted mask quality.
        message: one or two sentences.
        notes: what else the user should know of the answer.
        slices: how many of the slices looked at show it, and how many were looked at.
        boxes: (B, 4) of the best slice, x0 y0 x1 y1 in pixels.
        bestSlice: the slice with the best score.
    """

    prompt: str
    segmentId: str | None
    score: float
    presence: float
    message: str
    slices: tuple[int, int]
    boxes: np.ndarray
    bestSlice: int
    notes: tuple[str, ...] = ()

    @property
    def found(self) -> bool:
        return self.slices[0] > 0


@dataclass(frozen=True)
class SceneResult:
    """A finished run as it stands in the scene.

    Args:
        volume: the volume node that was worked on.
        segmentation: the vtkMRMLSegmentationNode written to; None when nothing was found and none was given.
        prompts: in the order that they were given.
        plane: of the slices.
        device: where the models ran.
        seconds: from the request to the result.
        notes: on the volume, and what the worker told meanwhile, such as a change to the CPU.
    """

    volume: Any
    segmentation: Any
    prompts: list[PromptResult]
    plane: str
    device: str
    seconds: float
    notes: list[str] = field(default_factory=list)

    @property
    def found(self) -> bool:
        return any(result.found for result in self.prompts)

    @property
    def allNotes(self) -> list[str]:
        """The notes on the run and on its answers, each once."""
        return list(dict.fromkeys([*self.notes, *(note for prompt in self.prompts for note in prompt.notes)]))

    @property
    def answer(self) -> str:
        """A line for each prompt, and one for time and device."""
        lines = [prompt.message for prompt in self.prompts]
        lines.append(_("{seconds:.1f} s on {device}.").format(seconds=self.seconds, device=self.device.upper()))
        return "\n".join(lines)

    def text(self) -> str:
        """Return the answer and the notes, in lines."""
        return "\n".join([self.answer, *self.allNotes])
