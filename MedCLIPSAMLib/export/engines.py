"""Engines that process the cases of an export: this process, or many workers that hold the models (`ray_engine`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from ..run_context import RunContext
from ..segmentation import wording
from ..segmentation.segmenter import TextSegmenter
from ..segmentation.settings import Settings
from .cases import Case
from .job import ExportJob, SegmentedCase, read_case, segment_case, write_result

Write = Callable[[dict], None]
"""Takes the manifest line of a case whose files are complete, including its source. Called once per case, never
concurrently."""


class Engine(Protocol):
    """Models with their settings, on this machine or others.

    Attributes:
        clip, sam: names of the models in the catalogue.
        settings: settings of the segmentation.
    """

    clip: str
    sam: str
    settings: Settings

    def run(self, cases: Sequence[Case], job: ExportJob, write: Write, context: RunContext) -> Iterator[dict]:
        """Process every case, pass its manifest line to `write`, and yield it; the context can cancel the run."""

    def notes_on(self, prompts: Sequence[str]) -> list[str]:
        """Return notes for the user on the wording of prompts; none if the models are on other machines.

        Raises:
            PromptError: the model cannot process a prompt.
        """


class LocalEngine:
    """The models in this process. While an image is segmented, the next one is read and the last one is written."""

    def __init__(self, segmenter: TextSegmenter) -> None:
        self._segmenter = segmenter.with_settings(segmenter.settings)  # a copy: running out of memory changes settings
        self.clip: str = segmenter.clip.name
        self.sam: str = segmenter.sam.name
        self.settings = segmenter.settings

    def notes_on(self, prompts: Sequence[str]) -> list[str]:
        """See `Engine`."""
        for prompt in prompts:
            self._segmenter.text_features(prompt)
        return [note for prompt in prompts for note in wording.notes(self._segmenter.clip, prompt)]

    def run(self, cases: Sequence[Case], job: ExportJob, write: Write, context: RunContext) -> Iterator[dict]:
        """See `Engine`."""

        def finish(case: Case, outcome: SegmentedCase) -> dict:
            record = write_result(case, outcome, job)
            write(record)
            return record

        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            waiting = deque(cases)
            readings = deque(reader.submit(read_case, case) for case in cases[:1])
            writings: deque[Future[dict]] = deque()
            try:
                while waiting:
                    case, loaded = waiting.popleft(), readings.popleft().result()
                    readings.extend(reader.submit(read_case, following) for following in list(waiting)[:1])
                    outcome = segment_case(self._segmenter, case, loaded, job.settings, context)
                    writings.append(writer.submit(finish, case, outcome))
                    while len(writings) > 1:
                        yield writings.popleft().result()
            except BaseException:
                while writings:  # what was done is kept
                    writings.popleft().result()
                raise
            while writings:
                yield writings.popleft().result()
