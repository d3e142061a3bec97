"""Checkpoints of a long run, which resumes where it was stopped: its finished steps in a folder beside the output.

The folder belongs to one run: its file run.json holds what the results depend on, such as image, prompts, models and
settings. The same request resumes from it; another request starts over. A completed run removes the folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from .errors import PATH, OutputError, check_type
from .files.atomic import atomic_path
from .files.unfinished import DESCRIPTION, check_unfinished, discard_unfinished
from .renamed_settings import with_current_names

Arrays = dict[str, np.ndarray]


class CheckpointFolder:
    """A folder with the finished steps of a run, each a few named arrays.

    Args:
        folder: created when the first step is stored.

    Raises:
        InputError: `folder` is not a path.
    """

    def __init__(self, folder: Path | str) -> None:
        check_type(folder, PATH, "a folder for checkpoints")
        self._folder, self._prefix = Path(folder), ""
        self._request: str | None = None

    def open(self, request: Mapping[str, Any]) -> None:
        """Open the steps of this request, and remove those of another request.

        Args:
            request: everything that the results depend on, as JSON values; see `fingerprint`.

        Raises:
            OutputError: the folder holds something that does not belong to a run.
        """
        check_unfinished(self._folder)
        self._request = json.dumps(request, sort_keys=True)
        described = self._folder / DESCRIPTION
        if described.is_file() and _read_request(described) != self._request:
            self.remove()

    @property
    def count(self) -> int:
        """Number of stored steps; 0 before `open` is called."""
        return 0 if self._request is None else len(list(self._folder.glob(f"{self._prefix}*.npz")))

    def part(self, name: str) -> CheckpointFolder:
        """Open the same folder for a part of the run; the names of its steps begin with the name of the part."""
        part = CheckpointFolder(self._folder)
        part._request, part._prefix = self._request, f"{self._prefix}{name}-"
        return part

    def load(self, name: str) -> Arrays | None:
        """Load the arrays of a step; None if the step is not stored or its file is damaged."""
        try:
            with np.load(self._path(name), allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None

    def store(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Store the arrays of a step.

        Raises:
            OutputError: the folder cannot be written. RuntimeError: the folder is not open.
        """
        if self._request is None:
            raise RuntimeError("Expected an open checkpoint folder; call open first.")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not (self._folder / DESCRIPTION).exists():
                with atomic_path(self._folder / DESCRIPTION) as temporary:
                    temporary.write_text(self._request, encoding="utf-8")
            with atomic_path(self._path(name)) as temporary, open(temporary, "wb") as file:
                np.savez_compressed(file, allow_pickle=False, **arrays)
        except OSError as error:
            raise OutputError(
                f"'{self._folder}' cannot be written: {error.strerror}.",
                "Make room on the disk or choose another place for the output.",
            ) from error

    def discard(self, name: str) -> None:
        """Remove a step that is no longer needed."""
        self._path(name).unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the steps, and the folder if nothing else is in it; does nothing before `open`."""
        if self._request is not None:
            discard_unfinished(self._folder)

    def _path(self, name: str) -> Path:
        return self._folder / f"{self._prefix}{name}.npz"


def _read_request(path: Path) -> str | None:
    """Read a request as `CheckpointFolder` writes it; None if the file is damaged."""
    try:
        return json.dumps(with_current_names(json.loads(path.read_text(encoding="utf-8"))), sort_keys=True)
    except ValueError:
        return None


def fingerprint(voxels: np.ndarray, **request: Any) -> dict[str, Any]:
    """Describe what the results of a run depend on: a checksum of the voxels, and JSON values."""
    return {"voxels": hashlib.sha256(np.ascontiguousarray(voxels).tobytes()).hexdigest(), **request}
