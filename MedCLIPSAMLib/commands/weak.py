"""`medclipsam weak`: train an nnU-Net on pseudo-labels, predict masks with their uncertainty, and review them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..choices import Configuration, RateDecay
from ..counted import counted
from .figures import refuse_inside
from .json_output import print_json
from .notes import Notes
from .option_groups import option_groups
from .options import Anonymous, AsJson, DeviceName, Overwrite
from .parsing import quoted
from .progress import duration, progress_bar, telling

if TYPE_CHECKING:
    from ..nnunet.train import TrainSettings
    from ..run_context import Progress

app = typer.Typer(help="Train nnU-Net on pseudo-labels, and review what it is unsure of.")


@dataclass(frozen=True)
class TrainOptions:
    """Length and size of nnU-Net's training."""

    configuration: Annotated[Configuration, typer.Option(help="Configuration of nnU-Net.")] = Configuration.FLAT
    short: Annotated[
        bool, typer.Option("--short", help="A small network that trains in minutes on two cores, to try things.")
    ] = False
    cycles: Annotated[int | None, typer.Option(min=1, help="Cycles of the learning rate; 3 by default.")] = None
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs per cycle; 200 by default.")] = None
    keep: Annotated[int | None, typer.Option(min=1, help="Checkpoints kept per cycle; 10 by default.")] = None
    iterations: Annotated[int | None, typer.Option(min=1, help="Batches per epoch; 250 by default.")] = None
    lr: Annotated[float | None, typer.Option(help="Learning rate at the start of a cycle; 0.01 by default.")] = None
    decay: Annotated[
        RateDecay,
        typer.Option(
            help="The rate falls over each 'cycle', to .0024, or over the 'training', to .0085, as in the paper's code."
        ),
    ] = RateDecay.CYCLE
    batch: Annotated[int | None, typer.Option(help="Images per step; by default as nnU-Net plans.")] = None
    width: Annotated[int | None, typer.Option(help="Channels of the first stage; by default nnU-Net's.")] = None

    def settings(self) -> TrainSettings:
        """Return the settings of the training."""
        from ..nnunet.schedule import RELEASED
        from ..nnunet.train import SHORT, TrainSettings
        from ..validated import with_changes

        defaults = SHORT if self.short else TrainSettings()
        options = {name: getattr(self, name) for name in ("cycles", "epochs", "keep", "iterations")}
        options |= {"learning_rate": self.lr, "decay": self.decay}
        if self.keep is None and self.epochs is not None:
            options["keep"] = min(defaults.schedule.keep, self.epochs)
        options["falling"] = RELEASED.falling if self.decay == RateDecay.TRAINING else None
        return replace(
            defaults,
            schedule=with_changes(defaults.schedule, options),
            configuration=self.configuration,
            batch=self.batch or defaults.batch,
            width=self.width or defaults.width,
        )


@app.command()
@option_groups
def train(
    dataset: Annotated[
        Path, typer.Argument(help="DatasetNNN_Name, as written by medclipsam export.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder of the run, new or to be resumed.", show_default=False)
    ],
    options: TrainOptions,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs of this machine.")] = 1,
    device: DeviceName = "auto",
    as_json: AsJson = False,
) -> None:
    """Train nnU-Net v2 on a dataset with the paper's cyclic rate; the same command resumes a stopped run.

    Example: medclipsam weak train Dataset101_BrainTumor -o run
    """
    from ..nnunet.train import has_checkpoint
    from ..nnunet.train import train as run

    settings = options.settings()
    try:
        with progress_bar("training", quiet=as_json, unit="count") as context:
            epoch_context = telling(context, _epoch)
            model = run(dataset, out, settings, device, gpus, epoch_context)
    except KeyboardInterrupt:
        where = f"resumes from nnU-Net's last checkpoint in '{out}'" if has_checkpoint(out) else "starts again"
        typer.echo(f"Stopped; the same command {where}.", err=True)
        raise
    if as_json:
        print_json({"model": str(model), "checkpoints": settings.schedule.files()})
        return
    count, following = len(settings.schedule.files()), f"medclipsam weak predict {quoted(out)} IMAGES -o OUT"
    typer.echo(f"{counted(count, 'checkpoint')} in {model}. Predict with: {following}")


