"""`medclipsam search`: M2IB settings tuned on a few images, with masks or without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..counted import counted
from .json_output import print_json
from .notes import Notes
from .option_groups import ModelOptions, option_groups
from .options import AsJson, Suffix
from .parsing import parse_numbers
from .progress import progress_bar
from .table import figures_table, print_table

if TYPE_CHECKING:
    from rich.table import Table

    from ..experiments.label_free import LabelFreeTrial
    from ..experiments.search import SearchCase, Trial
    from ..segmentation.segmenter import TextSegmenter


@option_groups
def search(
    images: Annotated[Path, typer.Argument(help="Folder of images.", show_default=False)],
    prompt: Annotated[str, typer.Option("-p", "--prompt", help="What to find.", show_default=False)],
    models: ModelOptions,
    truth: Annotated[
        Path | None,
        typer.Argument(help="Folder of masks with the same names; without it the models judge.", show_default=False),
    ] = None,
    suffix: Suffix = "",
    layers: Annotated[str, typer.Option(help="Blocks to try, such as 7,8,9; by default all of the model.")] = "",
    betas: Annotated[
        str,
        typer.Option(
            help="Weights of compression to try; without masks, the range between the smallest and the largest."
        ),
    ] = "0.1,1,2",
    steps: Annotated[
        str,
        typer.Option(help="Numbers of steps to try, in the same way. [default: 10, or 5 to 20 without masks]"),
    ] = "",
    without_masks: Annotated[
        bool,
        typer.Option("--without-masks", help="Search without the given masks, and score the result by them."),
    ] = False,
    trials: Annotated[int, typer.Option(min=1, help="Number of settings to try without masks.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Try M2IB settings on a few images and print the score of each.

    With masks the settings are a grid, ordered by DSC: tuned on these images, so measure them on others. Without masks
    the models judge their own answers, and a Bayesian search proposes the settings.

    Example: medclipsam search images masks -p "brain tumor" --layers 7,8,9
    """
    from ..errors import InputError, require_extra
    from ..experiments.label_free import Space, search_without_masks, share_of_gap_closed
    from ..experiments.search import search as search_with_masks
    from ..segmentation.vision_tower import VisionTower

    tried_layers = parse_numbers("--layers", layers, int)
    tried_betas = parse_numbers("--betas", betas, float)
    label_free = truth is None or without_masks
    if label_free:
        require_extra("search", "A search without masks")
    tried_steps = parse_numbers("--steps", steps or ("5,20" if label_free else "10"), int)
    if not tried_betas or not tried_steps:
        raise InputError("Expected numbers for --betas and --steps, got none.", "Give some, such as 0.1,1,2 and 10.")
    segmenter = models.load()
    tower = VisionTower(segmenter.clip.model.visual)
    for layer in tried_layers:
        tower.check_layer(layer)
    tried_layers = tried_layers or list(tower.layers)
    cases = _cases(images, truth, prompt, suffix) if truth else _cases_without_masks(images, prompt, segmenter)
    values: dict[str, Any] = {"cases": len(cases), "prompt": prompt}
    told = ""
    on_images = f"'{prompt}' on {counted(len(cases), 'image')}"
    with progress_bar("searching", unit="count", lines=True) as context:
        if label_free:
            space = Space(
                tuple(tried_layers), (min(tried_betas), max(tried_betas)), (min(tried_steps), max(tried_steps))
            )
            found = search_without_masks(segmenter, cases, space, trials, context=context)
            values |= {"gap_closed": share_of_gap_closed(found), "trials": [asdict(trial) for trial in found]}
            told = _by_masks(found) if truth else ""
            table = _label_free_table(f"{on_images}, judged by the models themselves", found)
        else:
            grid = search_with_masks(segmenter, cases, tried_layers, tried_betas, tried_steps, context)
            values["trials"] = [asdict(trial) for trial in grid]
            table = _table(f"{on_images} (tuned on them: not zero-shot)", grid)
    if as_json:
        print_json(values)
        return
    print_table(table)
    if told:
        typer.echo(told)


