"""Download a model's files: interrupted downloads are resumed, and only complete, checked files are put in place."""

from __future__ import annotations

import errno
import shutil
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from .. import __version__
from ..errors import ModelError, OutputError
from ..files.atomic import move, sweep
from ..files.checksums import read_recorded, record, sha256_of
from ..files.lock import hold_lock
from ..run_context import RunContext
from .catalogue_entry import Model, ModelFile
from .store import cache_folder

CHUNK = 1 << 20
MAX_BYTES = 20_000_000_000
"""Maximum size in bytes of a file whose size is unknown; the largest model of the catalogue has a tenth of it."""
TIMEOUT = 30.0
"""Seconds without an answer after which a connection is closed."""


def download(
    model: Model,
    folder: Path | None = None,
    context: RunContext = RunContext(),
) -> Path:
    """Download the files that a model's folder lacks and return the folder.

    A file is downloaded as NAME.partial. A later call resumes it if the server's file is still the same, which is
    judged by its SHA-256 if that is known, otherwise by the server's ETag or date (If-Range, kept in
    NAME.partial.state). The file gets its final name once its size and SHA-256 are right: those of the catalogue, or
    else those recorded when it was first downloaded into the folder. Only one process downloads into a folder at a
    time.

    Args:
        folder: the model's folder; None takes the one in the user's cache.
        context: receives the bytes downloaded, the bytes of the whole file (None if the server does not tell), and the
            file's name as the message. It is checked once per megabyte; a cancelled download can be resumed later.

    Raises:
        ModelError: the model cannot be downloaded (it is shipped, trained, or has no URL), there is no network, the
            server refuses, the disk is full, or the checksum is wrong (then the file is removed).
        OutputError: the folder cannot be written, or another process is downloading into it.
        Cancelled: the context was cancelled.
    """
    if model.shipped:
        raise ModelError(f"The model '{model.name}' comes with the program; there is nothing to download.")
    if model.trained:
        raise ModelError(
            f"The model '{model.name}' is your own; it cannot be downloaded.",
            "Copy the missing files from where you got the model, or train it again.",
        )
    if not model.downloadable:
        raise ModelError(
            f"The model '{model.name}' is not offered for download.",
            f"Put its folder '{model.folder}' into a folder named by --models-dir.",
        )
    folder = folder or cache_folder() / model.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with hold_lock(folder.with_name(f".{folder.name}.lock")):
            sweep(folder)
            for file in model.files:
                expected = file.sha256 or read_recorded(folder).get(file.name)
                if not _is_whole(folder / file.name, file, expected):
                    _fetch(model, file, folder, expected, context)
    except BlockingIOError as error:
        raise OutputError(
            f"'{model.name}' is already being downloaded to '{folder}'.", "Wait until that has finished."
        ) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ModelError(
                f"The disk became full while downloading '{model.name}' to '{folder}'.",
                "Free some space and run it again; it continues.",
            ) from error
        raise OutputError(
            f"Cannot write to '{folder}': {error.strerror or error}.", "Check the permissions."
        ) from error
    return folder


def _is_whole(path: Path, file: ModelFile, expected: str | None) -> bool:
    if not path.is_file() or (file.size is not None and path.stat().st_size != file.size):
        return False
    return expected is None or sha256_of(path) == expected


def _fetch(model: Model, file: ModelFile, folder: Path, expected: str | None, context: RunContext) -> None:
    partial = folder / f"{file.name}.partial"
    state = partial.with_name(f"{partial.name}.state")
    if not partial.is_file() or file.size is None or partial.stat().st_size != file.size:
        _continue(model, file, partial, state, expected, context)
    size, sha256 = partial.stat().st_size, sha256_of(partial)
    state.unlink(missing_ok=True)
    if file.size not in (None, size):
        partial.unlink()
        raise _another_size(model, file, size, folder)
    if expected not in (None, sha256):
        partial.unlink()
        raise ModelError(
            f"The checksum of '{file.name}' of '{model.name}' is wrong; the file was removed "
            f"(SHA-256 {sha256[:12]}..., not {expected[:12]}...).",
            "Run it again. If it fails again, the file at the source has changed.",
        )
    record(folder, file.name, sha256, size, file.url)
    move(partial, folder / file.name)


