"""All operations on the scene: a session, and the operations that use it."""

from __future__ import annotations

from collections.abc import Callable

from . import segments
from .exportOperation import ExportOperation
from .fineTuneOperation import FineTuneOperation
from .longRun import LongRun
from .propagateOperation import PropagateOperation
from .refineOperation import RefineOperation
from .reviewOperation import ReviewOperation
from .segmentOperation import SegmentOperation
from .session import Session


class Operations:
    """The operations of the module. Prompts, export and fine-tuning each have a separate worker.

    Args:
        makeTransport: makes a `worker.client.Transport` with `run_until(done, timeout)`. Its worker is started by the
            first request.
    """

    def __init__(self, makeTransport: Callable) -> None:
        self.session = Session(makeTransport())
        self.segment = SegmentOperation(self.session)
        self.refine = RefineOperation(self.session)
        self.propagate = PropagateOperation(self.session)
        self.export = ExportOperation(makeTransport())
        self.fineTune = FineTuneOperation(makeTransport(), self.session.forgetModels)
        self.review = ReviewOperation()

    def addSegment(self, segmentationNode, name: str) -> str:
        """Add an empty segment as one undo step, and return its id."""
        added: list[str] = []
        self.session.change(segmentationNode, lambda: added.append(segments.addSegment(segmentationNode, name)))
        return added[0]

    @property
    def longRuns(self) -> tuple[LongRun, ...]:
        """The runs of minutes to days: the export and the fine-tuning."""
        return self.export.task, self.fineTune.task

    def endWorkers(self) -> None:
        """End the workers, so that later runs start new ones, with another command or other packages.

        A running prompt is cancelled. A running export or fine-tuning continues to its end on its current worker.
        """
        self.session.cancel()
        self.session.client.shutdown()
        for task in self.longRuns:
            task.endWorker()

    def close(self) -> None:
        """End the workers and wait for their end."""
        self.session.close()
        for task in self.longRuns:
            task.close()
