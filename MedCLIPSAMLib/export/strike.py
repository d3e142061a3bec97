"""Strike bad cases out of a dataset, and restore them: their files move to its folder struck/; nothing is deleted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from difflib import get_close_matches
from pathlib import Path

from ..counted import counted
from ..errors import InputError, OutputError
from ..files.atomic import move
from ..files.csv_text import delimiter_of, first_line, read_rows
from ..files.json_text import read_json
from ..files.regular import check_file
from ..files.text_file import read_text
from .dataset import check_folder
from .manifest import REQUEST, Manifest
from .upkeep import refresh, write_struck

FOLDER = "struck"


def similar_cases(name: str, cases: Iterable[str]) -> str:
    """Return a question whether a case with a similar name was meant; "" if there is none."""
    close = get_close_matches(name, list(cases), n=3, cutoff=0.7)
    return f"Did you mean {' or '.join(map(repr, close))}?" if close else ""


def strike(dataset: Path, names: Iterable[str]) -> tuple[int, int]:
    """Strike the named cases out of the dataset, and restore those struck out earlier that are not named.

    Returns:
        The number of cases struck out, and the number restored.

    Raises:
        InputError: the folder holds no export, a name is not that of a case, or all cases would be struck out.
        OutputError: another run is using the dataset, or it cannot be written.
    """
    try:
        request = read_json(dataset / REQUEST)
        form, labels = request["export"]["form"], [str(label) for label in request["labels"]]
        check_folder(dataset.resolve(), form)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"'{dataset}' holds no export.", "Give the folder that medclipsam export wrote.") from error
    with closing(Manifest(dataset, request)) as manifest:
        struck = set(names)
        unknown = sorted(struck - manifest.records.keys())
        if unknown:
            raise InputError(
                f"'{dataset}' has no case '{unknown[0]}' (unknown: {counted(len(unknown), 'name')}).",
                similar_cases(unknown[0], manifest.records) or "Write the names of its cases, one per line.",
            )
        inside = {name for name, record in manifest.records.items() if record["files"]}
        if len(inside) > 1 and inside <= struck:
            raise InputError(
                f"Expected a list of bad cases, got all {len(inside)} of '{dataset}': nothing would be left.",
                "Leave the good ones out of the list. A table such as review.csv names all cases.",
            )
        try:
            moved = [
                name for name, record in manifest.records.items() if _move(dataset, record["files"], name in struck)
            ]
            write_struck(dataset, struck)
        except OSError as error:
            raise OutputError(f"'{dataset}' cannot be written: {error.strerror}.", "Check the permissions.") from error
        refresh(dataset, form, labels)
        out = len(struck.intersection(moved))
        return out, len(moved) - out


def _move(dataset: Path, files: Sequence[str], out: bool) -> bool:
    """Move the files of a case out of the dataset, or back; return whether its masks, the last file, were moved."""
    for file in files:
        source, target = dataset / file, dataset / FOLDER / file
        if not out:
            source, target = target, source
        if moved := source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            move(source, target)
    return bool(files) and moved


def read_list(path: Path) -> list[str]:
    """Read the names of cases: one per line, without lines that begin with #, or from the column `case` of a table.

    Raises:
        InputError: the file cannot be read, or is a table of all cases with a column `struck`.
    """
    check_file(path, "Give the dataset, then the list that the report saved.")
    lines = [line for line in read_text(path).split("\n") if line.strip() and not line.lstrip().startswith("#")]
    first = first_line("\n".join(lines))
    columns = [name.strip(' "').lower() for name in first.split(delimiter_of(first))]
    if "case" not in columns:
        return [name for line in lines for name in line.split()]
    if "struck" in columns:
        raise InputError(
            f"Expected a list of cases to strike out, got '{path}', a table of all cases.",
            "Give the list that medclipsam weak disagree wrote beside it.",
        )
    return [row["case"].strip() for _, row in read_rows("\n".join(lines), path)]
