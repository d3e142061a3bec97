"""Prompts to train the starter SAM 2 on, drawn for a whole batch on its device.

They are boxes from tight to very loose, clicks inside and outside, boxes around nothing, and a click where the first
mask is wrong (SAM, Kirillov et al. 2023, section 3). All prompts of a step are of one kind, so that none is padded: the
model sees as many points as at inference.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

from .augmentation import uniform

BOX_LABELS = (2, 3)
PAD_LABEL = -1
_CANDIDATES = 8
"""Number of random boxes tried to find one around nothing."""


class Prompts(NamedTuple):
    """Prompts of one kind.

    Args:
        coords: (N, P, 2) float32, x y in pixels of the masks.
        labels: (N, P) int32: 1 inside, 0 outside, 2 and 3 corners of a box, -1 none.
        truth: (N, S, S) bool, the right answer; empty if the prompt marks nothing.
    """

    coords: torch.Tensor
    labels: torch.Tensor
    truth: torch.Tensor


def draw_boxes(masks: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw a random box around each mask as from a coarse mask; half of the boxes are close to it, half are loose.

    Args:
        masks: (N, S, S) bool; an empty mask gives a box around the whole image.

    Returns:
        (N, 2, 2) float32 corners, x y.
    """
    count, size = len(masks), masks.shape[-1]
    place = torch.arange(size, device=masks.device)
    edges = []
    for line in (masks.any(1), masks.any(2)):  # columns, then rows
        edges += [torch.where(line, place, size).amin(1), torch.where(line, place + 1, 0).amax(1)]
    x0, x1, y0, y1 = (edge.float() for edge in edges)
    empty = x1 <= x0
    box = torch.stack([x0, y0, x1, y1], 1)
    extent = torch.stack([x1 - x0, y1 - y0] * 2, 1)
    noise = torch.randn((count, 4, 2), generator=generator, device=masks.device)
    near = box + 0.08 * extent * noise[..., 0] + 2 * noise[..., 1]
    outwards = torch.tensor([-1.0, -1.0, 1.0, 1.0], device=masks.device)
    grow = uniform((count, 4), 0, 0.6, generator) * extent + uniform((count, 4), 0, 14, generator)
    loose = box + grow * outwards
    box = torch.where(uniform((count, 1), 0, 1, generator) < 0.5, near, loose).clamp(0, size)
    full = box.new_tensor([0, 0, size, size])
    return torch.where(empty[:, None], full, box).view(-1, 2, 2)


def draw_box_prompts(truth: torch.Tensor, occupied: torch.Tensor, generator: torch.Generator) -> Prompts:
    """Draw boxes: one in seven around nothing, one in twenty around the whole image; both have an empty truth.

    Args:
        truth: (N, S, S) bool.
        occupied: (N, S, S) bool, all structures of the image.
    """
    count, size = len(truth), truth.shape[-1]
    boxes = draw_boxes(truth, generator)
    free, found = _free_boxes(occupied, generator)
    draw = uniform((count,), 0, 1, generator)
    nothing = (draw < 1 / 7) | ~truth.flatten(1).any(1)
    boxes = torch.where((nothing & found)[:, None, None], free, boxes)
    full = (draw > 1 - 1 / 20) & (truth.flatten(1).float().mean(1) < 0.5)
    margin = uniform((count, 2, 2), 0, 10, generator)
    corners = torch.stack([margin[:, 0], size - margin[:, 1]], 1)
    boxes = torch.where(full[:, None, None], corners, boxes)
    truth = truth & ~((nothing & found) | full)[:, None, None]
    labels = torch.tensor(BOX_LABELS, dtype=torch.int32, device=truth.device).expand(count, -1)
    return Prompts(boxes, labels, truth)


def draw_point_prompts(truth: torch.Tensor, max_clicks: int, generator: torch.Generator) -> Prompts:
    """Draw 1 to `max_clicks` clicks inside, sometimes with one outside; for empty masks all clicks are outside.

    Args:
        truth: (N, S, S) bool.
    """
    count, size = len(truth), truth.shape[-1]
    there = truth.flatten(1).any(1)
    inside = torch.multinomial(truth.flatten(1).float() + 1e-9, max_clicks, replacement=True, generator=generator)
    number = torch.randint(1, max_clicks + 1, (count, 1), generator=generator, device=truth.device)
    used = torch.arange(max_clicks, device=truth.device) < number
    labels = torch.where(used, torch.where(there[:, None], 1, 0), PAD_LABEL)
    if max_clicks > 1:
        small = F.max_pool2d(truth[:, None].float(), 4)
        near = F.max_pool2d(small, 15, 1, 7)
        ring = F.interpolate(near, size=(size, size))[:, 0] * ~truth
        beside = torch.multinomial(ring.flatten(1) + 1e-9, 1, generator=generator)
        wanted = uniform((count, 1), 0, 1, generator) < 0.4
        inside = torch.cat([inside, beside], 1)
        labels = torch.cat([labels, torch.where(wanted, 0, PAD_LABEL)], 1)
    return Prompts(_coordinates(inside, size), labels.int(), truth)


def draw_corrections(logits: torch.Tensor, truth: torch.Tensor, generator: torch.Generator) -> Prompts:
    """Click in the middle of a wrong region of each mask; the label is -1 if no wrong region is thick enough.

    Args:
        logits: (N, h, w), the mask logits so far.
        truth: (N, S, S) bool.
    """
    size = truth.shape[-1]
    guess = F.interpolate(logits[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0] > 0
    wrong = guess != truth
    depth = (F.avg_pool2d(wrong[:, None].float(), 9, 1, 4)[:, 0] * wrong).flatten(1)
    deepest = depth.amax(1, keepdim=True)
    middle = (depth > 0.8 * deepest) & (deepest > 0.3)
    chosen = torch.multinomial(middle.float() + 1e-9, 1, generator=generator)
    label = truth.flatten(1).gather(1, chosen).int()
    return Prompts(_coordinates(chosen, size), torch.where(middle.any(1, keepdim=True), label, PAD_LABEL).int(), truth)


def _free_boxes(occupied: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw boxes (N, 2, 2) that structures cover by less than 5 %, and return whether one was found, (N,)."""
    count, size = len(occupied), occupied.shape[-1]
    extent = uniform((count, _CANDIDATES, 2), 16, 80, generator).round()
    corner = (uniform((count, _CANDIDATES, 2), 0, 1, generator) * (size - extent)).round()
    boxes = torch.stack([corner, corner + extent], 2)
    total = F.pad(occupied.float().cumsum(1).cumsum(2), (1, 0, 1, 0)).flatten(1)
    at = lambda x, y: total.gather(1, (y * (size + 1) + x).long())
    (x0, y0), (x1, y1) = boxes[:, :, 0].unbind(-1), boxes[:, :, 1].unbind(-1)
    covered = at(x1, y1) - at(x0, y1) - at(x1, y0) + at(x0, y0)
    free = covered < 0.05 * extent.prod(-1)
    first = free.float().argmax(1)
    return boxes[torch.arange(count, device=boxes.device), first], free.any(1)


def _coordinates(flat: torch.Tensor, size: int) -> torch.Tensor:
    return torch.stack([flat % size, flat // size], -1).float() + 0.5
