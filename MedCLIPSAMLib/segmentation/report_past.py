"""Phrases for times before the image of a report: a finding that was not seen then, but is named now, is new."""

from __future__ import annotations

_EARLIER = r"(?:prior|previous|preceding|earlier|older|old|comparison|outside|former)s?"
_PERHAPS = r"(?:last(?! (?:image|slice)\b)|baseline|pre-?(?:operative|treatment|therapy|surgical)|admission)s?"
"""Words for a study that may also be the current one."""
STUDY = (
    r"(?:ct|mri?|pet|x-?rays?|radiographs?|radiography|films?|scans?|stud(?:y|ies)|exams?|examinations?|imag(?:es?|ing)"
    r"|mammograms?|mammography|ultrasounds?|sonograms?|visits?|reports?|follow-?ups?|times?|occasions?|ones?)"
)
_MONTH = (
    r"(?:january|february|march|april|june|july|august|september|october|november|december"
    r"|(?:jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)|may(?=\s*(?:$|[,;.()\d]|of\b)))"
)
_DATE = (
    rf"(?:{_MONTH}|(?:19|20)\d\d(?:-\d\d){{0,2}}|\d\d?-(?:[a-z]{{3}}|\d\d?)-\d{{2,4}}"
    r"|\d\d?[/.]\d\d?[/.]\d{2,4}|\d\d?[/.](?:19|20)\d\d)"
)
_WORDS = (
    r"(?:(?!(?:this(?! (?:area|site|place|location|region|patient's)\b)|current|today|now|present|as|since|than|to"
    r"|after|unlike|like|compared|where|which|that|it|is|are|was|were|seen|noted|described|known|and|or|nor)\b)"
    r"(?:\d+,|[\w'/.-]+) ){0,7}?"
)
"""A few words on a place or a study, none of which refers back to the current image."""
_ON = r"(?:on|in|at|by|with|from|of|during)"
OR_NOW = (
    r"(?:(?:and|or|nor) (?:(?:on|in|at|the|is|are) )*"
    rf"(?:(?:current|today'?s?|this|after|now(?! {_EARLIER})(?=\W*$)|not|still|present {STUDY})\b"
    rf"|(?:later|latest|subsequent)\b|follow-?ups?(?: {STUDY})?(?=\W*$))"
    rf"|(?:or|nor) (?!(?:(?:on|in|at|the|an?|so) )*(?:{_EARLIER}|{_PERHAPS}|{_DATE}|(?!follow){STUDY}|before|so)\b))"
)
"""Words after an earlier time that extend the denial beyond it, as in "or this one"."""


def _study(words: str) -> str:
    """Return the pattern for a study described by one of these words."""
    return rf"{words}(?: (?:(?!(?:and|or|nor|to)\b)[\w-]+ ){{0,3}}?{STUDY}|(?=\s*(?:$|[,;.()]|(?:is|are|now)\b)))"


WHEN_BEFORE = (
    rf"(?:before(?:hand)?|previously|formerly|earlier(?! (?:(?!{_ON}\b)[\w-]+ ){{0,3}}?{STUDY}\b)|initially|then"
    r"|yesterday|prior to|until (?:now|today)"
    r"|in the past|(?:[\w-]+ ){1,4}?(?:day|week|month|year)s? (?:ago|earlier|before|prior|back)"
    rf"|last (?:year|month|week|time|night)|{_ON} {_WORDS}{_study(_EARLIER)})"
)
_LAST = rf"preoperatively|on admission|at (?:presentation|diagnosis|admission)|{_ON} {_WORDS}{_study(_PERHAPS)}"
WHEN_PERHAPS = rf"(?:{_LAST}|on that {STUDY}|{_ON} {_WORDS}{_DATE})"
"""A time that may also be that of the current image, such as a date; it is past in "which was not seen in 2019"."""
_ALONE = rf"(?![\w-])(?! {OR_NOW})(?!, (?:(?=(?:or|nor)\b){OR_NOW}|(?:on )?this (?:{STUDY})\b))"
PAST = rf"{_WORDS}{WHEN_BEFORE}{_ALONE}"
"""Words after a denial that restrict it to the past, such as "on the prior CT" or "before"."""
LAST_TIME = rf"{_WORDS}(?:{_LAST}){_ALONE}"
"""Words after "was not seen" that likely restrict it to the past, such as "at last follow-up".

A date is not among them, as it may be that of the current image.
"""
PERHAPS_PAST = rf"{_WORDS}{WHEN_PERHAPS}{_ALONE}"
"""Words after "which was not seen" or "had not been seen" that restrict it to the past, such as "in 2019"."""
