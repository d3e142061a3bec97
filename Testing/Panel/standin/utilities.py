"""What `slicer.util` of slicer-core cannot do without the desktop."""

from __future__ import annotations

from typing import Any

import SimpleITK as sitk
import slicer
import slicer.util

from . import dialogs
from .qtmodule import class_proxy
from .uifile import QMRML, ChildWidgetVariables, load_ui

installed: list[Any] = []
"""What `slicer.util.pip_install` was asked for; nothing is installed."""

_selected = ["Welcome"]


def install() -> None:
    """Replace functions of `slicer.util` and add the qMRML widgets to `slicer`."""
    util = slicer.util
    util.loadUI, util.childWidgetVariables = load_ui, ChildWidgetVariables
    util.errorDisplay, util.warningDisplay = dialogs.tell("error"), dialogs.tell("warning")
    util.infoDisplay, util.showStatusMessage = dialogs.tell("info"), dialogs.tell("status")
    util.confirmOkCancelDisplay = util.confirmYesNoDisplay = util.confirmRetryCloseDisplay = dialogs.confirm
    util.mainWindow = lambda: None
    util.selectedModule, util.selectModule = lambda: _selected[0], _select
    util.pip_install = lambda requirements, **_named: installed.append(requirements)
    util.loadVolume = _load_volume
    for cls in QMRML:
        setattr(slicer, cls.__name__, class_proxy(cls))


def _select(module: Any) -> None:
    _selected[0] = module if isinstance(module, str) else module.name


def _load_volume(path: str, properties: dict[str, Any] | None = None) -> Any:
    """A volume from a file; slicer-core cannot read PNG, which SimpleITK reads here as Slicer shows pictures."""
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
