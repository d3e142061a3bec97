"""Image-caption pairs from a table: its columns, cleaned captions, and the rows that were dropped.

These are read by the names of their columns or fields:

    MedPix 2.0   JSON lines: image, U_id, Description.Caption
    ROCO         ID,Caption (v2), or a file .txt of NAME <tab> caption (v1)
    open_clip    filepath <tab> title
    any other    CSV (comma, semicolon or tab) or JSON lines with an image and a caption, and a patient if known
"""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..counted import counted
from ..errors import InputError
from ..files.csv_text import delimiter_of, read_rows
from ..files.json_text import parse_json

IMAGE_FIELDS = ("image", "filepath", "image_path", "path", "file_name", "filename", "file", "name", "id")
CAPTION_FIELDS = ("caption", "title", "text", "description.caption", "captions", "description")
PATIENT_FIELDS = ("patient", "patient_id", "patientid", "u_id", "subject", "subject_id", "case", "case_id")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".nii.gz", ".nii", ".nrrd", ".mha", ".dcm")
"""Suffixes tried for a name without one."""

MIN_CHARACTERS = 20
"""Minimum length of a caption; shorter ones say little (arXiv 2409.19483, section 4.1)."""


MARKUP = re.compile(
    r"""<!--.{0,1000}?--> | <[!?][^<>]{1,200}> | https?://\S+ | www\.\S+
    | </?[a-z][a-z0-9:]* (?: \s+ [\w:-]+ \s*=\s* (?: "[^"]*" | '[^']*' | [^\s"'<>]+ ) )* \s*/?>""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
"""Comments, declarations, links, and tags with their attributes."""

SIGNS = {"−": "-", "×": "x", "±": "+-", "≤": "<=", "≥": ">=", "⁄": "/"}  # noqa: RUF001
"""Signs as a caption has them; every dash is "-"."""


@dataclass(frozen=True)
class Pair:
    """An image and its caption.

    Args:
        image: its file.
        caption: cleaned.
        patient: images of one patient are never split; the image's name where the patient is unknown.
    """

    image: Path
    caption: str
    patient: str


@dataclass
class Captions:
    """The pairs of a table, in its order.

    Args:
        pairs: the usable ones.
        dropped: (reason, name) of each row that cannot be used.
        patients: whether the table says whose images these are.
        unknown: how many of the pairs it says no patient of.
    """

    pairs: list[Pair]
    dropped: list[tuple[str, str]] = field(default_factory=list)
    patients: bool = False
    unknown: int = 0

    def summary(self) -> str:
        """Return how many pairs there are, and how many were dropped for which reason."""
        counts = Counter(reason for reason, _ in self.dropped)
        dropped = "".join(f"; {count} {reason}" for reason, count in counts.most_common())
        times = Counter(pair.caption for pair in self.pairs)
        same = sum(count for count in times.values() if count > 1)
        repeated = f"; {same} captions belong to another image too" if same else ""
        return f"{counted(len(self.pairs), 'pair')}{dropped}{repeated}"


def clean_caption(text: str) -> str:
    """Clean a caption of markup, links, control characters and meaningless signs; "" when nothing is left.

    What says more or less stays: "<3 cm" is no markup, and dashes and signs beyond ASCII are written in it.
    """
    text = unicodedata.normalize("NFKC", html.unescape(text))
    text = MARKUP.sub(" ", text)
    text = "".join("-" if unicodedata.category(letter) == "Pd" else SIGNS.get(letter, letter) for letter in text)
    text = "".join(letter if letter.isalnum() or letter in " .,;:()/%+-'\"<>=" else " " for letter in text)
    return re.sub(r"\s+([.,;:)])", r"\1", re.sub(r"\s+", " ", text)).strip()


def read_captions(table: Path, images: Path | None = None, min_characters: int = MIN_CHARACTERS) -> Captions:
    """Read a table of image-caption pairs; see the head of this file.

    Args:
        table: .csv, .tsv, .txt, .jsonl, .ndjson or .json (a list, or an object by image name).
        images: folder that the images' names are relative to; the table's own by default.

    Raises:
        InputError: the table is absent, unreadable, lacks a column, or holds no pair that can be used.
    """
    if not table.is_file():
        raise InputError(f"There is no table of captions '{table}'.", "Give a CSV or JSON lines file.")
    folder = table.parent if images is None else images
    if not folder.is_dir():
        raise InputError(f"The folder of images '{folder}' does not exist.", "Choose another one.")
    try:
        rows = list(_rows(table))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"'{table}' cannot be read: {error}.", "It must be UTF-8, CSV or JSON lines.") from error
    if not rows:
        raise InputError(f"'{table}' holds no rows.", "Give a table of images and captions.")
    image_field, caption_field = (_field(table, rows, names) for names in (IMAGE_FIELDS, CAPTION_FIELDS))
    patient_field = next((name for name in PATIENT_FIELDS if any(_text(row.get(name)) for row in rows)), None)
    found = Captions([], patients=patient_field is not None)
    seen: set[tuple[Path, str]] = set()
    for row in rows:
        name = str(row.get(image_field) or "").strip()
        texts = row.get(caption_field)
        image = _image(folder, name)
        if image is None:
            found.dropped.append(("images are missing", name or "(no name)"))
            continue
        for text in texts if isinstance(texts, list) else [texts]:
            caption = clean_caption(str(text or ""))
            if len(caption) < min_characters:
                found.dropped.append((f"captions have less than {min_characters} characters", f"{name}: {caption}"))
            elif (image, caption) in seen:
                found.dropped.append(("pairs are there twice", f"{name}: {caption}"))
            else:
                seen.add((image, caption))
                patient = _text(row.get(patient_field)) if patient_field else ""
                found.unknown += not patient
                found.pairs.append(Pair(image, caption, patient or name))
    if not found.pairs:
        raise InputError(
            f"'{table}' holds no pair that can be used, with the images in '{folder}': {found.summary()}.",
            "Give the folder of the images, or correct the table; see docs/finetune.md.",
        )
    return found


def split_by_patient(pairs: list[Pair], validation: float, seed: int = 12) -> tuple[list[Pair], list[Pair]]:
    """Split pairs into training and validation, about a share `validation` of the patients, none in both.

    A patient's side depends on the name and the seed alone, so that it stays when pairs are added.

    Raises:
        InputError: a share outside 0 to 1, or a side that would be empty.
    """
    if not 0 < validation < 1:
        raise InputError(f"Expected a validation share between 0 and 1, got {validation}.", "Take 0.15, for example.")
    side: dict[str, bool] = {}
    for pair in pairs:
        if pair.patient not in side:
            digest = hashlib.sha256(f"{seed}:{pair.patient}".encode()).digest()
            side[pair.patient] = int.from_bytes(digest[:8], "big") / 2**64 < validation
    sides = [pair for pair in pairs if not side[pair.patient]], [pair for pair in pairs if side[pair.patient]]
    if not all(sides):
        raise InputError(
            f"{len(side)} patients cannot be split: {len(sides[0])} training and {len(sides[1])} validation pairs.",
            "Give more patients, another validation share, or validation pairs in a separate table.",
        )
    return sides


def _rows(table: Path) -> Iterator[Mapping[str, Any]]:
    """Yield rows as fields by lower-case name; nested fields as outer.inner."""
    text = table.read_text(encoding="utf-8-sig")
    if table.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        parse = partial(parse_json, constants=True)
        records = parse(text) if table.suffix.lower() == ".json" else map(parse, filter(str.strip, text.split("\n")))
        if isinstance(records, dict):
            records = [{"image": name, "caption": caption} for name, caption in records.items()]
        if not isinstance(records, list | map):
            raise InputError(f"'{table}' holds {repr(records)[:60]}, no list of records.", "See docs/finetune.md.")
        for record in records:
            if not isinstance(record, dict):
                raise InputError(f"Expected records in '{table}', got {str(record)[:60]!r}.", "See docs/finetune.md.")
            inner = {
                f"{outer}.{name}": value
                for outer, nested in record.items()
                if isinstance(nested, dict)
                for name, value in nested.items()
            }
            yield {name.lower(): value for name, value in (record | inner).items()}
        return
    lines = text.split("\n")
    names = {name.strip().strip('"').lower() for name in lines[0].split(delimiter_of(lines[0]))}
    header = bool(names & set(IMAGE_FIELDS)) and bool(names & set(CAPTION_FIELDS))
    if not header and table.suffix.lower() == ".txt" and "\t" in lines[0]:
        yield from (dict(zip(("image", "caption"), line.split("\t", 1))) for line in lines if "\t" in line)
        return
    yield from (row for _, row in read_rows(text, table))


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _field(table: Path, rows: list[Mapping[str, Any]], names: tuple[str, ...]) -> str:
    """Choose the name that most records have, the first of equals."""
    counts = {name: sum(name in row and not isinstance(row[name], dict) for row in rows) for name in names}
    most = max(names, key=counts.__getitem__)
    if counts[most]:
        return most
    what = "images" if names is IMAGE_FIELDS else "captions"
    raise InputError(
        f"'{table}' has no column with {what}; its columns are {', '.join(map(str, rows[0]))}.",
        f"Name one of them {' or '.join(names[:3])}.",
    )


def _image(folder: Path, name: str) -> Path | None:
    """Find the file of that name, with one of the known suffixes where it has none; None when there is none."""
    if not name or "\0" in name:
        return None
    path = folder / name
    return next((file for file in (path, *(Path(f"{path}{suffix}") for suffix in SUFFIXES)) if file.is_file()), None)
