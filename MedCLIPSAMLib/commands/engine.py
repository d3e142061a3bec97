"""The engine's packages, imported at once."""

from __future__ import annotations

import gc
import sys
from importlib import import_module

MODULES = ("tasks.batch", "tasks.segment_files", "segmentation.segmenter")


def import_engine() -> None:
    """Import what segments images, without the search for garbage that takes a seventh of the time of it.

    What was imported is not searched later either.
    """
    names = [f"{__package__.rpartition('.')[0]}.{name}" for name in MODULES]
    if all(name in sys.modules for name in names):
        return
    searched = gc.isenabled()
    gc.disable()
    try:
        for name in names:
            import_module(name)
        gc.freeze()
    finally:
        if searched:
            gc.enable()
