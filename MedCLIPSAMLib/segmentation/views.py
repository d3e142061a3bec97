"""Test-time views of an image for M2IB, and the merging of their maps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Views:
    """The views of an image that are used; each takes as much work as the image alone.

    Args:
        mirror: also use the mirror image, and average its flipped-back map with that of the image.
        finer: shift the image by a quarter of a patch in each direction. The patches of these four views interleave to
            a map of twice as many rows and columns, where each value lies at the center of its cell.
        patch: side of a patch in pixels.
    """

    mirror: bool
    finer: bool
    patch: int

    @property
    def count(self) -> int:
        """Number of views."""
        return (4 if self.finer else 1) * (2 if self.mirror else 1)

    def make(self, pixels: torch.Tensor) -> torch.Tensor:
        """Make all views of N images, (N, 3, S, S) to (count * N, 3, S, S), view by view, with replicated borders.

        Unless `finer` is set, the first view is the unmodified image.
        """
        quarter = self.patch // 4
        views = [pixels]
        if self.finer:
            shifts = (quarter, -quarter)  # content moves to the lower right: patches see what is above and left
            views = [_shifted(pixels, down, right) for down in shifts for right in shifts]
        if self.mirror:
            views += [view.flip(-1) for view in views]
        return torch.cat(views)

    def merge(self, maps: torch.Tensor) -> torch.Tensor:
        """Merge the maps of all views of each image: (count * N, ..., h, w) to (N, ..., h, w), or to twice h and w."""
        by_view = maps.unflatten(0, (self.count, -1))
        if self.mirror:
            plain, mirrored = by_view.chunk(2)
            by_view = (plain + mirrored.flip(-1)) / 2
        if not self.finer:
            return by_view[0]
        *rest, height, width = by_view.shape[1:]
        merged = by_view.new_empty(*rest, 2 * height, 2 * width)
        for number, view in enumerate(by_view):
            merged[..., number // 2 :: 2, number % 2 :: 2] = view
        return merged


def _shifted(pixels: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """Shift the content of images, (N, 3, S, S), by some pixels; the border is replicated."""
    reach = max(abs(down), abs(right))
    padded = F.pad(pixels, (reach,) * 4, mode="replicate")
    height, width = pixels.shape[-2:]
    return padded[..., reach - down : reach - down + height, reach - right : reach - right + width]
