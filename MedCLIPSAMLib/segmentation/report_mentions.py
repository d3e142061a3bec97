"""The findings that a clause of a report mentions, each with its cue, and other things that it names."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass, replace
from itertools import pairwise

from .report_cues import Cue, FoundCue, find_cues
from .report_past import OR_NOW
from .report_phrases import WORD, Phrase, Words
from .report_same import GENERAL
from .report_scope import APART, between, find_cue, is_question
from .report_sentences import VERB
from .report_words import (
    ANAPHORA,
    FINDINGS,
    IN,
    OTHER,
    REMAINING,
    Spelling,
    is_description,
    is_modifier,
    is_place,
    read_word,
)

_WITH = re.compile(r"\b(?:and|with)\b", re.IGNORECASE)
_WITH_NEW = re.compile(r",? with (?:an? |interval |development of )*(?P<new>new )?", re.IGNORECASE)
_OR = re.compile(r"\b(?:or|nor)\b", re.IGNORECASE)
_BESIDE = re.compile(
    r"(?:(?!\b(?:or|nor|with|without)\b).)*?(?:,|\b(?:and|plus)\b),?\s*"
    r"(?P<place>(?:in|within|on|at) (?:(?!and\b)\w+,? ){1,7})?"
    r"(?:an?|one|two|three|four|five|multiple|several|numerous|many)\s+(?:(?!(?:of|for)\b)[\w.-]+,? ){0,4}",
    re.IGNORECASE,
)
"""Text between a denial and a finding that it does not deny."""
_SIZE = re.compile(r"\s*(?:an?\s+)?(?P<size>(?:\d[\w.-]*|x|mm|cm)\s+)*", re.IGNORECASE)
_SIZES = {"small", "tiny", "trace", "minimal", "mild", "moderate", "large", "stable", "unchanged", "known"}
_VERB_BEHIND = re.compile(
    r"\s+(?:is|was|has|measures|remains|persists|unchanged|stable|cannot|could|may|might|not (?:excluded|ruled out)"
    r"|(?P<plural>are|were|have|measure|remain|persist))\b",
    re.IGNORECASE,
)
_ASIDE = re.compile(r"(?:\b(?:which|that|when|where) (?:[a-z]+ ){0,2}|, )(?:not|absent|none)\b", re.IGNORECASE)
"""A remark about another image in a clause that calls a finding new."""
_HERE = re.compile(
    r"(?: (?!(?:and|but|which|that)\b)[\w'-]+){0,4}?"
    r" (?:th(?:is|ese)(?! patient)|current(?:ly)?|today(?:'s)?|now|present(?:ly)?|latest)\b"
    rf"|[^,;]{{0,200}}? {OR_NOW}",
    re.IGNORECASE,
)
"""Words after a denial that refer it to the current image, so that it is not a remark about another one."""
_ALTERNATIVE = r"(?:scar|scarring|thickening|fibrosis|inflammation|infection|contusion|vessel|arti?e?fact)s?"
_OR_THIS = re.compile(r"(?:and )?or|/")
_OR_THAT = re.compile(rf"(?:(?:and )?or|/) (?:[\w-]+ ){{0,2}}?{_ALTERNATIVE}\b")
_THAT_OR = re.compile(rf"\b{_ALTERNATIVE} (?:(?:and )?or|/)$")
"""Text between findings, without articles, which leaves open which of them it is, or whether there is a finding."""
_ONE_THING = (GENERAL, {"opacity", "infiltrate", "consolidation"}, {"hemorrhage", "hematoma"})
"""Groups of nouns between which a slash does not express doubt, as in "mass/lesion"."""
_NEW = {"new", "newly", "developing", "development"}
_IS_NEW = re.compile(
    r"\b(?:(?:is|are) new|(?:has|have) (?:newly )?(?:developed|appeared)"
    r"|(?<!not )now (?:seen|present|visible|evident|measures|measuring|\d+))\b",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r" ?#?(?:[2-9]|1\d)\s*[:(]")
"""Text after a finding that distinguishes it from earlier ones, as in "nodule 2: left lobe"."""
_WAS = re.compile(r"\b(?:was|were|had)\b", re.IGNORECASE)
_JOINT = re.compile(r"[,;:()/]|\s[-\u2013]\s|\b(?:and|or|nor|with|without|but|plus)\b", re.IGNORECASE)
_WHERE = re.compile(r"\s*((?:in|within|(?:the )?(?:left|right|both|bilateral)) .*\S)", re.IGNORECASE)
_OF_IT = re.compile(
    r"(?:bi-?rads (?:category )?\w+\W+)?"
    r"(?:this|these|it|they|which|that|findings?|(?:imaging )?(?:features?|appearances?)"
    r"|(?:highly |very |most |high |low |moderate )?"
    r"(?:suspicion|suspicious|concerning|worrisome|suggestive|compatible|consistent|typical|in keeping))"
    r"\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Mention:
    """A finding in a clause.

    Args:
        phrase: its words, including the place.
        head: its noun, in the singular.
        again: whether it refers to a known finding, as in "the mass".
        other: whether it is explicitly a different finding from earlier ones, as in "a second mass".
        cue: what the report says about it.
        reading_of: number of the earlier mention in the clause that this one interprets, as in "a mass, likely a cyst";
            -1 for a mention in an earlier clause, None if it is a finding of its own.
        corrected: misspelled words and their corrections.
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
    """The findings of a clause and the other things that it names, each with its cue."""

    mentions: list[Mention]
    others: list[tuple[str, Cue]]


