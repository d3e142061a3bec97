"""Tables as text: commas, semicolons or tabs, with nothing dropped or shifted in silence."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import InputError
from .atomic import atomic_path
from .text_file import read_text

NOTHING = frozenset(("nan", "none", "null", "<na>", "na", "n/a", "#n/a"))
"""What other programs write into a field that is empty, in small letters."""


def filled(row: dict[str, str]) -> dict[str, str]:
    """Return the fields of a row without blanks around them, "" for what stands for nothing."""
    stripped = {name: text.strip() for name, text in row.items()}
    return {name: "" if text.lower() in NOTHING else text for name, text in stripped.items()}


def delimiter_of(line: str) -> str:
    """Return the comma, semicolon or tab that a line has most of."""
    return max("\t,;", key=line.count)


def first_line(text: str) -> str:
    """Return the first line that says something; Excel's "sep=;", which names the delimiter, is none."""
    lines = (line for line in text.split("\n") if not _says_nothing(line))
    return next(lines, "")


def read_table(table: Path) -> list[tuple[int, dict[str, str]]]:
    """Read the rows of a file; see `read_rows`.

    Raises:
        InputError: it cannot be read; or see `read_rows`.
    """
    return read_rows(read_text(table), table)


def read_rows(text: str, table: Path) -> list[tuple[int, dict[str, str]]]:
    """Read the rows of a table with names of columns in its first line: the line each begins at, and fields by name.

    Names are in lower case, and columns without one are left out; empty lines before the names are skipped. Lines end
    at line feeds; other characters that break lines belong to their field. Fields that are not there are "".

    Args:
        text: read with universal newlines.
        table: for messages.

    Raises:
        InputError: two columns of one name, more fields than columns, or quotes that do not close; names the line.
    """
    lines = io.StringIO(text, newline="\n")
    reader = csv.reader(lines, delimiter=delimiter_of(first_line(text)), strict=True)
    columns: list[str] | None = None
    rows: list[tuple[int, dict[str, str]]] = []
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise InputError(
                f"Line {line} of '{table}' cannot be read: {error}.",
                'Close every quote, and write a quote within a quoted field twice ("").',
            ) from error
        if fields is None:
            return rows
        if columns is None and _says_nothing("".join(fields)):
            continue
        if columns is None:
            columns = _columns(fields, table)
        elif any(field.strip() for field in fields[len(columns) :]):
            raise InputError(
                f"Line {line} of '{table}' has {len(fields)} fields for {len(columns)} columns.",
                "Put a field that holds the delimiter in quotes.",
            )
        elif fields:
            fields += [""] * (len(columns) - len(fields))
            rows.append((line, {name: field for name, field in zip(columns, fields) if name}))


def write_rows(path: str | Path, rows: Iterable[Iterable[Any]], private: bool = False) -> None:
    """Write rows with commas between their fields, in UTF-8; the file appears whole or not at all.

    Args:
        private: readable by its owner only.

    Raises:
        OutputError: it cannot be written.
    """
    with (
        atomic_path(path, private) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        csv.writer(file, lineterminator="\n").writerows(rows)


def _says_nothing(line: str) -> bool:
    return line.strip(" \t,;").lower() in ("", "sep=")


def _columns(fields: list[str], table: Path) -> list[str]:
    """Return the names of the columns, without those at the end that have none."""
    names = [field.strip().lower() for field in fields]
    while names and not names[-1]:
        names.pop()
    twice = next((name for name, count in Counter(filter(None, names)).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"Line 1 of '{table}' has two columns '{twice}'.", "Rename or remove one of them.")
    return names
