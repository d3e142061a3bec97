"""Extract prompts from a paragraph of a radiology report: one for each finding that is present.

It uses rules on English words, no language model. Sentences are split into clauses. In a clause, known nouns are
findings, and cues before or after them say whether they are present; the nearest cue before takes precedence, as in
NegEx (Chapman et al., J Biomed Inform 2001). Every part of the report that gives no prompt is listed with the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ..errors import PromptError
from .languages import is_foreign
from .report_cues import Cue, find_cues
from .report_mentions import Mention, read_clause
from .report_same import Described, describe, is_same
from .report_sentences import LETTER, read_sentences, split_clauses
from .report_text import clean_text

MAX_CHARACTERS = 20_000
"""Maximum length of a report; far more than people write, yet parsed in a moment."""

ABSENT = "it says what is not there"
NORMAL = "it says that what it names is normal"
BEFORE = "it is about the past, a question or a condition"
UNKNOWN = "it names no known finding"
UNCERTAIN = "the report is not certain of it"


@dataclass(frozen=True)
class Finding:
    """A finding that a report says is present.

    Args:
        prompt: what to segment, in the words of the report, spelled as the models know them.
        sentence: the clause that names it.
        note: sentences for the user about it, or empty.
    """

    prompt: str
    sentence: str
    note: str = ""


@dataclass(frozen=True)
class LeftOut:
    """A part of a report that gives no prompt, and the reason."""

    text: str
    reason: str

    @property
    def note(self) -> str:
        """A sentence for the user."""
        return f"'{self.text}' in the report was left out: {self.reason}."


@dataclass(frozen=True)
class Report:
    """The findings of a report and the parts left out, in the order of the report."""

    findings: tuple[Finding, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def prompts(self) -> list[str]:
        """The prompts, which are also the labels of their segments."""
        return [finding.prompt for finding in self.findings]

    @property
    def notes(self) -> list[str]:
        """Sentences for the user about the findings and about what was left out."""
        return [
            *(finding.note for finding in self.findings if finding.note),
            *(part.note for part in self.left_out),
        ]


class _Reader:
    """Collects the findings of a report and the parts left out, clause by clause."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.left_out: list[LeftOut] = []
        self._described: list[Described] = []
        self._numbers: dict[str, int] = {}  # prompt -> number of its finding
        self._readings: list[tuple[int, Described]] = []  # number of a finding, and what it may be
        self._last: int | None = None

    def read(self, clause: str, concluding: bool) -> None:
        """Read a clause; if it is `concluding`, it may repeat findings."""
        known = read_clause(clause)
        if not known.mentions:
            self.left_out.append(LeftOut(clause, _why_nothing(clause)))
            if self._last is not None and _denies_last(clause):
                prompt = self.findings[self._last].prompt
                self._note(self._last, f"'{prompt}' is looked for, but the report also says: '{clause}'.")
            return
        before, numbers = self._last, list[int | None]()
        for mention in known.mentions:
            said = clause if len(known.mentions) == 1 else mention.phrase
            of = None
            if mention.reading_of is not None:
                of = before if mention.reading_of < 0 else numbers[mention.reading_of]
            if mention.reading_of is not None and mention.reading_of >= 0 and of is None:
                numbers.append(None)
                self.left_out.append(LeftOut(said, ABSENT))
            elif of is not None and mention.cue == Cue.UNCERTAIN:
                numbers.append(of)
                self._add_reading(of, mention.head, mention.phrase)
            else:
                numbers.append(self._add(mention, clause, said, concluding))
        self._last = next((number for number in numbers if number is not None), self._last)
        if self.left_out and self.left_out[-1].text == clause:
            return
        for text, cue in known.others:
            self.left_out.append(LeftOut(text, _WHY.get(cue, UNKNOWN)))

    def _add(self, mention: Mention, clause: str, said: str, concluding: bool) -> int | None:
        """Add a finding, or record why it is left out.

        Returns:
            The number of the finding, also of one that it repeats; None if it is absent or past.
        """
        if mention.cue in (Cue.ABSENT, Cue.BEFORE):
            self.left_out.append(LeftOut(said, _WHY[mention.cue]))
            return None
        doubt = f"'{mention.phrase}' is looked for, but {UNCERTAIN}." if mention.cue == Cue.UNCERTAIN else ""
        described = describe(mention.head, mention.phrase)
        number = self._find(mention, described, concluding)
        if number is not None:
            known = self.findings[number]
            self.left_out.append(LeftOut(said, f"it mentions '{known.prompt}' again"))
            if doubt:
                self._note(number, f"'{known.prompt}' is looked for, but {UNCERTAIN}.")
            return number
        mended = [f"'{written}' in the report was read as '{read}'." for written, read in mention.corrected]
        self.findings.append(Finding(mention.phrase, clause, " ".join(filter(None, [doubt, *mended]))))
        self._described.append(described)
        self._numbers[mention.phrase] = len(self._numbers)
        return self._numbers[mention.phrase]

    def _find(self, mention: Mention, described: Described, concluding: bool) -> int | None:
        """Find the number of the finding that a mention repeats; None if it is a new one."""
        if mention.phrase in self._numbers:
            return self._numbers[mention.phrase]
        if mention.other:
            return None
        loose = concluding or mention.again
        known = [*enumerate(self._described), *(self._readings if loose else ())]
        if described.looks and not loose:  # a shortcut: in a report with very many findings most look different
            known = [(n, one) for n, one in known if not (one.looks and one.looks.isdisjoint(described.looks))]
        same = [(n, one) for n, one in known if is_same(one, described, loose, mention.again)]
        return min(same, key=lambda found: found[1].head != described.head, default=(None,))[0]

    def _add_reading(self, number: int, head: str, reading: str) -> None:
        self._readings.append((number, describe(head, reading)))
        prompt = self.findings[number].prompt
        self._note(number, f"'{prompt}' is looked for, but the report is not certain what it is: '{reading}'.")
        self.left_out.append(LeftOut(reading, f"it says what '{prompt}' may be"))

    def _note(self, number: int, note: str) -> None:
        finding = self.findings[number]
        if note not in finding.note:
            self.findings[number] = replace(finding, note=f"{finding.note} {note}".strip())


