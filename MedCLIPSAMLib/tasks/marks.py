"""Boxes, points and regions as the user types them, in voxel indices of the file, and their positions on a slice.

Indices count from 0 along the axes i, j, k of the file, as in ITK and 3D Slicer; a whole number is the center of a
voxel. In a 2-D image i is the column, from the left, and j the row, from the top. Boxes and regions include their
first and their last voxel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from ..errors import InputError
from ..segmentation.sam_prompts import SamPrompts
from ..volumes import SliceStack, Volume

Numbers = tuple[float, ...]
FRAME = "Indices count from 0. Give x,y in an image, i,j,k in a volume, or two indices with --slice."


@dataclass(frozen=True)
class Marks:
    """Boxes and points of the user on one slice, for SAM 2 to outline.

    Args:
        boxes: one box per object, its first and last voxel: (x0, y0, x1, y1) or (i0, j0, k0, i1, j1, k1).
        points: (x, y) or (i, j, k), and whether the point lies inside the object; points belong to the box, if any.

    Raises:
        InputError: points are given with several boxes, or without a box and without a point inside.
    """

    boxes: tuple[Numbers, ...] = ()
    points: tuple[tuple[Numbers, bool], ...] = ()

    def __post_init__(self) -> None:
        if len(self.boxes) > 1 and self.points:
            raise InputError("Points were given with several boxes.", "Give one box with points, or boxes alone.")
        if not self.boxes and self.points and not any(inside for _, inside in self.points):
            raise InputError("All points are outside of the object.", "Add a point inside, or a box.")

    def __bool__(self) -> bool:
        return bool(self.boxes or self.points)

    def within(self, region: Region, stack: SliceStack) -> Marks:
        """Return the marks in voxel indices of a region that is extended over all slices of a stack.

        Raises:
            InputError: a mark lies outside of the region.
        """
        start, last = np.array(region.in_plane(stack).start), np.array(region.stop) - 1

        def moved(numbers: Numbers) -> Numbers:
            ends = _ends(numbers, stack)
            if ((ends < region.start) | (ends > last)).any():
                raise InputError("A box or point lies outside of --roi.", "Make the region larger, or leave it out.")
            return tuple((ends - start)[~np.isnan(ends)].tolist())

        points = tuple((moved(place), inside) for place, inside in self.points)
        return Marks(tuple(map(moved, self.boxes)), points)

    def place(self, stack: SliceStack, number: int | None) -> tuple[int, SamPrompts]:
        """Return the slice number of the marks, and SAM prompts in pixels of the slice's image.

        Args:
            number: slice of marks that have two indices.

        Raises:
            InputError: marks lie outside of the image, on several slices, or on another slice than `number`.
        """
        step = np.array([0.0 if axis == stack.source_axis else 0.5 for axis in "IJK"])
        boxes, corners = [_whole(box, stack, number, "--box") for box in self.boxes], []
        for first, last in boxes:
            corners.append((stack.image_at(first - step), stack.image_at(last + step)))
        placed = [stack.image_at(_whole(point, stack, number, "--point")[0]) for point, _ in self.points]
        numbers = {round(k) for k, _, _ in chain(placed, *corners)}
        if len(numbers) > 1 or (number is not None and numbers != {number}):
            shown = ", ".join(str(number) for number in sorted(numbers))
            raise InputError(
                f"The marks lie on the {stack.plane} slices {shown}"
                + ("." if number is None else f", not on {number}."),
                "Mark one slice: all marks need the same index along its axis.",
            )
        edges = [sorted((a[1], b[1])) + sorted((a[2], b[2])) for a, b in corners]
        xyxy = np.array([[x0, y0, x1, y1] for x0, x1, y0, y1 in edges], np.float32).reshape(-1, 4)
        count = max(len(corners), 1)
        points = np.array([[x, y] for _, x, y in placed], np.float32).reshape(1, -1, 2).repeat(count, 0)
        labels = np.array([[int(inside) for _, inside in self.points]], np.int32).repeat(count, 0)
        return numbers.pop(), SamPrompts(xyxy, points, labels)


@dataclass(frozen=True)
class Region:
    """A box of voxels: first and past-the-last index along i, j and k."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]

    @classmethod
    def from_box(cls, box: Numbers, stack: SliceStack) -> Region:
        """Make a region from (x0, y0, x1, y1), on all slices of a stack, or from (i0, j0, k0, i1, j1, k1).

        Raises:
            InputError: the box reaches outside of the image.
        """
        low, high = _ends(box, stack)
        for index in (low, high):
            _check_inside(index, stack.volume, "--roi")
        start = np.where(np.isnan(low), 0, np.floor(low + 0.5))
        stop = np.where(np.isnan(high), stack.volume.shape[::-1], np.floor(high + 0.5) + 1)
        return cls(_triple(start), _triple(stop))

    def slices(self, stack: SliceStack) -> tuple[int, ...]:
        """Return the numbers of the slices that the region covers in a stack."""
        axis = "IJK".index(stack.source_axis)
        along = np.eye(3)[axis]
        ends = [round(stack.image_at(along * index)[0]) for index in (self.start[axis], self.stop[axis] - 1)]
        return tuple(range(min(ends), max(ends) + 1))

    def in_plane(self, stack: SliceStack) -> Region:
        """Return the region extended over all slices of a stack."""
        axis, size = "IJK".index(stack.source_axis), stack.volume.shape[::-1]
        start, stop = list(self.start), list(self.stop)
        start[axis], stop[axis] = 0, size[axis]
        return Region(_triple(start), _triple(stop))

    def cut(self, volume: Volume) -> Volume:
        """Crop a volume to the region, keeping its position in patient coordinates."""
        x, y, z, _ = (volume.geometry.affine @ (*self.start, 1.0)).tolist()
        geometry = replace(volume.geometry, origin=(x, y, z))
        return replace(volume, array=volume.array[self._slices()], geometry=geometry)

    def paste(self, array: np.ndarray, volume: Volume) -> np.ndarray:
        """Embed an array of the region, (K, J, I), in one of the whole volume that is 0 elsewhere."""
        full_array = np.zeros(volume.shape, array.dtype)
        full_array[self._slices()] = array
        return full_array

    def _slices(self) -> tuple[slice, ...]:
        return tuple(slice(low, high) for low, high in reversed(list(zip(self.start, self.stop))))


