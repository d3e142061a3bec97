"""`medclipsam benchmark expected-dsc`: how well the DSC of masks is predicted without truth masks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .figures import FiguresFile, write_figures
from .option_groups import MeasuredModels, option_groups
from .options import Overwrite
from .progress import progress_bar
from .table import print_table

if TYPE_CHECKING:
    from rich.table import Table

    from ..models.expected_dsc import DscPredictor
    from ..segmentation.segmenter import TextSegmenter


@option_groups
def expected_dsc(
    models: MeasuredModels,
    data: Annotated[
        Path | None,
        typer.Argument(help="Folder of the sets, as for 'benchmark real'; phantoms without it.", show_default=False),
    ] = None,
    split: Annotated[str, typer.Option(help="'validation' to fit; 'test' once, at the end.")] = "test",
    cases: Annotated[int, typer.Option(min=1, help="Max images of a set.")] = 60,
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
    from ..experiments.expected_dsc import fit, judge, leave_one_set_out, measure_masks, predict, predict_out_of_fold
    from ..experiments.options import phantom_sets, real_sets
    from ..files.outputs import check_outputs
    from .benchmark_real import refuse_inside

    if data is not None:
        for path in (out, predictor_file, plot):
            refuse_inside(data.resolve(), path, "the data, which is never written to")
    if split not in ("validation", "test"):
        raise InputError(f"Expected the split 'validation' or 'test', got '{split}'.")
    check_outputs((data,) if data else (), (out, predictor_file, plot), overwrite)
    if predictor_file is not None and split != "validation":
        raise InputError(f"Expected the split 'validation' to fit to, got '{split}'.", "Give --split validation.")
    segmenter = models.load_measured()
    if predictor_file is None:
        require_fitted(segmenter)
    sets = real_sets(data, split, cases, ()) if data else phantom_sets(split, cases)
    with progress_bar("measuring", unit="count") as context:
        masks = measure_masks(segmenter, sets, context)
    if predictor_file is None:
        expected = predict(masks, require_fitted(segmenter))
        figures = judge(masks, expected)
        figures["without_target"] = _without_target(segmenter, data, split, cases)
    else:
        found = list(dict.fromkeys(sets[mask.set].prompt for mask in masks))
        fit(masks, segmenter, found).write(predictor_file)
        expected = predict_out_of_fold(masks, segmenter)
        figures = judge(masks, expected) | {"set_left_out": leave_one_set_out(masks, segmenter)}
    title = f"Masks of the {split} split that were found" + (", each left out of its fit" if predictor_file else "")
    print_table(sets_table(figures, title))
    print_table(coverage_table(figures))
    for line in summary_lines(figures):
        typer.echo(line)
    if plot is not None:
        plot_expected_dsc(plot, expected.tolist(), [mask.dsc for mask in masks], figures)
    write_figures(out, figures)


def require_fitted(segmenter: TextSegmenter) -> DscPredictor:
    """Return the predictor that holds for the models and settings of a segmenter.

    Raises:
        InputError: there is none.
    """
    from ..errors import InputError
    from ..segmentation.expected_dsc import holds_for

    predictor = segmenter.clip.dsc_predictor
    if predictor is None or not holds_for(predictor, segmenter.sam.name, segmenter.settings):
        raise InputError(
            f"Expected models whose DSC is predicted, got '{segmenter.clip.name}' with '{segmenter.sam.name}'.",
            "Fit a predictor first, by --fit.",
        )
    return predictor


def _without_target(segmenter: TextSegmenter, data: Path | None, split: str, cases: int) -> dict[str, Any]:
    """Count false finds in images without the target, and those of which a DSC of .7 or more is expected."""
    from ..experiments.expected_dsc import expected_without_target
    from ..experiments.real import without_target
    from ..experiments.real_sets import REAL_SETS

    counts, found = 0, list[float | None]()
    if data is None:
        return {"images": 0, "found": 0, "expected": [], "above": 0}
    for name, real in REAL_SETS.items():
        for kind, images in without_target(name, data, split, cases).items():
            with progress_bar(kind, unit="count") as context:
                found += expected_without_target(segmenter, real.prompt, images, context)
            counts += len(images)
    return {
        "images": counts,
        "found": len(found),
        "expected": found,
        "above": sum((value or 0) >= 0.7 for value in found),
    }


def sets_table(figures: dict[str, Any], title: str) -> Table:
    """Show expected and true DSC by set."""
    from rich.table import Table

    table = Table(title=title)
    for column in ("set", "masks", "DSC", "expected", "mean absolute error", "Spearman", "ranking"):
        table.add_column(column, justify="left" if column == "set" else "right")
    left_out = {f"{name}, fitted without the set": row for name, row in figures.get("set_left_out", {}).items()}
    for name, row in (figures["sets"] | left_out).items():
        values = (row[key] for key in ("dsc", "expected", "mae", "spearman", "ranking"))
        table.add_row(name, str(row["cases"]), *(f"{value:.3f}" for value in values))
    return table


def coverage_table(figures: dict[str, Any]) -> Table:
    """Show the mean DSC of the masks that are kept, by the order in which they are taken."""
    from rich.table import Table

    table = Table(title="Mean DSC of the share that is kept")
    for column in ("kept", "by expected DSC", "by score", "at random", "by truth"):
        table.add_column(column, justify="right")
    for share, row in figures["coverage"].items():
        table.add_row(share, *(f"{row[key]:.3f}" for key in ("expected_dsc", "score", "random", "truth")))
    return table


def summary_lines(figures: dict[str, Any]) -> list[str]:
    """Say the error, the ranking (0 random, 1 by truth) and what is found without a target."""
    low, high = figures["ranking_gain"]
    lines = [
        f"Mean absolute error {figures['mae']:.3f}; of the mean DSC as the prediction for all "
        f"{figures['mae_of_mean']:.3f}.",
        f"Ranking, 0 at random and 1 by truth: {figures['ranking']:.2f}, by score {figures['ranking_of_score']:.2f} "
        f"(95 % interval of the difference {low:+.2f} to {high:+.2f}).",
    ]
    free = figures.get("without_target")
    if free and free["images"]:
        lines.append(
            f"Of {free['images']} images without the target {free['found']} get a mask; for {free['above']} of these a "
            "DSC of .7 or more is expected."
        )
    return lines
