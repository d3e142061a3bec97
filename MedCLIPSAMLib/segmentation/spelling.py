"""Misspelled words: compare words that differ by one slip, and suggest the known word that may be meant."""

from __future__ import annotations

from collections.abc import Iterable

MIN_LETTERS = 4
"""Minimum letters of a misspelled word; with three letters, too many words are one slip apart."""


def is_one_slip(word: str, known: str) -> bool:
    """Tell whether two words differ by one inserted, deleted or replaced letter, or by two swapped neighboring letters.

    This is a Damerau distance of 1 (Communications of the ACM, 1964).
    """
    if abs(len(word) - len(known)) > 1 or word == known:
        return False
    at = next((n for n, (a, b) in enumerate(zip(word, known)) if a != b), min(len(word), len(known)))
    if len(word) != len(known):
        longer, shorter = sorted((word, known), key=len, reverse=True)
        return longer[at + 1 :] == shorter[at:]
    swapped = word[at : at + 2] == known[at : at + 2][::-1] and word[at + 2 :] == known[at + 2 :]
    return swapped or word[at + 1 :] == known[at + 1 :]


def suggest(word: str, known: Iterable[str]) -> str | None:
    """Find a known word one slip away from `word`, preferably with the same first letter; None if there is none."""
    word = "".join(filter(str.isalnum, word.lower()))
    if len(word) < MIN_LETTERS:
        return None
    near = sorted(one for one in known if len(one) >= MIN_LETTERS and is_one_slip(word, one))
    return min(near, key=lambda one: one[0] != word[0], default=None)
