"""SIGKILL at random moments, and full disks: checks what is left, and that the same command then gives the result."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .forks import Ended, forked, plain
from .scenes import Scene
from .table import Row
from .trees import check_done, check_left, files, snapshot

THERE = "already exists"
BLOCK = 4096
"""Block size of a file system in bytes."""
MESSAGE = 1000
"""Bytes needed for a command's messages, as the limit on file sizes applies to their file, too."""


@dataclass
class Stage:
    """A scene with its undisturbed run.

    Attributes:
        work: folder of the tries.
        inputs: folder of inputs that no try may change.
        seconds: duration of the last undisturbed run.
        count: number of tries so far.
        untouched: snapshot of the inputs.
    """

    scene: Scene
    work: Path
    inputs: Path
    seconds: float = 0.0
    count: int = 0
    untouched: dict[str, tuple[int, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.work.mkdir(parents=True)
        self.untouched = snapshot(self.inputs)
        first = self._undisturbed("reference")
        fault = self._undisturbed("again") or check_done(self.work / "again" / "out", self.reference)
        if first or fault:
            raise RuntimeError(f"{self.scene.name} without torture: {first or fault}")
        shutil.rmtree(self.work / "again")

    @property
    def reference(self) -> Path:
        """The output of an undisturbed run."""
        return self.work / "reference" / "out"

    def run(self, folder: Path, *more: str, **options: float | int | None) -> Ended:
        """Run the command in a fork."""
        return forked([*self.scene.arguments, *more], folder, main=self.scene.main, **options)  # type: ignore[arg-type]

    def new_folder(self) -> Path:
        """Make a folder for the next try."""
        self.count += 1
        folder = self.work / f"try{self.count}"
        self.scene.begin(folder)
        return folder

    def check(self, folder: Path, ended: Ended) -> str | None:
        """Say what is wrong after a disturbance with inputs, outputs, or files elsewhere; None if nothing is."""
        if ended.orphans:
            return f"{ended.orphans} of its processes kept running"
        if snapshot(self.inputs) != self.untouched:
            return "inputs have changed"
        strange = {path.name for path in folder.iterdir()} - {"out", "home", "tmp", "out.txt", "err.txt"}
        if strange:
            return f"files outside its folder: {sorted(strange)}"
        return check_left(folder / "out", self.reference, self.scene.before)

    def finish(self, folder: Path) -> tuple[str, str | None]:
        """Run the same command again; return how it continued, and what is wrong or None."""
        again = self.run(folder)
        answer = "resumed"
        if again.code == 2 and THERE in again.err and again.fault((2,)) is None:
            answer = "whole before the kill"
            kept = files(folder / "out")
            if kept.keys() != files(self.reference).keys():
                answer = "one of two outputs whole, replaced by --overwrite"
                again = self.run(folder, "--overwrite")
            else:
                return answer, check_done(folder / "out", self.reference)
        self.seconds = again.seconds
        fault = again.fault() or check_done(folder / "out", self.reference)
        return answer, fault

    def _undisturbed(self, name: str) -> str | None:
        self.scene.begin(self.work / name)
        ended = self.run(self.work / name)
        self.seconds = ended.seconds
        return ended.fault() or self.check_inputs()

    def check_inputs(self) -> str | None:
        return None if snapshot(self.inputs) == self.untouched else "inputs have changed"


def kill(stage: Stage, count: int, chance: random.Random, say: Callable[[str], None], processes: bool = False) -> Row:
    """Kill a command at `count` random moments of its run.

    Args:
        processes: run `python -m MedCLIPSAMLib` instead of forks.
    """
    row = Row(f"SIGKILL, {stage.scene.name}{', a process of its own' if processes else ''}")
    seconds = stage.seconds
    if processes:
        folder = stage.new_folder()
        seconds = plain(stage.scene.arguments, folder).seconds
        shutil.rmtree(folder)
    missed = 0
    while row.tried < count and missed < 10 * count:
        folder = stage.new_folder()
        after = chance.uniform(0, seconds if processes else stage.seconds)
        ended = plain(stage.scene.arguments, folder, after) if processes else stage.run(folder, kill_after=after)
        if not ended.killed:
            missed += 1
            shutil.rmtree(folder)
            continue
        nothing = not files(folder / "out") if stage.scene.before is None else False
        answer, fault = "", stage.check(folder, ended)
        if fault is None:
            answer, fault = stage.finish(folder)
        answer = "started over" if nothing and answer == "resumed" else answer
        row.add(answer, fault and f"{row.kind}, after {after:.3f} s: {fault} ({folder})")
        if fault is None:
            shutil.rmtree(folder)
        else:
            say(row.faults[-1])
    return row


def fill(stage: Stage, count: int, chance: random.Random, say: Callable[[str], None], mount: bool) -> Row:
    """Run a command on disks that are too small for its outputs.

    Args:
        mount: whether to mount a small file system in memory for every second try, which needs root; the other tries
            limit the size of files.
    """
    row = Row(f"full disk, {stage.scene.name}")
    sizes = [path.stat().st_size for path in files(stage.reference).values()]
    old = sum(map(_blocks, files(stage.scene.before).values())) if stage.scene.before else 0
    new = sum(map(_blocks, files(stage.reference).values())) - old
    while row.tried < count:
        folder = stage.new_folder()
        if mount and row.tried % 2 == 0:
            room = old + int(chance.uniform(4096, max(1.2 * new, 5 * BLOCK)))
            ended = _on_small_disk(stage, folder, room)
        else:
            room = int(chance.uniform(MESSAGE, max(MESSAGE, *sizes)))
            ended = stage.run(folder, most_bytes=room)
        fault = ended.fault((0, 1, 2))
        if fault is None and ended.code == 1 and "failed" not in ended.err:
            fault = f"exit code 1 without a reason: {ended.err[-300:]!r}"
        fault = fault or stage.check(folder, ended)
        answer = "had enough room" if ended.code == 0 else "refused, then done with room"
        if fault is None:
            _, fault = stage.finish(folder)
        row.add(answer, fault and f"{row.kind}, {room} bytes: {fault} ({folder})")
        if fault is None:
            shutil.rmtree(folder)
        else:
            say(row.faults[-1])
    return row


def _blocks(path: Path) -> int:
    return -(-path.stat().st_size // BLOCK) * BLOCK


def _on_small_disk(stage: Stage, folder: Path, room: int) -> Ended:
    """Run with `out` on a file system of `room` bytes; afterwards `out` holds what the run left."""
    out, small = folder / "out", folder / "small"
    small.mkdir()
    options = f"size={room // BLOCK * BLOCK}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "torture", str(small)], check=True)
    try:
        subprocess.run(["cp", "-a", f"{out}/.", str(small)], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["mount", "--bind", str(small), str(out)], check=True)
        try:
            ended = stage.run(folder)
        finally:
            subprocess.run(["umount", str(out)], check=True)
        shutil.rmtree(out)
        subprocess.run(["cp", "-a", str(small), str(out)], check=True)
    finally:
        subprocess.run(["umount", str(small)], check=True)
        small.rmdir()
    return ended
