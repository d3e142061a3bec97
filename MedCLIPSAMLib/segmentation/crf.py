"""Refine a saliency map by a dense conditional random field; needs the optional package pydensecrf2."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from ..errors import InputError, require_extra
from ..validated import settings_class

Positive = Annotated[float, Field(gt=0)]


@settings_class
class CrfSettings:
    """Parameters of the CRF of Kraehenbuehl and Koltun (NeurIPS 2011); the defaults are the authors'.

    Args:
        gaussian_sxy, gaussian_compat: standard deviation in pixels, and weight, of the smoothness term.
        bilateral_sxy, bilateral_srgb, bilateral_compat: standard deviations in pixels and in gray values, and weight,
            of the term that follows the edges of the image.
        tau: with 0 the unary energies are -log p, where the map is the probability p of the foreground; otherwise they
            are -log p / (tau sigmoid(p)), the authors' confidence-weighted form.
        iterations: number of iterations of the mean-field approximation.
    """

    gaussian_sxy: Positive = 5.0
    gaussian_compat: Positive = 3.0
    bilateral_sxy: Positive = 5.0
    bilateral_srgb: Positive = 3.0
    bilateral_compat: Positive = 5.0
    tau: Annotated[float, Field(ge=0)] = 1.05
    iterations: Annotated[int, Field(ge=1)] = 1


FAR = CrfSettings(3.0, 3.0, 50.0, 13.0, 10.0, tau=0.0, iterations=10)
"""A CRF of long range, as commonly used for photographs; it loses small objects (docs/results/method.md)."""
EPSILON = 1e-8
"""Added to a probability before its logarithm, as in the authors' script."""


def dense_crf(saliency: np.ndarray, image: np.ndarray | None, settings: CrfSettings) -> np.ndarray:
    """Make the map, taken as foreground probability, follow the edges of the image.

    Args:
        saliency: (H, W) float, 0 to 1.
        image: (H, W, 3) uint8.

    Returns:
        (H, W) bool.

    Raises:
        InputError: the package is not installed, or there is no image.
    """
    require_extra("crf", "The coarse mask 'crf'")
    from pydensecrf import densecrf

    if image is None:
        raise InputError("The coarse mask 'crf' needs the image.")
    height, width = saliency.shape
    field = densecrf.DenseCRF2D(width, height, 2)
    field.setUnaryEnergy(compute_unary_energy(saliency, settings.tau).reshape(2, -1))
    field.addPairwiseGaussian(sxy=settings.gaussian_sxy, compat=settings.gaussian_compat)
    field.addPairwiseBilateral(
        sxy=settings.bilateral_sxy,
        srgb=settings.bilateral_srgb,
        rgbim=np.ascontiguousarray(image),
        compat=settings.bilateral_compat,
    )
    return np.array(field.inference(settings.iterations)).argmax(0).reshape(height, width).astype(bool)


def compute_unary_energy(saliency: np.ndarray, tau: float) -> np.ndarray:
    """Compute the unary energies of background and foreground, (2, H, W) float32, from a map (H, W), 0 to 1.

    Args:
        tau: see `CrfSettings`. For the authors' form the map is first rounded to 8 bits, as in their files.
    """
    if not tau:
        share = np.clip(saliency, 0.01, 0.99)
        return -np.log(np.stack([1 - share, share])).astype(np.float32)
    share = np.rint(saliency * 255) / 255
    both = np.stack([1 - share, share])
    return (-np.log(both + EPSILON) / (tau / (1 + np.exp(-both)))).astype(np.float32)
