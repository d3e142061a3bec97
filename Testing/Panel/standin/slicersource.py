"""Slicer's own Python layer from a source tree, which replaces the imitation.

SLICER_SOURCE names a folder with Base/Python and CMakeLists.txt of Slicer, and with Modules/Loadable/Segmentations if
effects of the Segment Editor are used. It provides slicer.util, slicer.i18n, slicer.ScriptedLoadableModule,
slicer.parameterNodeWrapper, and slicer.packaging if that exists.
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
"""The version of Slicer's Python without a source tree, which is the one that allows the least."""


def tree() -> Path | None:
    """Return the source tree, or None if Slicer's Python is imitated.

    Raises:
        FileNotFoundError: the folder is not a source tree.
    """
    given = os.environ.get("SLICER_SOURCE")
    if not given:
        return None
    for name in ("Base/Python/slicer/util.py", "CMakeLists.txt"):
        if not Path(given, name).is_file():
            raise FileNotFoundError(f"Expected {name} in SLICER_SOURCE={given}")
    return Path(given)


def version(source: Path | None) -> tuple[int, int, int]:
    """Return the version of a source tree."""
    if source is None:
        return IMITATED
    text = (source / "CMakeLists.txt").read_text(encoding="utf-8")
    parts = [re.search(rf'set\(Slicer_VERSION_{part} "(\d+)"\)', text) for part in ("MAJOR", "MINOR", "PATCH")]
    return tuple(int(part[1]) for part in parts)


def begin(source: Path) -> None:
    """Use `slicer.util` of the tree. What needs `slicer.app` is imported by `finish`."""
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
