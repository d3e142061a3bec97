"""A phantom: an image, its facts, and the masks of its structures."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

SIZE = 128
"""Side of a phantom image, in pixels."""


@dataclass(frozen=True)
class Lesion:
    """One lesion: its mask and its facts.

    Args:
        mask: (SIZE, SIZE) bool.
        facts: facts such as "kind:malignant", "side:left", "size:large", "shape:irregular".
    """

    mask: np.ndarray
    facts: frozenset[str]


@dataclass(frozen=True)
class Phantom:
    """A synthetic image with its truth masks, in radiological orientation: the patient's right is at the left.

    Args:
        image: (SIZE, SIZE) uint8.
        modality: "US", "MR", "XR" or "CT".
        facts: facts of the whole image, such as "modality:MR", "lesions:0" or "kind:pneumonia".
        lesions: the lesions; empty for a lesion-free image.
        organs: masks by name, each (SIZE, SIZE) bool: "left lung", "right lung", "heart", "ventricles", ...
            They are the targets of prompts for lungs, and distractors for all other prompts.
    """

    image: np.ndarray
    modality: str
    facts: frozenset[str]
    lesions: tuple[Lesion, ...] = ()
    organs: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def lesion_mask(self) -> np.ndarray:
        """Union of the lesions, (SIZE, SIZE) bool."""
        return union([lesion.mask for lesion in self.lesions])

    @property
    def lungs_mask(self) -> np.ndarray:
        """Both lungs, (SIZE, SIZE) bool; empty if the modality shows none."""
        return union([mask for name, mask in self.organs.items() if name.endswith("lung")])


def union(masks: list[np.ndarray]) -> np.ndarray:
    """Return the union of (SIZE, SIZE) bool masks; an empty mask for an empty list."""
    return np.any(masks, axis=0) if masks else np.zeros((SIZE, SIZE), bool)
