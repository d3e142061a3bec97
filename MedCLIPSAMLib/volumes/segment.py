"""A named mask on the voxel grid of a volume."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from MedCLIPSAMLib.errors import InputError, check_type
from MedCLIPSAMLib.volumes.terminology import Color, Terminology, color_for, terminology_for


@dataclass(frozen=True)
class Segment:
    """A mask with its name, color and terminology.

    Attributes:
        name: shown to the user, usually the prompt.
        mask: (K, J, I) bool, on the grid of its volume.
        color: (red, green, blue), 0 to 1; by default chosen by the name, always the same for the same name.
        terminology: by default looked up from the words of the name.
        tags: further facts kept with the segment in .seg.nrrd files, such as prompt and models.

    Raises:
        InputError: a name that is no text, or a mask that is no array of bool.
    """

    name: str
    mask: np.ndarray
    color: Color = None  # type: ignore[assignment]
    terminology: Terminology = None  # type: ignore[assignment]
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_type(self.name, str, "the name of a segment as text")
        check_type(self.mask, np.ndarray, f"the mask of '{self.name}' as an array (K, J, I) of bool")
        if self.mask.dtype != bool:
            raise InputError(f"Expected the mask of '{self.name}' as bool, got {self.mask.dtype}.", "Give mask > 0.")
        if self.color is None:
            object.__setattr__(self, "color", color_for(self.name))
        if self.terminology is None:
            object.__setattr__(self, "terminology", terminology_for(self.name))
