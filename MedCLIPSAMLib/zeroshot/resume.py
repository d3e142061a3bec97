"""A long run that goes on where it was stopped: its finished steps in a folder beside the output.

The folder belongs to one run: its file run.json holds what the results depend on, image, prompts, models, settings. The
same request takes up what is there; another one begins anew. It is removed when the run is done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ..errors import OutputError
from ..volumes.atomic import atomic_path
from ..volumes.unfinished import check_unfinished, discard_unfinished
from .presence import Presence
from .sam_prompts import SamPrompts
from .segmenter import Result, Where

Arrays = dict[str, np.ndarray]


class ResumeFolder:
    """Finished steps of a run, each a few arrays under a name, kept in a folder.

    Args:
        folder: made when the first step is kept; what is there of another run is replaced.
        request: all that the results depend on, as JSON values; see `fingerprint`.

    Raises:
        OutputError: the folder cannot be written.
    """

    def __init__(self, folder: Path, request: Mapping[str, Any]) -> None:
        self._folder, self._prefix = folder, ""
        self._request = json.dumps(request, sort_keys=True)
        described = folder / "run.json"
        check_unfinished(folder)
        if described.is_file() and described.read_text(encoding="utf-8", errors="replace") != self._request:
            self.remove()

    @property
    def count(self) -> int:
        """How many steps are kept."""
        return len(list(self._folder.glob(f"{self._prefix}*.npz")))

    def part(self, name: str) -> ResumeFolder:
        """The same folder for a part of the run, whose names begin with that of the part."""
        part = object.__new__(ResumeFolder)
        part._folder, part._request, part._prefix = self._folder, self._request, f"{self._prefix}{name}-"
        return part

    def take(self, name: str) -> Arrays | None:
        """The arrays of a step; None when it was not done, or its file is damaged."""
        try:
            with np.load(self._path(name), allow_pickle=False) as kept:
                return dict(kept)
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None

    def keep(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep the arrays of a step."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not (self._folder / "run.json").exists():
                with atomic_path(self._folder / "run.json") as temporary:
                    temporary.write_text(self._request, encoding="utf-8")
            with atomic_path(self._path(name)) as temporary, open(temporary, "wb") as file:
                np.savez_compressed(file, **arrays)
        except OSError as error:
            raise OutputError(
                f"'{self._folder}' cannot be written: {error.strerror}.",
                "Make room on the disk or choose another place for the output.",
            ) from error

    def drop(self, name: str) -> None:
        """Forget a step that is needed no more."""
        self._path(name).unlink(missing_ok=True)

    def take_results(self, name: str) -> dict[str, Result] | None:
        """Results by prompt, as `keep_results` kept them; None as for `take`."""
        arrays = self.take(name)
        try:
            return arrays and {
                each["prompt"]: _result(each, {field: arrays[f"{index}_{field}"] for field in _ARRAYS})
                for index, each in enumerate(json.loads(str(arrays["results"])))
            }
        except (ValueError, KeyError, TypeError):
            return None

    def keep_results(self, name: str, results: Mapping[str, Result]) -> None:
        """Keep results by prompt, which come of the full pipeline on a slice."""
        arrays = {
            f"{index}_{field}": array
            for index, result in enumerate(results.values())
            for field, array in _arrays(result).items()
        }
        described = np.array(json.dumps([_described(each) for each in results.values()]))
        self.keep(name, {"results": described, **arrays})

    def remove(self) -> None:
        """Remove the folder and all that is kept in it."""
        discard_unfinished(self._folder)

    def _path(self, name: str) -> Path:
        return self._folder / f"{self._prefix}{name}.npz"


def fingerprint(voxels: np.ndarray, **request: Any) -> dict[str, Any]:
    """What a run depends on: a check sum of the voxels, and JSON values."""
    return {"voxels": hashlib.sha256(np.ascontiguousarray(voxels).tobytes()).hexdigest(), **request}


_ARRAYS = ("mask", "saliency", "coarse", "boxes", "points", "labels", "predicted_iou")


def _arrays(result: Result) -> Arrays:
    prompts = result.sam_prompts
    saliency = result.where.saliency
    values = (result.mask, saliency, result.coarse, prompts.boxes, prompts.points, prompts.labels, result.predicted_iou)
    return dict(zip(_ARRAYS, values))


def _described(result: Result) -> dict[str, Any]:
    named = {name: getattr(result, name) for name in ("prompt", "score", "message", "seconds")}
    return named | {"presence": asdict(result.where.presence)}


def _result(described: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Result:
    return Result(
        prompt=described["prompt"],
        mask=arrays["mask"],
        score=described["score"],
        message=described["message"],
        where=Where(arrays["saliency"], Presence(**described["presence"])),
        coarse=arrays["coarse"],
        sam_prompts=SamPrompts(arrays["boxes"], arrays["points"], arrays["labels"]),
        predicted_iou=arrays["predicted_iou"],
        seconds=described["seconds"],
    )
