"""Split a report into sentences and clauses, such that a "no" applies to all findings of a clause."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .report_words import FINDINGS, PARTS, POSITIONS, SIDES, is_place, read_word

_END = re.compile(r"((?<=[.!?])\s+|;|\n\s*\n|\n(?=\s*(?:[-*•|A-Z]|\d+[.)]\s)))")
_ANSWER = "(?:no|yes|none|absent|present|negative|positive)"
_ANSWERED = re.compile(rf"(: {_ANSWER})[^\S\n]*\n(?=\s*(?-i:[A-Z])|[^\n.;]*:)", re.IGNORECASE)
"""A complete answer at the end of its line: before another answer or a capital letter."""
UNFINISHED = re.compile(
    r"(\b(?:an?|the|no|not|without|nor?|of|in|on|at|for|with|and|or|is|are|was|were|be|to|than)|,)[^\S\n]*\n\s*",
    re.IGNORECASE,
)
"""The end of a line that is not the end of a sentence."""
_HEADING = re.compile(
    r"^[\s\-*•]*(?:\d+[.)]\s*)?(finding|impression|conclusion|opinion|summary|assessment|result)s?"
    r"(?: ?(?:and|[/&]) ?(?:finding|impression|recommendation|plan)s?)?\s*(?::\s*|$)",
    re.IGNORECASE,
)
_CONCLUDING = ("impression", "conclusion", "opinion", "summary", "assessment")
_ASKING = re.compile(
    r"^[\s\-*•#]*"
    r"(?:(?:clinical |(?:[a-z-]+ ){0,3}(?=history|indication|complaint|information|recommendation|medical ))?"
    r"(?:clinical|cc|(?<=clinical )concern|indication"
    r"|history|technique|comparison|question|reason|procedure|recommendation|information|background"
    r"|complaint|plan|(?<=clinical )(?:detail|diagnosis)|medical condition)s?(?: for (?:\w+ ?){1,2})?\s*:"
    r"|(?:clinical )?(?:indication|history|technique|comparison|procedure|recommendation|information)s?$)",
    re.IGNORECASE,
)
_PLACE = re.compile(r"^[\s\-*•]*((?:[\w-]+ ){0,3}[\w-]+)\s*:(?!\d)")
"""A heading, which may name a place."""
_ELSEWHERE = {"pericardial", "mediastinal", "mesenteric", "retroperitoneal", "hiatal", "inguinal", "umbilical"}
"""Words that place a finding by themselves, so that a heading's place does not apply."""
_TURN = re.compile(
    r"(?<!nowhere )(?<!nowhere else )"
    r"\b(?:but|however|although|though|whereas|while|except(?: for)?|other than|apart from|aside from)\b",
    re.IGNORECASE,
)
LETTER = re.compile(r"[^\W\d_]")
VERB = re.compile(
    r"\b(?:is|are|was|were|has|have|shows?|demonstrates?|reveals?|contains?|measures?|appears?|lies|remains?|"
    r"seen|noted|present|identified|found|cannot)\b",
    re.IGNORECASE,
)
_STATE = re.compile(
    r"(?<=\w )(?:absent|negative|positive|denied|persists?|unchanged|stable|resolved|gone|cleared|disappeared|vanished"
    r"|improved|worsened|increased|decreased|enlarged|larger|smaller)$",
    re.IGNORECASE,
)
"""Words that replace a verb in short sentences, as in "mass positive, cyst negative"."""
_LONGEST_STATE = 20
"""Upper limit of the length in characters of such words, including those before them."""
_NAMES = re.compile(r"[^\W\d]\)?\s*:")
"""A colon after a name, not the colon of a time."""
_JOINT = re.compile(r",\s*(?:and\s+)?|\s+and\s+", re.IGNORECASE)
_NEW_SUBJECT = re.compile(r"(?:there|an?|the|this|one|two|three|multiple|several)\b", re.IGNORECASE)
_JOINT_SUBJECT = re.compile(
    r"(?:(?:an?|one|another)\b|(?:the|this)\b(?=[\w ]*(?:[^\Ws]|ss) (?:are|were|have)\b))"
    r"(?:(?!\b(?:that|which|whose|with)\b).)*?\b(?:are|were|have)\b",
    re.IGNORECASE,
)
"""A singular noun with a plural verb, so that what stands before it is also a subject of the verb."""
_WHERE = re.compile(r"(?:[\w ]{1,80}:\s*)?(?:in|within|at|on)\b", re.IGNORECASE)
_GOES_ON = re.compile(r"(?:or|nor|which|that|measuring|(?:still|now|again|also) (?:not|absent))\b", re.IGNORECASE)


