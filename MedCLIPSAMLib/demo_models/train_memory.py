"""Training of the demo SAM 2's memory: an object is shown on one slice of a phantom volume and followed through others.

The training follows that of SAM 2 on video clips (Ravi et al. 2024, section D). The first slice is prompted with a mask
or a box, and sometimes the last one with a mask, as after a correction; the other slices are outlined from memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..models.sam import Sam2
from ..phantoms.volumes import VolumePhantom
from .sam_training_prompts import jitter

LENGTH = 6
"""Number of slices in a clip: the first, and those that fit the demo SAM 2's memory (num_maskmem in its config)."""
FRAMES = 64
"""Number of slices told to the model, which scales distances by it only if it is less than the memory holds."""
MIN_AREA = 12
"""Minimum area in pixels of an object on its first slice."""

Boxes = Callable[[torch.Tensor], torch.Tensor]
"""Function from masks (N, H, W) bool to boxes as from coarse masks: (N, 2, 2) corners x y in pixels of the masks."""
Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Loss of mask logits (N, M, h, w), predicted IoU (N, M) and object score (N, 1) for a truth (N, 1, SIZE, SIZE)."""


class Clips:
    """Random clips of volumes, each with one object to follow."""

    def __init__(self, volumes: list[VolumePhantom], rng: np.random.Generator) -> None:
        self._rng = rng
        self._lesions = [(volume, mask) for volume in volumes for mask in volume.lesions]
        self._organs = [
            (volume, mask)
            for volume in volumes
            for name, mask in [*volume.organs.items(), ("lungs", volume.lungs_mask)]
            if name in ("left lung", "right lung", "lungs", "ventricles") and mask.any()
        ]

    def draw(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw slices (count, LENGTH, SIZE, SIZE) uint8 and the object's masks, bool; the first slice shows it."""
        clips = [self._clip() for _ in range(count)]
        return np.stack([slices for slices, _ in clips]), np.stack([truth for _, truth in clips])

    def _clip(self) -> tuple[np.ndarray, np.ndarray]:
        rng = self._rng
        while True:
            pool = self._lesions if rng.random() < 0.65 else self._organs
            volume, mask = pool[rng.integers(len(pool))]
            area = mask.sum((1, 2))
            shown = np.flatnonzero(area >= max(MIN_AREA, (rng.random() < 0.5) * 0.6 * area.max()))
            if not len(shown):
                continue
            step = int(rng.choice((-2, -1, -1, 1, 1, 2)))
            at = rng.choice(shown) + step * np.arange(LENGTH)
            if at.min() >= 0 and at.max() < len(area):
                return volume.slices[at], mask[at]


def memory_loss(
    sam: Sam2, images: torch.Tensor, truth: torch.Tensor, rng: np.random.Generator, draw_boxes: Boxes, loss: Loss
) -> torch.Tensor:
    """Compute the mean loss over the slices of clips on which `sam` outlines the object from a box or from memory.

    Args:
        images: (N, LENGTH, 3, S, S), normalized for `sam`, where S is its image size.
        truth: (N, LENGTH, H, W) bool.
    """
    count, length = truth.shape[:2]
    encoded = sam.forward_image(images.flatten(0, 1))
    _, features, positions, sizes = sam._prepare_backbone_features(encoded)
    at_slice = lambda levels, t: [level.unflatten(1, (count, length))[:, :, t] for level in levels]
    outputs: dict[str, dict[int, dict]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    by_mask, closed = rng.random() < 0.5, rng.random() < 0.3
    losses = []
    wrapper = _PresenceGiven(sam)
    for t in [0, length - 1, *range(1, length - 1)] if closed else range(length):
        first, given = t == 0, t == length - 1 and closed
        target = truth[:, t, None].float()
        masks = points = None
        if given or (first and by_mask):
            masks = F.interpolate(target, images.shape[-2:], mode="bilinear", antialias=True) > 0.5
        elif first:
            corners = draw_boxes(truth[:, t]) * (images.shape[-1] / truth.shape[-1])
            labels = torch.tensor([[2, 3]], dtype=torch.int32, device=corners.device).expand(count, -1)
            points = {"point_coords": corners, "point_labels": labels}
        wrapper.there = truth[:, t].flatten(1).any(1)
        step = t, first or given, at_slice(features, t), at_slice(positions, t), sizes, points, masks
        out, answer, _, _ = sam._track_step(*step, outputs, FRAMES, False, None)
        logits, _, ious, _, high_resolution, out["obj_ptr"], score = answer
        sam._encode_memory_in_output(at_slice(features, t), sizes, points, True, high_resolution, score, out)
        outputs["cond_frame_outputs" if first or given else "non_cond_frame_outputs"][t] = out
        if masks is None:
            losses.append(loss(logits, ious, wrapper.score, target))
    wrapper.remove()
    return torch.stack(losses).mean()


class _PresenceGiven:
    """A hook that tells `sam` during training whether the object is present.

    SAM 2 blanks the mask of an object that it predicts to be absent, and a mask that is blank from the start gives no
    gradient.

    Attributes:
        there: (N,) bool, whether the next slice shows the object.
        score: (N, 1), the decoder's own prediction for the last slice.
    """

    def __init__(self, sam: Sam2) -> None:
        self.there = self.score = torch.zeros(0)
        self._hook = sam.sam_mask_decoder.register_forward_hook(self._tell)

    def remove(self) -> None:
        self._hook.remove()

    def _tell(
        self, _decoder: torch.nn.Module, _inputs: Any, output: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, ...]:
        masks, ious, tokens, self.score = output
        return masks, ious, tokens, torch.where(self.there[:, None], 10.0, -10.0)


def jitter_boxes(rng: np.random.Generator, masks: torch.Tensor) -> torch.Tensor:
    """Draw a random loose box around each mask (N, SIZE, SIZE) bool: (N, 2, 2) corners x y."""
    return torch.from_numpy(np.stack([jitter(rng, mask).reshape(2, 2) for mask in masks.numpy()])).float()
