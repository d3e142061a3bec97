"""The functions of `slicer.util` that need the desktop's readers or the network; the others are Slicer's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import SimpleITK as sitk
import slicer
import slicer.util

from .proxy import class_proxy
from .qtmodule import NotImitated
from .scriptedeffects import EFFECTS
from .uifile import QMRML

installed: list[Any] = []
"""Arguments of the calls of `slicer.util.pip_install`; nothing is installed."""


def install() -> None:
    """Replace functions of `slicer.util` and add the qMRML widgets to `slicer`."""
    slicer.util.pip_install = _instead_of(slicer.util.pip_install)
    slicer.util.loadVolume = _load_volume
    for cls in (*QMRML, *EFFECTS):
        setattr(slicer, cls.__name__, class_proxy(cls))
    for name in ("qMRMLSliderWidget", "qMRMLSpinBox", "qMRMLRangeWidget"):
        setattr(slicer, name, NotImitated(name, (), {}))


def install_packaging() -> None:
    """Prevent `slicer.packaging`, if Slicer has it, from installing anything."""
    if hasattr(slicer, "packaging"):
        for name in ("pip_install", "pip_ensure"):
            setattr(slicer.packaging, name, _instead_of(getattr(slicer.packaging, name)))


def _instead_of(install: Callable[..., Any]) -> Callable[..., None]:
    """Return a function that installs nothing and refuses arguments that the real one does not have."""

    def keep(*requirements: Any, **named: Any) -> None:
        inspect.signature(install).bind(*requirements, **named)
        installed.append(requirements[0])

    return keep


def _load_volume(path: str, properties: dict[str, Any] | None = None) -> Any:
    """Load a volume from a file; slicer-core cannot read PNG, so SimpleITK reads it, as Slicer would show it."""
    properties = dict(properties or {})
    name, single = properties.pop("name", None), properties.pop("singleFile", False)
    if properties:
        raise ValueError(f"the stand-in does not know the properties {sorted(properties)}")
    if path.endswith(".png"):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        slicer.util.updateVolumeFromArray(node, sitk.GetArrayFromImage(sitk.ReadImage(path))[None])
        node.SetIJKToRASDirections(-1, 0, 0, 0, -1, 0, 0, 0, 1)
        node.CreateDefaultDisplayNodes()
        return node
    options = 2 if single else 0  # vtkSlicerVolumesLogic::SingleFile
    node = slicer.modules.volumes.logic().AddArchetypeVolume(path, name or "volume", options)
    if node is None:
        raise RuntimeError(f"{path} could not be loaded")
    return node
