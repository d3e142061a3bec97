"""Run the command line in forks of this process, which has imported the packages once and has started no thread."""

from __future__ import annotations

import importlib
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

SECONDS = 300.0
"""Time after which a command counts as hanging."""
ORPHAN_SECONDS = 20.0
"""Time in which the child processes of a killed command must end by themselves."""


@dataclass(frozen=True)
class Ended:
    """A command that has ended.

    Attributes:
        code: exit code, or the negative number of a signal.
        out, err: its output and error output.
        seconds: duration.
        orphans: number of its child processes that were still running.
    """

    code: int
    out: str
    err: str
    seconds: float
    orphans: int = 0

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL

    def fault(self, codes: Sequence[int] = (0,)) -> str | None:
        """Say what is wrong with how an undisturbed or refused command ended; None if nothing is.

        Args:
            codes: allowed exit codes.
        """
        if self.orphans:
            return f"{self.orphans} of its processes kept running"
        if "Traceback (most recent call last)" in self.err:
            return f"a traceback: {self.err.strip().splitlines()[-1]}"
        if self.code < 0:
            return f"it ended by signal {-self.code}"
        if self.code not in codes:
            return f"exit code {self.code}: {' / '.join(self.err.strip().splitlines()[-2:])}"
        lines = self.err.rstrip("\n").split("\n")
        if self.code == 2 and not (len(lines) >= 2 and lines[-2].startswith("error: ") and lines[-1].startswith("  ")):
            return f"not a two-line error: {self.err[-300:]!r}"
        return None


def run_main() -> None:
    """Run the command line on sys.argv."""
    from MedCLIPSAMLib import cli

    cli.main()


def forked(
    arguments: Sequence[str],
    folder: Path,
    kill_after: float | None = None,
    most_bytes: int | None = None,
    main: Callable[[], None] = run_main,
) -> Ended:
    """Run `medclipsam` in a fork.

    Args:
        folder: where it runs and keeps its home and temporary files.
        kill_after: seconds until SIGKILL, unless it has ended before.
        most_bytes: maximum size of a file that it writes, as if the disk were full then.
        main: the function to run; by default the command line.
    """
    _prepare(folder)
    started = time.monotonic()
    process = os.fork()
    if process == 0:
        _child(arguments, folder, most_bytes, main)
    return _wait(psutil.Process(process), folder, started, kill_after)


def plain(arguments: Sequence[str], folder: Path, kill_after: float | None = None) -> Ended:
    """Run `python -m MedCLIPSAMLib` in a new process, as users do; see `forked`."""
    _prepare(folder)
    started = time.monotonic()
    with open(folder / "out.txt", "wb") as out, open(folder / "err.txt", "wb") as err:
        command = [sys.executable, "-m", "MedCLIPSAMLib", *arguments]
        environment = {**os.environ, **_environment(folder), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=out, stderr=err, stdin=subprocess.DEVNULL
        )
    return _wait(psutil.Process(process.pid), folder, started, kill_after, process)


def warm(arguments: Sequence[str], folder: Path, main: Callable[[], None]) -> None:
    """Import the modules that a run of a command imports, found by running it in a fork."""

    def listed() -> None:
        try:
            main()
        finally:
            (folder / "modules.txt").write_text("\n".join(sys.modules), encoding="utf-8")

    forked(arguments, folder, main=listed)
    for name in (folder / "modules.txt").read_text(encoding="utf-8").split():
        try:
            importlib.import_module(name)
        except Exception:  # a module that only its own package can import
            continue
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        raise RuntimeError(f"Expected no thread, got {threads - 1}: a fork would differ from a fresh process.")


def _prepare(folder: Path) -> None:
    for name in ("home", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    for name in ("out.txt", "err.txt"):
        (folder / name).touch()


def _environment(folder: Path) -> dict[str, str]:
    home, temporary = str(folder / "home"), str(folder / "tmp")
    moved = {"HOME": home, "XDG_CACHE_HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home, "TMPDIR": temporary}
    return {**moved, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}


def _child(arguments: Sequence[str], folder: Path, most_bytes: int | None, main: Callable[[], None]) -> None:
    code = 1
    try:
        os.chdir(folder)
        os.environ.update(_environment(folder))
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        for number, name in ((1, "out.txt"), (2, "err.txt")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_TRUNC), number)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        if most_bytes is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))
        sys.argv = ["medclipsam", *arguments]
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _wait(
    process: psutil.Process,
    folder: Path,
    started: float,
    kill_after: float | None,
    popen: subprocess.Popen[bytes] | None = None,
) -> Ended:
    until = started + min(SECONDS, SECONDS if kill_after is None else kill_after)
    status = _reaped(process.pid, until)
    family: list[psutil.Process] = []
    if status is None:
        family = process.children(recursive=True)
        os.kill(process.pid, signal.SIGKILL)
        _, status = os.waitpid(process.pid, 0)
    if popen is not None:
        popen.returncode = os.waitstatus_to_exitcode(status)  # the process was already waited for
    seconds = time.monotonic() - started
    _, alive = psutil.wait_procs(family, ORPHAN_SECONDS)
    for orphan in alive:
        orphan.kill()
    out, err = ((folder / name).read_text(encoding="utf-8", errors="replace") for name in ("out.txt", "err.txt"))
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGKILL and kill_after is None:
        err += f"\nstill running after {SECONDS:.0f} s"
    return Ended(code, out, err, seconds, len(alive))


def _reaped(process: int, until: float) -> int | None:
    """Wait until a process ends and return its status; None if it is still running at `until`."""
    while time.monotonic() < until:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return status
        time.sleep(min(0.005, max(until - time.monotonic(), 0)))
    return None
