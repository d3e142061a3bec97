"""The worker's answers to prompts, and how they are written into segments of the scene."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from . import protect, segments
from .jobs import Job, SliceAnswer
from .results import PromptResult, SceneResult
from .session import Session
from .sliceGeometry import SceneSlices
from .sliceMasks import SliceMasks
from .strings import _, counted

Answers = dict[str, dict[int, SliceAnswer]]
"""Prompt -> slice number -> answer."""


@dataclass(frozen=True)
class Found:
    """A finished run that is not written yet.

    Args:
        geometry: of the segmented volume.
        answers: in the order of the prompts.
        masks: by prompt.
        sliceCount: number of segmented slices.
        about: the worker's fields of the run: device, tags.
        seconds: from the request to the result.
        notes: on the volume, and the worker's messages.
    """

    geometry: SceneSlices
    answers: Answers
    masks: Mapping[str, SliceMasks]
    sliceCount: int
    about: Mapping[str, Any]
    seconds: float
    notes: list[str]

    @classmethod
    def of(cls, job: Job, answers: Answers, masks: Mapping[str, SliceMasks], sliceCount: int, notes) -> Found:
        """Collect the answers of a job."""
        return cls(job.slices, answers, masks, sliceCount, job.about, job.seconds, notes)

    def __bool__(self) -> bool:
        """Tell whether a prompt was found on any slice."""
        return any(self.masks.values())

    def promptResult(self, prompt: str, segmentId: str | None) -> PromptResult:
        """Return the result of a prompt whose masks are in a segment."""
        answersBySlice = self.answers[prompt]
        shown = sum(answer.found for answer in answersBySlice.values())
        best = self._best(prompt)
        answer = answersBySlice[best]
        message = answer.message
        if self.sliceCount > 1 and shown:
            message += " " + _("Seen on {shown} of {all} slices, best on slice {best}.").format(
                shown=shown, all=self.sliceCount, best=best
            )
        return PromptResult(
            prompt,
            segmentId if shown else None,
            answer.score,
            answer.presence,
            message,
            (shown, self.sliceCount),
            answer.boxes if answer.found else answer.boxes[:0],
            best,
            self._notesOn(prompt),
        )

    def sceneResult(self, segmentationNode, prompts: list[PromptResult]) -> SceneResult:
        """Return the result of the run in the scene."""
        geometry, device = self.geometry, str(self.about["device"])
        return SceneResult(
            geometry.volumeNode, segmentationNode, prompts, geometry.plane, device, self.seconds, self.notes
        )

    def keepProvenance(self, prompt: str, segmentationNode, segmentId: str) -> None:
        """Store with a segment the provenance of its masks, and which slices the models wrote."""
        plane, answersBySlice = self.geometry.plane, self.answers[prompt]
        low, high = self.geometry.window
        window = f"{low:g} to {high:g}" + (", inverted" if self.geometry.inverted else "")
        protect.recordWritten(segmentationNode, segmentId, plane, self.masks[prompt].checks)
        tags = {
            **self.about["tags"],
            "MedCLIPSAM.Plane": plane,
            "MedCLIPSAM.Window": window,
            "MedCLIPSAM.Device": self.about["device"],
            segments.PROMPT_TAG: prompt,
            "MedCLIPSAM.Score": f"{answersBySlice[self._best(prompt)].score:.3f}",
            "MedCLIPSAM.Slices": f"{min(answersBySlice)} to {max(answersBySlice)}",
        }
        segments.setTags(segmentationNode, segmentId, tags)
        segments.setNotes(segmentationNode, segmentId, [*self.notes, *self._notesOn(prompt)])

    def _notesOn(self, prompt: str) -> tuple[str, ...]:
        """Return the notes on the answers of a prompt, each once, the one on the best slice first."""
        answersBySlice = self.answers[prompt]
        ordered = [answersBySlice[self._best(prompt)], *answersBySlice.values()]
        return tuple(dict.fromkeys(note for answer in ordered for note in answer.notes))

    def _best(self, prompt: str) -> int:
        answersBySlice = self.answers[prompt]
        return max(answersBySlice, key=lambda number: _rank(answersBySlice[number]))


Write = Callable[[Found], SceneResult]
"""Takes the answers, writes MRML, and returns the result."""


def writeFound(session: Session, segmentationNode, found: Found) -> SceneResult:
    """Write each prompt's masks into a separate segment, as one undo step.

    A prompt that has a segment from an earlier run changes it on these slices only. Locked slices stay.

    Args:
        segmentationNode: None makes a new one if anything was found.
    """
    if segmentationNode is None and found:
        segmentationNode = segments.newSegmentation(found.geometry.volumeNode)
    results: list[PromptResult] = []

    def write() -> None:
        for prompt, masks in found.masks.items():
            segmentId = segments.segmentOfPrompt(segmentationNode, prompt) if segmentationNode else None
            if segmentId is None and masks:
                segments.takeGeometry(segmentationNode, found.geometry.volumeNode)
                segmentId = segments.addSegment(segmentationNode, prompt)
            result = found.promptResult(prompt, segmentId)
            if segmentId is not None:
                lockedCount = protect.writeUnlocked(segmentationNode, segmentId, masks)
                found.keepProvenance(prompt, segmentationNode, segmentId)
                if lockedCount:
                    one = _("One slice is locked and stays as it was.")
                    message = counted(lockedCount, one, _("{count} slices are locked and stay as they were."))
                    result = replace(result, message=f"{result.message} {message}")
            results.append(result)

    if segmentationNode is None:
        write()
    else:
        session.change(segmentationNode, write)
    return found.sceneResult(segmentationNode, results)


def _rank(answer: SliceAnswer) -> tuple:
    return answer.score, len(answer.boxes) > 0, answer.presence
