"""Clean captions of markup and meaningless symbols, and judge whether they are long enough to learn from."""

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
"""Minimum number of characters in a caption; shorter ones say little (arXiv 2409.19483, section 4.1)."""

WIDE_CHARACTER = 5
"""Number of characters that a Chinese, Japanese or Korean character counts as, since it is about a word."""

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
"""Symbols and their replacements in ASCII; every dash becomes "-"."""

PLAIN = frozenset(" .,;:()/%+-'\"<>=?~^*&#")
"""Symbols that are kept: those of numbers, T2* and punctuation."""

_RAISED = "[⁰¹²³⁴⁵⁶⁷⁸⁹]"
_BEFORE_COMPATIBLE = (
    (re.compile(rf"(?<=\d)(?=[¼-¾⅐-⅞↉]|{_RAISED}+⁄)"), " "),  # noqa: RUF001
    (re.compile(rf"(?<=[0-9)\]])(?=[⁺⁻]?{_RAISED}+(?![⁰¹²³⁴⁵⁶⁷⁸⁹⁄]))|(?<=[^\W\d_])(?=[⁺⁻]{_RAISED})"), "^"),  # noqa: RUF001
)
"""Replacements before NFKC, which would turn 1½ into 11/2 and 10³ into 103."""

_AFTER_COMPATIBLE = (
    (re.compile(r"(?<=\d)\s*[~∼]\s*(?=\d)"), "-"),  # a range  # noqa: RUF001
    (re.compile(r"(?<=\d)\s*[·⋅∙•]\s*(?=10\^)"), "x"),
    (re.compile(r"(?<=\d)[·⋅∙•](?=\d)"), "."),  # a decimal point
    (re.compile(r"(?<=\d)\s*→\s*(?=\d)"), " to "),
    (re.compile(r"(?<=\d) ?(?:°| \u030a|o(?=C\b))"), " degrees "),  # NFKC of 37 ˚C and 37 ºC
)


def clean_caption(text: str) -> str:
    """Clean a caption of markup, links, control characters and meaningless symbols; "" if nothing is left.

    Numbers and comparisons are kept: "<3 cm" is not markup. Dashes and other symbols are converted to ASCII, and
    letters keep their diacritics.
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
        elif category != "Cf":  # soft hyphens, joiners and direction marks occur within words
            kept.append(" ")
    return re.sub(r"\s+([.,;:)?])", r"\1", re.sub(r"\s+", " ", "".join(kept))).strip()


def count_characters(caption: str) -> int:
    """Count the characters of a caption, with wide characters counted as `WIDE_CHARACTER`."""
    wide = sum(letter.isalnum() and unicodedata.east_asian_width(letter) == "W" for letter in caption)
    return len(caption) + (WIDE_CHARACTER - 1) * wide


def clean_captions(field: Any, min_characters: int = MIN_CHARACTERS) -> Iterator[tuple[str, str]]:
    """Yield each cleaned caption of a field, and the reason why it cannot be used, or "" if it can.

    Args:
        field: field of a table or a JSON record: a text, or a list of texts, which pandas writes as "['a', 'b']".
        min_characters: minimum length of a usable caption.
    """
    if isinstance(field, str) and re.fullmatch(r"""\s*\[\s*['"].*['"]\s*\]\s*""", field, re.DOTALL):
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            field = ast.literal_eval(field.strip())
    for text in (field or [""]) if isinstance(field, list) else [field]:
        if isinstance(text, dict | list):
            yield shorten(repr(text), 60), "captions are not text"
            continue
        caption = clean_caption("" if text is None else str(text))
        short = count_characters(caption) < min_characters
        yield caption, f"captions have fewer than {min_characters} characters" if short else ""
