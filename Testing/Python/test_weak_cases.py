"""Whose images the weakly supervised trial takes, and what it refuses, on sets made up here."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.datasets import write_breast_set

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.experiments.phantom_benchmark import TASKS
from MedCLIPSAMLib.experiments.prompted import TruthImage
from MedCLIPSAMLib.experiments.weak_cases import OFFSET, PhantomCases, RealCases, shrink
from MedCLIPSAMLib.experiments.weak_data import export_labels
from MedCLIPSAMLib.experiments.weak_plan import real_plan
from MedCLIPSAMLib.experiments.weak_summary import summary


def test_cases_of_a_split_come_with_their_truth_without_what_cannot_be_used(tmp_path):
    folder = write_breast_set(tmp_path, ("1,train", "2,train", "3,train", "4,test"))
    (folder / "images" / "a1.jpg").write_bytes(b"no image")
    cases = RealCases(folder).load("train", 10)
    assert [case.name for case in cases] == ["a0", "a2"]
    assert cases[0].image.shape == (80, 100, 3)
    assert np.argwhere(cases[0].truth).min(0).tolist() == [10, 60]
    assert [case.name for case in RealCases(folder).load("test", 10)] == ["a3"]


def test_names_are_those_that_the_files_of_a_dataset_have(tmp_path, segmenter):
    folder = write_breast_set(tmp_path, ("1,train", "2,train", "3,train"))
    table = (folder / "index.csv").read_text(encoding="utf-8")
    for number, name in enumerate(("benign (1)", "benign 1", "tumor mask")):  # the last would be taken for a mask
        for part, ending in (("images", "jpg"), ("masks", "png")):
            (folder / part / f"a{number}.{ending}").rename(folder / part / f"{name}.{ending}")
        table = table.replace(f"a{number}.jpg", f"{name}.jpg")
    (folder / "index.csv").write_text(table, encoding="utf-8")
    cases = RealCases(folder).load("train", 3)
    assert len({case.name for case in cases}) == 3 and all(re.fullmatch(r"[\w.-]+", case.name) for case in cases)
    segmenter = segmenter.with_settings(replace(segmenter.settings, presence_threshold=0.0))
    _, labels = export_labels("breast tumor", cases, segmenter, tmp_path / "images", tmp_path / "Dataset500_Export")
    assert labels.keys() == {case.name for case in cases}
    never = segmenter.with_settings(replace(segmenter.settings, presence_threshold=1.0))
    with pytest.raises(InputError, match="got none: no 'breast tumor' was found"):
        export_labels("breast tumor", cases, never, tmp_path / "images", tmp_path / "Dataset501_Export")


def test_phantoms_of_a_task_are_others_than_those_of_the_benchmark():
    (case,) = PhantomCases("ct_lungs").load("test", 1)
    phantom = TASKS["ct_lungs"].phantom("test", OFFSET)
    assert np.array_equal(case.image[..., 0], phantom.image)
    assert np.array_equal(case.truth, phantom.lungs_mask)
    assert not np.array_equal(case.image[..., 0], TASKS["ct_lungs"].phantom("test", 0).image)


def test_a_case_is_shrunk_with_its_truth_and_never_enlarged():
    truth = np.zeros((80, 100), bool)
    truth[10:30, 60:80] = True
    case = TruthImage("a", np.zeros((80, 100, 3), np.uint8), truth)
    small = shrink(case, 50)
    assert small.image.shape == (40, 50, 3)
    assert np.argwhere(small.truth).min(0).tolist() == [5, 30]
    assert np.argwhere(small.truth).max(0).tolist() == [14, 39]
    assert shrink(case, 100) is case
    assert shrink(case, None) is case


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="Expected a folder named breast_us_busbra"):
        RealCases(tmp_path / "livers")


@pytest.mark.parametrize(
    ("spoil", "output"),
    [
        (lambda folder: (folder / "index.csv").unlink(), "There is no file"),
        (lambda folder: (folder / "masks" / "a2.png").unlink(), "Expected the file"),
        (
            lambda folder: (folder / "index.csv").write_text("image,patient,split\na,1,train\nb,1,test\n"),
            "in one split",
        ),
    ],
)
def test_wrong_data_is_refused_before_anything_is_made(tmp_path, run, spoil, output):
    folder = write_breast_set(tmp_path / "data")
    spoil(folder)
    status, _, error = run("reproduce", "weak", "--data", folder, "--work", tmp_path / "work")
    assert status == 2 and output in error and not (tmp_path / "work").exists()


@pytest.mark.parametrize("trial", ["weak", "filters"])
def test_results_are_never_written_into_the_data(tmp_path, run, trial):
    folder = write_breast_set(tmp_path / "data")
    status, _, error = run("reproduce", trial, "--data", folder, "--work", folder / "work")
    assert status == 2 and "Expected an output outside of the data" in error and not (folder / "work").exists()


def test_a_trial_on_real_images_is_one_task_named_by_its_folder():
    rows = {row: {"dsc": [0.5, 0.7], "nsd": [0.2, 0.4]} for row in ("zero_shot", "last", "weak", "full")}
    orders = {"orders": {"expected_loss": [1.0, 2.0], "entropy_share": [2.0, 1.0]}}
    task = {"validation": {"weak": rows["weak"], **orders}, "test": {**rows, **orders}}
    assert real_plan(Path("/data/breast_us_busbra")).tasks == ("/data/breast_us_busbra",)
    output = summary({"tasks": {"breast_us_busbra": task}})
    assert output["rows"]["weak"]["dsc"] == {"breast_us_busbra": pytest.approx(0.6), "all": pytest.approx(0.6)}
    low, high = output["intervals"]["weak"]["dsc"]["breast_us_busbra"]
    assert 0.5 <= low < high <= 0.7
    assert output["review"]["worst first"][0.0] == pytest.approx(0.4)
