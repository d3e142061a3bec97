"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

AtOnce = Annotated[int, typer.Option(min=0, help="Slices taken together; 0 is one on a CPU and several on a GPU.")]
Capture = Annotated[
    bool, typer.Option("--capture/--no-capture", help="On an NVIDIA GPU, M2IB recorded as a CUDA graph.")
]
