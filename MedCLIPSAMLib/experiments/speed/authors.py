"""The authors' computation of a saliency map, as a baseline.

At each of ten steps, ten copies of the image run through the whole vision tower and ten copies of the text through the
whole text tower. The bottleneck is inserted behind one block. Gradients of all parameters are computed though they are
not used, and so is the backward pass of the last step. Source: MedCLIP-SAMv2, arXiv 2409.19483, and its repository;
this code was written from their description.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from ...models.clip import ClipModel
from ...segmentation.vision_tower import VisionTower

STEPS, COPIES, INITIAL = 10, 10, 5.0


def authors_saliency(
    clip: ClipModel,
    pixels: torch.Tensor,
    tokens: torch.Tensor,
    layer: int,
    beta: float,
    noises: Sequence[torch.Tensor] | None = None,
    steps: int = STEPS,
) -> torch.Tensor:
    """Compute the map (h, w) of one image for one text.

    Args:
        pixels: (1, 3, S, S).
        tokens: token ids (1, L).
        noises: (10, T, C) for each step; drawn at random if None.
    """
    model = clip.model.requires_grad_(True)
    trunk = model.visual.trunk
    alpha = torch.empty(0)
    information = torch.empty(0)
    step = 0

    def bottleneck(block: torch.nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        nonlocal information
        gate = torch.sigmoid(alpha).expand_as(output)
        mean, variance = gate * output, (1 - gate) ** 2
        information = -0.5 * (1 + torch.log(variance) - mean**2 - variance)
        noise = torch.randn_like(output) if noises is None else noises[step]
        return mean + variance.sqrt() * noise

    with torch.no_grad():  # a separate pass to get the shape of the activations
        model.encode_image(pixels)
    alpha = torch.full(trunk.pos_embed.shape, INITIAL, device=pixels.device, requires_grad=True)
    optimizer = torch.optim.Adam([alpha], lr=1.0)
    hook = trunk.blocks[layer].register_forward_hook(bottleneck)
    try:
        for step in range(steps):  # noqa: B007  # the hook reads it
            optimizer.zero_grad()
            text = model.encode_text(tokens.expand(COPIES, -1))
            image = model.encode_image(pixels.expand(COPIES, -1, -1, -1))
            loss = beta * information.mean() - F.cosine_similarity(text, image, eps=1e-6).mean()
            loss.backward()
            optimizer.step()
    finally:
        hook.remove()
        model.requires_grad_(False)
        model.zero_grad(set_to_none=True)
    tower = VisionTower(model.visual)
    return torch.nansum(information.detach().mean(0), -1)[tower.prefix :].reshape(tower.grid)
