"""`medclipsam benchmark expected-dsc`: how well the DSC of masks is predicted without truth masks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .figures import FiguresFile, MaxCases, SetsOrPhantoms, SplitName, check_figures, write_figures
from .option_groups import MeasuredModels, option_groups
from .options import Overwrite
from .progress import progress_bar
from .table import figures_table, print_table

if TYPE_CHECKING:
    from rich.table import Table

    from ..models.expected_dsc import DscPredictor
    from ..segmentation.segmenter import TextSegmenter


@option_groups
def expected_dsc(
    models: MeasuredModels,
    data: SetsOrPhantoms = None,
    split: SplitName = "test",
    cases: MaxCases = 60,
    predictor_file: Annotated[
        Path | None,
        typer.Option(
            "--fit", help="Fit a predictor to these masks and write it, such as starter-clip/expected_dsc.json."
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw the figures (PNG).")] = None,
    out: FiguresFile = None,
    overwrite: Overwrite = False,
) -> None:
    """Compare the DSC that a model expects of its masks with the true one; or fit what predicts it.

    With --fit the figures are of folds and sets that were left out of the fit.

    Example: medclipsam benchmark expected-dsc ~/real --split test --plot expected.png
    """
    from ..errors import InputError
    from ..evaluation.plots import plot_expected_dsc
    from ..experiments import expected_dsc as trial
    from ..experiments.options import image_sets

    check_figures(data, (out, predictor_file, plot), overwrite)
    if predictor_file is not None and split != "validation":
        raise InputError(f"Expected the split 'validation' for --fit, got '{split}'.", "Give --split validation.")
    segmenter = models.load_measured()
    if predictor_file is None:
        require_fitted(segmenter)
    with progress_bar("measuring", unit="count") as context:
        sets = image_sets(data, split, cases, context=context)
        masks = trial.measure_masks(segmenter, sets, context)
        if predictor_file is None:
            expected = trial.predict(masks, require_fitted(segmenter))
            figures = trial.judge(masks, expected)
            if data is not None:
                figures["without_target"] = trial.measure_without_target(segmenter, sets, context)
        else:
            found = list(dict.fromkeys(sets[mask.set].prompt for mask in masks))
            predictor, expected = trial.fit(masks, segmenter, found), trial.predict_out_of_fold(masks, segmenter)
            figures = trial.judge(masks, expected) | {"set_left_out": trial.leave_one_set_out(masks, segmenter)}
            predictor.write(predictor_file)
    title = f"Masks of the {split} split that were found" + (", each left out of its fit" if predictor_file else "")
    print_table(sets_table(figures, title))
    print_table(coverage_table(figures))
    for line in summary_lines(figures):
        typer.echo(line)
    if plot is not None:
        plot_expected_dsc(plot, expected.tolist(), [mask.dsc for mask in masks], figures)
    write_figures(out, figures)


def require_fitted(segmenter: TextSegmenter) -> DscPredictor:
    """Return the predictor that is valid for the models and settings of a segmenter.

    Raises:
        InputError: there is none.
    """
    from ..errors import InputError
    from ..segmentation.expected_dsc import holds_for

    predictor = segmenter.clip.dsc_predictor
    if predictor is None or not holds_for(predictor, segmenter.sam.name, segmenter.settings):
        raise InputError(
            f"Expected models with a predictor of their DSC, got '{segmenter.clip.name}' with '{segmenter.sam.name}'.",
            "Fit a predictor first with --fit.",
        )
    return predictor


def sets_table(figures: dict[str, Any], title: str) -> Table:
    """Show expected and true DSC by set."""
    left_out = {f"{name}, fitted without the set": row for name, row in figures.get("set_left_out", {}).items()}
    keys = "dsc", "expected", "mae", "spearman", "ranking"
    rows = [
        (name, str(row["cases"]), *(f"{row[key]:.3f}" for key in keys))
        for name, row in (figures["sets"] | left_out).items()
    ]
    columns = "set", "masks", "DSC", "expected", "mean absolute error", "Spearman", "ranking"
    return figures_table(title, columns, rows)


def coverage_table(figures: dict[str, Any]) -> Table:
    """Show the mean DSC of the masks that are kept, by the criterion that orders them."""
    columns = {"expected_dsc": "by expected DSC", "score": "by score", "random": "at random", "truth": "by truth"}
    rows = [(share, *(f"{row[key]:.3f}" for key in columns)) for share, row in figures["coverage"].items()]
    return figures_table("Mean DSC of the share that is kept", ("kept", *columns.values()), rows)


def summary_lines(figures: dict[str, Any]) -> list[str]:
    """Describe the error, the ranking (0 random, 1 by truth) and what is found without a target."""
    low, high = figures["ranking_gain"]
    lines = [
        f"Mean absolute error {figures['mae']:.3f}; with the mean DSC as the prediction for all masks "
        f"{figures['mae_of_mean']:.3f}.",
        f"Ranking, 0 at random and 1 by truth: {figures['ranking']:.2f}, by score {figures['ranking_of_score']:.2f} "
        f"(95 % interval of the difference {low:+.2f} to {high:+.2f}).",
    ]
    free = figures.get("without_target")
    if free and free["images"]:
        lines.append(
            f"Of {free['images']} images without the target, {free['found']} get a mask; for {free['above']} of these "
            "the expected DSC is .7 or more."
        )
    return lines
