"""Numbers instead of names for cases, and the key from numbers to images."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError, OutputError
from ..files.atomic import check_writable
from ..files.csv_text import write_rows
from ..files.lock import hold_lock
from ..files.regular import check_regular

COLUMNS = ("case", "image", "series")
_CASE = re.compile("case_[0-9]{4,9}")


class CaseKey:
    """The table of cases and images, with the columns case, image (absolute path) and series (UID, or empty).

    The file is readable only by its owner. A case keeps its number as long as its line stays in the file.

    Args:
        path: the file, which `number` creates if it is missing.

    Raises:
        InputError: the file holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._read()

    def check_outside(self, folder: Path) -> None:
        """Refuse a key that would be passed on together with the cases, or that cannot be written.

        Raises:
            OutputError: the key lies in the folder, or its own folder cannot be written to.
        """
        if self.path.resolve().is_relative_to(folder.resolve()):
            raise OutputError(
                f"The key '{self.path}' is in '{folder}', which is passed on to others.", "Keep it in another folder."
            )
        check_writable(self.path)

    def number(self, images: Sequence[tuple[Path, str | None]]) -> list[str]:
        """Return a name such as case_0001 for each image and series; new ones are added to the file.

        Raises:
            OutputError: the file cannot be written or locked.
        """
        try:
            with hold_lock(self.path.with_name(f".{self.path.name}.lock"), wait=True):
                names = self._numbered(images)
                write_rows(self.path, [COLUMNS, *((name, *place) for place, name in names.items())], private=True)
        except OSError as error:
            raise OutputError(
                f"The key '{self.path}' cannot be written: {error.strerror or error}.", "Choose another place for it."
            ) from error
        return [names[place] for place in map(_place, images)]

    def known(self, images: Sequence[tuple[Path, str | None]]) -> list[str]:
        """Return the names that `number` would return now, without writing them."""
        names = self._numbered(images)
        return [names[place] for place in map(_place, images)]

    def _numbered(self, images: Sequence[tuple[Path, str | None]]) -> dict[tuple[str, str], str]:
        """Return the names in the file, and new ones for images that it lacks."""
        names = self._read()
        highest = max((int(name.removeprefix("case_")) for name in names.values()), default=0)
        for place in dict.fromkeys(map(_place, images)):
            if place not in names:
                highest += 1
                names[place] = f"case_{highest:04d}"
        return names

    def _read(self) -> dict[tuple[str, str], str]:
        """Return the names by image and series."""
        check_regular(self.path)
        try:
            text = self.path.read_text(encoding="utf-8", errors="surrogateescape")
            header, *rows = csv.reader(io.StringIO(text)) if text else [list(COLUMNS)]
        except FileNotFoundError:
            return {}
        except (OSError, csv.Error) as error:
            raise InputError(f"The key '{self.path}' cannot be read: {error}.", "Name another file.") from error
        names = {(row[1], row[2]): row[0] for row in rows if len(row) == 3 and _CASE.fullmatch(row[0])}
        if tuple(header) != COLUMNS or len(names) < len(rows) or len(set(names.values())) < len(names):
            raise InputError(
                f"'{self.path}' is not a key of cases: expected the columns {', '.join(COLUMNS)}, and each case once.",
                "Name the file that an earlier run wrote, or a new one.",
            )
        return names


def _place(image: tuple[Path, str | None]) -> tuple[str, str]:
    return str(image[0].resolve()), image[1] or ""
