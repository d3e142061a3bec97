"""qMRMLWidget: a panel that passes its scene on to its widgets.

It imitates Slicer's Libs/MRML/Widgets/qMRMLWidget.cxx.
"""

from __future__ import annotations

from PySide6 import QtWidgets
from PySide6.QtCore import Signal


class qMRMLWidget(QtWidgets.QWidget):
    """A panel; widgets in it get the scene by connections in the .ui file."""

    _scene_changed = Signal(object)
    SIGNALS = {"mrmlSceneChanged(vtkMRMLScene*)": "_scene_changed"}

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene) -> None:
        if scene is not self._scene:
            self._scene = scene
            self._scene_changed.emit(scene)
