"""The worker's answers to prompts, written into segments of the scene."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import protect, segments, segmentTags
from .jobs import Job, SliceAnswer
from .results import PromptResult, SceneResult
from .sequences import Item, itemOf
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
        geometry: slices of the segmented volume.
        answers: in the order of the prompts.
        masks: by prompt.
        sliceCount: number of segmented slices.
        about: the worker's fields about the run: device, tags.
        seconds: from the request to the result.
        notes: notes on the volume, and the worker's messages.
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
        """Return whether any prompt was found on any slice."""
        return any(self.masks.values())

    def itemFor(self, segmentationNode) -> Item | None:
        """Return the sequence item that segments belong to; None if the segmentation is in a sequence itself."""
        return self.geometry.item if itemOf(segmentationNode) is None else None

    def leaveTheUsers(self, prompt: str, segmentationNode, segmentId: str) -> list[str]:
        """Drop locked slices from the masks for a segment, and return sentences on what is kept and what is replaced.

        If no mask is left, the segment stays as it is.
        """
        masks, found = self.masks[prompt], bool(self.masks[prompt])
        lockedCount = protect.dropLocked(segmentationNode, segmentId, masks)
        if not masks:
            name = segments.nameOf(segmentationNode, segmentId)
            why = _("The slices that show it are locked: the segment '{name}' stays as it was.")
            return [(why if found else _("The segment '{name}' stays as it was.")).format(name=name)]
        sentences = []
        if lockedCount:
            one = _("One slice is locked and stays as it was.")
            sentences.append(counted(lockedCount, one, _("{count} slices are locked and stay as they were.")))
        correctedCount = protect.countCorrected(segmentationNode, segmentId, masks)
        if correctedCount is None:
            sentences.append(
                _(
                    "The segment's earlier masks there were made on another volume or along another plane, and were "
                    "replaced: Undo brings them back."
                )
            )
        elif correctedCount:
            one = _("One slice that you had corrected was replaced: Undo brings it back, a lock keeps it.")
            many = _("{count} slices that you had corrected were replaced: Undo brings them back, locks keep them.")
            sentences.append(counted(correctedCount, one, many))
        return sentences

    def promptResult(self, prompt: str, segmentId: str | None, remarks: Sequence[str] = ()) -> PromptResult:
        """Return the result of a prompt whose masks are in a segment, with remarks appended to its message."""
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
            " ".join([message, *remarks]),
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
        protect.recordWritten(segmentationNode, segmentId, self.geometry, self.masks[prompt].checks)
        tags = {
            **self.about["tags"],
            "MedCLIPSAM.Plane": plane,
            "MedCLIPSAM.Window": window,
            "MedCLIPSAM.Device": self.about["device"],
            segmentTags.PROMPT_TAG: prompt,
            "MedCLIPSAM.Score": f"{answersBySlice[self._best(prompt)].score:.3f}",
            "MedCLIPSAM.Slices": f"{min(answersBySlice)} to {max(answersBySlice)}",
        }
        if item := self.itemFor(segmentationNode):
            tags[segmentTags.ITEM_TAG] = item.value
        segmentTags.setTags(segmentationNode, segmentId, tags)
        segmentTags.setNotes(segmentationNode, segmentId, [*self.notes, *self._notesOn(prompt)])

    def _notesOn(self, prompt: str) -> tuple[str, ...]:
        """Return the notes on the answers to a prompt, each once, those on the best slice first."""
        answersBySlice = self.answers[prompt]
        ordered = [answersBySlice[self._best(prompt)], *answersBySlice.values()]
        return tuple(dict.fromkeys(note for answer in ordered for note in answer.notes))

    def _best(self, prompt: str) -> int:
        answersBySlice = self.answers[prompt]
        return max(answersBySlice, key=lambda number: _rank(answersBySlice[number]))


Write = Callable[[Found], SceneResult]
"""A function that takes a finished run, writes MRML, and returns the result."""


def writeFound(session: Session, segmentationNode, found: Found) -> SceneResult:
    """Write each prompt's masks into a separate segment, as one undo step.

    If a prompt has a segment from an earlier run, this segment is changed on these slices only, unless the prompt was
    found on none of them. Locked slices are not changed. Segments that are Completed or belong to another item of a
    sequence are not changed either; a new segment is made instead.

    Args:
        segmentationNode: None makes a new one if anything was found.
    """
    if segmentationNode is None and found:
        segmentationNode = segments.newSegmentation(found.geometry.volumeNode)
    results: list[PromptResult] = []
    write = lambda: results.extend(_writePrompt(segmentationNode, prompt, found) for prompt in found.masks)
    if found:
        session.change(segmentationNode, write)
    else:
        write()  # writes nothing, so no undo step is needed
    return found.sceneResult(segmentationNode, results)


def _writePrompt(segmentationNode, prompt: str, found: Found) -> PromptResult:
    """Write the masks of a prompt, if there are any, into its segment or a new one."""
    masks, item = found.masks[prompt], found.itemFor(segmentationNode)
    value = item.value if item else ""
    earlier = segments.segmentsOfPrompt(segmentationNode, prompt, value) if segmentationNode is not None else []
    segmentId = next((one for one in earlier if not segments.isCompleted(segmentationNode, one)), None)
    if segmentId is None and not masks:
        return found.promptResult(prompt, None)
    remarks = []
    if segmentId is None:
        if earlier:
            name = segments.nameOf(segmentationNode, earlier[0])
            remarks.append(
                _("The segment '{name}' is completed and stays as it was; this is a new one.").format(name=name)
            )
        segments.takeGeometry(segmentationNode, found.geometry.volumeNode)
        segmentId = segments.addSegment(segmentationNode, prompt, item)
    remarks += found.leaveTheUsers(prompt, segmentationNode, segmentId)
    if masks:
        protect.writeUnlocked(segmentationNode, segmentId, masks)
        found.keepProvenance(prompt, segmentationNode, segmentId)
    return found.promptResult(prompt, segmentId, remarks)


def _rank(answer: SliceAnswer) -> tuple:
    return answer.score, len(answer.boxes) > 0, answer.presence
