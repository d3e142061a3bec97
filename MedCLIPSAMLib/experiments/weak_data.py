"""Conversion of images, pseudo-labels and predictions between the experiment's cases and nnU-Net's files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError
from ..files.atomic import atomic_path
from ..nnunet.ensemble import Prediction
from ..segmentation.segmenter import TextSegmenter
from ..volumes import Segment, Volume, read_volume
from .prompted import TruthImage
from .weak_cases import shrink


def export_labels(
    prompt: str, cases: Sequence[TruthImage], segmenter: TextSegmenter, images: Path, dataset: Path
) -> tuple[dict[str, int], dict[str, np.ndarray]]:
    """Label images by text, with the same export that users run.

    Args:
        images: folder for the export's input files.
        dataset: folder that the export writes.

    Returns:
        Number of cases by status; and the masks, (H, W) bool by name, of the cases in which something was found.

    Raises:
        InputError: nothing was found in any image.
    """
    from ..export.cases import Case
    from ..export.engines import LocalEngine
    from ..export.export import export

    _write_images(images, cases)
    found = [Case(case.name, _file(images, case), {"target": prompt}) for case in cases]
    counts = export(found, LocalEngine(segmenter), dataset)
    files = {case.name: dataset / "labelsTr" / f"{case.name}.nii.gz" for case in cases}
    labels = {name: read_volume(path).array[0] > 0 for name, path in files.items() if path.is_file()}
    if not labels:
        raise InputError(f"Expected pseudo-labels to train on, got none: no '{prompt}' was found in {images}.")
    return counts, labels


def with_labels(cases: Sequence[TruthImage], labels: dict[str, np.ndarray]) -> list[TruthImage]:
    """Return the cases that have a pseudo-label, with it as their truth."""
    return [replace(case, truth=labels[case.name]) for case in cases if case.name in labels]


def write_dataset(out: Path, cases: Sequence[TruthImage], images: Path, longest: int | None) -> None:
    """Write images with their masks as an nnU-Net dataset, unless it was written before.

    Args:
        out: folder of the dataset.
        images: folder for the intermediate image files.
        longest: longer side in pixels; see `shrink`.
    """
    from ..export.dataset import write_case, write_description

    if (out / "dataset.json").is_file():
        return
    small = [shrink(case, longest) for case in cases]
    for case, volume in zip(small, read_images(images, small, longest)):
        write_case(out, case.name, "nnunet", volume, [Segment("target", case.truth[None])])
    write_description(out, "nnunet", ["target"], [case.name for case in small], "image")


def read_images(folder: Path, cases: Sequence[TruthImage], longest: int | None) -> list[Volume]:
    """Return images as nnU-Net reads them, by writing them as gray files and reading those."""
    _write_images(folder, [shrink(case, longest) for case in cases])
    return [read_volume(_file(folder, case)) for case in cases]


def mask_of(made: Prediction, case: TruthImage) -> np.ndarray:
    """Resize the probability map of the target to the size of a case and threshold it at one half."""
    height, width = case.truth.shape
    probability = Image.fromarray(made.probabilities[1, 0])
    return np.asarray(probability.resize((width, height), Image.Resampling.BILINEAR)) > 0.5


def _write_images(folder: Path, cases: Sequence[TruthImage]) -> None:
    """Write images as gray files, each atomically; existing files are not written again."""
    folder.mkdir(parents=True, exist_ok=True)
    for case in cases:
        if not _file(folder, case).is_file():
            with atomic_path(_file(folder, case)) as temporary:
                Image.fromarray(case.image[..., 0]).save(temporary)


def _file(folder: Path, case: TruthImage) -> Path:
    return folder / f"{case.name}.png"
