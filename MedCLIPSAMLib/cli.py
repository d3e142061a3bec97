"""The command `medclipsam`: its commands put together, and the one place where errors become messages."""

from __future__ import annotations

import io
import logging
import os
import sys
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
)
from .errors import Cancelled, MedCLIPSAMError
from .logs import LogLevel, configure_logging

log = logging.getLogger(__name__)

app = typer.Typer(
    name="medclipsam",
    help="Text-prompted segmentation of medical images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
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
app.add_typer(reproduce.app, name="reproduce")
app.add_typer(weak.app, name="weak")
app.add_typer(phantoms.phantoms_app, name="phantoms")
app.add_typer(phantoms.models_app, name="demo-models")
app.add_typer(starter.app, name="starter")

EXIT_ERROR, EXIT_INTERRUPTED = 2, 130


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"medclipsam {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    log_level: Annotated[LogLevel, typer.Option(help="Least level of the log.")] = LogLevel.WARNING,
    log_file: Annotated[Path | None, typer.Option(help="Write the log there too.", show_default=False)] = None,
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False,
) -> None:
    """Text-prompted segmentation of medical images."""
    configure_logging(LogLevel.DEBUG if debug else log_level, log_file)


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 all cases failed, 2 refused with a message, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be text
    try:
        app()
    except (KeyboardInterrupt, Cancelled):
        print("Interrupted.", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # `medclipsam ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_INTERRUPTED)
    except MedCLIPSAMError as error:
        log.debug("refused", exc_info=True)
        _refuse(error.problem, error.remedy)
    except OSError as error:
        log.debug("refused", exc_info=True)
        named = f"'{error.filename}': " if error.filename is not None else ""
        _refuse(f"{named}{error.strerror or error}.", "Check the path, the permissions and the free space.")


def _refuse(problem: str, remedy: str) -> NoReturn:
    print(f"error: {problem}", file=sys.stderr)
    if remedy:
        print(f"  {remedy}", file=sys.stderr)
    sys.exit(EXIT_ERROR)


if __name__ == "__main__":  # `python -m MedCLIPSAMLib.cli`, whose log would be named after this run of the module
    from MedCLIPSAMLib.cli import main as run

    run()
