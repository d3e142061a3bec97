"""Mutated frames of the protocol, fed to the parser and to worker processes."""

from __future__ import annotations

import copy
import json
import os
import random
import resource
import select
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from MedCLIPSAMLib.worker.protocol import FrameParser, Message, ProtocolError, encode

from .forks import forked
from .headers import is_plain
from .table import Row
from .workers import ForkedProcess

NASTY: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53, -(2**63), 10**400, 0.5, 1e308, "", "a", "\0", "../..", "/", "\ud800"),
    *("x" * 5000, [], {}, [[]], [0], [-1], [2**62, 2**62], {"a": 1}, [None] * 50, "uint8", "object", "float32"),
)
SLOW = 2.0
"""Seconds per frame after which the parser counts as hanging."""
MAX_MEMORY = 300 << 20
"""Bytes that the parser may need in addition to the process's memory before."""
ANSWER_SECONDS = 20.0


def requests() -> list[Message]:
    """Return one request of each type."""
    images = np.zeros((2, 32, 32, 3), np.uint8)
    mask, boxes = np.ones((1, 32, 32), np.uint8), np.array([[4, 4, 20, 20]], np.float32)
    common = {"image": "head", "prompts": ["brain tumor"], "negative": None, "settings": {"saliency": {"steps": 2}}}
    nowhere = {"inputs": "nowhere", "prompts": {"tumor": "brain tumor"}, "out": "Dataset001_Head", "export": {}}
    nowhere |= {"settings": {}, "negative": None, "clip": "demo", "sam": "demo", "device": "cpu", "models_dir": None}
    captions = {"captions": "nowhere.jsonl", "name": "mine", "images": None, "validation": None, "settings": {}}
    captions |= {"device": "cpu", "models_dir": None, "out": "run", "replace": False}
    outlined = {"boxes": boxes, "points": np.ones((1, 1, 2), np.float32), "labels": np.ones((1, 1), np.int32)}
    return [
        Message("hello", 1),
        Message("models", 2, {"models_dir": None}),
        Message("load", 3, {"clip": "demo", "sam": "demo", "device": "cpu", "models_dir": None}),
        Message("image", 4, {"key": "head"}, {"images": images}),
        Message("image", 5, {"key": "stack", "slice": 0, "of": 2}, {"images": images[0]}),
        Message("segment", 6, {**common, "slices": [0], "saliency": True}),
        Message("predict_mask", 7, {"image": "head", "slice": 0}, {**outlined, "masks": mask}),
        Message("propagate_masks", 8, {"image": "head", "slices": [0], "reach": 1, "method": "boxes"}, {"masks": mask}),
        Message("propagate", 9, {**common, "method": "boxes"}),
        Message("export", 10, {**nowhere, "retry": False}),
        Message("finetune", 11, captions),
        Message("cancel", 0, {"request": 6}),
    ]


def feed_parser(count: int, chance: random.Random, say: Callable[[str], None]) -> Row:
    """Feed mutated frames to the parser in this process, in pieces of random sizes."""
    row = Row("frames, to the parser")
    whole = requests()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    while row.tried < count:
        data = mutated(chance.choice(whole), chance)
        started = time.perf_counter()
        answer, fault = _parsed(data, chance)
        if time.perf_counter() - started > SLOW:
            fault = f"it took {time.perf_counter() - started:.1f} s"
        row.add(answer, fault and f"{row.kind}: {fault}: {data[:200]!r}")
        if fault:
            say(row.faults[-1])
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    if grown > MAX_MEMORY:
        row.add("", f"{row.kind}: {grown >> 20} MiB of memory")
    return row


def _parsed(data: bytes, chance: random.Random) -> tuple[str, str | None]:
    parser, taken = FrameParser(), 0
    try:
        for piece in _pieces(data, chance):
            taken += len(parser.feed(piece))
    except ProtocolError as error:
        if not (error.problem and error.remedy and is_plain(error.problem) and is_plain(error.remedy)):
            return "", f"not a two-line error: {error.problem!r}, {error.remedy!r}"
        return "refused with a remedy", None
    except Exception as error:
        return "", f"{type(error).__name__}: {error}"
    return ("taken" if taken else "waiting for the rest"), None


def _pieces(data: bytes, chance: random.Random) -> Iterator[bytes]:
    start = 0
    while start < len(data):
        size = chance.choice((1, 7, 64, 1 << 16))
        yield data[start : start + size]
        start += size


def mutated(message: Message, chance: random.Random, fields: bool = False) -> bytes:
    """Encode a message with changes to its header's JSON, its sizes or its bytes; with `fields`, only to fields."""
    data = encode(message)
    _, size, payload = struct.unpack(">4sIQ", data[:16])
    kind = chance.random()
    if fields or kind < 0.55:
        content = json.loads(data[16 : 16 + size])
        for _ in range(chance.randint(1, 3)):
            _change(content["fields"] if fields else content, chance)
        header = json.dumps(content).encode()
        return struct.pack(">4sIQ", b"MCS1", len(header), payload) + header + data[16 + size :]
    if kind < 0.7:
        sizes = [chance.choice((0, 1, size, size - 1, size + 1, 2**20, 2**20 + 1, 2**32 - 1)), 0]
        sizes[1] = chance.choice((0, 1, payload, payload + 1, 2**32, 2**63, 2**64 - 1))
        return struct.pack(">4sIQ", b"MCS1", *sizes) + data[16:]
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(len(changed))
        how = chance.randrange(4)
        if how == 0:
            changed[place] = chance.randrange(256)
        elif how == 1:
            del changed[place : place + chance.randint(1, 20)]
        elif how == 2:
            changed[place:place] = chance.randbytes(chance.randint(1, 20))
        else:
            changed[place:place] = changed[: chance.randint(1, 200)]
        if not changed:
            return b"MCS1"
    return bytes(changed)


