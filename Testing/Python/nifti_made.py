"""NIfTI files made for tests: with any matrix and any code, and with bytes of their headers replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
ARRAY = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)  # (i, j, k)


def turned(degrees: float, spacing: tuple[float, float, float], origin: tuple[float, float, float]) -> np.ndarray:
    """An oblique, anisotropic affine with a flipped second axis, in RAS."""
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([1, -1, 1]) * spacing
    affine[:3, 3] = origin
    return affine


def save(path: Path, affine: np.ndarray | None, array: np.ndarray = ARRAY, **codes: Any) -> Path:
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    for name, (matrix, code) in codes.items():
        getattr(image, f"set_{name}")(matrix, code)
    nibabel.save(image, path)
    return path


def patched(path: Path, offset: int, kind: str, *values: float) -> Path:
    raw = bytearray(path.read_bytes())
    data = np.array(values, kind).tobytes()
    raw[offset : offset + len(data)] = data
    path.write_bytes(raw)
    return path
