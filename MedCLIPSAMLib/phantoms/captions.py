"""Texts about phantoms, with their regions and the facts that an image must have to be described by them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from ..segmentation.presence import ABSENCE
from ..segmentation.presence import EVERYDAY as PRESENCE_EVERYDAY
from ..segmentation.prompts import PromptSet, load_prompt_sets
from .phantom import Phantom, union

MODALITY_WORDS = {"US": "ultrasound", "MR": "MRI", "XR": "chest X-ray", "CT": "chest CT"}
LESIONS = {
    "US": ("breast tumor", "breast tumour", "breast mass", "breast lesion", "dark breast mass"),
    "MR": ("brain tumor", "brain tumour", "brain mass", "brain lesion", "bright brain tumor"),
    "CT": ("lung nodule", "pulmonary nodule", "nodule in the lung", "bright lung nodule", "lung tumor"),
}
ORGANS = {"US": "breast", "MR": "brain", "XR": "chest", "CT": "lung"}
KINDS = {"US": ("benign", "malignant"), "MR": ("glioma", "meningioma", "pituitary"), "CT": ("smooth", "spiculated")}
_SUBJECTS = (
    *("a dog", "a cat", "two people", "a child", "sitting", "walking", "running", "a red car", "a man", "a woman"),
    *("sleeping", "a chair", "a wooden table", "a cup of coffee", "a bird flying", "playing football", "eating pizza"),
    "reading a book",
)
_PLACES = (
    *("", "in the park", "on the street", "on a table", "in a car", "on a sofa", "at the beach", "in the kitchen"),
    *("under a tree", "near a house", "on the floor", "at night", "in the snow"),
)
EVERYDAY = (
    *(f"{subject} {place}" for subject, place in product(_SUBJECTS, _PLACES)),
    *("happy birthday", "hello world", "the weather is nice today", "a photo of a mountain", "a chair"),
    "blue sky and green grass",
)
"""Texts that describe no medical image; "sitting on a chair" is reserved for tests."""
ELSEWHERE = (
    *("liver", "kidney", "bladder", "femur", "prostate", "spleen", "pancreas", "knee", "tooth", "hand", "fetal head"),
    *("colon polyp", "skin lesion", "thyroid nodule", "retina", "liver tumor", "kidney stone", "bone fracture"),
    "prostate gland",
)
"""Structures that no phantom shows."""
_NAMED = ("{}", "a {}", "{} in this image", "{image} showing a {}", "{image} with a {}", "segment the {}")
_OF_KIND = ("{}", "a {}", "{image} showing a {}", "a {} {place} the {organ}")
_ABSENT = (
    *("{image} without a {word}", "no {word}", "{image} with no {word}", "normal {image}"),
    *("healthy {organ} without a {word}", "{organ} without any lesion", "normal {organ} {image} with no mass"),
)
_LUNGS = ("lungs in {}", "{} showing the lungs", "both lungs on a {}", "lung fields on a {}", "{} with two lungs")


@dataclass(frozen=True)
class Text:
    """A text and its meaning.

    Args:
        text: the words.
        facts: facts that an image must have.
        lesion: facts that at least one lesion must have; None if the text names no lesion.
        organ: the last words of its organs' names, such as "lung" or "left lung"; None if it names no organ.
        impossible: whether it describes no phantom at all.
    """

    text: str
    facts: frozenset[str] = frozenset()
    lesion: frozenset[str] | None = None
    organ: str | None = None
    impossible: bool = False

    def region(self, phantom: Phantom) -> np.ndarray | None:
        """Return the mask of the text's target, (SIZE, SIZE) bool; None if the text does not describe `phantom`."""
        if self.impossible or not self.facts <= phantom.facts:
            return None
        masks: list[np.ndarray] = []
        if self.lesion is not None:
            masks = [lesion.mask for lesion in phantom.lesions if self.lesion <= lesion.facts]
        elif self.organ is not None:
            masks = [mask for name, mask in phantom.organs.items() if name.endswith(self.organ)]
        if (self.lesion is not None or self.organ is not None) and not masks:
            return None
        return union(masks)

    @property
    def has_target(self) -> bool:
        """Whether the text names something that can be outlined."""
        return self.lesion is not None or self.organ is not None


