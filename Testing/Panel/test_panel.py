"""The panel as a user drives it: real module, real .ui, real MRML, real worker; the widgets are the stand-in's."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import slicer
import slicer.util
import standin
from heads import PROMPT, add_volume, idle, mask_on, segment, show
from MedCLIPSAMPanel.parameters import engineSettings
from MedCLIPSAMScene import markups, overlay, protect, segments
from MedCLIPSAMScene.sliceGeometry import SceneSlices, ijkToRAS
from MedCLIPSAMScene.sliceMasks import SliceMasks

from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.export.dataset import write_case, write_description
from MedCLIPSAMLib.export.manifest import Manifest
from MedCLIPSAMLib.nnunet.predict import Image, predict
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.phantoms.volumes import make_volume
from MedCLIPSAMLib.volumes import Segment, read_segmentation, read_volume
from MedCLIPSAMLib.volumes.write import write_picture

SCREENSHOTS = Path(__file__).resolve().parents[2] / "test-output" / "panel"


@pytest.fixture(scope="module")
def phantom():
    return next(
        made
        for made in (make_phantom("validation", index, "MR", 1) for index in range(3, 40))
        if made.lesion_mask.sum() > 300
    )


def test_the_button_says_why_it_is_disabled(panel, phantom) -> None:
    ui = panel.ui
    assert not ui.segmentButton.enabled and "input volume" in ui.segmentButton.toolTip
    assert "input volume" in ui.statusLabel.text
    ui.inputVolumeSelector.setCurrentNode(add_volume(phantom.picture))
    assert "Type what to segment" in ui.statusLabel.text
    ui.promptEdit.setPlainText(PROMPT)
    assert ui.segmentButton.enabled and ui.statusLabel.text == ""


def test_a_prompt_becomes_a_segment_with_score_overlay_and_boxes(panel, phantom) -> None:
    volume = add_volume(phantom.picture)
    segment(panel, volume)
    node = panel.parameters.segmentation
    assert node is panel.ui.segmentationSelector.currentNode() and node.GetName() == "head segmentation"
    identifier = panel.corrections.segment()
    assert node.GetSegmentation().GetSegment(identifier).GetName() == PROMPT
    assert dsc(mask_on(node, identifier, volume)[1], phantom.lesion_mask) > 0.6
    assert "presence" in panel.ui.resultLabel.text and "on CPU" in panel.ui.resultLabel.text
    composite = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    saliency = overlay.saliencyOf(volume)
    assert composite.GetForegroundVolumeID() == saliency.GetID()
    panel.ui.saliencySlider.value = 60
    assert saliency.GetDisplayNode().GetLowerThreshold() == 60
    panel.ui.saliencyCheckBox.checked = False
    assert composite.GetForegroundVolumeID() is None
    panel.ui.saliencyCheckBox.checked = True
    assert len(markups.markupsOf(volume, markups.BOX)) >= 1
    panel.ui.undoButton.click()
    assert node.GetSegmentation().GetNumberOfSegments() == 0


def test_nothing_found_is_said_plainly(panel) -> None:
    segment(panel, add_volume(make_phantom("validation", 2, "MR", 0).picture))
    assert "Nothing found" in panel.ui.resultLabel.text
    assert panel.parameters.segmentation is None


def test_a_box_may_be_dragged_and_outlined_again(panel, phantom) -> None:
    volume = add_volume(phantom.picture)
    segment(panel, volume)
    slices = SceneSlices(volume)
    rows, columns = np.nonzero(phantom.lesion_mask)
    panel.ui.removeBoxesButton.click()
    assert not markups.markupsOf(volume, markups.BOX)
    panel.ui.addBoxButton.click()
    (box,) = markups.markupsOf(volume, markups.BOX)
    centre = slices.toWorld(1, (columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2)
    box.SetCenterWorld(centre)
    box.SetSize(float(np.ptp(columns)) + 1, float(np.ptp(rows)) + 1, 4)
    panel.ui.segmentBoxesButton.click()
    standin.pump(lambda: idle(panel), 60)
    mask = mask_on(panel.parameters.segmentation, panel.corrections.segment(), volume)[1]
    assert dsc(mask, phantom.lesion_mask) > 0.75


def test_a_point_in_a_view_corrects_the_segment_and_undo_takes_it_back(panel, phantom) -> None:
    volume = add_volume(phantom.picture)
    segment(panel, volume)
    node, identifier = panel.parameters.segmentation, panel.corrections.segment()
    before = mask_on(node, identifier, volume)
    slices = SceneSlices(volume)
    panel.ui.insideButton.checked = True
    points = markups.pointList(volume, markups.POSITIVE)
    interaction = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    assert interaction.GetCurrentInteractionMode() == slicer.vtkMRMLInteractionNode.Place
    rows, columns = np.nonzero(phantom.lesion_mask & ~before[1])
    at = len(rows) // 2
    points.AddControlPointWorld(slices.toWorld(1, columns[at] + 0.5, rows[at] + 0.5))
    standin.pump(lambda: idle(panel), 60)
    after = mask_on(node, identifier, volume)
    assert after[1, rows[at], columns[at]]
    assert "Refined" in panel.ui.resultLabel.text
    points.AddControlPointWorld(slices.toWorld(1, columns[0] + 0.5, rows[0] + 0.5))
    standin.pump(lambda: idle(panel), 60)
    assert len(segments.pointsOf(node, identifier)) == points.GetNumberOfControlPoints() == 2
    panel.ui.segmentEditor.undo()  # what Ctrl+Z does, beside the panel's own button
    assert np.array_equal(mask_on(node, identifier, volume), after)
    assert points.GetNumberOfControlPoints() == 1
    panel.ui.undoButton.click()
    assert np.array_equal(mask_on(node, identifier, volume), before)
    assert points.GetNumberOfControlPoints() == 0
    panel.ui.insideButton.checked = False
    assert interaction.GetCurrentInteractionMode() != slicer.vtkMRMLInteractionNode.Place


def test_clicks_while_sam_works_are_taken_up_after_it(panel, phantom) -> None:
    """Two points at once: the second is not lost, and each is a step of undo."""
    volume = add_volume(phantom.picture)
    segment(panel, volume)
    node, identifier = panel.parameters.segmentation, panel.corrections.segment()
    before = mask_on(node, identifier, volume)
    slices = SceneSlices(volume)
    panel.ui.insideButton.checked = True
    points = markups.pointList(volume, markups.POSITIVE)
    rows, columns = np.nonzero(phantom.lesion_mask)
    for at in (len(rows) // 3, len(rows) // 2):
        points.AddControlPointWorld(slices.toWorld(1, columns[at] + 0.5, rows[at] + 0.5))
    standin.pump(lambda: len(segments.pointsOf(node, identifier)) == 2 and idle(panel), 60)
    panel.ui.undoButton.click()
    panel.ui.undoButton.click()
    assert np.array_equal(mask_on(node, identifier, volume), before)
    assert points.GetNumberOfControlPoints() == 0
    panel.ui.insideButton.checked = False


def test_points_correct_the_segment_they_were_placed_for(panel, phantom) -> None:
    volume = add_volume(phantom.picture)
    segment(panel, volume)
    node, first = panel.parameters.segmentation, panel.corrections.segment()
    slices = SceneSlices(volume)
    panel.ui.insideButton.checked = True
    points = markups.pointList(volume, markups.POSITIVE)
    rows, columns = np.nonzero(phantom.lesion_mask)
    points.AddControlPointWorld(slices.toWorld(1, columns[0] + 0.5, rows[0] + 0.5))
    standin.pump(lambda: idle(panel), 60)
    corrected = mask_on(node, first, volume)
    second = panel.operations.addSegment(node, "ventricles")
    panel.corrections.choose(second)
    inside = slices.toWorld(1, 64, 64)
    points.AddControlPointWorld(inside)
    standin.pump(lambda: idle(panel), 60)
    assert segments.pointsOf(node, second) == [markups.mark(1, inside)]
    assert points.GetNumberOfControlPoints() == 1
    assert np.array_equal(mask_on(node, first, volume), corrected)
    panel.ui.insideButton.checked = False


def test_a_painted_mask_is_refined(panel, phantom) -> None:
    """Paint half of the tumour as the Paint effect does, then Refine with SAM."""
    volume = add_volume(phantom.picture)
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    node = segments.newSegmentation(volume, "by hand")
    identifier = segments.addSegment(node, "tumour")
    panel.ui.segmentationSelector.setCurrentNode(node)
    panel.corrections.choose(identifier)
    painted = phantom.lesion_mask.copy()
    painted[: round(np.argwhere(painted)[:, 0].mean())] = False
    segments.writeSlices(node, identifier, SliceMasks.of(SceneSlices(volume), {1: painted}))
    panel.ui.refineButton.click()
    standin.pump(lambda: idle(panel), 60)
    refined = mask_on(node, identifier, volume)[1]
    assert refined.any() and not np.array_equal(refined, painted)
    panel.ui.undoButton.click()
    assert np.array_equal(mask_on(node, identifier, volume)[1], painted)


def test_a_corrected_slice_is_propagated_and_a_locked_one_stays(panel) -> None:
    """One slice is outlined by hand, its neighbours follow; another one is locked and stays in the next run."""
    phantom = make_volume("validation", 4, "MR", 1)
    truth = phantom.lesion_mask
    key = int(truth.sum((1, 2)).argmax())
    volume = add_volume(phantom.slices[key], slices=len(truth), at=key)
    slicer.util.updateVolumeFromArray(volume, phantom.slices.astype(np.int16))
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    node = segments.newSegmentation(volume, "by hand")
    identifier = segments.addSegment(node, "tumour")
    panel.ui.segmentationSelector.setCurrentNode(node)
    panel.corrections.choose(identifier)
    slices = SceneSlices(volume)
    segments.writeSlices(node, identifier, SliceMasks.of(slices, {key: truth[key]}))
    panel.ui.propagateButton.click()
    standin.pump(lambda: idle(panel), 60)
    assert "propagated" in panel.ui.resultLabel.text
    followed = mask_on(node, identifier, volume)
    assert dsc(followed, truth) > 0.7 and np.array_equal(followed[key], truth[key])
    show(volume, key + 1)
    panel.ui.lockSliceButton.click()
    assert panel.ui.lockSliceButton.checked and set(protect.own(node, identifier, slices)) == {key, key + 1}
    panel.ui.reachBox.value = 1
    segments.writeSlices(node, identifier, SliceMasks.of(slices, {key: truth[key] & (np.arange(128) % 2 == 0)}))
    panel.ui.propagateButton.click()
    standin.pump(lambda: idle(panel), 60)
    assert np.array_equal(mask_on(node, identifier, volume)[key + 1], followed[key + 1])
    panel.ui.lockSegmentButton.click()
    panel.ui.propagateButton.click()
    assert idle(panel) and "locked" in panel.ui.statusLabel.text
    panel.ui.lockSegmentButton.click()
    assert not panel.ui.lockSliceButton.checked


def test_cancel_and_close_leave_no_half_result(panel, phantom) -> None:
    volume = add_volume(phantom.picture, slices=60)
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    panel.ui.promptEdit.setPlainText(PROMPT)
    panel.ui.extentBox.setCurrentIndex(2)
    panel.ui.segmentButton.click()
    standin.pump(lambda: panel.ui.progressBar.value > 30, 60)
    assert "slice" in panel.ui.statusLabel.text
    panel.ui.cancelButton.click()
    assert idle(panel) and "Cancelled" in panel.ui.statusLabel.text
    panel.ui.segmentButton.click()
    standin.pump(lambda: panel.ui.progressBar.value > 30, 60)
    slicer.mrmlScene.Clear(0)
    assert idle(panel)
    standin.pump(lambda: True)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert panel.parameters.inputVolume is None and panel.parameters.prompts == PROMPT
    assert panel.ui.promptEdit.plainText == PROMPT
    segment(panel, add_volume(phantom.picture, at=1))
    assert panel.parameters.segmentation is not None


def test_choices_survive_saving_and_loading_the_scene(panel, phantom, tmp_path) -> None:
    volume = add_volume(phantom.picture)
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    panel.ui.promptEdit.setPlainText("brain tumor\nbrain")
    panel.ui.negativeEdit.text = "skull"
    panel.ui.extentBox.setCurrentIndex(1)
    panel.ui.lastSliceBox.value = 2
    panel.ui.presenceBox.value = 0.25
    panel.ui.coarseBox.setCurrentIndex(2)
    path = tmp_path / "scene.mrml"
    slicer.mrmlScene.SetURL(str(path))
    assert slicer.mrmlScene.Commit()
    slicer.mrmlScene.Clear(0)
    for name in ("prompts", "negative", "extent", "method"):
        setattr(panel.parameters, name, panel.parameters.default(name).value)
    slicer.mrmlScene.Connect()
    assert panel.ui.promptEdit.plainText == "brain tumor\nbrain" and panel.ui.negativeEdit.text == "skull"
    assert panel.ui.extentBox.currentIndex == 1 and panel.ui.lastSliceBox.value == 2
    settings = engineSettings(panel.parameters.method)
    assert settings["presence_threshold"] == 0.25 and settings["coarse"]["method"] == "threshold"
    panel.ui.defaultSettingsButton.click()
    assert panel.ui.presenceBox.value == 0.5


def test_presets_and_history_fill_the_prompt(panel, phantom) -> None:
    box = panel.ui.presetBox
    for index in range(1, box.count):
        box.setCurrentIndex(index)
        standin.unwrap(box).activated.emit(index)
    lines = panel.ui.promptEdit.plainText.splitlines()
    assert "brain tumor" in lines and "breast tumor" in lines and len(lines) == len(set(lines)) >= 3
    segment(panel, add_volume(phantom.picture), "brain tumor\nventricles")
    panel.ui.promptEdit.setPlainText("")
    standin.unwrap(panel.ui.historyBox).activated.emit(1)
    assert panel.ui.promptEdit.plainText == "brain tumor\nventricles"


def test_a_wrong_prompt_is_explained(panel, phantom) -> None:
    segment(panel, add_volume(phantom.picture), "xylophone")
    assert "knows no word" in panel.ui.statusLabel.text
    assert panel.ui.segmentButton.enabled


def test_words_that_the_model_does_not_know_are_said(panel, phantom) -> None:
    segment(panel, add_volume(phantom.picture), f"{PROMPT} xylophone")
    assert "does not know: xylophone" in panel.ui.resultLabel.text


def test_a_prompt_that_says_what_is_absent_finds_nothing_and_says_why(panel, phantom) -> None:
    segment(panel, add_volume(phantom.picture), f"not a {PROMPT}")
    assert f"Nothing found for 'not a {PROMPT}': it says what is not there" in panel.ui.resultLabel.text


def test_a_model_that_is_missing_is_got_by_a_button(panel, phantom, tmp_path) -> None:
    panel.machine.set("ModelsFolder", str(tmp_path))
    panel.parameters.clip = "biomedclip"
    segment(panel, add_volume(phantom.picture))
    assert "'biomedclip'" in panel.ui.statusLabel.text
    assert "press Download" in panel.ui.statusLabel.text
    panel.machine.set("ModelsFolder", "")
    panel.parameters.clip = "demo"


def test_models_are_listed_from_the_workers_machine(panel) -> None:
    panel.ui.modelsCollapsibleButton.collapsed = False
    standin.pump(lambda: panel.ui.modelsTable.rowCount > 2, 60)
    texts = [panel.ui.modelsTable.item(0, column).text() for column in range(4)]
    assert texts[0].startswith("demo") and texts[1] == "shipped" and "Apache" in texts[3]
    assert "CPU" in panel.ui.modelsLabel.text and "PyTorch" in panel.ui.modelsLabel.text
    assert not panel.ui.downloadButton.enabled
    names = [panel.ui.modelsTable.item(row, 0).text() for row in range(panel.ui.modelsTable.rowCount)]
    panel.ui.modelsTable.selectRow(names.index("biomedclip (clip)"))
    assert panel.ui.downloadButton.enabled
    panel.ui.modelsCollapsibleButton.collapsed = True


def write_captions(folder: Path, count: int = 24) -> Path:
    rows = []
    for number in range(count):
        made = make_phantom("train", number)
        write_picture(folder / f"{number}.png", np.repeat(made.picture[..., None], 3, 2))
        seen = f"picture {number} of modality {made.modality} with {len(made.lesions)} lesions"
        rows.append(json.dumps({"image": f"{number}.png", "caption": seen, "patient": str(number)}))
    (folder / "captions.jsonl").write_text("\n".join(rows))
    return folder / "captions.jsonl"


def test_a_model_is_fine_tuned_stopped_gone_on_with_and_chosen(panel, phantom, tmp_path, monkeypatch) -> None:
    """The user's captions become a model; prompts are answered while it trains."""
    ui = panel.ui
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))  # of the worker that trains, which is not started yet
    (tmp_path / "models").mkdir()
    panel.machine.set("ModelsFolder", str(tmp_path / "models"))
    assert not ui.fineTuneButton.enabled and "captions" in ui.fineTuneButton.toolTip
    ui.fineTuneCaptionsEdit.currentPath = str(write_captions(tmp_path))
    assert not ui.fineTuneButton.enabled and "name" in ui.fineTuneButton.toolTip
    ui.fineTuneNameEdit.text = "Mine!"
    ui.fineTuneBatchBox.value, ui.fineTuneEpochsBox.value = 4, 400
    assert ui.fineTuneButton.enabled and "'demo'" in ui.fineTuneBaseLabel.text
    training = panel.operations.fineTune.task
    ui.fineTuneButton.click()
    standin.pump(lambda: not training.running, 60)
    assert "cannot be the name of a model" in ui.fineTuneLabel.text
    ui.fineTuneNameEdit.text = "mine"
    ui.fineTuneButton.click()
    assert training.running and not ui.fineTuneButton.enabled and ui.stopFineTuneButton.enabled
    standin.pump(lambda: "Step" in ui.fineTuneLabel.text, 60)
    segment(panel, add_volume(phantom.picture))
    assert "Found" in ui.resultLabel.text and training.running
    standin.pump(lambda: "Retrieval" in ui.fineTuneLabel.text, 60)
    ui.fineTuneCollapsibleButton.collapsed = False
    standin.screenshot(panel.parent, SCREENSHOTS / "training.png")
    ui.stopFineTuneButton.click()
    standin.pump(lambda: not training.running, 60)
    assert "Stopped" in ui.fineTuneLabel.text
    checkpoint = tmp_path / "data" / "medclipsam" / "runs" / "mine" / "last.ckpt"
    standin.pump(checkpoint.is_file, 30)
    ui.fineTuneEpochsBox.value = 1
    ui.fineTuneButton.click()
    standin.pump(lambda: not training.running, 60)
    assert "other settings or data" in ui.fineTuneLabel.text
    ui.fineTuneNameEdit.text = "mine-2"
    ui.fineTuneButton.click()
    standin.pump(lambda: not training.running, 60)
    assert "'mine-2' retrieves" in ui.fineTuneLabel.text
    boxed = lambda: [ui.clipBox.itemText(index) for index in range(ui.clipBox.count)]
    standin.pump(lambda: any(each.startswith("mine-2 (") for each in boxed()), 60)
    panel.parameters.clip = "mine-2"
    segment(panel, add_volume(phantom.picture))
    assert panel.session.client.about and "mine-2" in ui.clipBox.currentText
    assert panel.ui.statusLabel.text == "", panel.ui.statusLabel.text
    panel.parameters.clip = "demo"
    panel.machine.set("ModelsFolder", "")
    ui.fineTuneCollapsibleButton.collapsed = True


