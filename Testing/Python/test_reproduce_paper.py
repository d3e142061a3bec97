"""The paper's experiment in the authors' folders, on phantoms laid out like them, with the demo models."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from MedCLIPSAMLib.commands.reproduce_paper import tables
from MedCLIPSAMLib.errors import InputError, OutputError
from MedCLIPSAMLib.evaluation.folders import Score
from MedCLIPSAMLib.evaluation.metrics import dsc, nsd, nsd_as_published
from MedCLIPSAMLib.experiments import reproduce_paper as trial
from MedCLIPSAMLib.experiments.paper import PUBLISHED, TASKS, find_test_sets, read_mask, read_prompts
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.segmentation.affinity import AffinitySettings
from MedCLIPSAMLib.segmentation.agreement import AgreementSettings
from MedCLIPSAMLib.segmentation.sam_prompts import SamPromptSettings
from MedCLIPSAMLib.segmentation.vote import VoteSettings

US, MRI, XRAY, CT = TASKS
FOLDERS = {"breast_tumors": "US", "brain_tumors": "MR", "Lung_Xray": "XR", "lung_CT": "CT"}


def lay_out(folder: Path, name: str, modality: str, split: str = "test", count: int = 2) -> None:
    """Phantoms as one of the authors' test sets (or validation set)."""
    images, masks = folder / name / f"{split}_images", folder / name / f"{split}_masks"
    for part in (images, masks):
        part.mkdir(parents=True)
    for index in range(count):
        phantom = make_phantom("validation", 40 + index, modality, 1 if modality in ("US", "MR") else None)
        mask = phantom.lesion_mask if phantom.lesions and modality != "CT" else phantom.lungs_mask
        Image.fromarray(phantom.image).save(images / f"{index:06}.png")
        Image.fromarray(mask.astype(np.uint8) * 200).save(masks / f"{index:06}.png")


@pytest.fixture
def data(tmp_path) -> Path:
    for name, modality in FOLDERS.items():
        lay_out(tmp_path / "data", name, modality)
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    for name, kind in (("breast_tumors", "breast"), ("brain_tumors", "brain")):
        texts = {f"{index:06}.png": f"A malignant {kind} tumor." for index in range(3)}
        (prompts / f"{name}_testing.json").write_text(json.dumps(texts))
    return tmp_path / "data"


