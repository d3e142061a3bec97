"""The record of an export: a line for each case, written when its files are complete, and a lock against a second run.

manifest.jsonl grows by one line a case, so that a run that is killed at any moment goes on with the cases that have
none. export.json holds what the results depend on; another request on the same folder is refused.
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
"""Characters of the longest escape, such as \\u00e9, which may be cut."""


class Manifest:
    """The record of an export in its folder, locked until `close`.

    Args:
        folder: made when absent.
        request: what the results depend on, as JSON values.

    Attributes:
        records: by case, as they were written.

    Raises:
        OutputError: the folder is another run's at this moment, holds something else or an export of another request,
            or cannot be written. InputError: see `read_records`, or a part of the folder is a link to another place.
    """

    def __init__(self, folder: Path, request: Mapping[str, Any]) -> None:
        check_own(folder)
        self._folder = folder
        self._lock = claim(folder, REQUEST, request)
        try:
            self.records = read_records(folder)
            # A line that a killed run left unfinished is ended, so that the next one begins on a new line.
            path = folder / MANIFEST
            if path.is_file() and not path.read_bytes().endswith(b"\n") and path.stat().st_size:
                with open(path, "ab") as file:
                    file.write(b"\n")
        except BaseException:
            self.close()
            raise

    def write(self, record: Mapping[str, Any]) -> None:
        """Add the line of a case; it is on the disk when this returns."""
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
    """Read the lines of a manifest by case, the last of each; an unfinished line of a killed run is left out.

    Raises:
        InputError: a whole line that is no record of a case of this folder; see `record.check_record`.
    """
    records: dict[str, dict[str, Any]] = {}
    try:
        lines = (folder / MANIFEST).read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return {}
    for number, line in enumerate(lines, 1):
        try:
            line = line.strip("\0")  # which a loss of power leaves
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
    """Tell whether a line is the beginning of one, or blank: what is wrong with it is at its end."""
    return error.msg.startswith("Unterminated string") or error.pos >= len(line) - ESCAPE
