"""`medclipsam benchmark speed`: times beside those of the authors' mathematics, and the machine's limit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import DeviceName, Overwrite
from .table import print_table

if TYPE_CHECKING:
    from ..experiments.speed.between import BetweenCost
    from ..experiments.speed.gpu import GpuCost, Profile
    from ..experiments.speed.outlines import OutlineCost
    from ..experiments.speed.saliency import PeakThroughput, SaliencyCost
    from ..experiments.speed.start import StartCost
    from ..experiments.speed.waiting import WaitingTimes
    from ..experiments.speed.whole import WholeCost

PARTS = ("saliency", "outlines", "whole", "waiting", "between", "start", "gpu")


def speed(
    parts: Annotated[str, typer.Option(help=f"Of {', '.join(PARTS)}.")] = ",".join(PARTS),
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each variant; the authors' take a minute each.")] = 3,
    layers: Annotated[str, typer.Option(help="Blocks of the saliency.")] = "9,7",
    device: DeviceName = "auto",
    out: Annotated[Path | None, typer.Option("--json", help="Also write the figures as JSON.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Time the pipeline at full size, with random weights, beside the authors' mathematics, taking turns in one run.

    Example: medclipsam benchmark speed --parts saliency,whole --rounds 3
    """
    import platform
    from dataclasses import asdict

    import torch

    from ..errors import InputError
    from ..files.atomic import atomic_path
    from ..files.outputs import check_outputs
    from ..models.device import fast_bfloat16, resolve_device
    from ..run_context import RunContext
    from .search import _numbers

    wanted = [part.strip() for part in parts.split(",") if part.strip()]
    if not wanted or not set(wanted) <= set(PARTS):
        raise InputError(f"--parts {parts} names a part that is not there.", f"Choose of: {', '.join(PARTS)}.")
    check_outputs((), (out,), overwrite)
    where = resolve_device(device)
    context = RunContext(on_notice=lambda line: typer.echo(line, err=True))
    named = torch.cuda.get_device_name(where) if where.type == "cuda" else f"{torch.get_num_threads()} threads"
    own = "with" if fast_bfloat16(where) else "without"
    typer.echo(f"{where} ({named}, {own} bfloat16 of its own), {platform.machine()}, torch {torch.__version__}")
    figures: dict = {"device": str(where), "name": named, "torch": torch.__version__}
    if "saliency" in wanted:
        from ..experiments.speed.saliency import matmul_peak, saliency_cost

        peak = matmul_peak(where)
        costs = [saliency_cost(layer, rounds, where, context) for layer in _numbers("--layers", layers, int)]
        print_table(saliency_table(costs, peak))
        figures |= {"peak": asdict(peak), "saliency": [asdict(cost) for cost in costs]}
    if "outlines" in wanted:
        from ..experiments.speed.outlines import outline_costs

        outlines = outline_costs(rounds, where, context)
        print_table(outline_table(outlines))
        figures["outlines"] = [asdict(cost) for cost in outlines]
    if "whole" in wanted:
        from ..experiments.speed.whole import whole_cost

        whole_image = whole_cost(rounds, where, context)
        print_table(whole_table(whole_image))
        figures["whole"] = asdict(whole_image)
    if "waiting" in wanted:
        from ..experiments.speed.waiting import waiting

        waits = waiting(rounds, where, context)
        print_table(waiting_table(waits))
        figures["waiting"] = asdict(waits)
    if "between" in wanted:
        from ..experiments.speed.between import between_cost

        between = [between_cost(pixels) for pixels in (512, 1024)]
        print_table(between_table(between))
        figures["between"] = [asdict(cost) for cost in between]
    if "start" in wanted:
        from ..experiments.speed.start import start_costs

        starts = start_costs(rounds, context)
        print_table(start_table(starts))
        figures["start"] = [asdict(cost) for cost in starts]
    if "gpu" in wanted and where.type == "cuda":
        from ..experiments.speed.gpu import gpu_cost

        gpu = gpu_cost(rounds, where, context)
        print_table(gpu_table(gpu))
        for profile in gpu.profiles:
            print_table(profile_table(profile))
        figures["gpu"] = asdict(gpu)
    elif "gpu" in wanted:
        typer.echo("gpu: skipped, " + ("torch finds none." if not torch.cuda.is_available() else "not asked for."))
    if out is not None:
        with atomic_path(out) as temporary:
            temporary.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def saliency_table(costs: list[SaliencyCost], peak: PeakThroughput):
    """Seconds, ratios, operations and differences of the maps."""
    from ..experiments.speed.saliency import AUTHORS, BF16, F32

    made = _table(
        "A saliency map, ViT-B/16 and BERT-base, 10 steps of 10 samples; "
        f"products of matrices reach {peak.f32:.0f} GFLOP/s in f32 and {peak.bf16:.0f} in bf16 here",
        ("block", "variant", "s", "times faster", "least to most", "GFLOP", "of the peak", "map apart: most, mean"),
    )
    for cost in costs:
        for name in (AUTHORS, F32, BF16):
            seconds, ratio = cost.times.median(name), cost.times.times_faster(name, AUTHORS)
            share = cost.gflop[name] / seconds / (peak.bf16 if name == BF16 else peak.f32)
            apart = "{:.0e}, {:.0e}".format(*cost.apart[name]) if name in cost.apart else ""
            row = (f"{seconds:.2f}", f"{ratio[0]:.1f}", f"{ratio[1]:.1f} to {ratio[2]:.1f}", f"{cost.gflop[name]:.0f}")
            made.add_row(str(cost.layer), name, *row, f"{share:.0%}", apart)
        made.add_row(str(cost.layer), "another noise seed", *[""] * 5, "{:.0e}, {:.0e}".format(*cost.other_seed))
        made.add_section()
    return made


