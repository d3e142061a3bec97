"""A long run that goes on where it was stopped: the results of finished slices in a folder beside the output.

The folder belongs to one run: its file run.json holds what the results depend on, image, prompts, models, settings. The
same request takes up what is there; another one begins anew. It is removed when the run is done.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ..errors import OutputError
from ..volumes.atomic import atomic_path
from .presence import Presence
from .sam_prompts import SamPrompts
from .segmenter import Result, Where


class ResumeFolder:
    """Results by slice, kept in a folder.

    Args:
        folder: made when the first slice is kept; what is there of another run is replaced.
        request: all that the results depend on, as JSON values; see `fingerprint`.

    Raises:
        OutputError: the folder cannot be written.
    """

    def __init__(self, folder: Path, request: Mapping[str, Any]) -> None:
        self._folder = folder
        self._request = json.dumps(request, sort_keys=True)
        described = folder / "run.json"
        if folder.exists() and (not described.is_file() or described.read_text(encoding="utf-8") != self._request):
            self.remove()
        self.done = {int(path.stem) for path in folder.glob("*.npz") if path.stem.isdigit()}

    def take(self, number: int) -> dict[str, Result] | None:
        """The results of a slice by prompt; None when it was not done, or its file is damaged."""
        if number not in self.done:
            return None
        try:
            with np.load(self._path(number), allow_pickle=False) as kept:
                described = json.loads(str(kept["results"]))
                return {
                    each["prompt"]: _result(each, {name: kept[f"{index}_{name}"] for name in _ARRAYS})
                    for index, each in enumerate(described)
                }
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
            return None

    def keep(self, number: int, results: Mapping[str, Result]) -> None:
        """Keep the results of a slice."""
        arrays = {
            f"{index}_{name}": array
            for index, result in enumerate(results.values())
            for name, array in _arrays(result).items()
        }
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not (self._folder / "run.json").exists():
                with atomic_path(self._folder / "run.json") as temporary:
                    temporary.write_text(self._request, encoding="utf-8")
            with atomic_path(self._path(number)) as temporary, open(temporary, "wb") as file:
                np.savez_compressed(file, results=json.dumps([_described(each) for each in results.values()]), **arrays)
        except OSError as error:
            raise OutputError(
                f"'{self._folder}' cannot be written: {error.strerror}.", "Choose another place for the output."
            ) from error
        self.done.add(number)

    def remove(self) -> None:
        """Remove the folder and all that is kept in it."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self.done = set()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:05d}.npz"


def fingerprint(voxels: np.ndarray, **request: Any) -> dict[str, Any]:
    """What a run depends on: a check sum of the voxels, and JSON values."""
    return {"voxels": hashlib.sha256(np.ascontiguousarray(voxels).tobytes()).hexdigest(), **request}


_ARRAYS = ("mask", "saliency", "coarse", "boxes", "points", "labels", "predicted_iou")


def _arrays(result: Result) -> dict[str, np.ndarray]:
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
