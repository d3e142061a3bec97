"""Whether a text is in English, which is all that reports are read in.

A denial in another language is not read, and what it denies would be segmented: "kein Tumor" is answered to where a
tumor is.
"""

from __future__ import annotations

import re

FOREIGN_DENIAL = (
    r"(?:kein(?:e[mnrs]?)?|ohne|sans|pas de|aucune?|sin|nessun[ao']?|senza|sem|geen|zonder|ingen|inget|brak)\b"
)
"""How a denial begins in other languages of Latin script."""
_FOREIGN = {
    "German": "kein keine keinen keiner nicht und der die das des dem den ein eine mit ohne im von",
    "French": "le la les une de du et dans avec sans pas aucun aucune ni est",
    "Spanish": "el los las una con sin se en del por",
    "Italian": "il lo gli di della con senza nessun nessuna e",
    "Portuguese": "os um uma com sem da do não ou",
    "Dutch": "het een geen zonder niet van en met",
    "Scandinavian": "ingen inget och med utan av ikke og uden",
}
_ENGLISH = (
    "the of is are was were and or with without no not there this in on at to for a an right left seen has have been "
    "from by"
)


def is_foreign(text: str) -> bool:
    """Tell whether a text holds more function words of other languages than English ones."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    foreign, english = set(" ".join(_FOREIGN.values()).split()), set(_ENGLISH.split())
    return sum(word in foreign for word in words) > sum(word in english for word in words)
