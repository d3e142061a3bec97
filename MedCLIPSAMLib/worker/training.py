"""Answer the request "finetune": fine-tuning on the worker's machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import InputError
from ..models.trained import check_name, trained_folder
from ..validated import with_changes
from .fields import read_models_folder, read_path_field, read_text_field
from .protocol import Message
from .reply import Answer, Reply, run_context


def fine_tune_model(message: Message, reply: Reply) -> Answer:
    """Answer "finetune"; see `client.WorkerClient.finetune`."""
    from ..finetune.job import run
    from ..finetune.settings import FineTuneSettings
    from ..finetune.sides import CaptionData

    settings = with_changes(FineTuneSettings(), message.fields.get("settings") or {})
    text, path = (lambda name: read_text_field(message, name, "")), (lambda name: read_path_field(message, name))
    name = text("name")
    check_name(name)
    if not path("captions"):
        raise InputError("No table of captions was given.", "Choose a CSV or JSON Lines file.")
    data = CaptionData(
        path("captions"), Path(path("images")) if path("images") else None, validation=path("validation") or None
    )
    models_dir = read_models_folder(message)
    out = Path(path("out")) if path("out") else trained_folder().parent / "runs" / name

    replace = bool(message.fields.get("replace"))
    context, device = run_context(reply, "training"), text("device") or "auto"
    result, folder = run(data, settings, name, out, device, models_dir, context=context, replace=replace)
    answer: dict[str, Any] = {"model": str(folder), "run": str(out), "before": result.before, "after": result.after}
    return answer | {"step": result.step, "steps": result.steps}, {}
