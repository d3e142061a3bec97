"""`medclipsam benchmark speed`: times compared with the authors' mathematics, and the machine's limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import speed_tables as tables
from .figures import FiguresFile, check_figures, write_figures
from .options import DeviceName, Overwrite
from .parsing import parse_names, parse_numbers
from .table import print_table

if TYPE_CHECKING:
    import torch

    from ..run_context import RunContext


@dataclass(frozen=True)
class Plan:
    """Settings of the timing.

    Args:
        rounds: number of times that each variant is timed.
        layers: transformer blocks for the saliency.
    """

    rounds: int
    layers: tuple[int, ...]
    device: torch.device
    context: RunContext


Figures = dict[str, Any]


def _time_saliency(plan: Plan) -> Figures:
    from ..experiments.speed.saliency import measure_matmul_peak, measure_saliency

    peak = measure_matmul_peak(plan.device)
    costs = [measure_saliency(layer, plan.rounds, plan.device, plan.context) for layer in plan.layers]
    print_table(tables.saliency_table(costs, peak))
    return {"peak": asdict(peak), "saliency": [asdict(cost) for cost in costs]}


def _time_outlines(plan: Plan) -> Figures:
    from ..experiments.speed.outlines import measure_outlines

    costs = measure_outlines(plan.rounds, plan.device, plan.context)
    print_table(tables.outline_table(costs))
    return {"outlines": [asdict(cost) for cost in costs]}


def _time_whole(plan: Plan) -> Figures:
    from ..experiments.speed.whole import measure_whole

    cost = measure_whole(plan.rounds, plan.device, plan.context)
    print_table(tables.whole_table(cost))
    return {"whole": asdict(cost)}


def _time_waiting(plan: Plan) -> Figures:
    from ..experiments.speed.waiting import waiting

    times = waiting(plan.rounds, plan.device, plan.context)
    print_table(tables.waiting_table(times))
    return {"waiting": asdict(times)}


def _time_between(plan: Plan) -> Figures:
    from ..experiments.speed.between import measure_between

    costs = [measure_between(pixels) for pixels in (512, 1024)]
    print_table(tables.between_table(costs))
    return {"between": [asdict(cost) for cost in costs]}


def _time_start(plan: Plan) -> Figures:
    from ..experiments.speed.start import start_costs

    costs = start_costs(plan.rounds, plan.context)
    print_table(tables.start_table(costs))
    return {"start": [asdict(cost) for cost in costs]}


def _time_gpu(plan: Plan) -> Figures:
    from ..experiments.speed.gpu import measure_gpu

    cost = measure_gpu(plan.rounds, plan.device, plan.context)
    print_table(tables.gpu_table(cost))
    for profile in cost.profiles:
        print_table(tables.profile_table(profile))
    return {"gpu": asdict(cost)}


PARTS: dict[str, Callable[[Plan], Figures]] = {
    "saliency": _time_saliency,
    "outlines": _time_outlines,
    "whole": _time_whole,
    "waiting": _time_waiting,
    "between": _time_between,
    "start": _time_start,
    "gpu": _time_gpu,
}


def speed(
    parts: Annotated[
        str | None,
        typer.Option(
            help=f"Some of {', '.join(PARTS)}. By default all; gpu where the device is one.", show_default=False
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each variant; the authors' take a minute each.")] = 3,
    layers: Annotated[str, typer.Option(help="Blocks of the saliency.")] = "9,7",
    device: DeviceName = "auto",
    out: FiguresFile = None,
    overwrite: Overwrite = False,
) -> None:
    """Time the pipeline at full size, with random weights, and the authors' mathematics, taking turns in one run.

    Example: medclipsam benchmark speed --parts saliency,whole --rounds 3
    """
    from ..errors import DeviceError, InputError

    names = list(PARTS) if parts is None else parse_names(parts)
    if not names or not set(names) <= set(PARTS):
        raise InputError(f"Expected --parts of {', '.join(PARTS)}, got '{parts}'.", "Separate them by commas.")
    check_figures(None, (out,), overwrite)
    import platform

    import torch

    from ..experiments.speed.full_size import LAYERS
    from ..models.device import fast_bfloat16, resolve_device
    from ..run_context import RunContext

    blocks = tuple(parse_numbers("--layers", layers, int))
    if not set(blocks) <= set(LAYERS):
        raise InputError(
            f"Expected blocks from 0 to {LAYERS[-1]} for --layers, got '{layers}'.", "Choose some of them."
        )
    where = resolve_device(device)
    if where.type != "cuda":
        if parts is not None and "gpu" in names:
            raise DeviceError(f"Expected a CUDA GPU for the part gpu, got {where}.", "Leave gpu out of --parts.")
        names = [name for name in names if name != "gpu"]
    context = RunContext(on_notice=lambda line: typer.echo(line, err=True))
    plan = Plan(rounds, blocks, where, context)
    named = torch.cuda.get_device_name(where) if where.type == "cuda" else f"{torch.get_num_threads()} threads"
    own = "with" if fast_bfloat16(where) else "without"
    typer.echo(f"{where} ({named}, {own} bfloat16), {platform.machine()}, torch {torch.__version__}")
    figures: Figures = {"device": str(where), "name": named, "torch": torch.__version__}
    for name, time_part in PARTS.items():
        if name in names:
            figures |= time_part(plan)
    write_figures(out, figures)
