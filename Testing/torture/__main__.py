"""`python -m Testing.torture`: see the package's docstring and docs/results/torture.md."""

from __future__ import annotations

import os
import sys
from pathlib import Path

for name in ("MEDCLIPSAM_MODEL", "MEDCLIPSAM_SAM"):
    os.environ[name] = "demo"
os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for helpers/

from .run import main  # noqa: E402

main()
