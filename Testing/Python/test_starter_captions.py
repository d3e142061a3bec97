"""Captions of what a set knows of its cases: what they say, how they are split, and what is refused or left out."""

from __future__ import annotations

import csv

import pytest
from helpers.datasets import write_breast_set

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.finetune.captions import read_captions
from MedCLIPSAMLib.run_context import RunContext
from MedCLIPSAMLib.starter.captions import write_captions


def write_set(folder):
    """Write three patients with facts: a square of 5 % of the image is marked in each."""
    made = write_breast_set(folder, ("1,train", "2,val", "3,test"))
    rows = ["image,patient,split,pathology,birads,histology"]
    rows += ["a0.jpg,1,train,benign,3,fibroadenoma", "a1.jpg,2,val,malignant,5,lymphoma", "a2.jpg,3,test,benign,2,cyst"]
    (made / "index.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return made


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_captions_say_what_is_known_in_a_table_for_each_split(tmp_path):
    made = write_set(tmp_path)
    assert write_captions(made, tmp_path / "out") == {"train": 1, "validation": 1, "test": 1}
    assert rows_of(tmp_path / "out" / "train.csv") == [
        {"image": "a0.jpg", "caption": "breast ultrasound of a benign tumor, fibroadenoma, BI-RADS 3", "patient": "1"}
    ]
    assert rows_of(tmp_path / "out" / "validation.csv")[0]["caption"].endswith("malignant tumor, lymphoma, BI-RADS 5")
    pairs = read_captions(tmp_path / "out" / "test.csv", made / "images").pairs
    assert [(pair.image.name, pair.patient) for pair in pairs] == [("a2.jpg", "3")]


@pytest.mark.parametrize("fault", ["broken", "no mask"])
def test_an_image_that_cannot_be_used_is_left_out_with_a_word(tmp_path, fault):
    made, progress = write_set(tmp_path), []
    if fault == "broken":
        (made / "images" / "a0.jpg").write_bytes(b"no image")
    else:
        (made / "masks" / "a0.png").unlink()
    counts = write_captions(made, tmp_path / "out", RunContext(on_notice=progress.append))
    assert counts == {"validation": 1, "test": 1}
    assert len(progress) == 1
    assert "breast_us_busbra/a0.jpg" in progress[0]


def test_wrong_data_is_refused_and_leaves_nothing(tmp_path):
    made = write_set(tmp_path)
    table = (made / "index.csv").read_text(encoding="utf-8")
    (made / "index.csv").write_text(table.replace("2,val", "1,val"), encoding="utf-8")
    with pytest.raises(InputError, match="Expected every patient in one split"):
        write_captions(made, tmp_path / "out")
    (made / "index.csv").write_text(table.replace("birads", "category"), encoding="utf-8")
    with pytest.raises(InputError, match="Expected the columns image, patient, split, pathology, birads"):
        write_captions(made, tmp_path / "out")
    with pytest.raises(InputError, match="Expected a folder named breast_us_busbra or brain_mr_cheng"):
        write_captions(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_never_writes_into_the_data_nor_over_tables(tmp_path, run):
    made = write_set(tmp_path / "data")
    ask = ("starter", "captions", made, "-o")
    assert run(*ask, made / "captions")[0] == 2
    code, out, _ = run(*ask, tmp_path / "captions")
    assert code == 0 and "1 caption in train.csv" in out
    assert run(*ask, tmp_path / "captions")[0] == 2
