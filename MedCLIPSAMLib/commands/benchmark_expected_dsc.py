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

    Example: medclipsam benchmark expected-dsc ~/real --split test --plot expected.png
    """
    from ..errors import InputError
    from ..evaluation.plots import plot_expected_dsc
    from ..experiments.expected_dsc import fit, judge, leave_one_set_out, map_count, measure_masks
    from ..experiments.options import phantom_sets, real_sets
    from ..files.outputs import check_outputs
    from .benchmark_real import refuse_inside

    if data is not None:
        for path in (out, predictor_file, plot):
            refuse_inside(data.resolve(), path, "the data, which is never written to")
    check_outputs((data,) if data else (), (out, predictor_file, plot), overwrite)
    if predictor_file is not None and split == "test":
        raise InputError("Expected another split than 'test' to fit to.", "Give --split validation.")
    segmenter = models.load_measured()
    predictor = segmenter.clip.dsc_predictor
    if predictor is None and predictor_file is None:
        raise InputError(f"'{models.model}' predicts no DSC.", "Fit a predictor first, by --fit.")
    sets = real_sets(data, split, cases, ()) if data else phantom_sets(split, cases)
    with progress_bar("measuring", unit="count") as context:
        masks = measure_masks(segmenter, sets, context)
    figures: dict[str, Any] = {}
    if predictor_file is not None:
        count = map_count(segmenter, [one.prompt for one in sets.values()])
        predictor = fit(masks, segmenter.sam.name, count)
        figures["left_out"] = leave_one_set_out(masks, segmenter.sam.name, count)
        predictor.write(predictor_file)
    assert predictor is not None
    figures = judge(masks, predictor) | figures
    print_table(sets_table(figures, split))
    print_table(kept_table(figures))
    typer.echo(
        f"Expected and true DSC are {figures['error']:.3f} apart on average, the mean of all as the prediction "
        f"{figures['error_of_mean']:.3f}."
    )
    if plot is not None:
        expected = [predictor.predict(mask.signs) for mask in masks]
        plot_expected_dsc(plot, expected, [mask.dsc for mask in masks], figures)
    write_figures(out, figures)


def sets_table(figures: dict[str, Any], split: str) -> Table:
    """Show expected and true DSC by set."""
    from rich.table import Table

    table = Table(title=f"Masks of the {split} split that were found")
    columns = ("set", "cases", "DSC", "expected", "apart", "rank correlation", "order (0 random, 1 by truth)")
    for column in columns:
        table.add_column(column, justify="left" if column == "set" else "right")
    left_out = {f"{name}, fitted without it": row for name, row in figures.get("left_out", {}).items()}
    for name, row in (figures["sets"] | left_out).items():
        values = (row[key] for key in ("dsc", "expected", "error", "correlation", "order"))
        table.add_row(name, str(row["cases"]), *(f"{value:.3f}" for value in values))
    return table


def kept_table(figures: dict[str, Any]) -> Table:
    """Show the mean DSC of the masks that are kept, by the order in which they are taken."""
    from rich.table import Table

    table = Table(title="Mean DSC of the share that is kept")
    for column in ("kept", "by expected DSC", "by score", "at random", "by truth"):
        table.add_column(column, justify="right")
    for share, row in figures["kept"].items():
        table.add_row(share, *(f"{row[key]:.3f}" for key in ("expected_dsc", "score", "random", "truth")))
    return table
