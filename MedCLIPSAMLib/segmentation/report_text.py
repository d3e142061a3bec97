"""Clean the text of a report before it is read: remove markup, expand abbreviations, correct misspelled denials."""

from __future__ import annotations

import html
import re
import unicodedata

from .report_sentences import UNFINISHED
from .report_words import FINDINGS
from .spelling import is_one_slip

_SHORT_FORMS = {
    "h/o": "history of",
    "hx": "history",
    "fhx": "family history",
    "pmh": "past medical history",
    "pmhx": "past medical history",
    "s/p": "status post",
    "r/o": "rule out",
    "f/u": "follow-up",
    "w/o": "without",
    "w/wo": "with and without",
    "w/": "with ",
    "neg": "negative",
    "(-)": "(no)",
    "(+)": "(present)",
    "e/o": "evidence of",
    "c/w": "consistent with",
    "s/o": "suggestive of",
    "susp": "suspected",
    "dx'd": "diagnosed",
    "ddx": "differential diagnosis",
    "wnl": "within normal limits",
    "impr": "impression",
    "imp": "impression",
    "pna": "pneumonia",
    "ptx": "pneumothorax",
    "fx": "fracture",
    "fxs": "fractures",
    "mets": "metastases",
    "calcs": "calcifications",
    "pt": "patient",
    "b/l": "bilateral",
    "rt": "right",
    "lt": "left",
    "rul": "right upper lobe",
    "rml": "right middle lobe",
    "rll": "right lower lobe",
    "lul": "left upper lobe",
    "lll": "left lower lobe",
}
_SHORT_FORM = re.compile(
    rf"(?<![\w/])(?:{'|'.join(map(re.escape, sorted(_SHORT_FORMS, key=len, reverse=True)))})(?:(?<=/)|(?![\w/]))"
    r"(?:\.(?=\s+(?-i:[a-z])))?",
    re.IGNORECASE,
)
_PLACE = r"(?:left|right|(?-i:[LR])|r[uml]l|l[ul]l)"
_BOTH = re.compile(rf"\b({_PLACE})/(?={_PLACE}\b)", re.IGNORECASE)
"""A slash between two sides or lobes: "left/right effusions" are on both."""
_SIDE = re.compile(
    r"(?<!\d )\b[LR](?=\s(?!spine\b|vertebra|shaped\b)[a-z])"
    r"|(?:(?<=: )|(?<=on )|(?<=on the )|(?<=and ))[LR](?=\s*(?:[,;.]|$))",
    re.MULTILINE,
)
"""A side abbreviated to its letter: "L breast", "mass on R", but not "L spine" or "2 L effusion"."""
_SIGNED = re.compile(r"(?:(?<=[,;:.]\s)|^)\([+-]\)[^,;:.\n]*", re.MULTILINE)
"""Signs in parentheses before what they apply to: "(-) mass (+) cyst"."""
_MINUS = (
    (re.compile(r"(?<=: )[-\u2013](?=\s*(?:[,;.]|$))", re.MULTILINE), "no"),
    (re.compile(r"(?<=\w) [-\u2013](?=\s*[,;.])"), ": no"),
)
"""A minus sign after what is denied: "mass: -", "mass -, cyst +"."""
_PLUS = re.compile(r"(?:^|[,;.]\s*)\+\s*[a-z]", re.IGNORECASE)
_MINUS_BEFORE = re.compile(r"(^|[,;.]\s+)[-\u2013]\s*(?=[a-z])", re.IGNORECASE)
"""A minus sign before what is denied. It is not a list marker if there are plus signs too, as in "+ cyst, - mass"."""
_YES = r"(?:yes|no|none|absent|present|negative|positive|true|false|(?-i:[YN]))"
_ROW = re.compile(
    rf"^[ \t|]*(?P<name>[a-z](?:[^\t|,;\n]*[^\t|,;\n :])?) *(?:: *)?"
    rf"(?P<sep>[\t|]|[,;](?! ))[ \t|]*(?P<answer>{_YES}|[01])"
    r"[ \t]*(?:(?P=sep)[ \t|]*(?P<more>[^|\t\n]*?))?[ \t|]*$",
    re.IGNORECASE | re.MULTILINE,
)
_FINDING = re.compile(rf"\b(?:{'|'.join(sorted(FINDINGS))})(?:e?s)?\b", re.IGNORECASE)
_PLACED = re.compile(
    r"^([^\n]+)((?:\n[^\S\n]*size[^\S\n]*:[^\n]*)?)"
    r"\n[^\S\n]*(?:location|site|side|laterality)[^\S\n]*:[^\S\n]*([^\n]+)",
    re.IGNORECASE | re.MULTILINE,
)
"""A line that may name a finding, and a line that gives its place."""
_INDENTED = re.compile(
    rf"({_FINDING.pattern}[^\S\n]*:)[^\S\n]*\n[^\S\n]+(?:present|seen|found|status)[^\S\n]*:(?=[^\S\n]*{_YES}\b)",
    re.IGNORECASE,
)
"""A finding, and an answer on the next line: "mass:", "  present: no"."""
_TICKS = (
    (re.compile(r"(?<=\w)[ :]*[\u2717\u2718]"), ": no"),
    (re.compile(r"(?<=\w)[ :]*[\u2713\u2714](?!\s*\])"), ": yes"),
)
_NAME = (
    r"(?:(?!(?:no|not|nor|or|and|without|is|are|was|were|has|have|there|any|if|for|with|denies|an?)\b)\w[\w/-]* ){0,3}"
    rf"{_FINDING.pattern}(?: (?:left|right) [a-z]+)?"
)
_SAYS_NO = (
    r"(?:(?:no|none|absent|negative|neg|nil|denied|false|(?-i:N)|0"
    r"|not (?:seen|present|identified|detected|found|visible))\b|[-\u2013])"
)
_SAYS_YES = r"(?:(?:yes|present|positive|pos|true|(?-i:Y)|1|seen|identified|detected|found|visible)\b(?!:)|\+)"
_TO = r"(?:[^\S\n]*(?:[:=?|,;(\[\t\u2014\u2013-]|\.{2,})[^\S\n]*|[^\S\n]+)"
_MORE = r"(?:\d[\d.x ]*[cm]m\b)?[)\]]?(?:[ ,(]+(?:(?:in|on) )?(?:the )?(?:left|right|both|upper|lower)\b[a-z ]*\)?)?"
_ITEM = re.compile(
    rf"(?P<name>{_NAME}){_TO}(?:(?P<no>{_SAYS_NO})|(?P<yes>{_SAYS_YES})|(?=\d[\d.x ]*[cm]m\b))"
    rf"(?P<more>{_MORE})[^\S\n]*(?:[.;,/|][^\S\n]*|$|(?<=  )|(?<=\t)|(?=\w[\w /-]{{0,60}}[:=?]))",
    re.IGNORECASE,
)
"""A finding and its answer; a line may have several: "Mass - no / cyst - yes, left kidney"."""
_BEGINS = re.compile(rf"{_NAME}{_TO}", re.IGNORECASE)
_WHERE = re.compile(
    r"(?<=: )(?:yes|present|positive)(?: ?[,(\u2013-] ?| )"
    r"(?=(?:in|on|at|within|the|both|left|right|bilateral|upper|lower|[lr]"
    r"|[lr][ul]l|rml)\b)(?![^.;\n]*:)",
    re.IGNORECASE,
)
"""An answer followed by a place, which itself answers the question: "mass: yes, left breast"."""
_EQUALS = re.compile(rf"(?<![^\S\n])[^\S\n]*(?:[:=][^\S\n]*(?=(?:{_YES}|0)\b)|=[^\S\n]*(?=1\b))", re.IGNORECASE)
_YES_OR_NO = re.compile(r"(?<=: )(?:[YN]|(?i:true|false))(?=\s*(?:[,;.]|$))|(?<=\()[YN](?=\))|\[[YN]\]", re.MULTILINE)
"""Answers of a form: a row of a table, "mass = no", "mass: N", "mass (N)"."""
_WORDS = {"1": "yes", "0": "no", "Y": "yes", "N": "no", "[Y]": "(yes)", "[N]": "(no)", "true": "yes", "false": "no"}
_NEGATIVES = re.compile(
    r"(^|[.;]\s+)(?:(?:pertinent )?negatives?|absent)(?: findings)?\s*:\s*(?:no )?(?=[a-z])",
    re.IGNORECASE | re.MULTILINE,
)
"""A heading of what is absent: "Negative: mass, cyst."."""
_BOX = re.compile(r"[\[(]\s*(?:([x\u2713\u2714])\s*)?[\])]|([\u2611\u2612])|\u2610", re.IGNORECASE)
"""A checkbox of a form, checked or not."""
_ANY_BOX = r"(?:[\[(]\s*[x\u2713\u2714]?\s*[\])]|[\u2610-\u2612])"
_LABEL = r"(?![\w-]+:)[\w/-]+(?: +(?![\w-]+:)[\w/-]+){0,3} *"
_OPTIONS = re.compile(rf": *(?:(?:{_ANY_BOX} *{_LABEL}){{2,}}|(?:{_LABEL}{_ANY_BOX}[ ,]*){{2,}})", re.IGNORECASE)
_BEFORE, _BEHIND = (
    re.compile(one, re.IGNORECASE) for one in (rf"({_ANY_BOX}) *({_LABEL})", rf"({_LABEL})({_ANY_BOX})")
)
"""Checkboxes after a colon; the checked ones are the answer: "effusion: [ ] none [x] small"."""
_NUMBER = re.compile(r"\([^()\n]*\)|[^\S\n](?=\d\d?\)\s+[A-Z])")
"""Text in parentheses, or the blank before the number of a further item of a one-line list: "1) No mass 2) Cyst"."""
_DRIVE = re.compile(r"\b[a-z]:\\\S*", re.IGNORECASE)
"""A Windows path, in which \\n is not a line break."""
_ANSWER = re.compile(r"\?\s+(?=(?:no|none|negative|absent|yes|(?-i:[YN]))\s*(?:[.,;]|$))", re.IGNORECASE | re.MULTILINE)
"""The end of a question before its answer: "Mass? No."."""
_OR_ELSE = re.compile(
    r"(?<=\bor)(?:,? (?:alternatively|conceivably|rarely)(?:,|\b)"
    r"|,( (?:[a-z]+ ){0,2}(?:likely|probably|possibly|perhaps)),)",
    re.IGNORECASE,
)
"""An insertion after "or": "a mass or, less likely, a cyst"."""
_TITLE = re.compile(r"\b(dr|mr|mrs|ms|prof|approx|vs)\.", re.IGNORECASE)
_DENIALS = ("without", "negative", "absent", "absence", "unlikely")
_NO_SLIPS = ("assent", "absents", "absences", "negatives")
"""Words one letter away from a denial that are not denials."""
_LINE_BREAK = re.compile(
    r"\\(?:\.br\\|r\\n|[rn])|</?(?:br|p|div|li|ul|ol|h\d|tr|td|table|pre|html|body)\b[^<>]*>", re.IGNORECASE
)
"""Line breaks as in HL7 (\\.br\\), in JSON and tables (\\n), and in HTML."""
_CELL = re.compile(r"</t[dh]>\s*<t[dh]\b[^<>]*>", re.IGNORECASE)
_MARKUP = re.compile(r"</?(?:b|i|u|em|strong|span|font)\b[^<>]*>", re.IGNORECASE)
_COLOR_CODE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def clean_text(text: str) -> str:
    """Replace characters that are not text, such as control characters, by blanks; normalize and correct cues."""
    text = _DRIVE.sub(lambda path: path[0].replace("\\", "/"), _COLOR_CODE.sub(" ", text))
    text = html.unescape(_MARKUP.sub("", _LINE_BREAK.sub("\n", _CELL.sub("\t", text))))
    text = re.sub(r'"\s*,\s*"(?=[^"\n]*"\s*:)', ".\n\n", text)  # the next field of a JSON object
    text = re.sub(r'["{}]', "", unicodedata.normalize("NFKC", text)).replace("\u2019", "'")
    text = _NUMBER.sub(lambda part: part[0] if part[0].strip() else "\n", _ROW.sub(_as_answer, text))
    for sign, word in _TICKS:
        text = sign.sub(word, text)
    text = _INDENTED.sub(r"\1", text)
    text = _PLACED.sub(_placed, _read_answers(text))
    kept = "".join(
        sign if sign == "\n" or unicodedata.category(sign)[0] != "C" else " " for sign in text.replace("\r\n", "\n")
    )
    kept = _SIGNED.sub(lambda part: part[0].replace("(-)", "; No").replace("(+)", "; "), kept)
    for sign, word in _MINUS:
        kept = sign.sub(word, kept)
    lines = kept.split("\n")
    is_signed = any(_PLUS.match(line) for line in lines)
    kept = "\n".join(_MINUS_BEFORE.sub(r"\1no ", line) if is_signed or _PLUS.search(line) else line for line in lines)
    kept = _ANSWER.sub(": ", kept)
    kept = _NEGATIVES.sub(r"\1No ", _EQUALS.sub(": ", kept))
    kept = _YES_OR_NO.sub(lambda sign: _WORDS.get(sign[0]) or _WORDS[sign[0].lower()], kept)
    if any(box[1] or box[2] for box in _BOX.finditer(kept)):
        kept = _OPTIONS.sub(_checked, kept)
        kept = "\n".join(map(_boxes_as_words, kept.split("\n")))
    kept = _WHERE.sub("", kept)
    kept = _BOTH.sub(r"\1 and ", kept)
    kept = _SHORT_FORM.sub(lambda short: _written_out(short[0]), kept)
    kept = _SIDE.sub(lambda letter: "Left" if letter[0] == "L" else "Right", kept)
    kept = re.sub(r"(?<![\w?])\?[^\S\n]*(?=\w)", "possible ", kept)  # "?fracture"
    kept = re.sub(r"(?:\+/[-\u2013]|\u00b1)[^\S\n]*(?=[^\W\d])", "possible ", kept)  # "effusion +/- pneumonia"
    kept = re.sub(r"\bcan(?:'t|\s+not)\b", "cannot", kept, flags=re.IGNORECASE)
    kept = _OR_ELSE.sub(r"\1", kept)
    kept = re.sub(r"[A-Za-z]{5,}", lambda word: _mended(word[0]), kept)
    return _TITLE.sub(r"\1", re.sub(r"n't\b", " not", kept, flags=re.IGNORECASE))