@dataclass(frozen=True)
class Sentence:
    """A sentence of a report.

    Args:
        text: the sentence without the heading before it.
        asking: whether it does not report findings, but history, a question, technique or a recommendation.
        concluding: whether it belongs to the impression, which repeats findings.
    """

    text: str
    asking: bool = False
    concluding: bool = False


def read_sentences(text: str) -> Iterator[Sentence]:
    """Yield the sentences of a cleaned text; a heading on a line of its own applies until the next one.

    A heading that names a place is prepended to the sentences below it that name none. If it names a side, this also
    applies to the sentences after it on the same line.
    """
    asking = concluding = False
    place, is_line, is_read = "", False, False
    parts = _END.split(UNFINISHED.sub(r"\1 ", _ANSWERED.sub(r"\1.\n", text)))
    for before, part in zip(["", *parts[1::2]], parts[::2]):
        if "\n" in before and is_read and not (is_line and before.count("\n") == 1):
            place = ""
        sentence = " ".join(part.split()).strip(" .!-*•")
        if not LETTER.search(sentence):
            continue
        heading = _HEADING.match(sentence)
        question = None if heading else _ASKING.match(sentence)
        if heading:
            asking, concluding = False, heading[1].lower() in _CONCLUDING
            sentence = sentence[heading.end() :]
        elif question:
            asking = question.end() == len(sentence)
            if asking:
                continue
        named = _PLACE.match(sentence)
        if named and _is_place(named[1], named.end() == len(sentence)):
            place, is_line = named[1], named.end() == len(sentence)
            is_read = not is_line
            if is_line:
                continue
        elif heading or question or (named and not (is_line and read_word(named[1].split()[-1]).word in FINDINGS)):
            place = ""
        elif place:
            is_read = True
            if not _names_organ(sentence):
                sentence = f"{place}: {sentence}"
        if LETTER.search(sentence):
            yield Sentence(sentence, asking or bool(question), concluding)


def _is_place(heading: str, is_line: bool) -> bool:
    """Tell whether a heading is a place that applies to several sentences: on a line of its own, or with a side."""
    words = heading.lower().split()
    is_sided = not {"left", "right"}.isdisjoint(words)
    return (is_sided or (is_line and any(map(is_place, words)))) and all(
        is_place(word) or word in SIDES | POSITIONS | {"and", "the", "of"} for word in words
    )


def _names_organ(sentence: str) -> bool:
    """Tell whether a sentence names a side or an organ, rather than only a part of one."""
    words = re.findall(r"[\w-]+", sentence.lower())
    return any(word in SIDES | _ELSEWHERE or (is_place(word) and word.removesuffix("s") not in PARTS) for word in words)


def split_clauses(sentence: str) -> Iterator[str]:
    """Split a sentence into clauses on different findings. Lists stay whole, so that a "no" applies to all items."""
    for part in _TURN.split(sentence):
        start, joints = 0, list(_JOINT.finditer(part))
        says = bool(VERB.search(part, 0, joints[0].start())) if joints else False
        for joint, following in zip(joints, [*joints[1:], None]):
            piece = part[joint.end() : following.start() if following else len(part)]
            verb = VERB.search(piece)
            if _begins_anew(part[start : joint.start()], says, piece, verb or _STATE.search(piece)):
                yield part[start : joint.start()].strip(" ,")
                start, says = joint.end(), False
            says = says or verb is not None
        yield part[start:].strip(" ,.")


def _begins_anew(before: str, says: bool, piece: str, verb: re.Match[str] | None) -> bool:
    """Tell whether a piece begins a new clause.

    Args:
        says: whether the previous clause has a verb.
        verb: the verb of the piece, or the words that replace it.
    """
    if _NAMES.search(piece) and (says or _NAMES.search(before)):
        return True
    if not verb or not verb.start() or _GOES_ON.match(piece) or (not says and _WHERE.match(before)):
        return False
    return bool(
        says
        or _STATE.search(before[-_LONGEST_STATE:])
        or (_NEW_SUBJECT.match(piece) and not _JOINT_SUBJECT.match(piece))
    )
