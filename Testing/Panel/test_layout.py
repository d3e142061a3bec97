"""No text of the panel is cut off, however narrow it is; a `ctkCollapsibleButton` is as wide as its contents need."""

from __future__ import annotations

from pathlib import Path

import pytest
import standin
from MedCLIPSAMPanel import lossPlot
from parts import shown_volume
from PySide6 import QtWidgets

SECTIONS = ("export", "review", "fineTune", "settings", "models", "installation")
NARROW, WIDE = 300, 480
"""Pixels."""


@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_long_texts_are_shown_whole(panel, width: int, tmp_path: Path) -> None:
    ui, shown = panel.ui, standin.unwrap(panel.content)
    panel.parameters.clip = panel.parameters.sam = "starter"
    name = "80: T1 MPRAGE SAG ISO post-contrast 1 mm, multi-planar reconstruction"  # as those of a hospital
    ui.inputVolumeSelector.setCurrentNode(shown_volume(name))
    for section in SECTIONS:
        getattr(ui, f"{section}CollapsibleButton").collapsed = False
    ui.segmentEditor.setVisible(False)  # its look is the stand-in's
    lossPlot.draw(ui.fineTunePlot, [3.0, 2.0], [(2, 2.0, 0.5)])
    long = "Found 'brain tumor': score 0.48 (presence 0.59 x predicted mask quality 0.82), and more of it. " * 4
    for label in (ui.resultLabel, ui.notesLabel, ui.statusLabel, ui.correctStatusLabel, ui.exportLabel):
        label.text = f"<b>{long}"
        label.setVisible(True)
    try:
        for _ in range(2):  # what the models have seen comes with their list, and makes its label higher
            standin.screenshot(panel.parent, tmp_path / "panel.png", width)
            QtWidgets.QApplication.processEvents()
            standin.unwrap(ui.seenLabel).parentWidget().layout().invalidate()  # a form keeps heights of hidden rows
        assert standin.unwrap(panel.parent).width() == width, "the panel asks for more than it is given"
        labels = [label for label in shown.findChildren(QtWidgets.QLabel) if label.isVisible() and label.wordWrap()]
        assert len(labels) > 8
        cut = {label.objectName() for label in labels if label.heightForWidth(label.width()) > label.height()}
        assert cut == set()
        assert ui.resultLabel.text.startswith("<b>") and standin.unwrap(ui.resultLabel).textFormat().name == "PlainText"
    finally:
        for section in SECTIONS:
            getattr(ui, f"{section}CollapsibleButton").collapsed = True
        for label in (ui.statusLabel, ui.correctStatusLabel, ui.exportLabel):
            label.text = ""
        ui.segmentEditor.setVisible(True)
        panel.results.clear()


def test_every_widget_has_a_name_for_screen_readers_and_every_button_says_what_it_does(panel) -> None:
    """A label names the widget that is its buddy; a button is named by its text."""
    widgets = {name: standin.unwrap(widget) for name, widget in vars(panel.ui).items()}
    named = {label.buddy() for label in widgets.values() if isinstance(label, QtWidgets.QLabel)}
    texts = QtWidgets.QLabel, QtWidgets.QAbstractButton
    ours = {
        name: widget
        for name, widget in widgets.items()
        if not isinstance(widget, texts) and name not in ("segmentEditor", "hintFrame")  # Slicer's own, and a frame
    }
    assert len(ours) > 40
    assert [name for name, widget in ours.items() if widget not in named and not widget.accessibleName()] == []
    buttons = {name: widget for name, widget in widgets.items() if isinstance(widget, QtWidgets.QAbstractButton)}
    silent = [name for name, button in buttons.items() if not button.toolTip() and "Collapsible" not in name]
    assert len(buttons) > 30 and silent == []
