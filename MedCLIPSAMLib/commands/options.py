"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

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
AtOnce = Annotated[int, typer.Option(min=0, help="Slices taken together; 0 is one on a CPU and several on a GPU.")]
Capture = Annotated[
    bool, typer.Option("--capture/--no-capture", help="On an NVIDIA GPU, M2IB recorded as a CUDA graph.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace output files that are there already.")]
