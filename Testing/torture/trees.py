"""Checks of folders: inputs must stay unchanged; outputs must be whole, absent, or temporary files to clean up."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from MedCLIPSAMLib.resources import resource_path
from MedCLIPSAMLib.tasks.mask_sources import SOURCES

OURS = re.compile(r"(.*/)?(\.[^/]*\.partial(/.*)?|[^/]+\.partial(\.state)?|[^/]+\.unfinished(/.*)?)")
"""Names of unfinished files: temporary files, downloads, steps of long runs."""
PASSING = re.compile(r"(.*/)?(\.lock|\.[^/]+\.lock|run\.json)|(.*/)?tensorboard/.*")
"""Locks, and training curves from which no run resumes."""
MADE_ANEW = ("dataset.json", "report.html", "labels.json", "review.csv")
"""Files rewritten from the manifest at the end of each run."""
STATES = (".ckpt", ".safetensors", "images.json", "result.json", "run-id.txt", "manifest.json", "struck.txt")
"""Files of a run's state, which a later state replaces."""
RUN_ID = "run-id.txt"
"""A file of random letters, of which only the number is compared."""
DRAWN = "/report/"
"""Folder of overlays; a correction redraws its case's overlay from the image and the masks."""
VOLUMES = (".nii.gz", ".nrrd", ".png", ".dcm", ".mha", ".nii")
REPORT_END = resource_path("pages/export_report.html").read_text(encoding="utf-8")[-40:]
UNTOLD = ("seconds", "time", "trusted", "seconds_left", "peak_memory")
"""Fields that differ from run to run."""


def snapshot(folder: Path) -> dict[str, tuple[int, str]]:
    """Return the modification time and checksum of every file and folder."""
    found = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path.relative_to(folder))] = (path.stat().st_mtime_ns, digest)
    return found


def files(folder: Path) -> dict[str, Path]:
    """Find the files of a folder by relative path, without locks and the like (see `PASSING`)."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
    return {name: path for name, path in found.items() if not PASSING.fullmatch(name)}


def check_left(out: Path, reference: Path, before: Path | None) -> str | None:
    """Say what is wrong with the files that a killed or starved run left; None if nothing is.

    Args:
        reference: the output of an undisturbed run.
        before: files that existed before the run; none of its volumes may be lost.
    """
    there, right = files(out), files(reference)
    old = files(before) if before else {}
    for name, path in there.items():
        if OURS.fullmatch(name):
            continue
        known = [source[name] for source in (right, old) if name in source]
        if not known:
            return f"left '{name}', which no undisturbed run makes"
        faults = [_half(path, other) for other in known]
        if all(faults):
            return f"left '{name}' incomplete: {faults[0]}"
    kept = {_sum(path) for path in there.values()}
    data = {name: path for name, path in old.items() if name.endswith(VOLUMES) and DRAWN not in name}
    lost = [name for name, path in data.items() if _sum(path) not in kept]
    return f"lost '{lost[0]}'" if lost else None


def check_done(out: Path, reference: Path) -> str | None:
    """Say how the output of a finished run differs from that of an undisturbed one; None if it does not."""
    there, right = files(out), files(reference)
    if there.keys() != right.keys():
        return f"other files: {sorted(there.keys() ^ right.keys())[:4]}"
    return next((f"'{name}' differs" for name in there if content(there[name]) != content(right[name])), None)


def content(path: Path) -> Any:
    """Return the content of a file that is the same in every run."""
    if path.name.endswith(".jsonl"):
        return _lines(path)
    if path.suffix == ".json":
        about = json.loads(path.read_text(encoding="utf-8"))
        different = (*UNTOLD, RUN_ID)  # RUN_ID is in the checksums of a model's files
        return {name: about[name] for name in about if name not in different} if isinstance(about, dict) else about
    if path.name == RUN_ID:
        return len(path.read_bytes())
    if path.name == "report.html":
        return path.read_text(encoding="utf-8").endswith(REPORT_END)
    if path.name.endswith(".seg.nrrd"):
        return re.sub(rb"MedCLIPSAM\.Date:[^|]*", b"", path.read_bytes())
    if path.name.endswith(".ckpt"):
        return _tensors(path)
    return path.read_bytes()


def _half(path: Path, right: Path) -> str | None:
    """Say why a file is not whole, allowing for an earlier state of the run; None if it is."""
    try:
        if path.name.endswith(".jsonl"):
            known, lines = _lines(right), _lines(path, cut=True)
            return next((f"another line: {line}" for line in lines if line not in known), None)
        if path.name in MADE_ANEW and path.suffix == ".json":
            return None if json.loads(path.read_text(encoding="utf-8")) else "empty"
        if path.name in MADE_ANEW:
            end = REPORT_END if path.suffix == ".html" else "\n"
            return None if path.read_text(encoding="utf-8").endswith(end) else "cut"
        if path.name.endswith(".ckpt"):
            return None if _tensors(path) else "empty"
        if path.name.endswith(".safetensors"):
            from safetensors.torch import load_file

            return None if load_file(path).keys() == load_file(right).keys() else "other tensors"
        if path.name.endswith(STATES):
            return None if path.suffix != ".json" or json.loads(path.read_text(encoding="utf-8")) else "empty"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None if content(path) == content(right) else "other bytes"


def _lines(path: Path, cut: bool = False) -> list[dict[str, Any]]:
    """Return the sorted lines of a log, without fields that differ between runs; with `cut` the last may be partial."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    found = []
    for number, line in enumerate(lines):
        try:
            record = json.loads(line)
        except ValueError:
            if line and not cut:
                continue  # a partial line of an earlier run, which every reader skips
            if line and number < len(lines) - 1:
                raise
            continue
        found.append({key: value for key, value in record.items() if key not in UNTOLD})
    key = {"manifest.jsonl": "case", SOURCES: "image"}.get(path.name)
    if key is not None:  # only the last line of each counts
        found = list({record[key]: record for record in found}.values())
    return sorted(found, key=lambda record: json.dumps(record, sort_keys=True))


def _tensors(path: Path) -> list[bytes]:
    import torch

    state = torch.load(path, weights_only=True)["model"]
    return [state[name].contiguous().view(torch.uint8).numpy().tobytes() for name in sorted(state)]


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if os.path.isfile(path) else ""
