"""Summary of the filter experiment: means, differences to training on all labels, and ranking quality per filter."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from ..evaluation.compare import compare_paired
from .prompted import mean_interval

MEASURED = ("ensemble", "last")
BASES = ("all", "random")
"""Baselines of the filters: all labels, and a random subset as large as the one that a filter keeps."""


def summary(figures: dict) -> dict[str, Any]:
    """Summarize each filter; the values of a test image are first averaged over the seeds.

    Returns:
        {filter: {"kept": number, "labels_dsc": mean of the kept pseudo-labels, "rank_correlation": Spearman's
        correlation of the filter's criterion with the true DSC, or None, "ensemble" and "last": {"dsc", "interval",
        "by_seed": means, "less": {base of `BASES`: PairedDifference as dict, and its means "by_seed"}}}}.
    """
    runs, quality = figures["runs"], figures["dsc"]
    rows: dict[str, Any] = {}
    for name, some in runs.items():
        rows[name] = {
            "kept": len(some[0]["kept"]),
            "labels_dsc": float(np.mean([np.mean([quality[case] for case in run["kept"]]) for run in some])),
            "rank_correlation": _rank_correlation([run["order"] for run in some], quality),
        }
        for row in MEASURED:
            own = np.array([run[row] for run in some])
            rows[name][row] = {
                "dsc": float(own.mean()),
                "interval": mean_interval(own.mean(axis=0)),
                "by_seed": own.mean(axis=1).tolist(),
                "less": {
                    base: _difference(np.array([run[row] for run in runs[base]]), own)
                    for base in BASES
                    if base in runs and name not in (base, "all")
                },
            }
    return rows


def _difference(base: np.ndarray, own: np.ndarray) -> dict[str, Any]:
    """Compare two arrays of values (seeds, images) image by image."""
    by_seed = (own.mean(axis=1) - base.mean(axis=1)).tolist()
    return asdict(compare_paired(base.mean(axis=0), own.mean(axis=0))) | {"by_seed": by_seed}


def _rank_correlation(orders: list[dict[str, float]], quality: dict[str, float]) -> float | None:
    """Return the mean over seeds of Spearman's correlation of an order with the true DSC; None if it is undefined."""
    from scipy.stats import spearmanr

    found = []
    for order in orders:
        values = [[order[case], quality[case]] for case in order]
        if values and np.ptp(values, axis=0).all():
            found.append(float(spearmanr(values).statistic))
    return float(np.mean(found)) if found else None
