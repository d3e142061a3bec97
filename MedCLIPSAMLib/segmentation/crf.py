"""Dense conditional random field on a saliency map, by the optional package pydensecrf2."""

from __future__ import annotations

import numpy as np

from ..errors import InputError


def dense_crf(saliency: np.ndarray, image: np.ndarray | None, iterations: int = 10) -> np.ndarray:
    """Make the map, as foreground probability, follow the image's edges (Kraehenbuehl and Koltun, NeurIPS 2011).

    Args:
        saliency: (H, W) float, 0 to 1.
        image: (H, W, 3) uint8.

    Returns:
        (H, W) bool.

    Raises:
        InputError: the package is not installed, or no image was given.
    """
    try:
        from pydensecrf import densecrf
        from pydensecrf.utils import unary_from_softmax
    except ImportError as error:
        raise InputError(
            "The coarse mask 'crf' needs a package that is not installed.",
            "Install it with: pip install 'medclipsam[crf]'.",
        ) from error
    if image is None:
        raise InputError("The coarse mask 'crf' needs the image.")
    height, width = saliency.shape
    share = np.clip(saliency, 0.01, 0.99).astype(np.float32)
    field = densecrf.DenseCRF2D(width, height, 2)
    field.setUnaryEnergy(unary_from_softmax(np.stack([1 - share, share])))
    field.addPairwiseGaussian(sxy=3, compat=3)
    field.addPairwiseBilateral(sxy=50, srgb=13, rgbim=np.ascontiguousarray(image), compat=10)
    return np.array(field.inference(iterations)).argmax(0).reshape(height, width).astype(bool)