def _as_answer(row: re.Match[str]) -> str:
    """Write a row of a table as a sentence of its own: "mass,yes,left" is "mass: yes, left"."""
    more = f", {row['more']}" if row["more"] else ""
    return f"; {row['name']}: {_WORDS.get(row['answer'], row['answer'])}{more};"


def _read_answers(text: str) -> str:
    """Write the answers in lines of answers alone as separate sentences, unless a sentence continues in the line."""
    lines, read, before = text.split("\n"), list[str](), ""
    for line, following in zip(lines, [*lines[1:], ""]):
        following = following.strip("-* \t|\u2022")
        is_followed = following[:1].islower()
        is_wrapped = line.lstrip()[:1].islower() and before.rstrip()[-1:] not in ("", *".:;!?")
        goes_on = (
            (is_wrapped and not (is_followed and _answers(following)))
            or (is_followed and not _BEGINS.match(following))
            or UNFINISHED.search(f"{before}\n")
        )
        said = "" if goes_on else _answers(line)
        before = "" if said else line
        read.append(said or line)
    return "\n".join(read)


def _answers(line: str) -> str:
    """Write a line of answers alone as sentences; return "" for any other line."""
    text, said, at = line.lstrip("-* \t|\u2022").rstrip(" \t|"), "", 0
    while at < len(text) and (item := _ITEM.match(text, at)):
        answer = "no" if item["no"] else "yes" if item["yes"] else ""
        said, at = f"{said}; {item['name']}: {answer}{item['more'].rstrip(')]')}", item.end()
    return f"{said};" if said and at == len(text) else ""