def outline_table(costs: list[OutlineCost]):
    """Seconds of an embedding, and milliseconds of a box on it."""
    made = _table("SAM: an image embedded, and a box on it", ("model", "px", "f32 s", "bf16 s", "ratio", "box ms"))
    for cost in costs:
        both = "bf16" in cost.times.seconds
        bf16 = f"{cost.times.median('bf16'):.2f}" if both else ""
        ratio = f"{cost.times.times_faster('bf16', 'f32')[0]:.1f}" if both else ""
        made.add_row(cost.name, str(cost.pixels), f"{cost.times.median('f32'):.2f}", bf16, ratio, f"{cost.box_ms:.0f}")
    return made


def whole_table(cost: WholeCost):
    """Seconds, ratios and memory from text to mask."""
    from ..experiments.speed.whole import AUTHORS

    made = _table(
        "An image of 1024 x 1024 from text to mask, block 9", ("pipeline", "s", "times faster", "range", "MiB at most")
    )
    there = AUTHORS in cost.times.seconds
    for name in cost.times.seconds:
        ratio = cost.times.times_faster(name, AUTHORS) if there else None
        cells = (f"{ratio[0]:.1f}", f"{ratio[1]:.1f} to {ratio[2]:.1f}") if ratio else ("", "")
        mib = cost.mib[name]
        made.add_row(name, f"{cost.times.median(name):.2f}", *cells, "-" if mib is None else f"{mib:.0f}")
    if not there:
        made.caption = "The authors' pipeline was left out: pip install segment-anything"
    return made


def waiting_table(waits: WaitingTimes):
    """Seconds that a user waits."""
    from ..experiments.speed.waiting import PROMPTS, SLICES, median

    made = _table("What a user waits for (BiomedCLIP's size, SAM 2.1 tiny at 1024 px)", ("", "s"))
    ratio = median([second / first for first, second in zip(waits.first, waits.second)])
    for name, seconds in (
        ("a prompt on a new image", f"{median(waits.first):.2f}"),
        (f"another prompt on it ({ratio:.2f} of the first)", f"{median(waits.second):.2f}"),
        (f"{PROMPTS} prompts on a new image", f"{waits.eight:.1f}"),
        (f"{SLICES} slices, one prompt", f"{waits.slices:.1f}"),
    ):
        made.add_row(name, seconds)
    return made


def between_table(costs: list[BetweenCost]):
    """Milliseconds between the networks."""
    made = _table("An image between the networks, one thread", ("", *(f"{cost.pixels} px, ms" for cost in costs)))
    for step in costs[0].ms:
        made.add_row(step, *(f"{cost.ms[step]:.2f}" for cost in costs))
    made.add_row("together, but for these two", *(f"{cost.total:.2f}" for cost in costs))
    return made


def start_table(costs: list[StartCost]):
    """Seconds to the first answer."""
    made = _table("To the first answer (starter models, CPU), the least of the rounds", ("", "processor s", "s"))
    for cost in costs:
        made.add_row(cost.name, "" if cost.processor is None else f"{cost.processor:.2f}", f"{cost.seconds:.2f}")
    return made


def gpu_table(cost: GpuCost):
    """Milliseconds, images a second and memory on a GPU; what failed says why."""
    made = _table("On the GPU (BiomedCLIP's size, SAM 2.1 tiny, block 9)", ("", "figure", "note"))
    for figure in cost.figures:
        shown = "" if figure.value is None else f"{figure.value:.{0 if figure.unit == 'MiB' else 1}f} {figure.unit}"
        made.add_row(figure.name, shown, figure.note)
    return made


def profile_table(profile: Profile):
    """Milliseconds by part, most first, and how much of the time the GPU works."""
    made = _table(f"Where the time goes: {profile.name}, {profile.ms:.1f} ms", ("", "ms"))
    for name, ms in sorted(profile.parts.items(), key=lambda step: -step[1]):
        made.add_row(name, f"{ms:.1f}")
    made.caption = "Each part is waited for, so that they sum up to more."
    if profile.kernels is not None:
        made.add_row("the GPU works", f"{profile.kernels:.1f} ({profile.kernels / profile.ms:.0%})")
    return made


def _table(title: str, columns: tuple[str, ...]):
    from rich.table import Table

    made = Table(title=title)
    for column in columns:
        made.add_column(column, justify="left" if column in ("variant", "model", "pipeline", "") else "right")
    return made
