"""Images of one series at the same positions, separated by their tags: phases, echoes, b-values, times."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import comb
from typing import Any

import numpy as np

from MedCLIPSAMLib.volumes.dicom_header import Frame
from MedCLIPSAMLib.volumes.dicom_telling import (
    HALF_DAY,
    INSTANCE,
    Tag,
    as_number,
    may_pass_midnight,
    other_tags,
    telling_tags,
)

SAME_PLACE_MM = 0.01
JITTER = 0.05
"""Maximum distance between images at one position, as a share of the distance to the next position."""
WHOLE_SHARE = 0.75
"""Minimum share of positions with all images for ordering the images at the other positions."""
CLEAR = 0.5
"""Maximum deviation from the values expected for the chosen phases, as a share of that of the next best choice."""
MAX_CHOICES = 10_000


@dataclass(frozen=True, eq=False)
class FrameGroup:
    """Images that form one stack, and the label that distinguishes them in the series ("" if it is the only one)."""

    label: str
    frames: list[Frame]

    def within(self, *labels: str) -> FrameGroup:
        """Return the same images with these labels before their own."""
        return FrameGroup(", ".join(filter(None, (*labels, self.label))), self.frames)


def group_by(frames: Iterable[Frame], key: Callable[[Frame], Hashable]) -> dict[Any, list[Frame]]:
    """Group images by a key, in order of first occurrence."""
    groups: dict[Any, list[Frame]] = defaultdict(list)
    for frame in frames:
        groups[key(frame)].append(frame)
    return groups


# For these tags, images can be ranked at each position if the values differ from slice to slice.
ORDERED = (
    "temporal position",
    "time offset",
    "trigger time",
    "cardiac phase",
    "frame reference time",
    "acquisition",
    "acquisition time",
    "content time",
)
# These tags may separate stacks that together are as evenly spaced as one stack acquired in turns: `_tells_stacks`.
CONTRAST = (
    "echo time",
    "echo",
    "b-value",
    "inversion time",
    "flip angle",
    "component",
    "cardiac phase",
    "tube voltage",
    "energy",
    "kernel",
)
SAME_CONTRAST = 0.05
"""Maximum difference of equal contrast values, as a share of the largest: scanners adjust them slice by slice."""
OVERLAPPING = 1.5
"""Minimum slice thickness, relative to the slice distance of all images, of stacks that each cover the body."""


def depths_of(frames: Sequence[Frame]) -> np.ndarray:
    """Compute positions along the normal in mm, made equal for images at one place."""
    normal = np.asarray(frames[0].orientation)[:, 2]
    depths = np.array([frame.position for frame in frames]) @ normal
    order = np.argsort(depths, kind="stable")
    ordered = depths[order]
    gaps = np.diff(ordered)
    starts = np.concatenate([[True], gaps > SAME_PLACE_MM])
    if len(gaps) > 3:
        # Phases whose positions differ slightly: groups of equal size, far from each other
        apart = np.concatenate([[True], gaps > JITTER * gaps.max()])
        places = np.flatnonzero(apart)
        sizes = np.diff(np.append(places, len(ordered)))
        extents = ordered[places + sizes - 1] - ordered[places]
        if len(places) > 2 and len(set(sizes)) == 1 and extents.max() <= JITTER * gaps.max():
            starts = apart
    depths[order] = ordered[np.flatnonzero(starts)[np.cumsum(starts) - 1]]
    return depths


def tell_apart(frames: Sequence[Frame], by_number: bool = True) -> list[FrameGroup] | None:
    """Split images of one orientation and size into stacks by tags that differ; None if that is impossible.

    Args:
        by_number: if no tag in `telling_tags` distinguishes all images, also try the order of instance numbers, tags
            that distinguish some of them, and any other tag.
    """
    depths = depths_of(frames)
    if len(set(depths)) == len(depths):
        return _split_interleaved(frames, depths)
    depth = dict(zip(frames, depths))
    parts = _split_by_tag(list(frames), depth, by_number)
    if parts or not by_number:
        return parts
    others = other_tags(frames)
    return (
        _split_partly(frames, depth, telling_tags(frames))
        or _split_by_tag(list(frames), depth, by_number, others)
        or _split_partly(frames, depth, others)
    )


def _split_by_tag(
    frames: list[Frame], depth: dict[Frame, float], by_number: bool, tags: Sequence[Tag] | None = None
) -> list[FrameGroup] | None:
    largest = max(Counter(depth[frame] for frame in frames).values())
    if largest == 1:
        return [FrameGroup("", frames)]
    places = len({depth[frame] for frame in frames})
    for name, unit, value in tags or telling_tags(frames):
        groups = group_by(frames, value)
        if len(groups) > largest and name in CONTRAST:
            groups = _join_close(groups)
        if not 2 <= len(groups) <= largest:
            continue
        if any(len({depth[frame] for frame in group}) <= places / 2 for group in groups.values()):
            continue
        parts: list[FrameGroup] = []
        for found in _in_time(groups):
            further = _split_by_tag(groups[found], depth, by_number)
            if further is None:
                break
            label = _label(name, found, unit)
            if len(further) == 1:
                label += _lacking(len(groups[found]), places)
            parts += [part.within(label) for part in further]
        else:
            return parts
    return _by_order(frames, depth, by_number)


def _join_close(groups: dict[Hashable | None, list[Frame]]) -> dict[Hashable | None, list[Frame]]:
    """Join groups whose values differ by at most `SAME_CONTRAST`, under the most frequent value."""
    if not all(isinstance(value, (int, float)) for value in groups):
        return groups
    runs: list[list[Hashable | None]] = []
    for value in sorted(groups, key=_order):
        if runs and not _differ([runs[-1][-1], value]):
            runs[-1].append(value)
        else:
            runs.append([value])
    usual = [max(run, key=lambda value: len(groups[value])) for run in runs]
    return {most: [frame for value in run for frame in groups[value]] for most, run in zip(usual, runs)}


def _split_partly(frames: Sequence[Frame], depth: dict[Frame, float], tags: Sequence[Tag]) -> list[FrameGroup] | None:
    """Split images by a tag some of whose values cover only some of the positions.

    This happens if slices were acquired again, or if stations share slices. There may be more groups than images at a
    position only if each group consists of adjacent slices.
    """
    largest = max(Counter(depth[frame] for frame in frames).values())
    places = {place: number for number, place in enumerate(sorted({depth[frame] for frame in frames}))}
    for name, unit, value in tags:
        groups = group_by(frames, value)
        once = all(len({depth[frame] for frame in group}) == len(group) for group in groups.values())
        numbers = [[places[depth[frame]] for frame in group] for group in groups.values()]
        runs = len(groups) <= len(frames) // 2 and all(max(run) - min(run) == len(run) - 1 for run in numbers)
        if once and (2 <= len(groups) <= largest or (len(groups) > largest and runs)):
            return [FrameGroup(_label(name, found, unit), groups[found]) for found in _in_time(groups)]
    return None


def _by_order(frames: list[Frame], depth: dict[Frame, float], by_number: bool) -> list[FrameGroup] | None:
    """Split images by their order at each position, if times differ from slice to slice."""
    by_place = group_by(frames, depth.__getitem__)
    ordered = [tag for tag in telling_tags(frames) if tag[0] in ORDERED]
    for name, unit, value in [*ordered, INSTANCE] if by_number else ordered:
        known = {frame: value(frame) for frame in frames}
        if None in known.values() or may_pass_midnight(known.values()):
            continue
        if any(len({known[frame] for frame in group}) < len(group) for group in by_place.values()):
            continue
        ranks = _rank(by_place, known)
        if ranks is None:
            continue
        parts = []
        for rank, group in enumerate(ranks):
            values = sorted((known[frame] for frame in group), key=_order)
            low, high = values[0], values[-1]
            span = f"{_format_value(low)} to {_format_value(high)}" if low != high else _format_value(low)
            lacks = _lacking(len(group), len(by_place))
            parts.append(FrameGroup(f"{rank + 1} by {name} ({span}{unit}){lacks}", group))
        return parts
    return None


def _rank(by_place: dict[float, list[Frame]], known: dict[Frame, Hashable | None]) -> list[list[Frame]] | None:
    """Split images by the order of their values at each position; None if it is unclear which ones are missing.

    At positions with fewer images than others, `_choose_ranks` decides which ranks these images have.
    """
    largest = max(len(group) for group in by_place.values())
    ordered = {place: sorted(by_place[place], key=lambda frame: _order(known[frame])) for place in sorted(by_place)}
    values = {place: [as_number(known[frame]) for frame in group] for place, group in ordered.items()}
    whole = {place: numbers for place, numbers in values.items() if len(numbers) == largest}
    is_numeric = not any(None in numbers for numbers in values.values())
    ranks: list[list[Frame]] = [[] for _ in range(largest)]
    for place, group in ordered.items():
        chosen: Sequence[int] | None = range(largest)
        if len(group) < largest:
            if not is_numeric or len(whole) < WHOLE_SHARE * len(ordered):
                return None
            table = np.array(list(whole.values()), float)
            chosen = _choose_ranks(np.array(values[place], float), table, np.array(list(whole)) - place)
        if chosen is None:
            return None
        for rank, frame in zip(chosen, group):
            ranks[rank].append(frame)
    return ranks


def _choose_ranks(own: np.ndarray, table: np.ndarray, distances: np.ndarray) -> Sequence[int] | None:
    """Choose the ranks of the images at a position where some are missing; None if no choice is clearly the best.

    Ranks are assumed to differ by the same values at all positions, apart from an offset for each position. This offset
    is expected on a line over the positions and, if phases follow one another, between the offsets of the others.

    Args:
        own: values of the images at this position, sorted.
        table: values at complete positions (positions, ranks).
        distances: distances of these positions to this one, mm.
    """
    steps = (table - table[:, :1]).mean(axis=0)
    beginnings = (table - steps).mean(axis=1)
    low, high = beginnings.min(), beginnings.max()
    expected = np.polyfit(distances, beginnings, 1 if len(distances) > 1 else 0)[-1]
    if comb(table.shape[1], len(own)) > MAX_CHOICES:
        return None
    choices = list(combinations(range(table.shape[1]), len(own)))
    off = own - steps[np.array(choices)]
    beginning = off.mean(axis=1)
    costs = np.abs(off - beginning[:, None]).sum(axis=1) + np.abs(beginning - expected)
    if high - low < np.diff(steps).min():
        costs += np.clip(low - beginning, 0, None) + np.clip(beginning - high, 0, None)
    best, second = np.sort(costs)[:2]
    return choices[int(costs.argmin())] if best < CLEAR * second else None


def _in_time(groups: Mapping[Hashable | None, Sequence[Frame]]) -> list[Hashable | None]:
    """Sort the values of groups; times of day that may pass midnight by instance number, then evening first."""
    values = sorted(groups, key=_order)
    if not may_pass_midnight(values):
        return values
    numbers = {value: [frame.numbers("InstanceNumber")[:1] or [0.0] for frame in groups[value]] for value in values}
    return sorted(values, key=lambda value: (min(numbers[value]), (as_number(value) or 0.0) < HALF_DAY))


def _lacking(count: int, places: int) -> str:
    return f", at {count} of {places} positions" if count < places else ""


def _split_interleaved(frames: Sequence[Frame], depths: np.ndarray) -> list[FrameGroup]:
    """Split overlapping stacks whose positions do not coincide, if a tag makes each of them even.

    If all positions together are even too, the stacks must cover the same range with the same distances, and their
    numbers of images may differ by one; see also `_tells_stacks`.
    """
    order = np.sort(depths)
    even = _is_even(order)
    if len(order) < 4:
        return [FrameGroup("", list(frames))]
    depth = dict(zip(frames, depths))
    for name, unit, value in telling_tags(frames):
        if even and not _tells_stacks(name, frames, order):
            continue
        groups = group_by(frames, value)
        if not 2 <= len(groups) <= len(frames) // 2 or (even and not _differ(groups)):
            continue
        stacks = [np.sort([depth[frame] for frame in group]) for group in groups.values()]
        stacks.sort(key=lambda stack: stack[0])
        lowest, highest = stacks[-1][0], min(stack[-1] for stack in stacks)
        overlap = highest - lowest > 0.5 * max(stack[-1] - stack[0] for stack in stacks)
        if even:
            sizes = [len(stack) for stack in stacks]
            steps = np.array([(stack[-1] - stack[0]) / max(len(stack) - 1, 1) for stack in stacks])
            overlap &= max(sizes) - min(sizes) <= 1 and not is_uneven(steps)
        elif all(len(stack) > 2 for stack in stacks):  # stations, or slices acquired again
            overlap = any(after[0] < before[-1] for before, after in pairwise(stacks))
        if overlap and all(len(stack) > 1 and _is_even(stack) for stack in stacks):
            parts = []
            for found in _in_time(groups):
                further = tell_apart(groups[found]) or [FrameGroup("", groups[found])]
                parts += [part.within(_label(name, found, unit)) for part in further]
            return parts
    return [FrameGroup("", list(frames))]


def _tells_stacks(name: str, frames: Sequence[Frame], order: np.ndarray) -> bool:
    """Tell whether a tag may separate stacks whose positions together, `order`, are even.

    A contrast may. Time points and acquisitions may if the slices overlap, as far as their thickness is known. All
    other tags differ within one stack whose slices were acquired in turns, the odd ones first.
    """
    if name not in ("temporal position", "acquisition"):
        return name in CONTRAST
    thickness = [value for frame in frames for value in frame.numbers("SliceThickness")[:1]]
    if not thickness:
        return name == "temporal position"
    return min(thickness) > OVERLAPPING * (order[-1] - order[0]) / (len(order) - 1)


def _differ(values: Iterable[Hashable | None]) -> bool:
    """Tell whether all numbers differ by more than `SAME_CONTRAST`; other values always differ."""
    numbers = sorted(value for value in values if isinstance(value, (int, float)))
    gaps = [second - first for first, second in pairwise(numbers)]
    return not gaps or min(gaps) > SAME_CONTRAST * max(map(abs, numbers))


def is_uneven(gaps: np.ndarray) -> bool:
    """Tell whether distances between slices differ by more than rounding."""
    return bool(np.ptp(gaps) > 0.05 * min(1.0, float(np.median(gaps))))


def _is_even(depths: np.ndarray) -> bool:
    return len(depths) < 3 or not is_uneven(np.diff(depths))


def _order(value: Hashable | None) -> tuple:
    if value is None:
        return (0, 0.0, "")
    return (1, float(value), "") if isinstance(value, (int, float)) else (2, 0.0, str(value))


def _label(name: str, value: Hashable | None, unit: str) -> str:
    return f"{name} {_format_value(value)}{unit}" if value is not None else f"no {name}"


def _format_value(value: Hashable | None) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
