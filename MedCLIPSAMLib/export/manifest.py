"""The record of an export: a line for each case, written when its files are complete, and a lock against a second run.

manifest.jsonl grows by one line per case, so a run that is killed at any moment resumes with the cases that have no
line. export.json holds everything the results depend on; a different request for the same folder is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError, OutputError
from ..files.claim import claim
from ..files.json_text import parse_json
from .folder_tree import REQUEST
from .record import check_own, check_record

MANIFEST = "manifest.jsonl"
ESCAPE = 6
"""Characters of the longest JSON escape, such as \\u00e9, which a killed run may have cut."""


class Manifest:
    """The record of an export in its folder, locked until `close`.

    Args:
        folder: created if missing.
        request: everything the results depend on, as JSON values.

    Attributes:
        records: the records by case name, as they were written.

    Raises:
        OutputError: another run is using the folder, it holds something else or an export with a different request,
            or it cannot be written. InputError: see `read_records`; or a part of the folder is a link elsewhere.
    """

    def __init__(self, folder: Path, request: Mapping[str, Any]) -> None:
        check_own(folder)
        self._folder = folder
        self._lock = claim(folder, REQUEST, request)
        try:
            self.records = read_records(folder)
            # Terminate a line that a killed run left unfinished, so that the next record begins on a new line.
            path = folder / MANIFEST
            if path.is_file() and not path.read_bytes().endswith(b"\n") and path.stat().st_size:
                with open(path, "ab") as file:
                    file.write(b"\n")
        except BaseException:
            self.close()
            raise

    def write(self, record: Mapping[str, Any]) -> None:
        """Append the line of a case; it is on the disk when this returns."""
        line = json.dumps(check_record(record), ensure_ascii=False) + "\n"
        try:
            with open(self._folder / MANIFEST, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(
                f"'{self._folder / MANIFEST}' cannot be written: {error.strerror}.",
                "Make room on the disk, or make its folder writable. The same command resumes.",
            ) from error
        self.records[record["case"]] = dict(record)

    def close(self) -> None:
        """Unlock the folder."""
        self._lock.close()


def read_records(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the last line of each case in a manifest, by case name; the unfinished line of a killed run is skipped.

    Raises:
        InputError: a complete line is not a valid record; see `record.check_record`.
    """
    records: dict[str, dict[str, Any]] = {}
    try:
        lines = (folder / MANIFEST).read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return {}
    for number, line in enumerate(lines, 1):
        try:
            line = line.strip("\0")  # a power failure can leave null bytes
            record = check_record(parse_json(line))
            records[record["case"]] = record
        except ValueError as error:
            if isinstance(error, json.JSONDecodeError) and _is_cut(line, error):
                continue
            raise InputError(
                f"Line {number} of '{folder / MANIFEST}' cannot be used: {error}.",
                "Use the file as the export wrote it.",
            ) from error
    return records


def _is_cut(line: str, error: json.JSONDecodeError) -> bool:
    """Tell whether a line is blank or was cut off: its syntax error is at its end."""
    return error.msg.startswith("Unterminated string") or error.pos >= len(line) - ESCAPE
