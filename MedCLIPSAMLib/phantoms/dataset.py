"""Phantoms by split and index: an index gives the same phantom on every machine, and splits never share one."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError
from ..files.atomic import atomic_path
from ..run_context import RunContext
from .brain_mri import brain_mri
from .breast_us import breast_us
from .captions import all_texts
from .chest_xray import chest_xray
from .lung_ct import lung_ct
from .phantom import Phantom

SPLITS = {"train": 1, "validation": 2, "test": 3, "samples": 4}
"""Seeds of the splits. Nothing was ever chosen on `test`; `samples` are the shipped images."""

MODALITIES = ("US", "MR", "XR", "CT")
_TURNS = ("US", "CT", "MR", "CT", "XR", "CT", "MR", "US")  # nodules are the hardest to learn, lungs the easiest
_LESION_COUNTS = (0.35, 0.45, 0.20)


def split_number(split: str) -> int:
    """Return the number of a split, which seeds its phantoms."""
    if split not in SPLITS:
        raise InputError(f"Expected one of the splits {', '.join(SPLITS)}, got '{split}'.", "Choose one of them.")
    return SPLITS[split]


def make_phantom(split: str, index: int, modality: str | None = None, lesions: int | None = None) -> Phantom:
    """Make phantom number `index` of a split.

    Args:
        modality: one of `MODALITIES`; None takes them in turn.
        lesions: 0, 1 or 2; None draws the number at random. Chest X-rays have no lesions.
    """
    modality = modality or _TURNS[index % len(_TURNS)]
    rng = np.random.default_rng([split_number(split), MODALITIES.index(modality), index])
    drawn = int(rng.choice(3, p=_LESION_COUNTS))
    if modality == "XR":
        return chest_xray(rng)
    lesions = drawn if lesions is None else lesions
    return {"US": breast_us, "MR": brain_mri, "CT": lung_ct}[modality](rng, lesions)


def make_many(split: str, count: int) -> list[Phantom]:
    """Make the first `count` phantoms of a split in two processes."""
    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(partial(make_phantom, split), range(count), chunksize=16))


def write_phantoms(folder: Path, split: str, count: int, context: RunContext = RunContext()) -> None:
    """Write images (images/NAME.png), truth masks (truth/NAME_TARGET.png, 0 or 255) and captions.jsonl into `folder`.

    A caption line holds the image's name, its captions, its facts and the names of its masks.
    """
    texts = [text for text in all_texts() if not text.impossible]
    for name in ("images", "truth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    lines = []
    for index in range(count):
        phantom = make_phantom(split, index)
        name = f"{split}_{index:05d}_{phantom.modality.lower()}"
        masks = {"lesion": phantom.lesion_mask, "lungs": phantom.lungs_mask, **phantom.organs}
        masks = {key.replace(" ", "_"): mask for key, mask in masks.items() if mask.any()}
        _write_png(folder / "images" / f"{name}.png", phantom.image)
        for key, mask in masks.items():
            _write_png(folder / "truth" / f"{name}_{key}.png", mask.astype(np.uint8) * 255)
        captions = sorted({text.text for text in texts if text.region(phantom) is not None})
        line = {"image": f"images/{name}.png", "captions": captions, "facts": sorted(phantom.facts)}
        lines.append(json.dumps(line | {"masks": sorted(masks)}) + "\n")
        context.report(index + 1, count, name)
    with atomic_path(folder / "captions.jsonl") as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def _write_png(path: Path, image: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary)
