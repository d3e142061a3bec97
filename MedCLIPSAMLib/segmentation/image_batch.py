"""A batch of images to be segmented, prepared for both models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ..errors import InputError, check_type
from ..models.clip import ClipModel
from ..models.device import to_device
from ..models.sam import Sam2
from ..models.sam_image_batch import SamImageBatch
from .saliency import Early

READ = "Give a PNG or JPEG as PIL.Image.open(path).convert('RGB'), other files by read_volume and segment_volume."


@dataclass
class ImageBatch:
    """Images of one size and what was computed for them.

    Args:
        images: uint8 (H, W, 3) each.
        pixels: (N, 3, S, S), the input of the text-image model.
        sam: the images for SAM 2, with their embeddings.
        early: what the text-image model computes independently of the text, see `saliency.m2ib`.
    """

    images: list[np.ndarray]
    pixels: torch.Tensor
    sam: SamImageBatch
    early: Early = field(default_factory=dict)


def check_images(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Check images of one batch and return them as arrays; images of other packages, such as Pillow, are converted.

    Raises:
        InputError: there is no image, one has a wrong shape or type, or the sizes differ.
    """
    check_type(images, Iterable, "a list of images")
    arrays = []
    for given in images:
        if not any(hasattr(given, name) for name in ("__array__", "__array_interface__")):
            check_type(given, np.ndarray, "an image as an array of uint8 (H, W, 3)", READ)
        image = np.asarray(given)
        arrays.append(image)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise InputError(
                f"Expected an image of uint8 (H, W, 3), got {image.dtype} {image.shape}.", "Give an RGB image."
            )
    sizes = sorted({image.shape[:2] for image in arrays})
    if len(sizes) != 1:
        raise InputError(
            f"Expected at least one image, and all of one size, got the sizes {sizes}.", "Give them one by one."
        )
    return arrays


def make_image_batch(clip: ClipModel, sam: Sam2, images: Sequence[np.ndarray]) -> ImageBatch:
    """Copy images, already checked, and prepare them for both models."""
    copies = np.stack(images)
    on_device = to_device(clip.device, copies)
    sam_images = SamImageBatch(sam)
    sam_images.set(on_device)
    return ImageBatch(list(copies), clip.preprocess(on_device), sam_images)
