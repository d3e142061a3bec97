"""Effects of the Segment Editor, which are Slicer's (in name only) and those written in Python, and their factory.

They imitate Slicer's Modules/Loadable/Segmentations/EditorEffects: qSlicerSegmentEditorScriptedEffect.cxx and
qSlicerSegmentEditorEffectFactory.cxx.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtGui
from PySide6.QtCore import Signal

from .proxy import class_proxy, unwrap, wrap
from .segmenteffects import qSlicerSegmentEditorAbstractEffect

NAMES = (
    *("Threshold", "Paint", "Draw", "Erase", "Level tracing", "Grow from seeds", "Fill between slices", "Margin"),
    *("Hollow", "Smoothing", "Scissors", "Islands", "Logical operators", "Mask volume"),
)
"""Slicer's own effects, in their order."""


class BuiltinEffect(qSlicerSegmentEditorAbstractEffect):
    """One of Slicer's own effects, without its function."""

    def __init__(self, name: str, parent: QtCore.QObject | None = None) -> None:
        super().__init__(parent)
        self._kept["name"] = name


class qSlicerSegmentEditorScriptedEffect(qSlicerSegmentEditorAbstractEffect):
    """An effect implemented by a Python object; methods that this does not have are those of the base."""

    def __init__(self, parent: QtCore.QObject | None = None) -> None:
        super().__init__(parent)
        self._kept["name"] = "UnnamedScriptedEffect"
        self._self, self._source = None, ""

    def setPythonSource(self, path: str) -> bool:
        """Make the Python object. Its class is named after the file, and its module after the file's folder."""
        if not path.endswith((".py", ".pyc")):
            return False
        name, module = Path(path).stem, Path(path).parent.name
        name += "" if name.endswith("Effect") else "Effect"
        if not hasattr(sys.modules.get(module), name):
            spec = importlib.util.spec_from_file_location(module, path)
            sys.modules[module] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[module])
        self._self, self._source = getattr(sys.modules[module], name)(wrap(self)), path
        setattr(slicer, module, self._self)
        return True

    def pythonSource(self) -> str:
        return self._source

    def self(self) -> Any:
        return self._self

    def _call(self, name: str, *arguments: Any) -> bool:
        method = getattr(self._self, name, None)
        if method is not None:
            method(*arguments)
        return method is not None

    def clone(self) -> qSlicerSegmentEditorAbstractEffect:
        return unwrap(self._self.clone())

    def icon(self) -> QtGui.QIcon:
        return self._self.icon() if hasattr(self._self, "icon") else QtGui.QIcon()

    def helpText(self) -> str:
        return self._self.helpText() if hasattr(self._self, "helpText") else ""

    def activate(self) -> None:
        super().activate()
        self._call("activate")

    def deactivate(self) -> None:
        super().deactivate()
        self._call("deactivate")

    def setupOptionsFrame(self) -> None:
        self._call("setupOptionsFrame")

    def setMRMLDefaults(self) -> None:
        self._call("setMRMLDefaults")

    def sourceVolumeNodeChanged(self) -> None:
        self._call("sourceVolumeNodeChanged")

    def layoutChanged(self) -> None:
        self._call("layoutChanged")

    def interactionNodeModified(self, node) -> None:
        if not self._call("interactionNodeModified", node):
            super().interactionNodeModified(node)

    def updateGUIFromMRML(self) -> None:
        if self._active:
            self._call("updateGUIFromMRML")

    def updateMRMLFromGUI(self) -> None:
        self._call("updateMRMLFromGUI")

    def cleanup(self) -> None:
        self._call("cleanup")


class qSlicerSegmentEditorEffectFactory(QtCore.QObject):
    """The effects that every editor gets a copy of."""

    effectRegistered = Signal(str)
    _instances: list[qSlicerSegmentEditorEffectFactory] = []

    def __init__(self) -> None:
        super().__init__()
        self._effects: list[qSlicerSegmentEditorAbstractEffect] = []

    @staticmethod
    def instance() -> qSlicerSegmentEditorEffectFactory:
        if not qSlicerSegmentEditorEffectFactory._instances:
            qSlicerSegmentEditorEffectFactory._instances.append(qSlicerSegmentEditorEffectFactory())
        return qSlicerSegmentEditorEffectFactory._instances[0]

    def registerEffect(self, effect: qSlicerSegmentEditorAbstractEffect) -> bool:
        """Register an effect; return False if there is already one of this name."""
        if not effect.name or any(effect.name == other.name for other in self._effects):
            return False
        self._effects.append(effect)
        self.effectRegistered.emit(effect.name)
        return True

    def forget(self, name: str) -> None:
        """Remove an effect. Only tests need this; Slicer cannot do it."""
        self._effects = [other for other in self._effects if other.name != name]

    def registeredEffects(self) -> list[qSlicerSegmentEditorAbstractEffect]:
        return list(self._effects)


EFFECTS = (
    qSlicerSegmentEditorAbstractEffect,
    qSlicerSegmentEditorScriptedEffect,
    qSlicerSegmentEditorEffectFactory,
)
"""Classes in `slicer`."""


class AbstractScriptedSegmentEditorEffect:
    """The base class of Python effects, as in Slicer's SegmentEditorEffects/AbstractScriptedSegmentEditorEffect.py."""

    def __init__(self, scriptedEffect) -> None:
        self.scriptedEffect = scriptedEffect

    def register(self) -> None:
        slicer.qSlicerSegmentEditorEffectFactory.instance().registerEffect(self.scriptedEffect)

    def cleanup(self) -> None:
        """For subclasses."""


def install(python: bool) -> None:
    """Install the effects where Python modules look for them.

    Args:
        python: also install the base class of effects, which is part of Slicer's Python.
    """
    module = types.ModuleType("qSlicerSegmentationsEditorEffectsPythonQt")
    for cls in EFFECTS:
        setattr(module, cls.__name__, class_proxy(cls))
    sys.modules[module.__name__] = module
    if python:
        base = types.ModuleType("SegmentEditorEffects")
        base.AbstractScriptedSegmentEditorEffect = AbstractScriptedSegmentEditorEffect
        base.__all__ = ["AbstractScriptedSegmentEditorEffect"]
        sys.modules[base.__name__] = base