def _change(content: Any, chance: random.Random) -> None:
    """Replace, add or remove a value somewhere in a nested object or list."""
    while True:
        if isinstance(content, dict) and content:
            key: Any = chance.choice(sorted(content))
        elif isinstance(content, list) and content:
            key = chance.randrange(len(content))
        else:
            return
        inner = content[key]
        if isinstance(inner, dict | list) and inner and chance.random() < 0.8:
            content = inner
            continue
        how = chance.random()
        if how < 0.8:
            content[key] = copy.deepcopy(chance.choice(NASTY))
        elif how < 0.9:
            del content[key]
        elif isinstance(content, dict):
            content["another"] = copy.deepcopy(chance.choice(NASTY))
        return


def feed_worker(count: int, chance: random.Random, folder: Path, say: Callable[[str], None]) -> Row:
    """Send mutated requests to worker processes; a frame that is no message must end a worker with an error answer."""
    row = Row("frames, to a worker")
    folder.mkdir()

    def talk(seed: int, number: int) -> None:
        for line in _conversation(random.Random(seed), number):
            print(json.dumps(line), flush=True)

    while row.tried < count:
        seed, left = chance.randrange(2**32), min(25, count - row.tried)
        ended = forked([], folder, main=lambda seed=seed, left=left: talk(seed, left))  # type: ignore[misc]
        fault = ended.fault()
        lines = [json.loads(line) for line in ended.out.splitlines()]
        if fault or not lines:
            lines.append(("", f"the client: {fault or 'no answer'}"))
        strange = {path.name for path in folder.iterdir()} - {"home", "tmp", "out.txt", "err.txt"}
        if strange:
            lines.append(("", f"files outside its folder: {sorted(strange)}"))
        for answer, wrong in lines:
            row.add(answer, wrong and f"{row.kind}, seed {seed}: {wrong}")
            if wrong:
                say(row.faults[-1])
    return row


def _conversation(chance: random.Random, count: int) -> Iterator[tuple[str, str | None]]:
    """Send requests to a fresh worker with models and images until it ends; yield how each was answered.

    Yields:
        The answer, and what is wrong with it or None.
    """
    worker, parser = ForkedProcess(), FrameParser()
    whole = [message for message in requests() if message.type not in ("hello", "cancel")]
    try:
        for message in whole[1:3]:
            _send(worker, encode(message))
            if not _answer(worker, parser, message.id):
                yield "", "no answer to a valid request"
                return
        used = {message.id for message in whole[1:3]}
        for number in range(100, 100 + count):
            message = chance.choice(whole)
            frame = mutated(
                Message(message.type, number, message.fields, message.arrays), chance, chance.random() < 0.9
            )
            try:
                expected = FrameParser().feed(frame)
            except ProtocolError:
                expected = None
            if expected == [] or any(message.type in ("download", "shutdown") for message in expected or ()):
                continue  # a part of a message waits for the rest
            _send(worker, frame)
            numbers = [message.id for message in expected or () if message.type != "cancel"]
            broken = expected is None or 0 in numbers or len(used.union(numbers)) < len(used) + len(numbers)
            used.update(numbers)
            if not broken and not numbers:  # a cancellation has no answer
                continue
            wanted = 0 if broken else numbers[-1]
            answers = _answer(worker, parser, wanted)
            if broken:
                code = worker.wait()
                errors = [message for message in answers if message.type == "error"]
                if code != 2 or not errors or not _is_whole(errors[-1]):
                    fields = [dict(message.fields) for message in errors]
                    yield "", f"exit code {code} after {frame[:200]!r}, answered {fields}"
                else:
                    yield "ended with a reason", None
                return
            if not answers:
                _send(worker, encode(Message("cancel", 0, {"request": wanted})))
                cancelled = _answer(worker, parser, wanted)
                if cancelled and cancelled[-1].fields.get("kind") == "Cancelled":
                    yield "long, canceled", None
                    continue
                yield "", f"no answer in {ANSWER_SECONDS:.0f} s to {frame[:300]!r}"
                return
            last = answers[-1]
            if last.type == "error" and not _is_whole(last):
                yield "", f"{dict(last.fields)} to {frame[:300]!r}"
            else:
                yield ("refused with a remedy" if last.type == "error" else "done"), None
    finally:
        worker.kill()
        worker.wait()


def _is_whole(message: Message) -> bool:
    """Tell whether an error has a problem and a remedy, and is not a fault of the program."""
    problem, remedy = message.fields.get("problem"), message.fields.get("remedy")
    return bool(problem and remedy) and message.fields.get("kind") != "InternalError"


def _send(worker: ForkedProcess, data: bytes) -> None:
    try:
        worker.stdin.write(data)
        worker.stdin.flush()
    except BrokenPipeError:  # it has ended; its answer tells why
        return


def _answer(worker: ForkedProcess, parser: FrameParser, number: int) -> list[Message]:
    """Receive messages up to the last one of a request, or until the worker ends; none if it takes too long."""
    found: list[Message] = []
    until = time.monotonic() + ANSWER_SECONDS
    streams = [worker.stdout, worker.stderr]
    while time.monotonic() < until:
        for stream in select.select(streams, [], [], 0.5)[0]:
            data = os.read(stream.fileno(), 1 << 20)
            if not data:
                streams.remove(stream)
            if stream is worker.stdout:
                found += parser.feed(data) if data else []
                if not data:
                    return found
        if any(message.id == number and message.type in ("result", "error") for message in found):
            return found
    return []