def _continue(
    model: Model, file: ModelFile, partial: Path, state: Path, expected: str | None, context: RunContext
) -> None:
    """Append the missing bytes to `partial`, or start over if the server cannot send a part of the same file.

    Args:
        state: a file with the server's ETag or date of the file that `partial` is part of.
        expected: the SHA-256 of the whole file; None if it is not known.
    """
    done = partial.stat().st_size if partial.is_file() else 0
    known = state.read_text(encoding="utf-8") if state.is_file() else ""
    if (file.size is not None and done >= file.size) or not (known or expected):
        done = 0
    with _open(model, file, done, known) as response:
        if response.headers.get_content_type() == "text/html":
            raise ModelError(
                f"The server answered with a web page instead of '{file.name}' of '{model.name}'.",
                _by_hand(model, partial.parent),
            )
        if not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            done = 0
        total = _total(model, file, response, done, expected, partial.parent)
        _remember(state, response)
        with partial.open("ab") as stream:
            stream.truncate(done)
            context.report(done, total, file.name)
            while chunk := _read(model, file, response, done):
                done += len(chunk)
                if done > (total or MAX_BYTES):
                    break
                stream.write(chunk)
                context.report(done, total, file.name)
                context.raise_if_cancelled()
    if done > (total or MAX_BYTES):
        partial.unlink()
        raise _another_size(model, file, done, partial.parent, total or MAX_BYTES)
    if total is not None and done != total:
        raise _broken(model, f"the connection ended after {done} of {total} bytes of '{file.name}'")


def _total(
    model: Model, file: ModelFile, response: HTTPResponse, done: int, expected: str | None, folder: Path
) -> int | None:
    """Return the size of the whole file in bytes; None if only the end of the stream will tell.

    Raises:
        ModelError: the size differs from the catalogue's, exceeds the free space, or is needed and not known.
    """
    length = response.headers.get("Content-Length", "")
    total = done + int(length) if length.isdecimal() else file.size
    if total and shutil.disk_usage(folder).free < total - done:
        raise ModelError(
            f"'{file.name}' needs {(total - done) / 1e6:.0f} MB, more than is free in '{folder}'.",
            "Free some space and run it again.",
        )
    if total and (total != file.size if file.size else total > MAX_BYTES):
        raise _another_size(model, file, total, folder)
    if total is None and expected is None and not response.chunked:
        raise ModelError(
            f"The server does not say how long '{file.name}' of '{model.name}' is, so a truncated file would go "
            "unnoticed.",
            _by_hand(model, folder),
        )
    return total


def _remember(state: Path, response: HTTPResponse) -> None:
    """Store the server's ETag or date of the file, if one can be used to resume."""
    tag = response.headers.get("ETag", "")
    name = tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
    if name:
        state.write_text(name, encoding="utf-8")
    else:
        state.unlink(missing_ok=True)


def _another_size(model: Model, file: ModelFile, size: int, folder: Path, expected: int | None = None) -> ModelError:
    right = file.size or f"at most {expected or MAX_BYTES}"
    return ModelError(
        f"Expected {right} bytes for '{file.name}' of '{model.name}', got {size}; the file was removed.",
        _by_hand(model, folder),
    )


def _read(model: Model, file: ModelFile, response: HTTPResponse, done: int) -> bytes:
    try:
        return response.read(CHUNK)
    except (OSError, HTTPException) as error:
        raise _broken(model, f"the connection broke after {done} bytes of '{file.name}' ({error})") from error


def _open(model: Model, file: ModelFile, done: int, state: str = "") -> HTTPResponse:
    """Request the file from byte `done` on, provided that it has not changed.

    The server sends the whole file (status 200) if it has changed, or if the server cannot resume.
    """
    headers = {"User-Agent": f"medclipsam/{__version__}"} | ({"Range": f"bytes={done}-"} if done else {})
    if done and state:
        headers["If-Range"] = state
    try:
        return urllib.request.urlopen(urllib.request.Request(file.url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and done:
            return _open(model, file, 0)
        raise ModelError(
            f"The server refused '{file.name}' of '{model.name}' with '{error.code} {error.reason}' ({file.url}).",
            "Try again later" + (f". {model.by_hand}." if model.by_hand else "."),
        ) from error
    except (OSError, HTTPException) as error:
        raise _broken(model, f"{file.url} cannot be reached ({getattr(error, 'reason', error)})") from error


def _by_hand(model: Model, folder: Path) -> str:
    return f"{model.by_hand} in '{folder}'." if model.by_hand else f"See {model.source}."


def _broken(model: Model, what: str) -> ModelError:
    return ModelError(
        f"The download of '{model.name}' stopped: {what}.",
        "Check the network and run it again; it continues where it stopped.",
    )
