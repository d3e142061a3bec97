"""Record which run a trained model belongs to, by an ID in both, so that no run replaces the model of another."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..files.atomic import atomic_path
from ..files.outputs import MARKER, claim_outputs

RUN_ID = "run-id.txt"
WAIT = 120.0
"""Maximum number of seconds that other processes wait until the first one has claimed the folder."""


def is_first_process() -> bool:
    """Tell whether this process writes the results.

    It does if it is the first process that torchrun started, or if torchrun did not start it. RANK alone does not tell,
    since clusters set it for their own purposes.
    """
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK", "0") == "0"


@contextmanager
def claim_run(out: Path) -> Iterator[None]:
    """Lock the folder of a run while the block runs; with several processes, only the first one locks it.

    The folder must be new, empty, or the folder of an earlier run.

    Raises:
        OutputError: another run uses the folder, it contains something else, or it cannot be written.
    """
    if not is_first_process():
        until = time.monotonic() + WAIT
        while not (out / MARKER).is_file() and time.monotonic() < until:
            time.sleep(0.05)
        yield
        return
    with claim_outputs(out, "finetune"):
        if not _read(out):
            with atomic_path(out / RUN_ID) as temporary:
                temporary.write_text(secrets.token_hex(16) + "\n", encoding="utf-8")
        yield


def owns(out: Path, model: Path) -> bool:
    """Tell whether a model was made by the run in `out`."""
    return _read(out) is not None and _read(out) == _read(model)


def sign(out: Path, model: Path) -> None:
    """Write the ID of the run, if it has one, into a model's folder."""
    if number := _read(out):
        (model / RUN_ID).write_text(number + "\n", encoding="utf-8")


def _read(folder: Path) -> str | None:
    try:
        text = (folder / RUN_ID).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return text if re.fullmatch(r"[0-9a-f]{32}", text) else None
