"""Answer the request "export": pseudo-labels written on the worker's machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..choices import DEFAULT_MODEL, DEFAULT_SAM
from ..errors import InputError
from ..run_context import Progress
from ..segmentation.expected_dsc import require_predictor
from ..segmentation.segmenter import load_segmenter
from ..segmentation.settings import default_settings
from ..validated import with_changes
from .fields import read_models_folder, read_path_field, read_text_field, settings_of
from .protocol import Message
from .reply import Answer, Reply, run_context


def export_dataset(message: Message, reply: Reply) -> Answer:
    """Answer "export"; see `client.WorkerClient.export`."""
    from ..export.case_key import CaseKey
    from ..export.cases import find_cases
    from ..export.engines import LocalEngine
    from ..export.export import check_request, export
    from ..export.job import ExportSettings
    from ..export.manifest import read_records
    from ..export.remarks import copies, unlike

    text, path = (lambda name: read_text_field(message, name, "")), (lambda name: read_path_field(message, name))
    if not path("inputs") or not path("out"):
        raise InputError("The inputs or the folder for the dataset are missing.", "Choose both.")
    prompts = message.fields.get("prompts") or {}
    export_settings = with_changes(ExportSettings(), message.fields.get("export") or {})
    context = run_context(reply, "export")
    cases = find_cases(Path(path("inputs")), prompts, negative=text("negative") or None, notify=context.notify)
    wanted = sorted({prompt for case in cases for prompt in case.prompts.values()})
    models_dir = read_models_folder(message)
    clip, sam, device = text("clip") or DEFAULT_MODEL, text("sam") or DEFAULT_SAM, text("device") or "auto"
    settings, out = settings_of(message, default_settings(clip, models_dir)), Path(path("out"))
    key = CaseKey(Path(path("anonymous"))) if path("anonymous") else None
    check_request(cases, out, export_settings, key)
    if export_settings.min_expected_dsc:
        require_predictor(clip, sam, settings, wanted, models_dir)
    context.report(0.0, stage="loading")
    engine = LocalEngine(load_segmenter(clip, sam, device, models_dir, settings))
    for note in engine.notes_on(wanted):
        context.notify(note)

    def report(progress: Progress) -> None:
        about = {"done": progress.done, "total": progress.total, "case": progress.message}
        context.on_progress(replace(progress, details={**about, **progress.details}))

    retry = bool(message.fields.get("retry"))
    counts = export(cases, engine, out, export_settings, replace(context, on_progress=report), retry, key)
    records = list(read_records(out).values())
    for line in (*unlike(records), *copies(records)):
        context.notify(line)
    return {"counts": counts, "cases": len(cases), "report": str(out / "report.html")}, {}
