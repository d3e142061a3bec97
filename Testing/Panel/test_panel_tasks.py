"""The long tasks of the panel: models, fine-tuning and pseudo-labels, each with a real worker."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import standin
from heads import add_volume, segment
from helpers.datasets import write_caption_set

from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.volumes.write import write_png

SCREENSHOTS = Path(__file__).resolve().parents[2] / "test-output" / "panel"


def test_a_model_that_is_missing_is_got_by_a_button(panel, phantom, tmp_path) -> None:
    panel.ui.modelsFolderEdit.currentPath = str(tmp_path)
    panel.parameters.clip = "biomedclip"
    segment(panel, add_volume(phantom.image))
    assert "'biomedclip'" in panel.ui.statusLabel.text
    assert "press Download" in panel.ui.statusLabel.text
    panel.ui.modelsFolderEdit.currentPath = ""
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


def test_what_the_chosen_models_have_seen_and_were_tested_on_is_said(panel) -> None:
    """Before the models' machine is asked, the catalogue describes the default models, others, and the demo models."""
    ui = panel.ui
    for name, seen, tested in (
        ("starter", "A few thousand real images", "breast tumor .75 (60 images)"),
        ("biomedclip", "15 million figures", "not by this project."),
        ("demo", "Only synthetic phantoms", "not by this project."),
    ):
        panel.parameters.clip = name
        lines = ui.seenLabel.text.splitlines()
        trained = next(line for line in lines if line.startswith(f"{name} (text and image), trained on: {seen}"))
        test = next(line for line in lines if line.startswith(f"{name}, tested: ") and tested in line)
        assert ui.clipBox.toolTip.splitlines()[1:] == [trained, test]
        assert ui.clipBox.toolTip.startswith("The model that finds")
    panel.parameters.clip = "demo"
    assert "demo (outline), trained on: Only synthetic" in ui.samBox.toolTip
    assert len(ui.seenLabel.text.splitlines()) == 3, "the same test is said once"


def test_what_a_task_lacks_is_said_beside_its_button(panel, tmp_path) -> None:
    ui = panel.ui
    assert "Choose a table of images and captions" in ui.fineTuneLabel.text
    assert "Choose the folder of predictions" in ui.reviewLabel.text
    assert "Type what to segment in every image" in ui.exportLabel.text
    for table in ("cases.csv", "cases.TSV"):  # which have prompts of their own
        ui.exportInputsEdit.currentPath = str(tmp_path / table)
        assert "Choose a folder for the dataset" in ui.exportLabel.text
    ui.exportInputsEdit.currentPath = ""
    ui.promptEdit.setPlainText("brain tumor")
    assert "Choose a folder of images" in ui.exportLabel.text
    ui.exportInputsEdit.currentPath = ui.exportOutEdit.currentPath = str(tmp_path)
    assert ui.exportLabel.text == "" and ui.exportButton.enabled


def test_a_model_is_fine_tuned_stopped_gone_on_with_and_chosen(panel, phantom, tmp_path, monkeypatch) -> None:
    """The user's captions become a model; prompts are answered while it trains."""
    ui = panel.ui
    panel.models.endWorkers()  # one that trained before has the folders of the user from then
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    (tmp_path / "models").mkdir()
    panel.ui.modelsFolderEdit.currentPath = str(tmp_path / "models")
    assert not ui.fineTuneButton.enabled and "captions" in ui.fineTuneButton.toolTip
    ui.fineTuneCaptionsEdit.currentPath = str(write_caption_set(tmp_path, 24))
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
    segment(panel, add_volume(phantom.image))
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
    assert "is of another training" in ui.fineTuneLabel.text
    ui.fineTuneNameEdit.text = "mine-2"
    heads = ui.fineTuneFreezeBox.findText("the projections alone (fast)")
    assert ui.fineTuneFreezeBox.currentText == "all weights (the paper)" and heads > 0
    ui.fineTuneFreezeBox.currentIndex = heads
    ui.fineTuneButton.click()
    standin.pump(lambda: ui.fineTuneLabel.text.startswith("Encoding the images"), 60)
    standin.pump(lambda: not training.running, 60)
    assert "Top-1 retrieval on validation pairs: 'mine-2' " in ui.fineTuneLabel.text
    assert "\ncaptions.jsonl: 24 pairs" in ui.fineTuneLabel.text, "what was noted at the start is still there"
    boxed = lambda: [ui.clipBox.itemText(index) for index in range(ui.clipBox.count)]
    standin.pump(lambda: any(item.startswith("mine-2 (") for item in boxed()), 60)
    panel.parameters.clip = "mine-2"
    segment(panel, add_volume(phantom.image))
    assert panel.session.client.about and "mine-2" in ui.clipBox.currentText
    assert panel.ui.statusLabel.text == "", panel.ui.statusLabel.text
    panel.parameters.clip = "demo"
    panel.ui.modelsFolderEdit.currentPath = ""
    ui.fineTuneCollapsibleButton.collapsed = True


