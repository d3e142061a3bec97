"""Training examples: an image, its structures with their facts, and which facts are unknown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from skimage.measure import regionprops

from ..phantoms.phantom import Phantom

SIZE = 256
"""Side of a training image, in pixels."""
LESION = "lesion"
"""Name of a structure that is a lesion; structures with other names are organs."""
STACKS = "lidc_stacks"
"""Source of the examples that are consecutive slices of one nodule."""

_SIZES = {"US": (0.04, 0.10), "MR": (0.015, 0.05), "CT": (0.004, 0.02)}
"""Area of a lesion, as a fraction of the image, below which it is small and above which it is large."""


@dataclass(frozen=True)
class Structure:
    """A structure of an image.

    Args:
        name: "lesion", or an organ such as "left lung"; `fits` compares it with the organ of a text.
        mask: (SIZE, SIZE) bool.
        facts: facts of a lesion, such as "kind:malignant" or "size:small".
    """

    name: str
    mask: np.ndarray
    facts: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Example:
    """An image with its structures.

    Args:
        image: (SIZE, SIZE) uint8.
        source: the data set, or "phantom_us" and the like; examples are drawn by source.
        group: the patient, block or nodule by which the data were split.
        position: number of the slice within the group; 0 for single images.
        unknown_facts: kinds of facts ("kind", "side") that are not known.
        unknown_organs: last words of the names of organs that may be in the image without a mask.
    """

    image: np.ndarray
    modality: str
    source: str
    facts: frozenset[str]
    structures: tuple[Structure, ...] = ()
    group: str = ""
    position: int = 0
    unknown_facts: frozenset[str] = frozenset()
    unknown_organs: tuple[str, ...] = ()

    @property
    def lesions(self) -> tuple[Structure, ...]:
        """Structures that are lesions."""
        return tuple(structure for structure in self.structures if structure.name == LESION)

    @property
    def organs(self) -> tuple[Structure, ...]:
        """Structures that are organs."""
        return tuple(structure for structure in self.structures if structure.name != LESION)


def describe(example: Example) -> Example:
    """Add the facts that follow from the masks of a real image, and mark what is unknown.

    The shape is only estimated from the outline, so a text about another shape is not used as a negative.
    """
    cropped = example.source.startswith("lidc")
    structures = tuple(
        replace(structure, facts=structure.facts | _outline_facts(structure.mask, example.modality, cropped))
        if structure.name == LESION
        else structure
        for structure in example.structures
    )
    unknown = {"shape"}
    if example.modality == "MR":
        unknown.add("side")
    if cropped:
        unknown |= {"level", "side", "size"}
    if example.modality == "XR" or any(not _has_kind(s.facts) for s in structures if s.name == LESION):
        unknown.add("kind")
    facts = set(example.facts)
    if example.modality != "XR":
        facts.add(f"lesions:{min(len(example.lesions), 2)}")
    organs = {"MR": ("brain", "ventricles"), "XR": ("lung", "heart"), "CT": ("lung", "heart")}.get(example.modality, ())
    shown = [structure.name for structure in example.organs]
    return replace(
        example,
        structures=structures,
        facts=frozenset(facts),
        unknown_facts=frozenset(unknown),
        unknown_organs=tuple(organ for organ in organs if not any(fits(name, organ) for name in shown)),
    )


def fits(name: str, organ: str) -> bool:
    """Tell whether a structure's name belongs to the organ of a text: "left lung" and "lungs" belong to "lung"."""
    return name.endswith(organ) or (organ == "lung" and name == "lungs")


def from_phantom(phantom: Phantom) -> Example:
    """Make an example from a phantom; all its facts are known."""
    lesions = [Structure(LESION, enlarge_mask(lesion.mask), lesion.facts) for lesion in phantom.lesions]
    organs = [Structure(name, enlarge_mask(mask)) for name, mask in phantom.organs.items()]
    shown = tuple(structure for structure in (*lesions, *organs) if structure.mask.any())
    return Example(
        enlarge(phantom.image), phantom.modality, f"phantom_{phantom.modality.lower()}", phantom.facts, shown
    )


def mirror(example: Example) -> Example:
    """Mirror an example left to right and swap the names of the sides. Its arrays are views of the originals."""
    structures = tuple(
        Structure(
            _swap(structure.name),
            structure.mask[:, ::-1],
            frozenset(_swap(fact) if fact.startswith("side") else fact for fact in structure.facts),
        )
        for structure in example.structures
    )
    return replace(example, image=example.image[:, ::-1], structures=structures)


def stack(examples: Iterable[Example]) -> tuple[np.ndarray, np.ndarray]:
    """Stack the slices of a group in order: images (K, SIZE, SIZE) uint8 and lesion masks (K, SIZE, SIZE) bool."""
    ordered = sorted(examples, key=lambda example: example.position)
    empty = np.zeros((SIZE, SIZE), bool)
    masks = [np.any([empty, *(lesion.mask for lesion in example.lesions)], axis=0) for example in ordered]
    return np.stack([example.image for example in ordered]), np.stack(masks)


def _swap(text: str) -> str:
    return text.replace("left", "\0").replace("right", "left").replace("\0", "right")


def enlarge(image: np.ndarray) -> np.ndarray:
    """Resize a phantom's image, uint8, to `SIZE` x `SIZE`."""
    return np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def enlarge_mask(mask: np.ndarray) -> np.ndarray:
    """Resize a phantom's mask, bool, to `SIZE` x `SIZE`."""
    large = Image.fromarray(mask.astype(np.uint8) * 255).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return np.asarray(large) > 127


def _has_kind(facts: frozenset[str]) -> bool:
    return any(fact.startswith("kind:") for fact in facts)


def _outline_facts(mask: np.ndarray, modality: str, cropped: bool) -> set[str]:
    """Estimate the size, depth and shape of a lesion from its mask; in a cropped image only the shape."""
    facts = set()
    solidity = regionprops(mask.astype(np.uint8))[0].solidity
    if solidity >= 0.94:
        facts.add("shape:oval" if modality == "US" else "shape:round")
    elif solidity < 0.88:
        facts.add("shape:irregular")
    if cropped or modality not in _SIZES:
        return facts
    share, (small, large) = mask.mean(), _SIZES[modality]
    if share < small or share > large:
        facts.add("size:small" if share < small else "size:large")
    height = np.nonzero(mask)[0].mean() / SIZE
    if modality == "US" and not 0.4 <= height <= 0.6:
        facts.add("level:shallow" if height < 0.4 else "level:deep")
    if modality == "CT" and not 0.45 <= height <= 0.55:
        facts.add("level:anterior" if height < 0.45 else "level:posterior")
    return facts
