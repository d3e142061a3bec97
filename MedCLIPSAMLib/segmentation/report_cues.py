"""Cues of reports: words that say that a finding is present, absent, possible or past, or that all is normal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from itertools import filterfalse

from .languages import FOREIGN_DENIAL
from .report_past import LAST_TIME, PAST, PERHAPS_PAST, STUDY, WHEN_BEFORE, WHEN_PERHAPS
from .report_sentences import VERB


class Cue(Enum):
    """What a report says about a finding; READING: it says what a finding named before may be."""

    PRESENT = auto()
    ABSENT = auto()
    UNCERTAIN = auto()
    READING = auto()
    BEFORE = auto()
    NORMAL = auto()


@dataclass(frozen=True)
class FoundCue:
    """A cue in a clause, and on which side of a finding it stands to say that.

    Args:
        side: "before", "behind", "both" or "none"; "adjective" is directly before the words of the finding.
    """

    kind: Cue
    side: str
    start: int
    end: int


_BE = r"(?:is|are|was|were|be|been|being)"
_SEE = (
    r"(?:seen|present|visible|visuali[sz]ed|there|shown|identified|noted|found|detected|appreciated|evident|"
    r"demonstrated|observed|apparent|discern(?:ed|ible)|detectable|recogni[sz](?:ed|able)|depicted|perce(?:ived|ptible)"
    r"|discovered|revealed|suspected)"
)
_OUT = r"(?:excluded?|ruled? out)"
_SURE = r"(?:(?:safely|entirely|completely|fully|definitely|clearly) )?"
_GONE = (
    r"(?:(?:surgically|completely|totally|previously|recently) )?(?:resected|removed|excised|treated(?! for\b)|ablated)"
)
_WHEN = r"(?= (?:in|since) (?:19|20)\d\d\b| (?:[a-z]+|\d+) (?:day|week|month|year)s? ago\b)"
_RELATIVE = r"(?:father|mother|parent|brother|sister|sibling|son|daughter|uncle|aunt|grandfather|grandmother|cousin)s?"
_FULLY = r"(?:(?:completely|fully|entirely|totally|since|now|all|both|also|already) ){0,3}"
_VANISHED = r"(?:resolved|gone|disappeared|vanished|cleared)"
_VANISHING = r"(?:resolution|disappearance|clearing|clearance)"
_IN_PART = r"(?:incomplete|partial|mild|minimal|slight|slow|some|moderate|gradual|delayed|early|ongoing|continued)"
_SHOW = r"(?:show|demonstrate|reveal|identify|detect|visuali[sz]e|see|find|depict|disclose|confirm)"
_UNSEEN = rf"(?:(?:{_BE}|do|does|did|could|has|have|had) )?(?:not|never) "
_WAS = r"(?:had|(?:(?<=which )|(?<=that ))(?:was|were))"
"""Of another time than the rest of a report; findings of this image are told in the past as well, "was seen"."""
_NO_PLACE = (
    r"(?:(?:in|on|at|within|by) (?:neither|none(?: of)?|(?:0|zero) of|not (?:one|any|a single)"
    r"|no(?= )(?! (?:way|longer|particular|doubt|change|medication|treatment|therapy)\b))"
    r"|nowhere|not (?:anywhere|(?:in|on|at|within) (?:any|either)))"
)
"""Where a finding is not: behind "a mass is seen" it denies the mass."""
_HIDDEN = r"(?:undetect(?:ed|able)|invisible|unseen|occult)"
_TOLD = r"(?:described|reported|mentioned|known|diagnosed|documented)"
_NUMBERED = (
    r"(?<![.,\d])(?<!rads )(?<!grade )(?<!stage )(?<!score )(?<!category )(?<!type )(?<!slice )"
    r"(?<!series )(?<!image )(?<!se )(?<!im )"
)
"""No number behind it counts findings: "BI-RADS 0 mass"."""
_UNIT = r"(?:mm|cm|ml|cc|x|to|of|and|or)"
_MUCH = r"(?:(?:since|now|also|again|further|(?:slight|marked|significant|mild)(?:ly)?) ){0,3}"
_GROWN = r"(?:enlarged|grown|increased|progressed|worsened|recurred|reappeared|returned)"
"""Of a thing that was there before: that it is there now."""
_CHANGE = (
    r"(?:(?:any|significant|interval|relevant|convincing|definite|(?:evidence|signs?) of) ){0,4}"
    r"(?:(?:change|growth|increase|decrease|progression|enlargement)s?|worsening(?= (?:of|in)\b))"
)
_OR = r"(?!(?:, (?!(?:with|there|the)\b)[^,]+)*,? (?:or|nor)\b)"
"""No list goes on that denies findings as well: "no change in the mass", not "no change or mass"."""
_TEST = (
    rf"(?:[\w-]+ ){{0,2}}?(?:{STUDY}|tests?|results?|findings|screening|work-?up|biops(?:y|ies)|margins?)"
    r"(?: (?:of the )?(?:head|brain|neck|spine|chest|lungs?|breasts?|abdomen|liver|pelvis))?"
)
_STOP = r"(?=\s*(?:$|[,;:.()?]|(?:given|but|in|at|with|and|or|due|because)\b))"
"""Nothing is named behind it: "a cyst is likely", not "it is likely a cyst"."""
_IS_LARGER = rf"(?:(?:has|have) {_MUCH}{_GROWN}|(?:is|are) {_MUCH}(?:larger|bigger|growing|enlarging))"
_CUES = (  # where several begin at one place, the first one counts
    (Cue.ABSENT, "before", rf"(?:no longer|not) {_SEE}(?=\s*:)"),
    (  # a denial of the past, or of what is no finding: what is beside it is there
        Cue.PRESENT,
        "none",
        rf"{_UNSEEN}(?:(?:yet|ever|clearly|definitely) )?(?:be(?:en)? )?(?:{_SEE}|{_TOLD}) {PAST}"
        rf"|{_WAS} (?:not|never) (?:(?:yet|ever|clearly|definitely) )?(?:been )?(?:{_SEE}|{_TOLD}) {PERHAPS_PAST}"
        rf"|(?:{_BE} )?(?:absent|{_HIDDEN}) {PAST}|{_WAS} (?:been )?(?:absent|{_HIDDEN}) {PERHAPS_PAST}"
        rf"|none (?!of\b)(?:{_BE} )?(?:{_SEE} )?{PAST}"
        rf"|{_UNSEEN}(?:previously|before|formerly) (?:been )?(?:{_SEE}|{_TOLD})"
        rf"|(?:previously|formerly) (?:{_HIDDEN}|un[a-z]+ed|unknown|absent|normal|clear|unremarkable|negative"
        rf"|not {_SEE})"
        rf"|(?:(?<=, )|(?<=which )|(?<=that )){WHEN_BEFORE} (?:(?:was|were) )?not (?:yet )?{_SEE}"
        rf"|(?:(?<=which )|(?<=that )){WHEN_PERHAPS} (?:was|were|had) not (?:yet )?(?:been )?{_SEE}"
        r"|where there (?:was|were|had been) (?:none|no [a-z]+)"
        r"|nowhere (?:else )?(?:but|except(?: for)?|other than)|in no (?:acute |apparent |obvious )?distress"
        r"|without (?:(?:iv|intravenous|oral) )?contrast"
        rf"|(?<!, )previously (?!diagnosed)(?:seen|noted|{_TOLD})"
        rf"|{_UNSEEN}{_SEE}(?=[^,]*, (?:measures|measuring) (?:about |approximately )?\d)",
    ),
    (
        Cue.PRESENT,
        "behind",
        rf"(?:(?<=, )|(?<=and )|(?<=but ))(?:(?:is|are|has|have) )?(?:now|again) (?:{_SEE}|appeared)"
        r"|(?:(?<=, )|(?<=and )|(?<=but ))(?:(?:has|have) )?(?:now |since )?(?:recurred|reappeared|returned)"
        r"|(?<=: )(?:yes|present|positive)\b",
    ),
    (Cue.PRESENT, "behind", _IS_LARGER),
    (Cue.PRESENT, "both", r"(?<=\()(?:yes|present|positive)(?=\))"),
    (
        Cue.PRESENT,
        "before",
        r"(?<=and )presence of"
        r"|(?:(?<=, )|(?<=and ))now(?= (?:an?|one|two|three|multiple|several|many|new|small|moderate|large|with)\b)",
    ),
    (  # they look like other cues, and deny a change or a doubt, or name a study to compare with
        Cue.PRESENT,
        "before",
        rf"(?:no|without) {_CHANGE}(?: (?:in|of)\b|{_OR})|no doubt|not only|not necessarily|not changed"
        rf"|(?<=, )previously (?!diagnosed)(?:seen|noted|{_TOLD})"
        r"|(?:no|not) (?:more|less|fewer|larger|smaller) than"
        r"|(?:(?:compared|in (?:comparison|contrast)) (?:to|with)|since|than on|unlike(?: on)?|new from) (?:the )?"
        r"(?:prior|previous)(?: \w+)?"
        r"|(?:partially|partly|subtotally|incompletely|not) (?:resected|removed|excised|treated|ablated)"
        rf"|(?:partially|partly|incompletely|nearly|almost|mostly|not|never) (?:yet )?{_FULLY}(?:{_VANISHED}|resolve)"
        rf"|(?:(?:{_IN_PART}|near(?:ly)?|almost|near-complete|no|without(?: any)?|lack of|not"
        rf"|(?:fails?|failed) to {_SHOW}) )(?:(?:complete|full|interval|significant) ){{0,2}}{_VANISHING}(?: of)?"
        rf"|(?:(?<=, )|(?<=and ))(?:one|two|three|four|five|[1-9]\d?)(?= (?!{_UNIT}\b)[a-z])"
        r"|nothing (?:(?:more|else|other) than|besides|(?:has )?changed)",
    ),
    (  # of the past, of how well it is seen, or of its extent
        Cue.UNCERTAIN,
        "behind",
        rf"(?:was|were) (?:not|never) (?:{_SEE}|{_TOLD}) {LAST_TIME}"
        rf"|{_UNSEEN}(?:well|fully|completely|entirely|optimally|adequately) {_SEE}"
        r"|(?:may|might|could|can) be (?:obscured|missed|hidden|masked|overlooked)"
        rf"|(?!(?:in|on|at|within|by|of|{_BE})\b)[a-z]+ none of the\b",
    ),
    (
        Cue.ABSENT,
        "both",
        rf"none (?:{_SEE} )?(?:in|on|at|within)\b|{_NO_PLACE}|(?:{_BE} )?neither (?:be )?(?:{_SEE}|in|on|at|within)\b",
    ),
    (Cue.UNCERTAIN, "both", rf"versus|vs|(?:{_BE} )?(?:(?:more|less) likely than|favou?red over)"),
    (
        Cue.ABSENT,
        "behind",
        rf"(?:{_BE}|has been|have been) {_GONE}|(?:{_BE}|has been|have been) (?:ruled out|excluded)"
        rf"|(?<=[,(] ){_GONE}{_STOP}|{_GONE}(?:$|{_WHEN})|(?:ruled out|excluded)(?=\s*(?:$|[,;.]|(?:in|on|by)\b))"
        rf"|(?<=: )(?:no|negative|absent){_STOP}|(?<=: )(?:0|zero)(?=\s*$)|none{_STOP}|nil{_STOP}"
        r"|(?<=\()(?:no|none|nil|negative|absent)(?=\s*\))|(?<=[,\u2013-] )(?:no|negative|absent)$"
        r"|free(?=\s*(?:$|[,;:.()?])| (?:brain|liver|lungs?|breasts?|kidneys?|margins?|borders?)\b)"
        rf"|none {_SEE}|not (?:on|in|at) (?:this|these|(?:the )?(?:current|present|latest)|today's) {STUDY}",
    ),
    (
        Cue.UNCERTAIN,
        "behind",
        rf"(?:cannot|could not|may not|not) be {_SURE}{_OUT}|(?:{_BE} )?not {_SURE}{_OUT}|may be {_SEE}"
        rf"|(?:(?:{_BE}|remains?|seems?) )?(?:(?:thought|considered|felt) )?(?:(?:less|more|most|also|still) )?"
        rf"(?:possible|probable|likely|suspected|questionable|uncertain|equivocal|favou?red|questioned){_STOP}",
    ),
    (
        Cue.UNCERTAIN,
        "before",
        rf"(?:cannot|could not|not|does not|difficult to|unable to|(?:fails?|failed) to) {_SURE}{_OUT}",
    ),
    (Cue.BEFORE, "adjective", _GONE),
    (
        Cue.BEFORE,
        "behind",
        r"status post (?:\w+ )?(?:resection|removal|excision|treatment|ablation|surgery)$"
        rf"|in (?:(?:her|his|the|a|an|patient's|paternal|maternal) )*{_RELATIVE}",
    ),
    (
        Cue.BEFORE,
        "before",
        r"(?:to )?(?:rule out|exclude)"
        r"|(?:evaluate|evaluation|assess|assessment|check|screen(?:ing)?|query|look(?:ing)?|search(?:ing)?"
        r"|surveillance) for|clinical(?:ly)? (?:suspicion (?:of|for)|concern for|question of|suspected)"
        r"|(?<!as )if|whether|unless|in case of|(?:may|might|could|can) (?:obscure|hide|mask)"
        r"|should(?= (?:an?|the|any|this|these|symptoms)\b)"
        r"|(?:(?:family|past|prior|previous) )*history of|status post|previously(?! \d)|prior|previous|former"
        r"|(?:resection|removal|excision|lumpectomy|mastectomy|enucleation) of|(?:craniotomy|surgery|treated) for"
        rf"|{_RELATIVE}(?::| (?:(?:was|is|were) )?(?:had|has|with|died of|diagnosed with)\b)",
    ),
    (
        Cue.ABSENT,
        "behind",
        rf"(?:has|have|had|{_BE}) {_FULLY}{_VANISHED}(?! (?:of|from)\b)"
        rf"|{_FULLY}{_VANISHED}(?:{_STOP}|(?= (?:since|on|over|from|after|by|completely|fully|compared|now)\b))"
        rf"|(?:(?:complete|full|total|interval) ){{1,2}}{_VANISHING}{_STOP}"
        rf"|(?:{_BE} )?(?:unlikely|(?:not|hardly|scarcely) (?:very )?(?:likely|probable|possible))"
        rf"|{_BE} absent|absent(?:{_STOP}|(?= (?:on|from|since|today)\b))"
        rf"|(?:{_BE} )?no longer (?:{_SEE}|apparent|exists?|persists?)"
        rf"|cannot be {_SURE}{_SEE}"
        rf"|{_UNSEEN}{_SURE}(?:(?:able )?to )?(?:be(?:en)? )?{_SEE}|(?:do|does|did) not exist"
        rf"|(?:fails?|failed) to be {_SEE}|(?:{_BE}|remains?) (?!occult){_HIDDEN}|without success|in vain|to no avail",
    ),
    (Cue.ABSENT, "adjective", rf"{_FULLY}(?:resolved|vanished|disappeared)"),
    (Cue.ABSENT, "none", r"[a-z]+-free"),
    (
        Cue.ABSENT,
        "before",
        rf"{FOREIGN_DENIAL}|no|not|without|never|neither|nor|none of|absence of|absent"
        rf"|lack of|free of|free from|negative (?:{_TEST} )?for|clear(?:ed)? (?:of|from)|devoid of"
        r"|den(?:y|ies|ied|ying)|nothing|rather than|instead of|as opposed to"
        rf"|(?:resolution|disappearance) of(?!.*\b{_IN_PART}\b)"
        rf"|(?:(?:complete|full|total|interval) ){{1,2}}{_VANISHING} of"
        rf"|non-?visuali[sz]ation of|(?:cannot|unable to|(?:fails?|failed|failing|failure) to) {_SHOW}"
        rf"|{_NUMBERED}(?:0|zero)(?= (?!{_UNIT}\b|doubt\b)[a-z])"
        r"|(?:rules|ruled) out|excludes|excluded",
    ),
    (
        Cue.READING,
        "before",
        r"(?:(?:most|highly|very) )?(?:suspicious (?:for|of)|suspicion (?:of|for)|concern(?:ing)? for|worrisome for"
        r"|suggest(?:s|ive of|ive|ing|ed)?|(?:compatible|consistent|in keeping|in line) with|diagnostic of"
        r"|typical (?:of|for)|characteristic of)"
        rf"|(?:{_BE} )?favou?r(?:s|ed|ing)?(?: to (?:be|represent|reflect))?"
        rf"|(?:{_BE} )?(?:(?:less|more|most|very) )?likely(?: to (?:be|represent|reflect))?"
        r"|probably|presumably|possibly|perhaps|presumed|represent(?:s|ing)?|correspond(?:s|ing)? to|reflect(?:s|ing)?"
        rf"|(?:{_BE} )?(?:thought|felt|believed|presumed|considered) to (?:be|represent|reflect)"
        r"|(?:may|might|could|would) (?:well )?(?:be|represent|reflect|indicate|correspond to)"
        r"|differential(?: diagnosis)?(?: includes?)?",
    ),
    (
        Cue.UNCERTAIN,
        "before",
        r"possible|probable|suspect(?:s|ed)?|may|might|could|questionable|equivocal|query"
        rf"|consider(?! (?:[\w-]+ ){{0,3}}?(?:biopsy|aspiration|excision|evaluation|{STUDY})\b)"
        r"|(?:cannot|difficult to|unable to) (?:differentiate|distinguish)"
        r"|(?:uncertain|unclear|questionable|not (?:certain|clear|sure)) (?:if|whether)",
    ),
    (Cue.NORMAL, "none", r"normal|clear|unremarkable|intact|healthy|within normal limits|negative"),
)
_PATTERN = re.compile(
    "|".join(rf"(?P<c{n}>(?<![\w-])(?:{pattern})(?![\w-]))" for n, (_, _, pattern) in enumerate(_CUES)), re.IGNORECASE
)

_APART = re.compile(r",|\b(?:and|with|but)\b", re.IGNORECASE)
_BESIDE_PAST = re.compile(
    r"\b(?:(?:with|now) (?:an?|new|residual|recurrent|multiple|several)|(?P<answer>show(?:s|ed)|reveal(?:s|ed)))\b",
    re.IGNORECASE,
)
"""Between a past thing and a finding of this image, "prior lobectomy with a nodule", or a question and its answer."""
_CONDITIONS = ("if", "unless", "should", "in case of")
_UNCONDITIONAL = re.compile(r", (?!(?:and|or)\b)(?:[^,]* )?(?:the|this|these)\b", re.IGNORECASE)
"""Between a condition and a finding that is there in any case: "if indicated, biopsy of the mass"."""
_NO_THING = re.compile(
    r"(?:to )?(?:rule|exclude|evalua|assess|check|screen|query|look|search|surveil|clinic|if|whether|unless|in case"
    rf"|may|might|could|can|should|(?:past )?family|{_RELATIVE})",
    re.IGNORECASE,
)
"""The beginning of a cue of a question, a condition or another person, not of a thing of the past."""
_THAT = re.compile(r"\bthat\b", re.IGNORECASE)
"""Before what is not said but feared or doubted: "concern that the treated mass has recurred"."""
_HAS_GROWN = re.compile(_IS_LARGER, re.IGNORECASE)
_THEIR = re.compile(r" (?:the|these|those)\b", re.IGNORECASE)
_SAYS = re.compile(rf"{VERB.pattern}|\b(?:suggests?|indicates?|represents?|had)\b", re.IGNORECASE)
_IS_LEFT = re.compile(
    rf"\b(?:{_SEE}|remain(?:s|ed)?|persist(?:s|ed)?|exists?|recur(?:s|red)?|reappeared|returned)\b", re.IGNORECASE
)
_PLACED = re.compile(r"\b(?:in|of|within|on|at)\b.*(?:,|\b(?:and|with)\b)", re.IGNORECASE)


def find_cues(clause: str) -> list[FoundCue]:
    """Find the cues of a clause, in order."""
    found = []
    for match in _PATTERN.finditer(clause):
        kind, side, _ = _CUES[int(str(match.lastgroup)[1:])]
        found.append(FoundCue(kind, side, match.start(), match.end()))
    if clause.rstrip().endswith("?"):
        found.append(FoundCue(Cue.UNCERTAIN, "behind", len(clause.rstrip()) - 1, len(clause)))
    return found


def cue_of(start: int, end: int, cues: list[FoundCue], clause: str) -> FoundCue | None:
    """Find the cue that applies to a finding at these signs: the nearest one before it, else the first behind it.

    "No sign suspicious for a mass" denies the mass: what something may be is denied with it. None: it is present.
    """
    before = [cue for cue in cues if cue.end <= start and cue.side in ("before", "both")]
    behind = [cue for cue in cues if cue.start >= end and cue.side in ("behind", "both")]
    if before and before[-1].kind == Cue.BEFORE and _is_beside(before[-1], start, clause):
        before = []
    if any(cue.kind == Cue.READING for cue in before):  # "suspicious for a cyst versus a mass": both are readings
        before, behind = (list(filterfalse(_is_versus, some)) for some in (before, behind))
    elif behind and _is_versus(behind[0]) and _is_apart(end, behind[0].start, cues, clause):
        behind = behind[1:]
    if before and _is_of_property(before[-1], start, end, clause):
        before.pop()
    adjectives = [cue for cue in cues if cue.end <= start and cue.side == "adjective"]
    close = [cue for cue in adjectives if not clause[cue.end : start].strip()]
    if behind and (behind[0].kind, behind[0].side) == (Cue.ABSENT, "both"):  # a place where another finding is not
        is_elsewhere = _PLACED.search(clause, end, behind[0].start) and not VERB.search(clause, end, behind[0].start)
        behind = behind[1:] if is_elsewhere else behind
    past = (close or before)[-1:]
    if past and behind and behind[0].kind == Cue.PRESENT and _is_of_a_thing(past[0], before, clause):
        return past[0] if _is_apart(end, behind[0].start, cues, clause) else behind[0]
    if close:
        return close[-1]
    kinds = [cue.kind for cue in before[-2:]]
    if kinds == [Cue.ABSENT, Cue.READING] and not _APART.search(clause, before[-2].end, before[-1].start):
        return before[-2]
    if before and (before[-1].kind in (Cue.ABSENT, Cue.BEFORE) or not behind):
        return before[-1]
    if before and before[-1].kind in (Cue.UNCERTAIN, Cue.READING) and _HAS_GROWN.match(clause, behind[0].start):
        return before[-1]
    again = next((cue for cue in behind if cue.kind == Cue.PRESENT and clause[cue.start - 1] != "("), None)
    if again and behind[0].kind == Cue.ABSENT:
        return again
    return behind[0] if behind else None


def _is_versus(cue: FoundCue) -> bool:
    """Tell whether a cue stands between two alternatives."""
    return (cue.kind, cue.side) == (Cue.UNCERTAIN, "both")


def _is_apart(start: int, end: int, cues: list[FoundCue], clause: str) -> bool:
    """Tell whether more than a place is between two places of a clause."""
    return bool(_APART.search(clause, start, end)) or any(start <= cue.start < end for cue in cues)


def _is_of_a_thing(past: FoundCue, before: list[FoundCue], clause: str) -> bool:
    """Tell whether a cue says of a thing of this patient that it was there: no question, condition, kin or denial."""
    if past.kind != Cue.BEFORE or _NO_THING.match(clause, past.start) or _THAT.search(clause, 0, past.start):
        return False
    other = next((cue for cue in reversed(before) if cue.end <= past.start), None)
    if other is None or other.kind == Cue.PRESENT or _APART.search(clause, other.end, past.start):
        return True
    return other.kind == Cue.BEFORE and not _NO_THING.match(clause, other.start)


def _is_of_property(denial: FoundCue, start: int, end: int, clause: str) -> bool:
    """Tell whether "none of the" denies what is said of its subject: "none of the masses is calcified"."""
    if clause[denial.start : denial.end].lower() != "none of" or not _THEIR.match(clause, denial.end):
        return False
    return not _SAYS.search(clause, denial.end, start) and not _IS_LEFT.search(clause, end)


def _is_beside(past: FoundCue, start: int, clause: str) -> bool:
    """Tell whether a finding at `start` is one of this image, beside what is past or in question."""
    said = clause[past.start : past.end].lower()
    if said in _CONDITIONS:
        return _UNCONDITIONAL.search(clause, past.end, start) is not None
    beside = _BESIDE_PAST.search(clause, past.end, start)
    return beside is not None and (beside["answer"] is None or said.endswith(" for"))