def read_clause(clause: str) -> Clause:
    """Find the findings of a clause. If it has none, take the organ that is its subject, unless it is called normal."""
    cues = find_cues(clause)
    in_cue = _cover(clause, [(cue.start, cue.end) for cue in cues])
    words = Words(clause, in_cue)
    phrases = words.find_phrases()
    if not phrases:
        denied = any(cue.kind in (Cue.NORMAL, Cue.ABSENT, Cue.BEFORE) for cue in cues)
        organ = None if denied else words.find_organ()
        found = [Mention(organ.text, words[organ.head], False, False, Cue.PRESENT, None, ())] if organ else []
        return Clause(found, [])
    mentions, doubted = list[Mention](), _alternatives(words, phrases)
    whole: tuple[int, int] | None = None  # end and number of the last mention that is a finding of its own
    begin = 0  # start of the range in which the cues of a finding are searched
    for number, phrase in enumerate(phrases):
        span = words.start(phrase.first), words.end(phrase.head)
        cue = find_cue(*span, cues[begin:], clause)
        before = phrases[number - 1] if number else None
        if cue and _is_beside(words, cue, phrase, before):
            edge = words.end(before.stop - 1) if before else cue.end
            begin = bisect_left(cues, edge, key=lambda cue: cue.start)
            cue = find_cue(*span, cues[begin:], clause)
        if cue and cue.kind == Cue.ABSENT and _is_new(words, phrase) and _is_aside(clause, span[1], cue.end):
            cue = None
        reading_of = _reading_of(clause, cue, span[0], whole)
        if reading_of is None:
            whole = words.end(phrase.stop - 1), number
        mention = _mention(words, phrase, cue, reading_of)
        is_doubted = number in doubted and mention.cue == Cue.PRESENT
        mentions.append(replace(mention, cue=Cue.UNCERTAIN) if is_doubted else mention)
    in_mention = _cover(clause, [(words.start(one.first), words.end(one.stop - 1)) for one in phrases])
    others = _others(clause, in_mention, in_cue, cues)
    said = "\n".join(mention.phrase for mention in mentions)  # also the place of a later one
    return Clause(mentions, [(text, cue) for text, cue in others if text.lower() not in said])


