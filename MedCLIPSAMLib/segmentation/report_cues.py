"""Cues of reports: words that say that a finding is present, absent, possible or past, or that all is normal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto


class Cue(Enum):
    """What a report says about a finding."""

    PRESENT = auto()
    ABSENT = auto()
    UNCERTAIN = auto()
    BEFORE = auto()
    NORMAL = auto()


@dataclass(frozen=True)
class FoundCue:
    """A cue in a clause, and on which side of a finding it stands to say that: "before", "behind", "both" or "none"."""

    kind: Cue
    side: str
    start: int
    end: int


_BE = r"(?:is|are|was|were|be|been|being)"
_SEE = (
    r"(?:seen|present|visible|visuali[sz]ed|there|shown|identified|noted|found|detected|appreciated|evident|"
    r"demonstrated)"
)
_OUT = r"(?:excluded?|ruled? out)"
_SURE = r"(?:(?:safely|entirely|completely|fully|definitely|clearly) )?"
_CUES = (  # where several begin at one place, the first one counts
    (  # they look like other cues, and deny a change or a doubt, or name a study to compare with
        Cue.PRESENT,
        "before",
        r"no (?:significant |interval |relevant )?(?:change|growth|increase|decrease|progression)s?(?: (?:in|of))?"
        r"|without (?:any |significant |interval )?change|no doubt|not only|not necessarily|not changed"
        r"|previously (?:seen|noted|described|known)"
        r"|(?:compared (?:to|with)|since|than on) (?:the )?(?:prior|previous)(?: \w+)?",
    ),
    (
        Cue.UNCERTAIN,
        "behind",
        rf"(?:cannot|could not|may not|not) be {_SURE}{_OUT}|(?:{_BE} )?not {_OUT}|may be {_SEE}|suspected$"
        rf"|{_BE} (?:possible|probable|likely|suspected|questionable|uncertain|equivocal)",
    ),
    (Cue.UNCERTAIN, "before", rf"(?:cannot|could not|not|does not|difficult to|unable to) {_SURE}{_OUT}"),
    (
        Cue.BEFORE,
        "before",
        r"(?:to )?(?:rule out|exclude)|r/o|(?:evaluate|assess|check|screen|screening|query|evaluation|assessment) for"
        r"|(?:(?:family|past|prior|previous) )*history of|status post|s/p|previously|prior|previous|former"
        r"|(?:resection|removal) of",
    ),
    (
        Cue.ABSENT,
        "behind",
        rf"(?:{_BE}|has been|have been) (?:resected|removed|excised|ruled out|excluded)"
        rf"|(?:(?:has|have|had|{_BE}) )?(?:resolved|gone|disappeared|vanished)"
        rf"|(?:{_BE} )?(?:absent|unlikely)|(?:{_BE} )?no longer {_SEE}|cannot be {_SURE}{_SEE}"
        rf"|(?:(?:{_BE}|do|does|did|could) )?not {_SURE}(?:be )?{_SEE}",
    ),
    (
        Cue.ABSENT,
        "before",
        r"no|not|without|w/o|never|neither|nor|none of|absence of|absent|lack of|free of|free from|negative for"
        r"|cannot (?:see|identify|detect|find)|(?:rules|ruled) out|excludes|excluded",
    ),
    (
        Cue.UNCERTAIN,
        "before",
        r"possibl[ey]|probabl[ey]|likely|perhaps|suspected|suspicion of|suspicious for|may|might|could|questionable"
        r"|equivocal|suggest(?:s|ive|ing)?|concern(?:ing)? for|presumed|presumably",
    ),
    (Cue.UNCERTAIN, "both", r"versus|vs"),
    (Cue.NORMAL, "none", r"normal|clear|unremarkable|intact|healthy|within normal limits|negative"),
)
_PATTERN = re.compile(
    "|".join(rf"(?P<c{n}>(?<![\w-])(?:{pattern})(?![\w-]))" for n, (_, _, pattern) in enumerate(_CUES)), re.IGNORECASE
)


def find_cues(clause: str) -> list[FoundCue]:
    """Find the cues of a clause, in order."""
    found = []
    for match in _PATTERN.finditer(clause):
        kind, side, _ = _CUES[int(str(match.lastgroup)[1:])]
        found.append(FoundCue(kind, side, match.start(), match.end()))
    return found
