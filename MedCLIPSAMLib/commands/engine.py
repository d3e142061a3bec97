"""The engine's packages, imported at once."""

from __future__ import annotations

import gc
from importlib import import_module

MODULES = ("tasks.batch", "tasks.segment_files", "segmentation.segmenter")


def import_engine() -> None:
    """Import what segments images, without the search for garbage that takes a seventh of the time of it.

    What was imported is not searched later either.
    """
    searched = gc.isenabled()
    gc.disable()
    try:
        for name in MODULES:
            import_module(f"..{name}", __package__)
        gc.freeze()
    finally:
        if searched:
            gc.enable()