@pytest.fixture
def reproduce(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: run("reproduce", "paper", *arguments)


def test_all_four_tasks_run_resume_and_are_compared(data, tmp_path, reproduce):
    broken = data / "brain_tumors" / "test_images" / "000001.png"
    broken.write_bytes(broken.read_bytes()[:200])
    out, demo = tmp_path / "out", ("--model", "demo", "--sam", "demo", "--device", "cpu")
    code, first, err = reproduce(data, "-o", out, "--prompts", tmp_path / "prompts", *demo)
    assert code == 0, err
    for output in ("77.76 / 81.11", "KNOWS the diagnosis", "does not know the diagnosis", "inflated", "1800"):
        assert output in first
    rows = {(row["task"], row["style"]): row for row in json.loads((out / "paper.json").read_text())}
    styles = {("US", "P2"), ("US", "P3"), ("MRI", "P2"), ("MRI", "P3"), ("X-ray", "P0"), ("X-ray", "P2"), ("CT", "P2")}
    assert rows.keys() == styles
    assert rows["MRI", "P3"]["failed"] == 1 and rows["MRI", "P3"]["dsc"] <= 50, "an unreadable image counts as 0"
    assert rows["X-ray", "P0"]["dsc"] > 85
    with open(out / "breast_tumors_P3.csv", encoding="utf-8", newline="") as file:
        scores = list(csv.DictReader(file))
    for score in scores:
        truth = np.asarray(Image.open(data / "breast_tumors" / "test_masks" / f"{score['case']}.png")) > 0
        mask = np.asarray(Image.open(out / "breast_tumors_P3" / f"{score['case']}.png")) > 0
        assert float(score["dsc"]) == pytest.approx(dsc(mask, truth), abs=1e-5)
        assert float(score["nsd"]) == pytest.approx(nsd(mask, truth, (1, 1), 2), abs=1e-5)
    masks = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    gone = out / "lung_ct_P2" / "000000.png"
    gone.unlink()
    assert reproduce(data, "-o", out, "--prompts", tmp_path / "prompts", *demo)[:2] == (0, first)
    assert [path for path in masks if path.stat().st_mtime_ns != masks[path]] == [gone]


def test_without_a_file_of_prompts_p3_is_left_out_and_said_so(data, tmp_path, reproduce):
    demo = ("--model", "demo", "--sam", "demo", "--device", "cpu")
    code, out, err = reproduce(data, "-o", tmp_path / "out", "--tasks", "us", "--limit", 1, *demo)
    assert code == 0, err
    assert "US P3: left out" in err and "KNOWS" not in out


def test_settings_are_the_published_ones_for_a_model_of_the_papers_depth(data, segmenter, monkeypatch):
    monkeypatch.setattr(trial, "PAPER_DEPTH", len(segmenter.clip.model.visual.trunk.blocks))
    by_title = {tests.task.title: tests for tests in find_test_sets(data)}
    settings, words = trial.settings_of(segmenter, by_title["MRI"], "brain tumor", True)
    m2ib = settings.saliency_for("brain tumor")
    assert (m2ib.layer, m2ib.beta, m2ib.steps, m2ib.samples, m2ib.seed) == (9, 2.0, 10, 10, 12) and words == "published"
    assert settings.components.number == 1 and settings.prompts.kind == "boxes"
    settings, _ = trial.settings_of(segmenter, by_title["US"], "breast tumor", True)
    assert settings.saliency_for("a tumor").beta == 1.0
    settings, words = trial.settings_of(segmenter, by_title["X-ray"], "lungs", True)
    m2ib = settings.saliency_for("lungs")
    assert (m2ib.layer, m2ib.beta) == (7, 0.1) and "script" in words
    assert settings.components.number == 2 and settings.prompts.kind == "points" and settings.prompts.positive == 10
    assert settings.presence_threshold == 0 and settings.coarse.method == "kmeans" and settings.precision == "f32"
    chooses = replace(segmenter.settings, prompts=SamPromptSettings(margin=0.2), agreement=AgreementSettings(0.3, 0.4))
    chooses = replace(chooses, affinity=AffinitySettings(1), vote=VoteSettings("mean"))
    chooses = segmenter.with_settings(chooses.with_saliency(steps=12, earliest=8, mirror=True, finer=True))
    for title, prompt in (("MRI", "brain tumor"), ("X-ray", "lungs")):
        settings, _ = trial.settings_of(chooses, by_title[title], prompt, False)
        assert settings.saliency.candidates == range(10, 11) and not settings.saliency.mirror
        assert settings.agreement == AgreementSettings() and settings.prompts.margin == 0
        assert settings.affinity.steps == 0 and settings.vote.method == "none" and not settings.saliency.finer
        assert settings.min_part == 0 and settings.components.min_area == 0


def test_lungs_are_searched_for_on_validation_masks(data, segmenter, monkeypatch):
    monkeypatch.setattr(trial, "PAPER_DEPTH", len(segmenter.clip.model.visual.trunk.blocks))
    monkeypatch.setattr(trial, "SEARCHED_LAYERS", (1, 2))
    monkeypatch.setattr(trial, "SEARCHED_BETAS", (0.3, 1.0))
    lay_out(data, "Lung_Xray", "XR", "val", 3)
    tests = find_test_sets(data, ["X-ray"])[0]
    before = segmenter.settings
    settings, words = trial.settings_of(segmenter, tests, "lungs", True)
    assert settings.saliency.layer in (1, 2) and "3 validation masks: not zero-shot" in words
    assert segmenter.settings == before
    assert trial.settings_of(segmenter, tests, "lungs", False)[0].saliency.layer == 7


def test_a_folder_of_another_run_is_refused(data, segmenter, tmp_path):
    tests = find_test_sets(data, ["US"])[0]
    prompts = dict.fromkeys(tests.images, "breast tumor")
    trial.run(segmenter, tests, "P2", prompts, tmp_path / "out", limit=1)
    with pytest.raises(OutputError, match="results of other prompts"):
        trial.run(segmenter, tests, "P2", dict.fromkeys(tests.images, "tumor"), tmp_path / "out", limit=1)
    (tmp_path / "full" / "breast_tumors_P2").mkdir(parents=True)
    (tmp_path / "full" / "breast_tumors_P2" / "mine.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match="not empty and holds no run.json"):
        trial.run(segmenter, tests, "P2", prompts, tmp_path / "full", limit=1)


def test_names_and_sizes_that_do_not_fit_are_named(data):
    masks = data / "breast_tumors" / "test_masks"
    Image.new("L", (5, 5)).save(masks / "000000.png")
    with pytest.raises(InputError, match=r"000000.png' has 128 x 128 pixels and its mask 5 x 5"):
        find_test_sets(data)
    (masks / "000000.png").rename(masks / "other.png")
    with pytest.raises(InputError, match="1 of the images in .* have no mask of the same name, such as '000000'"):
        find_test_sets(data)
    (data / "breast_tumors" / "test_images" / "000000.png").unlink()
    with pytest.raises(InputError, match="1 of the masks in .* have no image of the same name, such as .*other.png"):
        find_test_sets(data)


def test_an_image_that_would_be_turned_away_from_its_mask_is_refused(data):
    path = data / "breast_tumors" / "test_images" / "000001.png"
    turned = Image.Exif()
    turned[0x0112] = 3  # by half a turn: the size is that of the mask
    Image.open(path).save(path, exif=turned)
    with pytest.raises(InputError, match="000001.png' is rotated by its EXIF orientation"):
        find_test_sets(data)


def test_folders_that_are_not_there_are_named(data, tmp_path):
    with pytest.raises(InputError, match="holds none of the paper's test sets"):
        find_test_sets(tmp_path / "prompts")
    with pytest.raises(InputError, match="got 'pet'"):
        find_test_sets(data, ["PET"])
    (data / "lungs_ct").mkdir()
    with pytest.raises(InputError, match="are both CT"):
        find_test_sets(data)
    (data / "lung_CT").rename(data / "no_ct")
    with pytest.raises(InputError, match="no folder 'test_images'"):
        find_test_sets(data, ["CT"])


def test_prompts_of_another_form_are_refused(data, tmp_path):
    tests = find_test_sets(data, ["US"])[0]
    path = tmp_path / "texts.json"
    for text in ("[", '["a"]', '{"000000.png": 3}', '{"000000.png": " "}'):
        path.write_text(text)
        with pytest.raises(InputError, match="texts.json"):
            read_prompts(path, tests)
    path.write_text('{"000000.png": "A tumor."}')
    with pytest.raises(InputError, match="no prompt for 1 of 2 images, such as '000001.png'"):
        read_prompts(path, tests)


def test_the_table_keeps_the_inflated_nsd_apart_and_averages_tasks_not_cases():
    near, far = np.zeros((99, 99), bool), np.zeros((99, 99), bool)
    near[20:60, 20:60], far[26:66, 20:60] = True, True
    inflated, true = nsd_as_published(near, far), nsd(near, far, (1, 1), 2)
    assert inflated > true + 0.2
    run = lambda task, style, values: trial.StyleRun(
        task,
        style,
        [Score(str(n), "mask", value, true, 1.0) for n, value in enumerate(values)],
        [inflated] * len(values),
        "",
    )
    runs = [run(US, "P3", [0.2, 0.4]), run(MRI, "P3", [0.5]), run(XRAY, "P0", [0.6]), run(CT, "P2", [0.8] * 5)]
    shown = []
    for table in tables(runs, "models"):
        console = Console(file=StringIO(), width=200)
        console.print(table)
        shown.append(console.file.getvalue())
    assert f"55.00 / {100 * inflated:.2f}" in shown[0] and f"{100 * true:.2f}" not in shown[0]
    assert f"{100 * true:.2f}" in shown[1] and f"{100 * inflated:.2f}" not in shown[1]


def test_published_means_are_those_of_the_four_tasks():
    whole = {name: np.array(row)[:, 0] for name, row in PUBLISHED.items() if len(row) == 5}
    assert len(whole) == 5
    for name, row in whole.items():
        assert row[:4].mean() == pytest.approx(row[4], abs=0.02), name


def test_whatever_is_not_black_is_mask(tmp_path):
    Image.fromarray(np.array([[0, 1], [128, 255]], np.uint8)).save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png").tolist() == [[False, True], [True, True]]
