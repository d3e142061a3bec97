"""Summary of the experiment on the weak stage: means, differences case by case, and the error left after review."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from ..evaluation.compare import compare_paired, error_after_review
from .prompted import mean_interval

ROWS = {
    "zero_shot": "zero-shot",
    "last": "nnU-Net on pseudo-labels, last checkpoint",
    "weak": "weak: ensemble of checkpoints",
    "full": "full supervision: ensemble",
}
SHARES = (0.05, 0.10, 0.20)
"""Fractions of the cases that a person reviews."""


def summary(figures: dict) -> dict:
    """Summarize the figures to print: means by row and task, pooled differences, and the error left after review.

    Returns:
        {"rows": {row: {metric: {task: mean, "all": mean}}}, "intervals": {row: {metric: {task: [low, high]}}},
        "differences": {"weak - zero_shot": PairedDifference as dict, ...}, "validation_review", "review": {order:
        {share: mean error}}}. The orders include "random" and "worst first".
    """
    tasks = figures["tasks"]
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for row in ROWS:
        rows[row] = {}
        for metric in ("dsc", "nsd"):
            means = {name: float(np.mean(task["test"][row][metric])) for name, task in tasks.items()}
            rows[row][metric] = means | {"all": float(np.mean(list(means.values())))}
    pooled = lambda row: np.concatenate([task["test"][row]["dsc"] for task in tasks.values()]).tolist()
    pairs = (("zero_shot", "last"), ("last", "weak"), ("zero_shot", "weak"), ("weak", "full"))
    differences = {
        f"{second} - {first}": asdict(compare_paired(pooled(first), pooled(second))) for first, second in pairs
    }
    intervals = {
        row: {
            metric: {name: mean_interval(np.array(task["test"][row][metric])) for name, task in tasks.items()}
            for metric in ("dsc", "nsd")
        }
        for row in ROWS
    }
    return {
        "rows": rows,
        "intervals": intervals,
        "differences": differences,
        "validation_review": _review(tasks, "validation"),
        "review": _review(tasks, "test"),
    }


def _review(tasks: dict, split: str) -> dict:
    """Compute, by order, the mean 1 - DSC over the cases of all tasks after a fraction of them is reviewed."""
    errors = 1 - np.concatenate([task[split]["weak"]["dsc"] for task in tasks.values()])
    orders = {
        name: np.concatenate([task[split]["orders"][name] for task in tasks.values()])
        for name in next(iter(tasks.values()))[split]["orders"]
    }
    left = {
        name: {share: error_after_review(errors, order, share) for share in (0.0, *SHARES)}
        for name, order in (orders | {"worst first": errors}).items()
    }
    random = {share: float(errors.mean()) * (1 - round(share * errors.size) / errors.size) for share in (0.0, *SHARES)}
    return left | {"random": random}
