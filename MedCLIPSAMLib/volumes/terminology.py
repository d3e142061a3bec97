"""Words of a prompt as SNOMED CT codes, in the way 3D Slicer stores them with a segment."""

from __future__ import annotations

import colorsys
import hashlib
import re
from dataclasses import dataclass
from typing import TypeAlias

Code: TypeAlias = tuple[str, str, str]  # scheme, value, meaning
Colour: TypeAlias = tuple[float, float, float]  # red, green, blue, each 0 to 1

TYPE_CONTEXT = "Segmentation category and type - 3D Slicer General Anatomy list"
REGION_CONTEXT = "Anatomic codes - DICOM master list"
NO_CODE: Code = ("", "", "")

TISSUE: Code = ("SCT", "85756007", "Tissue")
ANATOMY: Code = ("SCT", "123037004", "Anatomical Structure")
ABNORMAL: Code = ("SCT", "49755003", "Morphologically Altered Structure")


@dataclass(frozen=True)
class Terminology:
    """What a segment is: a category, a type in it, and where it lies; codes of Slicer's own terminology lists."""

    category: Code
    type: Code
    modifier: Code = NO_CODE
    region: Code = NO_CODE

    def entry(self) -> str:
        """The text Slicer keeps in a segment's TerminologyEntry tag."""
        codes = ["^".join(code) for code in (self.category, self.type, self.modifier)]
        return "~".join([TYPE_CONTEXT, *codes, REGION_CONTEXT, "^".join(self.region), "^".join(NO_CODE)])


UNKNOWN = Terminology(TISSUE, TISSUE)
WORDS: dict[str, tuple[Terminology, Colour]] = {}


def terminology_for(text: str) -> Terminology:
    """The terminology of the first known word in `text` ("Tissue" when none is known)."""
    found = _find(text)
    return found[0] if found else UNKNOWN


def colour_for(text: str) -> Colour:
    """Slicer's recommended colour of the first known word, else a bright colour fixed by the text itself."""
    found = _find(text)
    if found:
        return found[1]
    hue = int.from_bytes(hashlib.sha256(text.strip().lower().encode()).digest()[:2], "big") / 65536
    return colorsys.hsv_to_rgb(hue, 0.75, 0.95)


def _find(text: str) -> tuple[Terminology, Colour] | None:
    words = re.findall(r"\w+", text.lower())
    return next((WORDS[word] for word in words if word in WORDS), None)
