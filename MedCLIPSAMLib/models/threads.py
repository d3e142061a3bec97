"""The same small work for several images, on threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Made = TypeVar("Made")


def on_threads(work: Callable[..., Made], *given: Iterable[Any]) -> list[Made]:
    """Return what `work` makes of each, in their order; on threads of their own where there are several."""
    rows = list(zip(*given, strict=True))
    if len(rows) < 2:
        return [work(*row) for row in rows]
    with ThreadPoolExecutor(min(len(rows), os.cpu_count() or 1)) as pool:
        return list(pool.map(work, *zip(*rows)))
