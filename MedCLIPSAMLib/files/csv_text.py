"""Tables as text, separated by commas, semicolons or tabs; no field is dropped or shifted silently."""

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
"""What other programs write into an empty field, in lower case."""


def filled(row: dict[str, str]) -> dict[str, str]:
    """Strip the fields of a row, and replace placeholders of empty fields by an empty text."""
    stripped = {name: text.strip() for name, text in row.items()}
    return {name: "" if text.lower() in NOTHING else text for name, text in stripped.items()}


def delimiter_of(line: str) -> str:
    """Return the comma, semicolon or tab, whichever is most frequent in a line."""
    return max("\t,;", key=line.count)


def first_line(text: str) -> str:
    """Return the first line with content; Excel's "sep=;", which only names the delimiter, does not count."""
    lines = (line for line in text.split("\n") if not _says_nothing(line))
    return next(lines, "")


def read_table(table: Path) -> list[tuple[int, dict[str, str]]]:
    """Read the rows of a file as `read_rows` does.

    Raises:
        InputError: the file cannot be read, or see `read_rows`.
    """
    return read_rows(read_text(table), table)


def read_rows(text: str, table: Path) -> list[tuple[int, dict[str, str]]]:
    """Read the rows of a table whose first line names the columns.

    Column names are lowercased, and columns without a name are ignored. Empty lines before the names are skipped.
    Only line feeds end a line; other characters that break lines belong to their field. Missing fields are "".

    Args:
        text: read with universal newlines.
        table: for messages.

    Returns:
        For each row, the number of the line at which it begins, and its fields by column name.

    Raises:
        InputError: two columns have the same name, a row has more fields than there are columns, or a quote is not
            closed. The message gives the line.
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
                "Put quotes around any field that contains the delimiter.",
            )
        elif fields:
            fields += [""] * (len(columns) - len(fields))
            rows.append((line, {name: field for name, field in zip(columns, fields) if name}))


def write_rows(path: str | Path, rows: Iterable[Iterable[Any]], private: bool = False) -> None:
    """Write rows as comma-separated UTF-8; the file appears complete or not at all.

    Args:
        private: make the file readable by its owner only.

    Raises:
        OutputError: the file cannot be written.
    """
    with (
        atomic_path(path, private) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        csv.writer(file, lineterminator="\n").writerows(rows)


def _says_nothing(line: str) -> bool:
    return line.strip(" \t,;").lower() in ("", "sep=")


def _columns(fields: list[str], table: Path) -> list[str]:
    """Return the names of the columns, without unnamed ones at the end."""
    names = [field.strip().lower() for field in fields]
    while names and not names[-1]:
        names.pop()
    twice = next((name for name, count in Counter(filter(None, names)).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"Line 1 of '{table}' has two columns '{twice}'.", "Rename or remove one of them.")
    return names
