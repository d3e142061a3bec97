"""What to segment in a volume."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from operator import index
from types import NoneType
from typing import Any, Literal

from ..choices import Plane, Strategy, parse_choice
from ..errors import InputError, PromptError, check_type
from ..segmentation.prompts import check_prompts
from ..segmentation.settings import Settings
from ..volumes.window import Window, check_window


@dataclass(frozen=True)
class SegmentationRequest:
    """Prompts on slices of a volume.

    Args:
        prompts: one prompt per structure.
        negative: a prompt for what to exclude.
        plane: plane of the slices.
        slices: slice numbers, or "all"; a single number needs no tuple. None means the middle slice, or all slices if
            masks are propagated.
        strategy: None propagates by memory if several slices are requested, and otherwise segments each slice
            independently. The strategies that propagate need consecutive slices; `Strategy.PLANES` needs all slices.
        settings: None uses those of the segmenter.
        window: display window, see `volumes.SliceStack`.

    Raises:
        PromptError: there is no prompt, a prompt is not text, or the same prompt is given twice. InputError: unknown
            plane or strategy, invalid window, or slices that are not integers.
    """

    prompts: tuple[str, ...]
    negative: str | None = None
    plane: Plane = Plane.AXIAL
    slices: tuple[int, ...] | Literal["all"] | None = None
    strategy: Strategy | None = None
    settings: Settings | None = None
    window: Window = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompts", check_prompts(self.prompts))
        check_type(self.negative, (str, NoneType), "a negative prompt as text, or None", error=PromptError)
        object.__setattr__(self, "negative", (self.negative or "").strip() or None)
        check_type(self.settings, (Settings, NoneType), "Settings, or None", "Start from default_settings(model).")
        if len(set(self.prompts)) < len(self.prompts):
            raise PromptError("The same prompt was given twice.", "Give each structure once.")
        object.__setattr__(self, "plane", parse_choice(Plane, self.plane, "plane"))
        if self.strategy is not None:
            object.__setattr__(self, "strategy", parse_choice(Strategy, self.strategy, "strategy"))
        if self.slices is not None:
            object.__setattr__(self, "slices", _slice_numbers(self.slices))
        check_window(self.window)
        if self.window is not None and not isinstance(self.window, str):
            low, high = self.window
            object.__setattr__(self, "window", (float(low), float(high)))

    def resolve(self, count: int, volume: str, plane: str) -> ResolvedRequest:
        """Resolve the default slices and strategy for a stack of `count` slices.

        Args:
            volume, plane: names for messages.

        Raises:
            InputError: slices do not exist or do not suit the strategy.
        """
        several = self.slices == "all" or (self.slices is not None and len(self.slices) > 1)
        strategy = self.strategy or (Strategy.MEMORY if several else Strategy.SLICES)
        if self.slices is None and strategy == Strategy.SLICES:
            numbers: tuple[int, ...] = (count // 2,)
        else:
            numbers = tuple(range(count)) if self.slices is None or self.slices == "all" else self.slices
        outside = [number for number in numbers if not 0 <= number < count]
        if outside or not numbers:
            requested = f"slice {outside[0]}" if outside else "none"
            raise InputError(
                f"Expected {plane} slices of '{volume}' from 0 to {count - 1}, got {requested}.",
                "Give slice numbers in this range.",
            )
        if count == 1:
            strategy = Strategy.SLICES  # nothing to propagate to
        elif strategy != Strategy.SLICES:
            numbers = tuple(sorted(set(numbers)))
            if numbers[-1] - numbers[0] >= len(numbers):
                raise InputError(
                    "The slices do not follow one another.", "Give a range of slices, or use the strategy 'slices'."
                )
        return ResolvedRequest(self.prompts, self.negative, numbers, strategy, self.window)

    def describe(self, resolved: ResolvedRequest) -> dict[str, Any]:
        """Return what the results depend on besides voxels, models and settings, as JSON values, for resuming.

        Slices that are segmented independently are not included, as more of them may be requested later.
        """
        described: dict[str, Any] = {"prompts": list(self.prompts), "plane": self.plane.value}
        described |= {"negative": self.negative, "window": self.window}
        if resolved.strategy != Strategy.SLICES:
            span = None if self.slices is None else [resolved.slices[0], resolved.slices[-1]]
            described |= {"propagate": resolved.strategy.value, "slices": span}
        return described


def _slice_numbers(slices: Any) -> tuple[int, ...] | Literal["all"]:
    """Convert slice numbers to a tuple: "all", one integer, or several."""
    if isinstance(slices, str) and slices == "all":
        return "all"
    try:
        numbers = list(slices) if isinstance(slices, Iterable) and not isinstance(slices, str) else [slices]
        if any(isinstance(number, bool) for number in numbers):
            raise TypeError
        return tuple(map(index, numbers))
    except TypeError:
        raise InputError(
            f"Expected integers or 'all' as slices, got {slices!r}.", "Give a number, such as 70, or range(60, 80)."
        ) from None


@dataclass(frozen=True)
class ResolvedRequest:
    """A request whose slices and strategy are resolved for a stack; see `SegmentationRequest`."""

    prompts: tuple[str, ...]
    negative: str | None
    slices: tuple[int, ...]
    strategy: Strategy
    window: Window = None

    def along(self, count: int) -> ResolvedRequest:
        """Return the same request for all `count` slices of another stack, with the strategy `MEMORY`."""
        return replace(self, slices=tuple(range(count)), strategy=Strategy.MEMORY)
