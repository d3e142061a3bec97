"""The files that are derived from an export's manifest whenever it changes, and the list of cases struck out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from ..files.atomic import atomic_path
from .dataset import write_description
from .manifest import read_records
from .remarks import copies, unlike
from .report import write_report

STRUCK = "struck.txt"
"""File in a dataset with the names of the cases that a person struck out, one per line."""


def refresh(out: Path, form: str, labels: Sequence[str]) -> None:
    """Rewrite the files derived from the manifest: the description of the dataset and the report."""
    records = list(read_records(out).values())
    struck = read_struck(out)
    inside = [record["case"] for record in records if record["files"] and record["case"] not in struck]
    modalities = {record.get("modality") for record in records if record["files"]}
    channel = modalities.pop() if len(modalities) == 1 else None
    write_description(out, form, labels, inside, channel or "image")
    write_report(out, records, struck, [*unlike(records), *copies(records)])


def read_struck(out: Path) -> set[str]:
    """Read the cases that a person struck out."""
    path = out / STRUCK
    return set(path.read_text(encoding="utf-8", errors="replace").split()) if path.is_file() else set()


def write_struck(out: Path, names: Collection[str]) -> None:
    """Write the list of cases that a person struck out."""
    with atomic_path(out / STRUCK) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in sorted(names)), encoding="utf-8")
