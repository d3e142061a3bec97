"""Geometry of a voxel grid in the patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from MedCLIPSAMLib.errors import InputError

if TYPE_CHECKING:
    import SimpleITK as sitk

SPACINGS_MM = (1e-4, 1e3)
"""Smallest and largest plausible distance between voxels."""
SQUARE_DEGREES = 2.0
"""Maximum deviation of axes from right angles that counts as rounding; more is shear."""
EXACT = 1e-4
"""Maximum cosine between axes that needs no note."""

UNPLACED_NOTE = (
    "The file does not say how it lies in the patient: its axes were taken to be left, posterior and superior."
)


@dataclass(frozen=True)
class Geometry:
    """Geometry of a grid, as in ITK: patient positions in LPS (left, posterior, superior), mm.

    Attributes:
        origin: center of voxel (0, 0, 0).
        spacing: distance between voxels along I, J and K, above 0.
        direction: 3 x 3 matrix, row by row; column a is the unit vector of voxel axis a.
    """

    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    @property
    def cosines(self) -> np.ndarray:
        """Direction as a 3 x 3 array."""
        return np.array(self.direction).reshape(3, 3)

    @property
    def affine(self) -> np.ndarray:
        """Matrix (4, 4) from voxel indices (i, j, k, 1) to LPS, mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.cosines * self.spacing
        matrix[:3, 3] = self.origin
        return matrix

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in ml."""
        return float(np.prod(self.spacing)) / 1000

    @staticmethod
    def from_sitk(image: sitk.Image) -> Geometry:
        """Return the geometry of a 3-D image."""
        return Geometry(image.GetOrigin(), image.GetSpacing(), image.GetDirection())

    def place(self, image: sitk.Image) -> None:
        """Give a 3-D image this geometry."""
        image.SetOrigin(self.origin)
        image.SetSpacing(self.spacing)
        image.SetDirection(self.direction)

    def is_close(self, other: Geometry, tolerance: float = 1e-4) -> bool:
        """Tell whether two geometries are equal within `tolerance`, in mm and cosines."""
        own, others = ((*geometry.origin, *geometry.spacing, *geometry.direction) for geometry in (self, other))
        return bool(np.allclose(own, others, atol=tolerance))


def check_spacing(spacing: tuple[float, ...], what: str) -> None:
    """Refuse impossible distances between voxels.

    Raises:
        InputError: a distance is not a number, not above 0, or outside of `SPACINGS_MM`; the message names `what`.
    """
    low, high = SPACINGS_MM
    if not all(low <= value <= high for value in spacing):
        shown = " x ".join(f"{value:g}" for value in spacing)
        raise InputError(
            f"{what} has the voxel spacing {shown} mm: expected {low:g} to {high:g} mm.",
            "Correct its header, or export it again.",
        )


def straight(affine: np.ndarray, what: str, notes: list[str], remedy: str, exact: float = EXACT) -> Geometry:
    """Make a geometry from a 4 x 4 matrix from voxel indices to LPS, whose axes may be rounded.

    Axes within `SQUARE_DEGREES` of right angles become the nearest orthogonal axes; the spacing and the position of
    the first voxel are unchanged.

    Args:
        what: names the image in messages.
        notes: receives a note on axes that were changed.
        remedy: what to do about shear.
        exact: maximum cosine between two axes that needs no note.

    Raises:
        InputError: the matrix has values that are not finite, coinciding axes, or shear.
    """
    if not np.isfinite(affine).all():
        raise InputError(f"Expected a finite position of {what}.", "Correct its header, or export it again.")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    check_spacing(tuple(spacing.tolist()), what)
    axes = affine[:3, :3] / spacing
    cosines = np.abs(axes.T @ axes - np.eye(3)).max()
    degrees = float(np.degrees(np.arcsin(min(cosines, 1.0))))
    if degrees > SQUARE_DEGREES:
        raise InputError(f"{what} has axes that are {degrees:.1f} degrees from right angles.", remedy)
    left, _, right = np.linalg.svd(axes)
    if cosines > exact:
        notes.append(
            f"Its axes were {degrees:.2f} degrees from right angles (a rounded header): the nearest orthogonal axes "
            "are used."
        )
    origin, steps, direction = affine[:3, 3].tolist(), spacing.tolist(), (left @ right).ravel().tolist()
    return Geometry((origin[0], origin[1], origin[2]), (steps[0], steps[1], steps[2]), tuple(direction))
