"""The rows of tables of scores: segments, and metrics in their units."""

from __future__ import annotations

from collections.abc import Sequence


def segment_rows(segments: Sequence[str]) -> list[tuple[str, str | None]]:
    """List (title, segment) of the rows: each segment, and the mean over all of a case if there are several."""
    return [(name, name) for name in segments] + ([("all", None)] if len(segments) > 1 else [])


def metric_rows(units: Sequence[str]) -> dict[str, tuple[str, str, str | None]]:
    """Return {key: (title, metric, unit)} for the rows of a segment; lengths have a row for each unit."""
    distances = {"hd95" if len(units) == 1 else f"hd95_{unit}": (f"HD95, {unit}", "hd95", unit) for unit in units}
    return {"dsc": ("DSC", "dsc", None), "nsd": ("NSD", "nsd", None), **distances}
