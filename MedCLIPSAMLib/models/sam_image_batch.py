"""Images before a SAM 2: embedded when they are first asked about, and asked about many objects at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from ..run_context import RunContext
from .device import to_host
from .interrupt import interruptible
from .sam import Sam2, decode, image_predictor
from .threads import on_threads

PIXELS = 4 * 1024**2
"""Pixels, as SAM 2 sees them, that a GPU embeds together."""
OBJECTS = 16
"""Objects that a GPU outlines together."""

Mend = Callable[[int, np.ndarray], np.ndarray]
"""Takes the number of an object and its mask, (h, w) bool as SAM 2 gives it, and returns what it is to be."""


class SamImageBatch:
    """Some images of one size, and SAM 2's answers about them.

    Attributes:
        at_once: several images and objects together, which is faster on a GPU and takes more memory.
    """

    def __init__(self, sam: Sam2) -> None:
        self.at_once = sam.device.type != "cpu"
        self._sam, self._predictor = sam, image_predictor(sam)
        self._images: Sequence[np.ndarray] = ()
        self._features: dict[int, list[torch.Tensor]] = {}

    def set(self, images: Sequence[np.ndarray]) -> None:
        """Take images, uint8 (H, W, 3) each, in place of those before."""
        self._images, self._features = images, {}

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the images."""
        height, width = self._images[0].shape[:2]
        return height, width

    def are_embedded(self, numbers: Sequence[int]) -> bool:
        """Whether all images of these numbers were embedded already."""
        return all(number in self._features for number in numbers)

    def embed(self, numbers: Sequence[int], context: RunContext = RunContext()) -> None:
        """Embed those images that were not yet; a cancelled context ends it between two blocks of the encoder."""
        left = [number for number in dict.fromkeys(numbers) if number not in self._features]
        together = max(1, PIXELS // self._sam.image_size**2) if self.at_once else 1
        for start in range(0, len(left), together):
            some = left[start : start + together]
            with interruptible(self._sam.image_encoder.trunk.blocks, context):
                self._predictor.set_image_batch([self._images[number] for number in some])
            found = self._predictor._features
            for row, number in enumerate(some):
                levels = (*found["high_res_feats"], found["image_embed"])
                self._features[number] = [level[row : row + 1] for level in levels]

    def masks(
        self,
        numbers: Sequence[int],
        boxes: np.ndarray | None,
        points: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        logits: np.ndarray | None = None,
        mend: Mend | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """One mask an object: (B, H, W) bool, and the predicted IoU of each, (B,) float32.

        Args:
            numbers: the image of each object.
            boxes: (B, 4), x0 y0 x1 y1 in pixels.
            points, labels: (B, P, 2) x y in pixels and (B, P), 1 inside, 0 outside.
            logits: (B, h, w) to start from, see `TextSegmenter.outline`.
            mend: changes each mask before it is enlarged to the size of the image, which is much the larger one.
        """
        self.embed(numbers)
        together = OBJECTS if self.at_once else 1
        found = []
        for start in range(0, len(numbers), together):
            some = np.s_[start : start + together]
            given = [None if array is None else array[some] for array in (boxes, points, labels, logits)]
            change = partial(_mend_logits, mend, start) if mend else None
            found.append(self._masks(numbers[some], change, *given))
        masks, quality = map(np.concatenate, zip(*found))
        return masks, quality

    @torch.no_grad()
    def _masks(self, numbers, change, boxes, points, labels, logits) -> tuple[np.ndarray, np.ndarray]:
        ask = self._predictor
        start, places, kinds, corners = ask._prep_prompts(
            points, labels, boxes, None if logits is None else logits[:, None], normalize_coords=True, img_idx=0
        )
        if corners is not None:  # a box is its two corners, points of kinds of their own
            both = torch.tensor([[2, 3]], dtype=torch.int32, device=corners.device).expand(len(corners), 2)
            places = corners if places is None else torch.cat([corners, places], 1)
            kinds = both if kinds is None else torch.cat([both, kinds], 1)
        *fine, coarse = (torch.cat(levels) for levels in zip(*(self._features[number] for number in numbers)))
        found, quality, _ = decode(self._sam, coarse, fine, (places, kinds), start)
        if change:
            found = change(found)
        enlarged = ask._transforms.postprocess_masks(found, self.shape) > ask.mask_threshold
        masks, iou = to_host(enlarged[:, 0], quality[:, 0].float())
        return masks, iou


def _mend_logits(mend: Mend, first: int, logits: torch.Tensor) -> torch.Tensor:
    """Change the sign of logits (B, 1, h, w), positive inside, of objects numbered from `first` on, as `mend` says."""
    (masks,) = to_host(logits[:, 0] > 0)
    wanted = np.stack(on_threads(mend, range(first, first + len(masks)), masks))
    if np.array_equal(wanted, masks):
        return logits
    changed, inside = (torch.from_numpy(changed)[:, None].to(logits.device) for changed in (wanted != masks, wanted))
    size = logits.abs() + torch.finfo(logits.dtype).tiny
    return torch.where(changed, torch.where(inside, size, -size), logits)
