"""What names a patient stays with the source: paths in manifests, and cases by number with a key kept apart."""

import csv
import json
import os
import stat
import threading
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_made import image, save
from recording_reply import RecordingReply
from segmenting import models_stay_loaded, phantom_png, series

from MedCLIPSAMLib.errors import InputError, OutputError
from MedCLIPSAMLib.export.case_key import CaseKey
from MedCLIPSAMLib.export.image_names import find_image, hide_names
from MedCLIPSAMLib.export.manifest import read_records
from MedCLIPSAMLib.files.lock import lock_file
from MedCLIPSAMLib.worker.exporting import export_dataset
from MedCLIPSAMLib.worker.protocol import Message

FIXTURES = (models_stay_loaded,)
PATIENT = "O'Neill Mary"


@pytest.fixture
def scans(tmp_path):
    """A folder whose path names a patient, as do the files: two heads, one of them damaged, and a DICOM series."""
    folder = tmp_path / PATIENT / "study"
    phantom_png(folder / f"{PATIENT} skull.png")
    phantom_png(folder / "annex7" / "skull.png")
    series(folder / f"{PATIENT} scan")
    (folder / f"{PATIENT} broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    return folder


def texts(folder: Path) -> dict[str, str]:
    """All that a dataset says: the names of its files, and what is in those of text."""
    said = {}
    for path in folder.rglob("*"):
        readable = path.is_file() and path.suffix in (".json", ".jsonl", ".html", ".csv", ".txt")
        said[str(path.relative_to(folder))] = path.read_text(encoding="utf-8") if readable else ""
    return said


def test_a_manifest_names_images_by_their_place_below_the_folder_that_was_given(run, scans, tmp_path, monkeypatch):
    out = tmp_path / "out"
    ask = ("export", scans, "-p", "tumor: brain tumor", "--format", "nii.gz", "-o", out)
    run(*ask)
    records = read_records(out)
    assert {record["image"] for record in records.values()} == {
        f"{PATIENT} skull.png",
        "annex7/skull.png",
        f"{PATIENT} scan",
        f"{PATIENT} broken.png",
    }
    assert all(find_image(out, record).exists() for record in records.values())
    private = out / "image_folders.json"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    said = {name: text for name, text in texts(out).items() if name != private.name}
    assert not [name for name, text in said.items() if str(tmp_path) in text]
    # The same command from another folder of work goes on, and finds nothing to do.
    before = (out / "manifest.jsonl").read_bytes()
    monkeypatch.chdir(tmp_path)
    run("export", scans.relative_to(tmp_path), *ask[2:])
    assert (out / "manifest.jsonl").read_bytes() == before
    # Without the file of folders the images are not known, and the dataset still can be gone on with.
    private.unlink()
    with pytest.raises(InputError, match="does not say where"):
        find_image(out, next(iter(records.values())))
    run(*ask)
    assert read_records(out).keys() == records.keys()


def test_images_of_two_folders_with_the_same_path_are_two(run, tmp_path):
    """The second one must not take the place of the first."""
    for name in ("a", "b"):
        phantom_png(tmp_path / name / "head.png")
    changed = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "b" / "head.png")))
    sitk.WriteImage(sitk.GetImageFromArray(255 - changed), str(tmp_path / "b" / "head.png"))
    out = tmp_path / "out"
    ask = ("-p", "tumor: brain tumor", "--format", "nii.gz", "-o", out)
    assert run("export", tmp_path / "a", *ask)[0] == 0
    mask = next(out.glob("*.nii.gz")).read_bytes()
    code, _, err = run("export", tmp_path / "b", *ask)
    assert code == 2 and "of another image" in err
    assert next(out.glob("*.nii.gz")).read_bytes() == mask


def test_anonymous_cases_are_numbers_and_nothing_else_names_the_patient(run, scans, tmp_path):
    key, out = tmp_path / "kept apart" / "key.csv", tmp_path / "out"
    key.parent.mkdir()
    ask = ("export", scans, "-p", "tumor: brain tumor", "--format", "nii.gz", "-o", out, "--anonymous", key)
    run(*ask)
    records = read_records(out)
    assert sorted(records) == ["case_0001", "case_0002", "case_0003", "case_0004"]
    assert sum(record["status"] == "failed" for record in records.values()) == 1
    for name, text in texts(out).items():
        for part in ("Neill", "Mary", "annex7", str(tmp_path), "skull"):
            assert part not in name and part not in text, (name, part)
    assert not any({"series", "folder"} & record.keys() or "time" in record["source"] for record in records.values())
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    rows = list(csv.DictReader(key.open(encoding="utf-8")))
    assert {row["image"] for row in rows} == {
        str(scans / name)
        for name in (f"{PATIENT} skull.png", "annex7/skull.png", f"{PATIENT} scan", f"{PATIENT} broken.png")
    }
    # A new image gets the next number, and the others keep theirs.
    phantom_png(scans / "a first one.png")
    run(*ask)
    assert {row["image"]: row["case"] for row in csv.DictReader(key.open(encoding="utf-8"))} == {
        **{row["image"]: row["case"] for row in rows},
        str(scans / "a first one.png"): "case_0005",
    }
    assert sorted(read_records(out)) == [f"case_{number:04d}" for number in range(1, 6)]


def test_segment_numbers_the_files_of_a_folder(run, scans, tmp_path):
    key, out = tmp_path / "key.csv", tmp_path / "out"
    code, text, err = run("segment", scans, "-p", "brain tumor", "-o", out, "--anonymous", key, "--json")
    assert code == 1
    made = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    assert len(made) == 3 and all(name.startswith("case_000") for name in made)
    assert "Neill" not in text + err and str(scans) not in text + err
    said = json.loads(text)
    assert {entry["input"] for entry in said["images"] + said["failed"]} == {f"case_000{n}" for n in (1, 2, 3, 4)}


