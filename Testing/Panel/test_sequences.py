"""Volumes and segmentations that are proxies of sequences: a result belongs to the item shown when the run started."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import slicer
import slicer.util
import standin
from effects import begin, edit
from heads import add_volume, idle, segment
from helpers.scene import PROMPT, mask_on
from MedCLIPSAMScene import markups, overlay, segments
from MedCLIPSAMScene.sliceGeometry import SceneSlices


@pytest.fixture
def cine(panel, phantom):
    """A sequence of two items of a head, with the first one shown: its volume, and a function that shows an item."""
    for node in (slicer.vtkMRMLSequenceNode(), slicer.vtkMRMLSequenceBrowserNode()):
        slicer.mrmlScene.RegisterNodeClass(node)  # as the module Sequences does at the start of Slicer
    logic, add = slicer.vtkSlicerSequencesLogic(), slicer.mrmlScene.AddNewNodeByClass
    logic.SetMRMLScene(slicer.mrmlScene)
    images, masks = add("vtkMRMLSequenceNode", "cine"), add("vtkMRMLSequenceNode", "masks")
    browser, volume = add("vtkMRMLSequenceBrowserNode"), add_volume(phantom.image)
    for value in ("0.0", "0.5"):
        images.SetDataNodeAtValue(volume, value)
    browser.AddSynchronizedSequenceNode(images.GetID())
    browser.AddProxyNode(volume, images, False)

    def show(number: int) -> None:
        browser.SetSelectedItemNumber(number)
        logic.UpdateProxyNodesFromSequences(browser)

    def add_masks(kept: bool = True):
        """Add a segmentation with one item for each, whose changes are kept or not."""
        node = segments.newSegmentation(volume)
        node.GetSegmentation().AddEmptySegment("Segment_1", "Segment_1")
        for value in ("0.0", "0.5"):
            masks.SetDataNodeAtValue(node, value)
        browser.AddSynchronizedSequenceNode(masks.GetID())
        browser.AddProxyNode(node, masks, False)
        browser.SetSaveChanges(masks, kept)
        show(0)
        return node

    show(0)
    return SimpleNamespace(volume=volume, show=show, add_masks=add_masks, browser=browser, images=images)


def names(node) -> list[str]:
    segmentation = node.GetSegmentation()
    return [segmentation.GetNthSegment(index).GetName() for index in range(segmentation.GetNumberOfSegments())]


def test_each_item_gets_a_segment_of_its_own(panel, cine) -> None:
    segment(panel, cine.volume)
    node = panel.parameters.segmentation
    first = mask_on(node, panel.corrections.segment(), cine.volume)
    assert first.any() and names(node) == [f"{PROMPT}, item 1"]
    assert "item 1 of 2 of the sequence 'cine'" in panel.ui.notesLabel.text
    cine.show(1)
    segment(panel, cine.volume)
    assert names(node) == [f"{PROMPT}, item 1", f"{PROMPT}, item 2"]
    segment(panel, cine.volume)
    assert names(node) == [f"{PROMPT}, item 1", f"{PROMPT}, item 2"], "asked again, it is the same segment"
    cine.show(0)
    segment(panel, cine.volume)
    assert names(node) == [f"{PROMPT}, item 1", f"{PROMPT}, item 2"]


def test_a_volume_that_does_not_follow_its_browser_is_no_item(panel, cine) -> None:
    cine.browser.SetPlayback(cine.images, False)
    segment(panel, cine.volume)
    assert names(panel.parameters.segmentation) == [PROMPT]
    cine.show(1)
    segment(panel, cine.volume)
    assert names(panel.parameters.segmentation) == [PROMPT]


def shown() -> str:
    node = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed").GetForegroundVolumeID()
    return slicer.mrmlScene.GetNodeByID(node).GetName() if node else ""


def test_the_saliency_stays_while_its_volume_joins_a_sequence_and_leaves_it(panel, cine) -> None:
    for followed in (False, True):
        cine.browser.SetPlayback(cine.images, followed)
        segment(panel, cine.volume)
        cine.browser.SetPlayback(cine.images, not followed)
        cine.volume.Modified()
        assert shown().startswith("Saliency of"), followed


def test_the_saliency_is_shown_over_the_item_that_it_is_of(panel, cine) -> None:
    segment(panel, cine.volume)
    assert shown().startswith("Saliency of")
    for item, seen in ((1, False), (0, True), (1, False)):
        cine.show(item)
        assert bool(shown()) == seen, item
    panel.ui.segmentButton.click()
    cine.show(0)
    standin.pump(lambda: idle(panel), 60)
    assert shown() == "", "the map is of the item that was shown when it was asked"
    slicer.util.selectModule("Welcome")
    cine.show(1)
    assert shown().startswith("Saliency of")
    cine.show(0)
    assert shown() == "", "also while another module is shown"


def test_a_map_of_an_older_scene_is_shown_over_the_item_that_it_is_of(panel, cine) -> None:
    """Its content has no sum of the voxels between the checksum of a sample and the item."""
    segment(panel, cine.volume)
    saliency = overlay.mapOf(cine.volume, overlay.SALIENCY)
    checksum, _sum, item, _end = saliency.GetAttribute(overlay.CONTENT).split(";")
    saliency.SetAttribute(overlay.CONTENT, f"{checksum};{item};")
    for number, seen in ((1, False), (0, True)):
        cine.show(number)
        assert bool(shown()) == seen, number


def test_a_segment_of_another_item_is_not_corrected(editor, panel, cine) -> None:
    segment(panel, cine.volume)
    node, identifier = panel.parameters.segmentation, panel.corrections.segment()
    mask = mask_on(node, identifier, cine.volume)
    cine.show(1)
    why = f"The segment '{PROMPT}, item 1' belongs to another item of the sequence than the one shown."
    panel.ui.refineButton.click()
    standin.pump(lambda: idle(panel), 60)
    assert why in panel.ui.statusLabel.text
    _other, effect = edit(editor, cine.volume)
    editor.setSegmentationNode(node)
    editor.setSourceVolumeNode(cine.volume)
    editor.setCurrentSegmentID(identifier)
    editor.setActiveEffectByName(effect.scriptedEffect.name)
    begin(effect)
    standin.pump(lambda: not effect.cancelButton.enabled, 60)
    assert why in effect.statusLabel.text
    assert (mask_on(node, identifier, cine.volume) == mask).all()


def test_a_segment_that_is_marked_by_hand_is_of_the_item_shown(panel, cine) -> None:
    ui = panel.ui
    ui.inputVolumeSelector.setCurrentNode(cine.volume)
    ui.promptEdit.setPlainText(PROMPT)
    markups.addBox(SceneSlices(cine.volume), 1, (40, 40, 90, 90))
    ui.segmentBoxesButton.click()
    standin.pump(lambda: idle(panel), 60)
    node = panel.parameters.segmentation
    assert names(node) == [f"{PROMPT}, item 1"]
    cine.show(1)
    ui.refineButton.click()
    standin.pump(lambda: idle(panel), 60)
    assert "belongs to another item of the sequence" in ui.statusLabel.text
    for number in (1, 0):
        cine.show(number)
        segment(panel, cine.volume)
        assert names(node) == [f"{PROMPT}, item 1", f"{PROMPT}, item 2"]


def test_where_an_item_shows_nothing_the_others_stay(panel, cine) -> None:
    segment(panel, cine.volume)
    node, identifier = panel.parameters.segmentation, panel.corrections.segment()
    mask = mask_on(node, identifier, cine.volume)
    cine.show(1)
    panel.parameters.method.presence = 1.0
    segment(panel, cine.volume)
    assert "Nothing found" in panel.ui.resultLabel.text and "stays" not in panel.ui.resultLabel.text
    assert (mask_on(node, identifier, cine.volume) == mask).all()


def test_a_run_during_which_another_item_is_shown_belongs_to_the_first(panel, cine) -> None:
    panel.ui.inputVolumeSelector.setCurrentNode(cine.volume)
    panel.ui.promptEdit.setPlainText(PROMPT)
    panel.ui.segmentButton.click()
    cine.show(1)
    standin.pump(lambda: idle(panel), 60)
    assert names(panel.parameters.segmentation) == [f"{PROMPT}, item 1"]


def test_a_segmentation_that_is_a_sequence_has_segments_of_its_own_in_each_item(panel, cine) -> None:
    node = cine.add_masks()
    panel.parameters.inputVolume, panel.parameters.segmentation = cine.volume, node
    segment(panel, cine.volume)
    assert names(node) == ["Segment_1", PROMPT]
    cine.show(1)
    assert names(node) == ["Segment_1"]
    segment(panel, cine.volume)
    assert names(node) == ["Segment_1", PROMPT]


@pytest.mark.parametrize("kept", [True, False])
def test_a_result_that_the_sequence_does_not_keep_is_said(panel, cine, kept: bool) -> None:
    node = cine.add_masks(kept)
    panel.parameters.inputVolume, panel.parameters.segmentation = cine.volume, node
    segment(panel, cine.volume)
    said = (
        f"'{node.GetName()}' is an item of the sequence 'masks', which does not keep changes"
        in panel.ui.notesLabel.text
    )
    cine.show(1)
    cine.show(0)
    assert (PROMPT in names(node)) == kept != said


def test_a_segmentation_that_does_not_follow_its_browser_loses_nothing(panel, cine) -> None:
    node = cine.add_masks(kept=False)
    cine.browser.SetPlayback(cine.browser.GetSequenceNode(node), False)
    panel.parameters.inputVolume, panel.parameters.segmentation = cine.volume, node
    segment(panel, cine.volume)
    assert "does not keep changes" not in panel.ui.notesLabel.text
    cine.show(1)
    assert names(node) == ["Segment_1", f"{PROMPT}, item 1"]


def test_no_result_is_written_into_another_item(panel, cine) -> None:
    node = cine.add_masks()
    panel.parameters.inputVolume, panel.parameters.segmentation = cine.volume, node
    panel.ui.promptEdit.setPlainText(PROMPT)
    panel.ui.segmentButton.click()
    cine.show(1)
    standin.pump(lambda: idle(panel), 60)
    assert f"'{node.GetName()}' shows another item of its sequence than at the start" in panel.ui.statusLabel.text
    for number in (1, 0):
        cine.show(number)
        assert names(node) == ["Segment_1"]


def test_no_result_of_the_effect_is_written_into_another_item(editor, panel, cine) -> None:
    node = cine.add_masks()
    _other, effect = edit(editor, cine.volume)
    editor.setSegmentationNode(node)
    editor.setSourceVolumeNode(cine.volume)
    editor.setCurrentSegmentID("Segment_1")
    editor.setActiveEffectByName(effect.scriptedEffect.name)
    begin(effect)
    cine.show(1)
    standin.pump(lambda: not effect.cancelButton.enabled, 60)
    assert "another item of its sequence" in effect.statusLabel.text
    assert not np.any(mask_on(node, "Segment_1", cine.volume))
