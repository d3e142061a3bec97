"""Cues in reports: words that say that a finding is present, absent, possible or past, or that everything is normal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from .languages import FOREIGN_DENIAL
from .report_past import LAST_TIME, PAST, PERHAPS_PAST, STUDY, WHEN_BEFORE, WHEN_PERHAPS


class Cue(Enum):
    """What a report says about a finding; READING says what a finding named earlier may be."""

    PRESENT = auto()
    ABSENT = auto()
    UNCERTAIN = auto()
    READING = auto()
    BEFORE = auto()
    NORMAL = auto()


@dataclass(frozen=True)
class FoundCue:
    """A cue in a clause, and its position relative to the finding that it applies to.

    Args:
        side: where the cue stands: "before" the finding, "behind" (after) it, "both" (either), or "none" if it applies
            to no finding; "adjective" is directly before the words of the finding.
    """

    kind: Cue
    side: str
    start: int
    end: int


_BE = r"(?:is|are|was|were|be|been|being)"
SEE = (
    r"(?:seen|present|visible|visuali[sz]ed|there|shown|identified|noted|found|detected|appreciated|evident|"
    r"demonstrated|observed|apparent|discern(?:ed|ible)|detectable|recogni[sz](?:ed|able)|depicted|perce(?:ived|ptible)"
    r"|discovered|revealed|suspected)"
)
_OUT = r"(?:excluded?|ruled? out)"
_SURE = r"(?:(?!(?:initial|original)ly)[a-z]+ly )?"
_GONE = (
    r"(?:(?:surgically|completely|totally|previously|recently) )?(?:resected|removed|excised|treated(?! for\b)|ablated)"
)
_WHEN = r"(?= (?:in|since) (?:19|20)\d\d\b| (?:[a-z]+|\d+) (?:day|week|month|year)s? ago\b)"
RELATIVE = r"(?:father|mother|parent|brother|sister|sibling|son|daughter|uncle|aunt|grandfather|grandmother|cousin)s?"
_FULLY = r"(?:(?:completely|fully|entirely|totally|since|now|all|both|also|already) ){0,3}"
_VANISHED = r"(?:resolved|gone|disappeared|vanished|cleared)"
_VANISHING = r"(?:resolution|disappearance|clearing|clearance)"
_IN_PART = r"(?:incomplete|partial|mild|minimal|slight|slow|some|moderate|gradual|delayed|early|ongoing|continued)"
_SHOW = r"(?:show|demonstrate|reveal|identify|detect|visuali[sz]e|see|find|depict|disclose|confirm)"
_UNSEEN = rf"(?:(?:{_BE}|do|does|did|could|has|have|had) )?(?:not|never) "
_EVER = r"(?:(?:yet|ever|[a-z]+ly) )?"
_TO_BE = rf" to (?:be(?! {SEE})|represent|reflect)"
_WAS = r"(?:had|(?:(?<=which )|(?<=that ))(?:was|were))"
"""Verbs of an earlier time than the report; "was seen" is not one, as it may describe this image too."""
_NO_PLACE = (
    r"(?:(?:in|on|at|within|by) (?:neither|none(?: of)?|(?:0|zero) of|not (?:one|any|a single)"
    r"|no(?= )(?! (?:way|longer|particular|doubt|change|medication|treatment|therapy)\b))"
    r"|nowhere|not (?:anywhere|(?:in|on|at|within) (?:any|either)))"
)
"""Phrases for places where a finding is absent; after "a mass is seen" they deny the mass."""
_HIDDEN = r"(?:undetect(?:ed|able)|invisible|unseen|occult)"
_TOLD = r"(?:described|reported|mentioned|known|diagnosed|documented)"
_NUMBERED = (
    r"(?<![.,\d])(?<!rads )(?<!grade )(?<!stage )(?<!score )(?<!category )(?<!type )(?<!slice )"
    r"(?<!series )(?<!image )(?<!se )(?<!im )"
)
"""Excludes words before a number that does not count findings, as in "BI-RADS 0 mass"."""
STOP = r"(?=\s*(?:$|[,;:.()?]|(?:given|but|in|at|with|and|or|due|because)\b))"
"""Lookahead that nothing is named next: matches "a cyst is likely", not "it is likely a cyst"."""
_UNIT = r"(?:mm|cm|ml|cc|x|to|of|and|or)"
MUCH = r"(?:(?:since|now|also|again|further|both|all|(?:slight|marked|significant|mild)(?:ly)?) ){0,3}"
_CHANGE = (
    r"(?:(?:any|significant|interval|relevant|convincing|definite|(?:evidence|signs?) of) ){0,4}"
    r"(?:(?:change|growth|increase|decrease|progression|enlargement)s?|worsening(?= (?:of|in)\b))"
)
_OR = r"(?!(?:, (?!(?:with|there|the)\b)[^,]{1,80}){0,9},? (?:or|nor)\b)"
"""Lookahead that no list of denied findings follows: matches "no change in the mass", not "no change or mass"."""
_TEST = (
    rf"(?:[\w-]+ ){{0,2}}?(?:{STUDY}|tests?|results?|findings|screening|work-?up|biops(?:y|ies)|margins?)"
    r"(?: (?:of the )?(?:head|brain|neck|spine|chest|lungs?|breasts?|abdomen|liver|pelvis))?"
)
_CUES = (  # if several match at the same position, the first one counts
    (Cue.ABSENT, "before", rf"(?:no longer|not) {_SURE}{SEE}(?=\s*:)"),
    (  # denials of the past, or of something that is not a finding: other findings of the clause are present
        Cue.PRESENT,
        "none",
        rf"(?:{_UNSEEN}{_EVER}(?:be(?:en)? )?(?:{SEE}|{_TOLD})|(?:{_BE} )?(?:absent|{_HIDDEN})"
        rf"|none(?! of\b)(?: {_BE})?(?: {SEE})?) {PAST}"
        rf"|{_WAS} (?:(?:not|never) {_EVER}(?:been )?(?:{SEE}|{_TOLD})|(?:been )?(?:absent|{_HIDDEN})) {PERHAPS_PAST}"
        rf"|{_UNSEEN}(?:previously|before|formerly) (?:been )?(?:{SEE}|{_TOLD})"
        rf"|(?:previously|formerly) (?:{_HIDDEN}|un[a-z]+ed|unknown|absent|normal|clear|unremarkable|negative"
        rf"|not {SEE})"
        rf"|(?:(?<=, )|(?<=which )|(?<=that )){WHEN_BEFORE} (?:(?:was|were) )?not (?:yet )?{SEE}"
        rf"|(?:(?<=which )|(?<=that )){WHEN_PERHAPS} (?:was|were|had) not (?:yet )?(?:been )?{SEE}"
        r"|where there (?:was|were|had been) (?:none|no [a-z]+)"
        r"|nowhere (?:else )?(?:but|except(?: for)?|other than)|in no (?:acute |apparent |obvious )?distress"
        r"|without (?:(?:iv|intravenous|oral) )?contrast"
        rf"|(?<!, )previously (?!diagnosed)(?:seen|noted|{_TOLD})"
        rf"|{_UNSEEN}{SEE}(?=[^,]{{0,200}}, (?:measures|measuring) (?:about |approximately )?\d)",
    ),
    (
        Cue.PRESENT,
        "behind",
        rf"(?:(?<=, )|(?<=and )|(?<=but ))(?:(?:is|are|has|have) )?(?:now|again) (?:{SEE}|appeared)"
        r"|(?:(?<=, )|(?<=and )|(?<=but ))(?:(?:has|have) )?(?:now |since )?(?:recurred|recurrent|reappeared|returned)"
        r"|(?<=: )(?:yes|present|positive)\b",
    ),
    (Cue.PRESENT, "both", r"(?<=\()(?:yes|present|positive)(?=\))"),
    (
        Cue.PRESENT,
        "before",
        r"(?<=and )presence of"
        r"|(?:(?<=, )|(?<=and ))now(?= (?:an?|one|two|three|multiple|several|many|new|small|moderate|large|with)\b)"
        # these look like other cues, but deny a change or a doubt, or name a study for comparison
        rf"|(?:no|without) {_CHANGE}(?: (?:in|of)\b(?: (?:the )?(?:prior|previous|former|old)\b)?|{_OR})"
        rf"|no doubt|without (?:a )?(?:doubt|question)|not (?:all|every|each)|not only|not necessarily"
        rf"|not {_SURE}changed|positive (?:{_TEST} )?for"
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
    (  # about the past, about how well the finding is seen, or about its extent
        Cue.UNCERTAIN,
        "behind",
        rf"(?:was|were) (?:not|never) (?:{SEE}|{_TOLD}) {LAST_TIME}"
        rf"|(?:{_BE} )?(?:poorly|suboptimally) {SEE}|{_BE} in the differential|would be difficult to exclude"
        rf"|{_UNSEEN}(?:well|clearly|fully|completely|entirely|optimally|adequately|easily|readily|reliably) {SEE}"
        r"|(?:may|might|could|can) be (?:obscured|missed|hidden|masked|overlooked)"
        rf"|(?!(?:in|on|at|within|by|of|{_BE})\b)[a-z]+ none of the\b",
    ),
    (
        Cue.ABSENT,
        "both",
        rf"none (?:{SEE} )?(?:in|on|at|within)\b|{_NO_PLACE}|(?:{_BE} )?neither (?:be )?(?:{SEE}|in|on|at|within)\b",
    ),
    (Cue.UNCERTAIN, "both", rf"versus|vs|(?:{_BE} )?(?:(?:more|less) likely than|favou?red over)"),
    (
        Cue.ABSENT,
        "behind",
        rf"(?:{_BE}|has been|have been) (?:{_GONE}|ruled out|excluded)"
        rf"|(?<=[,(] ){_GONE}{STOP}|{_GONE}(?:$|{_WHEN})|(?:ruled out|excluded)(?=\s*(?:$|[,;.]|(?:in|on|by)\b))"
        rf"|(?<=: )(?:no|negative|absent){STOP}|(?<=: )(?:0|zero)(?=\s*$)|none{STOP}|nil{STOP}"
        r"|(?<=\()(?:no|none|nil|negative|absent)(?=\s*\))|(?<=[,\u2013-] )(?:no|negative|absent)$"
        rf"|(?<!margin )(?<!margins )(?<!nodes )(?:{_BE} )?negative{STOP}|denied(?=\s*(?:$|[,;.]|by\b))"
        r"|free(?=\s*(?:$|[,;:.()?])| (?:brain|liver|lungs?|breasts?|kidneys?|margins?|borders?)\b)"
        rf"|none {SEE}|not (?:on|in|at) (?:this|these|(?:the )?(?:current|present|latest)|today's) {STUDY}",
    ),
    (
        Cue.UNCERTAIN,
        "behind",
        rf"(?:cannot|could not|may not|not) be {_SURE}{_OUT}|(?:{_BE} )?not {_SURE}{_OUT}|may be {SEE}"
        rf"|(?:(?:{_BE}|remains?|seems?) )?(?:(?:thought|considered|felt) )?(?:(?:less|more|most|also|still) )?"
        rf"(?:possible|probable|likely|suspected|questionable|uncertain|equivocal|favou?red|questioned){STOP}",
    ),
    (
        Cue.UNCERTAIN,
        "before",
        rf"(?:cannot|could not|not|does not|difficult to|unable to|(?:fails?|failed) to) {_SURE}{_OUT}"
        r"|(?:uncertain|unclear|questionable|(?:not|cannot) (?:certain|clear|sure|tell|say|determine))"
        r" (?:if|whether|that)",
    ),
    (Cue.BEFORE, "adjective", _GONE),
    (
        Cue.BEFORE,
        "behind",
        rf"(?:{SEE} only|only {SEE}) {WHEN_BEFORE}"
        r"|status post (?:\w+ )?(?:resection|removal|excision|treatment|ablation|surgery)$"
        rf"|in (?:(?:her|his|the|a|an|patient's|paternal|maternal) ){{0,3}}{RELATIVE}",
    ),
    (
        Cue.BEFORE,
        "before",
        r"(?:to )?(?:rule out|exclude)"
        r"|(?:evaluate|evaluation|assess|assessment|check|screen(?:ing)?|query|look(?:ing)?|search(?:ing)?"
        r"|surveillance) for|correlat(?:e|ion) (?:[a-z]+ ){0,5}?for(?! the\b)"
        r"|clinical(?:ly)? (?:suspicion (?:of|for)|concern for|question of|suspected)"
        r"|(?<!as )if|whether|unless|in case of|(?:may|might|could|can) (?:obscure|hide|mask)"
        r"|should(?= (?:an?|the|any|this|these|symptoms)\b)"
        r"|(?:(?:family|past|prior|previous) ){0,3}history of|status post|previously(?! \d)|prior|previous|former"
        r"|(?:resection|removal|excision|lumpectomy|mastectomy|enucleation) of|(?:craniotomy|surgery|treated) for"
        rf"|{RELATIVE}(?::| (?:(?:was|is|were) )?(?:had|has|with|died of|diagnosed with)\b)",
    ),
    (
        Cue.ABSENT,
        "behind",
        rf"(?:has|have|had|{_BE}) {_FULLY}{_VANISHED}(?! (?:of|from)\b)"
        rf"|{_FULLY}{_VANISHED}(?:{STOP}|(?= (?:since|on|over|from|after|by|completely|fully|compared|now)\b))"
        rf"|(?:(?:complete|full|total|interval) ){{1,2}}{_VANISHING}{STOP}"
        rf"|(?:{_BE} )?(?:unlikely(?!{_TO_BE})|(?:not|hardly|scarcely) (?:very )?(?:likely|probable|possible))"
        rf"|{_BE} absent|absent(?:{STOP}|(?= (?:on|from|since|today)\b))"
        rf"|(?:{_BE} )?no (?:longer|more) (?:{SEE}|exists?|persists?)(?! (?:is|are)\b)"
        rf"|cannot be {_SURE}{SEE}"
        rf"|{_UNSEEN}{_SURE}(?:(?:able )?to )?(?:be(?:en)? )?{SEE}|(?:do|does|did) not exist"
        rf"|(?:fails?|failed) to be {SEE}|(?:{_BE}|remains?) (?!occult){_HIDDEN}|without success|in vain|to no avail",
    ),
    (Cue.ABSENT, "adjective", rf"{_FULLY}(?:resolved|vanished|disappeared)"),
    (Cue.ABSENT, "none", r"[a-z]+-free"),
    (
        Cue.ABSENT,
        "before",
        rf"{FOREIGN_DENIAL}|no|not|without|never|neither|nor|(?:none|absence|lack|devoid|instead) of|lacks|absent"
        rf"|unlikely{_TO_BE}|no longer {SEE} (?:is|are)"
        rf"|(?:free|clear(?:ed)?) (?:of|from)|negative (?:{_TEST} )?for|den(?:y|ies|ied|ying)|nothing|rather than"
        r"|as opposed to"
        rf"|(?:resolution|disappearance) of(?!.{{0,200}}\b{_IN_PART}\b)"
        rf"|(?:(?:complete|full|total|interval) ){{1,2}}{_VANISHING} of"
        rf"|non-?visuali[sz]ation of|(?:cannot|unable to|(?:fails?|failed|failing|failure) to) {_SHOW}"
        rf"|{_NUMBERED}(?:0|zero)(?= (?!{_UNIT}\b|doubt\b)[a-z])"
        r"|rule[sd] out|exclude[sd]",
    ),
    (
        Cue.READING,
        "before",
        r"(?:(?:most|highly|very) )?(?:suspicious (?:for|of)|suspicion (?:of|for)|concern(?:ing)? for|worrisome for"
        r"|suggest(?:s|ive of|ive|ing|ed|ion of)?|(?:compatible|consistent|in keeping|in line) with|diagnostic of"
        r"|typical (?:of|for)|characteristic of)"
        rf"|(?:{_BE} )?favou?r(?:s|ed|ing)?(?:{_TO_BE})?"
        rf"|(?:{_BE} )?(?:(?:less|more|most|very) )?likely(?:{_TO_BE})?"
        r"|probably|presumably|possibly|perhaps|presumed|represent(?:s|ing)?|correspond(?:s|ing)? to|reflect(?:s|ing)?"
        rf"|(?:{_BE} )?(?:thought|felt|believed|presumed|considered){_TO_BE}"
        r"|(?:may|might|could|would) (?:well )?(?:be|represent|reflect|indicate|correspond to)"
        r"|differential(?: diagnosis)?(?: includes?)?",
    ),
    (
        Cue.UNCERTAIN,
        "before",
        r"possible|probable|potential|borderline|maybe|conceivably|tentatively|possibility of|indeterminate for"
        r"|doubt(?:s|ed|ful)?|low (?:probability|suspicion|likelihood) (?:for|of)"
        r"|suspect(?:s|ed)?|may|might|could|questionable|question of|equivocal|query"
        rf"|consider(?! (?:[\w-]+ ){{0,3}}?(?:biopsy|aspiration|excision|evaluation|{STUDY})\b)"
        r"|(?:cannot|difficult to|unable to) (?:differentiate|distinguish)",
    ),
    (Cue.NORMAL, "none", r"normal|clear|unremarkable|intact|healthy|within normal limits|negative"),
)
_PATTERN = re.compile(
    "|".join(rf"(?P<c{n}>(?<![\w-])(?:{pattern})(?![\w-]))" for n, (_, _, pattern) in enumerate(_CUES)), re.IGNORECASE
)


def find_cues(clause: str) -> list[FoundCue]:
    """Find the cues in a clause, in order."""
    found = []
    for match in _PATTERN.finditer(clause):
        kind, side, _ = _CUES[int(str(match.lastgroup)[1:])]
        found.append(FoundCue(kind, side, match.start(), match.end()))
    if clause.rstrip().endswith("?"):
        found.append(FoundCue(Cue.UNCERTAIN, "behind", len(clause.rstrip()) - 1, len(clause)))
    return found
