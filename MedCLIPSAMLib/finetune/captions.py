"""Read image-caption pairs from a table, clean the captions, and list the rows that were dropped.

The columns or fields are found by their names. These formats are read:

    MedPix 2.0   JSON lines: image, U_id, Description.Caption
    ROCO         ID,Caption (v2), or a file .txt of NAME <tab> caption (v1)
    open_clip    filepath <tab> title
    COCO         JSON with images (id, file_name) and annotations (image_id, caption)
    any other    CSV (comma, semicolon or tab) or JSON lines with an image and a caption, and a patient if known
    a folder     NAME.txt beside NAME.png, in subfolders too
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scipy.cluster.hierarchy import DisjointSet

from ..counted import counted
from ..errors import InputError, shorten
from ..files.csv_text import NOTHING, delimiter_of, first_line, read_rows
from ..files.json_text import parse_json
from ..files.relative import relative_path, spellings
from ..files.text_file import read_text
from ..volumes.suffixes import RASTER_SUFFIXES, WHOLE_SUFFIXES
from .caption_text import MIN_CHARACTERS, clean_captions

IMAGE_FIELDS = (
    *("image", "filepath", "image_path", "path", "file_name", "filename", "file", "name", "dicom_id", "id"),
    *("image_name", "image_id", "image_index"),
)
CAPTION_FIELDS = (
    *("caption", "title", "text", "description.caption", "captions", "description"),
    *("report", "findings", "impression"),
)
PATIENT_FIELDS = (
    *("patient", "patient_id", "patientid", "u_id", "subject", "subject_id", "case", "case_id"),
    *("study_id", "uid"),  # name an examination, used if nothing names the patient
)
HELD_OUT = frozenset(("test", "testing", "val", "valid", "validation", "dev"))
SUFFIXES = (*RASTER_SUFFIXES, *WHOLE_SUFFIXES, ".dcm")
"""Suffixes tried for a name without one."""

EXAMPLE = '{"image": "a.png", "caption": "A brain MRI with a tumor"}'
MISSING = "images are missing"
NAMELESS = "(no name)"
UNKNOWN_PATIENTS = NOTHING | {"unknown"}
"""What other programs write for an unknown patient."""


@dataclass(frozen=True)
class Pair:
    """An image and its caption.

    Args:
        image: file of the image; the same path for all rows that name the file in different ways.
        caption: the cleaned caption.
        patient: name of the patient, whose images are never split between training and validation. If the patient is
            unknown, it is the image's file. Patients that share an image, directly or through others, count as one,
            under the alphabetically first name.
    """

    image: Path
    caption: str
    patient: str


@dataclass
class Captions:
    """The pairs of a table, in its order.

    Args:
        pairs: the usable pairs.
        dropped: (reason, name) for each row that cannot be used.
        patients: the names of patients in the table.
        unknown: number of pairs without a patient.
        contradicting: image files for which the table names several patients.
        held_out: number of rows that the column `split` marks as test or validation.
    """

    pairs: list[Pair]
    dropped: list[tuple[str, str]] = field(default_factory=list)
    patients: set[str] = field(default_factory=set)
    unknown: int = 0
    contradicting: list[Path] = field(default_factory=list)
    held_out: int = 0

    def summary(self) -> str:
        """Return the number of pairs, and how many rows were dropped for which reason, as text."""
        dropped = count_reasons(self.dropped)
        times = Counter(pair.caption for pair in self.pairs)
        same = sum(count for count in times.values() if count > 1)
        repeated = f"; {same} captions also belong to another image" if same else ""
        several = sum(count > 1 for count in Counter(pair.image for pair in self.pairs).values())
        described = f"; {counted(several, 'image')} with several captions" if several else ""
        return f"{counted(len(self.pairs), 'pair')}{dropped}{repeated}{described}"


def is_shards(pattern: str) -> bool:
    """Tell whether a file name, or a pattern of names, stands for tar files; see `shards`."""
    return pattern.lower().endswith((".tar", ".tar.gz", ".tgz"))


def count_reasons(dropped: Iterable[tuple[str, str]]) -> str:
    """Return how many pairs were dropped for which reason as text, each after a semicolon."""
    counts = Counter(reason for reason, _ in dropped)
    return "".join(f"; {count} {reason}" for reason, count in counts.most_common())


def read_captions(table: Path, images: Path | None = None, min_characters: int = MIN_CHARACTERS) -> Captions:
    """Read a table of image-caption pairs; see the top of this file for the formats.

    Args:
        table: a folder, or a .csv, .tsv, .txt, .jsonl, .ndjson or .json file; JSON may be a list, an object by image
            name, or lines.
        images: folder that the images' names are relative to; by default the table's own folder.
        min_characters: minimum length of a caption.

    Raises:
        InputError: the table is missing or unreadable, lacks a column, or holds no usable pair.
    """
    if is_shards(table.name):
        raise InputError(f"Expected a table of captions, got the shards '{table}'.", "Give a CSV or JSON lines file.")
    if not table.is_file() and not table.is_dir():
        raise InputError(f"There is no table of captions '{table}'.", "Give a CSV or JSON lines file.")
    folder = images or (table if table.is_dir() else table.parent)
    if not folder.is_dir():
        raise InputError(f"The folder of images '{folder}' does not exist.", "Choose another one.")
    try:
        rows = list(_rows_of_folder(table) if table.is_dir() else _rows(table))
    except ValueError as error:
        raise InputError(f"'{table}' cannot be read: {error}.", "Give CSV, JSON, or JSON lines.") from error
    if not rows:
        remedy = "Give a table of images and captions, or a folder with NAME.txt beside NAME.png."
        raise InputError(f"'{table}' holds no rows.", remedy)
    image_field, caption_field = (_field(table, rows, names) for names in (IMAGE_FIELDS, CAPTION_FIELDS))
    patient_field = next((name for name in PATIENT_FIELDS if any(_patient(row.get(name)) for row in rows)), "")
    found = Captions([], held_out=sum(_text(row.get("split")).lower() in HELD_OUT for row in rows))
    files: dict[Path, Path] = {}
    named: dict[Path, list[str]] = {}
    captions: dict[tuple[Path, str], None] = {}
    for row in rows:
        name = _text(row.get(image_field))
        path, problem = _image(folder, row.get(image_field))
        if path is None:
            found.dropped.append((problem, name or NAMELESS))
            continue
        image = files.setdefault(path.resolve(), path)
        for caption, problem in clean_captions(row.get(caption_field), min_characters):
            if problem or (image, caption) in captions:
                found.dropped.append((problem or "pairs are duplicates", f"{name}: {caption}"))
            else:
                captions[image, caption] = None
        if patient := _patient(row.get(patient_field)):
            named.setdefault(image, []).append(patient)
    patient_of = unite(named.values())
    for image, caption in captions:
        patients = named.get(image, [])
        found.patients.update(patients)
        found.unknown += not patients
        patient = patient_of[patients[0]] if patients else relative_path(image, folder).as_posix()
        found.pairs.append(Pair(image, caption, patient))
    images_left = dict.fromkeys(pair.image for pair in found.pairs)
    found.contradicting = [image for image in images_left if len(set(named.get(image, ()))) > 1]
    if not found.pairs:
        absent = next((name for reason, name in found.dropped if reason == MISSING and name != NAMELESS), None)
        looked = f"; looked for '{folder / absent}'" if absent else ""
        raise InputError(
            f"'{table}' holds no pair that can be used with the images in '{folder}': {found.summary()}{looked}.",
            "Give the folder of the images, or correct the table; see docs/finetune.md.",
        )
    return found


def split_by_patient(pairs: list[Pair], validation: float, seed: int = 12) -> tuple[list[Pair], list[Pair]]:
    """Split pairs by patient into training pairs and validation pairs.

    The side of a patient depends only on the name and the seed, so that it stays the same when pairs are added.

    Args:
        pairs: the pairs to split.
        validation: approximate share of the patients for validation, between 0 and 1.
        seed: seed of the split.

    Raises:
        InputError: the share is not between 0 and 1, or a side would be empty.
    """
    if not 0 < validation < 1:
        raise InputError(f"Expected a validation share between 0 and 1, got {validation}.", "Use 0.15, for example.")
    side: dict[str, bool] = {}
    for pair in pairs:
        if pair.patient not in side:
            digest = hashlib.sha256(f"{seed}:{pair.patient}".encode(errors="surrogatepass")).digest()
            side[pair.patient] = int.from_bytes(digest[:8], "big") / 2**64 < validation
    sides = [pair for pair in pairs if not side[pair.patient]], [pair for pair in pairs if side[pair.patient]]
    if not all(sides):
        raise InputError(
            f"{len(side)} patients cannot be split: {len(sides[0])} training and {len(sides[1])} validation pairs.",
            "Give more patients, another validation share, or validation pairs in a separate table.",
        )
    return sides


def _rows_of_folder(folder: Path) -> Iterator[dict[str, str]]:
    for path in sorted(folder.rglob("[!.]*.[tT][xX][tT]")):
        yield {"image": str(path.relative_to(folder).with_suffix("")), "caption": read_text(path)}


def _rows(table: Path) -> Iterator[Mapping[str, Any]]:
    """Yield each row as fields by name, see `_field_name`, with nested fields as outer.inner."""
    text = read_text(table)
    if table.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        for where, record in _records(text, table):
            if not isinstance(record, dict):
                raise InputError(
                    f"Expected an object with an image and a caption as {where} of '{table}', got "
                    f"{shorten(json.dumps(record), 60)}.",
                    f"Write {EXAMPLE}.",
                )
            yield flatten(record)
        return
    first = first_line(text)
    names = {_field_name(name.strip().strip('"')) for name in first.split(delimiter_of(first))}
    header = bool(names & set(IMAGE_FIELDS)) and bool(names & set(CAPTION_FIELDS))
    if not header and table.suffix.lower() == ".txt" and "\t" in first:
        lines = filter(str.strip, text.split("\n"))
        yield from (dict(zip(("image", "caption"), line.split("\t", 1))) for line in lines)
        return
    rows = read_rows(text, table)
    if not rows and first:
        raise InputError(
            f"Expected a header line and lines of images, got one line in '{table}'.",
            f"Name the columns in the first line, such as {IMAGE_FIELDS[0]} and {CAPTION_FIELDS[0]}.",
        )
    yield from ({_field_name(name): value for name, value in row.items()} for _, row in rows)


def _records(text: str, table: Path) -> Iterator[tuple[str, Any]]:
    """Yield the records of JSON or JSON lines, each with its position for messages."""
    if table.suffix.lower() != ".json" or re.match(r"\s*\{.*\}[ \t]*\n\s*\{", text):
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                try:
                    yield f"line {number}", parse_json(line, constants=True)
                except ValueError as error:
                    raise ValueError(f"line {number}: {error}") from error
        return
    records = parse_json(text, constants=True)
    if isinstance(records, dict) and isinstance(records.get("annotations"), list):
        try:
            images = {about["id"]: about for about in records["images"]}
            records = [images[about["image_id"]] | about for about in records["annotations"]]
        except (KeyError, TypeError) as error:
            raise ValueError("its images and annotations are not as COCO has them") from error
    if isinstance(records, dict):
        records = _of_object(records)
    if not isinstance(records, list):
        raise InputError(
            f"Expected a list of records in '{table}', got {shorten(json.dumps(records), 60)}.", f"Write [{EXAMPLE}]."
        )
    yield from ((f"record {number}", record) for number, record in enumerate(records, 1))


def _of_object(found: dict[str, Any]) -> list[Any]:
    """Return the records in an object, which is one record, pandas columns or rows, a list, or captions by image."""
    named = lambda value: isinstance(value, dict) and bool(set(IMAGE_FIELDS) & set(map(_field_name, value)))
    values = list(found.values())
    if named(found) and set(CAPTION_FIELDS) & set(map(_field_name, found)):
        if not all(isinstance(value, dict | list) for value in values):
            return [found]
        if len({len(value) for value in values}) > 1:
            raise ValueError("its columns differ in length")
        return [dict(zip(found, row)) for row in zip(*(v.values() if isinstance(v, dict) else v for v in values))]
    if all(map(named, values)):
        return values
    if len(values) == 1 and isinstance(values[0], list) and all(map(named, values[0])):
        return values[0]
    return [{"image": name, "caption": caption} for name, caption in found.items()]


def flatten(record: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a JSON record by name, see `_field_name`, with nested fields also as outer.inner."""
    inner = {
        f"{outer}.{name}": value
        for outer, nested in record.items()
        if isinstance(nested, dict)
        for name, value in nested.items()
    }
    return {_field_name(name): value for name, value in (record | inner).items()}


