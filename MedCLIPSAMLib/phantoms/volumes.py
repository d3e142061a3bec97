"""Phantom volumes with truth masks: stacks of axial slices with gradually changing anatomy, lesions and texture.

A volume is one patient of `brain_mri` or `lung_ct`, cut at many heights: every slice uses the same random numbers, with
its height as a parameter. Lesions appear, grow, shrink and vanish; some split into two.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from .brain_mri import brain_mri
from .dataset import MODALITIES, split_number
from .fields import Cut
from .lung_ct import lung_ct
from .phantom import SIZE, Phantom

THICKNESS = {"MR": 3.0, "CT": 2.5}
"""Slice spacing in mm; a pixel is 1 mm."""
TRAINING_SLICES = 20
TRACE = 14
"""Minimum area in pixels of a lesion on a slice that clearly shows it."""
TURN = 0.22
"""Angle in radians by which texture drifts from slice to slice: after seven slices it is a different one."""


@dataclass(frozen=True)
class VolumePhantom:
    """A synthetic volume with its truth masks; slice 0 is the lowest, and slices are in radiological orientation.

    Args:
        slices: (K, SIZE, SIZE) uint8.
        modality: "MR" or "CT".
        lesions: one mask per lesion, (K, SIZE, SIZE) bool.
        organs: masks by name, (K, SIZE, SIZE) bool.
        spacing: mm along (slices, rows, columns).
    """

    slices: np.ndarray
    modality: str
    lesions: tuple[np.ndarray, ...]
    organs: dict[str, np.ndarray]
    spacing: tuple[float, float, float]

    @property
    def lesion_mask(self) -> np.ndarray:
        """Union of the lesions, (K, SIZE, SIZE) bool."""
        return np.any(self.lesions, axis=0) if self.lesions else np.zeros(self.slices.shape, bool)

    @property
    def lungs_mask(self) -> np.ndarray:
        """Both lungs, (K, SIZE, SIZE) bool."""
        lungs = [mask for name, mask in self.organs.items() if name.endswith("lung")]
        return np.any(lungs, axis=0) if lungs else np.zeros(self.slices.shape, bool)


class _DriftingGenerator(np.random.Generator):
    """A generator of the same random numbers for every slice, except for texture, which drifts from slice to slice."""

    def __init__(self, seed: int, angle: float) -> None:
        super().__init__(np.random.PCG64(seed))
        self._angle = angle

    def standard_normal(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        first = super().standard_normal(size, dtype, out)
        if size != (SIZE, SIZE):
            return first
        return np.cos(self._angle) * first + np.sin(self._angle) * super().standard_normal(size, dtype)


def make_volume(split: str, index: int, modality: str, lesions: int | None = None, count: int = 24) -> VolumePhantom:
    """Make phantom volume number `index` of a split.

    Args:
        modality: "MR" or "CT".
        lesions: 0, 1 or 2; None draws the number at random.
        count: number of slices.
    """
    made, lesions = _sections(split, index, modality, lesions, count)
    names = made[0].organs
    return VolumePhantom(
        np.stack([section.image for section in made]),
        modality,
        tuple(np.stack([section.lesions[number].mask for section in made]) for number in range(lesions)),
        {name: np.stack([section.organs[name] for section in made]) for name in names},
        (THICKNESS[modality], 1.0, 1.0),
    )


def make_sections(split: str, index: int, modality: str, count: int = 24) -> list[Phantom]:
    """Draw the slices of volume number `index` as separate images, each with its facts.

    Slices with only a trace of a lesion (see `TRACE`) are left out: whether they show it is a matter of opinion.
    """
    placed = []
    for section in _sections(split, index, modality, None, count)[0]:
        areas = [lesion.mask.sum() for lesion in section.lesions]
        shown = tuple(lesion for lesion, area in zip(section.lesions, areas) if area >= TRACE)
        if any(0 < area < TRACE for area in areas):
            continue
        facts = {f"modality:{modality}", f"lesions:{len(shown)}"}
        if modality == "CT":
            facts.add("kind:abnormal" if shown else "kind:normal")
        placed.append(Phantom(section.image, modality, frozenset(facts), shown, section.organs))
    return placed


def _sections(split: str, index: int, modality: str, lesions: int | None, count: int) -> tuple[list[Phantom], int]:
    """Draw all slices of a volume, each with the (possibly empty) masks of all lesions; also return their number."""
    rng = np.random.default_rng([split_number(split), len(MODALITIES) + MODALITIES.index(modality), index])
    drawn, seed = int(rng.choice(3, p=(0.2, 0.5, 0.3))), int(rng.integers(2**31))
    lesions = drawn if lesions is None else lesions
    spans = [_span(rng, count) for _ in range(2)][:lesions]
    top, drift = rng.uniform(0.62, 0.8), rng.uniform(-3, 3, 2)
    return [
        _section(seed, modality, k, count, [span(k) for span in spans], top, drift, int(rng.integers(2**31)))
        for k in range(count)
    ], lesions


def _span(rng: np.random.Generator, count: int) -> Callable[[int], Cut]:
    """Draw a lesion's extent along the slices, as a function from slice number to `Cut`."""
    middle, half = rng.uniform(0.3, 0.7) * count, rng.uniform(0.12, 0.28) * count
    splits = rng.random() < 0.2
    speed, turn = rng.uniform(0.8, 1.6), middle + rng.uniform(-0.3, 0.3) * half

    def at(k: int) -> Cut:
        size = np.sqrt(max(0.0, 1 - ((k - middle) / half) ** 2))
        return Cut(float(size), float(speed * max(0.0, k - turn)) if splits else 0.0)

    return at


