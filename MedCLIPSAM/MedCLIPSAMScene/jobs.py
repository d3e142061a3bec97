"""One piece of work for the worker, slice by slice: what it asks, what has come back, and how it ended."""

from __future__ import annotations

import hashlib
import time
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
"""Slices asked for at once, so that the worker need not wait for the next picture."""


@dataclass
class SliceAnswer:
    """What came back for one prompt on one slice, its mask aside.

    Args:
        found: whether the mask has anything in it.
        saliency: (H, W) float32, 0 to 1, or None.
        boxes: (B, 4) float32, x0 y0 x1 y1 in pixels.
        score, presence: 0 to 1; see `zeroshot.segmenter.Result`.
        message: one sentence for the user.
    """

    found: bool
    saliency: np.ndarray | None = None
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    score: float = 0.0
    presence: float | None = None
    message: str = ""


class Job:
    """Requests to the worker for some slices, `AHEAD` of them at a time.

    Args:
        slices: the volume's slices.
        numbers: which of them.
        ask: sends the request for a slice whose picture the worker has: (picture's key, slice number) -> request.
        take: reads the finished request of a slice: (slice number, request).
        finished: called once at the end, with the job; `error` says how it went.
        progressed: called with the fraction done, 0 to 1, and what is being done.
        noticed: called with what the worker tells the user meanwhile.
    """

    def __init__(
        self,
        client: WorkerClient,
        slices: SceneSlices,
        numbers: Sequence[int],
        ask: Callable[[str, int], Request],
        take: Callable[[int, Request], None],
        finished: Callable[[Job], None],
        progressed: Callable[[float, str], None],
        noticed: Callable[[str], None],
    ) -> None:
        self.slices, self.numbers = slices, list(numbers)
        self.error: MedCLIPSAMError | None = None
        self.ended = False
        self.about: dict[str, Any] = {}
        self.seconds = 0.0
        self._client, self._ask, self._take = client, ask, take
        self._finished, self._progressed, self._noticed = finished, progressed, noticed
        self._waiting = list(reversed(self.numbers))
        self._running: dict[int, tuple[int, Request]] = {}
        self._done = 0
        self._started = time.monotonic()

    def begin(self) -> None:
        """Ask for the first slices.

        Raises:
            WorkerError: the worker cannot be started.
        """
        self._progressed(0.0, _("Starting the models"))
        self._send()

    def cancel(self) -> None:
        """End the job; nothing of it is written."""
        self._end(Cancelled())

    def receive(self, request: Request | None, message: Message) -> None:
        """Take a message of the worker that may belong to this job."""
        if self.ended:
            return
        if message.type == "notice":
            self._noticed(str(message.fields.get("message", "")))
        if request is None:
            return
        if request.type in ("load", "image", "hello") and message.type == "error":
            self._end(request.error)
        elif message.type == "progress" and request.type == "load":
            self._progressed(0.0, _("Loading the models"))
        if request.id not in self._running:
            return
        number, _request = self._running[request.id]
        if message.type == "progress":
            fraction = (self._done + float(message.fields.get("fraction") or 0)) / len(self.numbers)
            self._progressed(fraction, self._describe(number, str(message.fields.get("stage"))))
        elif message.type == "error":
            self._end(request.error)
        elif message.type == "result":
            del self._running[request.id]
            self._done += 1
            self.about = dict(message.fields)
            self._take(number, request)
            if self._done == len(self.numbers):
                self._end(None)
            else:
                self._send()

    def _send(self) -> None:
        while self._waiting and len(self._running) < AHEAD:
            number = self._waiting.pop()
            key = giveSlice(self._client, self.slices, number)
            request = self._ask(key, number)
            self._running[request.id] = number, request

    def _end(self, error: MedCLIPSAMError | None) -> None:
        if self.ended:
            return
        self.ended, self.error = True, error
        self.seconds = time.monotonic() - self._started
        self._waiting.clear()
        for _number, request in self._running.values():
            self._client.cancel(request)
        self._finished(self)

    def _describe(self, number: int, stage: str) -> str:
        named = {"saliency": _("saliency"), "embedding": _("image embedding"), "mask": _("outline")}.get(stage, stage)
        if len(self.numbers) == 1:
            return named
        return _("slice {done} of {all}: {stage}").format(done=self._done + 1, all=len(self.numbers), stage=named)


def giveSlice(client: WorkerClient, slices: SceneSlices, number: int) -> str:
    """Give the worker the picture of a slice unless it has it, and return the picture's name, made from its content."""
    picture = slices.stack.picture(number)
    key = hashlib.sha1(picture.tobytes() + repr(picture.shape).encode()).hexdigest()
    if not client.has_image(key):
        client.set_image(key, picture)
    return key


def answerOf(part: Message) -> SliceAnswer:
    """The answer in a "part" message."""
    fields: Mapping[str, Any] = part.fields
    return SliceAnswer(
        found=bool(part.arrays["mask"].any()),
        saliency=part.arrays.get("saliency"),
        boxes=part.arrays["boxes"],
        score=float(fields["score"]),
        presence=float(fields["presence"]["probability"]),
        message=str(fields["message"]),
    )