def parse_box(text: str, option: str = "--box") -> Numbers:
    """Parse "x0,y0,x1,y1" or "i0,j0,k0,i1,j1,k1".

    Raises:
        InputError: the text is not a box, or a last index is below the first.
    """
    numbers = _numbers(text)
    if numbers is None or len(numbers) not in (4, 6):
        raise InputError(
            f"Expected a box for {option}, got '{text}'.", "Write x0,y0,x1,y1 or, in a volume, i0,j0,k0,i1,j1,k1."
        )
    half = len(numbers) // 2
    if any(last < first for first, last in zip(numbers[:half], numbers[half:])):
        raise InputError(f"{option} {text} ends before it begins.", "Write the smaller indices first.")
    return numbers


def parse_point(text: str) -> tuple[Numbers, bool]:
    """Parse "x,y" or "i,j,k", optionally followed by ",+" for a point inside (the default) or ",-" for one outside.

    Raises:
        InputError: the text is not a point.
    """
    place, comma, sign = text.rpartition(",")
    inside = sign.strip() != "-"
    numbers = _numbers(place if comma and sign.strip() in ("+", "-") else text)
    if numbers is None or len(numbers) not in (2, 3):
        raise InputError(
            f"Expected a --point, got '{text}'.", "Write x,y or, in a volume, i,j,k; add ,- if it is outside."
        )
    return numbers, inside


def _numbers(text: str) -> Numbers | None:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        return None
    return numbers if all(math.isfinite(number) for number in numbers) else None


def _ends(numbers: Numbers, stack: SliceStack) -> np.ndarray:
    """Return the two ends of a box, or a point, as (n, 3) indices i, j, k; NaN across the slices for two indices."""
    size = len(numbers) if len(numbers) < 4 else len(numbers) // 2
    ends = np.array(numbers, float).reshape(-1, size)
    return ends if size == 3 else np.insert(ends, "IJK".index(stack.source_axis), np.nan, axis=1)


def _whole(numbers: Numbers, stack: SliceStack, number: int | None, option: str) -> np.ndarray:
    """Return the ends of a mark as (n, 3) indices, on slice `number` if it has two indices; refuse marks outside."""
    ends = _ends(numbers, stack)
    if np.isnan(ends).any() and number is None and len(stack) > 1:
        raise InputError(f"{option} has two indices, but '{stack.volume.name}' has {len(stack)} slices.", FRAME)
    ends = np.where(np.isnan(ends), stack.source_index(number or 0), ends)
    for end in ends:
        _check_inside(end, stack.volume, option)
    return ends


def _check_inside(index: np.ndarray, volume: Volume, option: str) -> None:
    """Refuse an index outside of a volume; NaN is always inside."""
    size = volume.shape[::-1]
    if ((index < -0.5) | (index >= np.array(size) - 0.5 + 1e-9)).any():
        flat = volume.natural and size[2] == 1
        shown = ", ".join(f"{value:g}" for value in index[: 2 if flat else 3] if not np.isnan(value))
        size_shown = f"{size[0]} x {size[1]} pixels" if flat else f"{' x '.join(map(str, size))} voxels"
        remedy = f"Give x,y from 0,0 to {size[0] - 1},{size[1] - 1}." if flat else FRAME
        raise InputError(f"{option} reaches ({shown}), outside of '{volume.name}' with {size_shown}.", remedy)


def _triple(values: Iterable[float]) -> tuple[int, int, int]:
    i, j, k = map(int, values)
    return i, j, k
