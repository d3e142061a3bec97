"""All operations on the scene in one place: a session and its operations."""

from __future__ import annotations

from collections.abc import Callable

from . import segments
from .exportOperation import ExportOperation
from .fineTuneOperation import FineTuneOperation
from .propagateOperation import PropagateOperation
from .refineOperation import RefineOperation
from .reviewOperation import ReviewOperation
from .segmentOperation import SegmentOperation
from .session import Session


class Operations:
    """The operations of the module. Prompts, export and fine-tuning each have a separate worker.

    Args:
        makeTransport: makes a `worker.client.Transport` with `run_until(done, timeout)`; its worker is started by the
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
        """Add an empty segment as one undo step and return its id."""
        added: list[str] = []
        self.session.change(segmentationNode, lambda: added.append(segments.addSegment(segmentationNode, name)))
        return added[0]

    def close(self) -> None:
        """End the workers and wait for their end."""
        for part in (self.session, self.export.task, self.fineTune.task):
            part.close()
