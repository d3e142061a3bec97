"""Act as a client's process during one command, with its files, folder, environment and umask."""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def as_client(request: Mapping[str, Any], files: Sequence[int]) -> Iterator[None]:
    """Switch to a client's files, folder and environment; afterwards restore everything and close the files.

    Args:
        request: holds directory, environment, umask and encoding (of the three standard streams).
        files: file descriptors of the client's standard input, output and error.

    Raises:
        OSError: the client's folder cannot be entered.
    """
    folder, environment, mask = os.getcwd(), dict(os.environ), os.umask(0o077)
    streams, kept = (sys.stdin, sys.stdout, sys.stderr), [os.dup(number) for number in range(3)]
    try:
        for number, file in enumerate(files):
            os.dup2(file, number)
        sys.stdin, sys.stdout, sys.stderr = (_stream(number, request["encoding"][number]) for number in range(3))
        os.environ.clear()
        os.environ.update(request["environment"])
        tempfile.tempdir = None  # forget the folder of the worker, or of an earlier command, which may be gone
        os.umask(request["umask"])
        try:
            os.chdir(request["directory"])
        except OSError as error:
            print(f"error: The worker cannot enter '{request['directory']}': {error.strerror}.", file=sys.stderr)
            raise
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # the client is gone
                stream.flush()
        for number, file in enumerate(kept):
            os.dup2(file, number)
        for file in (*kept, *files):
            os.close(file)
        sys.stdin, sys.stdout, sys.stderr = streams
        os.environ.clear()
        os.environ.update(environment)
        os.umask(mask)
        os.chdir(folder)


def _stream(number: int, encoding: str) -> io.TextIOWrapper:
    """Open a standard stream as Python does."""
    file = open(number, "rb" if number == 0 else "wb", closefd=False)  # noqa: SIM115
    errors = "backslashreplace" if number == 2 else "strict"
    return io.TextIOWrapper(file, encoding, errors, line_buffering=number == 2 or file.isatty())
