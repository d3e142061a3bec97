"""Checks of the requested prompts and slices of a volume."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

from MedCLIPSAMLib.errors import InputError, PromptError

from .sliceGeometry import SceneSlices
from .strings import _


def checkPrompts(prompts: str | Sequence[str]) -> list[str]:
    """Return the prompts as a list, stripped and without empty ones; a single text is one prompt.

    Raises:
        PromptError: a prompt is not a text, there is no prompt, or one is given twice.
    """
    found: list[Any] = [prompts] if isinstance(prompts, str) or not hasattr(prompts, "__iter__") else [*prompts]
    if not all(isinstance(prompt, str) for prompt in found):
        raise PromptError(_("Expected prompts, got {prompts!r}.").format(prompts=prompts), _("Give a list of texts."))
    cleaned = [prompt.strip() for prompt in found if prompt.strip()]
    if not cleaned:
        raise PromptError(_("No prompt was given."), _("Say what to segment, such as 'brain tumor'."))
    if len({prompt.lower() for prompt in cleaned}) < len(cleaned):
        raise PromptError(_("The same prompt was given twice."), _("Give each structure once."))
    return cleaned


def checkSlices(geometry: SceneSlices, slices: int | Sequence[int]) -> list[int]:
    """Return the slice numbers in ascending order; a single number is one slice.

    Raises:
        InputError: they are not whole numbers, or the volume has no such slices.
    """
    try:
        numbers = sorted({index(k) for k in (slices if hasattr(slices, "__iter__") else [slices])})
    except TypeError:
        raise InputError(
            _("Expected numbers of slices, got {slices!r}.").format(slices=slices), _("Give whole numbers.")
        ) from None
    if not numbers or numbers[0] < 0 or numbers[-1] >= len(geometry):
        raise InputError(
            _("Slices {first} to {last} were requested.").format(
                first=numbers[0] if numbers else "-", last=numbers[-1] if numbers else "-"
            ),
            _("'{name}' has {plane} slices 0 to {last}.").format(
                name=geometry.volumeNode.GetName(), plane=geometry.plane, last=len(geometry) - 1
            ),
        )
    return numbers