def _section(
    seed: int, modality: str, k: int, count: int, cuts: list[Cut], top: float, drift: np.ndarray, noise_seed: int
) -> Phantom:
    """Draw slice k of a head or chest, which gets smaller towards the top and is slightly tilted."""
    height = k / (count - 1)
    generator = _DriftingGenerator(seed, TURN * k)
    if modality == "MR":
        phantom = brain_mri(generator, len(cuts), cuts)
        scale = np.sqrt(1 - (1 - top**2) * (abs(height - 0.4) / 0.6) ** 2)
    else:
        lungs = np.sqrt(max(0.0, 1 - (abs(height - 0.5) / 0.56) ** 2))
        phantom = lung_ct(generator, len(cuts), cuts, Cut(float(max(lungs, 0.35)) if lungs < 0.9 else 1.0))
        scale = 1 - (1 - top) * 0.5 * height**2
    move = lambda array, order: _move(array, scale, (height - 0.5) * drift, order)
    rng = np.random.default_rng(noise_seed)
    image = move(phantom.image.astype(np.float32), 1) + 2.0 * rng.standard_normal((SIZE, SIZE))
    lesions = tuple(
        type(lesion)(move(lesion.mask.astype(np.float32), 1) > 0.5, lesion.facts) for lesion in phantom.lesions
    )
    organs = {name: move(mask.astype(np.float32), 1) > 0.5 for name, mask in phantom.organs.items()}
    return Phantom(np.clip(image, 0, 255).astype(np.uint8), modality, phantom.facts, lesions, organs)


def _move(array: np.ndarray, scale: float, offset: np.ndarray, order: int) -> np.ndarray:
    """Shrink a slice about its middle and shift it by an offset in pixels (rows, columns)."""
    middle = (SIZE - 1) / 2
    return ndimage.affine_transform(
        array, np.full(2, 1 / scale), middle - (middle + offset) / scale, order=order, mode="nearest"
    )


def many_volumes(split: str, count: int, workers: int = 2) -> list[VolumePhantom]:
    """Make the first `count` volumes of a split for training, half MR and half CT, in `workers` processes."""
    return _many(make_volume, split, count, workers)


def many_sections(split: str, count: int) -> list[Phantom]:
    """Return the slices of the same volumes (see `make_sections`), made in two processes."""
    return [section for sections in _many(make_sections, split, count, 2) for section in sections]


def _many(make: Callable, split: str, count: int, workers: int) -> list:
    with ProcessPoolExecutor(workers) as pool:
        running = [
            pool.submit(make, split, index, modality, count=TRAINING_SLICES)
            for modality in ("MR", "CT")
            for index in range(count // 2)
        ]
        return [future.result() for future in running]
