"""Draw the images of the panel in the documents, with the default models and settings.

    python Testing/Panel/draw_images.py [--look FOLDER]

The module is the real one on the stand-in for Slicer's widgets. With --look, all sections are also drawn light and
dark, 300 and 460 pixels wide, to check for texts that are cut off or hard to read.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
os.environ["QT_QPA_PLATFORM"] = "offscreen"
sys.path[:0] = [str(HERE), str(HERE.parent), str(ROOT / "MedCLIPSAM"), str(ROOT)]

import standin  # noqa: E402

standin.install()

import slicer  # noqa: E402
import slicer.util  # noqa: E402
from effects import NAME, apply, edit, sampleData  # noqa: E402
from heads import idle  # noqa: E402
from PySide6 import QtCore, QtGui, QtWidgets  # noqa: E402

from MedCLIPSAMLib.phantoms.dataset import make_phantom  # noqa: E402

IMAGES, SCREENSHOTS = ROOT / "docs" / "images", ROOT / "Resources" / "screenshots"
WIDTH = 420
SECTIONS = ("export", "review", "fineTune", "settings", "models", "installation")
MINUTES = 10 * 60


def main() -> None:
    """Draw all images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--look", type=Path, help="folder for drawings of every section, light and dark")
    look = parser.parse_args().look
    sys.modules["SampleData"] = sampleData()
    standin.load_module(ROOT / "MedCLIPSAM" / "MedCLIPSAM.py")
    standin.unwrap(slicer.app).startupCompleted.emit()
    slicer.util.selectModule("MedCLIPSAM")
    panel = slicer.modules.MedCLIPSAMWidget
    for name in SECTIONS:
        getattr(panel.ui, f"{name}CollapsibleButton").collapsed = True
    if look:
        draw_looks(panel, look, "first_start")
    volume = segment_sample(panel)
    standin.screenshot(panel.parent, SCREENSHOTS / "panel.png", WIDTH)
    bottom = standin.unwrap(panel.ui.correctCollapsibleButton)
    top = bottom.mapTo(standin.unwrap(panel.parent), QtCore.QPoint(0, 0)).y()
    crop(SCREENSHOTS / "panel.png", IMAGES / "first_prompt.png", top - 6)
    draw_effect(volume)
    export(panel)
    if look:
        draw_looks(panel, look, "all")
    panel.cleanup()
    slicer.mrmlScene.Clear(0)  # else its nodes call observers in Python after Python's end


def segment_sample(panel):
    """Draw the first prompt of the tutorial."""
    from MedCLIPSAMScene.samples import loadSample

    volume = loadSample("MedCLIPSAMBrainMRI")
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        composite.SetBackgroundVolumeID(volume.GetID())
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    panel.ui.promptEdit.setPlainText("brain tumor")
    panel.ui.segmentButton.click()
    standin.pump(lambda: idle(panel), MINUTES)
    return volume


def draw_effect(volume) -> None:
    """Draw the same prompt in the Segment Editor."""
    editor = slicer.qMRMLSegmentEditorWidget()
    editor.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    editor.setMRMLScene(slicer.mrmlScene)
    _node, effect = edit(editor, volume, ("tumor",))
    assert editor.activeEffect().name == NAME
    apply(effect)
    standin.screenshot(editor, IMAGES / "effect.png", 364)
    editor.setActiveEffectByName("")
    editor.setMRMLSegmentEditorNode(None)
    editor.deleteLater()


def export(panel) -> None:
    """Draw an export of pseudo-labels of three images."""
    from MedCLIPSAMLib.volumes.write import write_png

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "heads").mkdir()
        for number in range(3):
            image = make_phantom("validation", number, "MR", 1).image
            write_png(folder / "heads" / f"{number}.png", image[..., None].repeat(3, 2))
        ui, task = panel.ui, panel.operations.export.task
        ui.exportInputsEdit.currentPath = str(folder / "heads")
        ui.exportOutEdit.currentPath = str(folder / "Dataset101_BrainTumor")
        ui.exportButton.click()
        standin.pump(lambda: not task.running, MINUTES)
        ui.exportCollapsibleButton.collapsed = False
        standin.screenshot(ui.exportCollapsibleButton, IMAGES / "export.png", WIDTH)


def draw_looks(panel, folder: Path, name: str) -> None:
    """Draw every section, light and dark, wide and narrow."""
    ui, application = panel.ui, QtWidgets.QApplication.instance()
    if name == "all":
        for section in SECTIONS:
            getattr(ui, f"{section}CollapsibleButton").collapsed = False
        standin.pump(lambda: ui.modelsTable.rowCount > 2, MINUTES)
    light = application.palette()
    for shade, palette in (("light", light), ("dark", dark())):
        application.setPalette(palette)
        for width in (300, 460):
            standin.screenshot(panel.parent, folder / f"{name}_{shade}_{width}.png", width)
    application.setPalette(light)
    for section in SECTIONS:
        getattr(ui, f"{section}CollapsibleButton").collapsed = True


def crop(source: Path, target: Path, height: int) -> None:
    """Return the upper part of an image."""
    image = QtGui.QImage(str(source))
    image.copy(0, 0, image.width(), height).save(str(target))


def dark() -> QtGui.QPalette:
    """Return approximately the colors of Slicer's dark style."""
    palette, roles = QtGui.QPalette(), QtGui.QPalette.ColorRole
    for role, color in (
        (roles.Window, "#353535"),
        (roles.WindowText, "#eeeeee"),
        (roles.Base, "#232323"),
        (roles.AlternateBase, "#353535"),
        (roles.Text, "#eeeeee"),
        (roles.Button, "#454545"),
        (roles.ButtonText, "#eeeeee"),
        (roles.PlaceholderText, "#9a9a9a"),
        (roles.Highlight, "#2a82da"),
        (roles.HighlightedText, "#ffffff"),
    ):
        palette.setColor(role, QtGui.QColor(color))
    for role in (roles.WindowText, roles.Text, roles.ButtonText):
        palette.setColor(QtGui.QPalette.ColorGroup.Disabled, role, QtGui.QColor("#8a8a8a"))
    return palette


if __name__ == "__main__":
    main()
