"""The text prompt in an editor, and the user's actions on it; conftest.py imports the fixtures."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import slicer
import slicer.util
import standin
from helpers.scene import PROMPT, axial, mask_on
from MedCLIPSAMScene import segments

NAME = "Text prompt (MedCLIPSAM)"


@pytest.fixture(scope="module")
def registered(widget):
    """The effect, registered for every editor as at the end of Slicer's start."""
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
    """An editor like that of the Segment Editor module."""
    made = slicer.qMRMLSegmentEditorWidget()
    made.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    made.setMRMLScene(slicer.mrmlScene)
    yield made
    made.setActiveEffectByName("")
    made.setMRMLSegmentEditorNode(None)
    made.deleteLater()


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
    """Type a prompt, press the button, and wait, as a user does; return the message."""
    begin(effect, prompt, where)
    standin.pump(lambda: not effect.cancelButton.enabled, 120)
    assert effect.applyButton.enabled and not shown(effect, effect.progressBar)
    return effect.statusLabel.text


def shown(effect, widget) -> bool:
    return widget.isVisibleTo(effect.scriptedEffect.optionsFrame())


def paint(node, identifier: str, volume, mask: np.ndarray) -> None:
    """Put a (K, J, I) mask into a segment."""
    segments.writeMask(node, identifier, mask, axial())


def by_panel(panel, volume, **options) -> np.ndarray:
    """Segment the prompt with the module's operations, and return the mask."""
    panel.session.models = panel.models.models()
    run = panel.operations.propagate.run if options.pop("whole", False) else panel.operations.segment.run
    result = run(volume, [PROMPT], timeout=120, **options)
    mask = mask_on(result.segmentation, result.prompts[0].segmentId, volume)
    assert mask.any()
    return mask
