"""`medclipsam segment --report`: the findings of a report as segments of one image."""

from __future__ import annotations

import json

import pytest
from segmenting import models_stay_loaded, phantom_png

from MedCLIPSAMLib.volumes import read_segmentation, read_volume

FIXTURES = (models_stay_loaded,)
PARAGRAPH = "FINDINGS: There is a 2 cm brain tumor. No calcifications.\nCannot exclude a lession of the skull."


@pytest.fixture()
def head(tmp_path):
    return phantom_png(tmp_path / "head.png")


def test_each_finding_is_a_segment_and_the_rest_is_said(run, head, tmp_path):
    (tmp_path / "report.txt").write_text(PARAGRAPH, encoding="utf-8")
    out = tmp_path / "out.seg.nrrd"
    code, text, err = run("segment", head, "--report", tmp_path / "report.txt", "-o", out, "--json")
    assert code == 0, err
    said = json.loads(text)
    assert [row["label"] for row in said["results"]] == ["brain tumor", "lesion of the skull"]
    assert said["report"]["left_out"] == [{"text": "No calcifications", "reason": "it says what is not there"}]
    assert said["report"]["findings"][0]["sentence"] == "There is a 2 cm brain tumor"
    assert [segment.name for segment in read_segmentation(out, read_volume(head))] == [
        "brain tumor",
        "lesion of the skull",
    ]
    code, text, err = run("segment", head, "-p", "brain tumor", "-o", tmp_path / "one.seg.nrrd", "--json")
    assert json.loads(text)["results"][0]["pixels"] == said["results"][0]["pixels"]
    code, text, err = run("segment", head, "--report", tmp_path / "report.txt", "-o", out, "--overwrite")
    assert code == 0 and "Found 'brain tumor'" in text
    assert "note: 'No calcifications' in the report was left out: it says what is not there." in err
    assert "note: 'lesion of the skull' is looked for, but the report is not certain of it." in err


def test_a_finding_that_the_model_cannot_take_is_left_out_and_the_others_are_segmented(run, head, tmp_path):
    (tmp_path / "report.txt").write_text("A brain tumor. A qwxzy calculus. A brain tumour lesion.", encoding="utf-8")
    note = "'qwxzy calculus' in the report was left out: the model 'demo' knows no word of the prompt 'qwxzy calculus'."
    same = "'brain tumor lesion' is the same mask as 'brain tumor' (IoU "
    out = tmp_path / "masks"
    code, text, err = run("segment", head, "--report", tmp_path / "report.txt", "-o", out, "--json")
    assert code == 0, err
    said = json.loads(text)
    assert [row["label"] for row in said["images"][0]["results"]] == ["brain tumor", "brain tumor lesion"]
    assert [finding["prompt"] for finding in said["report"]["findings"]] == ["brain tumor", "brain tumor lesion"]
    assert [part["text"] for part in said["report"]["left_out"]] == ["qwxzy calculus"]
    assert note in said["images"][0]["notes"]
    assert [any(same in text for text in row["notes"]) for row in said["images"][0]["results"]] == [False, True]
    one = tmp_path / "one.nii.gz"
    layout = ("--output-layout", "one-file-per-label")
    code, text, err = run("segment", head, "--report", tmp_path / "report.txt", "-o", one, *layout)
    assert code == 0 and f"note: {note}" in err and same in text
    assert len(list(tmp_path.glob("one_*.nii.gz"))) == 2


def test_masks_are_not_written_again_where_a_finding_was_left_out(run, head, tmp_path):
    (tmp_path / "report.txt").write_text("A brain tumor. A qwxzy calculus. A skull lesion.", encoding="utf-8")
    out, form = tmp_path / "masks", ("--format", "nii.gz", "--output-layout", "one-file-per-label", "--json")
    command = ("segment", head, "--report", tmp_path / "report.txt", "-o", out, *form)
    code, _, err = run(*command)
    assert code == 0, err
    tumor, skull = out / "head_brain_tumor.nii.gz", out / "head_skull_lesion.nii.gz"
    assert sorted(out.glob("*.nii.gz")) == [tumor, skull]
    corrected = b"a mask that the user corrected"
    tumor.write_bytes(corrected)
    code, text, err = run(*command)
    assert code == 0, err
    assert tumor.read_bytes() == corrected
    said = json.loads(text)
    assert said["images"] == [] and [image["outputs"] for image in said["kept"]] == [[str(tumor), str(skull)]]

    skull.unlink()
    code, text, err = run(*command)
    assert code == 0, err
    assert skull.exists() and tumor.read_bytes() == corrected
    note = "'head_brain_tumor.nii.gz' already existed and stays as it is; --overwrite replaces it."
    (said,) = (text for text in json.loads(text)["images"][0]["notes"] if text.startswith(note))
    assert "sizes, maps and pictures belong to the new mask" in said
    code, _, err = run(*command, "--overwrite")
    assert code == 0, err
    assert tumor.read_bytes() != corrected
    tumor.write_bytes(corrected)
    assert run(*command)[0] == 0 and tumor.read_bytes() == corrected


def test_a_corrected_mask_stays_where_only_its_saliency_is_missing(run, head, tmp_path):
    out, maps = tmp_path / "masks", tmp_path / "maps"
    command = ("segment", head, "-p", "brain tumor", "-o", out, "--saliency", maps)
    assert run(*command)[0] == 0
    (out / "head.seg.nrrd").write_bytes(b"corrected")
    (maps / "head_saliency.nii.gz").unlink()
    code, _, err = run(*command)
    assert code == 0 and "'head.seg.nrrd' already existed and stays as it is" in err
    assert (out / "head.seg.nrrd").read_bytes() == b"corrected" and (maps / "head_saliency.nii.gz").exists()


def test_a_report_of_which_the_model_can_take_nothing_is_refused(run, head, tmp_path):
    (tmp_path / "report.txt").write_text("A qwxzy calculus. An ulcer.", encoding="utf-8")
    code, _, err = run("segment", head, "--report", tmp_path / "report.txt", "-o", tmp_path / "out.nii.gz")
    assert code == 2 and "No finding of the report can be segmented" in err and not (tmp_path / "out.nii.gz").exists()
    assert "'ulcer'" in err and "'qwxzy calculus'" in err


@pytest.mark.parametrize(
    "content, more, told",
    [
        (b"No mass. Lungs are clear.", (), "names nothing that is present"),
        (b"", (), "empty"),
        (b"\xff\xfe\x00mass", (), "UTF-8"),
        (b"a mass. " * 20_000, (), "at most"),
        (None, (), "cannot be read"),
        (b"A mass.", ("-p", "mass"), "Both -p and --report"),
        (b"A mass.", ("--box", "1,1,9,9"), "Both a report and boxes"),
    ],
)
def test_what_cannot_be_read_is_refused_before_the_work(run, head, tmp_path, content, more, told):
    if content is not None:
        (tmp_path / "report.txt").write_bytes(content)
    code, _, err = run("segment", head, "--report", tmp_path / "report.txt", *more, "-o", tmp_path / "out.nii.gz")
    assert code == 2 and told in err and not (tmp_path / "out.nii.gz").exists()
