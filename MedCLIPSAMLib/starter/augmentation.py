"""Random augmentation of training images, computed on their device with a generator seeded per step."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def make_generator(device: torch.device, *numbers: int) -> torch.Generator:
    """Make a generator on `device` whose seed depends on all `numbers`, such as the run's seed and the step."""
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number + 1) % (2**63 - 1)
    return torch.Generator(device).manual_seed(seed)


def uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    """Draw uniform float32 numbers between `low` and `high` on the generator's device."""
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def change_gradation(images: torch.Tensor, generator: torch.Generator, groups: int | None = None) -> torch.Tensor:
    """Randomly vary display window, gamma, contrast, brightness, sharpness and shading, and add noise.

    Args:
        images: (N, H, W) float32, 0 to 1.
        groups: number of groups of N / groups consecutive images, which are changed alike; None changes each image
            independently.

    Returns:
        (N, H, W) float32, 0 to 1.
    """
    count = groups or len(images)

    def draw(low: float, high: float) -> torch.Tensor:
        return uniform((count, 1, 1), low, high, generator).repeat_interleave(len(images) // count, 0)

    narrow = (draw(0, 1) < 0.5).float()
    low, high = narrow * draw(0, 0.1), 1 - narrow * draw(0, 0.35)
    images = ((images - low) / (high - low)).clamp(0, 1).pow(draw(0.6, 1.6))
    smooth = F.avg_pool2d(images[:, None], 3, 1, 1)[:, 0]
    images = images + (smooth - images) * draw(-0.5, 1) * (draw(0, 1) < 0.5)
    images = (images - 0.5) * draw(0.7, 1.3) + 0.5 + draw(-0.1, 0.1)
    ramp = torch.linspace(-1, 1, images.shape[-1], device=images.device)
    images = images * (1 + draw(-0.2, 0.2) * ramp[None, None, :] + draw(-0.25, 0.25) * ramp[None, :, None])
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    return (images + draw(0, 0.06) * noise).clamp(0, 1)


def draw_affine(count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw rotations, scales and shifts: affine maps (count, 2, 3) from output to input, for `F.affine_grid`."""
    angle = uniform((count,), -0.25, 0.25, generator)
    scale = torch.exp(uniform((count, 2), -0.17, 0.17, generator) + uniform((count, 1), -0.2, 0.2, generator))
    cosine, sine = angle.cos(), angle.sin()
    rows = torch.stack([cosine * scale[:, 0], -sine * scale[:, 0], sine * scale[:, 1], cosine * scale[:, 1]], 1)
    return torch.cat([rows.view(-1, 2, 2), uniform((count, 2, 1), -0.1, 0.1, generator)], 2)


def warp(images: torch.Tensor, affine: torch.Tensor, size: int) -> torch.Tensor:
    """Resample (N, C, H, W) float32 to (N, C, size, size) by maps of `draw_affine`, with 0 outside the image."""
    grid = F.affine_grid(affine, [len(images), 1, size, size], align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
