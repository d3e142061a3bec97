"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..choices import Plane, Precision, VoteMethod

SeriesName = Annotated[
    str | None,
    typer.Option(
        "--series",
        help="Of a DICOM folder with several: the UID, number or part of the description (medclipsam series FOLDER).",
        show_default=False,
    ),
]
Phase = Annotated[
    str | None,
    typer.Option(
        "--phase",
        help="Of a DICOM series with several images at one position: the number in the list that is shown without it, "
        "or part of what is said there, such as 'echo time 4.9'.",
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
Negative = Annotated[str | None, typer.Option("--negative", help="What not to take.", show_default=False)]
ModelName = Annotated[str, typer.Option("--model", help="Text-image model (medclipsam models list).")]
SamName = Annotated[str, typer.Option("--sam", help="SAM 2 model.")]
ModelsDir = Annotated[
    Path | None,
    typer.Option("--models-dir", help="Folder with the models, for work without a network.", show_default=False),
]
DeviceName = Annotated[str, typer.Option("--device", help="Where to compute: auto, cpu, cuda, cuda:N or mps.")]
PrecisionName = Annotated[
    Precision, typer.Option("--precision", help="Of matrix products; 'auto' is bf16 for large models where it is fast.")
]
SlicePlane = Annotated[Plane, typer.Option("--plane", help="Direction of the slices.")]
WindowRange = Annotated[
    str | None,
    typer.Option("--window", help="Display window: a preset such as 'lung', or LOW:HIGH.", show_default=False),
]
Presence = Annotated[
    float | None,
    typer.Option(
        "--presence",
        help="Min presence for a find; 0 outlines something always. 0.5 unless the model has its own.",
        show_default=False,
    ),
]
Vote = Annotated[
    VoteMethod,
    typer.Option("--vote", help="Masks of SAM 2 for several prompts vote: mean, staple, or map (by the saliency)."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result, or the error, as JSON.")]
AtOnce = Annotated[int, typer.Option(min=0, help="Batch size of slices; 0 is one on a CPU and several on a GPU.")]
Capture = Annotated[
    bool, typer.Option("--capture/--no-capture", help="On an NVIDIA GPU, M2IB recorded as a CUDA graph.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace output files that are there already.")]
Anonymous = Annotated[
    Path | None,
    typer.Option(
        "--anonymous",
        metavar="KEY.csv",
        help="Name the cases by numbers; which image is which is written to this file, to be kept apart.",
        show_default=False,
    ),
]
UseWorker = Annotated[
    bool, typer.Option("--worker/--no-worker", help="Run in the worker, where one runs (medclipsam worker start).")
]
Suffix = Annotated[
    str,
    typer.Option(
        "--suffix", help="What the names of true masks end with, such as '_lesion', where there are several an image."
    ),
]
