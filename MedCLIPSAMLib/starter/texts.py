"""The training texts of the starter CLIP, and which of them describe an example.

A text describes an example, does not describe it, or this is unknown. For instance, it is unknown whether an image
shows a benign tumor if that was not recorded. Unknown pairs are not used as negatives.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from itertools import product

import numpy as np

from ..phantoms.captions import Text, all_texts, impossible_texts
from .examples import LESION, Example, fits

MAX_REGIONS = 12
"""Maximum number of regions of an example for texts; further ones are not aligned patch by patch."""

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
    *("where is the {}", "find the {}", "outline the {}", "segment {}", "{} region", "the {}", "an image of a {}"),
    *("a photo of a {}", "{} tissue", "suspicious {}", "visible {}", "abnormal area, {}"),
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
    """Return the texts that may describe an example, and those that describe none; the same lists at every call."""
    possible = {text.text: text for text in (*_real_texts(), *all_texts())}
    nowhere = {text.text: text for text in impossible_texts() if text.text not in possible}
    return list(possible.values()), list(nowhere.values())


def _real_texts() -> list[Text]:
    """List texts as people may phrase prompts for what the real images show."""
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
        match, unknown: (N, T) bool; if neither is set, the text does not describe the example.
        region: (N, T) int8, number of the text's region, or -1 if it has none.
        regions: for each example, the numbers of the structures that make up each of its regions.
    """

    match: np.ndarray
    unknown: np.ndarray
    region: np.ndarray
    regions: list[list[tuple[int, ...]]]


def match_texts(examples: list[Example], texts: list[Text]) -> TextMatches:
    """Compare every text with every example; examples with the same facts are compared once."""
    shape = (len(examples), len(texts))
    match, unknown, region = np.zeros(shape, bool), np.zeros(shape, bool), np.full(shape, -1, np.int8)
    regions: list[list[tuple[int, ...]]] = []
    known: dict[Hashable, int] = {}
    for row, example in enumerate(examples):
        shown = tuple((structure.name, structure.facts) for structure in example.structures)
        first = known.setdefault((example.facts, shown, example.unknown_facts, example.unknown_organs), row)
        if first < row:
            match[row], unknown[row], region[row] = match[first], unknown[first], region[first]
            regions.append(regions[first])
            continue
        match[row], unknown[row], members = zip(*(_compare(text, example) for text in texts))
        regions.append(sorted(set(members) - {()}, key=lambda places: places[::-1])[:MAX_REGIONS])
        number = {places: number for number, places in enumerate(regions[-1])}
        region[row] = [number.get(places, -1) for places in members]
    return TextMatches(match, unknown, region, regions)


def _compare(text: Text, example: Example) -> tuple[bool, bool, tuple[int, ...]]:
    """Tell whether a text describes an example, whether that is unknown, and the numbers of its structures."""
    stated = _holds(text.facts, example.facts, example)
    if text.impossible or stated is False:
        return False, False, ()
    members, possible = _target(text, example)
    has_target = bool(members) or not text.has_target
    if stated and has_target:
        return True, False, members
    return False, stated is None or (possible and not members), ()


def _holds(wanted: frozenset[str], facts: frozenset[str], example: Example) -> bool | None:
    """Tell whether the wanted facts are among those of an example or its lesion; None if that is unknown."""
    missing = wanted - facts
    if any(fact.split(":")[0] not in example.unknown_facts for fact in missing):
        return False
    return None if missing else True


def _target(text: Text, example: Example) -> tuple[tuple[int, ...], bool]:
    """Find the numbers of the structures that a text names, and tell whether the example may show others."""
    if text.lesion is not None:
        found = {
            number: _holds(text.lesion, structure.facts, example)
            for number, structure in enumerate(example.structures)
            if structure.name == LESION
        }
        return tuple(number for number, held in found.items() if held), None in found.values()
    if text.organ is None:
        return (), False
    names = {number: structure.name for number, structure in enumerate(example.structures) if structure.name != LESION}
    members = tuple(number for number, name in names.items() if fits(name, text.organ))
    either = text.organ in ("left lung", "right lung") and "lungs" in names.values()
    unseen = (text.organ.endswith(name) or name.endswith(text.organ) for name in example.unknown_organs)
    return members, either or any(unseen)