def _mention(words: Words, phrase: Phrase, cue: FoundCue | None, reading_of: int | None) -> Mention:
    before = set(words.within(phrase.first - 1, phrase.head))
    said = Cue.PRESENT if cue is None else Cue.UNCERTAIN if cue.kind == Cue.READING else cue.kind
    if said == Cue.BEFORE and not REMAINING.isdisjoint(before):
        said = Cue.PRESENT
    again = phrase.first > 0 and words[phrase.first - 1] in ANAPHORA
    other = not OTHER.isdisjoint(before) or bool(_NUMBERED.match(words.text, words.end(phrase.head)))
    read = words.read[phrase.first : phrase.stop]
    corrected = tuple((word.written, word.word) for word in read if word.spelling == Spelling.MENDED)
    return Mention(phrase.text, words[phrase.head], again, other, said, reading_of, corrected)


def _alternatives(words: Words, phrases: list[Phrase]) -> set[int]:
    """List the numbers of findings that are alternatives, as in "atelectasis or pneumonia" or "cyst or scar"."""
    edges = [0, *(edge for phrase in phrases for edge in (phrase.first, phrase.stop)), len(words)]
    gaps = [words.joined(*edges[at : at + 2]) for at in range(0, len(edges), 2)]
    gaps[0], gaps[-1] = f". {gaps[0]}", f"{gaps[-1]} ."  # there is no finding beyond them
    for at, heads in enumerate(pairwise(words[phrase.head] for phrase in phrases), 1):
        if gaps[at] == "/" and (heads[0] == heads[1] or any(map({*heads}.issubset, _ONE_THING))):
            gaps[at] = ","
    found = set[int]()
    for number, phrase in reversed([*enumerate(phrases)]):
        before, behind = gaps[number : number + 2]
        is_alone = phrase.stop == phrase.head + 1 and "," in words.text[words.end(phrase.head) :][:2]
        is_listed = number + 1 in found and not behind and is_alone  # "a cyst, atelectasis or pneumonia"
        if (
            is_listed
            or any(map(_OR_THIS.fullmatch, (before, behind)))
            or _THAT_OR.search(before)
            or any(map(_OR_THAT.match, (behind, words.joined(phrase.head + 1, phrase.stop))))
        ):
            found.add(number)
    return found


def _is_new(words: Words, phrase: Phrase) -> bool:
    """Tell whether a clause calls a finding new."""
    near = words.within(phrase.first - 4, phrase.first)
    return not _NEW.isdisjoint(near) or bool(between(_IS_NEW, words.text, words.end(phrase.head), len(words.text)))


def _is_aside(clause: str, start: int, end: int) -> bool:
    """Tell whether a denial that ends at `end`, after a new finding, refers to another image."""
    aside = between(_ASIDE, clause, start, end)
    if aside is None or _HERE.match(clause, end):
        return False
    return bool(clause[end:].strip(" .") or _WAS.search(aside[0]))


def _is_beside(words: Words, cue: FoundCue, phrase: Phrase, before: Phrase | None) -> bool:
    """Tell whether a finding is present although something before it is denied or past."""
    if between(_OR, words.text, words.start(phrase.first), len(words.text)):  # the list of denied findings continues
        return False
    gap = words.text[words.end(before.stop - 1) : words.start(phrase.first)] if before else ""
    joint = _WITH_NEW.fullmatch(gap)
    is_left = not REMAINING.isdisjoint(words.within(phrase.first, phrase.head))
    if _begins_behind_comma(words, cue, phrase) or (joint and (joint["new"] or is_left)):
        return True
    return cue.kind == Cue.ABSENT and before is not None and _has_own(words, before, phrase)


