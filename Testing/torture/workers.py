"""Workers killed at random moments: the client must report it, and a fresh worker must answer the next request."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from MedCLIPSAMLib.errors import MedCLIPSAMError
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.worker.client import WorkerClient
from MedCLIPSAMLib.worker.request import Request
from MedCLIPSAMLib.worker.subprocess_transport import SubprocessTransport

from .forks import forked
from .table import Row

PROMPT = "brain tumor"
WAIT = 60.0


class ForkedProcess:
    """A worker in a fork of this process, with the parts of `subprocess.Popen` that `SubprocessTransport` uses."""

    def __init__(self) -> None:
        ours, theirs = [os.pipe() for _ in range(3)], os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                for number, (read, write) in enumerate(ours):
                    os.dup2(read if number == 0 else write, number)
                for pair in ours:
                    for end in pair:
                        os.close(end)
                import MedCLIPSAMLib.worker.server as server

                server.main([])
            finally:
                os._exit(1)
        assert theirs == os.getpid()
        (source, stdin), (stdout, sink), (stderr, log) = ours
        for end in (source, sink, log):
            os.close(end)
        self.stdin, self.stdout, self.stderr = os.fdopen(stdin, "wb"), os.fdopen(stdout, "rb"), os.fdopen(stderr, "rb")
        self._code: int | None = None

    def kill(self) -> None:
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code


class ForkedTransport(SubprocessTransport):
    """A transport with workers that were forked before any thread was started and are used one after the other."""

    def __init__(self, count: int) -> None:
        super().__init__([])
        self.waiting = [ForkedProcess() for _ in range(count)]

    def start(self, client: WorkerClient) -> None:
        """See `SubprocessTransport.start`."""
        self._client, self.process = client, self.waiting.pop(0)  # type: ignore[assignment]
        logs = threading.Thread(target=self._read, args=(self.process, "log"), daemon=True)
        logs.start()
        threading.Thread(target=self._read, args=(self.process, "data", logs), daemon=True).start()

    def end(self) -> None:
        """End all workers."""
        self.stop()
        for process in self.waiting:
            process.kill()
            process.wait()


def kill_workers(count: int, chance: random.Random, say: Callable[[str], None]) -> Row:
    """Kill workers at `count` random moments of a session of requests."""
    row, seconds = Row("SIGKILL, a worker"), 0.0
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        undisturbed = forked([], folder, main=lambda: _session(None))
        if undisturbed.fault():
            raise RuntimeError(f"Expected a session, got: {undisturbed.err}")
        seconds = float(undisturbed.out)
        while row.tried < count:
            after = chance.uniform(0, seconds)
            ended = forked([], folder, main=lambda moment=after: _session(moment))  # type: ignore[misc]
            fault = ended.fault()
            row.add(ended.out.strip(), fault and f"{row.kind}, after {after:.3f} s: {fault}")
            if fault:
                say(row.faults[-1])
    return row


def _session(kill_after: float | None) -> None:
    """Load models, set images and segment; if killed meanwhile, ask again and print how the client reported it."""
    transport = ForkedTransport(2)
    told: list[str] = []
    client = WorkerClient(transport, lambda request, message: told.append(message.type))
    images = np.stack([np.repeat(make_phantom("validation", k, "MR", 1).image[..., None], 3, 2) for k in (0, 1)])
    started, first = time.monotonic(), transport.waiting[0]
    watch = threading.Timer(kill_after or 0, first.kill)
    if kill_after is not None:
        watch.start()
    try:
        requests = [client.load("demo", "demo", "cpu"), client.set_image("head", images)]
        requests.append(client.segment("head", [PROMPT]))
        transport.run_until(lambda: all(request.done for request in requests), WAIT)
        if kill_after is None:
            print(time.monotonic() - started)
            return
        watch.join()
        transport.run_until(lambda: "ended" in told, WAIT)
        lost = [request for request in requests if request.error]
        answer = "reported for a request, then done again" if lost else "reported between requests, then done again"
        for request in lost:
            _check_said(request)
        again = transport.wait(client.segment("head", [PROMPT]), WAIT)
        masks = [part.arrays["mask"] for part in again.parts]
        expected = _expected(images)
        if len(masks) != len(expected) or not all(map(np.array_equal, masks, expected)):
            raise AssertionError("the masks differ from those without the kill")
        print(answer)
    finally:
        transport.end()


def _check_said(request: Request) -> None:
    try:
        request.value()
    except MedCLIPSAMError as error:
        if not (error.problem and error.remedy and "signal 9" in error.problem):
            raise AssertionError(f"it was not reported that the worker was killed: {error!r}") from error


def _expected(images: np.ndarray) -> list[np.ndarray]:
    from MedCLIPSAMLib.segmentation.segmenter import load_segmenter

    segmenter = load_segmenter("demo", "demo", "cpu")
    found = []
    for image in images:
        segmenter.set_image(image)
        found.append(segmenter.segment(PROMPT).mask.astype(np.uint8))
    return found
