"""Images whose headers are damaged, through the readers of the command line."""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from MedCLIPSAMLib.errors import MedCLIPSAMError

from .mutations import SECRET, damaged
from .originals import make_originals
from .table import Row

SECONDS = 90.0
MAX_MEMORY = 3 << 30


def damage(
    count: int, chance: random.Random, work: Path, more: Sequence[Path], say: Callable[[str], None]
) -> Iterator[Row]:
    """Damage headers, and read each file as `segment` and `export` do.

    Args:
        work: folder of the files.
        more: folders of further images to damage.
    """
    originals = make_originals(work / "originals", more)
    rows = {kind: Row(f"damaged headers, {kind}") for kind in originals}
    place = work / "read"
    (work / "secret.raw").write_bytes(SECRET * 4096)
    reader = Reader()
    tried = 0
    kinds = sorted(originals)
    try:
        while tried < count:
            kind = kinds[tried % len(kinds)]
            original = chance.choice(originals[kind])
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            for beside in original.beside:
                shutil.copyfile(beside, place / beside.name)
            path = place / original.path.name
            path.write_bytes(damaged(original.path.read_bytes(), kind, chance))
            before = sorted(entry.name for entry in (*work.iterdir(), *place.iterdir()))
            answer, fault = reader.read(place if original.beside and kind == "DICOM" else path)
            if before != sorted(entry.name for entry in (*work.iterdir(), *place.iterdir())):
                fault = "files outside its folder"
            if fault:
                kept = work.parent / "faults" / f"{kind}-{tried}"
                shutil.copytree(place, kept)
                fault = f"{rows[kind].kind}, {original.path.name}: {fault} ({kept / path.name})"
                say(fault)
            rows[kind].add(answer, fault)
            tried += 1
    finally:
        reader.stop()
    yield from (rows[kind] for kind in kinds)


class Reader:
    """A process that reads files, started again when one ends it."""

    def __init__(self) -> None:
        self._process = 0
        self._ask = self._hear = -1

    def read(self, path: Path) -> tuple[str, str | None]:
        """How a file was answered, and what is wrong with that."""
        if not self._process:
            self._start()
        started = time.monotonic()
        os.write(self._ask, os.fsencode(path) + b"\n")
        said = b""
        while not said.endswith(b"\n"):
            if select.select([self._hear], [], [], 0.2)[0]:
                data = os.read(self._hear, 1 << 16)
                if not data:
                    _, status = os.waitpid(self._process, 0)
                    self._process = 0
                    return "", f"the process ended: {os.waitstatus_to_exitcode(status)}"
                said += data
            elif time.monotonic() - started > SECONDS:
                self.stop()
                return "", f"no answer in {SECONDS:.0f} s"
            elif self._memory() > MAX_MEMORY:
                self.stop()
                return "", f"more than {MAX_MEMORY >> 30} GiB of memory"
        answer, fault = json.loads(said)
        return answer, fault

    def stop(self) -> None:
        """End the process."""
        if self._process:
            for child in psutil.Process(self._process).children():
                child.kill()
            os.kill(self._process, signal.SIGKILL)
            os.waitpid(self._process, 0)
            os.close(self._ask)
            os.close(self._hear)
        self._process = 0

    def _memory(self) -> int:
        family = psutil.Process(self._process)
        return sum(process.memory_info().rss for process in (family, *family.children()))

    def _start(self) -> None:
        (asked, self._ask), (self._hear, answer) = os.pipe(), os.pipe()
        self._process = os.fork()
        if self._process == 0:
            try:
                with os.fdopen(asked, "rb") as paths:
                    for line in paths:
                        os.write(answer, json.dumps(answered(Path(os.fsdecode(line[:-1])))).encode() + b"\n")
            finally:
                os._exit(0)
        os.close(asked)
        os.close(answer)


def answered(path: Path) -> tuple[str, str | None]:
    """How the readers answer a path, and what is wrong with that."""
    from MedCLIPSAMLib.volumes.mark import is_marked
    from MedCLIPSAMLib.volumes.read import read_image, read_volume
    from MedCLIPSAMLib.volumes.slice_count import slice_count

    try:
        slice_count(path)
        answers = []
        if path.is_file():
            is_marked(path)
            answers.append(_attempt(lambda: read_image(path)))
        answers.append(_attempt(lambda: read_volume(path)))
    except Exception as error:
        return "", f"{type(error).__name__}: {error}"
    return next((answer for answer in answers if answer[1]), answers[-1])


def _attempt(work: Callable[[], object]) -> tuple[str, str | None]:
    try:
        volume = work()
    except MedCLIPSAMError as error:
        if error.problem and error.remedy and is_plain(error.problem) and is_plain(error.remedy):
            return "refused with a remedy", None
        return "", f"no error of two lines: {error.problem!r}, {error.remedy!r}"
    array, notes = getattr(volume, "array", None), getattr(volume, "notes", [])
    if array is not None and SECRET in array.tobytes():
        return "", "a file outside its folder was read"
    return "read", None if all(map(is_plain, notes)) else f"a note with control characters: {notes}"


def is_plain(text: str) -> bool:
    """Whether a message is one line, or has a list of lines below it, without what a terminal obeys."""
    lines = text.rstrip("\n").split("\n")
    control = any(ord(sign) < 32 or 127 <= ord(sign) < 160 for line in lines for sign in line)
    return not control and all(line.startswith("  ") for line in lines[1:])
