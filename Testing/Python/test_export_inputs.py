"""What an export takes of a folder tree: images by any name, never what it wrote itself."""

import gzip
import json
import os
import shutil
from contextlib import nullcontext
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_made import image, save
from PIL import Image
from recording_reply import RecordingReply
from scans_made import PROMPTS, names, scan

from MedCLIPSAMLib.errors import InputError, PromptError
from MedCLIPSAMLib.export.cases import find_cases
from MedCLIPSAMLib.volumes import read_volume
from MedCLIPSAMLib.volumes.volume import clean_name
from MedCLIPSAMLib.volumes.write import write_png
from MedCLIPSAMLib.worker.exporting import export_dataset
from MedCLIPSAMLib.worker.protocol import Message

ROOT = Path(__file__).resolve().parents[2]


def test_a_lone_dicom_file_is_named_by_itself_beside_other_images_and_by_its_folder_else(tmp_path):
    for folder in ("alone", "mixed"):
        (tmp_path / folder).mkdir()
        shutil.copy(ROOT / "Resources" / "samples" / "brain_mri.dcm", tmp_path / folder)
    scan(tmp_path / "mixed" / "a.png")
    assert names(tmp_path) == ["alone", "mixed_brain_mri", "mixed_a"]


def test_no_case_has_the_name_of_a_device_of_windows(tmp_path):
    for name in ("CON.png", "aux.1.png", "console.png"):
        scan(tmp_path / name)
    assert names(tmp_path) == ["_CON", "_aux.1", "console"]
    assert clean_name("NUL") == "_NUL" and clean_name("com1.t1") == "_com1.t1" and clean_name("nulliparous") != "_nul"


