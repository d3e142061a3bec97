"""SNOMED CT codes for the words of a prompt, as 3D Slicer stores them with a segment.

Codes, meanings and colors are those of Slicer's "3D Slicer General Anatomy list" and of DICOM PS3.16 (CID 4031, 7159).
"""

from __future__ import annotations

import colorsys
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

Code: TypeAlias = tuple[str, str, str]  # scheme, value, meaning
Color: TypeAlias = tuple[float, float, float]  # red, green, blue, each 0 to 1

TYPE_CONTEXT = "Segmentation category and type - 3D Slicer General Anatomy list"
REGION_CONTEXT = "Anatomic codes - DICOM master list"
NO_CODE: Code = ("", "", "")

TISSUE: Code = ("SCT", "85756007", "Tissue")
ANATOMY: Code = ("SCT", "123037004", "Anatomical Structure")
ALTERED: Code = ("SCT", "49755003", "Morphologically Altered Structure")
SIDES: dict[str, Code] = {"left": ("SCT", "7771000", "Left"), "right": ("SCT", "24028007", "Right")}

# Words, SNOMED CT code, meaning, and for organs and tissues the recommended color (0 to 255).
LESIONS: list[tuple[str, str, str]] = [
    ("tumour tumor mass nodule lesion cancer carcinoma glioma meningioma metastasis neoplasm", "4147007", "Mass"),
    ("cyst", "367643001", "Cyst"),
    ("edema oedema", "79654002", "Edema"),
    ("hemorrhage haemorrhage bleeding hematoma haematoma", "50960005", "Hemorrhage"),
    ("necrosis", "6574001", "Necrosis"),
    ("clot thrombus", "75753009", "Blood clot"),
    ("embolus embolism", "55584005", "Embolus"),
]
ORGANS: list[tuple[str, str, str, tuple[int, int, int]]] = [
    ("aorta", "15825003", "Aorta", (224, 97, 76)),
    ("bladder", "89837001", "Bladder", (222, 154, 132)),
    ("brain", "12738006", "Brain", (250, 250, 225)),
    ("clavicle", "51299004", "Clavicle", (205, 179, 108)),
    ("colon", "71854001", "Colon", (204, 168, 143)),
    ("esophagus oesophagus", "32849002", "Esophagus", (211, 171, 143)),
    ("gallbladder", "28231008", "Gallbladder", (139, 150, 98)),
    ("heart", "80891009", "Heart", (206, 110, 84)),
    ("kidney renal", "64033007", "Kidney", (185, 102, 83)),
    ("liver hepatic", "10200004", "Liver", (221, 130, 101)),
    ("lung pulmonary", "39607008", "Lung", (197, 165, 145)),
    ("ovary ovarian", "15497006", "Ovary", (213, 141, 113)),
    ("pancreas pancreatic", "15776009", "Pancreas", (249, 180, 111)),
    ("pituitary", "56329008", "Pituitary", (57, 157, 110)),
    ("prostate", "41216001", "Prostate", (230, 158, 140)),
    ("rib", "113197003", "Rib", (253, 232, 158)),
    ("skull", "89546000", "Skull", (241, 213, 144)),
    ("spleen splenic", "78961009", "Spleen", (157, 108, 162)),
    ("stomach gastric", "69695003", "Stomach", (216, 132, 105)),
    ("thyroid", "69748006", "Thyroid", (62, 162, 114)),
    ("trachea", "44567001", "Trachea", (182, 228, 255)),
    ("uterus uterine", "35039007", "Uterus", (255, 181, 158)),
    ("ventricle", "35764002", "Brain ventricle", (88, 106, 215)),
]
TISSUES: list[tuple[str, str, str, tuple[int, int, int]]] = [
    ("bone", "272673000", "Bone", (241, 214, 145)),
    ("muscle", "71616004", "Muscle", (192, 104, 88)),
    ("skin", "39937001", "Skin", (177, 122, 101)),
    ("fat", "248300009", "Body fat", (230, 220, 70)),
    ("artery", "51114001", "Artery", (216, 101, 79)),
    ("vein", "29092000", "Vein", (0, 151, 206)),
]
SIDED = {"Kidney", "Lung", "Ovary", "Clavicle"}


