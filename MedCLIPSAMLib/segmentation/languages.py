"""Detect texts that are not in English, the only language in which reports are read.

A denial in another language would not be recognized, and what it denies would be segmented: "kein Tumor" (German for
"no tumor") would mark a tumor.
"""

from __future__ import annotations

import re

FOREIGN_DENIAL = (
    r"(?:kein(?:e[mnrs]?)?|ohne|sans|pas de|aucune?|sin|nessun[ao']?|senza|sem|geen|zonder|ingen|inget|brak)\b"
)
"""The beginning of a denial in other languages of Latin script."""
_FOREIGN = {
    "German": "kein keine keinen keiner nicht und der dem ein eine mit ohne vom zur",
    "French": "les une dans avec sans pas aucun aucune ni sur",
    "Spanish": "los las una sin por y",
    "Italian": "gli di della nel senza nessun nessuna",
    "Portuguese": "uma com sem da do não",
    "Dutch": "het een geen zonder niet van op",
    "Scandinavian": "ingen inget och utan ikke og uden",
}
"""Function words of other languages, without those that are words or abbreviations in English reports, such as "im"."""
_ENGLISH = (
    "the of is are was were and or with without no not there this in on at to for a an right left seen has have been "
    "from by"
)


def is_foreign(text: str) -> bool:
    """Tell whether a text is in a language other than English.

    Such a text contains two different function words of other languages, or a denial in one, and more foreign than
    English function words.
    """
    words = re.findall(r"[^\W\d_]+", text.lower())
    foreign, english = set(" ".join(_FOREIGN.values()).split()), set(_ENGLISH.split())
    denials = len(re.findall(rf"\b{FOREIGN_DENIAL}", text, re.IGNORECASE))
    found = [word for word in words if word in foreign]
    if not denials and len(set(found)) < 2:
        return False
    return max(len(found), denials) > sum(word in english for word in words)