def _field_name(name: str) -> str:
    """Return a field's name in lower case with "_" for blanks and hyphens: "Patient ID" becomes patient_id."""
    return re.sub(r"[\s-]+", "_", name.lower())


def unite(groups: Iterable[Sequence[str]]) -> dict[str, str]:
    """Join the groups that share a name, and map each name to the alphabetically first name of its joined group."""
    joined = DisjointSet()
    for names in groups:
        for name in names:
            joined.add(name)
            joined.merge(names[0], name)
    first: dict[str, str] = {}
    for part in joined.subsets():
        first |= dict.fromkeys(part, min(part))
    return first


def _text(value: Any) -> str:
    """Return a value of a table as text; None and NaN become ""."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # other programs write a column of integers with gaps as floats
    return "" if value is None or value != value else str(value).strip()


def _patient(value: Any) -> str:
    text = re.sub(r"^(\d+)\.0$", r"\1", _text(value))  # from a column of integers with gaps
    return "" if text.lower() in UNKNOWN_PATIENTS else text


def choose_field(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str | None:
    """Choose the name that most records have; None if no record has any.

    Fields whose values are not objects are preferred, and earlier names win ties.
    """
    objects = {name: [isinstance(row[name], dict) for row in rows if name in row] for name in names}
    most = max(names, key=lambda name: (objects[name].count(False), len(objects[name])))
    return most if objects[most] else None


def _field(table: Path, rows: list[Mapping[str, Any]], names: tuple[str, ...]) -> str:
    if (name := choose_field(rows, names)) is not None:
        return name
    what = "images" if names is IMAGE_FIELDS else "captions"
    raise InputError(
        f"'{table}' has no column with {what}; its columns are {', '.join(map(str, rows[0]))}.",
        f"Name one of them {' or '.join(names[:3])}.",
    )


def _image(folder: Path, value: Any) -> tuple[Path | None, str]:
    """Find the file for a name, which may lack its suffix; if there is none, return None and the reason."""
    if isinstance(value, dict | list):
        return None, "image names are not text"
    if not (name := _text(value)):
        return None, MISSING
    suffixes = ("", *SUFFIXES, *map(str.upper, SUFFIXES))
    every = (Path(f"{path}{suffix}") for path in spellings(folder, name) for suffix in suffixes)
    found = next(filter(os.path.isfile, every), None)
    return found, "images are folders" if os.path.isdir(folder / name) else MISSING
