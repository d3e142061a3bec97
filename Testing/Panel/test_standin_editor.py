"""The Segment Editor of the stand-in behaves as Slicer's, on its real logic."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import slicer
import slicer.util
import standin
import vtk
from parts import segmentation, volume


@pytest.fixture
def editor(ui) -> Iterator[object]:
    ui.editor.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    ui.editor.setMRMLScene(slicer.mrmlScene)
    yield ui.editor
    ui.editor.setMRMLSegmentEditorNode(None)


def test_the_segment_editor_undoes_what_was_saved(editor) -> None:
    node, seen = segmentation("one"), []
    editor.connect("currentSegmentIDChanged(QString)", seen.append)
    editor.setSegmentationNode(node)
    editor.saveStateForUndo()
    node.GetSegmentation().AddEmptySegment("tumour", "tumour")
    assert editor.segmentationNode() is node and editor.currentSegmentID() == ""  # a new segment is not selected
    editor.setCurrentSegmentID("tumour")
    assert editor.currentSegmentID() == "tumour" and seen == []  # the signal is of the user's choice
    editor.undo()
    assert node.GetSegmentation().GetNumberOfSegments() == 0
    assert editor.currentSegmentID() == "" and seen == [""]
    editor.redo()
    assert node.GetSegmentation().GetNumberOfSegments() == 1
    editor.maximumNumberOfUndoStates = 4
    assert editor.maximumNumberOfUndoStates == 4
    slicer.mrmlScene.Clear(0)
    assert editor.segmentationNode() is None


def test_the_segment_editor_has_selectors_of_its_own(editor) -> None:
    seen = []
    editor.connect("segmentationNodeChanged(vtkMRMLSegmentationNode*)", seen.append)
    editor.connect("currentSegmentIDChanged(QString)", seen.append)
    one, two = segmentation("one", "a", "b"), segmentation("two", "c")
    editor.setSegmentationNode(one)
    assert seen == ["a", one] and editor.currentSegmentID() == "a"
    selector = slicer.util.findChild(editor, "SegmentationNodeComboBox")
    selector.setCurrentNode(two)
    assert editor.segmentationNode() is two and seen[2:] == ["c", two]
    slicer.mrmlScene.RemoveNode(two)
    assert editor.segmentationNode() is one and selector.currentNode() is one
    slicer.mrmlScene.RemoveNode(one)
    assert editor.segmentationNode() is None
    editor.segmentationNodeSelectorVisible = False
    assert not selector.visible


def test_effects_are_found_by_name_and_end_when_the_mouse_places_points(editor) -> None:
    node, head = segmentation("one", "a"), volume("head")
    editor.setSegmentationNode(node)
    editor.setSourceVolumeNode(head)
    assert editor.sourceVolumeNode() is head and editor.effectByName("Pain") is None
    editor.setActiveEffectByName("Paint")
    paint = editor.activeEffect()
    assert paint.name == "Paint" and paint is editor.effectByName("Paint") and paint.active()
    paint.setParameter("BrushRelativeDiameter", "5.25")
    assert paint.parameter("BrushRelativeDiameter") == "5.25"
    assert editor.mrmlSegmentEditorNode().GetAttribute("Paint.BrushRelativeDiameter") == "5.25"
    mouse = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    mouse.SetCurrentInteractionMode(mouse.Place)
    assert editor.activeEffect() is None and mouse.GetCurrentInteractionMode() == mouse.Place
    editor.setActiveEffectByName("Erase")
    assert mouse.GetCurrentInteractionMode() == mouse.ViewTransform
    with pytest.raises(ValueError):
        editor.setActiveEffectByName("Pain")
    editor.setSegmentationNode(None)
    assert editor.activeEffect() is None


def test_the_views_follow_the_editor_as_in_slicer(editor) -> None:
    """Choosing a segmentation empties the label layers and shows the source volume where it is not shown yet."""
    red, green = (slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceCompositeNode{view}") for view in ("Red", "Green"))
    head, other, labels = volume("head"), volume("other"), volume("labels")
    red.SetBackgroundVolumeID(head.GetID())
    red.SetForegroundVolumeID(other.GetID())
    green.SetBackgroundVolumeID(other.GetID())
    node = segmentation("one", "a")
    kinds, layouts = slicer.vtkMRMLLayoutNode, slicer.app.layoutManager()
    try:
        red.SetLabelVolumeID(labels.GetID())
        editor.autoShowSourceVolumeNode = False
        editor.setSegmentationNode(node)
        assert red.GetLabelVolumeID() is None
        editor.setSourceVolumeNode(head)
        assert green.GetBackgroundVolumeID() == other.GetID()
        editor.autoShowSourceVolumeNode = True
        editor.setSourceVolumeNode(other)
        editor.setSourceVolumeNode(head)
        assert green.GetBackgroundVolumeID() == head.GetID() and red.GetForegroundVolumeID() == other.GetID()
        editor.removeViewObservations()
        layouts.setLayout(kinds.SlicerLayoutThreeOverThreeView)
        assert "Red+" in layouts.sliceViewNames()
        more = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed+")
        assert more.GetBackgroundVolumeID() is None, "the views are not observed"
        layouts.setLayout(kinds.SlicerLayoutFourUpView)
        assert not slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed+").IsMappedInLayout()
        editor.setupViewObservations()
        layouts.setLayout(kinds.SlicerLayoutThreeOverThreeView)
        assert more.GetBackgroundVolumeID() == head.GetID()
    finally:
        standin.unwrap(layouts).forget()


EFFECT = """
import qt, slicer, vtk
from SegmentEditorEffects import *


