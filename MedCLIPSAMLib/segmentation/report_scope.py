"""Find which cue of a clause applies to a finding: the nearest one before, else the first after it, with exceptions."""

from __future__ import annotations

import re
from bisect import bisect_left
from functools import lru_cache
from itertools import filterfalse

from .report_cues import MUCH, RELATIVE, SEE, STOP, Cue, FoundCue
from .report_sentences import VERB
from .report_words import FINDINGS, read_word

APART = re.compile(r",|\b(?:and|with|but)\b", re.IGNORECASE)
_OTHER = re.compile(r"[,(:]|\s[-\u2013]\s|\b(?:and|with|but)\b", re.IGNORECASE)
"""Text between a finding and the name of something else."""
_BESIDE_PAST = re.compile(
    r"\b(?:(?:with|now) (?:an?|new|residual|recurrent|multiple|several)|(?P<answer>show(?:s|ed)|reveal(?:s|ed)))\b",
    re.IGNORECASE,
)
"""Text between something past and a current finding, "prior lobectomy with a nodule", or a question and its answer."""
_TREATED = re.compile(r"resection|removal|excision|lumpectomy|mastectomy|enucleation|craniotomy|surgery|status post")
_NAMED = re.compile(r"\w:")
"""Text between what was treated and a current finding, as in "resection of a glioma: small hematoma"."""
_CONDITIONS = ("if", "unless", "should", "in case of")
_UNCONDITIONAL = re.compile(r", (?!(?:and|or)\b)(?:[^,]*? )?(?:the|this|these)\b", re.IGNORECASE)
"""Text between a condition and a finding present in any case, as in "if indicated, biopsy of the mass"."""
_QUESTION = re.compile(
    r"(?:to )?(?:rule|exclude|evalua|assess|check|screen|query|look|search|surveil|clinic|if|whether|unless|in case"
    rf"|may|might|could|can|should|(?:past )?family|{RELATIVE})",
    re.IGNORECASE,
)
_THAT = re.compile(r"\bthat\b", re.IGNORECASE)
"""Word before something that is feared or doubted, as in "concern that the treated mass has recurred"."""
_NEAR = 300
"""Maximum number of characters between a finding and what is said about it."""
_CUES = 30
"""Maximum number of cues before and after a finding that are considered."""
_STILL = re.compile(
    rf"\b(?:(?:has|have) {MUCH}(?:recurred|reappeared|returned)|(?:has|have) (?:not )?{MUCH}"
    r"(?:enlarged|grown|increased|progressed|worsened|decreased|shrunk|regressed|changed)"
    r"|grew|shrank|recurred|persisted|enlarged|(?:now )?measures? (?:about |approximately |up to )?\d"
    rf"|(?:is|are) (?:again|still) {SEE}|(?:remains?|persists?){STOP}|(?:(?:is|are|appears?|remains?) )?{MUCH}"
    r"(?:larger|bigger|smaller|growing|enlarging|shrinking|stable|unchanged|persistent))(?![\w-])",
    re.IGNORECASE,
)
"""Words that say that something known from the past is still present."""
_LISTED = re.compile(r"(?=.*\band\b)(?:(?!\b(?:with|without|but|or|now)\b)[\w\s,'/-])*", re.IGNORECASE)
_PLURAL = re.compile(r"(?:have|are|remain|persist|measure|grew|shrank|recurred|enlarged)\b", re.IGNORECASE)
_THEIR = re.compile(r" (?:the|these|those)\b", re.IGNORECASE)
_OF_THE = re.compile(
    r"[^,;]*(?<![\w-])(?!(?:evidence|signs?|residual|remnants?|remainder|trace|visualization|indication|suspicion|part"
    r"|portion|presence|any|one|either|each|identification|detection|depiction|demonstration|image|view"
    r"|(?:re-?)?(?:appearance|accumulation|occurrence|currence|turn|formation|development)) of\b)"
    r"[a-z-]+ (?:of|in|within|inside|by|from|around|along) (?:the|this|these|those) ",
    re.IGNORECASE,
)
"""Text between a denial and a known finding, of which only a property is denied."""
_SAYS = re.compile(rf"{VERB.pattern}|\b(?:suggests?|indicates?|represents?|had)\b", re.IGNORECASE)
_IS_LEFT = re.compile(
    rf"\b(?:{SEE}|remain(?:s|ed)?|persist(?:s|ed)?|exists?|recur(?:s|red)?|reappeared|returned)\b", re.IGNORECASE
)
_PARTLY = re.compile(
    r"\b(?:(?:some|most|many|several|few|half|none|all but \w+|one|two|three|four|five|\d+) of (?:\w+ )?"
    r"|(?:some|most|not (?:all|every|each)(?: of)?(?: the)?) )$",
    re.IGNORECASE,
)
"""Text before findings of which only some are denied, as in "one of the nodules has resolved"."""
_IN = re.compile(r"\b(?:in|of|within|on|at)\b", re.IGNORECASE)


@lru_cache(maxsize=32)
def _matches(pattern: re.Pattern[str], clause: str) -> list[re.Match[str]]:
    return list(pattern.finditer(clause))


def between(pattern: re.Pattern[str], clause: str, start: int, end: int) -> re.Match[str] | None:
    """Find the first match of a pattern within a part of a clause, which is searched once for all its findings."""
    matches = _matches(pattern, clause)
    at = bisect_left(matches, start, key=re.Match.start)
    return matches[at] if at < len(matches) and matches[at].end() <= end else None


