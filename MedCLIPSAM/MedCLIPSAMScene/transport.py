"""The worker as a QProcess, whose output arrives in Slicer's event loop, so that the window stays responsive."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
import slicer
import slicer.util

import MedCLIPSAMLib
from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.worker.subprocess_transport import divide_command

from .strings import _

STOPPING_MS = 2000


@dataclass(frozen=True)
class WorkerCommand:
    """The command that starts a worker: the program with its arguments, and the environment."""

    arguments: list[str]
    environment: dict[str, str]


def workerCommand(ownCommand: str = "") -> WorkerCommand:
    """Return the user's command of the worker, or that of a worker on this machine with Slicer's Python.

    The user's command, such as `ssh gpuhost python -m MedCLIPSAMLib.worker`, is run without a shell in the environment
    that Slicer was started in, because PYTHONHOME and the library paths of Slicer would break another Python and ssh.

    Raises:
        InputError: the user's command has an unclosed quotation mark.
    """
    own = ownCommand.strip()
    if own:
        try:
            words = divide_command(own)
        except ValueError as error:
            raise InputError(
                _("The command of the worker cannot be read: {error}.").format(error=error),
                _("Correct it under Models and device."),
            ) from error
        return WorkerCommand(words, slicer.util.startupEnvironment())
    python = shutil.which("PythonSlicer") or sys.executable
    return WorkerCommand([python, "-m", "MedCLIPSAMLib.worker"], dict(os.environ))


class QProcessTransport:
    """A `MedCLIPSAMLib.worker.connection.Transport` over the streams of a QProcess.

    Args:
        command: called for the command whenever a worker is started.
    """

    def __init__(self, command: Callable[[], WorkerCommand] = workerCommand) -> None:
        self._command = command
        self._process: Any = None
        self._dying: list = []

    def start(self, client) -> None:
        """See `MedCLIPSAMLib.worker.connection.Transport.start`."""
        command = self._command()
        program, *arguments = command.arguments
        process = qt.QProcess()
        self._process = process
        environment = qt.QProcessEnvironment()
        for name, value in command.environment.items():
            environment.insert(name, value)
        root = str(Path(MedCLIPSAMLib.__file__).resolve().parent.parent)
        paths = [root, *filter(None, [command.environment.get("PYTHONPATH", "")])]
        environment.insert("PYTHONPATH", os.pathsep.join(paths))
        environment.insert("PYTHONIOENCODING", "utf-8")
        process.setProcessEnvironment(environment)

        # A stopped worker may still have pending output; only that of the current worker is read.
        def fromPresent(act: Callable) -> Callable:
            return lambda *arguments: act() if self._process is process else None

        output = lambda: client.feed(process.readAllStandardOutput().data())
        log = lambda: client.feed_log(process.readAllStandardError().data())

        def finished() -> None:
            log()
            output()
            if self._process is process:
                client.ended(f"'{program}', exit code {process.exitCode()}")

        def failed(error) -> None:
            if self._process is process and error == qt.QProcess.FailedToStart:
                client.ended(f"'{program}' cannot be started: {process.errorString()}")
                qt.QTimer.singleShot(0, release)

        connections = (
            ("readyReadStandardOutput()", fromPresent(output)),
            ("readyReadStandardError()", fromPresent(log)),
            ("finished(int,QProcess::ExitStatus)", fromPresent(finished)),
            ("finished(int,QProcess::ExitStatus)", lambda *_arguments: qt.QTimer.singleShot(0, release)),
            ("errorOccurred(QProcess::ProcessError)", failed),
        )

        def release() -> None:
            """Release the process, which its own slots keep alive."""
            for signal, slot in connections:
                process.disconnect(signal, slot)

        for signal, slot in connections:
            process.connect(signal, slot)
        process.start(program, arguments)

    def write(self, data: bytes) -> None:
        """See `MedCLIPSAMLib.worker.connection.Transport.write`."""
        if self._process is not None:
            self._process.write(data)

    def stop(self) -> None:
        """See `MedCLIPSAMLib.worker.connection.Transport.stop`."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        self._dying = [process for process in self._dying if process.state() != qt.QProcess.NotRunning]
        self._dying.append(process)  # a QProcess must not be deleted while its program runs

    def run_until(self, done: Callable[[], bool], timeout: float | None = None) -> None:
        """Let Slicer handle events until `done` returns True.

        Raises:
            TimeoutError: that takes longer than `timeout` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while not done():
            if end is not None and time.monotonic() > end:
                raise TimeoutError(f"The worker did not answer in {timeout:g} s.")
            slicer.app.processEvents()
            if self._process is not None and not done():
                self._process.waitForReadyRead(20)

    def close(self) -> None:
        """End the worker and wait for its end, before the application exits."""
        self.stop()
        for process in self._dying:
            process.waitForFinished(STOPPING_MS)
        self._dying = []
