"""The words of a clause of a report, and the phrases of its findings: a noun, its modifiers and its place."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass

from .report_same import GENERAL
from .report_sentences import VERB
from .report_words import (
    FINDINGS,
    IN,
    NOT_ITSELF,
    PARTS,
    PLACES,
    POSITIONS,
    SIDES,
    Word,
    is_modifier,
    is_place,
    is_size,
    read_word,
)

WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")
_FAR = 12
"""Maximum number of words of a place on either side of its noun."""
_APART = re.compile(r"\s*[,(:\u2013-]\s*")
_NAMED_PARTS = {"segment", "head", "neck", "body", "tail", "pole", "side"}
"""Words with which a place after a comma may begin."""
_HOUR = {"the", "o", "clock", "position", "of", "in"}
_SIDE = re.compile(
    r"(?: #?\d[\d. x]*(?:mm|cm)?)?(?:(?P<both> (?:on both sides|bilaterally)\b)"
    r"| (?:in|on|at|within|along|over|through|involving) (?:the )?(?P<within>left|right)\b(?! (?:of|clinical)\b)"
    r"|(?: |\s*[,(:\u2013-] *)(?:to )?(?:the )?(?P<side>left|right)(?: side| apical| basal| basilar)?"
    r"(?=$|\s*[,;:.)(]| (?:and|or|with|which|that|is|are|was|were|has|measuring|small|large|moderate|tiny|trace)\b))",
    re.IGNORECASE,
)
"""A side after a finding, without an organ."""
_HEADING = re.compile(r" ?#?\d*\s*:(?:(?!\b(?:and|with)\b)[^,])*")
_SIDE_FIRST = re.compile(r"(?P<side>left|right)\s*:", re.IGNORECASE)


@dataclass(frozen=True)
class Phrase:
    """The words of a finding.

    Args:
        text: the words as they are read, including the place, which may stand elsewhere in the clause.
        first: number of the first word.
        head: number of the noun.
        stop: number of the word after the noun, or after a place that follows it.
    """

    text: str
    first: int
    head: int
    stop: int


class Words:
    """The words of a clause.

    Args:
        text: the clause.
        in_cue: marks the characters of the clause that belong to cues, whose words are not words of findings.
    """

    def __init__(self, text: str, in_cue: bytearray) -> None:
        self.text = text
        self._found = list(WORD.finditer(text))
        self.read: list[Word] = [read_word(word[0]) for word in self._found]
        self._is_cue = [bool(in_cue[word.start()]) for word in self._found]
        self._placed = [at for at, word in enumerate(self.read) if is_place(word.word) or word.word in SIDES]

    def __len__(self) -> int:
        return len(self.read)

    def __getitem__(self, at: int) -> str:
        """Return a word as it is read; "" before the first and after the last one."""
        return self.read[at].word if 0 <= at < len(self) else ""

    def within(self, start: int, stop: int) -> list[str]:
        """Return the words of a part."""
        return [word.word for word in self.read[max(0, start) : stop]]

    def start(self, at: int) -> int:
        """Return where a word begins in the clause."""
        return self._found[at].start()

    def end(self, at: int) -> int:
        """Return where a word ends in the clause."""
        return self._found[at].end()

    def joined(self, start: int, stop: int) -> str:
        """Join the words of a part without articles, keeping slashes between two words, as in "mass/scar"."""
        kept = []
        for at in range(start, stop + 1):
            is_stroke = 0 < at < len(self) and self.text[self.end(at - 1) : self.start(at)].strip() == "/"
            kept += ["/"] if is_stroke and "or" not in (self[at], self[at - 1]) else []
            kept += [self[at]] if at < stop and self[at] not in ("a", "an", "the") else []
        return " ".join(kept)

    def name_place(self, start: int, stop: int) -> bool:
        """Tell whether a part names an organ or a side."""
        first = bisect_left(self._placed, start)
        return first < len(self._placed) and self._placed[first] < stop

    def find_phrases(self) -> list[Phrase]:
        """Find the phrases of all findings in the clause, in order."""
        phrases, free = list[Phrase](), [not one for one in self._is_cue]
        is_subject = lambda at: is_place(self[at]) and self[at + 1] not in NOT_ITSELF
        subjects = deque(filter(is_subject, self._placed))  # places that may belong to findings after them
        for head in self._heads():
            first, earliest = head, phrases[-1].stop if phrases else 0
            while first > earliest and self._joins(first):
                first -= 1
            words, stop = self.within(first, head + 1), head + 1
            if not any(map(is_place, words[:-1])):
                behind, stop = self._place_behind(head)
                words += behind
                while subjects and not free[subjects[0]]:
                    subjects.popleft()
                if not behind and subjects and subjects[0] < first:
                    place = self._place_before(subjects[0], first, free)
                    words += ["in", *([] if place[0] == "both" else ["the"]), *place]
                elif behind and subjects and subjects[0] < first and not phrases and _is_part(behind):
                    place = self._place_before(subjects[0], first, free)
                    words += [] if _is_part(place) else ["of", "the", *place]
            elif self[head + 1] in IN:  # "lung nodule in the left lower lobe"
                behind, end = self._place_behind(head)
                if SIDES.isdisjoint(words) or _is_part(behind):
                    words, stop = words + behind, end
            if SIDES.isdisjoint(words):
                side, stop = self._side(stop)
                words += side
            phrases += self._other_side(first, head, words, is_first=not phrases)
            phrases.append(Phrase(" ".join(words), first, head, stop))
            free[first:stop] = [False] * (stop - first)
        return phrases

    def _other_side(self, first: int, head: int, words: list[str], is_first: bool) -> list[Phrase]:
        """Find another phrase with the same noun: "small left and moderate right effusions" are two findings.

        After another finding it may be the place of that one, as in "cyst on the left and right effusion".
        """
        start = end = first - 1
        while start > 0 and is_modifier(self[start - 1]) and not self._is_cue[start - 1]:
            start -= 1
        own = self.within(start, end)
        replaced = SIDES if POSITIONS.isdisjoint(own) else SIDES | POSITIONS
        where = [at for at, word in enumerate(words[: head - first]) if word in replaced]
        if self[end] != "and" or not where or not own or own[-1] not in SIDES | POSITIONS or SIDES.isdisjoint(own):
            return []
        if not is_first and self[start - 2 if self[start - 1] == "the" else start - 1] in IN:
            return []
        return [Phrase(" ".join(own + words[where[-1] + 1 :]), start, head, end)]

    def find_organ(self) -> Phrase | None:
        """Find an organ that is the subject of the clause, as in "both lungs are seen" or "enlarged heart"."""
        start = 0
        while self[start] in ("the", "a", "an", "both", "there", "is", "are"):
            start += 1
        head = start
        while head < len(self) and is_modifier(self[head]) and self[head] not in PLACES:
            head += 1
        if self[head] in PLACES and (head + 1 == len(self) or VERB.match(self[head + 1])):
            return Phrase(" ".join(self.within(start, head + 1)), start, head, head + 1)
        return None

    def _heads(self) -> list[int]:
        """List the words that are findings, by number: the last of "mass lesion", but not "mass" in "mass effect"."""
        is_finding = lambda at: self[at] in FINDINGS and not self._is_cue[at]
        is_part = lambda at: at < len(self) and self._adjoin(at) and (is_finding(at) or self[at] in NOT_ITSELF)
        heads = [at for at in range(len(self)) if is_finding(at) and not is_part(at + 1)]
        named = len(heads) > 1 and heads[0] == 0 and {self[0], self[heads[1]]} <= GENERAL
        is_heading = named and _HEADING.fullmatch(self.text, self.end(0), self.start(heads[1]))  # "Lesion 1: 2 cm mass"
        return heads[1:] if is_heading and not any(self._is_cue[: heads[1]]) else heads

    def _adjoin(self, at: int) -> bool:
        """Tell whether only a single blank separates a word from the previous one."""
        return self.text[self.end(at - 1) : self.start(at)] == " "

    def _joins(self, first: int) -> bool:
        """Tell whether the word before `first` belongs to the phrase that begins there."""
        before = self[first - 1]
        return not self._is_cue[first - 1] and (is_modifier(before) or before in FINDINGS) and self._adjoin(first)

    def _ends_place(self, at: int) -> bool:
        return at >= len(self) or self._is_cue[at] or self[at] in FINDINGS

    def _place_behind(self, head: int) -> tuple[list[str], int]:
        """Read a place after a finding, "in the left breast", ", left breast" or "left breast", and find its end."""
        for start in range(head + 1, min(head + 8, len(self))):
            if self._ends_place(start):
                break
            arises = self.within(start - 1, start + 1) == ["arising", "from"]
            joins = arises or self[start] in (IN if start == head + 1 else IN - {"of"})
            place = start + 1
            while self[start] == "at" and (is_size(self[place]) or self[place] in _HOUR):
                place += 1  # "at 3:00 in the left breast"
            if joins and (end := self._place_end(place)):
                end = self._place_goes_on(end, ("of", "in"))
                joint = ["in", "the"] if place > start + 2 else ["in"] if arises else self.within(start, place)
                return [*joint, *self.within(place, end)], end
        start = head + 1
        while start < len(self) and (is_size(self[start]) or self[start] in ("mm", "cm", "x")):
            start += 1
        end = start
        while end < len(self) and self[end] in SIDES | POSITIONS:
            end += 1
        is_apart = start < len(self) and _APART.fullmatch(self.text, self.end(start - 1), self.start(start))
        if is_apart and (end > start or self[start] in _NAMED_PARTS) and not is_place(self[end]):
            end = max(end, self._place_end(start) - 1)  # "lower pole of the left kidney"
        if self._ends_place(start) or self._ends_place(end) or not (end > start or is_apart) or not is_place(self[end]):
            return [], head + 1
        while is_place(self[end + 1]) and self._adjoin(end + 1):
            end += 1
        end = self._place_goes_on(end + 1, ("of",))
        if end < len(self) and self._adjoin(end) and (not self._ends_place(end) or self[end] in FINDINGS):
            return [], head + 1
        return ["in", "the", *self.within(start, end)], end

    def _side(self, stop: int) -> tuple[list[str], int]:
        """Read a side without an organ, "mass on the left", "effusion: left" or "left: effusion", and find its end."""
        if stop == len(self) or self._is_cue[stop] or not (side := _SIDE.match(self.text, self.end(stop - 1))):
            side = _SIDE_FIRST.match(self.text)
            return ["on", "the", side["side"].lower()] if side else [], stop
        end = bisect_left(self._found, side.end(), key=re.Match.start)
        if side["both"]:
            return ["on", "both", "sides"], end
        named = (side["within"] or side["side"]).lower()
        for at in range(end, min(end + _FAR, len(self))):
            if self[at] in FINDINGS:
                break
            if self[at] in SIDES - {named} and not is_place(self[at + 1]):  # "left: small, right: moderate"
                return [], stop
        return ["on", "the", named], end

    def _place_goes_on(self, end: int, joints: tuple[str, ...]) -> int:
        """Return the end of a place that may continue, as with "of the left breast"."""
        while self[end] in joints and (more := self._place_end(end + 1)):
            end = more
        more = self._place_end(end + 1) if self[end] == "and" else 0
        return more if more and not self.text[self.end(more - 1) :].strip(" ,;:.()") else end

    def _place_end(self, start: int, stop: int | None = None) -> int:
        """Return the end of the place that begins at a word; 0 if there is none."""
        for at in range(start, min(start + 8, len(self) if stop is None else stop)):
            if self._ends_place(at) or self[at] in IN - {"of"} or (is_place(self[at]) and self[at + 1] in NOT_ITSELF):
                return 0
            if is_place(self[at]) and not is_place(self[at + 1]):
                return at + 1
        return 0

    def _place_before(self, end: int, stop: int, free: list[bool]) -> list[str]:
        """Read the place at `end` that is the subject before a finding at `stop`: "the left breast shows a mass"."""
        start = end
        while start > max(0, end - _FAR) and is_modifier(self[start - 1]) and free[start - 1]:
            start -= 1
        last = min(stop, end + _FAR)
        while end + 1 < last and is_place(self[end + 1]) and self._adjoin(end + 1):
            end += 1
        while end + 2 < last and self[end + 1] == "of" and (more := self._place_end(end + 2, last)):
            end = more - 1
        return self.within(start, end + 1)


def _is_part(place: list[str]) -> bool:
    """Tell whether a place is a part of an organ without naming the organ."""
    return all(word.removesuffix("s") in PARTS for word in place if is_place(word)) and SIDES.isdisjoint(place)