def find_cue(start: int, end: int, cues: list[FoundCue], clause: str) -> FoundCue | None:
    """Find the cue that applies to a finding at these characters: the nearest one before it, else the first after it.

    None means that the finding is present. A denial includes interpretations of what is denied: "no sign suspicious for
    a mass" denies the mass.
    """
    at = bisect_left(cues, start, key=lambda cue: cue.start)
    cues = cues[max(0, at - _CUES) : at + _CUES]
    before = [cue for cue in cues if cue.end <= start and cue.side in ("before", "both")]
    behind = [cue for cue in cues if cue.start >= end and cue.side in ("behind", "both")]
    if before and before[-1].kind == Cue.BEFORE and _is_beside(before[-1], start, clause):
        before = []
    if behind and _is_of_another_result(end, behind[0], clause):
        behind = behind[1:]
    if any(cue.kind == Cue.READING for cue in before):  # "suspicious for a cyst versus a mass": both are suspected
        before, behind = (list(filterfalse(_is_versus, some)) for some in (before, behind))
    elif behind and _is_versus(behind[0]) and _is_apart(end, behind[0].start, cues, clause):
        behind = behind[1:]
    if before and _is_of_property(before[-1], start, end, clause):
        before.pop()
    adjectives = [cue for cue in cues if cue.end <= start and cue.side == "adjective"]
    close = [cue for cue in adjectives if not clause[cue.end : start].strip()]
    if behind and (behind[0].kind, behind[0].side) == (Cue.ABSENT, "both"):  # a place without another finding
        placed = between(_IN, clause, end, behind[0].start)
        apart = placed and between(APART, clause, placed.end(), behind[0].start)
        is_elsewhere = apart and not between(VERB, clause, end, behind[0].start)
        behind = behind[1:] if is_elsewhere else behind
    if (
        behind
        and (behind[0].kind, behind[0].side) == (Cue.ABSENT, "behind")
        and _PARTLY.search(clause[max(0, start - _NEAR) : start])
    ):
        return None
    past = (close or before)[-1:]
    if past and _is_of_a_thing(past[0], before, clause):
        if still := _STILL.search(clause, end, end + _NEAR):
            shared = _PLURAL.match(clause, still.start()) and _LISTED.fullmatch(clause, end, still.start())
            if shared or not _is_apart(end, still.start(), cues, clause):
                return None
        if behind and behind[0].kind == Cue.PRESENT:
            return past[0] if _is_apart(end, behind[0].start, cues, clause) else behind[0]
    if close:
        return close[-1]
    kinds = [cue.kind for cue in before[-2:]]
    if kinds == [Cue.ABSENT, Cue.READING] and not between(APART, clause, before[-2].end, before[-1].start):
        return before[-2]
    if before and (before[-1].kind in (Cue.ABSENT, Cue.BEFORE) or not behind):
        return before[-1]
    again = next((cue for cue in behind if cue.kind == Cue.PRESENT and clause[cue.start - 1] != "("), None)
    if again and behind[0].kind == Cue.ABSENT:
        return again
    return behind[0] if behind else None


def is_question(cue: FoundCue, clause: str) -> bool:
    """Tell whether a cue begins a question, a condition or a statement about another person."""
    return _QUESTION.match(clause, cue.start) is not None


def _is_versus(cue: FoundCue) -> bool:
    """Tell whether a cue stands between two alternatives."""
    return (cue.kind, cue.side) == (Cue.UNCERTAIN, "both")


def _is_apart(start: int, end: int, cues: list[FoundCue], clause: str) -> bool:
    """Tell whether there is more than a location between two positions of a clause."""
    return between(APART, clause, start, end) is not None or any(start <= cue.start < end for cue in cues)


def _is_of_a_thing(past: FoundCue, before: list[FoundCue], clause: str) -> bool:
    """Tell whether a cue says that this patient had something: not a question, condition, relative or denial."""
    if past.kind != Cue.BEFORE or is_question(past, clause) or between(_THAT, clause, 0, past.start):
        return False
    other = next((cue for cue in reversed(before) if cue.end <= past.start), None)
    if other is None or other.kind == Cue.PRESENT or between(APART, clause, other.end, past.start):
        return True
    return other.kind == Cue.BEFORE and not is_question(other, clause)


def _is_of_another_result(end: int, cue: FoundCue, clause: str) -> bool:
    """Tell whether something other than a finding is negative or denied, as in "carcinoma, HER2 negative"."""
    if not clause[cue.start : cue.end].lower().endswith(("negative", "denied")):
        return False
    joints = list(_OTHER.finditer(clause, max(end, cue.start - _NEAR), cue.start))
    if not joints:
        return False
    named = re.findall(r"[\w-]+", clause[joints[-1].end() : cue.start])
    return read_word(named[-1]).word not in FINDINGS if named else joints[-1][0].isalpha()


def _is_of_property(denial: FoundCue, start: int, end: int, clause: str) -> bool:
    """Tell whether only a property of a finding is denied: "none of the masses is soft", "no fat in the mass"."""
    if denial.kind == Cue.ABSENT and _OF_THE.fullmatch(clause, max(denial.end, start - _NEAR), start):
        return True
    if clause[denial.start : denial.end].lower() != "none of" or not _THEIR.match(clause, denial.end):
        return False
    return not between(_SAYS, clause, denial.end, start) and not between(_IS_LEFT, clause, end, len(clause))


def _is_beside(past: FoundCue, start: int, clause: str) -> bool:
    """Tell whether a finding at `start` is a current one, separate from what is past or in question."""
    said = clause[past.start : past.end].lower()
    if said in _CONDITIONS:
        return between(_UNCONDITIONAL, clause, past.end, start) is not None
    if _TREATED.match(said) and between(_NAMED, clause, past.end, start):
        return True
    beside = between(_BESIDE_PAST, clause, past.end, start)
    return beside is not None and (beside["answer"] is None or said.endswith(" for"))