def test_a_pair_of_files_is_one_case(tmp_path):
    made = nibabel.Nifti1Pair(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    nibabel.save(made, tmp_path / "a.hdr")
    for ending in (".hdr", ".img"):
        (tmp_path / f"b{ending}.gz").write_bytes(gzip.compress((tmp_path / f"a{ending}").read_bytes()))
    cases = find_cases(tmp_path, PROMPTS)
    assert [(case.name, case.image.name) for case in cases] == [("a", "a.hdr"), ("b", "b.hdr.gz")]
    assert all(read_volume(case.image).shape == (5, 4, 3) for case in cases)


def test_files_that_are_left_out_are_counted_by_kind(tmp_path, caplog):
    scan(tmp_path / "a.png"), scan(tmp_path / "b.mhd", 2), scan(tmp_path / "c.nhdr", 2)
    assert names(tmp_path) == ["a", "b", "c"] and not caplog.records  # b.raw and c.raw.gz are their voxels
    shutil.copy(ROOT / "Resources" / "samples" / "brain_mri.dcm", tmp_path / "d")
    slide = image(np.zeros((4, 6), np.uint16), "1.2.840.10008.5.1.4.1.1.66.4", "SEG")
    save(slide, tmp_path / "e")
    (tmp_path / "sub").mkdir()
    others = "x.gif sub/y.GIF z.mgz t.tar.gz alone.img alone2.hdr s.seg.nrrd README .h.nii.gz ._a.png .DS_Store 1.2.3.4"
    for name in others.split():
        (tmp_path / name).write_bytes(b"x")
    assert names(tmp_path) == ["d", "a", "b", "c"]
    assert [record.message for record in caplog.records] == [
        "Left out as no images: 2 .gif, 2 without an ending, 1 .hdr, 1 .img, 1 .mgz, 1 .seg.nrrd, 1 .tar.gz, "
        "1 DICOM (segmentation), 1 hidden."
    ]


def test_results_folders_inside_of_the_inputs_are_no_cases(run, tmp_path):
    """As in three runs in one folder, whose outputs lay in it."""
    scan(tmp_path / "a.png"), scan(tmp_path / "b.png")
    for _ in range(2):
        for command in (["segment", "-o", tmp_path / "out"], ["export", "-o", tmp_path / "Dataset301_In"]):
            code, _, err = run(command[0], tmp_path, "-p", "brain tumor", *command[1:])
            assert code == 0, err
            assert names(tmp_path) == ["a", "b"]
    assert len(list((tmp_path / "out").glob("*.seg.nrrd"))) == 2
    with pytest.raises(InputError, match="other results"):
        find_cases(tmp_path / "out", PROMPTS)


def test_patterns_choose_and_a_dry_run_lists_without_models(run, tmp_path):
    for name in ("p1/a.png", "p1/b.nii.gz", "p2/a.png", "p2/deep/c.png"):
        scan(tmp_path / "in" / name, 2)
    assert names(tmp_path / "in", include=["p1/*"]) == ["p1_a", "p1_b"]
    assert names(tmp_path / "in", include=["*.png"], exclude=["p2/*", "nothing*"]) == ["p1_a"]
    out = tmp_path / "out"
    options = ("--format", "png", "--model", "none", "--dry-run")
    ask = ("export", tmp_path / "in", "-p", "t: tumor", "-o", out, *options)
    code, text, err = run(*ask, "--exclude", "*.nii.gz", "--json")
    assert code == 0 and [case["case"] for case in json.loads(text)["cases"]] == ["p1_a", "p2_a", "p2_deep_c"]
    assert not out.exists()
    code, text, _ = run(*ask, "--include", "p1/a*")
    assert code == 0 and "1 case; nothing was done." in text and "p1_a: " in text
    code, _, err = run(*ask, "--include", "*.jpg")
    assert code == 2 and "None of the 4 images" in err and "matches the patterns" in err


def test_volumes_are_refused_for_images_before_the_work(run, tmp_path):
    scan(tmp_path / "in" / "a.png"), scan(tmp_path / "in" / "b.nii.gz", 3), scan(tmp_path / "in" / "flat.nii.gz", 1)
    ask = ("export", tmp_path / "in", "-p", "t: tumor", "-o", tmp_path / "out", "--format", "png")
    code, _, err = run(*ask, "--sam", "none")
    assert code == 2 and "'b' has 3 slices" in err and not (tmp_path / "out").exists()
    code, text, err = run(*ask, "--exclude", "b.nii.gz", "--dry-run")
    assert code == 0 and "2 cases" in text


def test_images_by_any_name_of_their_format_are_found(tmp_path):
    for name, kind in (("a.jfif", "JPEG"), ("b.JPE", "JPEG"), ("c.dib", "BMP")):
        Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(tmp_path / name, kind)
    cases = find_cases(tmp_path, {"x": "tumor"})
    assert [case.name for case in cases] == ["a", "b", "c"]
    assert [read_volume(case.image).notes for case in cases] == [[]] * 3


def test_images_that_no_dicom_seg_can_refer_to_are_refused_before_the_work(run, tmp_path):
    scan(tmp_path / "in" / "a.png"), scan(tmp_path / "in" / "b.nii.gz", 3)
    shutil.copy(ROOT / "Resources" / "samples" / "brain_mri.dcm", tmp_path / "in" / "c.dcm")
    shutil.make_archive(str(tmp_path / "d"), "zip", tmp_path / "in")
    rows = [f"in/{name},tumor" for name in ("a.png", "b.nii.gz", "c.dcm")] + ["d.zip,tumor"]
    (tmp_path / "table.csv").write_text("\n".join(["image,prompt", *rows]), encoding="utf-8")
    asked = ("-o", tmp_path / "out", "--format", "dcm", "--sam", "none")
    for inputs, said in (("in", "2 of 3 images"), ("table.csv", "3 of 4 images")):
        prompt = ("-p", "t: tumor") if inputs == "in" else ()
        code, _, err = run("export", tmp_path / inputs, *prompt, *asked)
        assert code == 2 and said in err and "'a.png', 'b.nii.gz'" in err and "'c.dcm'" not in err
        assert len(err.splitlines()) == 2 and "Leave them out" in err and not (tmp_path / "out").exists()
    code, text, err = run("export", tmp_path / "in" / "c.dcm", "-p", "t: tumor", *asked, "--dry-run")
    assert code == 0 and "1 case" in text, err


def test_labels_of_prompts_are_those_of_the_dataset(run, tmp_path):
    scan(tmp_path / "a.png")
    code, _, err = run("export", tmp_path / "a.png", "-p", "lesion: brain tumor", "-o", tmp_path / "Dataset007_X")
    assert code == 0, err
    described = json.loads((tmp_path / "Dataset007_X" / "dataset.json").read_text(encoding="utf-8"))
    assert described["labels"] == {"background": 0, "lesion": 1}


def test_words_that_the_model_does_not_know_are_told_before_the_work(run, tmp_path):
    write_png(tmp_path / "a.png", np.zeros((40, 40, 3), np.uint8))
    ask = ("export", tmp_path / "a.png", "--format", "png", "--model", "demo", "--sam", "demo", "--device", "cpu")
    code, _, err = run(*ask, "-o", tmp_path / "out", "-p", "brest tumor")
    assert (
        code == 0
        and err.count("note: Words that the model 'demo' does not know were left out: brest. Did you mean 'breast'?")
        == 1
    )
    code, _, err = run(*ask, "-o", tmp_path / "none", "-p", "zorblax")
    assert code == 2 and "knows no word of the prompt 'zorblax'" in err and not (tmp_path / "none").exists()
    ask = {"inputs": str(tmp_path / "a.png"), "clip": "demo", "sam": "demo", "device": "cpu", "export": {"form": "png"}}
    for out, prompt in (("by worker", "brest tumor"), ("by worker, none", "zorblax")):
        fields, reply = ask | {"out": str(tmp_path / out), "prompts": {"x": prompt}}, RecordingReply()
        with pytest.raises(PromptError, match="knows no word") if prompt == "zorblax" else nullcontext():
            export_dataset(Message("export", 1, fields), reply)
            (notice,) = reply.of("notice")
            assert notice.fields["message"].startswith(
                "Words that the model 'demo' does not know were left out: brest."
            )
    assert not (tmp_path / "by worker, none").exists()


def test_what_is_there_twice_by_links_is_one_case(tmp_path):
    scan(tmp_path / "a.png")
    (tmp_path / "again.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "all").symlink_to(tmp_path)
    (tmp_path / "up").symlink_to(tmp_path.parent)
    assert names(tmp_path) == ["a"]


def test_folders_that_are_links_are_looked_into_once(tmp_path):
    """As a cohort is put together of patients that lie elsewhere."""
    scan(tmp_path / "store" / "p1" / "deep" / "a.png"), scan(tmp_path / "store" / "p2" / "b.nii.gz", 2)
    (tmp_path / "store" / "p1" / "deep" / "loop").symlink_to(tmp_path / "store" / "p1")
    (tmp_path / "cohort").mkdir()
    for link in ("p1", "p2", "again"):
        (tmp_path / "cohort" / link).symlink_to(tmp_path / "store" / link.replace("again", "p2"))
    assert len(names(tmp_path / "cohort")) == 2 and "p1_deep_a" in names(tmp_path / "cohort")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with a name")
def test_broken_links_and_pipes_in_a_folder_are_counted_and_not_read(tmp_path, caplog):
    scan(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "not-fetched" / "b.png")  # as git-annex leaves them
    (tmp_path / ".#a.png").symlink_to("user@host")  # as Emacs locks a file
    os.mkfifo(tmp_path / "pipe")
    assert names(tmp_path) == ["a"]
    (record,) = caplog.records
    assert record.message == "Left out as no images: 1 link (broken), 1 pipe or device."


@pytest.mark.parametrize("command", ["export", "segment"])
def test_what_is_left_out_is_a_note_in_the_terminal_and_in_the_json(run, tmp_path, command):
    scan(tmp_path / "in" / "a.png"), scan(tmp_path / "in" / "a_mask.png"), scan(tmp_path / "in" / "b.png")
    (tmp_path / "in" / "notes.txt").write_text("x")
    notes = [
        "Left out as no images: 1 .txt.",
        "Left out as masks or results: a_mask.png. They are taken only if a pattern, a table or a path names them.",
    ]
    ask = (command, tmp_path / "in", "-p", "t: brain tumor", "-o", tmp_path / "Dataset301_In", "--json")
    for more in ([], ["--dry-run"])[: 2 if command == "export" else 1]:
        code, text, err = run(*ask, *more)
        assert code == 0 and json.loads(text)["notes"][:2] == notes
        assert all(f"note: {note}\n" in err for note in notes) and "WARNING" not in err
    if command == "export":
        scan(tmp_path / "more" / "c.png")
        code, text, _ = run(command, tmp_path / "more", *ask[2:])
        assert code == 0 and any(note.startswith("These images come from") for note in json.loads(text)["notes"])


def test_a_folder_of_something_else_is_refused_before_the_models_load(run, tmp_path):
    scan(tmp_path / "in" / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    ask = ("export", tmp_path / "in", "-p", "t: brain tumor", "--format", "png")
    for more in (["--dry-run"], ["--model", "none"]):
        code, _, err = run(*ask, "-o", tmp_path / "out", *more)
        assert code == 2 and "holds no export.json of an earlier run" in err
    assert run(*ask, "-o", tmp_path / "masks", "--anonymous", tmp_path / "key.csv")[0] == 0
    code, _, err = run(*ask, "-o", tmp_path / "masks")
    assert code == 2 and "holds results of other settings: anonymous was True, is not given." in err
