"""QUiLoader for `slicer.util.loadUI`, which requires that everything that a .ui file names exists."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets

from .collapsible import ctkCollapsibleButton
from .ctkwidgets import ctkMessageBox, ctkPathLineEdit, ctkSettings, ctkSliderWidget
from .nodecombobox import qMRMLNodeComboBox
from .proxy import unwrap, wrap
from .qmrmlwidget import qMRMLWidget
from .scriptedmodule import qSlicerScriptedLoadableModule, qSlicerScriptedLoadableModuleWidget
from .segmenteditor import qMRMLSegmentEditorWidget

CTK = (ctkCollapsibleButton, ctkSliderWidget, ctkPathLineEdit, ctkMessageBox, ctkSettings)
"""Classes of `ctk`."""
CTK_NAMES = (
    *("ctkCheckBox", "ctkCheckablePushButton", "ctkColorPickerButton", "ctkComboBox", "ctkDirectoryButton"),
    *("ctkDoubleRangeSlider", "ctkDoubleSlider", "ctkDoubleSpinBox", "ctkRangeWidget"),
)
"""Classes of `ctk` that are not imitated, but named by the connectors of parameters."""
QMRML = (
    *(qMRMLWidget, qMRMLNodeComboBox, qMRMLSegmentEditorWidget),
    *(qSlicerScriptedLoadableModule, qSlicerScriptedLoadableModuleWidget),
)
"""Classes of widgets, and of modules, in `slicer`."""


class QUiLoader(QtUiTools.QUiLoader):
    """The loader of Qt, made strict."""

    def load(self, file: QtCore.QFile, parent: QtWidgets.QWidget | None = None) -> QtWidgets.QWidget:
        widget = load_ui(file.fileName())
        widget.setParent(parent)
        return widget


def load_ui(path: Path | str) -> QtWidgets.QWidget:
    """Load the widget in a .ui file.

    Raises:
        ValueError: the file names a class, property, enum value, signal or slot that does not exist.
    """
    tree = ElementTree.parse(path).getroot()
    connections = [word for part in tree.findall("connections") for word in part]
    for part in tree.findall("connections"):
        tree.remove(part)
    _number_filters(tree)
    widget = _load(ElementTree.tostring(tree), path)
    children = [child for child in widget.findChildren(QtCore.QObject) if not _is_in_editor(child)]
    everything = {child.objectName(): child for child in [widget, *children]}
    _check_properties(tree, everything, path)
    for connection in connections:
        _connect(everything, *(connection.findtext(tag) for tag in ("sender", "signal", "receiver", "slot")))
    return widget


def _is_in_editor(child: QtCore.QObject) -> bool:
    """Return whether an object is part of a Segment Editor, whose effects may give their options any name."""
    parent = child.parent()
    return parent is not None and (isinstance(parent, qMRMLSegmentEditorWidget) or _is_in_editor(parent))


def _number_filters(tree: ElementTree.Element) -> None:
    """Convert the filters of a ctkPathLineEdit to a number: PySide6 cannot read names of flags of Python classes."""
    for element in tree.iter("widget"):
        for flags in element.findall("property[@name='filters']/set"):
            names = [flag.removeprefix("ctkPathLineEdit::") for flag in flags.text.split("|")]
            flags.tag, flags.text = "number", str(sum(ctkPathLineEdit.Filter[name] for name in names))


def _load(content: bytes, path: Path | str) -> QtWidgets.QWidget:
    loader = QtUiTools.QUiLoader()
    for cls in (*CTK, *QMRML):
        loader.registerCustomWidget(cls)
    buffer = QtCore.QBuffer()
    buffer.setData(content)
    buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
    complaints: list[str] = []
    before = QtCore.qInstallMessageHandler(lambda kind, context, text: complaints.append(text))
    try:
        widget = loader.load(buffer)
    finally:
        QtCore.qInstallMessageHandler(before)
    if widget is None or complaints:
        raise ValueError(f"{path}: {complaints or loader.errorString()}")
    return widget


def _check_properties(tree: ElementTree.Element, everything: dict, path: Path | str) -> None:
    """List dynamic properties that Qt made because the widget has none of that name; stdset="0" marks intended ones."""
    for element in tree.iter("widget"):
        meant = {property_.get("name") for property_ in element.findall("property") if property_.get("stdset") == "0"}
        widget = everything[element.get("name")]
        names = {bytes(name).decode() for name in widget.dynamicPropertyNames()} - meant
        unknown = sorted(name for name in names if not name.startswith("_"))
        if unknown:
            raise ValueError(f"{path}: {element.get('class')} '{element.get('name')}' has no property {unknown}")


def _connect(everything: dict, sender: str, signal: str, receiver: str, slot: str) -> None:
    for name in (sender, receiver):
        if name not in everything:
            raise ValueError(f"a connection of '{name}', which does not exist")
    target, name = everything[receiver], slot.split("(")[0]
    known = target.metaObject().indexOfSlot(slot) >= 0 or (name == "setMRMLScene" and hasattr(target, name))
    if not known:
        raise ValueError(f"{type(target).__name__} '{receiver}' has no slot '{slot}'")
    count = len([argument for argument in re.search(r"\((.*)\)", slot).group(1).split(",") if argument])
    wrap(everything[sender]).connect(signal, lambda *arguments: getattr(target, name)(*unwrap(arguments[:count])))
