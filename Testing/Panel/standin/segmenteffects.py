"""The common part of all effects of the Segment Editor: parameters, options, and access to segments.

It imitates Slicer's Modules/Loadable/Segmentations/EditorEffects/qSlicerSegmentEditorAbstractEffect.cxx. Segments are
changed by the real vtkSlicerSegmentEditorLogic. Mouse events in views and actors are not imitated.
"""

from __future__ import annotations

import enum
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property

from . import dialogs, errors


def _kept(name: str, kind: Any) -> Property:
    return Property(kind, lambda self: self._kept[name], lambda self, value: self._kept.update({name: value}))


class qSlicerSegmentEditorAbstractEffect(QtCore.QObject):
    """The base class of effects. Parameters are attributes of the editor's node, named effect.parameter."""

    class ModificationMode(enum.IntEnum):
        ModificationModeSet = 0
        ModificationModeAdd = 1
        ModificationModeRemove = 2
        ModificationModeRemoveAll = 3

    class ConfirmationResult(enum.IntEnum):
        NotConfirmed = 0
        ConfirmedWithoutDialog = 1
        ConfirmedWithDialog = 2

    def __init__(self, parent: QtCore.QObject | None = None) -> None:
        super().__init__(parent)
        self._kept = {"name": "", "title": "", "perSegment": True, "requireSegments": True}
        self._kept |= {"showEffectCursorInSliceView": True, "showEffectCursorInThreeDView": False}
        self._node, self._editor, self._active = None, None, False
        self._frame = QtWidgets.QFrame()
        QtWidgets.QFormLayout(self._frame)
        self._frame.hide()

    name, perSegment, requireSegments = _kept("name", str), _kept("perSegment", bool), _kept("requireSegments", bool)
    showEffectCursorInSliceView = _kept("showEffectCursorInSliceView", bool)
    showEffectCursorInThreeDView = _kept("showEffectCursorInThreeDView", bool)
    title = Property(
        str,
        lambda self: self._kept["title"] or self._kept["name"],
        lambda self, value: self._kept.update(title=value),
    )

    # The editor

    def attach(self, editor: Any) -> None:
        """Let the editor answer the effect's requests, such as to save a state or to select another effect."""
        self._editor = editor

    def parameterSetNode(self):
        return self._node

    def setParameterSetNode(self, node) -> None:
        self._node = node

    def activate(self) -> None:
        self._frame.setVisible(True)
        self._active = True
        self.updateGUIFromMRML()

    def deactivate(self) -> None:
        self._frame.setVisible(False)
        self._active = False

    def active(self) -> bool:
        return self._active

    def selectEffect(self, name: str) -> None:
        self._editor.setActiveEffectByName(name)

    def saveStateForUndo(self) -> None:
        self._editor.saveStateForUndo()

    def interactionNodeModified(self, node) -> None:
        """Deactivate the effect when the mouse is used for something else, such as placing markups."""
        if node.GetCurrentInteractionMode() != node.ViewTransform:
            self.selectEffect("")

    def setupOptionsFrame(self) -> None:
        """For subclasses."""

    def setMRMLDefaults(self) -> None:
        """For subclasses."""

    def sourceVolumeNodeChanged(self) -> None:
        """For subclasses."""

    def layoutChanged(self) -> None:
        """For subclasses."""

    def updateGUIFromMRML(self) -> None:
        """For subclasses."""

    def updateMRMLFromGUI(self) -> None:
        """For subclasses."""

    def cleanup(self) -> None:
        """For subclasses."""

    # Options

    def optionsFrame(self) -> QtWidgets.QFrame:
        return self._frame

    def optionsLayout(self) -> QtWidgets.QFormLayout:
        return self._frame.layout()

    def addOptionsWidget(self, widget: QtWidgets.QWidget | QtWidgets.QLayout) -> None:
        self.optionsLayout().addRow(widget)

    def addLabeledOptionsWidget(self, text: str, widget: QtWidgets.QWidget | QtWidgets.QLayout) -> QtWidgets.QWidget:
        label = QtWidgets.QLabel(text)
        self.optionsLayout().addRow(label, widget)
        return label

    # Parameters

    def setParameter(self, name: str, value: str) -> None:
        if value == (self._node.GetAttribute(f"{self.name}.{name}") or ""):
            return
        disabled = self._node.GetDisableModifiedEvent()
        self._node.SetDisableModifiedEvent(1)
        self._node.SetAttribute(f"{self.name}.{name}", value)
        self._node.SetDisableModifiedEvent(disabled)
        self._node.InvokeCustomModifiedEvent(slicer.vtkMRMLSegmentEditorNode.EffectParameterModified)

    def parameterDefined(self, name: str) -> bool:
        return bool(self._node is not None and self._node.GetAttribute(f"{self.name}.{name}"))

    def setParameterDefault(self, name: str, value: str) -> None:
        if not self.parameterDefined(name):
            self.setParameter(name, value)

    def parameter(self, name: str) -> str:
        """Return the effect's own parameter, or else the common one; if there is none, Slicer only logs it."""
        if self._node is None:
            return ""
        for attribute in (f"{self.name}.{name}", name):
            if self._node.GetAttribute(attribute) is not None:
                return self._node.GetAttribute(attribute)
        errors.raised.append(KeyError(f"The effect {self.name} has no parameter '{name}'"))
        return ""

    # Volumes and segments

    def _volume(self, update: str, get: str):
        logic = self._editor.logic()
        return getattr(logic, get)() if getattr(logic, update)() else None

    def defaultModifierLabelmap(self):
        return self._volume("ResetModifierLabelmapToDefault", "GetModifierLabelmap")

    def maskLabelmap(self):
        return self._volume("UpdateMaskLabelmap", "GetMaskLabelmap")

    def sourceVolumeImageData(self):
        return self._volume("UpdateAlignedSourceVolume", "GetAlignedSourceVolume")

    def referenceGeometryImage(self):
        return self._volume("UpdateReferenceGeometryImage", "GetReferenceGeometryImage")

    def modifySelectedSegmentByLabelmap(self, labelmap, mode: int, *more) -> None:
        node = self._node
        self.modifySegmentByLabelmap(
            node.GetSegmentationNode(), node.GetSelectedSegmentID() or "", labelmap, mode, *more
        )

    def modifySegmentByLabelmap(self, node, segmentID: str, labelmap, mode: int, *more) -> None:
        """Change a segment.

        Args:
            more: the extent, six numbers, or whether masking is bypassed, or both.
        """
        mode = getattr(slicer.vtkSlicerSegmentEditorLogic, self.ModificationMode(int(mode)).name)
        extent = [tuple(item) for item in more if isinstance(item, (list, tuple))] or [(0, -1, 0, -1, 0, -1)]
        bypass = next((item for item in more if isinstance(item, (bool, int))), False)
        self._editor.logic().ModifySegmentByLabelmap(
            node, segmentID, labelmap, mode, extent[0], self.perSegment, bool(bypass)
        )

    def confirmCurrentSegmentVisible(self) -> int:
        """Return whether to continue; if the segment is hidden, `standin.answers["confirm"]` answers the question."""
        results, node = self.ConfirmationResult, self._node and self._node.GetSegmentationNode()
        identifier = self._node.GetSelectedSegmentID() if node else None
        display = node.GetDisplayNode() if identifier else None
        if display is None or (display.GetVisibility() and display.GetSegmentVisibility(identifier)):
            return results.ConfirmedWithoutDialog
        dialogs.messages.append(("confirm", "Operate on invisible segment?"))
        if not dialogs.answers["confirm"]:
            return results.NotConfirmed
        display.SetVisibility(True)
        display.SetSegmentVisibility(identifier, True)
        return results.ConfirmedWithDialog