_OF_LAST = re.compile(r"(?:it|this|these|they|which|that|is|are|was|were|has|have|no longer|not)\b", re.IGNORECASE)
_WHY = {Cue.ABSENT: ABSENT, Cue.BEFORE: BEFORE, Cue.NORMAL: NORMAL}


def parse_report(text: str) -> Report:
    """Extract the findings of a report.

    Raises:
        PromptError: the report is empty, longer than `MAX_CHARACTERS`, RTF, or not in English.
    """
    if len(text) > MAX_CHARACTERS:
        raise PromptError(
            f"Expected a report of at most {MAX_CHARACTERS} characters, got {len(text)}.",
            "Give only the paragraph on this image.",
        )
    if text.lstrip().startswith("{\\rtf"):
        raise PromptError("Expected plain text, got a report with formatting (RTF).", "Save it as plain text.")
    clean = clean_text(text)
    if not clean.strip():
        raise PromptError("The report is empty.", "Write what is seen, such as 'There is a mass in the left breast.'")
    if is_foreign(clean):
        raise PromptError(
            "Expected a report in English, got one in another language, whose denials would not be recognized.",
            "Translate it, or give a prompt that says what to segment, such as 'breast tumor'.",
        )
    reader = _Reader()
    for sentence in read_sentences(clean):
        if sentence.asking:
            reader.left_out.append(LeftOut(sentence.text, BEFORE))
            continue
        for clause in filter(LETTER.search, split_clauses(sentence.text)):
            reader.read(clause, sentence.concluding)
    return Report(tuple(reader.findings), tuple(dict.fromkeys(reader.left_out)))


def _denies_last(clause: str) -> bool:
    """Tell whether a clause without a finding denies the previous finding, as in "it is gone"."""
    is_denial = lambda cue: (cue.kind, cue.side) == (Cue.ABSENT, "behind")
    return bool(_OF_LAST.match(clause)) and any(map(is_denial, find_cues(clause)))


def _why_nothing(clause: str) -> str:
    kinds = {cue.kind for cue in find_cues(clause)}
    return NORMAL if Cue.NORMAL in kinds else ABSENT if Cue.ABSENT in kinds else UNKNOWN
