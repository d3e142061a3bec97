"""The visible parts of the Segment Editor: selectors, the list of segments and buttons; and its keys."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Signal

from .nodecombobox import ID, qMRMLNodeComboBox


class Selector(qMRMLNodeComboBox):
    """A selector of the editor."""

    def connectNode(self, function: Any) -> None:
        self._node_changed.connect(function)


class Segments(QtWidgets.QListView):
    """The list of a node's segments. Rows are removed and inserted with the segments; Qt then decides the selection."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("SegmentsTableView")
        self.setMaximumHeight(90)
        self.setEditTriggers(QtWidgets.QAbstractItemView.EditTrigger.NoEditTriggers)
        self._model, self._node = QtGui.QStandardItemModel(self), None
        self.setModel(self._model)
        self.selectionModel().selectionChanged.connect(lambda *_items: self.changed.emit())

    def set_node(self, node: Any) -> None:
        self._node, blocked = node, self.blockSignals(True)
        self._model.removeRows(0, self._model.rowCount())
        self.follow()
        self.blockSignals(blocked)

    def _rows(self) -> list[str]:
        return [self._model.item(row).data(ID) for row in range(self._model.rowCount())]

    def follow(self) -> None:
        segmentation = self._node.GetSegmentation() if self._node is not None else None
        identifiers = list(segmentation.GetSegmentIDs()) if segmentation is not None else []
        for identifier in self._rows():
            if identifier not in identifiers:
                self._model.removeRow(self._rows().index(identifier))
        for row, identifier in enumerate(identifiers):
            if identifier not in self._rows():
                item = QtGui.QStandardItem()
                item.setData(identifier, ID)
                self._model.insertRow(row, item)
            segment, color = segmentation.GetSegment(identifier), QtGui.QPixmap(12, 12)
            color.fill(QtGui.QColor.fromRgbF(*segment.GetColor()))
            self._model.item(row).setText(segment.GetName() or "")
            self._model.item(row).setIcon(QtGui.QIcon(color))

    def selected(self) -> str:
        """The id of the selected segment, or nothing."""
        indexes = self.selectionModel().selectedIndexes()
        return indexes[0].data(ID) if indexes else ""

    def select(self, identifier: str) -> None:
        if identifier == self.selected():
            return
        if identifier not in self._rows():
            self.selectionModel().clearSelection()
            return
        index = self._model.index(self._rows().index(identifier), 0)
        self.selectionModel().select(index, QtCore.QItemSelectionModel.SelectionFlag.ClearAndSelect)

    def pick(self, identifier: str) -> None:
        """Select a row as a click of the user does."""
        self.setCurrentIndex(self._model.index(self._rows().index(identifier), 0))