def test_a_folder_is_exported_from_the_panel_and_gone_on_with(panel, tmp_path) -> None:
    ui, export = panel.ui, panel.operations.export.task
    (tmp_path / "in").mkdir()
    for number in range(12):
        picture = make_phantom("validation", number, "MR", 1).picture
        write_picture(tmp_path / "in" / f"{number}.png", np.repeat(picture[..., None], 3, 2))
    assert not ui.exportButton.enabled and "Type what to segment" in ui.exportButton.toolTip
    ui.promptEdit.setPlainText("brain tumor\nventricles")
    ui.exportInputsEdit.currentPath = str(tmp_path / "in")
    assert "folder for the dataset" in ui.exportButton.toolTip
    ui.exportOutEdit.currentPath = str(tmp_path / "heads")
    ui.exportButton.click()
    standin.pump(lambda: not export.running, 60)
    assert "Dataset101" in ui.exportLabel.text
    out = tmp_path / "Dataset001_Head"
    ui.exportOutEdit.currentPath = str(out)
    ui.exportButton.click()
    standin.pump(lambda: " of 12:" in ui.exportLabel.text, 60)
    ui.stopExportButton.click()
    standin.pump(lambda: not export.running, 60)
    assert "Stopped" in ui.exportLabel.text
    standin.pump((out / "report.html").is_file, 60)
    ui.exportButton.click()
    standin.pump(lambda: not export.running, 60)
    assert "12 cases: " in ui.exportLabel.text and ui.openReportButton.enabled
    lines = (out / "manifest.jsonl").read_text().splitlines()
    assert len(lines) == 12 and len({json.loads(line)["case"] for line in lines}) == 12
    assert (out / "dataset.json").is_file()
    ui.exportCollapsibleButton.collapsed = False
    standin.screenshot(panel.parent, SCREENSHOTS / "export.png")
    ui.exportCollapsibleButton.collapsed = True


