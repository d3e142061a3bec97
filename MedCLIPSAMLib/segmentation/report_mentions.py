"""The findings that a clause of a report speaks of, with their places and cues, and the other words that it names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from .report_cues import Cue, FoundCue, find_cues
from .report_past import OR_NOW
from .report_scope import cue_of, is_question
from .report_sentences import VERB
from .report_words import (
    ANAPHORA,
    FINDINGS,
    IN,
    NOT_ITSELF,
    OTHER,
    PLACES,
    POSITIONS,
    REMAINING,
    SIDES,
    Spelling,
    Word,
    is_description,
    is_modifier,
    is_place,
    read_word,
)

_WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")
_APART = re.compile(r"\s*[,(:\u2013-]\s*")
_OWN = re.compile(r"\b(?:and|with)\b|,", re.IGNORECASE)
_WITH = re.compile(r"\b(?:and|with)\b", re.IGNORECASE)
_OR = re.compile(r"\b(?:or|nor)\b", re.IGNORECASE)
_BESIDE = re.compile(
    r"(?:(?!\b(?:or|nor|with|without)\b).)*?(?:,|\b(?:and|plus)\b),?\s*"
    r"(?P<place>(?:in|within|on|at) (?:(?!and\b)\w+,? ){1,7})?"
    r"(?:an?|one|two|three|four|five|multiple|several|numerous|many)\s+(?:(?!(?:of|for)\b)[\w.-]+,? ){0,4}",
    re.IGNORECASE,
)
"""What is between a denial and a finding that is not denied."""
_LAST_ITEM = re.compile(
    r"(?P<before>.*?(?P<listed>[\w-]+)),\s*(?:an?\s+)?(?P<size>(?:\d[\w.-]*|x|mm|cm)\s+)*", re.IGNORECASE
)
_SIZES = {"small", "tiny", "trace", "mild", "moderate", "large", "stable", "unchanged", "known"}
_VERB_BEHIND = re.compile(
    r"\s+(?:is|was|has|measures|remains|persists|unchanged|stable|cannot|could|may|might|not (?:excluded|ruled out)"
    r"|(?P<plural>are|were|have|measure|remain|persist))\b",
    re.IGNORECASE,
)
_ASIDE = re.compile(r"(?:\b(?:which|that|when|where) (?:[a-z]+ ){0,2}|, )(?:not|absent|none)\b", re.IGNORECASE)
"""What a clause adds about another image, where it calls a finding new."""
_HERE = re.compile(
    r"(?: (?!(?:and|but|which|that)\b)[\w'-]+){0,4}?"
    r" (?:th(?:is|ese)(?! patient)|current(?:ly)?|today(?:'s)?|now|present(?:ly)?|latest)\b"
    rf"|[^,;]*? {OR_NOW}",
    re.IGNORECASE,
)
"""Behind a denial: that it is about this image, and no aside."""
_NEW = {"new", "newly", "developing", "development"}
_IS_NEW = re.compile(
    r"\b(?:(?:is|are) new|(?:has|have) (?:newly )?(?:developed|appeared)"
    r"|(?<!not )now (?:seen|present|visible|evident|measures|measuring|\d+))\b",
    re.IGNORECASE,
)
_WAS = re.compile(r"\b(?:was|were|had)\b", re.IGNORECASE)
_JOINT = re.compile(r"[,;:()/]|\s[-\u2013]\s|\b(?:and|or|nor|with|without|but|plus)\b", re.IGNORECASE)
_WHERE = re.compile(r"\s*((?:in|within) .*\S)", re.IGNORECASE)
_OF_IT = re.compile(
    r"(?:this|these|it|they|which|that|findings?|(?:imaging )?(?:features?|appearances?)"
    r"|(?:highly |very |most )?(?:suspicious|concerning|worrisome|suggestive|compatible|consistent|typical|in keeping))"
    r"\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Mention:
    """A finding in a clause.

    Args:
        phrase: its words, with the place.
        head: its noun, in the singular.
        again: it speaks of a known one, "the mass".
        other: it speaks of none of those before, "a second mass".
        cue: what is said of it.
        reading_of: number of the mention before in the clause that it is a reading of, -1 for one in an earlier
            clause: "a mass, likely a cyst"; None where it stands for itself.
        corrected: words that were misspelled, and how they are read.
    """

    phrase: str
    head: str
    again: bool
    other: bool
    cue: Cue
    reading_of: int | None
    corrected: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Clause:
    """The findings of a clause, and what else it names beside them, each with its cue."""

    mentions: list[Mention]
    others: list[tuple[str, Cue]]


def read_clause(clause: str) -> Clause:
    """Find the findings of a clause; where it has none, an organ that is its subject and not said to be normal."""
    found = list(_WORD.finditer(clause))
    read = [read_word(word[0]) for word in found]
    cues = find_cues(clause)
    in_cue = _cover(clause, [(cue.start, cue.end) for cue in cues])
    taken = [bool(in_cue[word.start()]) for word in found]
    mentions, spans, free = list[Mention](), list[tuple[int, int]](), [not one for one in taken]
    whole: tuple[int, int] | None = None
    begin = 0  # of what the cues of a finding are searched in
    for at in _heads(found, read, taken):
        first = at
        while (
            first and not taken[first - 1] and (is_modifier(read[first - 1].word) or read[first - 1].word in FINDINGS)
        ):
            if not _adjoin(found, first) or (spans and first <= spans[-1][1]):
                break
            first -= 1
        last, placed = at + 1, any(is_place(word.word) for word in read[first:at])
        phrase = [word.word for word in read[first : at + 1]]
        if not placed:
            behind, last = _place_behind(clause, found, read, at, taken)
            phrase += behind
            if not behind and (place := _place_before(read, first, free)):
                phrase += ["in", "the", *place]
        words_before = {word.word for word in read[max(0, first - 1) : at]}
        again = first > 0 and read[first - 1].word in ANAPHORA
        corrected = tuple((word.written, word.word) for word in read[first:last] if word.spelling == Spelling.MENDED)
        cue = cue_of(found[first].start(), found[at].end(), cues[begin:], clause)
        if cue and (
            _begins_behind_comma(clause, cue, found[first:], at - first, last - first)
            or (cue.kind == Cue.ABSENT and spans and _has_own(clause, found, read, spans[-1], first))
        ):
            begin = sum(other.start <= cue.start for other in cues)
            cue = cue_of(found[first].start(), found[at].end(), cues[begin:], clause)
        words_near = {word.word for word in read[max(0, first - 4) : first]}
        is_new = not _NEW.isdisjoint(words_near) or _IS_NEW.search(clause, found[at].end())
        if cue and cue.kind == Cue.ABSENT and is_new and _is_aside(clause, found[at].end(), cue.end):
            cue = None
        reading_of = _reading_of(clause, cue, found[first].start(), whole)
        said = Cue.PRESENT if cue is None else Cue.UNCERTAIN if cue.kind == Cue.READING else cue.kind
        if said == Cue.BEFORE and not REMAINING.isdisjoint(words_before):
            said = Cue.PRESENT
        other = not OTHER.isdisjoint(words_before)
        mentions.append(Mention(" ".join(phrase), read[at].word, again, other, said, reading_of, corrected))
        if reading_of is None:
            whole = (found[last - 1].end(), len(spans))
        spans.append((first, last))
        free[first:last] = [False] * (last - first)
    if mentions:
        in_mention = _cover(clause, [(found[first].start(), found[last - 1].end()) for first, last in spans])
        return Clause(mentions, _others(clause, in_mention, in_cue, cues))
    denied = any(cue.kind in (Cue.NORMAL, Cue.ABSENT, Cue.BEFORE) for cue in cues)
    return Clause([] if denied else _organ_subject([word.word for word in read]), [])


def _is_aside(clause: str, start: int, end: int) -> bool:
    """Tell whether a denial that ends at `end`, behind a new finding, is about another image than this one."""
    aside = _ASIDE.search(clause, start, end)
    if aside is None or _HERE.match(clause, end):
        return False
    return bool(clause[end:].strip(" .") or _WAS.search(aside[0]))


def _has_own(clause: str, found: list[re.Match[str]], read: list[Word], before: tuple[int, int], first: int) -> bool:
    """Tell whether a finding is beside a denial: "no mass in the left breast and a cyst in the right breast".

    Each has a place of its own, and it has an article that the one before lacks.
    """
    names_place = lambda words: any(is_place(word.word) or word.word in SIDES for word in words)
    between = _BESIDE.fullmatch(clause, found[before[1] - 1].end(), found[first].start())
    parallel = before[0] and read[before[0] - 1].word in ("a", "an")
    if not between or parallel or _OR.search(clause, found[first].start()):
        return False
    return names_place(read[: first - 1]) and (bool(between["place"]) or names_place(read[first:]))


def _begins_behind_comma(clause: str, cue: FoundCue, words: list[re.Match[str]], at: int, last: int) -> bool:
    """Tell whether a finding is there behind a denial or a history: "no effusion, 5 mm nodule".

    It has a size, or a verb of its own, "no mass, cyst is seen"; "no masses, cysts are seen" denies both.

    Args:
        words: those of the finding and behind it.
        at: which of them is its noun.
        last: how many of them are the finding and its place.
    """
    item = _LAST_ITEM.fullmatch(clause, cue.end, words[0].start())
    if item is None or _OR.search(clause, words[0].start()) or cue.kind not in (Cue.ABSENT, Cue.BEFORE):
        return False
    listed = read_word(item["listed"]).word
    if is_description(listed) and listed not in FINDINGS:  # "no calcified, large mass"
        return False
    if item["size"] or any(word[0].lower() in _SIZES for word in words[:at]):
        return not is_question(cue, clause)
    verb = _VERB_BEHIND.match(clause, words[at].end()) or _VERB_BEHIND.match(clause, words[last - 1].end())
    is_list = clause[cue.start : cue.end].lower() == "no" and ("," in item["before"] or (verb and verb["plural"]))
    return cue.kind == Cue.ABSENT and verb is not None and not is_list


def _heads(found: list[re.Match[str]], read: list[Word], taken: list[bool]) -> list[int]:
    """List the words that are findings: of "mass lesion" the last one, and no "mass" of a mass effect."""
    is_finding = lambda at: at < len(read) and read[at].word in FINDINGS and not taken[at]
    heads = [at for at in range(len(read)) if is_finding(at) and not (is_finding(at + 1) and _adjoin(found, at + 1))]
    is_other = lambda at: at < len(read) and read[at].word in NOT_ITSELF and _adjoin(found, at)
    return [at for at in heads if not is_other(at + 1)]


def _adjoin(found: list[re.Match[str]], at: int) -> bool:
    return found[at].start() - found[at - 1].end() == 1


def _place_behind(
    clause: str, found: list[re.Match[str]], read: list[Word], at: int, taken: list[bool]
) -> tuple[list[str], int]:
    """Read a place behind a finding, "in the left breast", ", left breast" or "left breast", and where it ends."""
    ends = lambda n: n >= len(read) or taken[n] or read[n].word in FINDINGS
    for start in range(at + 1, min(at + 8, len(read))):
        if ends(start):
            break
        if read[start].word in (IN if start == at + 1 else IN - {"of"}) and (end := _place_end(read, start + 1, ends)):
            while end < len(read) and read[end].word in ("of", "in") and (more := _place_end(read, end + 1, ends)):
                end = more
            return [word.word for word in read[start:end]], end
    start = at + 1
    is_behind = lambda: _APART.fullmatch(clause, found[at].end(), found[start].start())
    if ends(start) or not (read[start].word in SIDES | POSITIONS or is_behind()):
        return [], at + 1
    end = start
    while end < len(read) and read[end].word in SIDES | POSITIONS:
        end += 1
    if ends(end) or not is_place(read[end].word):
        return [], at + 1
    end += 1
    while end < len(read) and read[end].word == "of" and (more := _place_end(read, end + 1, ends)):
        end = more
    if end < len(read) and (_adjoin(found, end) and (not ends(end) or read[end].word in FINDINGS)):
        return [], at + 1
    return ["in", "the", *(word.word for word in read[start:end])], end


def _place_end(read: list[Word], start: int, ends: Callable[[int], bool]) -> int:
    """Return where the place that begins at a word ends; 0 where there is none."""
    for at in range(start, min(start + 6, len(read))):
        word = read[at].word
        if ends(at) or word in IN - {"of"}:
            return 0
        if is_place(word) and at + 1 < len(read) and read[at + 1].word in NOT_ITSELF:
            return 0
        if is_place(word) and not (at + 1 < len(read) and is_place(read[at + 1].word)):
            return at + 1
    return 0


def _place_before(read: list[Word], stop: int, free: list[bool]) -> list[str]:
    """Read the place that is the subject of a finding at `stop`: "the left breast shows a mass"."""
    is_free_place = lambda at: free[at] and is_place(read[at].word) and read[at + 1].word not in NOT_ITSELF
    end = next(filter(is_free_place, range(stop)), None)
    if end is None:
        return []
    start = end
    while start and is_modifier(read[start - 1].word) and free[start - 1]:
        start -= 1
    while end + 2 < stop and read[end + 1].word == "of":
        more = _place_end(read, end + 2, lambda at: at >= stop or not free[at])
        if not more:
            break
        end = more - 1
    return [word.word for word in read[start : end + 1]]


def _organ_subject(words: list[str]) -> list[Mention]:
    """Find organs that are the subject of a clause: "both lungs are seen", "enlarged heart"."""
    start = 0
    while start < len(words) and words[start] in ("the", "a", "an", "both", "there", "is", "are"):
        start += 1
    end = start
    while end < len(words) and is_modifier(words[end]) and words[end] not in PLACES:
        end += 1
    if end < len(words) and words[end] in PLACES and (end + 1 == len(words) or VERB.match(words[end + 1])):
        phrase = " ".join(words[start : end + 1])
        return [Mention(phrase, words[end], False, False, Cue.PRESENT, None, ())]
    return []


def _reading_of(clause: str, cue: FoundCue | None, start: int, before: tuple[int, int] | None) -> int | None:
    """Return which mention the one at `start` is a reading of; see `Mention`.

    Args:
        before: where the last mention that stands for itself ends, and its number.
    """
    if cue is None or cue.kind != Cue.READING or _OWN.search(clause, cue.end, start):
        return None
    if before and before[0] <= cue.start:
        return None if _WITH.search(clause, before[0], cue.start) else before[1]
    return -1 if not before and _OF_IT.match(clause) else None


def _cover(clause: str, spans: list[tuple[int, int]]) -> bytearray:
    """Mark the characters of a clause that lie in one of the spans."""
    covered = bytearray(len(clause))
    for start, end in spans:
        covered[start:end] = b"\1" * (end - start)
    return covered


def _others(clause: str, in_mention: bytearray, in_cue: bytearray, cues: list[FoundCue]) -> list[tuple[str, Cue]]:
    """List what is named beside the findings: parts between commas and conjunctions that end with another noun."""
    others, start = [], 0
    for joint in [*_JOINT.finditer(clause), None]:
        end = joint.start() if joint else len(clause)
        if not any(in_mention[start:end]):
            words = _name(list(_WORD.finditer(clause, start, end)), in_cue)
            elsewhere = _WHERE.match(clause, start, end) if any(in_mention[:start]) else None
            if elsewhere and any(is_place(word[0].lower()) for word in _WORD.finditer(clause, start, end)):
                others.append((elsewhere[1], Cue.PRESENT))
            elif words and not is_description(words[-1][0].lower()):
                cue = cue_of(words[0].start(), words[-1].end(), cues, clause)
                said = clause[words[0].start() : words[-1].end()]
                others.append((said, Cue.PRESENT if cue is None else cue.kind))
        start = joint.end() if joint else 0
    return others


def _name(words: list[re.Match[str]], in_cue: bytearray) -> list[re.Match[str]]:
    """Cut the words of a part down to those that name something: behind cues and articles, before a verb or place."""
    plain = lambda word: is_modifier(word[0].lower()) or word[0].lower() in FINDINGS
    joins = lambda word: VERB.fullmatch(word[0]) or word[0].lower() in IN
    opens = lambda word: joins(word) and word[0].lower() != "of"
    start = next(
        (n for n, word in enumerate(words) if opens(word) or (plain(word) and not in_cue[word.start()])), len(words)
    )
    ends = (n for n, word in enumerate(words) if n >= start and (in_cue[word.start()] or joins(word)))
    words = words[start : next(ends, len(words))]
    while words and not plain(words[-1]):
        words = words[:-1]
    return words