class SegmentEditorFillEffect(AbstractScriptedSegmentEditorEffect):
    def __init__(self, scriptedEffect):
        scriptedEffect.name = "Fill"
        scriptedEffect.title = "Fill it"
        AbstractScriptedSegmentEditorEffect.__init__(self, scriptedEffect)

    def clone(self):
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        made = effects.qSlicerSegmentEditorScriptedEffect(None)
        made.setPythonSource(__file__.replace("\\\\", "/"))
        return made

    def setupOptionsFrame(self):
        assert self.scriptedEffect.parameter("What") == "all"  # the node and its defaults come first
        self.edit = qt.QLineEdit()
        self.label = self.scriptedEffect.addLabeledOptionsWidget("What:", self.edit)
        self.button = qt.QPushButton("Apply")
        self.scriptedEffect.addOptionsWidget(self.button)
        self.button.connect("clicked()", self.apply)
        self.edit.connect("textChanged(QString)", self.updateMRMLFromGUI)

    def setMRMLDefaults(self):
        self.scriptedEffect.setParameterDefault("What", "all")

    def updateGUIFromMRML(self):
        self.edit.text = self.scriptedEffect.parameter("What")

    def updateMRMLFromGUI(self):
        self.scriptedEffect.setParameter("What", self.edit.text)

    def apply(self):
        if self.scriptedEffect.confirmCurrentSegmentVisible() == self.scriptedEffect.NotConfirmed:
            return
        self.scriptedEffect.saveStateForUndo()
        labelmap = self.scriptedEffect.defaultModifierLabelmap()
        labelmap.GetPointData().GetScalars().Fill(1)
        mode = slicer.qSlicerSegmentEditorAbstractEffect.ModificationModeSet
        self.scriptedEffect.modifySelectedSegmentByLabelmap(labelmap, mode)
