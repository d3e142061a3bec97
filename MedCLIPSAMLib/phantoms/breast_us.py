"""Breast ultrasound phantoms.

They show skin, fat, gland, muscle and speckle, benign or malignant tumors, fat lobules and shadows.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .fields import COLUMNS, ROWS, blob, edge, noise, paint, random_position, to_uint8
from .phantom import SIZE, Lesion, Phantom, union


def _layers(rng: np.random.Generator) -> np.ndarray:
    """Draw the echogenicity of the tissue layers, (SIZE, SIZE), before lesions and speckle."""
    depth = ROWS / SIZE
    wave = lambda amplitude: amplitude * ndimage.gaussian_filter1d(rng.standard_normal(SIZE), 14, mode="wrap") * 5
    echo = np.full((SIZE, SIZE), rng.uniform(0.10, 0.18), np.float32)
    boundaries = [rng.uniform(0.82, 0.95), rng.uniform(0.62, 0.76), rng.uniform(0.16, 0.30), rng.uniform(0.03, 0.06)]
    values = [rng.uniform(0.22, 0.32), rng.uniform(0.48, 0.62), rng.uniform(0.30, 0.38), rng.uniform(0.75, 0.9)]
    for boundary, value in zip(boundaries, values):
        above = edge(boundary + wave(0.02)[None, :] - depth, SIZE, 3.0)
        echo = paint(echo, above, value)
    echo += 0.09 * noise(rng, (3, 9)) + 0.07 * noise(rng, (1.2, 4))
    fascia = boundaries[1] + wave(0.015)[None, :]
    echo += 0.35 * np.exp(-(((depth - fascia) * SIZE / 1.5) ** 2))
    return echo


def _add_lesion(rng: np.random.Generator, echo: np.ndarray, taken: np.ndarray) -> tuple[np.ndarray, Lesion]:
    malignant = rng.random() < 0.5
    size = rng.uniform(9, 20)
    ratio = rng.uniform(0.95, 1.35) if malignant else rng.uniform(0.55, 0.85)
    radii = (size * np.sqrt(ratio), size / np.sqrt(ratio))
    allowed = ndimage.distance_transform_edt(~taken) > 1.3 * max(radii) if taken.any() else np.ones_like(taken)
    inside = (
        (np.abs(COLUMNS - SIZE / 2) < SIZE / 2 - 0.8 * radii[1])
        & (ROWS > 0.14 * SIZE + radii[0])
        & (ROWS < 0.80 * SIZE - 0.6 * radii[0])
    )
    center = random_position(rng, allowed & inside if (allowed & inside).any() else inside)
    depth = blob(rng, center, radii, rng.uniform(-0.3, 0.3), 0.08 if malignant else 0.03, 0.03 if malignant else 0.0)
    mask = depth > 0
    below = (ROWS > center[0]) * np.exp(-(((COLUMNS - center[1]) / (0.75 * radii[1])) ** 4))
    if malignant:
        echo = echo * (1 - rng.uniform(0.35, 0.65) * ndimage.gaussian_filter(below.astype(np.float32), 2))
        echo = echo + 0.12 * np.exp(-((depth * size / 3) ** 2)) * (depth < 0)
        inner = rng.uniform(0.10, 0.20) + 0.04 * noise(rng, 3)
    else:
        echo = echo * (1 + rng.uniform(0.15, 0.45) * ndimage.gaussian_filter(below.astype(np.float32), 2))
        inner = rng.uniform(0.05, 0.17) + 0.015 * noise(rng, 3)
    echo = paint(echo, edge(depth, size, 2.5 if malignant else 1.2), inner)
    facts = {
        "kind:malignant" if malignant else "kind:benign",
        "shape:irregular" if malignant else "shape:oval",
        "size:large" if size > 15 else "size:small",
        "level:deep" if center[0] > 0.5 * SIZE else "level:shallow",
        "tone:dark",
    }
    return echo, Lesion(mask, frozenset(facts))


def breast_us(rng: np.random.Generator, lesions: int) -> Phantom:
    """Draw a breast ultrasound with `lesions` tumors (0, 1 or 2)."""
    echo = _layers(rng)
    organs: dict[str, np.ndarray] = {}
    for index in range(rng.integers(0, 4)):
        radii = (rng.uniform(4, 8), rng.uniform(8, 15))
        middle = (rng.uniform(0.3, 0.65) * SIZE, rng.uniform(0.1, 0.9) * SIZE)
        lobule = blob(rng, middle, radii, rng.uniform(-0.3, 0.3), 0.04)
        echo = paint(echo, edge(lobule, radii[0], 1.5), rng.uniform(0.31, 0.38))
        echo += 0.12 * np.exp(-((lobule * radii[0] / 1.2) ** 2))
        organs[f"fat lobule {index + 1}"] = lobule > 0
    if rng.random() < 0.35:
        shadow = np.exp(-(((COLUMNS - rng.uniform(0, SIZE)) / rng.uniform(4, 9)) ** 2))
        shadow = shadow * (ROWS > rng.uniform(0.05, 0.3) * SIZE)
        echo = echo * (1 - rng.uniform(0.2, 0.5) * ndimage.gaussian_filter(shadow.astype(np.float32), 2))
    found: list[Lesion] = []
    for _ in range(lesions):
        echo, lesion = _add_lesion(rng, echo, union([lesion.mask for lesion in found]))
        found.append(lesion)
    organs = {name: mask & ~union([lesion.mask for lesion in found]) for name, mask in organs.items()}
    for _ in range(rng.integers(0, 5)):
        row, column = rng.uniform(0.15, 0.8) * SIZE, rng.uniform(0, SIZE)
        echo += 0.5 * np.exp(-((ROWS - row) ** 2 + (COLUMNS - column) ** 2) / 1.2)
    speckle = np.hypot(noise(rng, (0.55, 1.0)), noise(rng, (0.55, 1.0))) / np.sqrt(np.pi / 2)
    gain = np.exp(-rng.uniform(0.1, 0.7) * ROWS / SIZE)
    signal = np.clip(echo, 0.01, None) * gain * (1 - (mix := rng.uniform(0.55, 0.85)) + mix * speckle)
    dynamic = rng.uniform(12, 30)
    image = np.log1p(dynamic * signal) / np.log1p(dynamic * rng.uniform(0.9, 1.2))
    facts = {"modality:US", f"lesions:{lesions}"}
    return Phantom(to_uint8(image), "US", frozenset(facts), tuple(found), organs)
