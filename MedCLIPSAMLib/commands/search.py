"""`medclipsam search`: M2IB settings tuned on a few images with masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..choices import DEFAULT_MODEL, DEFAULT_SAM
from .options import AsJson, DeviceName, ModelName, ModelsDir, SamName, Suffix
from .parsing import parse_numbers
from .progress import progress_bar
from .table import print_table


def search(
    images: Annotated[Path, typer.Argument(help="Folder of images.", show_default=False)],
    truth: Annotated[Path, typer.Argument(help="Folder of masks with the same names.", show_default=False)],
    prompt: Annotated[str, typer.Option("-p", "--prompt", help="What the masks show.", show_default=False)],
    suffix: Suffix = "",
    model: ModelName = DEFAULT_MODEL,
    sam: SamName = DEFAULT_SAM,
    models_dir: ModelsDir = None,
    layers: Annotated[str, typer.Option(help="Blocks to try, such as 7,8,9; all of the model by default.")] = "",
    betas: Annotated[str, typer.Option(help="Weights of compression to try.")] = "0.1,1,2",
    steps: Annotated[str, typer.Option(help="Numbers of steps to try.")] = "10",
    device: DeviceName = "auto",
    as_json: AsJson = False,
) -> None:
    """Try M2IB settings on a few images with masks and print what each gave.

    The result is tuned on them: measure it on others.

    Example: medclipsam search images masks -p "brain tumor" --layers 7,8,9
    """
    from dataclasses import asdict

    from rich.table import Table

    from ..experiments.search import search as run
    from ..segmentation.segmenter import load_segmenter

    tried_layers = parse_numbers("--layers", layers, int)
    tried_betas, tried_steps = parse_numbers("--betas", betas, float), parse_numbers("--steps", steps, int)
    segmenter = load_segmenter(model, sam, device, models_dir)
    cases = _cases(images, truth, prompt, suffix)
    tried_layers = tried_layers or list(range(len(segmenter.clip.model.visual.trunk.blocks)))
    with progress_bar("searching", unit="count") as context:
        trials = run(segmenter, cases, tried_layers, tried_betas, tried_steps, context)
    if as_json:
        print(
            json.dumps({"cases": len(cases), "prompt": prompt, "trials": [asdict(trial) for trial in trials]}, indent=1)
        )
        return
    table = Table(title=f"'{prompt}' on {len(cases)} images (tuned on them: not zero-shot)")
    for column in ("layer", "beta", "steps", "coarse DSC", "DSC"):
        table.add_column(column, justify="right")
    for trial in trials:
        table.add_row(
            str(trial.layer), f"{trial.beta:g}", str(trial.steps), f"{trial.coarse_dsc:.3f}", f"{trial.dsc:.3f}"
        )
    print_table(table)


def _cases(images: Path, truth: Path, prompt: str, suffix: str) -> list:
    """Take the slice with the largest mask of each image that has a mask of the same name."""
    import numpy as np

    from ..errors import InputError
    from ..experiments.search import SearchCase
    from ..volumes import SliceStack, read_segmentation, read_volume
    from ..volumes.volume import stem

    files = [path for path in sorted(truth.iterdir()) if path.is_file()] if truth.is_dir() else []
    masks = {stem(path).removesuffix(suffix): path for path in files if stem(path).endswith(suffix)}
    pairs = (
        [(path, masks[stem(path)]) for path in sorted(images.iterdir()) if stem(path) in masks]
        if images.is_dir()
        else []
    )
    if not pairs:
        raise InputError(
            f"No image in '{images}' has a mask of the same name in '{truth}'.",
            "Names are compared without their endings; --suffix names what those of masks end with.",
        )
    cases = []
    for image, path in pairs:
        volume = read_volume(image)
        stack = SliceStack(volume)
        mask = np.any([segment.mask for segment in read_segmentation(path, volume)], axis=0)
        number = max(range(len(stack)), key=lambda number: stack.from_grid(mask, number).sum())
        cases.append(SearchCase(stack.image(number), prompt, stack.from_grid(mask, number)))
    return cases
