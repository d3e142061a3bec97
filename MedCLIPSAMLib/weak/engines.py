"""Where the cases of an export are worked on: in this process, or by many workers with the models (`ray_engine`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from ..zeroshot.segmenter import Settings, TextSegmenter
from .cases import Case
from .job import Job, read, segmented, written

Write = Callable[[dict], None]
"""Takes the line of a case whose files are whole; called once a case, one call at a time."""


class Engine(Protocol):
    """Models with their settings, somewhere.

    Attributes:
        clip, sam: names of the models in the catalogue.
        settings: of the segmentation.
    """

    clip: str
    sam: str
    settings: Settings

    def run(self, cases: Sequence[Case], job: Job, write: Write) -> Iterator[dict]:
        """Do every case, hand its line to `write`, and yield it."""


class LocalEngine:
    """The models in this process. The next image is read while they work on this one, and the last is written."""

    def __init__(self, segmenter: TextSegmenter) -> None:
        self._segmenter = segmenter
        self.clip, self.sam, self.settings = segmenter.clip.name, segmenter.sam.name, segmenter.settings

    def run(self, cases: Sequence[Case], job: Job, write: Write) -> Iterator[dict]:
        """See `Engine`."""

        def finish(case: Case, made) -> dict:
            record = written(case, made, job)
            write(record)
            return record

        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            waiting = deque(cases)
            reading = reader.submit(read, waiting[0]) if waiting else None
            writings: deque[Future] = deque()
            try:
                while waiting:
                    case, loaded = waiting.popleft(), reading.result()
                    reading = reader.submit(read, waiting[0]) if waiting else None
                    made = segmented(self._segmenter, case, loaded, job.settings)
                    writings.append(writer.submit(finish, case, made))
                    while len(writings) > 1:
                        yield writings.popleft().result()
            except BaseException:
                while writings:  # what was done is kept
                    writings.popleft().result()
                raise
            while writings:
                yield writings.popleft().result()
