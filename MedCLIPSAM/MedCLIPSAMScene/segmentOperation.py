"""Segment what prompts name on slices, each on its own.

result = operations.segment.run(volumeNode, ["brain tumor"], plane="axial", slices=[12])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from MedCLIPSAMLib.worker.request import Request

from . import overlay
from .answers import Answers, Found, Write, writeFound
from .jobs import Job, SliceJob, answerOf
from .modality import withModality
from .requestedSlices import checkPrompts, checkSlices
from .results import SceneResult
from .session import Progressed, Session
from .sliceGeometry import SceneSlices
from .sliceMasks import SliceMasks
from .waiting import Finished

MAX_SALIENCY_SLICES = 40
"""Maximum number of slices whose saliency is kept: that of a whole volume may take more memory than the volume."""


class SegmentOperation:
    """Make masks of slices from text prompts."""

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
        """Segment and wait for the result. See `start` for the arguments.

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
        keepSaliency: bool = True,
        finished: Finished = lambda result, error: None,
        progressed: Progressed = lambda fraction, stage: None,
        write: Write | None = None,
    ) -> Job:
        """Start to segment what each prompt names.

        Each prompt gets a separate segment. If the segmentation has a segment of the prompt from an earlier run, that
        segment is changed on these slices only.

        Args:
            volumeNode: scalar or RGB volume.
            segmentationNode: segmentation that is written to; a new one next to the volume if None.
            plane: "axial", "coronal" or "sagittal".
            slices: numbers along the plane, from inferior, posterior or right; the middle slice if None.
            negative: prompt for what to exclude.
            settings: changes to the model's defaults, by the names in `segmentation.settings.Settings`.
            keepSaliency: write the saliency map of the first prompt as a volume, and the uncertainty of a vote if the
                settings have one. Only for at most MAX_SALIENCY_SLICES consecutive slices.
            write: called to write the masks after all have been received, if the volume and the segmentation still
                exist. If None, they are written into segments of the scene, with the maps.

        Raises:
            InputError, PromptError: an argument is invalid. WorkerError: the worker cannot be started.
        """
        write = write or partial(self._write, segmentationNode)
        geometry = SceneSlices(volumeNode, plane)
        prompts, settings = checkPrompts(prompts), withModality(settings, volumeNode)
        numbers = checkSlices(geometry, [len(geometry) // 2] if slices is None else slices)
        keepSaliency = keepSaliency and numbers[-1] - numbers[0] == len(numbers) - 1 < MAX_SALIENCY_SLICES
        answers: Answers = {prompt: {} for prompt in prompts}
        masks = {prompt: SliceMasks(geometry, numbers) for prompt in prompts}
        client = self._session.client
        keepVotes = keepSaliency and "vote" in (settings or {})

        def ask(key: str, number: int) -> Request:
            return client.segment(key, prompts, [0], negative, settings, keepSaliency, keepVotes)

        def take(number: int, request: Request) -> None:
            for part in request.parts:
                answer = answerOf(part)
                prompt = part.fields["prompt"]
                if prompt != prompts[0]:
                    answer.saliency = answer.uncertainty = None
                answers[prompt][number] = answer
                masks[prompt].put(number, part.arrays["mask"] > 0)

        return self._session.start(
            geometry,
            lambda listeners: SliceJob(client, geometry, numbers, ask, take, listeners),
            lambda job, notes: write(Found.of(job, answers, masks, len(numbers), notes)),
            segmentationNode,
            finished,
            progressed,
        )

    def _write(self, segmentationNode, found: Found) -> SceneResult:
        """Write the found masks into the scene, and replace earlier maps by those of the first prompt."""
        result = writeFound(self._session, segmentationNode, found)
        answers = next(iter(found.answers.values()))
        maps = {number: answer.saliency for number, answer in answers.items() if answer.saliency is not None}
        votes = {number: answer.uncertainty for number, answer in answers.items() if answer.uncertainty is not None}
        if maps:
            overlay.writeSaliency(found.geometry, result.prompts[0].prompt, maps)
        else:
            overlay.removeMaps(found.geometry.volumeNode, [overlay.SALIENCY])
        if votes:
            agreed = {number: np.zeros_like(values) for number, values in maps.items()}  # where nothing was found
            overlay.writeVote(found.geometry, result.prompts[0].prompt, agreed | votes)
        else:
            overlay.removeMaps(found.geometry.volumeNode, [overlay.VOTE])
        return result
