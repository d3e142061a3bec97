"""Read the paragraph of a radiology report as prompts: one for each finding that is present, and what was left out.

Rules on words, in English, no language model. A sentence is cut into clauses; in each, findings are nouns that are
known, and the cues before or behind them say whether they are present: the nearest one before counts, as in NegEx
(Chapman et al., J Biomed Inform 2001). Nothing is left out silently.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..errors import PromptError
from .report_cues import Cue, FoundCue, find_cues
from .report_words import (
    ANAPHORA,
    FINDINGS,
    IN,
    NOT_ITSELF,
    PLACES,
    Spelling,
    Word,
    is_modifier,
    is_place,
    read_word,
)

MAX_CHARACTERS = 20_000
"""Maximum length of a report: far more than a person writes, and read in a moment."""

ABSENT = "it says what is not there"
NORMAL = "it says that what it names is normal"
BEFORE = "it is about the past, or a question"
UNKNOWN = "it names no finding that is known"
UNCERTAIN = "the report is not certain of it"

_END = re.compile(r"(?<=[.!?])\s+|;|\n\s*\n|\n(?=\s*(?:[-*•A-Z]|\d+[.)]\s))")
_UNFINISHED = re.compile(
    r"(\b(?:an?|the|no|not|without|nor?|of|in|on|at|for|with|and|or|is|are|was|were|be|to|than)|,)[^\S\n]*\n\s*",
    re.IGNORECASE,
)
"""The end of a line that is no end of a sentence."""
_HEADING = re.compile(
    r"^[\s\-*•]*(?:\d+[.)]\s*)?(findings?|impression|conclusion|opinion|result)s?\s*:\s*", re.IGNORECASE
)
_ASKING = re.compile(
    r"^[\s\-*•]*(?:clinical )?(indication|history|technique|comparison|question|reason|procedure|recommendation)s?"
    r"(?: for \w+)?\s*:",
    re.IGNORECASE,
)
_TURN = re.compile(
    r"\b(?:but|however|although|though|whereas|while|except(?: for)?|other than|apart from|aside from)\b", re.IGNORECASE
)
_LETTER = re.compile(r"[^\W\d_]")
_VERB = re.compile(
    r"\b(?:is|are|was|were|has|have|shows?|demonstrates?|reveals?|contains?|measures?|appears?|lies|remains?|"
    r"seen|noted|present|identified|found|cannot)\b",
    re.IGNORECASE,
)
_JOINT = re.compile(r",\s*(?:and\s+)?|\s+and\s+", re.IGNORECASE)
_NEW_SUBJECT = re.compile(r"(?:there|an?|the|this|one|two|three|multiple|several)\b", re.IGNORECASE)
_WHERE = re.compile(r"(?:in|within|at|on)\b", re.IGNORECASE)
_TITLE = re.compile(r"\b(dr|mr|mrs|ms|prof|approx|vs)\.", re.IGNORECASE)
_GOES_ON = re.compile(r"(?:or|nor|which|that|measuring)\b", re.IGNORECASE)
_COLOR_CODE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class Finding:
    """A finding that a report says is present.

    Args:
        prompt: what to look for, in the report's words, spelled as the models know them.
        sentence: where it stands.
        note: a sentence for the user about it; or empty.
    """

    prompt: str
    sentence: str
    note: str = ""


@dataclass(frozen=True)
class LeftOut:
    """A part of a report that gives no prompt, and why not."""

    text: str
    reason: str


@dataclass(frozen=True)
class Report:
    """The findings of a report and the parts left out, in its order."""

    findings: tuple[Finding, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def prompts(self) -> list[str]:
        """The prompts, which are the labels of their segments too."""
        return [finding.prompt for finding in self.findings]

    @property
    def notes(self) -> list[str]:
        """Sentences for the user about what was left out."""
        said = [f"'{part.text}' in the report was left out: {part.reason}." for part in self.left_out]
        return [*(finding.note for finding in self.findings if finding.note), *said]


@dataclass(frozen=True)
class _Mention:
    """A finding in a clause: its phrase, its head, whether a place is named, and whether it speaks of a known one."""

    phrase: str
    head: str
    place: str
    again: bool
    cue: Cue
    corrected: tuple[tuple[str, str], ...]


def parse_report(text: str) -> Report:
    """Read a report.

    Raises:
        PromptError: it is empty, or longer than `MAX_CHARACTERS`.
    """
    if len(text) > MAX_CHARACTERS:
        raise PromptError(
            f"Expected a report of at most {MAX_CHARACTERS} characters, got {len(text)}.",
            "Give the paragraph on this image alone.",
        )
    clean = _clean(text)
    if not clean.strip():
        raise PromptError("The report is empty.", "Write what is seen, such as 'There is a mass in the left breast.'")
    findings: dict[str, Finding] = {}
    heads: dict[str, str] = {}
    left_out: list[LeftOut] = []
    for sentence in _sentences(clean):
        if _ASKING.match(sentence):
            left_out.append(LeftOut(sentence, BEFORE))
            continue
        for clause in filter(_LETTER.search, _clauses(_HEADING.sub("", sentence))):
            _read_clause(clause, findings, heads, left_out)
    return Report(tuple(findings.values()), tuple(dict.fromkeys(left_out)))


def _clean(text: str) -> str:
    """Replace characters that are no text, such as controls and direction marks, by blanks; normalize cues."""
    text = unicodedata.normalize("NFKC", _COLOR_CODE.sub(" ", text)).replace("\u2019", "'")
    kept = "".join(
        sign if sign == "\n" or unicodedata.category(sign)[0] != "C" else " " for sign in text.replace("\r\n", "\n")
    )
    kept = re.sub(r"\bcan(?:'t|\s+not)\b", "cannot", kept, flags=re.IGNORECASE)
    return _TITLE.sub(r"\1", re.sub(r"n't\b", " not", kept, flags=re.IGNORECASE))


def _sentences(text: str) -> Iterator[str]:
    for part in _END.split(_UNFINISHED.sub(r"\1 ", text)):
        sentence = " ".join(part.split()).strip(" .!-*•")
        if _LETTER.search(sentence):
            yield sentence


def _clauses(sentence: str) -> Iterator[str]:
    """Split a sentence into clauses on different findings; lists stay whole, so that a "no" holds for all of it."""
    for part in _TURN.split(sentence):
        start, joints = 0, list(_JOINT.finditer(part))
        for joint, following in zip(joints, [*joints[1:], None]):
            piece = part[joint.end() : following.start() if following else len(part)]
            if _begins_anew(part[start : joint.start()], piece):
                yield part[start : joint.start()].strip(" ,")
                start = joint.end()
        yield part[start:].strip(" ,.")


def _begins_anew(before: str, piece: str) -> bool:
    verb = _VERB.search(piece)
    if not verb or not verb.start() or _GOES_ON.match(piece) or (_WHERE.match(before) and not _VERB.search(before)):
        return False
    return bool(_VERB.search(before) or _NEW_SUBJECT.match(piece))


def _read_clause(clause: str, findings: dict[str, Finding], heads: dict[str, str], left_out: list[LeftOut]) -> None:
    """Add the findings of a clause by prompt, their prompts by head, and the parts that are left out."""
    mentions = _mentions(clause)
    if not mentions:
        left_out.append(LeftOut(clause, _why_nothing(clause)))
        return
    for mention in mentions:
        said = clause if len(mentions) == 1 else mention.phrase
        if mention.cue in (Cue.ABSENT, Cue.BEFORE):
            left_out.append(LeftOut(said, ABSENT if mention.cue == Cue.ABSENT else BEFORE))
        elif mention.phrase in findings or (mention.again and not mention.place and mention.head in heads):
            known = mention.phrase if mention.phrase in findings else heads[mention.head]
            left_out.append(LeftOut(said, f"it speaks of '{known}' again"))
        else:
            notes = [f"'{read}' is read where the report has '{written}'." for written, read in mention.corrected]
            if mention.cue == Cue.UNCERTAIN:
                notes.insert(0, f"'{mention.phrase}' is segmented, but {UNCERTAIN}.")
            findings[mention.phrase] = Finding(mention.phrase, clause, " ".join(notes))
            heads.setdefault(mention.head, mention.phrase)


def _why_nothing(clause: str) -> str:
    if any(cue.kind == Cue.NORMAL for cue in find_cues(clause)):
        return NORMAL
    if any(cue.kind == Cue.ABSENT for cue in find_cues(clause)):
        return ABSENT
    return UNKNOWN


def _mentions(clause: str) -> list[_Mention]:
    """Find the findings of a clause; where it has none, an organ that is its subject and not said to be normal."""
    words = [(found[0], found.start(), found.end()) for found in re.finditer(r"[^\W_]+(?:-[^\W_]+)*", clause)]
    read = [read_word(word) for word, _, _ in words]
    cues = find_cues(clause)
    inside = lambda at: any(cue.start <= words[at][1] < cue.end for cue in cues)
    is_finding = lambda at: at < len(read) and read[at].word in FINDINGS and not inside(at)
    heads = [at for at in range(len(read)) if is_finding(at) and not (is_finding(at + 1) and _adjoin(words, at + 1))]
    heads = [at for at in heads if at + 1 == len(read) or read[at + 1].word not in NOT_ITSELF]
    found, used = list[_Mention](), set[int]()
    for at in heads:
        first = at
        while first and (is_modifier(read[first - 1].word) or is_finding(first - 1)) and not inside(first - 1):
            if not _adjoin(words, first) or first - 1 in heads:
                break
            first -= 1
        last, place = at + 1, [word.word for word in read[first:at] if is_place(word.word)]
        phrase = [word.word for word in read[first : at + 1]]
        if not place:
            behind, last = _place_behind(read, at, inside)
            place = [word for word in behind if is_place(word)]
            phrase += behind
        if not place and (place := _place_before(read[:first], [inside(at) or at in used for at in range(first)])):
            phrase += ["in", "the", *place]
        used |= set(range(first, last))
        again = first > 0 and read[first - 1].word in ANAPHORA
        corrected = tuple((word.written, word.word) for word in read[first:last] if word.spelling == Spelling.MENDED)
        cue = _cue_of(words[at][1], words[at][2], cues)
        found.append(_Mention(" ".join(phrase), read[at].word, " ".join(place), again, cue, corrected))
    if found or any(cue.kind in (Cue.NORMAL, Cue.ABSENT, Cue.BEFORE) for cue in cues):
        return found
    return _organ_subject([word.word for word in read])


def _adjoin(words: list[tuple[str, int, int]], at: int) -> bool:
    return words[at][1] - words[at - 1][2] == 1


def _place_behind(read: list[Word], at: int, inside: Callable[[int], bool]) -> tuple[list[str], int]:
    """Read the words of a place behind a finding, "in the left breast", and where they end."""
    for start in range(at + 1, min(at + 8, len(read))):
        if inside(start) or read[start].word in FINDINGS:
            break
        if read[start].word not in IN:
            continue
        for end in range(start + 1, min(start + 7, len(read))):
            word = read[end].word
            if inside(end) or word in FINDINGS or word in IN - {"of"}:
                break
            if is_place(word) and not (end + 1 < len(read) and is_place(read[end + 1].word)):
                return [word.word for word in read[start : end + 1]], end + 1
    return [], at + 1


def _place_before(read: Sequence[Word], taken: Sequence[bool]) -> list[str]:
    """Read the place that is the subject of a finding behind these words: "the left breast shows a mass"."""
    end = next((at for at, word in enumerate(read) if is_place(word.word) and not taken[at]), None)
    if end is None:
        return []
    start = end
    while start and is_modifier(read[start - 1].word) and not taken[start - 1]:
        start -= 1
    return [word.word for word in read[start : end + 1]]


def _organ_subject(words: list[str]) -> list[_Mention]:
    """Find organs that are the subject of a clause: "both lungs are seen", "enlarged heart"."""
    start = 0
    while start < len(words) and words[start] in ("the", "a", "an", "both", "there", "is", "are"):
        start += 1
    end = start
    while end < len(words) and is_modifier(words[end]) and words[end] not in PLACES:
        end += 1
    if end < len(words) and words[end] in PLACES and (end + 1 == len(words) or _VERB.match(words[end + 1])):
        phrase = " ".join(words[start : end + 1])
        return [_Mention(phrase, words[end], words[end], False, Cue.PRESENT, ())]
    return []


def _cue_of(start: int, end: int, cues: list[FoundCue]) -> Cue:
    """Find the cue that applies to a finding at these signs: the nearest one before it, else the first behind it."""
    before = [cue.kind for cue in cues if cue.end <= start and cue.side in ("before", "both")]
    behind = [cue.kind for cue in cues if cue.start >= end and cue.side in ("behind", "both")]
    first = before[-1] if before else Cue.PRESENT
    return first if first in (Cue.ABSENT, Cue.BEFORE) or not behind else behind[0]
