"""Find the slices of a stack on which to segment a prompt, by its presence on each slice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..run_context import RunContext
from ..segmentation.own_precision import in_own_precision
from ..segmentation.presence import presence
from ..segmentation.segmenter import TextSegmenter

LONG = 64
"""Minimum slices of a stack of which only every second is encoded at first, which misses no object on two slices."""
FEW = 10
BATCH = 8
"""Slices encoded together."""


@in_own_precision
def compute_presence_profile(
    segmenter: TextSegmenter,
    image: Callable[[int], np.ndarray],
    count: int,
    prompts: list[str],
    negative: str | None = None,
    context: RunContext = RunContext(),
) -> np.ndarray:
    """Compute the presence of each prompt on each slice, (P, K) float32, 0 to 1.

    In a stack of fewer than `LONG` slices, all slices are encoded. Otherwise only every second slice and the last
    one are, and the neighbors of those where any prompt reaches the threshold; the others are interpolated.

    Args:
        image: slice number -> uint8 (H, W, 3).

    Raises:
        Cancelled. PromptError: see `TextSegmenter.saliency`.
    """
    text_features = [segmenter.text_features(prompt) for prompt in prompts]
    modality = segmenter.settings.modality
    known: dict[int, np.ndarray] = {}

    def look(numbers: list[int]) -> None:
        for start in range(0, len(numbers), BATCH):
            context.raise_if_cancelled()
            some = numbers[start : start + BATCH]
            pixels = segmenter.clip.preprocess(np.stack([image(k) for k in some]))
            features = segmenter.clip.encode_image(pixels)
            by_prompt = [
                presence(segmenter.clip, features, text, prompt, negative, segmenter.encode_text, modality)
                for text, prompt in zip(text_features, prompts)
            ]
            known.update(
                {k: np.array([presences[at].probability for presences in by_prompt]) for at, k in enumerate(some)}
            )
            context.report(len(known) / count, stage="presence")

    look(sorted({*range(0, count, 1 if count < LONG else 2), count - 1}))
    seen = [k for k, values in known.items() if values.max() >= segmenter.settings.presence_threshold]
    look(sorted({near for k in seen for near in (k - 1, k + 1) if 0 <= near < count} - known.keys()))
    numbers = sorted(known)
    values = np.stack([known[k] for k in numbers])
    return np.stack([np.interp(np.arange(count), numbers, column) for column in values.T]).astype(np.float32)


def smooth(profile: np.ndarray) -> np.ndarray:
    """Average the presence on each slice with its two neighbors, (K,) to (K,).

    An object spans several slices, an error often does not. A stack of up to `FEW` slices, which are thick or a small
    part of a volume, is not smoothed.
    """
    if len(profile) <= FEW:
        return profile
    kernel = np.ones(3)
    return np.convolve(profile, kernel, "same") / np.convolve(np.ones(len(profile)), kernel, "same")


def candidates(profile: np.ndarray, threshold: float, taken: np.ndarray, max_count: int) -> list[int]:
    """Choose candidate key slices, best first: well separated slices with the highest smoothed presence.

    Args:
        profile: (K,) presence of one prompt.
        threshold: minimum smoothed presence of a candidate.
        taken: (K,) bool, slices that are no longer candidates, such as those on which the prompt was found already.
        max_count: maximum number of candidates.
    """
    score = np.where(taken, -1.0, smooth(profile))
    apart = max(1, len(profile) // 16)
    found: list[int] = []
    while len(found) < max_count and score.max() >= threshold:
        # The middle of a run of slices with equal presence shows most of the object.
        best = np.flatnonzero(score >= score.max() - 1e-3)
        run = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
        k = int((widest := max(run, key=len))[len(widest) // 2])
        found.append(k)
        score[max(0, k - apart) : k + apart + 1] = -1
    return found
