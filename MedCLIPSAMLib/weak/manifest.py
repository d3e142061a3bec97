"""What an export has done: a line for each case, written when its files are whole, and a lock against a second run.

manifest.jsonl grows by one line a case, so that a run that is killed at any moment goes on with the cases that have
none. export.json holds what the results depend on; another request on the same folder is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..volumes.atomic import atomic_path

MANIFEST, REQUEST, LOCK = "manifest.jsonl", "export.json", ".lock"


class Manifest:
    """The record of an export in its folder, locked until `close`.

    Args:
        folder: made when absent.
        request: what the results depend on, as JSON values.

    Attributes:
        records: by case, as they were written.

    Raises:
        OutputError: the folder is another run's at this moment, holds something else or an export of another request,
            or cannot be written.
    """

    def __init__(self, folder: Path, request: Mapping[str, Any]) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = locked(folder / LOCK)
        except OSError as error:
            raise OutputError(f"'{folder}' cannot be written: {error.strerror}.", "Choose another folder.") from error
        try:
            self._check(json.loads(json.dumps(request)))
            self.records = read_records(folder)
            # A line that a killed run left half written is ended, so that the next one begins anew.
            path = folder / MANIFEST
            if path.is_file() and not path.read_bytes().endswith(b"\n") and path.stat().st_size:
                with open(path, "ab") as file:
                    file.write(b"\n")
        except BaseException:
            self.close()
            raise

    def write(self, record: Mapping[str, Any]) -> None:
        """Add the line of a case; it is on the disk when this returns."""
        line = json.dumps(record, ensure_ascii=False) + "\n"
        try:
            with open(self._folder / MANIFEST, "a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(
                f"'{self._folder / MANIFEST}' cannot be written: {error.strerror}.",
                "Make room on the disk and give the same command; it goes on.",
            ) from error
        self.records[record["case"]] = dict(record)

    def close(self) -> None:
        """Let another run have the folder; the lock file stays, since removing it could let two runs in."""
        self._lock.close()

    def _check(self, request: dict[str, Any]) -> None:
        path = self._folder / REQUEST
        if path.is_file():
            try:
                before = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                before = {}
            if before != request:
                other = [name for name in request if before.get(name) != request[name]]
                raise OutputError(
                    f"'{self._folder}' holds results of other {', '.join(other) or 'settings'}.",
                    "Choose another folder, or repeat the same command.",
                )
            return
        if any(each.name != LOCK for each in self._folder.iterdir()):
            raise OutputError(
                f"'{self._folder}' is not empty and holds no {MANIFEST}.",
                "Choose a new folder: nothing is overwritten.",
            )
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(request, indent=1) + "\n", encoding="utf-8")


def read_records(folder: Path) -> dict[str, dict[str, Any]]:
    """The lines of a manifest by case, the last of each; a half line, of a run that was killed, is left out."""
    records: dict[str, dict[str, Any]] = {}
    try:
        lines = (folder / MANIFEST).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    for line in lines:
        try:
            record = json.loads(line)
            records[record["case"]] = record
        except (ValueError, KeyError, TypeError):
            continue
    return records


def locked(path: Path):
    """The open lock file; whoever holds it has the folder. The system lets go of it when the process ends."""
    file = open(path, "a+")  # noqa: SIM115
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise OutputError(
            f"Another run is writing to '{path.parent}'.", "Wait for it, or choose another folder."
        ) from error
    return file
