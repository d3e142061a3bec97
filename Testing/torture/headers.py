"""Images with damaged headers, read by the readers of the command line."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
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
        work: folder for the files.
        more: folders with further images to damage.
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
    """A process that reads files and is restarted if a file ends it."""

    def __init__(self) -> None:
        self._process: multiprocessing.process.BaseProcess | None = None

    def read(self, path: Path) -> tuple[str, str | None]:
        """Return how a file was answered, and what is wrong with that or None."""
        if self._process is None:
            context = multiprocessing.get_context("fork")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs,))
            self._process.start()
            theirs.close()
        started = time.monotonic()
        self._pipe.send(path)
        while not self._pipe.poll(0.2):
            family = psutil.Process(self._process.pid)
            if time.monotonic() - started > SECONDS:
                self.stop()
                return "", f"no answer in {SECONDS:.0f} s"
            if sum(one.memory_info().rss for one in (family, *family.children())) > MAX_MEMORY:
                self.stop()
                return "", f"more than {MAX_MEMORY >> 30} GiB of memory"
        try:
            return self._pipe.recv()
        except EOFError:
            self._process.join()
            code, self._process = self._process.exitcode, None
            return "", f"the process ended: {code}"

    def stop(self) -> None:
        """Stop the process."""
        if self._process is not None:
            for child in psutil.Process(self._process.pid).children():
                child.kill()
            self._process.kill()
            self._process.join()
        self._process = None


def _serve(pipe: Connection) -> None:
    while True:
        pipe.send(answered(pipe.recv()))


def answered(path: Path) -> tuple[str, str | None]:
    """Return how the readers answer a path, and what is wrong with that or None."""
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
        return "", f"not a two-line error: {error.problem!r}, {error.remedy!r}"
    array, notes = getattr(volume, "array", None), getattr(volume, "notes", [])
    if array is not None and SECRET in array.tobytes():
        return "", "a file outside its folder was read"
    return "read", None if all(map(is_plain, notes)) else f"a note with control characters: {notes}"


def is_plain(text: str) -> bool:
    """Tell whether a message is one line, or one with a list of lines below it, without terminal control characters."""
    lines = text.rstrip("\n").split("\n")
    control = any(ord(sign) < 32 or 127 <= ord(sign) < 160 for line in lines for sign in line)
    return not control and all(line.startswith("  ") for line in lines[1:])
