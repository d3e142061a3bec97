"""Axial chest CT phantoms in the lung window.

They show lungs with vessels, heart, spine and ribs, and nodules and vessel cross-sections that look like nodules.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from .fields import COLUMNS, ROWS, WHOLE, Cut, blob, cut, edge, noise, paint, random_position, to_uint8
from .phantom import SIZE, Lesion, Phantom


def _vessels(
    rng: np.random.Generator, image: np.ndarray, lung: np.ndarray, hilum: tuple[float, float], place: np.ndarray
) -> np.ndarray:
    """Draw vessels that run from the hilum outwards and get thinner, and cross-sections of vessels as small dots.

    Args:
        lung: mask of the lung in this slice, in which the vessels are visible.
        place: mask of the lung at its largest, in which the vessels run.
    """
    track = np.zeros_like(image)
    for _ in range(rng.integers(4, 8)):
        end = random_position(rng, place)
        t = np.linspace(0, 1, 40)
        bend = rng.normal(0, 4)
        rows = hilum[0] + t * (end[0] - hilum[0]) + bend * np.sin(np.pi * t)
        columns = hilum[1] + t * (end[1] - hilum[1]) - bend * np.sin(np.pi * t)
        inside = (rows >= 0) & (rows < SIZE - 1) & (columns >= 0) & (columns < SIZE - 1)
        np.maximum.at(
            track, (rows[inside].astype(int), columns[inside].astype(int)), (1.3 - t)[inside].astype(np.float32)
        )
    image = np.maximum(image, np.clip(2.2 * ndimage.gaussian_filter(track, 0.8), 0, 0.75) * lung)
    for _ in range(rng.integers(3, 9)):
        row, column = random_position(rng, place)
        dot = np.exp(-((ROWS - row) ** 2 + (COLUMNS - column) ** 2) / rng.uniform(0.7, 2.6))
        image = np.maximum(image, rng.uniform(0.45, 0.8) * dot * lung)
    return image


def lung_ct(rng: np.random.Generator, lesions: int, cuts: Sequence[Cut] = (), lung_cut: Cut = WHOLE) -> Phantom:
    """Draw an axial chest CT slice with `lesions` nodules (0, 1 or 2).

    Args:
        cuts, lung_cut: where the slice cuts each nodule, and the lungs; through their middle by default.
    """
    center = (SIZE / 2 + rng.uniform(-4, 4), SIZE / 2 + rng.uniform(-4, 4))
    body = blob(rng, center, (rng.uniform(40, 48), rng.uniform(54, 60)), 0, 0.015)
    image = paint(np.full((SIZE, SIZE), 0.02, np.float32), edge(body, 45, 1.2), rng.uniform(0.62, 0.70))
    wall = blob(rng, center, (rng.uniform(35, 38), rng.uniform(47, 50)), 0, 0.02)
    image = paint(image, edge(wall, 36, 1.5), rng.uniform(0.74, 0.82))
    depths = {}
    for name, side in (("right lung", -1), ("left lung", 1)):
        radii = (rng.uniform(26, 32), rng.uniform(16, 20) * (0.92 if side > 0 else 1.0))
        middle = (center[0] + rng.uniform(-2, 2), center[1] + side * rng.uniform(25, 28))
        depths[name] = blob(rng, middle, radii, side * rng.uniform(0.0, 0.2), 0.045)
    middle = (center[0] - 6, center[1] + rng.uniform(4, 8))
    heart = blob(rng, middle, (rng.uniform(13, 19), rng.uniform(13, 19)), 0.5, 0.04)
    places, lungs = (
        {
            name: ndimage.binary_opening((cut(depth, at) > 0) & ~(heart > 0) & (wall > 0.04), iterations=1)
            for name, depth in depths.items()
        }
        for at in (WHOLE, lung_cut)
    )
    both = lungs["left lung"] | lungs["right lung"]
    air = ndimage.gaussian_filter(both.astype(np.float32), 0.6)
    image = paint(image, air, rng.uniform(0.12, 0.22) + 0.02 * noise(rng, 6) + 0.025 * noise(rng, 1.0))
    image = paint(image, edge(heart, 16, 1.5) * (1 - air), rng.uniform(0.78, 0.9))
    spine = blob(rng, (center[0] + 27, center[1]), (8, 8), 0, 0.05)
    image = paint(image, edge(spine, 8, 1.5), 0.98)
    aorta = blob(rng, (center[0] + 17, center[1] + 8), (5, 5), 0, 0.03)
    image = paint(image, edge(aorta, 5, 1.2) * (1 - both), 0.88)
    for angle in np.arange(0, 2 * np.pi, rng.uniform(0.45, 0.6)) + rng.uniform(0, 0.4):
        position = (center[0] + 37.5 * np.sin(angle), center[1] + 50.5 * np.cos(angle))
        image = paint(image, edge(blob(rng, position, (2.2, 4.5), angle, 0.0), 3, 1.2) * ~both, 0.97)
    for name, side in (("right lung", -1), ("left lung", 1)):
        image = _vessels(rng, image, lungs[name], (center[0] + 2, center[1] + side * 13), places[name])
    found: list[Lesion] = []
    taken = np.zeros((SIZE, SIZE), bool)
    for index in range(lesions):
        radius = rng.uniform(4.0, 8.5)
        name = ("left lung", "right lung")[rng.integers(2)]
        inside = ndimage.distance_transform_edt(places[name])
        allowed = (inside > 0.6 * radius) & (ndimage.distance_transform_edt(~taken) > 2.2 * radius)
        position = random_position(rng, allowed if allowed.any() else inside > 0.5 * inside.max())
        spiculated = rng.random() < 0.4
        rough, spikes, width = (0.06, 0.04, 1.6) if spiculated else (0.03, 0.0, 1.1)
        stretch = rng.uniform(0.85, 1.18)
        largest = blob(rng, position, (radius * stretch, radius / stretch), rng.uniform(0, 3), rough, spikes)
        depth = cut(largest, cuts[index] if cuts else WHOLE)
        tone = rng.uniform(0.58, 0.82) + 0.03 * noise(rng, 1.5)
        image = paint(image, edge(depth, radius, width) * (wall > 0.02), tone)
        mask, place = (depth > 0) & (wall > 0.02), (largest > 0) & (wall > 0.02)
        taken |= place
        lungs[name] = lungs[name] | (mask & ndimage.binary_dilation(lungs[name], iterations=2))
        places[name] = places[name] | (place & ndimage.binary_dilation(places[name], iterations=2))
        facts = {
            f"side:{name.split()[0]}",
            "kind:spiculated" if spiculated else "kind:smooth",
            "size:large" if radius > 6.2 else "size:small",
            "level:anterior" if position[0] < center[0] else "level:posterior",
            "tone:bright",
        }
        found.append(Lesion(mask, frozenset(facts)))
    image = ndimage.gaussian_filter(image, rng.uniform(0.25, 0.6)) + rng.uniform(0.01, 0.035) * noise(rng, 0.5)
    facts = {"modality:CT", f"lesions:{lesions}", "kind:abnormal" if lesions else "kind:normal"}
    organs = dict(lungs, heart=(heart > 0) & ~lungs["left lung"] & ~lungs["right lung"])
    return Phantom(to_uint8(image), "CT", frozenset(facts), tuple(found), organs)
