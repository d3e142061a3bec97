"""Masks of slices, collected on the voxel grid of their volume as they are received."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from zlib import crc32

import numpy as np

from .sliceGeometry import SceneSlices

Extent = tuple[int, int, int, int, int, int]
"""First and last voxel along I, J and K, (i0, i1, j0, j1, k0, k1), as in VTK."""

TOLERANCE = 1e-3
"""Maximum distance, in voxels, of the center of a voxel outside a box that it still counts as in."""
EMPTY = "0"
"""Checksum of an empty slice."""


def cut(one: Extent | None, other: Extent) -> Extent | None:
    """Return the intersection of two extents; None if it is empty."""
    if one is None:
        return None
    i0, j0, k0 = (max(pair) for pair in zip(one[::2], other[::2]))
    i1, j1, k1 = (min(pair) for pair in zip(one[1::2], other[1::2]))
    return (i0, i1, j0, j1, k0, k1) if i0 <= i1 and j0 <= j1 and k0 <= k1 else None


def around(extent: Sequence[int], toGrid: np.ndarray) -> Extent:
    """Compute the extent of the voxels of another grid whose centers are in the box around an extent.

    It is never empty: along an axis without a center in the box it holds the voxel next to it.

    Args:
        toGrid: 4 x 4, from the extent's voxels to the grid's voxels.
    """
    low, high = np.array(extent[::2]) - 0.5, np.array(extent[1::2]) + 0.5
    corners = np.array(np.meshgrid(*zip(low, high))).reshape(3, -1)
    inGrid = toGrid[:3, :3] @ corners + toGrid[:3, 3:]
    first = np.ceil(inGrid.min(1) - TOLERANCE).astype(int)
    last = np.maximum(np.floor(inGrid.max(1) + TOLERANCE).astype(int), first)
    i0, i1, j0, j1, k0, k1 = np.column_stack([first, last]).ravel().tolist()
    return i0, i1, j0, j1, k0, k1


def shapeOf(extent: Sequence[int]) -> tuple[int, ...]:
    """Return the shape (K, J, I) of an extent."""
    return tuple(last - first + 1 for first, last in zip(extent[4::-2], extent[5::-2]))


def within(extent: Sequence[int]) -> tuple[slice, ...]:
    """Return the slices that select the part of a (K, J, I) array in an extent."""
    return tuple(slice(first, last + 1) for first, last in zip(extent[4::-2], extent[5::-2]))


def checkSlab(slab: np.ndarray) -> str:
    """Compute the checksum of a mask, given as a bool slab of one slice as made by `SceneSlices.slabs`."""
    return f"{crc32(np.packbits(slab).tobytes()):08x}" if slab.any() else EMPTY


class SliceMasks:
    """Masks of some slices of a volume in one block of its grid, so that little is left to do at the end of a run.

    Args:
        slices: slices of the volume.
        numbers: numbers of the slices that may get masks.
    """

    def __init__(self, slices: SceneSlices, numbers: Sequence[int]) -> None:
        self.slices = slices
        stack = slices.stack
        self.axis = "IJK".index(stack.source_axis)
        places = [stack.source_index(k) for k in numbers]
        self._first = min(places)
        shape = list(stack.volume.shape)
        shape[2 - self.axis] = max(places) - self._first + 1
        self._block = np.zeros(shape, np.uint8)  # memory is allocated only where something is set
        self.checks: dict[int, str] = {}
        self._given: set[int] = set()
        self._set: set[int] = set()
        self._low, self._high = np.array(shape), np.full(3, -1)

    @classmethod
    def of(cls, slices: SceneSlices, masks: Mapping[int, np.ndarray]) -> SliceMasks:
        """Collect (H, W) bool masks by slice number."""
        made = cls(slices, list(masks))
        for k, mask in masks.items():
            made.put(k, mask)
        return made

    def put(self, k: int, mask: np.ndarray) -> None:
        """Set the mask of slice k, (H, W) bool, which replaces an earlier one."""
        place = self.slices.stack.source_index(k) - self._first
        at = [slice(None)] * 3
        at[2 - self.axis] = slice(place, place + 1)
        if place in self._set:
            self._block[tuple(at)] = 0
            self._set.remove(place)
        self._given.add(place)
        self.checks[k] = EMPTY
        # If the plane's voxels are coarser than its image, nothing of a thin mask may be left.
        if mask.any() and (slab := self.slices.stack.to_slab(k, mask)).any():
            self.checks[k] = checkSlab(slab)
            self._set.add(place)
            for axis in range(3):
                used = np.flatnonzero(slab.any(axis=tuple(other for other in range(3) if other != axis)))
                self._low[axis] = min(self._low[axis], used[0])
                self._high[axis] = max(self._high[axis], used[-1])
            self._block[tuple(at)] = slab

    def drop(self, numbers: Container[int]) -> None:
        """Drop slices, on which the segment is then not changed."""
        for k in list(self.checks):
            if k in numbers:
                place = self.slices.stack.source_index(k) - self._first
                del self.checks[k]
                self._given.discard(place)
                self._set.discard(place)

    def __bool__(self) -> bool:
        """Return whether any mask is not empty."""
        return bool(self._set)

    def runs(self) -> Iterator[tuple[Extent, np.ndarray, tuple[int, int, int]]]:
        """Yield each run of consecutive slices: extent, (K, J, I) uint8 block, and first voxel (i, j, k) of the block.

        The block is cropped to the voxels that are set, and is empty if none are.
        """
        full = [(0, size - 1) for size in reversed(self.slices.stack.volume.shape)]
        for first, last in _runs(self._given):
            covered = list(full)
            covered[self.axis] = (self._first + first, self._first + last)
            there = [place for place in self._set if first <= place <= last]
            bounds = [slice(low, high + 1) for low, high in zip(self._low, self._high)]
            bounds[2 - self.axis] = slice(min(there), max(there) + 1) if there else slice(0, 0)
            corner = [int(bound.start) for bound in reversed(bounds)]
            corner[self.axis] += self._first
            (i0, i1), (j0, j1), (k0, k1) = covered
            yield (i0, i1, j0, j1, k0, k1), self._block[tuple(bounds)], (corner[0], corner[1], corner[2])


def _runs(places: set[int]) -> list[tuple[int, int]]:
    """Return the first and last number of each run of consecutive numbers."""
    runs: list[tuple[int, int]] = []
    for place in sorted(places):
        if runs and place == runs[-1][1] + 1:
            runs[-1] = runs[-1][0], place
        else:
            runs.append((place, place))
    return runs
