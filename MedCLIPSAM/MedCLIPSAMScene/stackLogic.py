"""Whole stacks of slices: one prompt carried from key slices, and corrections that the neighbours follow.

result = logic.propagate(volumeNode, ["brain tumor"])
logic.propagateCorrection(result.segmentation, result.prompts[0].segmentId, volumeNode)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.worker.protocol import Message

from . import protect, segments
from .jobs import Job, Listeners, SliceAnswer, StackJob, answerOf
from .results import PromptResult, SceneResult
from .sliceGeometry import SceneSlices
from .sliceMasks import SliceMasks
from .strings import _

if TYPE_CHECKING:
    from .sceneLogic import Finished


class StackLogic:
    """The part of `sceneLogic.SceneLogic` that works on stacks."""

    def propagate(
        self,
        volumeNode,
        prompts: Sequence[str],
        segmentationNode=None,
        plane: str = "axial",
        slices: Sequence[int] | None = None,
        negative: str | None = None,
        settings: Mapping[str, Any] | None = None,
        method: str = "memory",
        timeout: float | None = None,
    ) -> SceneResult:
        """Segment what each prompt names in a volume, from key slices on, and wait for it. See `startPropagate`.

        Raises:
            MedCLIPSAMError: why there is no result; the scene is as it was. TimeoutError.
        """
        return self._wait(
            lambda done: self.startPropagate(
                volumeNode, prompts, segmentationNode, plane, slices, negative, settings, method, finished=done
            ),
            timeout,
        )

    def startPropagate(
        self,
        volumeNode,
        prompts: Sequence[str],
        segmentationNode=None,
        plane: str = "axial",
        slices: Sequence[int] | None = None,
        negative: str | None = None,
        settings: Mapping[str, Any] | None = None,
        method: str = "memory",
        finished: Finished = lambda result, error: None,
    ) -> Job:
        """Start to segment what each prompt names: the slices that show it best, and from there from slice to slice.

        Args:
            slices: numbers along the plane that follow one another; all when None.
            method: how masks are carried, "memory" or "boxes"; see `zeroshot.carry`.
            See `SceneLogic.startSegment` for the others and the errors.
        """
        geometry = SceneSlices(volumeNode, plane)
        prompts, numbers = self._checked(geometry, prompts, range(len(geometry)) if slices is None else slices)
        if numbers[-1] - numbers[0] != len(numbers) - 1:
            raise InputError(_("The slices do not follow one another."), _("Give a range of slices."))
        if segmentationNode is not None:
            segments.requireFit(segmentationNode, volumeNode)
        answers: dict[str, dict[int, SliceAnswer]] = {prompt: {} for prompt in prompts}
        masks = {prompt: SliceMasks(geometry, numbers) for prompt in prompts}

        def take(part: Message) -> None:
            prompt, number = part.fields["prompt"], numbers[0] + int(part.fields["slice"])
            answers[prompt][number] = answerOf(part)
            masks[prompt].put(number, part.arrays["mask"] > 0)

        def write(job: Job) -> SceneResult:
            nothing = np.zeros(geometry.stack.picture_shape, bool)
            for prompt, gathered in masks.items():
                for number in set(numbers) - answers[prompt].keys():
                    gathered.put(number, nothing)
            tags = dict(job.about["tags"]) | {"MedCLIPSAM.Plane": plane, "MedCLIPSAM.Device": job.about["device"]}
            node = segmentationNode or (segments.newSegmentation(volumeNode) if any(masks.values()) else None)
            found = self._writeAnswers(node, answers, masks, tags, len(numbers))
            return SceneResult(node, found, plane, job.about["device"], job.seconds, list(self._notices))

        ask = lambda key: self.client.propagate(key, prompts, negative, settings, method)
        make = lambda listeners: StackJob(self.client, geometry, numbers, ask, take, listeners)
        return self._start(geometry, make, write, finished, segmentationNode)

    def propagateCorrection(
        self,
        segmentationNode,
        segmentId: str,
        volumeNode,
        plane: str = "axial",
        reach: int | None = None,
        timeout: float | None = None,
    ) -> SceneResult:
        """Let the neighbours follow the slices of a segment that the user has corrected, and wait for it.

        Args:
            reach: slices to go beyond the outermost corrected ones; None as far as the object is seen.

        Raises:
            MedCLIPSAMError: why there is no result; the segment is as it was. TimeoutError.
        """
        geometry = SceneSlices(volumeNode, plane)
        return self._wait(
            lambda done: self.startPropagateCorrection(segmentationNode, segmentId, geometry, reach, done), timeout
        )

    def startPropagateCorrection(
        self,
        segmentationNode,
        segmentId: str,
        geometry: SceneSlices,
        reach: int | None = None,
        finished: Finished = lambda result, error: None,
    ) -> Job:
        """Start to carry the user's slices of a segment to their neighbours; see `propagateCorrection`.

        What the user painted, erased or locked stays as it is and is what SAM 2 is given. What the models wrote before
        is replaced on the slices that the object is carried to; beyond its end it goes as far as it was joined to it.

        Raises:
            InputError: the segment is locked, or no slice of it is the user's or shows anything.
        """
        segments.requireFit(segmentationNode, geometry.volumeNode)
        protect.requireUnlocked(segmentationNode, segmentId, geometry.plane, ())
        own = protect.own(segmentationNode, segmentId, geometry)
        name = segmentationNode.GetSegmentation().GetSegment(segmentId).GetName()
        if not any(mask.any() for mask in own.values()):
            raise InputError(
                _("No slice of '{name}' was corrected by hand.").format(name=name),
                _("Correct one slice first, with points or with the Segment Editor, or lock a slice that is right."),
            )
        first, last = min(own), max(own)
        low = 0 if reach is None else max(0, first - reach)
        high = len(geometry) - 1 if reach is None else min(len(geometry) - 1, last + reach)
        numbers = range(low, high + 1)
        carried: dict[int, np.ndarray] = {}

        def take(part: Message) -> None:
            carried[low + int(part.fields["slice"])] = part.arrays["mask"] > 0

        def write(job: Job) -> SceneResult:
            if segmentationNode.GetSegmentation().GetSegment(segmentId) is None:
                raise InputError(_("The segment was removed meanwhile."), _("Choose another one."))
            read = lambda k: segments.readSlice(segmentationNode, segmentId, geometry, k)
            masks = {k: mask for k, mask in carried.items() if k not in own}
            for k in _leftovers(numbers, masks, own, read):
                masks[k] = np.zeros(geometry.stack.picture_shape, bool)
            if masks:
                gathered = SliceMasks.of(geometry, masks)

                def change() -> None:
                    segments.writeSlices(segmentationNode, segmentId, gathered)
                    protect.recordWritten(segmentationNode, segmentId, geometry.plane, gathered.checks)

                self._change(segmentationNode, change)
            found = sum(bool(mask.any()) for mask in masks.values())
            message = _("'{name}' was carried from {own} corrected slices to {found} others.").format(
                name=name, own=len(own), found=found
            )
            one = PromptResult(name, segmentId, 0.0, 1.0, message, (found, len(numbers)), np.zeros((0, 4)), first)
            device = str(job.about["device"])
            return SceneResult(segmentationNode, [one], geometry.plane, device, job.seconds, list(self._notices))

        given = {k - low: mask for k, mask in own.items()}
        ask = lambda key: self.client.carry(key, given, reach)
        make: Callable[[Listeners], Job] = lambda listeners: StackJob(
            self.client, geometry, numbers, ask, take, listeners
        )
        return self._start(geometry, make, write, finished, segmentationNode)


def _leftovers(numbers: range, masks, own, read: Callable[[int], np.ndarray]) -> list[int]:
    """Slices just beyond the ends of what was carried on which the segment goes on where the object has ended."""
    reached = sorted({*masks, *own})
    found = []
    for end, step in ((reached[0], -1), (reached[-1], 1)):
        before = masks[end] if end in masks else own[end]
        # Where the object ends on the last slice that it was carried to, its neighbour shows what was there before.
        k = end + step
        while k in numbers and k not in own:
            mask = read(k)
            if not (mask & before).any():
                break
            found.append(k)
            before, k = mask, k + step
    return found
