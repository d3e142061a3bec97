"""The words of reports: findings, places, and the words around them; plurals and misspellings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache

from ..volumes.terminology import ALTERED, ANATOMY, IRREGULAR, TERMS


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_MORE_FINDINGS = _listed(
    "pneumonia opacity consolidation effusion fracture calcification microcalcification polyp abscess infiltrate "
    "pneumothorax atelectasis aneurysm stone calculus infarct infarction stroke stenosis ulcer adenoma fibroadenoma "
    "lymphoma sarcoma astrocytoma glioblastoma malformation hernia lymphadenopathy hemangioma malignancy"
)
_PLURALS = {
    **{plural: one for plural, one in IRREGULAR.items() if one in TERMS},
    "opacities": "opacity",
    "calculi": "calculus",
    "malignancies": "malignancy",
    "emboli": "embolus",
    "thrombi": "thrombus",
    "abscesses": "abscess",
    "stenoses": "stenosis",
    "biopsies": "biopsy",
}
FINDINGS = frozenset({word for word, term in TERMS.items() if term.category == ALTERED} | _MORE_FINDINGS)
"""Nouns of what can be found, in the singular."""
PLACES = frozenset(
    {word for word, term in TERMS.items() if term.category == ANATOMY} | {"lungs", "kidneys", "ventricles"}
)
"""Organs that can be segmented as such."""
_PLACES = PLACES | _listed(
    "breast lobe hemisphere cerebellum chest abdomen pelvis neck head axilla hilum apex base "
    "pleura pleural midline cortex quadrant"
)
_NO_MODIFIERS = _listed(
    "a an the this that these those same there is are was were be been has have and or nor with in within of at on "
    "near to from by for as it its which new old seen shows show showing demonstrates reveals contains known measuring "
    "measures cm mm x about approximately up than due one two three four multiple several few many other another any "
    "some further also now again mri ct scan image examination study ultrasound radiograph biopsy represent represents "
    "indicate indicates mean means"
)
_SHORT = 5
"""Minimum letters of a word in which one wrong letter is corrected: "mask" is no "mass"."""
_NO_SLIPS = frozenset({"lesson", "lessons", "heard", "breath", "braid", "spline", "river", "stones"})
"""Correct words that differ by one letter from a known one."""


NOT_ITSELF = _listed("effect effects marker markers risk risks screening like protocol")
"""Words behind a finding that make it another thing: a mass effect is no mass."""
ANAPHORA = _listed("the this that these those same")
IN = _listed("in within of at on near involving along inside over")


class Spelling(Enum):
    """How a word is spelled in a report: as known, in the plural or British, or wrong."""

    KNOWN = auto()
    FORM = auto()
    MENDED = auto()


@dataclass(frozen=True)
class Word:
    """A word in lower case as it is read; findings in the singular and in American spelling ("tumor")."""

    written: str
    word: str
    spelling: Spelling = Spelling.KNOWN


def read_word(written: str) -> Word:
    """Read a word of a report: findings become singular, and one wrong letter in a known word is corrected."""
    lowered = written.lower()
    one = _singular(lowered)
    if one in FINDINGS:
        return Word(lowered, one.replace("tumour", "tumor"), Spelling.FORM)
    if is_place(lowered):
        return Word(lowered, lowered)
    if len(lowered) >= _SHORT and lowered.isalpha() and lowered not in _NO_SLIPS and not lowered.endswith("ed"):
        for known in _vocabulary().get(lowered[0], ()):
            if _one_slip(lowered, known):
                one = _singular(known)
                return Word(lowered, one.replace("tumour", "tumor") if one in FINDINGS else known, Spelling.MENDED)
    return Word(lowered, lowered)


def is_place(word: str) -> bool:
    """Tell whether a word names a part of the body."""
    return not _PLACES.isdisjoint((word, word.removesuffix("s")))


def is_size(word: str) -> bool:
    """Tell whether a word is a number or a size, such as "2" or "3cm"."""
    return bool(re.fullmatch(r"\d[\w-]*", word))


def is_modifier(word: str) -> bool:
    """Tell whether a word before a finding may belong to it: "irregular", "left", "brain"."""
    return word not in _NO_MODIFIERS and word not in FINDINGS and not is_size(word) and len(word) > 1


def _singular(word: str) -> str:
    return _PLURALS.get(word) or (word if word in FINDINGS else word.removesuffix("s"))


@cache
def _vocabulary() -> dict[str, tuple[str, ...]]:
    """Collect the words whose misspellings are corrected, by first letter: findings, their plurals, and places."""
    known = FINDINGS | {word + "s" for word in FINDINGS} | _PLURALS.keys() | _PLACES
    words = sorted(word for word in known if len(word) >= _SHORT)
    return {letter: tuple(word for word in words if word[0] == letter) for letter in {word[0] for word in words}}


def _one_slip(word: str, known: str) -> bool:
    """Tell whether two words differ by one letter inserted, deleted or replaced, or by two swapped neighbors."""
    if abs(len(word) - len(known)) > 1 or word == known:
        return False
    at = next((n for n, (a, b) in enumerate(zip(word, known)) if a != b), min(len(word), len(known)))
    if len(word) != len(known):
        longer, shorter = sorted((word, known), key=len, reverse=True)
        return longer[at + 1 :] == shorter[at:]
    swapped = word[at : at + 2] == known[at : at + 2][::-1] and word[at + 2 :] == known[at + 2 :]
    return swapped or word[at + 1 :] == known[at + 1 :]
