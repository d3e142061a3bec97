"""Frontal chest X-ray phantoms.

They show lungs, heart, mediastinum, diaphragm, ribs and clavicles; normal, with pneumonia or with COVID-19.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .fields import COLUMNS, ROWS, blob, edge, noise, random_position, to_uint8
from .phantom import SIZE, Phantom

KINDS = ("normal", "pneumonia", "covid")


def _ribs(rng: np.random.Generator, center: float) -> np.ndarray:
    """Draw the attenuation of about nine pairs of ribs, (SIZE, SIZE)."""
    ribs = np.zeros((SIZE, SIZE), np.float32)
    spacing, start, slope = rng.uniform(9.5, 11.5), rng.uniform(10, 18), rng.uniform(0.25, 0.5)
    lateral = np.abs(COLUMNS - center)
    for index in range(9):
        posterior = start + index * spacing + slope * lateral - 0.012 * (lateral - 10) ** 2
        anterior = start + 14 + index * spacing + 0.55 * (46 - lateral)
        ribs += np.exp(-(((ROWS - posterior) / 2.0) ** 4)) * (lateral < 50)
        ribs += 0.45 * np.exp(-(((ROWS - anterior) / 2.2) ** 4)) * (lateral > 20) * (lateral < 50)
    return ndimage.gaussian_filter(ribs, 0.8)


def chest_xray(rng: np.random.Generator) -> Phantom:
    """Draw a frontal chest X-ray of one of `KINDS`."""
    kind = KINDS[rng.choice(3, p=(0.5, 0.25, 0.25))]
    center = SIZE / 2 + rng.uniform(-5, 5)
    top, height = rng.uniform(14, 24), rng.uniform(34, 42)
    lungs = {}
    for name, side in (("right lung", -1), ("left lung", 1)):
        width = rng.uniform(18, 23) * (0.93 if side > 0 else 1.0)
        middle = (top + height, center + side * rng.uniform(25, 28))
        low_edge = blob(rng, middle, (height, width), -side * rng.uniform(0.05, 0.16), 0.025)
        dome_row = top + 1.62 * height + rng.uniform(-3, 3) + (3 if side > 0 else 0)
        dome = dome_row + 0.013 * (COLUMNS - center - side * 22) ** 2
        lungs[name] = (low_edge > 0) & (ROWS < dome)
    middle = (top + 1.35 * height, center + rng.uniform(6, 10))
    heart = blob(rng, middle, (rng.uniform(17, 23), rng.uniform(18, 25)), 0.5, 0.03)
    spine = np.exp(-(((COLUMNS - center) / rng.uniform(8, 11)) ** 4))
    body = blob(rng, (SIZE * 0.72, center), (SIZE * 0.82, SIZE * 0.47), 0, 0.01)
    shoulders = np.clip((np.abs(COLUMNS - center) - 34) / 20, 0, 1) * np.clip((30 - ROWS) / 25, 0, 1)
    beside = ~(heart > 0) & (np.abs(COLUMNS - center) > 7)
    lungs = {name: ndimage.binary_opening(mask & beside, iterations=2) for name, mask in lungs.items()}
    air = ndimage.gaussian_filter((lungs["left lung"] | lungs["right lung"]).astype(np.float32), 1.0)
    attenuation = 0.62 * edge(body, 50, 4) + 0.22 * shoulders * edge(body, 50, 4)
    attenuation = attenuation - rng.uniform(0.36, 0.46) * air
    attenuation += 0.16 * spine * edge(body, 50, 4) + 0.15 * edge(heart, 20, 3) + 0.07 * noise(rng, 9) * 0.6
    attenuation += rng.uniform(0.05, 0.10) * _ribs(rng, center) * edge(body, 50, 3)
    for side in (-1, 1):
        clavicle = top + 6 + rng.uniform(-2, 2) - 0.28 * side * (COLUMNS - center - side * 6)
        lateral = side * (COLUMNS - center)
        attenuation += 0.12 * np.exp(-(((ROWS - clavicle) / 2.2) ** 4)) * (lateral > 5) * (lateral < 48)
    hilum = np.exp(-(((np.abs(COLUMNS - center) - 13) / 7) ** 2) - ((ROWS - top - 0.9 * height) / 12) ** 2)
    attenuation += air * hilum * (0.10 + 0.10 * np.clip(noise(rng, 1.5), 0, 2)) + 0.02 * air * noise(rng, 1.5)
    if rng.random() < 0.5:
        bubble = blob(rng, (top + 1.85 * height, center + rng.uniform(20, 30)), (6, 9), 0, 0.05)
        attenuation -= 0.18 * edge(bubble, 6, 3) * edge(body, 50, 2)
    if kind == "pneumonia":
        lung = lungs[("left lung", "right lung")[rng.integers(2)]]
        spot = blob(rng, random_position(rng, lung), (rng.uniform(10, 17), rng.uniform(9, 14)), rng.uniform(0, 3), 0.15)
        attenuation += rng.uniform(0.16, 0.26) * edge(spot, 12, 8) * air * (1 + 0.25 * noise(rng, 2.5))
    elif kind == "covid":
        for lung in (lungs["left lung"], lungs["right lung"]):
            for _ in range(rng.integers(2, 4)):
                lateral = lung & (np.abs(COLUMNS - center) > 24) & (ROWS > top + 0.7 * height)
                position = random_position(rng, lateral if lateral.any() else lung)
                spot = blob(rng, position, (rng.uniform(7, 13), rng.uniform(6, 10)), rng.uniform(0, 3), 0.15)
                attenuation += rng.uniform(0.08, 0.16) * edge(spot, 9, 8) * air * (1 + 0.3 * noise(rng, 2))
    image = attenuation + rng.uniform(0.008, 0.02) * noise(rng, 0.6)
    image = to_uint8(image, rng.uniform(-0.02, 0.06), rng.uniform(0.98, 1.15))
    facts = frozenset({"modality:XR", f"kind:{kind}"})
    organs = dict(lungs, heart=(heart > 0) & ~lungs["left lung"] & ~lungs["right lung"])
    return Phantom(image, "XR", facts, (), organs)
