"""The command `medclipsam`: registers all commands, and is the one place where errors become messages."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import stat
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from glob import glob
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from . import __version__
from .commands import (
    benchmark,
    compare,
    demo,
    evaluate,
    export,
    finetune,
    models,
    phantoms,
    reproduce,
    search,
    segment,
    series,
    starter,
    weak,
    worker,
)
from .commands.deprecated import replace_deprecated_flags
from .commands.session import Session
from .commands.shown_help import CommandLine
from .commands.usage import usage_error
from .errors import EXIT_ERROR, EXIT_INTERRUPTED, Cancelled, with_remedy
from .logs import LogLevel, configure_logging
from .signals import ending_signals

log = logging.getLogger(__name__)

app = typer.Typer(
    name="medclipsam",
    cls=CommandLine,
    help="Text-prompted segmentation of medical images.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # importing rich takes longer than everything else that the help needs
)
app.command("segment")(segment.segment)
app.command("series")(series.series)
app.command("demo")(demo.demo)
app.command("evaluate")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("search")(search.search)
app.command("export")(export.export)
app.command("strike")(export.strike)
app.command("finetune")(finetune.finetune)
app.command("retrieval")(finetune.retrieval)
app.add_typer(benchmark.app, name="benchmark")
app.add_typer(models.app, name="models")
app.add_typer(worker.app, name="worker")
app.add_typer(reproduce.app, name="reproduce")
app.add_typer(weak.app, name="weak")
app.add_typer(phantoms.phantoms_app, name="phantoms")
app.add_typer(phantoms.models_app, name="demo-models")
app.add_typer(starter.app, name="starter")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"medclipsam {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    log_level: Annotated[LogLevel, typer.Option(help="Minimum level of the log.")] = LogLevel.WARNING,
    log_file: Annotated[Path | None, typer.Option(help="Also write the log to this file.", show_default=False)] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Text-prompted segmentation of medical images."""
    configure_logging(LogLevel.DEBUG if debug else log_level, log_file)


def main() -> None:
    """Run the command line of this process and exit with its code; see `run`."""
    arguments = sys.argv[1:] if os.name == "posix" else expanded(sys.argv[1:])
    sys.exit(run(arguments, Session(run)))


def expanded(arguments: Sequence[str]) -> list[str]:
    """Expand arguments on Windows, whose shells do not do it.

    "~" becomes the home folder. A pattern such as "scans/*.png" becomes the matching files, unless it is the value of
    an option.
    """
    found: list[str] = []
    for before, argument in zip(("", *arguments), arguments):
        if argument.startswith(("~/", "~\\")):
            argument = str(Path(argument.replace("\\", "/")).expanduser())
        as_typed = argument.startswith("-") or before.startswith("-") or os.path.lexists(argument)
        found += ([] if as_typed else sorted(glob(argument))) or [argument]
    return found


def run(arguments: Sequence[str], session: Session) -> int:
    """Run a command line and return its exit code.

    Exit codes: 0 success, 1 some or all images failed, 2 refused with a message, 130 interrupted or the reader of the
    output is gone, 143 ended by SIGTERM, 129 ended as the terminal was closed.
    With --json the message is also written to standard output, as an object with "error" and "remedy".
    """
    try:
        _run(list(arguments), session)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def _run(arguments: list[str], session: Session) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names need not be valid text
    as_json = _wants_json(arguments)
    try:
        with _interrupt_on_signals():
            arguments = replace_deprecated_flags(app, arguments)
            code = app(arguments, prog_name="medclipsam", standalone_mode=False, obj=session) or 0
            if code == EXIT_INTERRUPTED:  # Typer's exit code for Ctrl+C
                raise KeyboardInterrupt
            sys.exit(code)
    except (KeyboardInterrupt, Cancelled, typer.Abort):
        print("Interrupted.", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except (BrokenPipeError, SystemExit) as error:  # `medclipsam ... | head`; Typer turns it into an exit
        if not isinstance(error, BrokenPipeError) and not isinstance(error.__context__, BrokenPipeError):
            raise
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:
        refusal = with_remedy(error)
        if refusal is not None:
            log.debug("refused", exc_info=True)
            _refuse(refusal.problem, refusal.remedy, as_json)
        if not hasattr(error, "format_message"):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(error.format_message(), err=True)
            sys.exit(EXIT_ERROR)
        wrong = usage_error(error)
        _refuse(wrong.problem, wrong.remedy, as_json)


@contextmanager
def _interrupt_on_signals() -> Iterator[None]:
    """End the block on other signals as on Ctrl+C, so that its processes and temporary files are cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ended: list[int] = []

    def interrupt(number: int, _frame: object) -> None:
        ended.append(number)
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)  # the shell and the kernel both send one; handle only the first
            _leave_terminal()
        raise KeyboardInterrupt

    others = [number for number in ending_signals() if number != signal.SIGINT]
    before = {number: signal.signal(number, interrupt) for number in others}
    try:
        yield
    except (KeyboardInterrupt, Cancelled, SystemExit):
        if ended:
            sys.exit(128 + ended[0])
        raise
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, handler)


def _leave_terminal() -> None:
    """Stop writing to a terminal that was closed, as that would raise an error; files and pipes stay as they are."""
    for stream in (1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(stream).st_mode):
                nothing = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, stream)
                os.close(nothing)


def _wants_json(arguments: list[str]) -> bool:
    """Tell whether JSON output is requested; in two groups of commands the option names a file instead."""
    return "--json" in arguments and _command_of(arguments) not in ("benchmark", "reproduce")


def _command_of(arguments: list[str]) -> str:
    """Find the command after the options that all commands share."""
    words = iter(arguments)
    for word in words:
        if not word.startswith("-"):
            return word
        if word in ("--log-level", "--log-file"):
            next(words, "")
    return ""


def _refuse(problem: str, remedy: str, as_json: bool) -> NoReturn:
    if as_json:
        with suppress(OSError):  # the output itself may be what cannot be written
            print(json.dumps({"error": problem, "remedy": remedy}), flush=True)
    print(f"error: {problem}", file=sys.stderr)
    if remedy:
        print(f"  {remedy}", file=sys.stderr)
    sys.exit(EXIT_ERROR)


if __name__ == "__main__":  # `python -m MedCLIPSAMLib.cli`; otherwise the log would be named __main__
    from MedCLIPSAMLib import cli

    cli.main()