def _placed(lines: re.Match[str]) -> str:
    """Move the place on the next line after the finding that it belongs to."""
    line, size, place = lines.groups()
    return f"{line.rstrip(' .;')}, {place}{size}" if _FINDING.search(line) else lines[0]


def _checked(options: re.Match[str]) -> str:
    """Replace options by those that are checked, or by "no" if none is."""
    is_first = _BOX.match(options[0].lstrip(": "))
    found = _BEFORE.findall(options[0]) if is_first else [pair[::-1] for pair in _BEHIND.findall(options[0])]
    checked = [label.strip() for box, label in found if box.strip("[]() \u2610")]
    return f": {', '.join(checked) or 'no'}; "


def _boxes_as_words(line: str) -> str:
    """Replace the checkboxes of a line by words. If the line begins with a box, each box precedes its label."""
    if _BOX.match(line.strip(" -*\u2022")):
        return _BOX.sub(lambda box: "; " if box[1] or box[2] else "; No ", line)
    return _BOX.sub(lambda box: ": yes; " if box[1] or box[2] else ": no; ", line)


def _written_out(short: str) -> str:
    """Expand an abbreviation; an initial capital is kept, as it may begin a sentence."""
    full = _SHORT_FORMS[short.lower().rstrip(".")]
    return full[0].upper() + full[1:] if short[0].isupper() else full


def _mended(word: str) -> str:
    """Return the denial that is one slip away from a misspelled word such as "withuot"; otherwise the word itself."""
    if word.lower() in (*_DENIALS, *_NO_SLIPS):
        return word
    return next((denial for denial in _DENIALS if is_one_slip(word.lower(), denial)), word)
