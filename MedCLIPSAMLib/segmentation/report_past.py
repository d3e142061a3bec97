"""Times before an image, in reports: what was not seen then, and is named now, is new."""

from __future__ import annotations

_EARLIER = (
    r"(?:prior|previous|preceding|earlier|older|old|last(?! (?:image|slice)\b)|baseline|comparison|outside|former"
    r"|pre-?(?:operative|treatment|therapy|surgical)|admission)s?"
)
_STUDY = (
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
"""A few words on a place or a study, none of which leads back to this image."""
_OR_NOW = (
    r"(?:and|or|nor) (?:(?:on|in|at|the|is|are) )*"
    rf"(?:current|today'?s?|this|after|now(?! {_EARLIER})(?=\W*$)|not|still|present {_STUDY})\b"
)
WHEN_BEFORE = (
    r"(?:before(?:hand)?|previously|formerly|earlier|initially|then|yesterday|prior to|until (?:now|today)"
    r"|in the past|(?:[\w-]+ ){1,4}?(?:day|week|month|year)s? (?:ago|earlier|before|prior|back)"
    r"|last (?:year|month|week|time|night)|on admission|at (?:presentation|diagnosis|admission)|preoperatively"
    rf"|on that {_STUDY}|(?:on|in|at|by|with|from|of|during) {_WORDS}"
    rf"(?:{_EARLIER}(?: (?:(?!(?:and|or|nor|to)\b)[\w-]+ ){{0,3}}?{_STUDY}|(?=\s*(?:$|[,;.()])))|{_DATE}))"
)
PAST = rf"{_WORDS}{WHEN_BEFORE}(?![\w-])(?! {_OR_NOW})"
"""Behind a denial: that it is about the past alone, "on the prior CT", "before", "in 2019"."""
