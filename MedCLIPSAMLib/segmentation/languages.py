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
    "German": "kein keine keinen keiner nicht und der dem ein eine mit ohne vom zur",
    "French": "les une dans avec sans pas aucun aucune ni sur",
    "Spanish": "los las una sin por y",
    "Italian": "gli di della nel senza nessun nessuna",
    "Portuguese": "uma com sem da do não",
    "Dutch": "het een geen zonder niet van op",
    "Scandinavian": "ingen inget och utan ikke og uden",
}
"""Function words that are no words or abbreviations of English reports, such as "im" (image)."""
_ENGLISH = (
    "the of is are was were and or with without no not there this in on at to for a an right left seen has have been "
    "from by"
)


def is_foreign(text: str) -> bool:
    """Tell whether a text is in another language.

    It holds two different function words of other languages, or a denial in one, and more of them than English ones.
    """
    words = re.findall(r"[^\W\d_]+", text.lower())
    foreign, english = set(" ".join(_FOREIGN.values()).split()), set(_ENGLISH.split())
    denials = len(re.findall(rf"\b{FOREIGN_DENIAL}", text, re.IGNORECASE))
    found = [word for word in words if word in foreign]
    if not denials and len(set(found)) < 2:
        return False
    return max(len(found), denials) > sum(word in english for word in words)