def test_a_dry_run_refuses_a_key_in_the_dataset_and_writes_none(run, scans, tmp_path):
    out, key = tmp_path / "out", tmp_path / "key.csv"
    ask = ("export", scans, "-p", "tumor", "--format", "nii.gz", "-o", out, "--dry-run", "--anonymous")
    code, _, err = run(*ask, out / "key.csv")
    assert code == 2 and "is passed on to others" in err
    code, _, err = run(*ask, key)
    assert code == 0 and not key.exists() and not out.exists(), err


def test_the_worker_numbers_cases_and_refuses_what_the_command_does_before_any_work(scans, tmp_path):
    out, key = tmp_path / "out", tmp_path / "key.csv"
    fields = {"inputs": str(scans), "out": str(out), "prompts": {"tumor": "brain tumor"}, "clip": "demo", "sam": "demo"}
    ask = lambda reply, key, form: export_dataset(
        Message("export", 1, fields | {"device": "cpu", "export": {"form": form}, "anonymous": str(key)}), reply
    )
    reply = RecordingReply()
    for refused, form, said in (
        (out / "key.csv", "nii.gz", "is passed on to others"),
        (tmp_path / "absent" / "key.csv", "nii.gz", "does not exist"),
        (scans / f"{PATIENT} broken.png", "nii.gz", "not a key of cases"),
    ):
        with pytest.raises((InputError, OutputError), match=said):
            ask(reply, refused, form)
    assert not reply.messages and not out.exists() and not key.exists()
    about, _ = ask(reply, key, "nii.gz")
    assert about["cases"] == 4 and about["counts"]["failed"] == 1
    assert sorted(read_records(out)) == ["case_0001", "case_0002", "case_0003", "case_0004"]
    said = json.dumps([message.fields for message in reply.messages]) + json.dumps(texts(out))
    assert "Neill" not in said and "skull" not in said and "case_0004" in said


@pytest.mark.parametrize("form", ["dcm", "rtstruct"])
def test_dicom_objects_cannot_be_anonymous(run, scans, tmp_path, form):
    key = tmp_path / "key.csv"
    code, _, err = run("segment", scans, "-p", "tumor", "-o", tmp_path / "out", "--format", form, "--anonymous", key)
    assert code == 2 and "identity" in err and not key.exists()
    if form == "dcm":
        dicom = tmp_path / "dicom"
        save(image(np.zeros((8, 8), np.int16)), dicom / "0.dcm")
        code, _, err = run("export", dicom, "-p", "tumor", "-o", tmp_path / "o", "--format", form, "--anonymous", key)
        assert code == 2 and "identity" in err


def test_a_key_is_not_taken_from_elsewhere_nor_put_into_the_dataset(tmp_path):
    foreign = tmp_path / "table.csv"
    foreign.write_text("name,age\nMary,54\n", encoding="utf-8")
    with pytest.raises(InputError, match="not a key of cases"):
        CaseKey(foreign)
    assert foreign.read_text(encoding="utf-8") == "name,age\nMary,54\n"
    twice = tmp_path / "twice.csv"
    twice.write_text("case,image,series\ncase_0001,/a,\ncase_0001,/b,\n", encoding="utf-8")
    with pytest.raises(InputError, match="each case once"):
        CaseKey(twice)
    huge = tmp_path / "huge.csv"
    huge.write_text(f"case,image,series\ncase_{'9' * 5000},/a,\n", encoding="utf-8")
    with pytest.raises(InputError, match="not a key of cases"):
        CaseKey(huge)
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputError, match="is passed on to others"):
        CaseKey(tmp_path / "out" / "key.csv").check_outside(tmp_path / "out")


def test_sentences_lose_what_names_an_image(tmp_path):
    image_path = tmp_path / PATIENT / "scan 7.nii.gz"
    said = f"'{image_path}' cannot be read; scan 7.nii.gz has the series 'HEAD Mary'."
    hidden = hide_names(said, image_path, tmp_path)
    assert "Mary" not in hidden and "scan 7" not in hidden and "cannot be read" in hidden
    # Libraries name a path without quotes, and folders without what lies in them.
    said = f"ITK could not open {image_path} (in {image_path.parent})."
    hidden = hide_names(said, image_path, image_path.parent)
    assert PATIENT not in hidden and str(tmp_path) not in hidden and hidden.startswith("ITK could not open ...")
    # A name of a letter or a digit is no part of other words.
    said = "a.png: a mask of 21 voxels at 0.1 mm, slice 1."
    assert hide_names(said, tmp_path / "a.png", tmp_path) == "...: ... mask of 21 voxels at 0.1 mm, slice 1."
    assert hide_names("case a_1 is absent", tmp_path / "a.png", tmp_path) == "case ..._1 is absent"


def test_a_run_waits_for_another_one_that_writes_the_key(tmp_path):
    """Until it has written its case, which has number 1."""
    key, numbers = tmp_path / "key.csv", []
    other = threading.Thread(target=lambda: numbers.extend(CaseKey(key).number([(tmp_path / "b.png", None)])))
    with lock_file(tmp_path / ".key.csv.lock"):
        other.start()
        other.join(0.2)
        assert not numbers
        key.write_text(f"case,image,series\ncase_0001,{tmp_path / 'a.png'},\n")
    other.join(10)
    assert numbers == ["case_0002"] and sorted(os.listdir(tmp_path)) == ["key.csv"]
