"""The texts of the starter CLIP's training, and which of them describe an example.

A text describes an example, or does not, or it is not known: whether an image shows a benign tumor is unknown where
it was not recorded. Unknown pairs are no negatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from ..phantoms.captions import Text, all_texts, impossible_texts
from .examples import LESION, Example, fits

MAX_REGIONS = 12
"""Maximum regions of an example for texts; further ones are not aligned patch by patch."""

_LESION_NAMES = {
    "US": ("breast tumor", "breast lesion", "breast mass", "breast cancer", "breast nodule", "tumor"),
    "MR": ("brain tumor", "brain lesion", "brain mass", "brain cancer", "tumor", "mass"),
    "CT": ("lung nodule", "pulmonary nodule", "lung lesion", "lung mass", "nodule"),
}
_IMAGES = {
    "US": ("ultrasound", "breast ultrasound image", "sonogram of the breast"),
    "MR": ("MRI", "brain MRI", "brain scan", "magnetic resonance image of the brain"),
    "CT": ("CT", "CT slice of the chest", "axial chest CT", "computed tomography of the lung"),
    "XR": ("chest radiograph", "frontal chest X-ray", "X-ray image of the chest"),
}
_KINDS = {"US": ("benign tumor", "malignant tumor"), "MR": ("glioma", "meningioma", "pituitary tumor"), "CT": ()}
_REQUESTS = (
    "where is the {}",
    "find the {}",
    "outline the {}",
    "segment {}",
    "{} region",
    "the {}",
    "an image of a {}",
    "a photo of a {}",
    "{} tissue",
    "suspicious {}",
    "visible {}",
    "abnormal area, {}",
)
_DESCRIPTIONS = (
    "{image} of a {name}",
    "{image} with {name}",
    "a medical {image} showing a {name}",
    "{name} on {image}",
)
_ORGANS = {
    "lung": ("lungs", "both lungs", "lung fields"),
    "heart": ("heart", "cardiac silhouette"),
    "left lung": ("left lung",),
    "right lung": ("right lung",),
}


def training_texts() -> tuple[list[Text], list[Text]]:
    """Return the texts that describe some example, and those that describe none; the same lists at every call."""
    possible = {text.text: text for text in (*_real_texts(), *all_texts())}
    nowhere = {text.text: text for text in impossible_texts() if text.text not in possible}
    return list(possible.values()), list(nowhere.values())


def _real_texts() -> list[Text]:
    """List texts in which people ask for what the real images show."""
    made = []
    for modality, names in _LESION_NAMES.items():
        here = frozenset({f"modality:{modality}"})
        made += [Text(request.format(name), here, frozenset()) for name, request in product(names, _REQUESTS)]
        for image, name in product(_IMAGES[modality], names):
            made += [Text(pattern.format(image=image, name=name), here, frozenset()) for pattern in _DESCRIPTIONS]
            made += [Text(f"{image} without {name}", here | {"lesions:0"})]
            made += [Text(f"normal {image}, no {name}", here | {"lesions:0"})]
        for image, kind in product(_IMAGES[modality], _KINDS[modality]):
            fact = frozenset({f"kind:{kind.removesuffix(' tumor')}"})
            made += [Text(pattern.format(image=image, name=kind), here, fact) for pattern in _DESCRIPTIONS]
    xray = frozenset({"modality:XR"})
    for organ, names in _ORGANS.items():
        for name in names:
            made += [
                Text(request.format(name), organ=organ) for request in ("segment the {}", "outline of the {}", "{}")
            ]
            made += [Text(f"{name} on a {image}", xray, organ=organ) for image in _IMAGES["XR"]]
            made += [Text(f"{image} showing the {name}", xray, organ=organ) for image in _IMAGES["XR"]]
    return made


@dataclass(frozen=True)
class TextMatches:
    """Which of T texts describe which of N examples.

    Args:
        match, unknown: (N, T) bool; where neither holds the text does not describe the example.
        region: (N, T) int8, number of the text's region; -1 where it has none.
        regions: of each example, the numbers of the structures that make up its regions, in order.
    """

    match: np.ndarray
    unknown: np.ndarray
    region: np.ndarray
    regions: list[list[tuple[int, ...]]]


def match_texts(examples: list[Example], texts: list[Text]) -> TextMatches:
    """Compare every text with every example."""
    facts = _FactTable(examples, texts)
    shape = (len(examples), len(texts))
    match, unknown, members = np.zeros(shape, bool), np.zeros(shape, bool), np.zeros(shape, np.int64)
    for column, text in enumerate(texts):
        match[:, column], unknown[:, column], members[:, column] = facts.compare(text)
    region, regions = np.full(shape, -1, np.int8), list[list[tuple[int, ...]]]()
    for row, chosen in enumerate(members):
        sets = np.unique(chosen[chosen > 0])[:MAX_REGIONS]
        for number, structures in enumerate(sets):
            region[row, chosen == structures] = number
        regions.append([_members(int(structures)) for structures in sets])
    return TextMatches(match, unknown, region, regions)


class _FactTable:
    """The facts of all examples and of all their lesions as tables, so that a text is compared with all at once."""

    def __init__(self, examples: list[Example], texts: list[Text]) -> None:
        shown = {fact for example in examples for fact in (*example.facts, *_lesion_facts(example))}
        known = sorted(shown | {fact for text in texts for fact in (*text.facts, *(text.lesion or ()))})
        self._number = {fact: number for number, fact in enumerate(known)}
        self._count = len(examples)
        self._facts = np.array([self._row(example.facts) for example in examples])
        kinds = [fact.split(":")[0] for fact in known]
        self._unknown = np.array([[kind in example.unknown_facts for kind in kinds] for example in examples])
        lesions, organs = [], []
        for owner, example in enumerate(examples):
            for place, structure in enumerate(example.structures[:60]):
                if structure.name == LESION:
                    lesions.append((owner, place, self._row(structure.facts)))
                else:
                    organs.append((owner, place, structure.name))
        self._lesion_owner = np.array([owner for owner, _, _ in lesions], int)
        self._lesion_place = np.array([place for _, place, _ in lesions], int)
        self._lesion_facts = np.array([row for _, _, row in lesions]).reshape(len(lesions), len(known))
        self._organs = organs
        self._unknown_organs = [example.unknown_organs for example in examples]
        self._organ_names = [{structure.name for structure in example.organs} for example in examples]

    def _row(self, facts: frozenset[str]) -> np.ndarray:
        row = np.zeros(len(self._number), bool)
        row[[self._number[fact] for fact in facts]] = True
        return row

    def compare(self, text: Text) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compare a text with each example: whether it is true, whether that is unknown, and its structures' bits."""
        nothing = np.zeros(self._count, bool)
        if text.impossible:
            return nothing, nothing, np.zeros(self._count, np.int64)
        absent, unsure = self._missing(text.facts, self._facts, self._unknown)
        hit, possible, members = self._target(text)
        match = ~absent & ~unsure & hit
        unknown = ~absent & (unsure | possible) & ~match
        return match, unknown, np.where(match, members, 0)

    def _missing(self, facts: frozenset[str], table: np.ndarray, unknown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return whether one of the facts is false, and whether none is false but one is unknown."""
        absent, unsure = np.zeros(len(table), bool), np.zeros(len(table), bool)
        for fact in facts:
            number = self._number[fact]
            absent |= ~table[:, number] & ~unknown[:, number]
            unsure |= ~table[:, number] & unknown[:, number]
        return absent, unsure & ~absent

    def _target(self, text: Text) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return whether a text's target is in each example, whether it may be, and bits for its structures."""
        members = np.zeros(self._count, np.int64)
        if text.lesion is not None:
            unknown = self._unknown[self._lesion_owner]
            absent, unsure = self._missing(text.lesion, self._lesion_facts, unknown)
            found = ~absent & ~unsure
            np.bitwise_or.at(members, self._lesion_owner[found], 1 << self._lesion_place[found])
            possible = np.zeros(self._count, bool)
            possible[self._lesion_owner[unsure]] = True
            return members > 0, possible & (members == 0), members
        if text.organ is not None:
            for owner, place, name in self._organs:
                if fits(name, text.organ):
                    members[owner] |= 1 << place
            possible = np.array([self._may_show(text.organ, row) for row in range(self._count)], bool)
            return members > 0, possible & (members == 0), members
        return np.ones(self._count, bool), np.zeros(self._count, bool), members

    def _may_show(self, organ: str, row: int) -> bool:
        if organ in ("left lung", "right lung") and "lungs" in self._organ_names[row]:
            return True
        return any(organ.endswith(name) or name.endswith(organ) for name in self._unknown_organs[row])


def _lesion_facts(example: Example) -> set[str]:
    return {fact for lesion in example.lesions for fact in lesion.facts}


def _members(bits: int) -> tuple[int, ...]:
    return tuple(place for place in range(bits.bit_length()) if bits >> place & 1)
