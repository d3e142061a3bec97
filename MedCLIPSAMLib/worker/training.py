"""Fine-tuning on the worker's machine: the request "finetune"."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..models.trained import check_name, trained_folder
from .protocol import Message

if TYPE_CHECKING:
    from .engine import Reply


def fine_tune_model(message: Message, reply: Reply) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Answer "finetune"; see `client.WorkerClient.finetune`."""
    from ..finetune.job import Data, run
    from ..finetune.settings import FineTuneSettings

    given = message.fields.get("settings") or {}
    known = {field.name for field in fields(FineTuneSettings)}
    if not isinstance(given, dict) or not set(given) <= known:
        raise InputError(f"As settings of fine-tuning {given!r} came.", f"Use {', '.join(sorted(known))}.")
    text = lambda name: str(message.fields.get(name) or "")
    name = text("name")
    check_name(name)
    if not text("captions"):
        raise InputError("No table of captions was given.", "Choose a CSV or JSON lines file.")
    try:
        settings = FineTuneSettings(**given)
    except TypeError as error:
        raise InputError(f"As settings of fine-tuning {given!r} came: {error}.", "Give numbers and names.") from error
    data = Data(
        text("captions"), Path(text("images")) if text("images") else None, validation=text("validation") or None
    )
    models_dir = Path(text("models_dir")) if text("models_dir") else None
    out = Path(text("out")) if text("out") else trained_folder().parent / "runs" / name

    def report(progress) -> None:
        reply.send(
            "progress",
            {"stage": "training", "slice": None, "fraction": progress.step / progress.steps} | asdict(progress),
        )

    tell = lambda line: reply.send("notice", {"message": line})
    replace = bool(message.fields.get("replace"))
    result, folder = run(
        data,
        settings,
        name,
        out,
        text("device") or "auto",
        models_dir,
        tell=tell,
        report=report,
        cancelled=reply.cancelled,
        replace=replace,
    )
    answer = {"model": str(folder), "run": str(out), "before": result.before, "after": result.after}
    return answer | {"step": result.step, "steps": result.steps}, {}
