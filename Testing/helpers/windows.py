"""File behavior of Windows, imitated on Linux: no removal or renaming of open or mapped files, and separate drives."""

import ntpath
import os
from pathlib import Path


def uses(path):
    """Tell whether this process has a file, or any file in a folder, open or mapped into memory."""
    opened = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    mapped = [line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text().splitlines()]
    return any(Path(name) == path or path in Path(name).parents for name in (*opened, *mapped))


def refuse_open_files(monkeypatch):
    """Let removing and renaming open files fail as on Windows."""

    def refusing(act):
        def run(*paths, **named):
            if busy := [path for path in paths if uses(Path(path).absolute())]:
                error = PermissionError(13, "The process cannot access the file", str(busy[0]))
                error.winerror = 32
                raise error
            return act(*paths, **named)

        return run

    for name in ("unlink", "remove", "rename", "replace"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    monkeypatch.setattr("shutil._use_fd_functions", False)


def set_drive_apart(monkeypatch, drive):
    """Let relative paths between a folder and the rest of the disk fail, as between drives on Windows."""

    def apart(act, of_windows):
        def run(*arguments):
            several = isinstance(arguments[0], list | tuple)
            paths = [Path(path).absolute() for path in (arguments[0] if several else arguments)]
            named = [("D:" if path.is_relative_to(drive) else "C:") + str(path) for path in paths]
            of_windows(*([named] if several else named))  # raises its ValueError
            return act(*arguments)

        return run

    for name in ("relpath", "commonpath"):
        monkeypatch.setattr(os.path, name, apart(getattr(os.path, name), getattr(ntpath, name)))
