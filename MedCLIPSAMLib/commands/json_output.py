"""Results as JSON."""

from __future__ import annotations

import json
import math
from typing import Any


def print_json(value: Any) -> None:
    """Print a value as JSON; see `format_json`."""
    print(format_json(value), flush=True)  # so that a full disk raises here, not when the process ends


def format_json(value: Any) -> str:
    """Return a value as JSON; NaN and infinity, which JSON lacks, become null."""
    return json.dumps(_finite(value), indent=1, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value
