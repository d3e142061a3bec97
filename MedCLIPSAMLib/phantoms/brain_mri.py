"""Axial contrast-enhanced T1 brain phantoms.

They show scalp, skull, folded cortex, ventricles and vessels, and gliomas, meningiomas or pituitary tumors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from .fields import COLUMNS, ROWS, WHOLE, Cut, blob, cut, edge, noise, paint, random_position, to_uint8
from .phantom import SIZE, Lesion, Phantom, union

KINDS = ("glioma", "meningioma", "pituitary")


def _lesion(
    rng: np.random.Generator,
    image: np.ndarray,
    brain: np.ndarray,
    middle: tuple[float, float],
    taken: np.ndarray,
    at: Cut,
) -> tuple[np.ndarray, Lesion, np.ndarray]:
    """Draw one tumor; return the image, the `Lesion`, and the mask of its largest slice."""
    kind = KINDS[rng.choice(3, p=(0.45, 0.35, 0.20))]
    inside = ndimage.distance_transform_edt(brain)
    free = ndimage.distance_transform_edt(~taken) if taken.any() else np.full(brain.shape, 99.0)
    if kind == "pituitary":
        radius = rng.uniform(5.5, 9)
        near = np.hypot(ROWS - middle[0] - 12, COLUMNS - middle[1]) < 8
        allowed = near & (free > 1.6 * radius)
    elif kind == "meningioma":
        radius = rng.uniform(7, 14)
        falx = (np.abs(COLUMNS - middle[1]) < radius) & (np.abs(ROWS - middle[0]) > 22)
        allowed = brain & ((np.abs(inside - 0.8 * radius) < 2) | falx) & (inside > 0.6 * radius) & (free > 1.6 * radius)
    else:
        radius = rng.uniform(8, 16)
        allowed = (inside > 0.8 * radius) & (np.abs(COLUMNS - middle[1]) > 8) & (free > 1.6 * radius)
    center = random_position(rng, allowed if allowed.any() else inside > 8)
    stretch = rng.uniform(0.8, 1.25)
    radii = (radius * stretch, radius / stretch)
    rough, spikes = {"glioma": (0.10, 0.02), "meningioma": (0.04, 0.0), "pituitary": (0.04, 0.0)}[kind]
    largest = blob(rng, center, radii, rng.uniform(0, np.pi), rough, spikes)
    depth = cut(largest, at)
    if kind == "glioma":
        edema = cut(blob(rng, center, (1.7 * radii[0], 1.6 * radii[1]), rng.uniform(0, np.pi), 0.15), at)
        image = paint(image, 0.7 * edge(edema, 1.6 * radius, 5.0) * brain, rng.uniform(0.26, 0.34))
        ring = rng.uniform(0.72, 0.98) + 0.06 * noise(rng, 1.5)
        image = paint(image, edge(depth, radius, 1.8), ring)
        core = depth - rng.uniform(0.28, 0.5)
        image = paint(image, edge(core, radius, 2.5), rng.uniform(0.2, 0.45) + 0.05 * noise(rng, 2))
    else:
        image = paint(image, edge(depth, radius, 1.5), rng.uniform(0.75, 0.98) + 0.03 * noise(rng, 2))
    facts = {
        f"kind:{kind}",
        "shape:irregular" if kind == "glioma" else "shape:round",
        "size:large" if radius > 10.5 else "size:small",
        "tone:bright",
    }
    if abs(center[1] - middle[1]) > 6:
        facts.add("side:right" if center[1] < middle[1] else "side:left")
    return image, Lesion((depth > 0) & brain, frozenset(facts)), (largest > 0) & brain


def brain_mri(rng: np.random.Generator, lesions: int, cuts: Sequence[Cut] = ()) -> Phantom:
    """Draw an axial brain MRI with `lesions` tumors (0, 1 or 2).

    Args:
        cuts: where the slice cuts each tumor; through its middle by default.
    """
    middle = (SIZE / 2 + rng.uniform(-4, 4), SIZE / 2 + rng.uniform(-4, 4))
    radii = (rng.uniform(50, 57), rng.uniform(41, 48))
    angle = rng.uniform(-0.08, 0.08)
    state = rng.integers(2**31)
    outline = lambda d: blob(np.random.default_rng(state), middle, (radii[0] - d, radii[1] - d), angle, 0.012)
    head, skull, inner = map(outline, (0, 4, 8))
    brain = inner > 0
    scalp = rng.uniform(0.55, 0.8) + 0.08 * noise(rng, 3)
    image = paint(np.full((SIZE, SIZE), 0.02, np.float32), edge(head, 50, 1.5), scalp)
    image = paint(image, edge(skull, 46, 1.2), rng.uniform(0.05, 0.12))
    folds = noise(rng, 2.3) + 0.5 * noise(rng, 1.2)
    rim = np.clip(1 - np.abs(inner) * 42 / rng.uniform(6, 9), 0, 1)
    gray, white = rng.uniform(0.38, 0.44), rng.uniform(0.50, 0.57)
    tissue = white - (white - gray) * np.clip(rim * 1.2 + 0.35 * folds * rim, 0, 1) - 0.22 * (folds > 0.9) * rim
    tissue = tissue + 0.025 * noise(rng, 4)
    image = paint(image, edge(inner, 42, 1.2), tissue)
    wide = rng.uniform(0.8, 1.3)
    ventricles = np.full((SIZE, SIZE), -9.0, np.float32)
    for side in (-1, 1):
        for row, tilt in ((-9, -0.35), (9, 0.45)):
            horn = blob(rng, (middle[0] + row, middle[1] + side * 7), (11, 3.6 * wide), side * tilt, 0.04)
            ventricles = np.maximum(ventricles, horn)
    image = paint(image, edge(ventricles, 5, 1.5) * brain, rng.uniform(0.12, 0.2))
    falx = np.exp(-(((COLUMNS - middle[1]) / 0.9) ** 2)) * (np.abs(ROWS - middle[0]) > 20) * brain
    image = image + falx * rng.uniform(-0.15, 0.2)
    for _ in range(rng.integers(2, 8)):
        y, x = random_position(rng, brain)
        image = image + rng.uniform(0.2, 0.4) * np.exp(-((ROWS - y) ** 2 + (COLUMNS - x) ** 2) / rng.uniform(0.8, 2.5))
    found: list[Lesion] = []
    taken = np.zeros((SIZE, SIZE), bool)
    for index in range(lesions):
        image, lesion, place = _lesion(rng, image, brain, middle, taken, cuts[index] if cuts else WHOLE)
        taken = taken | place
        found.append(lesion)
    bias = 1 + rng.uniform(0.02, 0.10) * noise(rng, 30)
    image = ndimage.gaussian_filter(image * bias, rng.uniform(0.3, 0.7))
    image = np.abs(image + rng.uniform(0.01, 0.035) * noise(rng, 0.5))
    lesion_mask = union([lesion.mask for lesion in found])
    organs = {"brain": brain, "ventricles": (ventricles > 0) & brain & ~lesion_mask}
    facts = {"modality:MR", f"lesions:{lesions}"}
    return Phantom(to_uint8(image, 0, rng.uniform(0.9, 1.1)), "MR", frozenset(facts), tuple(found), organs)