class EditorLook:
    """The widgets in an editor."""

    def __init__(self, editor: Any) -> None:
        self._editor = editor
        self.segmentationSelector, self.sourceSelector = Selector(), Selector()
        self.segmentationSelector.nodeTypes = ["vtkMRMLSegmentationNode"]
        self.segmentationSelector.renameEnabled = True
        self.sourceSelector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        self.sourceSelector.hideChildNodeTypes = ["vtkMRMLSegmentationNode"]
        self.sourceSelector.noneEnabled, self.sourceSelector.addEnabled = True, False
        self.sourceSelector.noneDisplay = "Select source volume to enable editing"
        self.segments, self._form = Segments(), QtWidgets.QFormLayout()
        for name, text, selector in (
            ("SegmentationNodeComboBox", "Segmentation:", self.segmentationSelector),
            ("SourceVolumeNodeComboBox", "Source volume:", self.sourceSelector),
        ):
            selector.setObjectName(name)
            self._form.addRow(text, selector)
        self.add, self.remove = QtWidgets.QPushButton("Add"), QtWidgets.QPushButton("Remove")
        self.undo, self.redo = QtWidgets.QPushButton("Undo"), QtWidgets.QPushButton("Redo")
        self._effects, self._grid = QtWidgets.QWidget(), QtWidgets.QGridLayout()
        self._effects.setLayout(self._grid)
        self._optionsBox, self._options = QtWidgets.QWidget(), QtWidgets.QVBoxLayout()
        self._optionsBox.setLayout(self._options)
        self._options.setContentsMargins(0, 0, 0, 0)
        self._buttons, self._order = {}, []
        layout = QtWidgets.QVBoxLayout(editor)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(self._form)
        rows = []
        for buttons in ((self.add, self.remove), (self.undo, self.redo)):
            row = QtWidgets.QWidget()
            row.setLayout(QtWidgets.QHBoxLayout())
            row.layout().setContentsMargins(0, 0, 0, 0)
            for button in buttons:
                row.layout().addWidget(button)
                button.setEnabled(False)
            rows.append(row)
        layout.addWidget(rows[0])
        layout.addWidget(self.segments)
        layout.addWidget(self._effects)
        layout.addWidget(self._optionsBox)
        layout.addWidget(rows[1])

    def show(self, options: dict[str, Any]) -> None:
        """Show or hide parts of the editor according to its properties."""
        for option, selector in (
            ("segmentationNodeSelectorVisible", self.segmentationSelector),
            ("sourceVolumeNodeSelectorVisible", self.sourceSelector),
        ):
            self._form.setRowVisible(selector, options[option])

    def enable(self, segmentation: bool, segment: str, locked: bool) -> None:
        """Enable the possible actions."""
        self.sourceSelector.setEnabled(segmentation)
        self.add.setEnabled(self._editor.logic().CanAddSegments())
        self.remove.setEnabled(bool(segment) and not locked)
        for part in (self._effects, self._optionsBox):
            part.setEnabled(self._editor.sourceVolumeNode() is not None and not locked)
        for name, button in self._buttons.items():
            effect = self._editor.effectByName(name)
            button.setEnabled(not effect.requireSegments or bool(segment) or not effect.perSegment)

    def show_effects(self, effects: dict[str, Any], shown: list[str]) -> None:
        """Show the buttons of effects in columns, and add the options of each."""
        self._order = shown
        for name, effect in effects.items():
            if name not in self._buttons:
                button = self._buttons[name] = QtWidgets.QToolButton(text=effect.title, checkable=True)
                button.setSizePolicy(QtWidgets.QSizePolicy.Policy.Minimum, QtWidgets.QSizePolicy.Policy.Preferred)
                button.clicked.connect(lambda on, effect=effect: self._editor.setActiveEffect(effect if on else None))
                self._options.addWidget(effect.optionsFrame())
            self._grid.removeWidget(self._buttons[name])
            self._buttons[name].setVisible(name in shown)
        for index, name in enumerate(shown):
            self._grid.addWidget(self._buttons[name], *divmod(index, 2))

    def effect(self, index: int) -> Any:
        """Return the effect whose button is at a position, counted from 1; none for 0."""
        return self._editor.effectByName(self._order[index - 1]) if 0 < index <= len(self._order) else None

    def check_effect(self, effect: Any) -> None:
        for name, button in self._buttons.items():
            button.setChecked(effect is not None and name == effect.name)

    def show_source(self, volume: Any) -> None:
        """Show a volume in the slice views that do not show it yet."""
        for logic in slicer.app.layoutManager().mrmlSliceLogics():
            composite = logic.GetSliceCompositeNode()
            if volume.GetID() not in (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()):
                composite.SetBackgroundVolumeID(volume.GetID())
                composite.SetForegroundVolumeID(None)
                composite.SetLabelVolumeID(None)

    def hide_labels(self) -> None:
        """Empty the label layer of every slice view."""
        manager = slicer.app.layoutManager()
        for logic in manager.mrmlSliceLogics() if manager is not None else ():
            logic.GetSliceCompositeNode().SetLabelVolumeID(None)

    def shortcuts(self, window: QtWidgets.QWidget | None) -> list[QtGui.QShortcut]:
        """Install the keys of the editor in a window."""
        editor, logic = self._editor, self._editor.logic()
        keys = {str(index % 10): lambda index=index: editor.toggleEffect(index) for index in range(1, 11)}
        keys |= {f"Shift+{index % 10}": lambda index=index: editor.toggleEffect(index + 10) for index in range(1, 11)}
        keys |= {"Esc": lambda: editor.toggleEffect(0), "Space": lambda: editor.toggleEffect(-1)}
        keys |= dict.fromkeys(("Z", "Ctrl+Z"), editor.undo) | dict.fromkeys(("Y", "Ctrl+Y"), editor.redo)
        keys |= dict.fromkeys("Q/,>", lambda: logic.SelectPreviousSegment(True))
        keys |= dict.fromkeys("W*.<", lambda: logic.SelectNextSegment(True))
        made = []
        for key, act in keys.items():
            shortcut = QtGui.QShortcut(QtGui.QKeySequence(key), window or editor)
            shortcut.activated.connect(act)
            made.append(shortcut)
        return made
