"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..choices import Plane, Precision

SeriesName = Annotated[
    str | None,
    typer.Option(
        "--series",
        help="Which of several DICOM series: UID, number or words of its description (see medclipsam series DIR).",
        show_default=False,
    ),
]
Phase = Annotated[
    str | None,
    typer.Option(
        "--phase",
        help="Which phase of a DICOM series with several images at one position: its number in the list shown without "
        "it, or words of its label there, such as 'echo time 4.9'.",
        show_default=False,
    ),
]
Prompts = Annotated[
    list[str],
    typer.Option(
        "-p",
        "--prompt",
        help='What to segment, or "label: prompt" to name its segment too; repeat it for several structures.',
        show_default=False,
    ),
]
Negative = Annotated[
    str | None, typer.Option("--negative", help="What must not be taken for it, such as 'vessel'.", show_default=False)
]


def complete_model(kind: Literal["clip", "sam"] | None = None) -> Callable[[typer.Context, str], list[str]]:
    """Return a function that completes model names in the shell, from the catalogue and the user's own models."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        from ..errors import ModelError
        from ..models.store import models

        try:
            known = models(ctx.params.get("models_dir"))
        except ModelError:  # the command itself will report it
            return []
        names = dict.fromkeys(model.name for model in known if kind in (None, model.kind))
        return [name for name in names if name.startswith(incomplete)]

    return complete


ModelName = Annotated[
    str,
    typer.Option("--model", help="Text-image model (medclipsam models list).", autocompletion=complete_model("clip")),
]
SamName = Annotated[str, typer.Option("--sam", help="SAM 2 model.", autocompletion=complete_model("sam"))]
ModelsDir = Annotated[
    Path | None,
    typer.Option("--models-dir", help="Folder with the models, for offline use.", show_default=False),
]
DeviceName = Annotated[str, typer.Option("--device", help="Device: auto, cpu, cuda, cuda:N or mps.")]
PrecisionName = Annotated[
    Precision,
    typer.Option(
        "--precision", help="Precision of matrix products; 'auto' is the model's own, or else bf16 where it is fast."
    ),
]
SlicePlane = Annotated[Plane, typer.Option("--plane", help="Plane of the slices.")]
WindowRange = Annotated[
    str | None,
    typer.Option("--window", help="Display window: a preset such as 'lung', or LOW:HIGH.", show_default=False),
]
Presence = Annotated[
    float | None,
    typer.Option(
        "--presence",
        min=0,
        max=1,
        help="Minimum presence for a find; 0 always outlines something. 0.5 unless the model has its own.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result, or the error, as JSON.")]
AtOnce = Annotated[int, typer.Option(min=0, help="Batch size of slices; 0 is one on a CPU and several on a GPU.")]
Capture = Annotated[
    bool, typer.Option("--capture/--no-capture", help="On an NVIDIA GPU, run networks as recorded CUDA graphs.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing output files.")]
Anonymous = Annotated[
    Path | None,
    typer.Option(
        "--anonymous",
        metavar="KEY.csv",
        help="Name cases by numbers; this file, to be kept elsewhere, says which image is which.",
        show_default=False,
    ),
]
UseWorker = Annotated[
    bool, typer.Option("--worker/--no-worker", help="Use the worker, if one runs (medclipsam worker start).")
]
Suffix = Annotated[
    str,
    typer.Option("--suffix", help="Ending of the names of true masks, such as '_lesion', if an image has several."),
]
