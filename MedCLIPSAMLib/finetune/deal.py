"""Deal pairs out to batches so that a batch has no two pairs of an image and, if possible, none with equal captions.

Otherwise, another caption of an image would be a negative in the batch although it is true of the image.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from .captions import Pair, unite


def count_batches(pairs: Sequence[Pair], batch: int) -> int:
    """Count the batches that can be made of some pairs, each with `batch` different images.

    This is the largest K for which the sum over the images of min(pairs of the image, K) is at least K * batch.

    Raises:
        InputError: the pairs do not fill one batch.
    """
    times = np.array(list(Counter(pair.image for pair in pairs).values()))
    fits = lambda steps: np.minimum(times, steps).sum() >= steps * batch
    steps = bisect_left(range(1, len(pairs) // batch + 1), True, key=lambda steps: not fits(steps))
    if not steps:
        raise InputError(
            f"{len(pairs)} usable pairs of {len(times)} images do not fill a batch of {batch} with one pair per image.",
            "Give more images or a smaller batch.",
        )
    return steps


def group_pairs(pairs: Sequence[Pair]) -> list[str]:
    """Name the group of each pair; pairs that are linked by equal images or captions share a group."""
    groups = unite([f"image {pair.image}", f"caption {pair.caption}"] for pair in pairs)
    return [groups[f"image {pair.image}"] for pair in pairs]


def deal(
    pairs: Sequence[Pair], groups: Sequence[str], numbers: Sequence[int], steps: int, rng: np.random.Generator
) -> list[list[int]]:
    """Deal pairs out to batches of equal size (some may have one more), with pairs of an image in different batches.

    The pairs are dealt group by group, each to another batch. When all batches have received one, the next round starts
    with the batches that have no pair of the group, and ends with those that have one of the image.

    Args:
        pairs: all pairs.
        groups: the group of each pair; see `group_pairs`.
        numbers: numbers of the pairs to deal, in random order. If an image has more pairs than there are batches, two
            of them will meet in a batch.
        steps: number of batches.
        rng: source of the random order of the batches.

    Returns:
        The numbers of the pairs in each batch.
    """
    rank: dict[str, int] = {}
    captions: dict[object, int] = {}
    for at, number in enumerate(numbers):
        pair = pairs[number]
        rank.setdefault(groups[number], at)
        captions.setdefault(pair.image, captions.setdefault(pair.caption, at))
    images = {pairs[number].image: at for at, number in enumerate(numbers)}
    ordered = sorted(
        numbers, key=lambda number: (rank[groups[number]], captions[pairs[number].image], images[pairs[number].image])
    )
    batches: list[list[int]] = [[] for _ in range(steps)]
    left: list[int] = []
    of_group, of_image = set[int](), set[int]()
    for before, number in zip([None, *ordered], ordered):
        if before is None or groups[before] != groups[number]:
            of_group = set()
        if before is None or pairs[before].image != pairs[number].image:
            of_image = set()
        if not left:
            met = lambda at, group=of_group, image=of_image: (at in group) + (at in image)
            left = sorted(rng.permutation(steps).tolist(), key=met, reverse=True)
        at = left.pop()
        batches[at].append(number)
        of_group.add(at)
        of_image.add(at)
    return batches
