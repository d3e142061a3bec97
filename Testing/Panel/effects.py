"""The text prompt in an editor, and what a user does with it; conftest.py takes its fixtures."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import slicer
import slicer.util
import standin
from MedCLIPSAMScene import segments
from MedCLIPSAMScene.sliceGeometry import SceneSlices

NAME = "Text prompt (MedCLIPSAM)"
PROMPT = "brain tumor"
AXIAL = np.array([[-1.0, 0, 0, 60], [0, -1, 0, 70], [0, 0, 4, -20], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def registered(widget):
    """The effect among those of every editor, as at the end of Slicer's start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "SampleData", sampleData())
        standin.unwrap(slicer.app).startupCompleted.emit()
        standin.unwrap(slicer.app).startupCompleted.emit()


def sampleData() -> ModuleType:
    module = ModuleType("SampleData")
    module.SampleDataLogic = SimpleNamespace(registerCustomSampleDataSource=lambda **_options: None)
    return module


@pytest.fixture
def editor(panel, registered):
    """An editor as that of the Segment Editor module."""
    made = slicer.qMRMLSegmentEditorWidget()
    made.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    made.setMRMLScene(slicer.mrmlScene)
    yield made
    made.setActiveEffectByName("")
    made.setMRMLSegmentEditorNode(None)
    made.deleteLater()


def add_volume(array: np.ndarray, matrix: np.ndarray = AXIAL):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "head")
    slicer.util.updateVolumeFromArray(node, array.astype(np.int16))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevelMinMax(0, 255)
    return node


def head(phantom, matrix: np.ndarray = AXIAL, at: int = 1):
    """Three slices, one of which shows the phantom; the Red view shows it."""
    array = np.zeros((3, *phantom.image.shape))
    array[at] = phantom.image
    node = add_volume(array, matrix)
    show(node, at)
    return node


def show(volume, k: int) -> None:
    slices = SceneSlices(volume)
    view = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    height, width = slices.stack.image_shape
    for row, value in enumerate(slices.toWorld(k, width / 2, height / 2)):
        view.GetSliceToRAS().SetElement(row, 3, value)
    view.UpdateMatrices()


def edit(editor, volume, names=("Segment_1",)):
    """A segmentation with empty segments in the editor, the first one selected, and the effect, active."""
    node = segments.newSegmentation(volume)
    for name in names:
        node.GetSegmentation().AddEmptySegment(name, name)
    editor.setSegmentationNode(node)
    editor.setSourceVolumeNode(volume)
    editor.setCurrentSegmentID(names[0])
    editor.setActiveEffectByName(NAME)
    return node, editor.activeEffect().self()


def begin(effect, prompt: str = PROMPT, where: str = "view Red") -> None:
    effect.promptEdit.setText(prompt)
    effect.whereBox.setCurrentIndex(effect.whereBox.findData(where))
    assert effect.applyButton.enabled and not effect.cancelButton.enabled
    effect.applyButton.click()


def apply(effect, prompt: str = PROMPT, where: str = "view Red") -> str:
    """What the user does: type, press the button, wait. Returns what is said."""
    begin(effect, prompt, where)
    standin.pump(lambda: not effect.cancelButton.enabled, 120)
    assert effect.applyButton.enabled and not shown(effect, effect.progressBar)
    return effect.statusLabel.text


def shown(effect, widget) -> bool:
    return widget.isVisibleTo(effect.scriptedEffect.optionsFrame())


def mask_of(node, identifier: str, volume) -> np.ndarray:
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, identifier, volume) > 0


def paint(node, identifier: str, volume, mask: np.ndarray) -> None:
    """Put a (K, J, I) mask into a segment."""
    segments.writeMask(node, identifier, mask, AXIAL)


def by_panel(panel, volume, **options) -> np.ndarray:
    """What the panel's segment of the prompt has."""
    panel.session.models = panel.models.models()
    run = panel.operations.propagate.run if options.pop("whole", False) else panel.operations.segment.run
    result = run(volume, [PROMPT], timeout=120, **options)
    mask = mask_of(result.segmentation, result.prompts[0].segmentId, volume)
    assert mask.any()
    return mask
