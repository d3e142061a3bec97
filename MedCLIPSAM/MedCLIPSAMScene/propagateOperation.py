"""Segment a volume from key slices, and propagate corrections to the neighboring slices.

result = operations.propagate.run(volumeNode, ["brain tumor"])
operations.propagate.runCorrection(result.segmentation, result.prompts[0].segmentId, volumeNode)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.worker.protocol import Message

from . import overlay, protect, segments, segmentTags
from .answers import Answers, Found, Write, writeFound
from .jobs import Job, StackJob, answerOf
from .modality import withModality
from .requestedSlices import checkPrompts, checkSlices
from .results import PromptResult, SceneResult
from .session import Progressed, Session
from .sliceGeometry import SceneSlices
from .sliceMasks import SliceMasks
from .strings import _, counted
from .waiting import Finished


class PropagateOperation:
    """Propagate masks through a stack of slices."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def run(
        self,
        volumeNode,
        prompts: str | Sequence[str],
        segmentationNode=None,
        *,
        timeout: float | None = None,
        **options,
    ) -> SceneResult:
        """Segment a volume and wait for the result. See `start` for the arguments.

        Raises:
            MedCLIPSAMError: why there is no result; the scene is as it was. TimeoutError: the time is up.
        """
        start = lambda done: self.start(volumeNode, prompts, segmentationNode, finished=done, **options)
        return self._session.wait(start, timeout)

    def start(
        self,
        volumeNode,
        prompts: str | Sequence[str],
        segmentationNode=None,
        plane: str = "axial",
        slices: int | Sequence[int] | None = None,
        negative: str | None = None,
        settings: Mapping[str, Any] | None = None,
        method: str = "memory",
        finished: Finished = lambda result, error: None,
        progressed: Progressed = lambda fraction, stage: None,
        write: Write | None = None,
    ) -> Job:
        """Start to segment the slices that show each prompt best, and to propagate their masks from slice to slice.

        Args:
            slices: consecutive numbers along the plane; all slices if None.
            method: how masks are propagated, "memory" or "boxes"; see `propagation.propagate_masks`.
            See `SegmentOperation.start` for the other arguments and the errors.
        """
        write = write or partial(self._write, segmentationNode)
        geometry = SceneSlices(volumeNode, plane)
        prompts, settings = checkPrompts(prompts), withModality(settings, volumeNode)
        numbers = checkSlices(geometry, range(len(geometry)) if slices is None else slices)
        if numbers[-1] - numbers[0] != len(numbers) - 1:
            raise InputError(_("The slices are not consecutive."), _("Give a range of slices without gaps."))
        answers: Answers = {prompt: {} for prompt in prompts}
        masks = {prompt: SliceMasks(geometry, numbers) for prompt in prompts}

        def take(part: Message) -> None:
            prompt, number = part.fields["prompt"], numbers[0] + int(part.fields["slice"])
            answers[prompt][number] = answerOf(part)
            masks[prompt].put(number, part.arrays["mask"] > 0)

        def end(job: Job, notes: list[str]) -> SceneResult:
            empty = np.zeros(geometry.stack.image_shape, bool)
            for prompt, promptMasks in masks.items():
                for number in set(numbers) - answers[prompt].keys():
                    promptMasks.put(number, empty)
            return write(Found.of(job, answers, masks, len(numbers), notes))

        client = self._session.client
        ask = lambda key: client.propagate(key, prompts, negative, settings, method)
        return self._session.start(
            geometry,
            lambda listeners: StackJob(client, geometry, numbers, ask, take, listeners),
            end,
            segmentationNode,
            finished,
            progressed,
        )

    def _write(self, segmentationNode, found: Found) -> SceneResult:
        """Write the found masks into the scene, and remove the maps of an earlier run on single slices."""
        result = writeFound(self._session, segmentationNode, found)
        overlay.removeMaps(found.geometry.volumeNode, (overlay.SALIENCY, overlay.VOTE))
        return result

    def runCorrection(
        self,
        segmentationNode,
        segmentId: str,
        volumeNode,
        plane: str = "axial",
        reach: int | None = None,
        timeout: float | None = None,
    ) -> SceneResult:
        """Propagate the slices of a segment that the user has corrected, and wait for the result.

        Args:
            segmentId: id of the segment, or its name if it is unique.
            reach: number of slices to propagate beyond the outermost corrected ones; None means as far as the object is
                seen.

        Raises:
            MedCLIPSAMError: why there is no result; the segment is as it was. TimeoutError: the time is up.
        """
        geometry, segmentId = SceneSlices(volumeNode, plane), segments.segmentIdOf(segmentationNode, segmentId)
        return self._session.wait(
            lambda done: self.startCorrection(segmentationNode, segmentId, geometry, reach, done), timeout
        )

    def startCorrection(
        self,
        segmentationNode,
        segmentId: str,
        geometry: SceneSlices,
        reach: int | None = None,
        finished: Finished = lambda result, error: None,
        progressed: Progressed = lambda fraction, stage: None,
    ) -> Job:
        """Start to propagate the user's slices of a segment; see `runCorrection`.

        Slices that the user painted, erased or locked stay as they are and are given to SAM 2. Masks that the models
        wrote before are replaced on the slices that the object is propagated to. Beyond the end of the object they are
        cleared as far as they are connected to it.

        Raises:
            InputError: the segment is locked, or has no slice of the user's that is not empty.
        """
        segments.requireFit(segmentationNode, geometry.volumeNode)
        segments.requireItemOf(segmentationNode, segmentId, geometry.item)
        protect.requireUnlocked(segmentationNode, segmentId, geometry.plane, (), geometry.volumeNode)
        name = segmentationNode.GetSegmentation().GetSegment(segmentId).GetName()
        own = _requireOwn(segmentationNode, segmentId, geometry, name)
        first, last = min(own), max(own)
        low = 0 if reach is None else max(0, first - reach)
        high = len(geometry) - 1 if reach is None else min(len(geometry) - 1, last + reach)
        numbers = range(low, high + 1)
        propagated: dict[int, np.ndarray] = {}

        def take(part: Message) -> None:
            propagated[low + int(part.fields["slice"])] = part.arrays["mask"] > 0

        def write(job: Job, notes: list[str]) -> SceneResult:
            protect.requireUnlocked(segmentationNode, segmentId, geometry.plane, (), geometry.volumeNode)
            protect.requireUnchanged(segmentationNode, segmentId, geometry, own)
            present = own | protect.own(segmentationNode, segmentId, geometry)  # including corrections since the start
            masks = {k: mask for k, mask in propagated.items() if k not in present}
            used = segments.usedSlices(segmentationNode, segmentId, geometry)
            others = [k for k in used if k in numbers and k not in masks and k not in present]
            older = segments.readSlices(segmentationNode, segmentId, geometry, others)
            for k in _staleSlices(masks, own, older):
                masks[k] = np.zeros(geometry.stack.image_shape, bool)
            if masks:
                sliceMasks = SliceMasks.of(geometry, masks)

                def change() -> None:
                    protect.writeUnlocked(segmentationNode, segmentId, sliceMasks)
                    protect.recordWritten(segmentationNode, segmentId, geometry, sliceMasks.checks)
                    segmentTags.addNotes(segmentationNode, segmentId, notes)

                self._session.change(segmentationNode, change)
            found = sum(bool(mask.any()) for mask in masks.values())
            result = _describeCorrection(name, segmentId, own, found, len(numbers))
            device = str(job.about["device"])
            return SceneResult(
                geometry.volumeNode, segmentationNode, [result], geometry.plane, device, job.seconds, notes
            )

        ownMasks = {k - low: mask for k, mask in own.items()}
        client = self._session.client
        ask = lambda key: client.propagate_masks(key, ownMasks, reach)
        return self._session.start(
            geometry,
            lambda listeners: StackJob(client, geometry, numbers, ask, take, listeners),
            write,
            segmentationNode,
            finished,
            progressed,
        )


