"""Slicer's own Python layer from a source tree, in place of its imitation.

SLICER_SOURCE names a folder with Base/Python and CMakeLists.txt of Slicer, and Modules/Loadable/Segmentations where
effects of the Segment Editor are used. Of it come slicer.util, slicer.i18n, slicer.ScriptedLoadableModule,
slicer.parameterNodeWrapper, and slicer.packaging where there is one.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from pathlib import Path

import slicer

from .qtmodule import Absent

NAMES = ("util", "i18n", "ScriptedLoadableModule", "parameterNodeWrapper", "packaging")
IMITATED = (5, 8, 1)
"""The version of Slicer's Python without a source tree: that which allows the least."""


def tree() -> Path | None:
    """The source tree, or None when Slicer's Python is imitated.

    Raises:
        FileNotFoundError: the folder is no source tree.
    """
    given = os.environ.get("SLICER_SOURCE")
    if not given:
        return None
    for name in ("Base/Python/slicer/util.py", "CMakeLists.txt"):
        if not Path(given, name).is_file():
            raise FileNotFoundError(f"Expected {name} in SLICER_SOURCE={given}")
    return Path(given)


def version(source: Path | None) -> tuple[int, int, int]:
    """The version of a source tree."""
    if source is None:
        return IMITATED
    text = (source / "CMakeLists.txt").read_text(encoding="utf-8")
    parts = [re.search(rf'set\(Slicer_VERSION_{part} "(\d+)"\)', text) for part in ("MAJOR", "MINOR", "PATCH")]
    return tuple(int(part[1]) for part in parts)


def begin(source: Path) -> None:
    """Let `slicer.util` be that of the tree. What needs `slicer.app` comes with `finish`."""
    slicer.__path__.insert(0, str(source / "Base/Python/slicer"))
    for name in NAMES:
        sys.modules.pop(f"slicer.{name}", None)
    slicer.util = importlib.import_module("slicer.util")
    sys.modules.setdefault("vtkITK", Absent("vtkITK"))  # effects of Slicer's own name it; they are not imitated
    sys.path.append(str(source / "Modules/Loadable/Segmentations/EditorEffects/Python"))


def finish(source: Path) -> None:
    """Import the rest of the layer."""
    for name in NAMES:
        path = source / "Base/Python/slicer" / name
        if path.is_dir() or path.with_suffix(".py").is_file():
            setattr(slicer, name, importlib.import_module(f"slicer.{name}"))
