"""What a caption says, without markup and meaningless signs, and whether that is enough to learn from."""

from __future__ import annotations

import ast
import html
import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from ..errors import shorten

MIN_CHARACTERS = 20
"""Minimum length of a caption; shorter ones say little (arXiv 2409.19483, section 4.1)."""

WIDE_CHARACTER = 5
"""Characters that a Chinese, Japanese or Korean one counts for: about a word."""

MARKUP = re.compile(
    r"""<!--.{0,1000}?--> | <[!?][^<>]{1,200}> | https?://\S+ | www\.\S+
    | </?[a-z][a-z0-9:]* (?: \s+ [\w:-]+ \s*=\s* (?: "[^"]*" | '[^']*' | [^\s"'<>]+ ) )* \s*/?>""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
"""Comments, declarations, links, and tags with their attributes."""

SIGNS = {
    **{"−": "-", "×": "x", "±": "+-", "≤": "<=", "≥": ">=", "⁄": "/", "÷": "/", "∼": "~", "≈": "~"},  # noqa: RUF001
    **{"‘": "'", "’": "'", "“": '"', "”": '"', "′": "'", "‰": " per mille ", "٪": "%"},  # noqa: RUF001
    **{"٫": ".", "٬": ",", "。": ".", "、": ",", "\u200b": " "},  # noqa: RUF001
    **{"↑": " increased ", "↓": " decreased ", "♀": " female ", "♂": " male "},
}
"""Signs as a caption has them; every dash is "-"."""

PLAIN = frozenset(" .,;:()/%+-'\"<>=?~^*&#")
"""Signs that stay: those of numbers, T2* and sentences."""

_RAISED = "[⁰¹²³⁴⁵⁶⁷⁸⁹]"
_BEFORE_COMPATIBLE = (
    (re.compile(rf"(?<=\d)(?=[¼-¾⅐-⅞↉]|{_RAISED}+⁄)"), " "),  # noqa: RUF001
    (re.compile(rf"(?<=[0-9)\]])(?=[⁺⁻]?{_RAISED}+(?![⁰¹²³⁴⁵⁶⁷⁸⁹⁄]))|(?<=[^\W\d_])(?=[⁺⁻]{_RAISED})"), "^"),  # noqa: RUF001
)
"""What keeps 1½ from 11/2 and 10³ from 103, as NFKC writes raised digits and fractions on the line."""

_AFTER_COMPATIBLE = (
    (re.compile(r"(?<=\d)\s*[~∼]\s*(?=\d)"), "-"),  # a range  # noqa: RUF001
    (re.compile(r"(?<=\d)\s*[·⋅∙•]\s*(?=10\^)"), "x"),
    (re.compile(r"(?<=\d)[·⋅∙•](?=\d)"), "."),  # a decimal point
    (re.compile(r"(?<=\d)\s*→\s*(?=\d)"), " to "),
    (re.compile(r"(?<=\d) ?(?:°| \u030a|o(?=C\b))"), " degrees "),  # NFKC of 37 ˚C and 37 ºC
)


def clean_caption(text: str) -> str:
    """Clean a caption of markup, links, control characters and meaningless signs; "" when nothing is left.

    Numbers and what says more or less stay: "<3 cm" is no markup, dashes and signs beyond ASCII are written in it, and
    letters keep their marks.
    """
    text = re.sub(r"\\[rnt](?![a-z])", " ", html.unescape(html.unescape(text)))  # some sources escape twice
    for pattern, written in _BEFORE_COMPATIBLE:
        text = pattern.sub(written, text)
    text = MARKUP.sub(" ", unicodedata.normalize("NFKC", text))
    for pattern, written in _AFTER_COMPATIBLE:
        text = pattern.sub(written, text)
    kept = list[str]()
    for letter in text:
        category = unicodedata.category(letter)
        sign = "-" if category == "Pd" else SIGNS.get(letter, letter)
        if category in ("Mn", "Mc"):
            marks = kept and (kept[-1][-1:].isalnum() or unicodedata.category(kept[-1][-1:] or " ") in ("Mn", "Mc"))
            kept.append(letter if marks and not "\ufe00" <= letter <= "\ufe0f" else "")
        elif sign != letter or letter.isalnum() or letter in PLAIN:
            kept.append(sign)
        elif category != "Cf":  # soft hyphens, joiners and marks of direction are within words
            kept.append(" ")
    return re.sub(r"\s+([.,;:)?])", r"\1", re.sub(r"\s+", " ", "".join(kept))).strip()


def count_characters(caption: str) -> int:
    """Count the characters of a caption, with a wide one as a word of several."""
    wide = sum(letter.isalnum() and unicodedata.east_asian_width(letter) == "W" for letter in caption)
    return len(caption) + (WIDE_CHARACTER - 1) * wide


def clean_captions(field: Any, min_characters: int = MIN_CHARACTERS) -> Iterator[tuple[str, str]]:
    """Yield each caption of a field, cleaned, and why it cannot be used: "" when it can.

    Args:
        field: of a table or a JSON record: a text, or a list of several, which pandas writes as "['a', 'b']".
    """
    if isinstance(field, str) and re.fullmatch(r"""\s*\[\s*['"].*['"]\s*\]\s*""", field, re.DOTALL):
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            field = ast.literal_eval(field.strip())
    for text in (field or [""]) if isinstance(field, list) else [field]:
        if isinstance(text, dict | list):
            yield shorten(repr(text), 60), "captions are no text"
            continue
        caption = clean_caption("" if text is None else str(text))
        short = count_characters(caption) < min_characters
        yield caption, f"captions have less than {min_characters} characters" if short else ""
