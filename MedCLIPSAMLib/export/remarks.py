"""Sentences about a dataset for the user, from the records of its manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ..counted import counted
from ..pipeline.unlike import UNLIKE

Records = Iterable[Mapping[str, Any]]


def failures(records: Records) -> list[str]:
    """Describe each failed case and the reason, one line each."""
    failed = (record for record in records if record["status"] == "failed")
    words = lambda record: " ".join(filter(None, (record.get("problem"), record.get("remedy"))))
    return [f"{record['case']}: {words(record)}".replace("\n", " ") for record in failed]


def overlaid(records: Records) -> list[str]:
    """Describe the labels that lost all their voxels in a label map to labels with higher scores, one line each."""
    counts: Counter[str] = Counter()
    for record in records:
        if "trusted" not in record:
            about = record["labels"].items()
            counts.update(name for name, label in about if (label["status"], label.get("voxels")) == ("filtered", 0))
    return [
        f"'{label}' has no voxel left in {counted(count, 'case')}: labels with higher scores cover it completely."
        for label, count in counts.items()
    ]


def unlike(records: Records) -> list[str]:
    """Say how many images are unlike the training images of the text-image model, judged by notes; [] if none is."""
    cases = [record["case"] for record in records if any(UNLIKE in note for note in record.get("notes", ()))]
    if not cases:
        return []
    which = counted(len(cases), "image")
    return [f"Unlike what the model has seen: {which}, such as '{cases[0]}'. Check these masks with care."]


def copies(records: Records) -> list[str]:
    """Say how many cases have the same image as an earlier case, judged by the checksum; [] if none has."""
    first: dict[str, str] = {}
    twice = []
    for record in records:
        checksum = (record.get("source") or {}).get("sha256")
        if record["files"] and checksum and first.setdefault(checksum, record["case"]) != record["case"]:
            twice.append((record["case"], first[checksum]))
    if not twice:
        return []
    return [f"Copies of other images: {counted(len(twice), 'image')}, such as '{twice[0][0]}' of '{twice[0][1]}'."]