def _requireOwn(segmentationNode, segmentId: str, geometry: SceneSlices, name: str) -> dict[int, np.ndarray]:
    """Return the user's slices of a segment; raise InputError if all of them are empty."""
    own = protect.own(segmentationNode, segmentId, geometry)
    if not any(mask.any() for mask in own.values()):
        raise InputError(
            _("No slice of '{name}' was corrected by hand.").format(name=name),
            _("Correct one slice first, with points or with the Segment Editor, or lock a slice that is right."),
        )
    return own


def _describeCorrection(name: str, segmentId: str, own: Mapping[int, Any], found: int, count: int) -> PromptResult:
    """Return the result, with its message, of a propagated correction.

    Args:
        own: the corrected slices, by number.
        found, count: number of slices that the object was propagated to, and number of slices that were tried.
    """
    to = counted(found, _("one other"), _("{count} others"))
    one = _("'{name}' was propagated from one corrected slice to {others}.")
    more = _("'{name}' was propagated from {count} corrected slices to {others}.")
    message = counted(len(own), one, more, name=name, others=to)
    return PromptResult(name, segmentId, 0.0, 1.0, message, (found, count), np.zeros((0, 4)), min(own))


def _staleSlices(
    masks: Mapping[int, np.ndarray], own: Mapping[int, np.ndarray], older: Mapping[int, np.ndarray]
) -> list[int]:
    """Find slices beyond the end of the propagated object on which an older mask is still connected to it.

    Args:
        masks, own: masks of the slices that it was propagated to, and from, by slice number.
        older: masks of the other slices that were tried, without those of the user.
    """
    reached = sorted({*masks, *own})
    stale = []
    for end, step in ((reached[0], -1), (reached[-1], 1)):
        before = masks[end] if end in masks else own[end]
        # Beyond the last slice that the object was propagated to, slices still have their older masks.
        k = end + step
        while k in older and (older[k] & before).any():
            stale.append(k)
            before, k = older[k], k + step
    return stale
