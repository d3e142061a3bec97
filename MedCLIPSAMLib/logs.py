"""The log of the program: one line per event, with its time, level and module."""

from __future__ import annotations

import logging
import sys
from enum import StrEnum
from pathlib import Path

from .errors import OutputError

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class LogLevel(StrEnum):
    """Minimum level of the log lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def configure_logging(level: LogLevel = LogLevel.WARNING, file: Path | None = None) -> None:
    """Write the log of this package to standard error and, if given, also to a file.

    Calling it again replaces the earlier handlers. The logging of other libraries is left unchanged.

    Args:
        file: file that the log is appended to.

    Raises:
        OutputError: the file cannot be written.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if file is not None:
        try:
            handlers.append(logging.FileHandler(file, encoding="utf-8", errors="backslashreplace"))
        except OSError as error:
            raise OutputError(
                f"The log '{file}' cannot be written: {error.strerror}.", "Choose another file."
            ) from error
    log = logging.getLogger(__package__)
    for old in log.handlers[:]:
        log.removeHandler(old)
        old.close()
    for handler in handlers:
        handler.setFormatter(logging.Formatter(FORMAT))
        log.addHandler(handler)
    log.setLevel(level.upper())
    log.propagate = False  # some libraries give the root logger a handler, which would write every line again
