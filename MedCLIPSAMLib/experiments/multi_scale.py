"""The mean of the saliency maps of an image and of four crops of it, which the model sees enlarged."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from ..segmentation.result import Localization
from ..segmentation.saliency import m2ib
from ..segmentation.saliency_map import SaliencyMap
from ..segmentation.segmenter import TextSegmenter

QUARTERS = 3
"""Side of a crop in quarters of the image's side."""


def multi_scale(segmenter: TextSegmenter, prompt: str, where: Localization) -> Localization:
    """Average M2IB's maps of the whole image and of the four crops in its corners.

    The last step that the settings allow is used.
    """
    image, clip = segmenter.images[0], segmenter.clip
    height, width = (side * QUARTERS // 4 for side in image.shape[:2])
    parts = [image, *(image[corner] for corner in _corners(height, width))]
    pixels = torch.cat([clip.preprocess(part[None]) for part in parts])
    text = segmenter.text_features(prompt)[None]
    maps = m2ib(clip, pixels, text, segmenter.settings.saliency_for(prompt)).maps[:, 0]
    side = 4 * maps.shape[-1] // 2
    enlarge = lambda values, size: F.interpolate(values[None, None], (size, size), mode="bilinear")[0, 0]
    total = enlarge(maps[0], side)
    count = torch.ones_like(total)
    part = side * QUARTERS // 4
    for values, corner in zip(maps[1:], _corners(part, part)):
        total[corner] += enlarge(values, part)
        count[corner] += 1
    return Localization(SaliencyMap((total / count).cpu().numpy(), where.map.shape), where.presence)


def _corners(height: int, width: int) -> list[tuple[slice, slice]]:
    return [np.s_[:height, :width], np.s_[:height, -width:], np.s_[-height:, :width], np.s_[-height:, -width:]]
