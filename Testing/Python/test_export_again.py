"""A second export into the same dataset: nothing of its own is taken for input, and nothing changes its meaning."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from recording_reply import RecordingReply

from MedCLIPSAMLib.commands.export import EngineOptions
from MedCLIPSAMLib.errors import InputError, OutputError
from MedCLIPSAMLib.export.cases import find_cases
from MedCLIPSAMLib.export.dataset import segments_of, write_case
from MedCLIPSAMLib.export.export import export
from MedCLIPSAMLib.export.job import ExportSettings
from MedCLIPSAMLib.export.known import Sources
from MedCLIPSAMLib.export.manifest import MANIFEST, Manifest, read_records
from MedCLIPSAMLib.export.strike import strike
from MedCLIPSAMLib.nnunet.trust import trust_file
from MedCLIPSAMLib.volumes import Segment, read_segmentation, read_volume, write_segmentation
from MedCLIPSAMLib.worker.exporting import export_dataset
from MedCLIPSAMLib.worker.protocol import Message

PROMPTS = {"tumor": "brain tumor"}


class Engine:
    """What writes real files of real images, with the bright pixels as the mask, in place of models."""

    clip = sam = "none"
    settings = SimpleNamespace(deciding=lambda: {})

    def __init__(self, notes=None):
        self.done, self.notes = [], notes or {}

    def notes_on(self, prompts):
        return []

    def run(self, cases, job, write, *_):
        for case in cases:
            self.done.append(case.name)
            record = {"case": case.name, "image": str(case.image), "status": "found", "labels": {}, "files": []}
            record |= {"source": Sources().describe(case.image), "notes": self.notes.get(case.name, [])}
            try:
                volume = read_volume(case.image, **case.choice())
                masks = {label: volume.array[..., 0] > 100 for label in case.prompts}
                about = {"status": "found", "score": 1.0, "size": 1.0, "unit": "ml"}
                record["labels"] = {label: about | {"prompt": text} for label, text in case.prompts.items()}
                if any(mask.any() for mask in masks.values()):
                    segments = segments_of(job.labels, masks, {})
                    record["files"] = write_case(job.out, case.name, job.settings.form, volume, segments)
                else:
                    record["status"] = "empty"
            except InputError as error:
                record |= {"status": "failed", "problem": error.problem}
            write(record)
            yield record


@pytest.fixture()
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a b.png", "c.png"):
        image(tmp_path / "in" / name, 200)
    return tmp_path / "in"


def image(path, value):
    Image.fromarray(np.full((12, 12, 3), value, np.uint8)).save(path)


def run(folder, out, prompts=PROMPTS, negative=None, form="nnunet", retry=False):
    """The cases that were done."""
    engine = Engine()
    cases = [replace(case, negative=negative) for case in find_cases(folder, prompts)]
    export(cases, engine, out, ExportSettings(form), retry=retry)
    return engine.done


def test_an_export_into_its_own_inputs_does_not_feed_on_itself(folder):
    out = folder / "Dataset101_Head"
    assert run(folder, out) == ["a_b", "c"]
    (folder / "deeper").mkdir()
    assert run(folder, folder / "deeper" / "masks", form="seg.nrrd") == ["a_b", "c"]
    shutil.copy(folder / "deeper" / "masks" / "c.seg.nrrd", folder / "c.seg.nrrd")
    for _ in range(2):
        assert run(folder, out) == [] and len(read_records(out)) == 2
    with pytest.raises(InputError, match="holds an export"):
        find_cases(out, PROMPTS)
    assert [case.name for case in find_cases(out / "imagesTr", PROMPTS)] == ["a_b_0000", "c_0000"]


def test_a_new_image_whose_name_differs_in_case_only_gets_a_name_of_its_own(folder):
    """Many systems have one file for both names: the case that is there would be written over."""
    out = folder.parent / "Dataset101_Head"
    assert run(folder, out) == ["a_b", "c"]
    (folder / "c.png").unlink()
    image(folder / "C.png", 200)
    (new,) = run(folder, out)
    assert new.startswith("C-") and read_records(out).keys() == {"a_b", "c", new}
    assert run(folder, out) == []


def test_names_are_of_ascii_without_accents_and_begin_with_no_dot(folder):
    """Of a long path the end is kept, here from a dot of a DICOM UID on; a name with a dot first would be hidden."""
    long = f"{'x' * 20}/1{'.2222' * 22}"
    for name in ("é", "á/ñandú.x", "b/é", "漢", long):
        (folder / name).parent.mkdir(exist_ok=True)
        image(folder / f"{name}.png", 200)
    cases = {case.image.relative_to(folder).as_posix(): case for case in find_cases(folder, PROMPTS)}
    names = [cases[f"{path}.png"].name for path in ("é", "á/ñandú.x", "b/é", "漢", long)]
    assert names == ["e", "a_nandu.x", "b_e", "case", "2222" + 19 * ".2222"]
    assert len(run(folder, folder.parent / "Dataset101_Head")) == 7


def test_a_second_run_says_what_it_adds_and_what_is_odd(folder, run, monkeypatch):
    """A copy of c.png from another folder joins two images, one of which is unlike what the model has seen."""
    monkeypatch.setattr(
        EngineOptions, "start", lambda *_: Engine({"a_b": ["This image looks unlike what 'x' has seen."]})
    )
    out, more = folder.parent / "Dataset101_Head", folder.parent / "more"
    image(folder / "c.png", 210)
    ask = lambda inputs, *words: run("export", inputs, "-p", "tumor: brain tumor", "-o", out, *words)
    code, text, err = ask(folder)
    assert code == 0 and "2 cases: 2 found." in text, err
    assert "note: Unlike what the model has seen: 1 image, such as 'a_b'." in err and "come from" not in err
    more.mkdir()
    shutil.copy(folder / "c.png", more / "d.png")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    code, text, err = ask(more, "--dry-run")
    assert code == 0 and f"d: {more / 'd.png'}\n1 case; nothing was done." in text, err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    code, text, err = ask(more)
    assert code == 0 and "1 case done; the dataset holds 3: 3 found." in text
    assert f"These images come from '{more}'; those in the dataset came from '{folder}'." in err
    said = "Copies of other images: 1 image, such as 'd' of 'c'."
    assert f"note: {said}" in err and said in (out / "report.html").read_text(encoding="utf-8")
    code, text, err = ask(folder)
    assert code == 0 and "0 cases done, 2 already there; the dataset holds 3: 3 found." in text
    assert "come from" not in err


def test_the_worker_tells_of_copies(folder, monkeypatch):
    monkeypatch.setattr("MedCLIPSAMLib.worker.exporting.load_segmenter", lambda *_: None)
    monkeypatch.setattr("MedCLIPSAMLib.export.engines.LocalEngine", lambda _: Engine())
    reply, out = RecordingReply(), str(folder.parent / "Dataset101_Head")
    export_dataset(Message("export", 1, {"inputs": str(folder), "out": out, "prompts": PROMPTS, "clip": "demo"}), reply)
    said = [notice.fields["message"] for notice in reply.of("notice")]
    assert said == ["Copies of other images: 1 image, such as 'c' of 'a_b'."]


def test_a_dry_run_lists_what_the_run_would_do(folder, run, monkeypatch):
    """Names as kept in the dataset, and which are done; one image was exchanged, one is new."""
    monkeypatch.setattr(EngineOptions, "start", lambda *_: Engine())
    out = folder.parent / "Dataset101_Head"
    ask = ("export", folder, "-p", "tumor: brain tumor", "-o", out)
    assert run(*ask)[0] == 0
    image(folder / "c_.png", 210)  # from now on two would be called c
    image(folder / "a b.png", 220)
    code, text, err = run(*ask, "--dry-run", "--json")
    assert code == 0, err
    (new,) = (case.name for case in find_cases(folder, PROMPTS) if case.image.stem == "c_")
    states = {case["case"]: case["state"] for case in json.loads(text)["cases"]}
    assert states == {"a_b": "again", "c": "there", new: "new"}
    code, text, _ = run(*ask, "--dry-run")
    assert f"c: {folder / 'c.png'}, already in the dataset\n" in text and 'Prompts: tumor: "brain tumor".\n' in text
    assert "3 cases: 1 already there, 2 to do; nothing was done." in text
    assert run(*ask)[0] == 0 and read_records(out).keys() == {"a_b", "c", new}


def test_a_dry_run_refuses_what_the_run_would(folder, run):
    prompts = folder.parent / "p.json"
    ask = ("export", folder, "--prompts", prompts, "-o", folder.parent / "Dataset101_Head", "--dry-run")
    for text, message in (
        ('{"background": "brain tumor"}', "'background' cannot be a label"),
        ('{"c.png": "brain tumor", "x": "head"}', "got one for the image 'c.png'"),
        ('{"c": "brain tumor", "a b": "head"}', "got one for the image 'c'"),
    ):
        prompts.write_text(text)
        code, _, err = run(*ask)
        assert code == 2 and message in err
    prompts.write_text('{"c": "brain tumor", "x": "head"}')
    assert run(*ask)[0] == 0, "a label may be named as one of the images"
    code, _, err = run(*ask[:2], "-p", "tumor", *ask[4:], "--exclude", "*")
    assert code == 2 and "None of the 2 images" in err
    code, _, err = run(*ask[:2], "-p", "tumor", *ask[4:-1], "--workers", "2")
    assert code == 2 and "--workers is for a Ray cluster" in err


def test_an_export_that_finds_nothing_says_what_to_try(folder, run, monkeypatch):
    monkeypatch.setattr(EngineOptions, "start", lambda *_: Engine())
    for path in folder.glob("*.png"):
        image(path, 0)
    code, text, _ = run("export", folder, "-p", "tumor: brain tumor", "-o", folder.parent / "Dataset101_Head")
    assert code == 0 and "2 cases: 2 empty" in text and "a lower --presence" in text and "strike" not in text


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"prompts": {"tumor": "lung nodule"}}, "the prompt 'brain tumor' for 'tumor'"),
        ({"negative": "vessel"}, "no negative prompt"),
    ],
)
def test_other_prompts_and_negatives_are_refused(folder, tmp_path, changes, message):
    out = tmp_path / "Dataset101_Head"
    run(folder, out)
    before = (out / MANIFEST).read_text()
    with pytest.raises(OutputError, match=message):
        run(folder, out, **changes)
    other = tmp_path / "more"
    other.mkdir()
    image(other / "new.png", 200)
    with pytest.raises(OutputError, match=message):
        run(other, out, **changes)
    assert (out / MANIFEST).read_text() == before
    assert run(other, out) == ["new"]


def test_a_table_with_a_sentence_an_image_may_grow(folder):
    out = folder.parent / "Dataset101_Head"
    table = folder / "t.csv"
    table.write_text("image,label,prompt\nc.png,tumor,a round tumor\n")
    assert run(table, out, None) == ["c"]
    table.write_text("image,label,prompt\nc.png,tumor,a round tumor\na b.png,tumor,a bright tumor\n")
    assert run(table, out, None) == ["a_b"]
    table.write_text("image,label,prompt\nc.png,tumor,another sentence\na b.png,tumor,a bright tumor\n")
    with pytest.raises(OutputError, match="'c' is in the dataset with the prompt 'a round tumor'"):
        run(table, out, None)


def test_an_image_exchanged_under_its_name_is_done_again(folder):
    out = folder.parent / "Dataset101_Head"
    run(folder, out)
    os.utime(folder / "c.png", (1, 1))  # the same image, copied
    assert run(folder, out) == []
    image(folder / "c.png", 220)
    assert run(folder, out) == ["c"]
    assert read_volume(out / "imagesTr" / "c_0000.nii.gz").array.max() == 220
    image(folder / "c.png", 0)  # nothing is found in it, so that the dataset does not hold it any more
    assert run(folder, out) == ["c"] and run(folder, out) == []
    assert not (out / "imagesTr" / "c_0000.nii.gz").exists() and not (out / "labelsTr" / "c.nii.gz").exists()
    assert json.loads((out / "dataset.json").read_text())["numTraining"] == 1


@pytest.mark.parametrize(
    "header, voxels, text",
    [
        ("a.hdr", "a.img", ""),
        ("a.HDR.GZ", "a.img.gz", ""),
        ("a.nhdr", "of a scan.raw", "NRRD0004\ntype: short\ndata file: of a scan.raw\n"),
        ("a.nhdr", "a.raw", "NRRD0004\ntype: short\ndata file: ./a.raw\n"),
        ("a.nhdr", "2.raw", "NRRD0004\ntype: short\ndata file: LIST\n1.raw\n2.raw\n"),
        ("a.mhd", "s01.raw", "NDims = 3\nElementDataFile = s%02d.raw 1 2 1\n"),
    ],
)
def test_voxels_that_change_beside_their_header_are_another_image(tmp_path, header, voxels, text):
    (tmp_path / header).write_text(text)
    (tmp_path / voxels).write_bytes(b"0000")
    before = Sources().describe(tmp_path / header)
    os.utime(tmp_path / voxels, (1, 1))
    (tmp_path / "b.img").touch()
    assert Sources().is_same(tmp_path / header, before)
    (tmp_path / voxels).write_bytes(b"1000")
    assert not Sources().is_same(tmp_path / header, before)


def test_a_run_killed_before_its_line_is_written_leaves_no_file_that_the_manifest_does_not_know(folder, monkeypatch):
    out = folder.parent / "Dataset101_Head"
    run(folder, out)
    image(folder / "c.png", 0)  # nothing is found in it any more
    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "write", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(folder, out)
    assert [path.name for path in (out / "labelsTr").iterdir()] == ["a_b.nii.gz"]
    assert run(folder, out) == ["c"] and json.loads((out / "dataset.json").read_text())["numTraining"] == 1


def test_a_case_that_was_struck_out_is_done_again_once_it_is_put_back(folder):
    out = folder.parent / "Dataset101_Head"
    run(folder, out)
    strike(out, ["c"])
    image(folder / "c.png", 220)
    assert run(folder, out, retry=True) == []
    assert [path.name for path in (out / "labelsTr").iterdir()] == ["a_b.nii.gz"]
    assert json.loads((out / "dataset.json").read_text())["numTraining"] == 1
    strike(out, [])
    assert run(folder, out) == ["c"]
    assert read_volume(out / "imagesTr" / "c_0000.nii.gz").array.max() == 220


def test_a_case_that_cannot_be_written_leaves_nothing_and_takes_nothing_away(folder, monkeypatch):
    out = folder.parent / "Dataset101_Head"
    run(folder, out)
    files = lambda: {path: path.read_bytes() for path in out.glob("*Tr/**/*")}
    before = files()
    image(folder / "c.png", 220)
    image(folder / "d.png", 220)
    for error in (OSError(errno.ENOSPC, "No space left"), InputError("It does not fit.")):
        with monkeypatch.context() as patch:
            patch.setattr("MedCLIPSAMLib.export.dataset.write_segmentation", Mock(side_effect=error))
            for name in ("c", "d"):
                with pytest.raises((OutputError, InputError), match="No space left|It does not fit"):
                    write_case(out, name, "nnunet", read_volume(folder / f"{name}.png"), [])
        assert files() == before
    assert run(folder, out) == ["c", "d"] and len(files()) == 6


def test_an_image_of_another_folder_does_not_replace_one_of_the_same_name(folder):
    out, other = folder.parent / "Dataset101_Head", folder.parent / "other"
    run(folder, out)
    shutil.copytree(folder, other)
    assert run(other, out) == []
    image(other / "c.png", 111)
    with pytest.raises(InputError, match="a case 'c' of another image"):
        run(other, out)


def test_nnunet_gets_pixels_of_no_size_whatever_resolution_an_image_has_for_its_print(folder):
    """It would bring images of 72 and 300 dpi to one size of a pixel. A correction drawn on the image itself fits."""
    out = folder.parent / "Dataset101_Head"
    Image.fromarray(np.full((12, 12, 3), 200, np.uint8)).save(folder / "print.tif", dpi=(300, 300))
    assert run(folder, out) == ["a_b", "c", "print"]
    made = [sitk.ReadImage(str(path)) for path in (*out.glob("imagesTr/*"), *out.glob("labelsTr/*"))]
    assert len(made) == 6 and {file.GetSpacing() for file in made} == {(1.0, 1.0, 1.0)}
    corrected, volume = folder.parent / "corrected.seg.nrrd", read_volume(folder / "print.tif")
    mask = np.zeros(volume.shape, bool)
    mask[0, 3, 4:9] = True
    write_segmentation(corrected, [Segment("tumor", mask)], volume)
    assert not np.isclose(volume.geometry.spacing[0], 1)
    for struck in ([], ["print"]):
        strike(out, struck)
        trust_file(out, "print", corrected)
        label = sitk.ReadImage(str(out / "labelsTr" / "print.nii.gz"))
        assert np.array_equal(sitk.GetArrayFromImage(label) == 1, mask) and label.GetSpacing() == (1.0, 1.0, 1.0)
    image_of = read_volume(out / "imagesTr" / "print_0000.nii.gz")
    (segment,) = read_segmentation(corrected, image_of)  # as it is shown for review
    assert np.array_equal(segment.mask, mask)


def test_a_label_by_a_persons_hand_stays(folder):
    out = folder.parent / "Dataset101_Head"
    run(folder, out)
    record = read_records(out)["c"] | {"trusted": "2026-01-01"}
    with open(out / MANIFEST, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    image(folder / "c.png", 220)
    assert run(folder, out) == []


def test_names_do_not_depend_on_what_is_added_or_goes(folder):
    out = folder.parent / "Dataset101_Head"
    run(folder, out)
    image(folder / "a_b.png", 150)
    (added,) = run(folder, out)
    assert added.startswith("a_b-") and run(folder, out) == []
    (folder / "a b.png").unlink()
    assert run(folder, out) == [] and set(read_records(out)) == {"a_b", "c", added}
    assert read_volume(out / "imagesTr" / "a_b_0000.nii.gz").array.max() == 200


@pytest.mark.parametrize("label", ["background", "Background ", "ignore", "", "a\nb", "\ud800"])
def test_labels_that_cannot_be_are_refused(folder, label):
    with pytest.raises(InputError, match="cannot be a label"):
        run(folder, folder.parent / "Dataset101_Head", {label: "brain tumor"})
    assert not (folder.parent / "Dataset101_Head").exists()


def test_when_cases_fail_the_exit_code_and_the_screen_say_so(tmp_path, run):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    ask = ("export", tmp_path / "in", "-p", "tumor", "-o", tmp_path / "Dataset101_Head")
    code, _, err = run(*ask)
    assert code == 1 and "failed: x: " in err and "x.png" in err and "--retry" in err
    code, text, err = run(*ask, "--json")
    assert code == 1 and json.loads(text) == {"failed": 1, "notes": []} and "failed: x: " in err
    image(tmp_path / "in" / "y.png", 10)
    code, text, err = run(*ask)
    assert code == 1 and "failed: x: " in err and "1 failed" in text
    code, text, _ = run(*ask, "--json")
    assert code == 1 and json.loads(text)["failed"] == 1
    image(tmp_path / "in" / "x.png", 20)
    assert run(*ask, "--retry")[0] == 0
