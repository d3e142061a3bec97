"""Write the answers to prompts into segments of the scene."""

from __future__ import annotations

from collections.abc import Mapping

from . import protect, segments
from .jobs import SliceAnswer
from .results import PromptResult
from .session import Session
from .sliceMasks import SliceMasks
from .strings import _

Answers = dict[str, dict[int, SliceAnswer]]
"""Prompt -> slice number -> answer."""


def writeAnswers(
    session: Session,
    segmentationNode,
    answers: Answers,
    masks: Mapping[str, SliceMasks],
    tags: Mapping[str, str],
    sliceCount: int,
) -> list[PromptResult]:
    """Write each prompt's masks into its segment, as one undo step.

    A prompt that has a segment from an earlier run changes it on these slices only. Locked slices stay.

    Args:
        segmentationNode: None when nothing was found and there is nothing to change.
        masks: by prompt.
        tags: provenance kept with each segment.
        sliceCount: how many slices were looked at.

    Returns:
        One result for each prompt, in their order.
    """
    results: list[PromptResult] = []

    def write() -> None:
        for prompt, answersBySlice in answers.items():
            segmentId = segments.segmentOfPrompt(segmentationNode, prompt) if segmentationNode else None
            foundSlices = [number for number, answer in answersBySlice.items() if answer.found]
            if segmentId is None and foundSlices:
                segmentId = segments.addSegment(segmentationNode, prompt)
            best = max(answersBySlice, key=lambda number: _rank(answersBySlice[number]))
            answer = answersBySlice[best]
            if segmentId is not None:
                provenance = {
                    **tags,
                    segments.PROMPT_TAG: prompt,
                    "MedCLIPSAM.Score": f"{answer.score:.3f}",
                    "MedCLIPSAM.Slices": f"{min(answersBySlice)} to {max(answersBySlice)}",
                }
                _writeSegment(segmentationNode, segmentId, masks[prompt], provenance)
            message = answer.message
            if sliceCount > 1 and foundSlices:
                message += " " + _("Seen on {shown} of {all} slices, best on slice {best}.").format(
                    shown=len(foundSlices), all=sliceCount, best=best
                )
            results.append(
                PromptResult(
                    prompt,
                    segmentId if foundSlices else None,
                    answer.score,
                    answer.presence,
                    message,
                    (len(foundSlices), sliceCount),
                    answer.boxes if answer.found else answer.boxes[:0],
                    best,
                )
            )

    if segmentationNode is None:
        write()
    else:
        session.change(segmentationNode, write)
    return results


def _rank(answer: SliceAnswer) -> tuple:
    return answer.score, len(answer.boxes) > 0, answer.presence


def _writeSegment(segmentationNode, segmentId: str, masks: SliceMasks, tags: Mapping[str, str]) -> None:
    plane = masks.slices.plane
    masks.drop(protect.locked(segmentationNode, segmentId, plane))
    segments.writeSlices(segmentationNode, segmentId, masks)
    protect.recordWritten(segmentationNode, segmentId, plane, masks.checks)
    segments.setTags(segmentationNode, segmentId, tags)
