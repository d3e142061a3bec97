"""Download a model's files: resumed where they were interrupted, checked, and put in place only when whole."""

from __future__ import annotations

import errno
import os
import shutil
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from .. import __version__
from ..errors import ModelError, OutputError
from ..files.checksums import record, recorded, sha256_of
from ..run_context import RunContext
from .catalogue import Model, ModelFile
from .store import cache_folder

CHUNK = 1 << 20
TIMEOUT = 30.0
"""Seconds without an answer before a connection is given up."""


def download(
    model: Model,
    folder: Path | None = None,
    context: RunContext = RunContext(),
) -> Path:
    """Download what a model's folder lacks and return the folder.

    A file arrives as NAME.partial, which a later call continues. It gets its name when its size and SHA-256 are right:
    those of the catalogue, else those recorded when it was first downloaded into the folder.

    Args:
        folder: the model's folder; in the user's cache when None.
        context: told of the bytes that are here, of those of the whole (None where the server does not say), and of
            the file's name as the message; asked once a megabyte, and a cancelled download is continued another time.

    Raises:
        ModelError: a model that nobody offers (shipped, trained by the user, or without an address), no network, a
            refusal by the server, no space, or a wrong checksum (then the file is removed).
        OutputError: the folder cannot be written. Cancelled.
    """
    if model.shipped:
        raise ModelError(f"The model '{model.name}' comes with the program; there is nothing to download.")
    if model.trained:
        raise ModelError(
            f"The model '{model.name}' was trained by you; nobody offers it for download.",
            "Train it again, or copy what its folder lacks from where it is whole.",
        )
    if not model.downloadable:
        raise ModelError(
            f"The model '{model.name}' is not offered for download.",
            f"Put its folder '{model.folder}' into a folder named by --models-dir.",
        )
    folder = folder or cache_folder() / model.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in model.files:
            expected = file.sha256 or recorded(folder).get(file.name)
            if not _is_whole(folder / file.name, file, expected):
                _fetch(model, file, folder, expected, context)
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
    if not partial.is_file() or file.size is None or partial.stat().st_size != file.size:
        _continue(model, file, partial, context)
    size, sha256 = partial.stat().st_size, sha256_of(partial)
    if file.size not in (None, size):
        partial.unlink()
        raise ModelError(
            f"'{file.name}' of '{model.name}' came with {size} bytes, not {file.size}; it was removed.",
            _by_hand(model, folder),
        )
    if expected not in (None, sha256):
        partial.unlink()
        raise ModelError(
            f"The checksum of '{file.name}' of '{model.name}' is wrong; the file was removed "
            f"(SHA-256 {sha256[:12]}..., not {expected[:12]}...).",
            "Run it again. If it fails again, the file at its source is another one than before.",
        )
    record(folder, file.name, sha256, size, file.url)
    os.replace(partial, folder / file.name)


def _continue(model: Model, file: ModelFile, partial: Path, context: RunContext) -> None:
    """Add to `partial` what it lacks of the file, or all of it where the server cannot send a part."""
    done = partial.stat().st_size if partial.is_file() else 0
    with _open(model, file, done if file.size is None or done < file.size else 0) as response:
        if response.headers.get_content_type() == "text/html":
            raise ModelError(
                f"The server answered with a web page in place of '{file.name}' of '{model.name}'.",
                _by_hand(model, partial.parent),
            )
        if not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            done = 0
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() else file.size
        if total and shutil.disk_usage(partial.parent).free < total - done:
            raise ModelError(
                f"'{file.name}' needs {(total - done) / 1e6:.0f} MB, more than is free in '{partial.parent}'.",
                "Free some space and run it again.",
            )
        with partial.open("ab") as stream:
            stream.truncate(done)
            context.report(done, total, file.name)
            while chunk := _read(model, file, response, done):
                stream.write(chunk)
                done += len(chunk)
                context.report(done, total, file.name)
                context.raise_if_cancelled()
    if total is not None and done != total:
        raise _broken(model, f"the connection ended after {done} of {total} bytes of '{file.name}'")


def _read(model: Model, file: ModelFile, response: HTTPResponse, done: int) -> bytes:
    try:
        return response.read(CHUNK)
    except (OSError, HTTPException) as error:
        raise _broken(model, f"the connection broke after {done} bytes of '{file.name}' ({error})") from error


def _open(model: Model, file: ModelFile, done: int) -> HTTPResponse:
    """Ask for the file from byte `done` on; the whole file comes (status 200) where the server cannot do that."""
    headers = {"User-Agent": f"medclipsam/{__version__}"} | ({"Range": f"bytes={done}-"} if done else {})
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
