"""The state of the work on a scene: the worker, the models, the running job, and the undo history.

The operations (segment, refine, propagate) share a session. One job runs at a time. MRML is written after everything
has been received, as one change and one undo step for each result, or not at all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import slicer

from MedCLIPSAMLib.choices import DEFAULT_MODEL, DEFAULT_SAM
from MedCLIPSAMLib.errors import InputError, MedCLIPSAMError
from MedCLIPSAMLib.worker.client import WorkerClient
from MedCLIPSAMLib.worker.protocol import Message
from MedCLIPSAMLib.worker.request import Request, WorkerError

from . import segments
from .dependencies import requireIdle
from .history import History, SceneHistory, changesOf
from .jobs import Job, Listeners
from .removal import removedOnError
from .results import SceneResult
from .sequences import itemOf, requireItem, unsavedNotes
from .sliceGeometry import SceneSlices
from .strings import _
from .waiting import Finished, waitFor

Progressed = Callable[[float, str], None]
"""Called with the fraction done, 0 to 1, and the name of the stage."""


class Session:
    """The worker and its jobs.

    Args:
        transport: a `worker.client.Transport` with `run_until(done, timeout)`.

    Attributes:
        models: (clip, sam, device, folder of models or None) for the next job.
        history: stores states for undo; see `history.History`.
        job: the running job, or None.
        onStateChanged: called when a job has begun or ended.
    """

    def __init__(self, transport) -> None:
        self.models: tuple[str, str, str, str | None] = (DEFAULT_MODEL, DEFAULT_SAM, "auto", None)
        self.history: History = SceneHistory()
        self.job: Job | None = None
        self.onStateChanged: Callable[[], None] = lambda: None
        self.transport = transport
        self.client = WorkerClient(transport, self._receive)
        self._loadedModels: tuple | None = None
        self._loadRequest: Request | None = None

    def start(
        self,
        geometry: SceneSlices,
        makeJob: Callable[[Listeners], Job],
        writeResult: Callable[[Job, list[str]], SceneResult],
        segmentationNode=None,
        finished: Finished = lambda result, error: None,
        progressed: Progressed = lambda fraction, stage: None,
    ) -> Job:
        """Start a job, and write its result into the scene if it succeeds.

        Args:
            geometry: slices of the volume to segment.
            makeJob: takes the listeners of the job and returns the job.
            writeResult: takes the job and the notes on the volume and from the worker, writes MRML, and returns the
                result.
            segmentationNode: segmentation that is written to; None if `writeResult` makes a new one.
            finished: called once, with (result, None) or (None, error).

        Raises:
            InputError: another job or an installation is running; see also `segments.requireFit`. WorkerError: the
                worker cannot be started.
        """
        if self.job is not None:
            raise InputError(_("Another run is not finished."), _("Wait for it, or cancel it."))
        requireIdle()
        if segmentationNode is not None:
            segments.requireFit(segmentationNode, geometry.volumeNode)
        told: list[str] = []
        item = itemOf(segmentationNode)

        def end(job: Job) -> None:
            self.job = None
            error, result = job.error, None
            if error is None:
                try:
                    _requirePresent(geometry.volumeNode, segmentationNode)
                    geometry.requireUnmoved()
                    if segmentationNode is not None:
                        requireItem(segmentationNode, item)
                        segments.requireFit(segmentationNode, geometry.volumeNode)
                    with removedOnError():
                        result = writeResult(job, [*job.slices.notes, *unsavedNotes(segmentationNode), *told])
                except MedCLIPSAMError as problem:
                    error = problem
                except Exception as problem:
                    logging.exception("MedCLIPSAM: the result could not be written")
                    error = WorkerError(_("The result could not be written: {problem}").format(problem=problem))
            finished(result, error)
            self.onStateChanged()

        job = makeJob(Listeners(end, progressed, told.append))
        self.job = job
        try:
            self._loadModels()
            job.begin()
        except Exception:
            self.job = None
            raise
        if self.job is job:
            self.onStateChanged()
        return job

    def change(self, segmentationNode, write: Callable[[], None]) -> None:
        """Change a segmentation with one undo step and one event; if the change fails, undo all of it."""
        segments.requireSegmentation(segmentationNode)
        self.history.save(segmentationNode)
        modified = segmentationNode.StartModify()
        try:
            with changesOf(segmentationNode) as changed:
                write()
        except Exception:
            if changed:  # otherwise undo would take back the previous change
                self.history.undo(segmentationNode)
            raise
        finally:
            segmentationNode.EndModify(modified)

    def undo(self, segmentationNode) -> bool:
        """Undo the last change of a segmentation; return False if there is none."""
        segments.requireSegmentation(segmentationNode)
        return self.history.undo(segmentationNode)

    def cancel(self) -> None:
        """End the running job; the scene stays as it is."""
        if self.job is not None:
            self.job.cancel()

    def forgetModels(self) -> None:
        """Let the worker load the models again for the next job, because their files may have changed."""
        self._loadedModels = None

    def forgetScene(self) -> None:
        """Cancel the running job and drop the undo states before the scene is closed. The worker keeps running."""
        self.cancel()
        self.history = SceneHistory()

    def wait(self, start: Callable[[Finished], Any], timeout: float | None) -> SceneResult:
        """Start a job, let Slicer handle events until it has ended, and return its result.

        Raises:
            MedCLIPSAMError: why there is no result. TimeoutError: the time is up.
        """
        return waitFor(self.transport, start, self.cancel, timeout)

    def close(self) -> None:
        """End the worker and wait for its end; the next job starts a new one."""
        self.cancel()
        self.client.shutdown()
        self.transport.close()

    def _loadModels(self) -> None:
        """Let the worker load the chosen models unless it has already loaded them."""
        if self.models != self._loadedModels or not self.client.running:
            self._loadRequest = self.client.load(*self.models)
            self._loadedModels = self.models

    def _receive(self, request: Request | None, message: Message) -> None:
        if message.type == "ended" or (request is self._loadRequest and message.type == "error"):
            self._loadedModels = None
        if self.job is not None:
            self.job.receive(request, message)


def _requirePresent(*nodes) -> None:
    for node in nodes:
        if node is not None and (node.GetScene() is None or not slicer.mrmlScene.IsNodePresent(node)):
            raise InputError(_("'{name}' was removed during the run.").format(name=node.GetName()))