def _epoch(progress: Progress) -> str | None:
    """Describe how an epoch ended and how long the rest will take; None for all but about thirty epochs."""
    done, total = round(progress.done), round(progress.total or 0)
    if done < total and done % max(1, total // 30):
        return None
    left = f", {duration(progress.seconds_left)} left" if progress.seconds_left else ""
    return f"epoch {done} of {total}: {progress.message}{left}"


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="Folder of the run that trained the network.", show_default=False)],
    images: Annotated[
        Path, typer.Argument(help="Folder tree of images, an image, or a dataset of nnU-Net.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder of the results, new or to be resumed.", show_default=False)
    ],
    dataset: Annotated[
        Path | None, typer.Option(help="Dataset that corrections go into; by default IMAGES, if that is one.")
    ] = None,
    mirroring: Annotated[bool, typer.Option(help="Predict mirrored images too, as nnU-Net does.")] = True,
    anonymous: Anonymous = None,
    best: Annotated[
        bool, typer.Option("--best", help="Also use the checkpoint that is best by nnU-Net's progress curve.")
    ] = False,
    foreground: Annotated[
        float | None, typer.Option(min=0, max=1, help="Minimum foreground probability, such as the authors' 0.2.")
    ] = None,
    device: DeviceName = "auto",
    as_json: AsJson = False,
) -> None:
    """Predict masks by the mean of all checkpoints, with a map of the uncertainty, ranked for review.

    An image that cannot be predicted is reported (exit code 1).

    Example: medclipsam weak predict run scans -o predictions
    """
    from ..export.case_key import CaseKey
    from ..export.remarks import failures
    from ..nnunet.ensemble import Ensemble
    from ..nnunet.predict import find_images
    from ..nnunet.predict import predict as run

    found, own = find_images(images, Notes().say)
    key = None if anonymous is None else CaseKey(anonymous)
    if key is not None:
        key.check_outside(out)
    ensemble = Ensemble(model, device, mirroring, best=best, foreground=foreground)
    try:
        with progress_bar("predicting", quiet=as_json, unit="count") as context:
            records = run(found, ensemble, out, dataset or own, context, key)
    except KeyboardInterrupt:
        typer.echo("Stopped; the same command continues with the next image.", err=True)
        raise
    failed = failures(records)
    for line in failed:
        typer.echo(f"failed: {line}", err=True)
    if as_json:
        print_json(records)
    else:
        made = records[: len(records) - len(failed)]
        typer.echo(f"{counted(len(made), 'image')} predicted, {len(failed)} failed.{' Least certain:' * bool(made)}")
        for record in made[:5]:
            typer.echo(f"  {record['case']}: {record['uncertainty']:.3f}")
        typer.echo(f"All are listed in {out / 'review.csv'}. For research, not for diagnosis.")
    raise typer.Exit(int(bool(failed)))


@app.command()
def disagree(
    predictions: Annotated[
        Path, typer.Argument(help="Folder that weak predict wrote for the dataset.", show_default=False)
    ],
    dataset: Annotated[Path, typer.Argument(help="The dataset that is trained on.", show_default=False)],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="List for medclipsam strike, one case per line.", show_default=False)
    ],
    share: Annotated[
        float | None,
        typer.Option(
            help="List this share of the cases, those with the lowest DSC; 0.2 by default.", show_default=False
        ),
    ] = None,
    below: Annotated[
        float | None, typer.Option(help="List the cases with a DSC below this instead.", show_default=False)
    ] = None,
    table: Annotated[
        Path | None, typer.Option("--csv", help="Write the DSC of each case to this file.", show_default=False)
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """List the pseudo-labels that the trained network disagrees with most, to train again without them.

    Compared are the masks of weak predict with the labels of the dataset. Labels that a person set are never listed.

    Example: medclipsam weak disagree predictions Dataset101_BrainTumor -o struck.txt --csv agreement.csv
    """
    from ..files.outputs import check_outputs
    from ..nnunet.disagreement import choose_struck, measure_agreement, write_struck_list, write_table
    from ..nnunet.raw_dataset import read_dataset

    choose_struck([], below, share)  # refuses numbers out of range before the masks are read
    check_outputs((predictions, dataset), (out, table), overwrite)
    for path, (folder, what) in product((out, table), ((dataset, "the dataset"), (predictions, "the predictions"))):
        refuse_inside(folder.resolve(), path, what)
    with progress_bar("comparing", quiet=as_json, unit="count") as context:
        agreements = measure_agreement(predictions, dataset, context)
    chosen = choose_struck(agreements, below, share)
    before = write_struck_list(out, chosen, dataset)
    if table is not None:
        write_table(table, agreements, chosen, list(read_dataset(dataset).labels.values()))
    if as_json:
        cases = [asdict(about) | {"struck": about.case in chosen} for about in agreements]
        print_json({"cases": cases, "struck": chosen, "struck_before": sorted(before)})
        return
    mean = sum(about.dsc for about in agreements) / len(agreements)
    typer.echo(
        f"{counted(len(agreements), 'case')}, mean DSC {mean:.3f}; listed: {len(chosen)}, before: {len(before)}."
    )
    by_case = {about.case: about.dsc for about in agreements}
    for case in chosen[:5]:
        typer.echo(f"  {case}: {by_case[case]:.3f}")
    if chosen or before:
        typer.echo(
            f"Take them out with: medclipsam strike {quoted(dataset)} {quoted(out)}. Then train in a new folder."
        )


@app.command()
def trust(
    dataset: Annotated[Path, typer.Argument(help="The dataset that is trained on.", show_default=False)],
    case: Annotated[str, typer.Argument(help="Name of the case.", show_default=False)],
    mask: Annotated[
        Path, typer.Argument(help="The corrected mask (.seg.nrrd, .nii.gz, DICOM SEG).", show_default=False)
    ],
    image: Annotated[Path | None, typer.Option(help="Its image, if the dataset lacks the case.")] = None,
) -> None:
    """Put a corrected mask into a dataset as a trusted label; the previous one is kept in replaced/.

    Example: medclipsam weak trust Dataset101_BrainTumor case_7 corrected.seg.nrrd
    """
    from ..nnunet.trust import trust_file

    notes: list[str] = []
    count = trust_file(dataset, case, mask, image, notes)
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"'{case}' is now trusted: {count} of the dataset's cases {'is' if count == 1 else 'are'}.")
