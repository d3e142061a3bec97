"""Download a model's files: resumed where they were interrupted, checked, and put in place only when whole."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from .. import __version__
from ..errors import Cancelled, ModelError, OutputError
from .catalogue import Model, ModelFile
from .checksums import record, recorded, sha256_of
from .store import cache_folder

CHUNK = 1 << 20
TIMEOUT = 30.0
"""Seconds without an answer before a connection is given up."""

Progress = Callable[[str, int, int | None], None]
"""Called with a file's name, the bytes that are here, and the bytes of the whole (None where the server does not say)."""


def download(
    model: Model,
    folder: Path | None = None,
    progress: Progress = lambda name, done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Path:
    """Download what a model's folder lacks and return the folder.

    A file arrives as NAME.partial, which a later call continues. It gets its name when its size and SHA-256 are right: those of the
    catalogue, else those recorded when it was first downloaded into the folder.

    Args:
        folder: the model's folder; in the user's cache when None.
        cancelled: asked once a megabyte; when it says True the download ends, to be continued another time.

    Raises:
        ModelError: a shipped model, no network, a refusal by the server, no space, or a wrong checksum (the file is removed).
        OutputError: the folder cannot be written. Cancelled: by `cancelled`.
    """
    if model.shipped:
        raise ModelError(f"The model '{model.name}' comes with the program; there is nothing to download.")
    folder = folder or cache_folder() / model.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in model.files:
            expected = file.sha256 or recorded(folder).get(file.name)
            if not _is_whole(folder / file.name, file, expected):
                _fetch(model, file, folder, expected, progress, cancelled)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ModelError(f"The disk became full while downloading '{model.name}' to '{folder}'.", "Free some space and run it again; it continues.") from error
        raise OutputError(f"Cannot write to '{folder}': {error.strerror or error}.", "Check the permissions.") from error
    return folder


def _is_whole(path: Path, file: ModelFile, expected: str | None) -> bool:
    if not path.is_file() or (file.size is not None and path.stat().st_size != file.size):
        return False
    return expected is None or sha256_of(path) == expected


def _fetch(model: Model, file: ModelFile, folder: Path, expected: str | None, progress: Progress, cancelled: Callable[[], bool]) -> None:
    partial = folder / f"{file.name}.partial"
    digest, done = hashlib.sha256(), partial.stat().st_size if partial.exists() else 0
    if file.size is not None and done > file.size:
        done = 0
    if file.size is None or done < file.size:
        with _open(model, file, done) as response:
            if _is_page(response, file):
                raise ModelError(f"The server answered with a web page in place of '{file.name}' of '{model.name}'.", _by_hand(model, folder))
            if not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
                done = 0
            total = _total(response, done) or file.size
            if total and shutil.disk_usage(folder).free < total - done:
                raise ModelError(f"'{file.name}' needs {(total - done) / 1e6:.0f} MB, more than is free in '{folder}'.", "Free some space and run it again.")
            done = _receive(model, file, response, partial, done, total, digest, progress, cancelled)
        if total is not None and done != total:
            raise _broken(model, f"the connection ended after {done} of {total} bytes of '{file.name}'")
    else:
        _feed(digest, partial, done)
    if file.size is not None and done != file.size:
        partial.unlink()
        raise ModelError(f"'{file.name}' of '{model.name}' came with {done} bytes, not {file.size}; it was removed.", _by_hand(model, folder))
    if expected is not None and digest.hexdigest() != expected:
        partial.unlink()
        raise ModelError(f"The checksum of '{file.name}' of '{model.name}' is wrong (SHA-256 {digest.hexdigest()[:12]}..., not {expected[:12]}...); it was removed.",
                         "Run it again. If it fails again, the file at its source is another one than before.")
    record(folder, file.name, digest.hexdigest(), done, file.url)
    os.replace(partial, folder / file.name)


def _open(model: Model, file: ModelFile, done: int) -> HTTPResponse:
    """Ask for the file from byte `done` on; the whole file comes (status 200) where the server cannot do that."""
    headers = {"User-Agent": f"medclipsam/{__version__}"} | ({"Range": f"bytes={done}-"} if done else {})
    try:
        return urllib.request.urlopen(urllib.request.Request(file.url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and done:
            return _open(model, file, 0)
        raise ModelError(f"The server refused '{file.name}' of '{model.name}' with '{error.code} {error.reason}' ({file.url}).",
                         "Try again later" + (f". {model.by_hand}." if model.by_hand else ".")) from error
    except (OSError, HTTPException) as error:
        raise _broken(model, f"{file.url} cannot be reached ({getattr(error, 'reason', error)})") from error


def _receive(model: Model, file: ModelFile, response: HTTPResponse, partial: Path, done: int, total: int | None, digest,
             progress: Progress, cancelled: Callable[[], bool]) -> int:
    """Append the answer's body to `partial`, of which `done` bytes are kept; the bytes that are there afterwards."""
    _feed(digest, partial, done)
    with partial.open("ab") as stream:
        stream.truncate(done)
        progress(file.name, done, total)
        while True:
            if cancelled():
                raise Cancelled
            try:
                chunk = response.read(CHUNK)
            except (OSError, HTTPException) as error:
                raise _broken(model, f"the connection broke after {done} bytes of '{file.name}' ({error})") from error
            if not chunk:
                return done
            stream.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            progress(file.name, done, total)


def _feed(digest, partial: Path, done: int) -> None:
    """Bring the digest to where the first `done` bytes of an earlier download leave it."""
    if done:
        with partial.open("rb") as stream:
            while done > 0 and (chunk := stream.read(min(CHUNK, done))):
                digest.update(chunk)
                done -= len(chunk)


def _total(response: HTTPResponse, done: int) -> int | None:
    length = response.headers.get("Content-Length", "")
    return done + int(length) if length.isdecimal() else None


def _is_page(response: HTTPResponse, file: ModelFile) -> bool:
    return response.headers.get_content_type() == "text/html" and not file.name.endswith((".html", ".htm"))


def _by_hand(model: Model, folder: Path) -> str:
    return f"{model.by_hand} in '{folder}'." if model.by_hand else f"See {model.source}."


def _broken(model: Model, what: str) -> ModelError:
    return ModelError(f"The download of '{model.name}' stopped: {what}.", "Check the network and run it again; it continues where it stopped.")
