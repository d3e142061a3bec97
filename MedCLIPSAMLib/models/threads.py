"""Run a small function for several images on threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")


def run_on_threads(work: Callable[..., Result], *columns: Iterable[Any]) -> list[Result]:
    """Call `work` on each row of some columns and return the results in order; several rows run on threads."""
    rows = list(zip(*columns, strict=True))
    if len(rows) < 2:
        return [work(*row) for row in rows]
    with ThreadPoolExecutor(min(len(rows), os.cpu_count() or 1)) as pool:
        return list(pool.map(work, *zip(*rows)))