def test_the_least_sure_cases_are_reviewed_and_trusted(panel, tmp_path) -> None:
    """Predictions as a network leaves them; of the network only the probabilities are made up."""
    ui, dataset, out = panel.ui, tmp_path / "Dataset031_Heads", tmp_path / "predictions"
    manifest = Manifest(dataset, {"labels": ["tumor"], "export": {"form": "nnunet"}})
    shape, truths = (1, 128, 128), {}
    for number in range(3):
        made, case = make_phantom("validation", number, "MR", 1), f"head{number}"
        write_picture(tmp_path / f"{case}.png", np.repeat(made.picture[..., None], 3, 2))
        truths[case] = made.lesion_mask[None]
        files = write_case(
            dataset, case, "nnunet", read_volume(tmp_path / f"{case}.png"), [Segment("tumor", np.zeros(shape, bool))]
        )
        manifest.write({"case": case, "image": "", "status": "found", "labels": {}, "files": files})
    manifest.close()
    write_description(dataset, "nnunet", ["tumor"], list(truths), "MR")

    def fixed(volume, context):
        case = volume.name.removesuffix("_0000")
        tumor = truths[case].astype(np.float32) * (0.99 - 0.2 * int(case[-1]))
        return SimpleNamespace(labels=(tumor > 0.5).astype(np.uint8), probabilities=np.stack([1 - tumor, tumor]))

    ensemble = SimpleNamespace(name="fixed", labels={1: "tumor"}, predict=fixed)
    predict(
        [Image(case, dataset / "imagesTr" / f"{case}_0000.nii.gz") for case in truths], ensemble, out, dataset=dataset
    )
    assert not ui.listReviewButton.enabled
    ui.reviewFolderEdit.currentPath = str(out)
    ui.listReviewButton.click()
    table = ui.reviewTable
    assert [table.item(row, 0).text() for row in range(3)] == ["head2", "head1", "head0"]
    assert "3 cases, 0 of them trusted" in ui.reviewLabel.text and not ui.trustButton.enabled
    ui.nextReviewButton.click()
    volume, segmentation = panel.parameters.inputVolume, panel.parameters.segmentation
    assert volume.GetName() == "head2" and "correct the mask" in ui.reviewLabel.text, ui.reviewLabel.text
    red = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    assert red.GetBackgroundVolumeID() == volume.GetID()
    assert red.GetForegroundVolumeID() == overlay.uncertaintyOf(volume).GetID()
    ui.uncertaintyBox.checked = False
    assert red.GetForegroundVolumeID() is None
    ui.uncertaintyBox.checked = True
    ui.reviewCollapsibleButton.collapsed = False
    standin.screenshot(panel.parent, SCREENSHOTS / "review.png")
    ui.reviewCollapsibleButton.collapsed = True
    ui.trustButton.click()
    assert "one of 1" in ui.reviewLabel.text and table.item(0, 2).text() == "trusted", ui.reviewLabel.text
    assert (read_segmentation(dataset / "labelsTr" / "head2.nii.gz")[0].mask == truths["head2"]).all()
    ui.nextReviewButton.click()
    assert panel.parameters.inputVolume.GetName() == "head1"
    assert not slicer.mrmlScene.IsNodePresent(volume) and not slicer.mrmlScene.IsNodePresent(segmentation)
    # A correction that is not saved stays in the scene, and that is said.
    volume, segmentation = panel.parameters.inputVolume, panel.parameters.segmentation
    identifier = segmentation.GetSegmentation().GetNthSegmentID(0)
    segments.writeMask(segmentation, identifier, ~truths["head1"], ijkToRAS(volume))
    table.setCurrentCell(2, 0)
    ui.openReviewButton.click()
    assert panel.parameters.inputVolume.GetName() == "head0" and "was not saved" in ui.reviewLabel.text
    assert slicer.mrmlScene.IsNodePresent(segmentation)


def test_screenshots_of_every_section(panel, phantom) -> None:
    segment(panel, add_volume(phantom.picture), "brain tumor\nbrain")
    assert panel.ui.resultLabel.text.count("Found") == 2 and panel.ui.statusLabel.text == ""
    for name in ("settings", "models", "installation"):
        getattr(panel.ui, f"{name}CollapsibleButton").collapsed = True
    image = standin.screenshot(panel.parent, SCREENSHOTS / "panel.png")
    assert image.width() > 300 and image.height() > 500
    for name in ("settings", "models", "installation"):
        getattr(panel.ui, f"{name}CollapsibleButton").collapsed = False
    standin.pump(lambda: panel.ui.modelsTable.rowCount > 2, 60)
    standin.screenshot(panel.parent, SCREENSHOTS / "panel_open.png")
    for name in ("settings", "models", "installation"):
        getattr(panel.ui, f"{name}CollapsibleButton").collapsed = True
