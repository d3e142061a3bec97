"""Explanations of results in plain words, and what to try if nothing was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from MedCLIPSAMScene.results import PromptResult, SceneResult
from MedCLIPSAMScene.strings import _

SURE, FAIR = 0.9, 0.7
"""Minimum presence of a clear fit, and of a fair one."""
GOOD, FAIR_OUTLINE = 0.85, 0.7
"""Minimum predicted mask quality that counts as good, and as fair."""


def describe(result: SceneResult, models: tuple[str, ...], presenceThreshold: float) -> str:
    """Return the lines of a result of prompts.

    Args:
        models: names of the text-image model and of SAM.
        presenceThreshold: minimum presence of a prompt that counts as found, 0 to 1.
    """
    lines = []
    for prompt in result.prompts:
        lines.append(prompt.message)
        if prompt.found:
            lines.append(_inWords(prompt))
    if any(not prompt.found for prompt in result.prompts):
        lines.append(_whatToTry(presenceThreshold))
    lines.append(
        _("{seconds:.1f} s on {device}. Models: {models}.").format(
            seconds=result.seconds, device=result.device.upper(), models=", ".join(dict.fromkeys(models))
        )
    )
    return "\n".join(lines)


def describeStored(tags: Mapping[str, str]) -> str:
    """Describe a segment that an earlier run has made, from its tags."""
    known = {name.removeprefix("MedCLIPSAM."): value for name, value in tags.items()}
    parts = [_("The chosen segment was made by the prompt '{prompt}'").format(prompt=known["Prompt"])]
    models = ", ".join(dict.fromkeys(known[name] for name in ("Model", "Sam") if name in known))
    for text, value in (
        (_("score {value}"), known.get("Score")),
        (_("models {value}"), models),
        (_("on {value}"), known.get("Date", "")[: len("2026-01-31")]),
        (_("corrected: {value}"), known.get("Corrected")),
    ):
        if value:
            parts.append(text.format(value=value))
    return ", ".join(parts) + "."


def listNotes(notes: Sequence[str]) -> str:
    """Return notes as a bulleted list; empty without notes."""
    return "\n".join(f"\u2022 {note}" for note in notes)


def _inWords(prompt: PromptResult) -> str:
    quality = prompt.score / prompt.presence if prompt.presence else 0.0
    if prompt.presence >= SURE:
        fits = _("the image fits the prompt far better than its negation")
    elif prompt.presence >= FAIR:
        fits = _("the image fits the prompt better than its negation")
    else:
        fits = _("the image fits the prompt hardly better than its negation, so look closely")
    if quality >= GOOD:
        outline = _("SAM is sure of the outline")
    elif quality >= FAIR_OUTLINE:
        outline = _("SAM is fairly sure of the outline")
    else:
        outline = _("SAM is unsure of the outline, so correct it")
    return _("In words: {fits}; {outline}.").format(fits=fits, outline=outline)


def _whatToTry(presenceThreshold: float) -> str:
    text = _(
        "That is a result: the models do not see it there. If you do: show another slice, or choose a preset or "
        "plainer words; set brightness and contrast as for reading such images, because the models see what the view "
        "shows; choose models trained on such images; or mark it yourself, with 'Point inside', or with 'Add box' and "
        "'Segment from boxes'."
    )
    if presenceThreshold > 0:
        text += " " + _(
            "'Found from presence' at 0 (Settings, now {threshold:.2f}) shows the most salient place."
        ).format(threshold=presenceThreshold)
    return text