@dataclass(frozen=True)
class Terminology:
    """Terminology of a segment: a category, a type in it, its side, and its anatomic region."""

    category: Code = TISSUE
    type: Code = TISSUE
    modifier: Code = NO_CODE
    region: Code = NO_CODE

    def entry(self) -> str:
        """Return the text that Slicer keeps in a segment's TerminologyEntry tag."""
        codes = ["^".join(code) for code in (self.category, self.type, self.modifier)]
        return "~".join([TYPE_CONTEXT, *codes, REGION_CONTEXT, "^".join(self.region), "^".join(NO_CODE)])

    @classmethod
    def from_entry(cls, entry: str) -> Terminology:
        """Parse the text that `entry` returns; default terminology if it is malformed."""
        parts = [part.split("^") for part in entry.split("~")]
        if len(parts) < 6 or any(len(parts[n]) != 3 for n in (1, 2, 3, 5)):
            return cls()
        category, kind, modifier, region = ((parts[n][0], parts[n][1], parts[n][2]) for n in (1, 2, 3, 5))
        return cls(category, kind, modifier, region)


@dataclass(frozen=True)
class _Term:
    category: Code
    code: Code
    color: Color | None = None


def _table() -> dict[str, _Term]:
    terms: dict[str, _Term] = {}
    for words, value, meaning in LESIONS:
        terms |= dict.fromkeys(words.split(), _Term(ALTERED, ("SCT", value, meaning)))
    for category, rows in ((ANATOMY, ORGANS), (TISSUE, TISSUES)):
        for words, value, meaning, rgb in rows:
            color = (rgb[0] / 255, rgb[1] / 255, rgb[2] / 255)
            terms |= dict.fromkeys(words.split(), _Term(category, ("SCT", value, meaning), color))
    return terms


TERMS = _table()
BREAST: Code = ("SCT", "76752008", "Breast")
IRREGULAR = {"masses": "mass", "metastases": "metastasis", "arteries": "artery", "ovaries": "ovary"}


def terminology_for(text: str) -> Terminology:
    """Find the terminology of `text`: "left lung tumour" is a mass in the lung, "left lung" is the left lung.

    A lesion takes precedence over its organ, which becomes the region. Without a known word, it is "Tissue".
    """
    words = _words(text)
    found = [TERMS[word] for word in words if word in TERMS]
    lesion = next((term for term in found if term.category == ALTERED), None)
    place = next((term for term in found if term.category == ANATOMY), None)
    if lesion:
        region = place.code if place else BREAST if "breast" in words else NO_CODE
        return Terminology(lesion.category, lesion.code, region=region)
    if not found:
        return Terminology()
    term = found[0]
    side = next((SIDES[word] for word in words if word in SIDES), NO_CODE)
    return Terminology(term.category, term.code, side if term.code[2] in SIDED else NO_CODE)


MIN_DIFFERENCE = 0.2
"""Minimum difference between two distinct colors in the channel that differs most, 0 to 1."""
MAX_TURNS = 20
GOLDEN_RATIO = 0.618
"""Rotation of a hue, as a share of the hue circle; its multiples are spread evenly."""


def color_for(text: str) -> Color:
    """Return Slicer's recommended color for an organ or tissue, otherwise a bright color derived from the text.

    Lesions get a derived color, so that "benign tumour" and "malignant tumour" can be told apart.
    """
    found = [TERMS[word] for word in _words(text) if word in TERMS]
    if found and found[0].color and all(term.color for term in found):
        return found[0].color
    hue = int.from_bytes(hashlib.sha256(text.strip().lower().encode("utf-8", "replace")).digest()[:2], "big") / 65536
    return colorsys.hsv_to_rgb(hue, 0.75, 0.95)


def distinct_colors(texts: Sequence[str]) -> list[Color]:
    """Return `color_for` of each text, with another hue if an earlier one has nearly the same color."""
    colors: list[Color] = []
    for text in texts:
        color = color_for(text)
        for _ in range(MAX_TURNS):
            if all(max(abs(a - b) for a, b in zip(color, other)) > MIN_DIFFERENCE for other in colors):
                break
            hue, saturation, value = colorsys.rgb_to_hsv(*color)
            color = colorsys.hsv_to_rgb((hue + GOLDEN_RATIO) % 1, max(saturation, 0.75), max(value, 0.95))
        colors.append(color)
    return colors


def _words(text: str) -> list[str]:
    """Split text into lower-case words, and add the singular of plurals."""
    words = []
    for word in re.findall(r"\w+", text.lower()):
        words.append(word)
        singular = IRREGULAR.get(word, word.removesuffix("s"))
        if word not in TERMS and singular in TERMS:
            words.append(singular)
    return words
