"""Pseudo-labels written on the worker's machine: the request "export"."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..zeroshot.segmenter import default_settings, load_segmenter
from .protocol import Message
from .settings import with_changes

if TYPE_CHECKING:
    from .engine import Reply


def export_dataset(message: Message, reply: Reply) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Answer "export"; see `client.WorkerClient.export`."""
    from ..weak.cases import find_cases
    from ..weak.dataset import check_folder
    from ..weak.engines import LocalEngine
    from ..weak.export import export
    from ..weak.job import ExportSettings

    text = lambda name: str(message.fields.get(name) or "")
    if not text("inputs") or not text("out"):
        raise InputError("No inputs or no place for the dataset was given.", "Choose both.")
    prompts, given = message.fields.get("prompts") or {}, message.fields.get("export") or {}
    known = {field.name for field in fields(ExportSettings)}
    if not isinstance(given, dict) or not set(given) <= known:
        raise InputError(f"As settings of the export {given!r} came.", f"Use {', '.join(sorted(known))}.")
    if not isinstance(prompts, dict) or not all(isinstance(each, str) for each in prompts.values()):
        raise InputError(f"As prompts {prompts!r} came.", "Give an object of prompts by label.")
    cases = find_cases(Path(text("inputs")), prompts)
    cases = [replace(case, negative=case.negative or text("negative") or None) for case in cases]
    models_dir = Path(text("models_dir")) if text("models_dir") else None
    clip, sam, device = text("clip") or "demo", text("sam") or "demo", text("device") or "auto"
    changes = message.fields.get("settings") or {}
    settings = with_changes(default_settings(clip, models_dir), changes)
    settings = settings.with_saliency(
        **{name: getattr(settings.saliency, name) for name in changes.get("saliency", {})}
    )
    chosen, out = ExportSettings(**given), Path(text("out"))
    check_folder(out, chosen.form)
    reply.send("progress", {"stage": "loading", "fraction": 0.0, "slice": None})
    segmenter = load_segmenter(clip, sam, device, models_dir, settings)
    segmenter.cancelled = reply.cancelled

    def report(progress) -> None:
        about = {"stage": "export", "slice": None, "fraction": progress.done / progress.total}
        about |= {"done": progress.done, "total": progress.total, "case": progress.case, "status": progress.status}
        reply.send("progress", about | {"seconds_left": progress.seconds_left})

    engine, again = LocalEngine(segmenter), bool(message.fields.get("retry"))
    counts = export(cases, engine, out, chosen, report, again)
    return {"counts": counts, "cases": len(cases), "report": str(out / "report.html")}, {}
