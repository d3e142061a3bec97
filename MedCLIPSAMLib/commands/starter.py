"""`medclipsam starter`: train the starter models on real public images, and make their captions and statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..counted import counted
from .options import DeviceName, ModelsDir, Overwrite
from .progress import progress_bar

app = typer.Typer(help="Train the starter models on real public images.", no_args_is_help=True)


@app.command()
def pack(
    data: Annotated[Path, typer.Argument(help="Folder of the data sets.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write.", show_default=False)],
    overwrite: Overwrite = False,
) -> None:
    """Write the training part of the data sets into one file of about 40 MB, for a machine without them.

    Example: medclipsam starter pack ~/real -o real.pack
    """
    from ..files.outputs import check_outputs
    from ..starter.pack import write_pack

    check_outputs((data,), (out,), overwrite)
    with progress_bar("packing", unit="count") as context:
        count = write_pack(data, out, context)
    typer.echo(f"Written: {counted(count, 'image')} in {out}, {out.stat().st_size / 2**20:.1f} MiB.")


@app.command()
def captions(
    data: Annotated[Path, typer.Argument(help="Folder of breast_us_busbra or brain_mr_cheng.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the tables.", show_default=False)],
    overwrite: Overwrite = False,
) -> None:
    """Make captions from the table of a data set: train.csv, validation.csv and test.csv, for 'finetune'.

    Example: medclipsam starter captions ~/real/breast_us_busbra -o captions
    """
    from ..files.outputs import check_folders
    from ..starter.captions import write_captions
    from .figures import refuse_inside

    data = data.resolve()
    refuse_inside(data, out, "the data, which is never written to")
    check_folders([out], overwrite)
    with progress_bar("reading", unit="count") as context:
        counts = write_captions(data, out, context)
    files = ", ".join(f"{counted(count, 'caption')} in {split}.csv" for split, count in counts.items())
    typer.echo(f"Written to {out}: {files}.")


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="Folder of the data sets, or a file of 'starter pack'.")],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", help="Folder for starter-clip/, starter-sam/ and checkpoints.", show_default=False),
    ],
    seconds: Annotated[float | None, typer.Option(min=1, help="Train for this time (the default is 500).")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Train this many steps instead.")] = None,
    device: DeviceName = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Resume from the checkpoints in the output folder.")] = False,
    only: Annotated[Literal["clip", "sam"] | None, typer.Option(help="Train one of the models.")] = None,
    trial: Annotated[bool, typer.Option("--trial", help="Use few images and small batches, to try it.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Train the starter models from random weights: minutes on a GPU, days on a CPU.

    Both models learn side by side. Their folders are usable as --models-dir from the first checkpoint on.

    Example: medclipsam starter train ~/real -o runs/starter --seconds 500
    """
    from dataclasses import replace

    from ..files.outputs import check_folders
    from ..starter.clip_training import ClipTraining
    from ..starter.sam_training import SamTraining
    from ..starter.train import MODELS, StarterTraining, train_starter
    from ..starter.training import Budget

    budget = Budget(steps, seconds if steps or seconds else 500)
    models = (only,) if only else MODELS
    if not resume:
        check_folders([out / f"starter-{name}" for name in models], overwrite)
    training = StarterTraining(data, out, budget, device, models=models, resume=resume)
    if trial:
        training = replace(
            training,
            phantoms=16,
            volumes=2,
            limit=40,
            clip=ClipTraining(batch_size=4, texts=8, nowhere=6, warm_up=2),
            sam=SamTraining(batch_size=2, prompts=3, clips=1, warm_up=2),
        )
    train_starter(training)
    typer.echo(f"Written: {', '.join(str(out / f'starter-{name}') for name in models)}.")


@app.command()
def statistics(
    data: Annotated[Path, typer.Argument(help="Folder of the data sets.", show_default=False)],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="File to write, such as starter-clip/statistics.safetensors.")
    ],
    images: Annotated[int, typer.Option(min=40, help="Maximum number of images per set and split.")] = 200,
    models_dir: ModelsDir = None,
    device: DeviceName = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Write statistics of the starter CLIP's training images, which serve to detect images unlike these.

    Example: medclipsam starter statistics ~/real -o runs/starter/starter-clip/statistics.safetensors
    """
    from ..files.outputs import check_outputs
    from ..models.clip import load_clip
    from ..models.device import resolve_device
    from ..starter.statistics import make_statistics

    check_outputs((data,), (out,), overwrite)
    clip = load_clip("starter", resolve_device(device), models_dir=models_dir)
    with progress_bar("looking", unit="count") as context:
        found = make_statistics(clip, data, images, context)
    found.write(out)
    typer.echo(f"Written: {out}, {out.stat().st_size / 2**10:.0f} KiB.")
