"""An output folder that belongs to one run: it records what the results depend on, and is locked during the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..renamed_settings import with_current_names
from .atomic import check_place, is_temporary, sweep
from .json_text import read_json, write_json
from .lock import LOCK, lock_file

SHOWN = 4
"""Maximum number of differing settings listed in a message."""


def claim(folder: Path, stamp: str, request: Mapping[str, Any]) -> TextIOWrapper:
    """Lock a folder for a run: a new or empty one, or one of the same request, whose half-written files are removed.

    Args:
        folder: created if missing.
        stamp: name of the file in it that holds the request.
        request: what the results depend on, as JSON values under human-readable names.

    Returns:
        The open lock file, to be closed at the end; the system unlocks it when the process ends. The file is kept,
        because removing it could let two runs in at once.

    Raises:
        OutputError: another run is using the folder, it holds other files or results of another request, or it cannot
            be written.
    """
    check_place(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        refuse_foreign(folder, stamp)
        lock = lock_folder(folder)
    except OSError as error:
        raise OutputError(f"'{folder}' cannot be written: {error.strerror}.", "Choose another folder.") from error
    try:
        _stamp(folder, stamp, json.loads(json.dumps(request)))
        sweep(folder)
    except BaseException:
        lock.close()
        raise
    return lock


def _stamp(folder: Path, stamp: str, request: dict[str, Any]) -> None:
    path = folder / stamp
    request = with_current_names(request)
    if path.is_file():
        try:
            before = with_current_names(read_json(path))
        except (OSError, ValueError):
            before = None
        if before == request:
            return
        before = before if isinstance(before, dict) else {}
        maker = before.get("made by", request.get("made by"))
        if maker != request.get("made by"):
            raise OutputError(f"'{folder}' holds results of '{maker}'.", "Choose another folder.")
        other = [name for name in {**before, **request} if before.get(name) != request.get(name)]
        kinds = [name for name in other if not isinstance(before.get(name, request.get(name)), bool)]
        within = lambda name: "" if isinstance(before.get(name), dict) and isinstance(request.get(name), dict) else name
        differing = [line for name in other for line in _differences(before.get(name), request.get(name), within(name))]
        more = f", and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        raise OutputError(
            f"'{folder}' holds results of other {', '.join(kinds) or 'settings'}"
            + (f": {', '.join(differing[:SHOWN])}{more}." if differing else "."),
            "Choose another folder, or give the same command as before to go on.",
        )
    refuse_foreign(folder, stamp)
    write_json(path, request)


def _differences(before: Any, now: Any, path: str = "") -> list[str]:
    """List which values within two JSON objects differ, and how; empty if either of them is not an object."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        shown, wanted = map(_shown, (before, now))
        return [f"{path} was {shown}, is {wanted}"] if path else []
    if all(values and all(isinstance(text, str) for text in values.values()) for values in (before, now)):
        return [f"made with {_named(before)}, now {_named(now)}"]
    missing = object()
    names = [name for name in {**before, **now} if before.get(name, missing) != now.get(name, missing)]
    return [
        line
        for name in names
        for line in _differences(before.get(name), now.get(name), f"{path}.{name}" if path else str(name))
    ]


def _named(texts: Mapping[str, str]) -> str:
    """Format texts by name as a user enters them, such as prompts by label."""
    return ", ".join(f"'{text}'" if name == text else f"'{name}: {text}'" for name, text in texts.items())


def _shown(value: Any) -> str:
    return "not given" if value is None else repr(value) if len(repr(value)) <= 40 else "another"


def refuse_foreign(folder: Path, stamp: str) -> None:
    """Refuse a folder with other contents, before anything is written to it, even a lock.

    Raises:
        OutputError: the folder holds files but not the stamp of an earlier run.
    """
    if (
        folder.is_dir()
        and not (folder / stamp).is_file()
        and any(path.name != LOCK and not is_temporary(path) for path in folder.iterdir())
    ):
        raise OutputError(
            f"'{folder}' is not empty and holds no {stamp} of an earlier run.",
            "Choose a new folder; nothing was overwritten.",
        )


def lock_folder(folder: Path) -> TextIOWrapper:
    """Open and lock the lock file of an existing folder; for errors, see `claim`."""
    try:
        return lock_file(folder / LOCK)
    except BlockingIOError as error:
        raise OutputError(f"Another run is writing to '{folder}'.", "Wait for it, or choose another folder.") from error
