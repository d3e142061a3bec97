"""The tables of `medclipsam benchmark speed`."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from .table import figures_table

if TYPE_CHECKING:
    from rich.table import Table

    from ..experiments.speed.between import BetweenCost
    from ..experiments.speed.gpu import GpuCost, Profile
    from ..experiments.speed.outlines import OutlineCost
    from ..experiments.speed.saliency import PeakThroughput, SaliencyCost
    from ..experiments.speed.start import StartCost
    from ..experiments.speed.waiting import WaitingTimes
    from ..experiments.speed.whole import WholeCost


def saliency_table(costs: list[SaliencyCost], peak: PeakThroughput) -> Table:
    """Show seconds, ratios, operations and the differences between the maps."""
    from ..experiments.speed.saliency import AUTHORS, BF16, F32

    table = figures_table(
        "A saliency map, ViT-B/16 and BERT-base, 10 steps of 10 samples; "
        f"products of matrices reach {peak.f32:.0f} GFLOP/s in f32 and {peak.bf16:.0f} in bf16 here",
        ("block", "variant", "s", "times faster", "min to max", "GFLOP", "of the peak", "map apart: max, mean"),
        words=2,
    )
    for cost in costs:
        for name in (AUTHORS, F32, BF16):
            seconds, ratio = cost.times.median(name), cost.times.times_faster(name, AUTHORS)
            share = cost.gflop[name] / seconds / (peak.bf16 if name == BF16 else peak.f32)
            apart = "{:.0e}, {:.0e}".format(*cost.apart[name]) if name in cost.apart else ""
            row = (f"{seconds:.2f}", f"{ratio[0]:.1f}", f"{ratio[1]:.1f} to {ratio[2]:.1f}", f"{cost.gflop[name]:.0f}")
            table.add_row(str(cost.layer), name, *row, f"{share:.0%}", apart)
        table.add_row(str(cost.layer), "another noise seed", *[""] * 5, "{:.0e}, {:.0e}".format(*cost.other_seed))
        table.add_section()
    return table


def outline_table(costs: list[OutlineCost]) -> Table:
    """Show the seconds for an image embedding, and the milliseconds for a box on it."""
    table = figures_table(
        "SAM: an image embedded, and a box on it", ("model", "px", "f32 s", "bf16 s", "ratio", "box ms")
    )
    for cost in costs:
        both = "bf16" in cost.times.seconds
        bf16 = f"{cost.times.median('bf16'):.2f}" if both else ""
        ratio = f"{cost.times.times_faster('bf16', 'f32')[0]:.1f}" if both else ""
        table.add_row(cost.name, str(cost.pixels), f"{cost.times.median('f32'):.2f}", bf16, ratio, f"{cost.box_ms:.0f}")
    return table


def whole_table(cost: WholeCost) -> Table:
    """Show seconds, ratios and memory from text to mask."""
    from ..experiments.speed.whole import AUTHORS

    table = figures_table(
        "An image of 1024 x 1024 from text to mask, block 9", ("pipeline", "s", "times faster", "range", "peak MiB")
    )
    there = AUTHORS in cost.times.seconds
    for name in cost.times.seconds:
        ratio = cost.times.times_faster(name, AUTHORS) if there else None
        cells = (f"{ratio[0]:.1f}", f"{ratio[1]:.1f} to {ratio[2]:.1f}") if ratio else ("", "")
        mib = cost.mib[name]
        table.add_row(name, f"{cost.times.median(name):.2f}", *cells, "-" if mib is None else f"{mib:.0f}")
    if not there:
        table.caption = "The authors' pipeline was left out: pip install segment-anything"
    return table


def waiting_table(waits: WaitingTimes) -> Table:
    """Show the seconds that a user waits."""
    from ..experiments.speed.waiting import PROMPTS, SLICES

    ratio = median([second / first for first, second in zip(waits.first, waits.second)])
    rows = (
        ("a prompt on a new image", f"{median(waits.first):.2f}"),
        (f"another prompt on it ({ratio:.2f} of the first)", f"{median(waits.second):.2f}"),
        (f"{PROMPTS} prompts on a new image", f"{waits.eight:.1f}"),
        (f"{SLICES} slices, one prompt", f"{waits.slices:.1f}"),
    )
    return figures_table("What a user waits for (BiomedCLIP's size, SAM 2.1 tiny at 1024 px)", ("", "s"), rows)


def between_table(costs: list[BetweenCost]) -> Table:
    """Show the milliseconds spent between the networks."""
    rows = [(step, *(f"{cost.ms[step]:.2f}" for cost in costs)) for step in costs[0].ms]
    rows.append(("total without these two", *(f"{cost.total:.2f}" for cost in costs)))
    columns = ("", *(f"{cost.pixels} px, ms" for cost in costs))
    return figures_table("An image between the networks, one thread", columns, rows)


def start_table(costs: list[StartCost]) -> Table:
    """Show the seconds until the first answer."""
    rows = [
        (cost.name, "" if cost.processor is None else f"{cost.processor:.2f}", f"{cost.seconds:.2f}") for cost in costs
    ]
    title = "To the first answer (starter models, CPU), the minimum of the rounds"
    return figures_table(title, ("", "processor s", "s"), rows)


def gpu_table(cost: GpuCost) -> Table:
    """Show milliseconds, images per second and memory on a GPU, with the reasons for failures."""
    table = figures_table("On the GPU (BiomedCLIP's size, SAM 2.1 tiny, block 9)", ("", "figure", "note"))
    for figure in cost.figures:
        shown = "" if figure.value is None else f"{figure.value:.{0 if figure.unit == 'MiB' else 1}f} {figure.unit}"
        table.add_row(figure.name, shown, figure.note)
    return table


def profile_table(profile: Profile) -> Table:
    """Show milliseconds by part, longest first, and how much of the time the GPU is busy."""
    table = figures_table(f"Where the time goes: {profile.name}, {profile.ms:.1f} ms", ("", "ms"))
    for name, ms in sorted(profile.parts.items(), key=lambda step: -step[1]):
        table.add_row(name, f"{ms:.1f}")
    table.caption = "Each part is timed until the GPU has finished it, so the sum exceeds the total."
    if profile.kernels is not None:
        table.add_row("the GPU works", f"{profile.kernels:.1f} ({profile.kernels / profile.ms:.0%})")
    return table
