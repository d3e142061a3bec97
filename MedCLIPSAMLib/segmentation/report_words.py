"""The vocabulary of reports: findings, places and the words around them, with plurals and misspellings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache

from ..volumes.terminology import ALTERED, ANATOMY, IRREGULAR, TERMS
from .spelling import is_one_slip


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_MORE_FINDINGS = _listed(
    "pneumonia opacity consolidation effusion fracture calcification microcalcification polyp abscess infiltrate "
    "pneumothorax atelectasis aneurysm stone calculus infarct infarction stroke stenosis ulcer adenoma fibroadenoma "
    "lymphoma sarcoma astrocytoma glioblastoma malformation hernia lymphadenopathy hemangioma malignancy adenopathy "
    "adenocarcinoma granuloma lipoma schwannoma hamartoma papilloma gallstone ascites"
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
    "ascites": "ascites",
    "biopsies": "biopsy",
}
FINDINGS = frozenset({word for word, term in TERMS.items() if term.category == ALTERED} | _MORE_FINDINGS)
"""Nouns for findings, in the singular."""
PLACES = frozenset(
    {word for word, term in TERMS.items() if term.category == ANATOMY} | {"lungs", "kidneys", "ventricles"}
)
"""Organs that can be segmented themselves."""
_PLACES = PLACES | _listed(
    "breast lobe hemisphere cerebellum chest abdomen pelvis neck head axilla hilum apex base "
    "pleura pleural midline cortex quadrant lingula lingular thalamus brainstem pons midbrain hippocampus mediastinum "
    "adrenal retroperitoneum peritoneum mesentery omentum spine vertebra vertebrae vertebral sacrum fossa convexity "
    "ganglia insula sella clivus orbit sinus sinuses pericardium atrium parotid mandible maxilla femur tibia fibula "
    "humerus ilium hip knee shoulder muscle duodenum jejunum ileum cecum appendix rectum ureter urethra testis testes "
    "cervix adnexa axillae"
)
_NO_MODIFIERS = _listed(
    "a an the this that these those same there is are was were be been has have and or nor with in within of at on "
    "near to from by for as it its which new old seen shows show showing demonstrate demonstrates reveal reveals "
    "contain contains known measuring measures cm mm x about approximately up than due one two three four multiple "
    "several few many other another any some all most more less fewer further also now again clock mri ct scan image "
    "examination study ultrasound radiograph biopsy either represent represents indicate indicates mean means follow-up"
)
_SHORT = 5
"""Minimum letters of a word in which a slip is corrected; shorter words may be correct: "mask" is not "mass"."""
_NO_SLIPS = _listed(
    "lesson lessons heard breath braid spline river stones medical median annular interior literal fecal smell stall "
    "sold lager lover pelvic tracheal lingual embolic pneumonic stony hernial livery hilus insular sellar "
    "tibial adnexal"
)
"""Correct words that differ by one letter from a known one."""
PARTS = _listed("lobe lingula hemisphere cerebellum hilum apex base cortex quadrant axilla")
"""Parts that occur in several organs."""
SIDES = _listed("left right bilateral both")
POSITIONS = _listed(
    "upper lower middle mid anterior posterior superior inferior medial lateral central inner outer apical basal "
    "proximal distal superficial deep frontal temporal parietal occipital subareolar"
)
"""Words for a position within an organ."""
DESCRIPTIONS = _listed(
    "irregular hypoechoic hyperechoic anechoic isoechoic heterogeneous homogeneous spiculated enhancing hypodense "
    "hyperdense hypointense hyperintense lobulated circumscribed indistinct angular round solid cystic complex small "
    "large focal diffuse patchy suspicious malignant benign calcified necrotic hemorrhagic"
)
_AROUND = SIDES | POSITIONS | DESCRIPTIONS
"""Words around a finding whose misspellings are corrected."""


NOT_ITSELF = _listed(
    "effect effects shift shifts marker markers risk risks screening like protocol board bed resection excision removal"
)
"""Words after a finding or a place that change its meaning: a mass effect is not a mass."""
ANAPHORA = _listed("the this that these those same")
OTHER = _listed("another second third further additional separate other")
"""Words before a finding that distinguish it from earlier ones."""
REMAINING = _listed("residual recurrent remaining persistent")
"""Words before a finding that say it is present after treatment."""
IN = _listed("in within of at on near involving along inside over")


_ADJECTIVE = re.compile(r"(?:ed|ar|al|ic|ous|oid|ive|[ai]ble|ly|less|(?<!m)ent|ant|ish|shaped|er|est)$")
_SAYINGS = _listed(
    "bi-rads birads lung-rads pi-rads ti-rads comparison prior previous size o'clock clock patient year years new old "
    "oval hazy large wide tall taller dense thin thick margins margin borders border mild moderate severe acute "
    "evidence sign signs finding findings otherwise same here today side"
)


class Spelling(Enum):
    """How a word is spelled in a report: as known, in another form (plural or British), or misspelled."""

    KNOWN = auto()
    FORM = auto()
    MENDED = auto()


@dataclass(frozen=True)
class Word:
    """A word in lower case, as written and as read; findings are read as American singular forms ("tumor")."""

    written: str
    word: str
    spelling: Spelling = Spelling.KNOWN


@cache
def read_word(written: str) -> Word:
    """Read a word of a report: findings become singular, and one slip in a known word is corrected."""
    lowered = written.lower()
    one = _singular(lowered)
    if one in FINDINGS:
        return Word(lowered, one.replace("tumour", "tumor"), Spelling.FORM)
    if is_place(lowered) or lowered in _AROUND:
        return Word(lowered, lowered)
    if len(lowered) >= _SHORT and lowered.isalpha() and lowered not in _NO_SLIPS:
        for known in _vocabulary():
            if _is_misspelled(lowered, known):
                one = _singular(known)
                return Word(lowered, one.replace("tumour", "tumor") if one in FINDINGS else known, Spelling.MENDED)
    return Word(lowered, lowered)


def _is_misspelled(word: str, known: str) -> bool:
    """Tell whether a word is likely a misspelled known word, rather than another word or another form of it."""
    if word.endswith("ed") and not known.endswith("ed"):
        return False
    if known in _AROUND and (word.startswith(known) or known.startswith(word)):
        return False
    return (word[0] == known[0] or word[:2] == known[1::-1]) and is_one_slip(word, known)


def is_place(word: str) -> bool:
    """Tell whether a word names a part of the body."""
    return not _PLACES.isdisjoint((word, word.removesuffix("s")))


def is_description(word: str) -> bool:
    """Tell whether a word describes a finding rather than names one, as "round", "stable" and "well-defined" do."""
    return word in _AROUND | _SAYINGS or is_place(word) or is_size(word) or bool(_ADJECTIVE.search(word))


def is_size(word: str) -> bool:
    """Tell whether a word is a number or a size, such as "2" or "3cm"."""
    return bool(re.fullmatch(r"\d[\w-]*", word))


def is_modifier(word: str) -> bool:
    """Tell whether a word before a finding may belong to it: "irregular", "left", "brain"."""
    return word not in _NO_MODIFIERS and word not in FINDINGS and not is_size(word) and len(word) > 1


def _singular(word: str) -> str:
    return _PLURALS.get(word) or (word if word in FINDINGS else word.removesuffix("s"))


@cache
def _vocabulary() -> tuple[str, ...]:
    """Collect the words whose misspellings are corrected, findings first."""
    findings = FINDINGS | {word + "s" for word in FINDINGS} | _PLURALS.keys()
    return tuple(word for words in (findings, _PLACES, _AROUND) for word in sorted(words) if len(word) >= _SHORT)
