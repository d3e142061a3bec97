"""Check the requested prompts and slices of a volume."""

from __future__ import annotations

from collections.abc import Sequence

from MedCLIPSAMLib.errors import InputError, PromptError

from .sliceGeometry import SceneSlices
from .strings import _


def checkPrompts(prompts: Sequence[str]) -> list[str]:
    """Return the prompts without blanks and empty lines.

    Raises:
        PromptError: no prompt, or one given twice.
    """
    cleaned = [prompt.strip() for prompt in prompts if prompt.strip()]
    if not cleaned:
        raise PromptError(_("No prompt was given."), _("Say what to segment, such as 'brain tumor'."))
    if len({prompt.lower() for prompt in cleaned}) < len(cleaned):
        raise PromptError(_("The same prompt was given twice."), _("Give each structure once."))
    return cleaned


def checkSlices(geometry: SceneSlices, slices: Sequence[int]) -> list[int]:
    """Return the slice numbers in ascending order.

    Raises:
        InputError: the volume has no such slices.
    """
    numbers = sorted(set(slices))
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
