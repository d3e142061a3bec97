"""Jobs of the worker, slice by slice or on a whole stack: their requests, their answers, and how they end."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from MedCLIPSAMLib.errors import Cancelled, MedCLIPSAMError
from MedCLIPSAMLib.worker.client import WorkerClient
from MedCLIPSAMLib.worker.protocol import Message
from MedCLIPSAMLib.worker.request import Request

from .sliceGeometry import SceneSlices
from .strings import _

AHEAD = 2
"""Number of slices requested at a time, so that the worker need not wait for the next image."""
SENDING = 0.15
"""Share of a stack's progress for sending its slices to the worker."""


@dataclass
class SliceAnswer:
    """The worker's answer for one prompt on one slice, without its mask.

    Args:
        found: whether the mask is not empty.
        saliency: (H, W) float32, 0 to 1, or None.
        boxes: (B, 4) float32, x0 y0 x1 y1 in pixels.
        score, presence: 0 to 1; see `segmentation.result.PromptedResult`.
        uncertainty: (H, W) float32, 0 to 1, or None; see `segmentation.result.PromptedResult`.
        message: one sentence for the user.
        notes: further sentences for the user.
    """

    found: bool
    saliency: np.ndarray | None = None
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    score: float = 0.0
    presence: float = 0.0
    uncertainty: np.ndarray | None = None
    message: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listeners:
    """Callbacks of a job.

    Args:
        finished: called once at the end, with the job and its `error`.
        progressed: called with the fraction done, 0 to 1, and the name of the stage.
        noticed: called with the worker's messages for the user.
    """

    finished: Callable[[Job], None]
    progressed: Callable[[float, str], None]
    noticed: Callable[[str], None]


class Job:
    """A set of requests to the worker. A job ends once: with its results, with an error, or cancelled.

    Attributes:
        error: why there is no result; None while the job runs and after it has succeeded.
        about: the fields of the worker's last answer: device, tags.
        seconds: from the beginning to the end.
    """

    def __init__(self, client: WorkerClient, slices: SceneSlices, listeners: Listeners) -> None:
        self.slices = slices
        self.error: MedCLIPSAMError | None = None
        self.ended = False
        self.about: dict[str, Any] = {}
        self.seconds = 0.0
        self._client, self._listeners = client, listeners
        self._running: dict[int, tuple[int, Request]] = {}
        self._started = time.monotonic()

    def begin(self) -> None:
        """Send the first requests.

        Raises:
            WorkerError: the worker cannot be started.
        """
        self._progress(0.0, _("Starting the models"))
        self._send()

    def cancel(self) -> None:
        """Cancel the job; nothing of it is written."""
        self._end(Cancelled())

    def receive(self, request: Request | None, message: Message) -> None:
        """Handle a message of the worker that may belong to this job."""
        if self.ended:
            return
        if message.type == "notice":
            self._listeners.noticed(str(message.fields.get("message", "")))
        if request is None:
            return
        if request.type in ("load", "image", "hello") and message.type == "error":
            # Answers to slices of a previous job, which was cancelled, may still arrive.
            if request.id in self._running or not isinstance(request.error, Cancelled):
                self._end(request.error)
        elif message.type == "progress" and request.type == "load":
            self._progress(0.0, _("Loading the models"))
        elif request.id in self._running:
            number, request = self._running[request.id]
            if message.type == "progress":
                self._onProgress(number, message)
            elif message.type == "part":
                self._onPart(message)
            elif message.type == "error":
                self._end(request.error)
            elif message.type == "result":
                del self._running[request.id]
                self._onResult(number, request, message)

    def _send(self) -> None:
        """Send the next requests."""
        raise NotImplementedError

    def _onProgress(self, number: int, message: Message) -> None:
        """Report the progress of a request."""
        raise NotImplementedError

    def _onPart(self, part: Message) -> None:
        """Handle a part of an answer, which the request also keeps."""

    def _onResult(self, number: int, request: Request, message: Message) -> None:
        """Handle the result of a request."""
        raise NotImplementedError

    def _progress(self, fraction: float, text: str) -> None:
        self._listeners.progressed(fraction, text)

    def _end(self, error: MedCLIPSAMError | None) -> None:
        if self.ended:
            return
        self.ended, self.error = True, error
        self.seconds = time.monotonic() - self._started
        for _number, request in self._running.values():
            self._client.cancel(request)
        self._listeners.finished(self)