def _lesion_texts(modality: str) -> list[Text]:
    image, organ = MODALITY_WORDS[modality], ORGANS[modality]
    facts = frozenset({f"modality:{modality}"})
    word = "nodule" if modality == "CT" else "tumor"
    made: list[Text] = []

    def add(text: str, *lesion: str) -> None:
        made.append(Text(text, facts, frozenset(lesion)))

    for name in LESIONS[modality]:
        for pattern in _NAMED:
            add(pattern.format(name, image=image))
    for kind in KINDS[modality]:
        name = kind if kind in ("glioma", "meningioma") else f"{kind} {word}"
        for pattern in _OF_KIND:
            place = "in" if modality == "CT" else "of"
            add(pattern.format(name, image=image, organ=organ, place=place), f"kind:{kind}")
    name = LESIONS[modality][0]
    for size in ("small", "large"):
        add(f"{size} {name}", f"size:{size}")
        add(f"{image} showing a {size} {name}", f"size:{size}")
    sides = {"US": (), "MR": ("left", "right"), "CT": ("left", "right")}[modality]
    for side in sides:
        add(f"{name} on the {side} side", f"side:{side}")
        add(f"{name} in the {side} {'hemisphere' if modality == 'MR' else 'lung'}", f"side:{side}")
        add(f"{side} sided {name}", f"side:{side}")
    for level in {"US": ("shallow", "deep"), "MR": (), "CT": ("anterior", "posterior")}[modality]:
        add(f"{level} {name}", f"level:{level}")
    shapes = {
        "US": (("oval", "smooth"), ("irregular", "spiculated")),
        "MR": (("round", "homogeneous"), ("irregular", "ring shaped")),
        "CT": (),
    }
    for shape, other in shapes[modality]:
        add(f"{shape} {name}", f"shape:{shape}")
        add(f"{other} {name} with {shape} shape", f"shape:{shape}")
    for pattern in _ABSENT:
        made.append(Text(pattern.format(image=image, organ=organ, word=word), facts | {"lesions:0"}))
    for named in LESIONS[modality]:
        made += [Text(template.format(named), facts | {"lesions:0"}) for template in ABSENCE]
    made.append(Text(f"two {name}s", facts | {"lesions:2"}, frozenset()))
    return made


def _organ_texts() -> list[Text]:
    made = []
    for modality in ("XR", "CT"):
        facts = frozenset({f"modality:{modality}"})
        image = MODALITY_WORDS[modality]
        for pattern in _LUNGS:
            made.append(Text(pattern.format(image), facts, organ="lung"))
        for side in ("left", "right"):
            made.append(Text(f"{side} lung on a {image}", facts, organ=f"{side} lung"))
    anywhere = {
        "lung": ("lungs", "lung", "the lungs", "both lungs", "lung fields", "left and right lung", "dark lungs"),
        "left lung": ("left lung", "the left lung"),
        "right lung": ("right lung", "the right lung"),
        "heart": ("heart", "the heart", "bright heart"),
        "ventricles": ("ventricles", "the dark ventricles of the brain"),
    }
    for organ, texts in anywhere.items():
        made += [Text(text, organ=organ) for text in texts]
        made += [Text(template.format(organ), impossible=True) for template in ABSENCE]
    for text in ("brain", "the brain", "brain MRI showing the brain"):
        made.append(Text(text, frozenset({"modality:MR"}), organ="brain"))
    for modality, image in MODALITY_WORDS.items():
        made.append(Text(image, frozenset({f"modality:{modality}"})))
    for kind in ("pneumonia", "covid"):
        made.append(Text(f"chest X-ray showing {kind}", frozenset({"modality:XR", f"kind:{kind}"})))
        made.append(Text(f"lungs with {kind}", frozenset({"modality:XR", f"kind:{kind}"}), organ="lung"))
    made.append(Text("normal chest X-ray", frozenset({"modality:XR", "kind:normal"})))
    made += [Text(text, lesion=frozenset()) for text in ("tumor", "a tumor", "mass", "lesion", "a lesion")]
    return [*made, Text("nodule", frozenset({"modality:CT"}), frozenset())]


def _prompt_set_texts(prompts: PromptSet) -> list[Text]:
    """Return the prompts of a shipped set as captions; a class of the set is a fact of the lesion or of the image."""
    facts = frozenset({f"modality:{prompts.modality}"})
    lungs = prompts.target == "lungs"
    made = []
    for style in prompts.styles.values():
        for kind, texts in style.items():
            named = frozenset() if kind == "*" else frozenset({f"kind:{kind}"})
            for text in texts:
                stated = facts if "CT" in text or "X-ray" in text else frozenset()
                made.append(Text(text, stated | named, organ="lung") if lungs else Text(text, facts, named))
    absent = frozenset() if lungs else facts | {"lesions:0"}
    return made + [Text(text, absent, impossible=lungs) for text in prompts.negatives]


def all_texts() -> list[Text]:
    """List every text about what phantoms show or about its absence; the same list at every call."""
    made = [text for modality in LESIONS for text in _lesion_texts(modality)] + _organ_texts()
    for prompts in load_prompt_sets().values():
        made += _prompt_set_texts(prompts)
    return made


def impossible_texts() -> list[Text]:
    """List texts that describe no phantom: everyday scenes, and structures of other parts of the body."""
    return [Text(text.strip(), impossible=True) for text in (*EVERYDAY, *PRESENCE_EVERYDAY, *ELSEWHERE)]
