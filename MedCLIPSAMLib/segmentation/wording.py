"""Notes on the wording of a prompt: on negations, and on words that the model does not know.

A text-image model hardly understands negation: "not a tumor" marks the same place as "a tumor". What to exclude belongs
in the negative prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .languages import FOREIGN_DENIAL
from .spelling import suggest

if TYPE_CHECKING:
    from ..models.clip import ClipModel

_NEGATION = r"(?:no|not|without|absence of|absent|never|neither)\b"
_ABSENT = re.compile(
    rf"(?:there (?:is|are) )?{_NEGATION}"  # no tumor; there is no tumor
    rf"|{FOREIGN_DENIAL}"  # kein Tumor
    r"|(?:(?:an?|the) )?(?:normal )?(?:image|picture|scan|slice|ct|mri|x-ray|ultrasound)s? (?:without|with no)\b"
    r"|.*\b(?:is|are) (?:absent|not (?:seen|present|visible|there|shown))\b",
    re.IGNORECASE,
)
_WITHIN = re.compile(rf"\b({_NEGATION})", re.IGNORECASE)
REMEDY = "name what to segment, and what to leave out as the negative prompt"


def says_absent(prompt: str) -> bool:
    """Tell whether a prompt names only what is absent, so that there is nothing to segment."""
    return _ABSENT.match(" ".join(prompt.split())) is not None


def explain_absence(prompt: str) -> str:
    """Return why nothing was found for a prompt that says what is absent."""
    return f"Nothing found for '{prompt}': it says what is not there; {REMEDY}."


def meant(clip: ClipModel, unknown: Iterable[str]) -> str:
    """Return a question that suggests known words one slip away from the unknown ones; empty if there are none."""
    known = clip.known_words()
    near = dict.fromkeys(f"'{found}'" for word in unknown if (found := suggest(word, known)))
    return f"Did you mean {' and '.join(near)}?" if near else ""


def notes(clip: ClipModel, prompt: str, negative: str | None = None) -> tuple[str, ...]:
    """Return sentences for the user on the wording of a prompt."""
    sentences = []
    unknown = list(dict.fromkeys(clip.unknown_words(f"{prompt} {negative or ''}")))
    if unknown:
        left_out = f"Words that the model '{clip.name}' does not know were left out: {', '.join(unknown)}."
        sentences.append(f"{left_out} {meant(clip, unknown)}".strip())
    negation = _WITHIN.search(prompt)
    if negation and not says_absent(prompt):
        sentences.append(f"The model hardly understands '{negation[1].lower()}': {REMEDY}.")
    return tuple(sentences)
