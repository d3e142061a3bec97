"""Engines that process the cases of an export: this process, or many workers with the models (`ray_engine`)."""

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
"""Takes the line of a case whose files are whole, with the source that it was made of; called once a case, one call at
a time."""


class Engine(Protocol):
    """Models with their settings, on this machine or others.

    Attributes:
        clip, sam: names of the models in the catalogue.
        settings: of the segmentation.
    """

    clip: str
    sam: str
    settings: Settings

    def run(self, cases: Sequence[Case], job: ExportJob, write: Write, context: RunContext) -> Iterator[dict]:
        """Do every case, hand its line to `write`, and yield it; cancelled by the context."""

    def notes_on(self, prompts: Sequence[str]) -> list[str]:
        """Return what the user should know of the wording of prompts; none where the models are elsewhere.

        Raises:
            PromptError: a prompt that the model cannot take.
        """


class LocalEngine:
    """The models in this process. The next image is read, and the last one written, while they segment this one."""

    def __init__(self, segmenter: TextSegmenter) -> None:
        self._segmenter = segmenter.with_settings(segmenter.settings)  # the precision stays, whatever becomes of memory
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