"""


def test_an_effect_of_python_changes_the_segment(editor, tmp_path) -> None:
    import qSlicerSegmentationsEditorEffectsPythonQt as effects

    folder = tmp_path / "SegmentEditorFillLib"
    folder.mkdir()
    path = folder / "SegmentEditorFillEffect.py"
    path.write_text(EFFECT)
    effect = effects.qSlicerSegmentEditorScriptedEffect(None)
    assert not effect.setPythonSource("effect.txt") and effect.setPythonSource(str(path))
    effect.self().register()
    assert editor.effectByName("Fill") is None
    editor.updateEffectList()
    fill = editor.effectByName("Fill")
    assert fill.title == "Fill it" and fill.parameterSetNode() is editor.mrmlSegmentEditorNode()
    assert fill.parameter("What") == "all"
    node, head = segmentation("one", "a"), volume("head")
    slicer.util.updateVolumeFromArray(head, np.zeros((2, 3, 4), np.int16))
    node.SetReferenceImageGeometryParameterFromVolumeNode(head)
    editor.setSegmentationNode(node)
    assert editor.sourceVolumeNode() is head and not fill.optionsFrame().isVisibleTo(editor)
    editor.setActiveEffectByName("Fill")
    own = fill.self()
    assert fill.optionsFrame().isVisibleTo(editor) and own.edit.text == "all" and own.label.text == "What:"
    own.edit.text = "half"
    assert fill.parameter("What") == "half"
    own.button.click()
    assert slicer.util.arrayFromSegmentBinaryLabelmap(node, "a", head).sum() == 24
    editor.undo()
    assert slicer.util.arrayFromSegmentBinaryLabelmap(node, "a", head).sum() == 0
    node.GetDisplayNode().SetSegmentVisibility("a", False)
    standin.answers["confirm"] = False
    own.button.click()
    assert slicer.util.arrayFromSegmentBinaryLabelmap(node, "a", head).sum() == 0
    fill.parameter("Waht")  # codespell:ignore
    with pytest.raises(KeyError):
        standin.check()
    standin.unwrap(slicer.qSlicerSegmentEditorEffectFactory.instance()).forget("Fill")


def test_nothing_can_be_edited_without_a_source_volume(editor) -> None:
    node, head = segmentation("one", "a"), volume("head")
    editor.setSegmentationNode(node)
    editor.setSourceVolumeNode(head)
    editor.setActiveEffectByName("Paint")
    options = editor.activeEffect().optionsFrame()
    assert options.enabled
    editor.readOnly = True
    assert not options.enabled
    editor.readOnly = False
    slicer.mrmlScene.RemoveNode(head)
    assert editor.sourceVolumeNode() is None and not options.enabled


@pytest.mark.parametrize("confirmed", [True, False])
def test_no_effect_is_active_on_surfaces(editor, confirmed: bool) -> None:
    """The editor asks whether to convert them to label maps, and activates the effect only where the user agrees."""
    node, head, ball = segmentation("ball"), volume("head"), vtk.vtkSphereSource()
    slicer.util.updateVolumeFromArray(head, np.zeros((3, 4, 5), np.int16))
    ball.Update()
    node.SetReferenceImageGeometryParameterFromVolumeNode(head)
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    made = slicer.vtkSegment()
    made.AddRepresentation("Closed surface", ball.GetOutput())
    node.GetSegmentation().AddSegment(made, "ball")
    kind = node.GetSegmentation().GetSourceRepresentationName
    standin.answers["confirm"] = confirmed
    editor.setSegmentationNode(node)
    editor.setSourceVolumeNode(head)
    editor.setActiveEffectByName("Paint")
    assert ("confirm", "Change source representation to binary labelmap?") in standin.messages
    assert (editor.activeEffect() is not None) == confirmed
    assert kind() == ("Binary labelmap" if confirmed else "Closed surface")
    editor.setActiveEffectByName("")
    node.GetSegmentation().RemoveAllSegments()
    editor.setActiveEffectByName("Paint")
    assert editor.activeEffect() is not None and kind() == "Binary labelmap", "there is nothing to lose"
    editor.setActiveEffectByName("")
    editor.setSegmentationNode(None)
    editor.setActiveEffectByName("Paint")
    assert editor.activeEffect() is None
