"""Decide whether two phrases of a report mean the same finding: by the same noun, and compatible place and look."""

from __future__ import annotations

from dataclasses import dataclass

from ..volumes.terminology import TERMS
from .report_words import IN, PARTS, POSITIONS, SIDES, is_place

_REGIONS = frozenset({"chest", "abdomen", "pelvis", "neck", "head", "midline"})
"""Body regions that contain organs: a nodule in the chest may be one in the lung."""
_JOINTS = IN | {"of", "the", "a", "an", "and"}


GENERAL = frozenset({"lesion", "mass", "tumor", "neoplasm", "nodule"})
"""Nouns that are used interchangeably for one finding."""


@dataclass(frozen=True)
class Described:
    """A finding: its noun, and the words around it sorted by meaning."""

    head: str
    sides: frozenset[str]
    organs: frozenset[str]
    parts: frozenset[str]
    positions: frozenset[str]
    looks: frozenset[str]


def describe(head: str, phrase: str) -> Described:
    """Sort the words of a phrase by their meaning."""
    words = [word for word in phrase.split() if word != head and word not in _JOINTS]
    sides = {"left", "right"} if {"both", "bilateral"} & set(words) else {"left", "right"} & set(words)
    places = {word.removesuffix("s") if not word.endswith("ss") else word for word in words if is_place(word)}
    organs = {TERMS[place].code[1] if place in TERMS else place for place in places - _REGIONS - PARTS}
    positions = POSITIONS & set(words)
    looks = {word for word in words if word not in SIDES | POSITIONS and not is_place(word)}
    return Described(head, frozenset(sides), frozenset(organs), frozenset(places & PARTS), positions, frozenset(looks))


def is_same(known: Described, said: Described, loose: bool = False, again: bool = False) -> bool:
    """Tell whether two phrases can mean the same finding.

    Args:
        loose: the descriptions may differ, as when "the mass" or an impression refers to a finding described earlier;
            and in the same place a mass may be called a lesion.
        again: the phrase refers to a known finding, as in "the lesion", so it need not name a place.
    """
    if known.head != said.head:
        placed = known.organs & said.organs or known.parts & said.parts
        if not (loose and (again or placed) and {known.head, said.head} <= GENERAL):
            return False
    if not (loose or _is_nested(known.looks, said.looks)) or not _is_nested(known.positions, said.positions):
        return False
    for one, other in ((known.sides, said.sides), (known.organs, said.organs), (known.parts, said.parts)):
        if one and other and one.isdisjoint(other):
            return False
    return True


def _is_nested(one: frozenset[str], other: frozenset[str]) -> bool:
    return not one or not other or one <= other or other <= one
