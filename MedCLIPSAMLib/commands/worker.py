"""`medclipsam worker`: a process that keeps the models loaded for `medclipsam segment`."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from .engine import import_engine
from .json_output import print_json
from .options import AsJson

app = typer.Typer(no_args_is_help=True, help="Keep the models loaded, so that 'segment' starts at once.")

IdleMinutes = Annotated[
    float, typer.Option("--idle-minutes", min=0, help="End after this time without a command; 0: never.")
]
START_SECONDS = 60.0


@app.command("start")
def start(idle_minutes: IdleMinutes = 30.0) -> None:
    """Start the worker, which keeps the models loaded for this user's 'medclipsam segment'.

    Example: medclipsam worker start --idle-minutes 60
    """
    from ..command_worker.client import ask
    from ..command_worker.place import LOG
    from ..errors import MedCLIPSAMError

    folder = _folder()
    if ask("status") is not None:
        raise MedCLIPSAMError(
            "A worker is already running.", "'medclipsam worker status' shows it; 'medclipsam worker stop' ends it."
        )
    command = [sys.executable, "-m", "MedCLIPSAMLib", "worker", "run", "--idle-minutes", str(idle_minutes)]
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    end = time.monotonic() + START_SECONDS
    while (answer := ask("status")) is None or answer["pid"] != process.pid:
        if process.poll() is not None or time.monotonic() > end:
            process.terminate()
            lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
            last = lines[-1] if lines else "there was no output"
            raise MedCLIPSAMError(f"The worker did not start: {last}", f"See '{folder / LOG}'.")
        time.sleep(0.05)
    ends = f"ends after {idle_minutes:g} minutes without a command" if idle_minutes else "runs until it is stopped"
    typer.echo(f"The worker is running (process {process.pid}) and {ends}. 'medclipsam segment' uses it.")


@app.command("stop")
def stop() -> None:
    """End the worker, and the command that it is running.

    Example: medclipsam worker stop
    """
    from ..command_worker.client import ask

    typer.echo("No worker is running." if ask("stop") is None else "The worker has ended.")


@app.command("status")
def status(as_json: AsJson = False) -> None:
    """Print whether the worker runs, and its loaded models; the exit code is 1 if none runs.

    Example: medclipsam worker status --json
    """
    from ..command_worker.client import ask

    found = ask("status")
    if as_json:
        print_json({"running": found is not None, **(found or {})})
    else:
        typer.echo("No worker is running." if found is None else _describe(found))
    if found is None:
        raise typer.Exit(1)


@app.command("run", hidden=True)
def run(context: typer.Context, idle_minutes: IdleMinutes = 30.0) -> None:
    """Run the worker in the foreground, for a service manager.

    Example: medclipsam worker run --idle-minutes 0
    """
    from ..command_worker.place import LOCK
    from ..command_worker.server import CommandServer
    from ..errors import MedCLIPSAMError
    from ..files.lock import lock_file
    from .session import Session

    folder = _folder()
    try:
        lock = lock_file(folder / LOCK)
    except BlockingIOError as error:
        raise MedCLIPSAMError("A worker is already running.", "'medclipsam worker stop' ends it.") from error
    import_engine()  # before the first command
    from ..segmentation.model_cache import ModelCache

    models = ModelCache()
    session = Session(context.obj.run, models)
    with lock:
        CommandServer(
            folder, lambda arguments: context.obj.run(arguments, session), idle_minutes * 60, models.describe
        ).serve()


def _folder() -> Path:
    """Create the folder of the socket.

    Raises:
        MedCLIPSAMError: the system cannot pass open files through sockets; or see `make_folder`.
    """
    from ..command_worker.place import make_folder, supported
    from ..errors import MedCLIPSAMError

    if not supported():
        raise MedCLIPSAMError(
            "This system cannot send open files through Unix-domain sockets.",
            "On Windows, use WSL for the worker of the command line; everything else works without it.",
        )
    return make_folder()


def _describe(status: dict[str, Any]) -> str:
    minutes = status["seconds"] / 60
    state = "busy" if status["busy"] else "waiting"
    models = "no models loaded yet"
    if "model" in status:
        models = f"{status['model']} and {status['sam']} loaded on {status['device']}"
    process = f"process {status['pid']}, version {status['version']}"
    return f"The worker has been running for {minutes:.0f} min ({process}): {state}, {models}."
