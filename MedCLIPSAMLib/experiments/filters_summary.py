"""What the trial of filters comes to: means, differences to training on all labels, and how well each filter orders."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from ..evaluation.compare import compare_paired
from .real import mean_interval

MEASURED = ("ensemble", "last")


def summary(figures: dict) -> dict[str, Any]:
    """Summarize each filter; values of a test image are first averaged over the seeds.

    Returns:
        {filter: {"kept": number, "labels_dsc": mean of the kept pseudo-labels, "rank_correlation": Spearman's, of what
        the filter orders by with the true DSC, or None, "ensemble" and "last": {"dsc", "interval", "by_seed": means,
        "difference": PairedDifference to "all" as dict, "difference_by_seed"}}}.
    """
    runs, quality = figures["runs"], figures["dsc"]
    by_image = lambda name, row: np.mean([run[row] for run in runs[name]], axis=0)
    rows: dict[str, Any] = {}
    for name, some in runs.items():
        rows[name] = {
            "kept": len(some[0]["kept"]),
            "labels_dsc": float(np.mean([np.mean([quality[case] for case in run["kept"]]) for run in some])),
            "rank_correlation": _rank_correlation([run["order"] for run in some], quality),
        }
        for row in MEASURED:
            values, base = by_image(name, row), by_image("all", row)
            by_seed = [float(np.mean(run[row])) for run in some]
            base_by_seed = [float(np.mean(run[row])) for run in runs["all"]]
            rows[name][row] = {
                "dsc": float(values.mean()),
                "interval": mean_interval(values),
                "by_seed": by_seed,
                "difference": asdict(compare_paired(base, values)),
                "difference_by_seed": [own - other for own, other in zip(by_seed, base_by_seed)],
            }
    return rows


def _rank_correlation(orders: list[dict[str, float]], quality: dict[str, float]) -> float | None:
    """Compute the mean over seeds of Spearman's correlation of an order with the true DSC; None where there is none."""
    from scipy.stats import spearmanr

    found = []
    for order in orders:
        values = [[order[case], quality[case]] for case in order]
        if values and np.ptp(values, axis=0).all():
            found.append(float(spearmanr(values).statistic))
    return float(np.mean(found)) if found else None
