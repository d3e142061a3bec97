"""The result of a finished run, for the user."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import segments
from .strings import _


@dataclass(frozen=True)
class PromptResult:
    """The answer to one prompt.

    Args:
        prompt: as it was typed.
        segmentId: ID of the segment that was changed or stayed locked; None if a prompt was found on no slice.
        score, presence: of the best slice, 0 to 1; the score is presence times the predicted mask quality.
        message: one or two sentences.
        notes: further sentences for the user.
        slices: number of slices on which it was found, and number of segmented slices.
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
        """Whether the prompt was found on any slice."""
        return self.slices[0] > 0


@dataclass(frozen=True)
class SceneResult:
    """A finished run in the scene.

    Args:
        volume: the segmented volume node.
        segmentation: the vtkMRMLSegmentationNode written to; None if nothing was found and none was given.
        prompts: results in the order of the prompts.
        plane: plane of the slices.
        device: device on which the models ran.
        seconds: from the request to the result.
        notes: notes on the volume, and the worker's messages, such as a change to the CPU.
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
        """Whether any prompt was found."""
        return any(result.found for result in self.prompts)

    @property
    def allNotes(self) -> list[str]:
        """Notes on the run, on its answers, and on segments that are hidden now, each once."""
        written = [prompt.segmentId for prompt in self.prompts if prompt.segmentId is not None]
        hidden = segments.hiddenNotes(self.segmentation, written) if self.segmentation is not None else []
        return list(dict.fromkeys([*self.notes, *(note for prompt in self.prompts for note in prompt.notes), *hidden]))

    @property
    def answer(self) -> str:
        """A line for each prompt, and one for time and device."""
        lines = [prompt.message for prompt in self.prompts]
        lines.append(_("{seconds:.1f} s on {device}.").format(seconds=self.seconds, device=self.device.upper()))
        return "\n".join(lines)

    def text(self) -> str:
        """Return the lines of the answer and of the notes."""
        return "\n".join([self.answer, *self.allNotes])