class SliceJob(Job):
    """Separate requests for some slices, `AHEAD` of them at a time.

    Args:
        slices: slices of the volume.
        numbers: numbers of the requested slices.
        ask: sends the request for a slice whose image the worker has: (image key, slice number) -> request.
        take: called with the finished request of a slice: (slice number, request).
    """

    def __init__(
        self,
        client: WorkerClient,
        slices: SceneSlices,
        numbers: Sequence[int],
        ask: Callable[[str, int], Request],
        take: Callable[[int, Request], None],
        listeners: Listeners,
    ) -> None:
        super().__init__(client, slices, listeners)
        self._count = len(numbers)
        self._ask, self._take = ask, take
        self._waiting = list(reversed(numbers))
        self._done = 0
        self._notes: Counter[str] = Counter()

    def _send(self) -> None:
        while self._waiting and len(self._running) < AHEAD:
            number = self._waiting.pop()
            key = sendSlice(self._client, self.slices, number)
            request = self._ask(key, number)
            self._running[request.id] = number, request

    def _onProgress(self, number: int, message: Message) -> None:
        fraction = (self._done + float(message.fields.get("fraction") or 0)) / self._count
        stage = str(message.fields.get("stage"))
        named = {"saliency": _("saliency"), "embedding": _("image embedding"), "mask": _("outline")}.get(stage, stage)
        if self._count > 1:
            named = _("slice {done} of {all}: {stage}").format(done=self._done + 1, all=self._count, stage=named)
        self._progress(fraction, named)

    def _onResult(self, number: int, request: Request, message: Message) -> None:
        self._done += 1
        self.about = dict(message.fields)
        self._notes.update(message.fields.get("notes") or [])
        self._take(number, request)
        if self._done == self._count:
            for note, slices in self._notes.items():
                if 2 * slices > self._count:  # it applies to the volume
                    self._listeners.noticed(note)
            self._end(None)
        else:
            self._send()


class StackJob(Job):
    """One request on a stack of slices, which are sent to the worker one by one, so that the window stays responsive.

    Args:
        numbers: consecutive slices; the first of them is slice 0 of the stack.
        ask: sends the request when the worker has all slices: stack key -> request.
        take: called with each part of the answer when it arrives, so that little is left to do at the end.
    """

    def __init__(
        self,
        client: WorkerClient,
        slices: SceneSlices,
        numbers: Sequence[int],
        ask: Callable[[str], Request],
        take: Callable[[Message], None],
        listeners: Listeners,
    ) -> None:
        super().__init__(client, slices, listeners)
        self._numbers, self._ask, self._take = list(numbers), ask, take
        self._key = f"stack {uuid.uuid4()}"
        self._sent = self._received = 0

    def _send(self) -> None:
        count = len(self._numbers)
        while self._sent < count and len(self._running) < AHEAD:
            image = self.slices.image(self._numbers[self._sent])
            request = self._client.set_slice(self._key, image, self._sent, count)
            self._running[request.id] = self._sent, request
            self._sent += 1
        if self._received == count:
            request = self._ask(self._key)
            self._running[request.id] = -1, request

    def _onProgress(self, number: int, message: Message) -> None:
        fraction = SENDING + (1 - SENDING) * float(message.fields.get("fraction") or 0)
        stage = str(message.fields.get("stage"))
        named = {"presence": _("looking for the slices that show it"), "propagation": _("from slice to slice")}
        self._progress(fraction, named.get(stage, stage))

    def _onResult(self, number: int, request: Request, message: Message) -> None:
        if request.type == "image":
            self._received += 1
            self._progress(SENDING * self._received / len(self._numbers), _("sending the slices to the models"))
            self._send()
        else:
            self.about = dict(message.fields)
            for note in message.fields.get("notes") or []:
                self._listeners.noticed(note)
            self._end(None)

    def _onPart(self, part: Message) -> None:
        self._take(part)


def sendSlice(client: WorkerClient, slices: SceneSlices, number: int) -> str:
    """Send the image of a slice to the worker unless it has the image; return its key, a hash of its content."""
    image = slices.image(number)
    key = hashlib.sha1(image.tobytes() + repr(image.shape).encode()).hexdigest()
    if not client.has_image(key):
        client.set_image(key, image)
    return key


def answerOf(part: Message) -> SliceAnswer:
    """Return the answer in a "part" message."""
    fields: Mapping[str, Any] = part.fields
    return SliceAnswer(
        found=bool(part.arrays["mask"].any()),
        saliency=part.arrays.get("saliency"),
        boxes=part.arrays["boxes"],
        score=float(fields["score"]),
        presence=float(fields["presence"]["probability"]),
        uncertainty=part.arrays.get("uncertainty"),
        message=str(fields["message"]),
        notes=tuple(map(str, fields.get("notes", ()))),
    )