def _has_own(words: Words, before: Phrase, phrase: Phrase) -> bool:
    """Tell whether a denial ends before a finding: "no mass in the left breast and a cyst in the right breast".

    Both have a place of their own, and the finding has an article, which the denied one lacks.
    """
    between = _BESIDE.fullmatch(words.text, words.end(before.stop - 1), words.start(phrase.first))
    if not between or (before.first and words[before.first - 1] in ("a", "an")):
        return False
    return words.name_place(0, phrase.first - 1) and (
        bool(between["place"]) or words.name_place(phrase.first, len(words))
    )


def _begins_behind_comma(words: Words, cue: FoundCue, phrase: Phrase) -> bool:
    """Tell whether a finding after a comma is present despite a denial or a history, as in "no effusion, 5 mm nodule".

    It has a size, or a verb of its own as in "no mass, cyst is seen"; "no masses, cysts are seen" denies both.
    """
    listed_before, _, behind = words.text[cue.end : words.start(phrase.first)].rpartition(",")
    size = _SIZE.fullmatch(behind)
    if not listed_before.strip() or size is None or cue.kind not in (Cue.ABSENT, Cue.BEFORE):
        return False
    listed = read_word(listed_before.rsplit(None, 1)[-1]).word
    if is_description(listed) and listed not in FINDINGS:  # "no calcified, large mass"
        return False
    if size["size"] or not _SIZES.isdisjoint(words.within(phrase.first, phrase.head)):
        return not is_question(cue, words.text)
    ends = (words.end(phrase.head), words.end(phrase.stop - 1))
    verb = next(filter(None, (_VERB_BEHIND.match(words.text, end) for end in ends)), None)
    is_no = words.text[cue.start : cue.end].lower() == "no"
    is_list = is_no and ("," in listed_before or (verb and verb["plural"]))
    return cue.kind == Cue.ABSENT and verb is not None and not is_list


def _reading_of(clause: str, cue: FoundCue | None, start: int, before: tuple[int, int] | None) -> int | None:
    """Return which mention the one at `start` interprets; see `Mention.reading_of`.

    Args:
        before: end and number of the last mention that is a finding of its own.
    """
    if cue is None or cue.kind != Cue.READING or between(APART, clause, cue.end, start):
        return None
    if before and before[0] <= cue.start:
        beside = between(_WITH, clause, before[0], cue.start)  # "with" only describes the finding
        return None if beside and beside[0].lower() == "and" else before[1]
    return -1 if not before and _OF_IT.match(clause) else None


def _cover(clause: str, spans: list[tuple[int, int]]) -> bytearray:
    """Mark the characters of a clause that lie in one of the spans."""
    covered = bytearray(len(clause))
    for start, end in spans:
        covered[start:end] = b"\1" * (end - start)
    return covered


def _others(clause: str, in_mention: bytearray, in_cue: bytearray, cues: list[FoundCue]) -> list[tuple[str, Cue]]:
    """List what is named besides the findings: parts between commas and conjunctions that end with another noun."""
    others, start = [], 0
    for joint in [*_JOINT.finditer(clause), None]:
        end = joint.start() if joint else len(clause)
        if not any(in_mention[start:end]):
            words = _name(list(WORD.finditer(clause, start, end)), in_cue)
            is_elsewhere = in_mention.find(1, 0, start) >= 0 and not any(in_cue[start:end])
            elsewhere = _WHERE.match(clause, start, end) if is_elsewhere else None
            if elsewhere and any(is_place(word[0].lower()) for word in WORD.finditer(clause, start, end)):
                others.append((elsewhere[1], Cue.PRESENT))
            elif words and not is_description(words[-1][0].lower()):
                cue = find_cue(words[0].start(), words[-1].end(), cues, clause)
                said = clause[words[0].start() : words[-1].end()]
                others.append((said, Cue.PRESENT if cue is None else cue.kind))
        start = joint.end() if joint else 0
    return others


def _name(words: list[re.Match[str]], in_cue: bytearray) -> list[re.Match[str]]:
    """Cut a part down to the words that name something: after cues and articles, before a verb or place."""
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