def _table(title: str, trials: Sequence[Trial]) -> Table:
    rows = [
        (str(trial.layer), f"{trial.beta:g}", str(trial.steps), f"{trial.coarse_dsc:.3f}", f"{trial.dsc:.3f}")
        for trial in trials
    ]
    return figures_table(title, ("layer", "beta", "steps", "coarse DSC", "DSC"), rows, words=0)


def _label_free_table(title: str, trials: Sequence[LabelFreeTrial]) -> Table:
    with_truth = trials[0].dsc is not None
    columns = ("", "layer", "beta", "steps", "score", "agreement", "stability", "quality")
    rows = [_row(trial, with_truth) for trial in trials]
    return figures_table(title, (*columns, "DSC") if with_truth else columns, rows)


def _by_masks(trials: Sequence[LabelFreeTrial]) -> str:
    """Describe how the search's choice, the first trial, scores on the masks, which the search did not use."""
    default = next(trial.dsc or 0.0 for trial in trials if trial.default)
    best = max(trials, key=lambda trial: trial.dsc or 0.0)
    choice = "the default settings" if trials[0].default else f"the settings in the first row (default: {default:.3f})"
    chosen = f"Compared with the masks, {choice} reach a DSC of {trials[0].dsc:.3f}"
    if (best.dsc or 0.0) - default < 0.005:
        return f"{chosen}; none of those tried is better than the default by .005 or more."
    found = f"layer {best.layer}, beta {best.beta:.3g}, steps {best.step}"
    return f"{chosen}; the best of those tried reach {best.dsc:.3f} ({found})."


def _row(trial: LabelFreeTrial, with_truth: bool) -> tuple[str, ...]:
    scores = (trial.score, trial.agreement, trial.stability, trial.quality)
    cells = ["default" if trial.default else "", str(trial.layer), f"{trial.beta:.3g}", trial.step]
    return (*cells, *(f"{score:.3f}" for score in scores), *((f"{trial.dsc:.3f}",) if with_truth else ()))


def _cases(images: Path, truth: Path, prompt: str, suffix: str) -> list[SearchCase]:
    """Take, for each image with a mask of its name, the slice with the largest mask, or the first if all are empty."""
    import numpy as np

    from ..errors import InputError
    from ..evaluation.masks import place_on_image, read_masks
    from ..evaluation.pairs import pairs_of_files, pairs_of_folders
    from ..experiments.search import SearchCase
    from ..volumes import SliceStack, read_volume

    files = images.is_file() and truth.is_file()
    found = pairs_of_files(images, truth) if files else pairs_of_folders(images, truth, suffix)
    pairs = [(case, image, path) for case, (image, path) in found.cases.items() if image]
    if not pairs:
        raise InputError(
            f"No image in '{images}' has a mask of the same name in '{truth}'.",
            "Names are compared without suffixes; --suffix gives the ending of the masks' names.",
        )
    cases = []
    for case, image, path in pairs:
        volume = read_volume(image)
        stack = SliceStack(volume)
        masks = place_on_image(case, read_masks(path, volume.geometry), image, volume)
        mask = np.any([*masks.values(), np.zeros(volume.shape, bool)], axis=0)
        number = max(range(len(stack)), key=lambda number: stack.from_grid(mask, number).sum())
        cases.append(SearchCase(stack.image(number), prompt, stack.from_grid(mask, number)))
    return cases


def _cases_without_masks(images: Path, prompt: str, segmenter: TextSegmenter) -> list[SearchCase]:
    """Choose, for each image of a folder, the slice on which the presence of the prompt is highest."""
    from ..errors import InputError
    from ..experiments.search import SearchCase
    from ..propagation.key_slices import compute_presence_profile
    from ..tasks.inputs import find_inputs
    from ..volumes import SliceStack

    if not images.is_dir():
        raise InputError(f"Expected a folder of images, got '{images}'.")
    cases = []
    for found in find_inputs([images], notify=Notes().say):
        stack = SliceStack(found.read())
        profile = compute_presence_profile(segmenter, stack.image, len(stack), [prompt])
        cases.append(SearchCase(stack.image(int(profile[0].argmax())), prompt, None))
    return cases