def test_a_folder_is_exported_from_the_panel_and_gone_on_with(panel, tmp_path) -> None:
    ui, export = panel.ui, panel.operations.export.task
    (tmp_path / "in").mkdir()
    for number in range(12):
        image = make_phantom("validation", number, "MR", 1).image
        write_png(tmp_path / "in" / f"{number}.png", np.repeat(image[..., None], 3, 2))
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
    assert "12 in all: " in ui.exportLabel.text and ui.openReportButton.enabled
    lines = (out / "manifest.jsonl").read_text().splitlines()
    assert len(lines) == 12 and len({json.loads(line)["case"] for line in lines}) == 12
    assert (out / "dataset.json").is_file()
    ui.exportCollapsibleButton.collapsed = False
    standin.screenshot(panel.parent, SCREENSHOTS / "export.png")
    ui.exportCollapsibleButton.collapsed = True


def test_an_export_names_cases_by_numbers_and_refuses_a_key_in_the_dataset(panel, tmp_path, monkeypatch) -> None:
    ui, export, out = panel.ui, panel.operations.export.task, tmp_path / "Dataset002_Heads"
    (tmp_path / "in").mkdir()
    write_png(tmp_path / "in" / "Mary.png", np.repeat(make_phantom("validation", 3, "MR", 1).image[..., None], 3, 2))
    ui.promptEdit.setPlainText("brain tumor xyzzy")
    ui.negativeEdit.text = " ventricles "
    ui.exportInputsEdit.currentPath, ui.exportOutEdit.currentPath = str(tmp_path / "in"), str(out)
    assert ui.exportButton.enabled and not ui.exportKeyEdit.enabled and not ui.exportKeyButton.enabled
    ui.exportAnonymousBox.checked = True
    assert ui.exportKeyEdit.enabled and "file for the key" in ui.exportButton.toolTip
    for key, said in ((out / "key.csv", "is passed on to others"), (tmp_path / "key.csv", "1 in all: ")):
        standin.answers["QFileDialog.getSaveFileName"] = str(key)
        ui.exportKeyButton.click()
        assert ui.exportKeyEdit.currentPath == str(key)
        ui.exportButton.click()
        standin.pump(lambda: not export.running, 60)
        assert said in ui.exportLabel.text
        assert out.exists() == key.exists() == (key.parent != out)
    assert "does not know were left out: xyzzy" in ui.exportLabel.text
    (record,) = map(json.loads, (out / "manifest.jsonl").read_text().splitlines())
    assert (record["case"], record["negative"]) == ("case_0001", "ventricles")
    assert "Mary" in (tmp_path / "key.csv").read_text()
    assert not [path for path in out.rglob("*") if path.is_file() and b"Mary" in path.name.encode() + path.read_bytes()]
    ui.exportAnonymousBox.checked = False
    ui.promptEdit.setPlainText("brain tumor")
    ui.exportOutEdit.currentPath = str(tmp_path / "Dataset003_Heads")
    ui.exportButton.click()
    standin.pump(lambda: not export.running, 60)
    assert "1 in all: " in ui.exportLabel.text and "xyzzy" not in ui.exportLabel.text
    (tmp_path / "in" / "cut.png").write_bytes((tmp_path / "in" / "Mary.png").read_bytes()[:900])
    tried: list[dict] = []
    monkeypatch.setattr(export, "onProgress", tried.append)
    for _again in range(2):
        tried.clear()
        ui.exportButton.click()
        standin.pump(lambda: not export.running, 60)
        assert "1 failed (the report says why" in ui.exportLabel.text
        assert [case["case"] for case in tried if "case" in case] == ["cut"]
