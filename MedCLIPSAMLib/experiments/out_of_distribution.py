"""Count how often a model warns about images: falsely on ones like its training images, rightly on others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import skimage
from PIL import Image

from ..errors import InputError
from ..models.clip import ClipModel
from ..run_context import RunContext
from ..starter.statistics import compute_features, find_seen_images, read_images
from ..volumes.raster import FORMATS

PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
    "text.png",
)
"""Photographs shipped with scikit-image, used as gray images."""
SEED = 12


def measure_ood_notes(
    clip: ClipModel, data: Path, count: int = 60, context: RunContext = RunContext()
) -> dict[str, dict[str, dict[str, float]]]:
    """Measure the fraction of images of the test split that a model warns about.

    Args:
        data: folder of the sets; the starter CLIP was not trained on fetal_head_us_hc18.
        count: maximum number of images of each set.

    Returns:
        {"seen" and "unseen": {kind: {"images", "warned": fraction, "median": ood_score}}}.

    Raises:
        InputError: the model has no feature statistics, or a set is missing.
    """
    known = clip.feature_statistics
    if known is None:
        raise InputError(f"The model '{clip.name}' has no statistics of its images.", "See 'starter statistics'.")
    turned = {
        f"{kind}, upside down": (np.ascontiguousarray(image[::-1]) for image in images)
        for kind, images in find_seen_images(data, "test", count // 2).items()
    }
    kinds = {
        "seen": find_seen_images(data, "test", count),
        "unseen": {
            "fetal heads in ultrasound (HC18)": read_images(data, "fetal_head_us_hc18", "test", count),
            "photographs": photographs(),
            "noise, black, gray and white": _noise(),
            **turned,
        },
    }
    measured: dict[str, dict[str, dict[str, float]]] = {}
    for group, by_kind in kinds.items():
        measured[group] = {}
        for kind, images in by_kind.items():
            values = known.ood_score(compute_features(clip, images, context.titled(kind))).numpy()
            measured[group][kind] = {
                "images": len(values),
                "warned": float((values > 1).mean()),
                "median": float(np.median(values)),
            }
    return measured


def photographs() -> Iterator[np.ndarray]:
    """Read the photographs of scikit-image as gray images, (H, W, 3) uint8."""
    folder = Path(skimage.__file__).parent / "data"
    for name in PHOTOGRAPHS:
        if (folder / name).is_file():
            with Image.open(folder / name, formats=FORMATS) as image:
                yield np.array(image.convert("L").convert("RGB"))


def _noise() -> Iterator[np.ndarray]:
    rng = np.random.default_rng(SEED)
    for _ in range(7):
        yield np.repeat(rng.integers(0, 256, (200, 200, 1), dtype=np.uint8), 3, axis=2)
    for level in (0, 128, 255):
        yield np.full((200, 200, 3), level, np.uint8)
