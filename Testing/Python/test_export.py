"""Pseudo-labels of a whole folder: the dataset, its manifest, going on, filters and review, with the demo models."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import SimpleITK as sitk
from segmenting import series

from MedCLIPSAMLib.errors import Cancelled, InputError, MedCLIPSAMError, OutputError, attempt
from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.export import job
from MedCLIPSAMLib.export.cases import Case, find_cases
from MedCLIPSAMLib.export.dicom_seg import write_dicom_seg
from MedCLIPSAMLib.export.engines import LocalEngine
from MedCLIPSAMLib.export.export import export
from MedCLIPSAMLib.export.job import ExportSettings
from MedCLIPSAMLib.export.manifest import MANIFEST, Manifest, read_records
from MedCLIPSAMLib.export.strike import strike
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.phantoms.volumes import make_volume
from MedCLIPSAMLib.run_context import RunContext
from MedCLIPSAMLib.volumes import Segment, read_segmentation, read_volume
from MedCLIPSAMLib.volumes.write import write_png

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = {"tumor": "brain tumor", "ventricles": "ventricles"}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Four heads of which the last has no tumour, one of them in a folder below, and a broken file."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "more scans").mkdir()
    for number, name in enumerate(("a.png", "b.png", "more scans/a.png", "healthy.png")):
        phantom = make_phantom("validation", number, "MR", int(name != "healthy.png"))
        write_png(folder / name, np.repeat(phantom.image[..., None], 3, 2))
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    return folder


NAMES = {"a", "b", "more_scans_a", "healthy", "broken"}


def test_a_folder_becomes_an_nnunet_dataset(segmenter, images, tmp_path):
    out, progress = tmp_path / "Dataset007_Head", []
    counts = export(find_cases(images, PROMPTS), LocalEngine(segmenter), out, context=RunContext(progress.append))
    records = read_records(out)
    assert (
        records.keys() == NAMES and counts["failed"] == 1 and [message.done for message in progress] == [1, 2, 3, 4, 5]
    )
    assert records["broken"]["status"] == "failed" and "broken.png" in records["broken"]["problem"]
    about = json.loads((out / "dataset.json").read_text())
    assert about["labels"] == {"background": 0, "tumor": 1, "ventricles": 2} and about["file_ending"] == ".nii.gz"
    inside = {name for name, record in records.items() if record["files"]}
    assert about["numTraining"] == len(inside) == counts["found"]
    assert {path.name for path in (out / "labelsTr").iterdir()} == {f"{name}.nii.gz" for name in inside}
    assert {path.name for path in (out / "imagesTr").iterdir()} == {f"{name}_0000.nii.gz" for name in inside}
    for number, name in enumerate(("a", "b", "more_scans_a")):
        label = sitk.ReadImage(str(out / "labelsTr" / f"{name}.nii.gz"))
        image = sitk.ReadImage(str(out / "imagesTr" / f"{name}_0000.nii.gz"))
        assert label.GetSize() == image.GetSize() and label.GetSpacing() == image.GetSpacing()
        pixels = make_phantom("validation", number, "MR", 1).image
        array = sitk.GetArrayFromImage(label)[0]
        assert np.array_equal(sitk.GetArrayFromImage(image)[0], pixels)
        segmenter.set_image(np.repeat(pixels[..., None], 3, 2))
        tumor, ventricles = (segmenter.segment(prompt) for prompt in PROMPTS.values())
        upper = tumor.mask if tumor.score > ventricles.score else ventricles.mask
        assert np.array_equal(array > 0, tumor.mask | ventricles.mask)
        assert np.array_equal(array == (1 if upper is tumor.mask else 2), upper)  # the surer one where both are
    assert records["healthy"]["labels"]["tumor"]["status"] == "empty"
    page = (out / "report.html").read_text()
    assert all(f'"{name}"' in page for name in NAMES) and (out / "report" / "a.png").stat().st_size > 1000


def test_a_run_that_is_killed_does_no_case_twice_and_loses_none(images, tmp_path, run):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "MedCLIPSAMLib", "export", str(images), "-o", str(out), "-p", "brain tumor"]
    command += ["--format", "seg.nrrd", "--device", "cpu", "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    manifest = out / MANIFEST
    while running.poll() is None and (not manifest.exists() or len(manifest.read_text().splitlines()) < 2):
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    running.wait()
    before = manifest.read_text().splitlines(keepends=True)
    assert 2 <= len(before) < 5
    with open(manifest, "a", encoding="utf-8") as file:
        file.write('{"case": "b", "sta')  # as a kill in the middle of a write leaves it
    code, text, err = run(*command[3:])
    assert code == 1 and "failed: broken: " in err, err  # one image is no image
    lines = [
        line for line in manifest.read_text().splitlines(keepends=True) if '"sta' not in line or '"status"' in line
    ]
    assert lines[: len(before)] == before
    assert sorted(json.loads(line)["case"] for line in lines) == sorted(NAMES)
    counts = json.loads(text)
    assert counts.pop("notes") == [] and sum(counts.values()) == 5
    whole = {f"{name}.seg.nrrd" for name, record in read_records(out).items() if record["files"]}
    assert whole == {path.name for path in out.glob("*.seg.nrrd")}
    assert not list(out.glob(".*.partial*"))


def test_two_runs_and_other_requests_keep_off_a_folder(segmenter, images, tmp_path):
    cases, out = find_cases(images / "a.png", PROMPTS), tmp_path / "out"
    export(cases, LocalEngine(segmenter), out, ExportSettings("nii.gz"))
    other = Manifest(out, json.loads((out / "export.json").read_text()))
    with pytest.raises(OutputError, match="Another run is writing"):
        export(cases, LocalEngine(segmenter), out, ExportSettings("nii.gz"))
    other.close()
    assert export(cases, LocalEngine(segmenter), out, ExportSettings("nii.gz")) == {"found": 1}
    with pytest.raises(OutputError, match="other export"):
        export(cases, LocalEngine(segmenter), out, ExportSettings("nii.gz", min_score=0.1))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match="not empty"):
        export(cases, LocalEngine(segmenter), tmp_path / "full", ExportSettings("png"))
    assert [path.name for path in (tmp_path / "full").iterdir() if path.name != ".lock"] == ["thesis.txt"]
    with pytest.raises(InputError, match="Dataset101"):
        export(cases, LocalEngine(segmenter), tmp_path / "heads")


def test_filters_leave_out_and_say_so(segmenter, images, tmp_path):
    cases = find_cases(images / "a.png", {"tumor": "brain tumor"})
    for number, settings in enumerate(({"min_score": 1.0}, {"min_ml": 99.0}, {"max_ml": 0.001})):
        out = tmp_path / str(number)
        assert export(cases, LocalEngine(segmenter), out, ExportSettings("nii.gz", **settings)) == {"filtered": 1}
        assert not list(out.glob("*.nii.gz")) and (out / "report" / "a.png").is_file()
    healthy = find_cases(images / "healthy.png", {"tumor": "brain tumor"})
    assert export(healthy, LocalEngine(segmenter), tmp_path / "e", ExportSettings("nii.gz", keep_empty=True)) == {
        "empty": 1
    }
    assert not sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "e" / "healthy.nii.gz"))).any()
    with pytest.raises(InputError, match="min_score.*got 2"):
        ExportSettings(min_score=2.0)


def test_a_volume_is_exported_on_its_own_grid_with_its_prompts(segmenter, tmp_path):
    phantom = make_volume("validation", 8, "MR", 1)
    image = sitk.GetImageFromArray(phantom.slices[::-1])
    image.SetSpacing((1, 1, 3))
    image.SetOrigin((5, -20, 60))
    image.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, -1))
    sitk.WriteImage(image, str(tmp_path / "head.nii.gz"))
    (tmp_path / "t.csv").write_text("image,prompt,label,case\nhead.nii.gz,brain tumor,lesion,p1\n")
    cases = find_cases(tmp_path / "t.csv", None)
    assert cases == [Case("p1", tmp_path / "head.nii.gz", {"lesion": "brain tumor"}, root=tmp_path)]
    out = tmp_path / "out"
    assert export(cases, LocalEngine(segmenter), out, ExportSettings("seg.nrrd", window=(0.0, 255.0))) == {"found": 1}
    (segment,) = read_segmentation(out / "p1.seg.nrrd", read_volume(tmp_path / "head.nii.gz"))
    assert segment.name == "lesion" and dsc(segment.mask[::-1], phantom.lesion_mask) > 0.6
    about = read_records(out)["p1"]["labels"]["lesion"]
    assert about["size"] == pytest.approx(segment.mask.sum() * 3 / 1000, rel=1e-3) and about["unit"] == "ml"


def test_what_is_struck_out_leaves_the_dataset_and_may_come_back(segmenter, images, tmp_path):
    out = tmp_path / "Dataset007_Head"
    counts = export(find_cases(images, PROMPTS), LocalEngine(segmenter), out)
    count = lambda: json.loads((out / "dataset.json").read_text())["numTraining"]
    assert strike(out, ["a", "b"]) == (2, 0)
    assert count() == counts["found"] - 2 and not (out / "labelsTr" / "a.nii.gz").exists()
    assert (out / "struck" / "imagesTr" / "a_0000.nii.gz").is_file()
    assert '"struck": ["a", "b"]' in (out / "report.html").read_text()
    export(find_cases(images, PROMPTS), LocalEngine(segmenter), out)
    assert count() == counts["found"] - 2, "a run that goes on leaves it struck out"
    assert strike(out, ["b"]) == (0, 1) and (out / "labelsTr" / "a.nii.gz").is_file()
    with pytest.raises(InputError, match="no case 'z'.*one per line"):
        strike(out, ["z"])
    with pytest.raises(InputError, match="nothing would be left"):
        strike(out, read_records(out))  # a table of all cases, such as review.csv
    with pytest.raises(InputError, match="holds no export"):
        strike(tmp_path, ["a"])


def test_a_cancelled_export_keeps_what_was_done(segmenter, images, tmp_path):
    cases, out = find_cases(images, {"tumor": "brain tumor"}), tmp_path / "out"
    context = RunContext(is_cancelled=lambda: (out / MANIFEST).exists())
    with pytest.raises(Cancelled):
        export(cases, LocalEngine(segmenter), out, ExportSettings("nii.gz"), context)
    done = len(read_records(out))
    assert 1 <= done < 5 and (out / "report.html").is_file()
    assert sum(export(cases, LocalEngine(segmenter), out, ExportSettings("nii.gz")).values()) == 5


def test_a_broken_case_is_done_again_when_asked_or_when_its_file_was_replaced(segmenter, images, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "x.png").write_bytes(b"broken")
    cases, settings = find_cases(folder, {"tumor": "brain tumor"}), ExportSettings("nii.gz")
    lines = lambda: len((tmp_path / "out" / MANIFEST).read_text().splitlines())
    for count, retry in ((1, False), (1, False), (2, True)):
        assert export(cases, LocalEngine(segmenter), tmp_path / "out", settings, retry=retry) == {"failed": 1}
        assert lines() == count
    (folder / "x.png").write_bytes((images / "a.png").read_bytes())
    assert export(cases, LocalEngine(segmenter), tmp_path / "out", settings) == {"found": 1}


@pytest.mark.parametrize("step", ["read_volume", "segment_volume", "write_overlay", "write_case"])
def test_an_error_that_nobody_foresaw_is_recorded_and_the_run_goes_on(segmenter, images, tmp_path, monkeypatch, step):
    real, calls = getattr(job, step), []

    def failing(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 2:
            raise MemoryError("a codec failed")
        return real(*arguments, **options)

    monkeypatch.setattr(job, step, failing)
    cases, out = find_cases(images, {"tumor": "brain tumor"}), tmp_path / "Dataset001_Heads"
    counts = export(cases, LocalEngine(segmenter), out, ExportSettings(keep_empty=True))
    records = read_records(out)
    assert counts["failed"] == 2 and sum(counts.values()) == 5
    (failed,) = (record for case, record in records.items() if record["status"] == "failed" and case != "broken")
    assert "MemoryError: a codec failed" in failed["problem"] and failed["source"]["sha256"]
    assert not failed["files"]
    assert [len(list((out / folder).iterdir())) for folder in ("imagesTr", "labelsTr")] == [3, 3]


NO_ROOM = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "error, cause, ends",
    [
        (Cancelled(), None, Cancelled),
        (NO_ROOM, None, OutputError),
        (OutputError("It cannot be written."), NO_ROOM, OutputError),
        (OutputError("It cannot be written."), OutputError("It is full."), None),
        (FileNotFoundError(errno.ENOENT, "No such file"), None, None),
        (InputError("It cannot be read."), NO_ROOM, None),
    ],
)
def test_a_full_disk_and_the_user_end_a_run_of_many_images_and_nothing_else(error, cause, ends):
    error.__cause__ = cause
    with pytest.raises(ends) if ends else nullcontext():
        failure = attempt(Mock(side_effect=error), "a", "'a.png' cannot be read")
        if isinstance(error, MedCLIPSAMError):
            assert failure is error
        else:
            assert str(failure) == "'a.png' cannot be read: FileNotFoundError: [Errno 2] No such file. Leave it out."


def test_names_are_unique_and_fit_for_files(tmp_path):
    for name in ("a/1.png", "a_1.png", "Ä ö/../a ~ 2.nii.gz", ".hidden/3.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "Ä ö").mkdir(exist_ok=True)
        path.write_bytes(b"x")
    names = [case.name for case in find_cases(tmp_path, {"x": "x"})]
    assert len(names) == 3 == len(set(names)) and "a_2" in names
    assert sum(name.startswith("a_1-") for name in names) == 2


def test_dicom_becomes_dicom_seg_and_other_images_are_refused_before_the_work(segmenter, images, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    cases = find_cases(series(tmp_path / "scan"), {"x": "tumor"}) + find_cases(images / "a.png", {"x": "brain tumor"})
    bold = segmenter.with_settings(replace(segmenter.settings, presence_threshold=0.0))
    with pytest.raises(InputError, match="1 of 2 images are not: 'a.png'"):
        export(cases, LocalEngine(bold), tmp_path / "out", ExportSettings("dcm"))
    assert export(cases[:1], LocalEngine(bold), tmp_path / "out", ExportSettings("dcm")) == {"found": 1}
    (made,) = map(pydicom.dcmread, (tmp_path / "out").glob("*.dcm"))
    assert made.Modality == "SEG" and "not for diagnosis" in made.SeriesDescription
    volume = read_volume(tmp_path / "scan")
    whole = np.ones(volume.shape, bool)
    write_dicom_seg(tmp_path / "seg.dcm", [Segment("liver tumor", whole), Segment("empty", ~whole)], volume)
    made = pydicom.dcmread(tmp_path / "seg.dcm")
    assert [segment.SegmentLabel for segment in made.SegmentSequence] == ["liver tumor"]


def test_the_commands_export_strike_and_refuse(segmenter, images, tmp_path, run):
    out, prompts = tmp_path / "Dataset007_Head", tmp_path / "p.txt"
    prompts.write_text("tumor: brain tumor\n")
    ask = ("export", images / "a.png", "-o", out, "--prompts", prompts, "--device", "cpu")
    code, text, err = run(*ask)
    assert code == 0 and "1 case: 1 found" in text and "report.html" in text, err
    assert run(*ask)[0] == 0  # nothing is left to be done
    assert "Give one of them" in run(*ask, "-p", "brain tumor")[2]
    for option, value in (("--plane", "axail"), ("--propagate", "memroy"), ("--window", "lugn"), ("--window", "9:1")):
        code, _, err = run(*ask[:2], "-o", tmp_path / "Dataset008_New", "-p", "x", "--model", "absent", option, value)
        assert code == 2
        assert value.replace(":", ", ") in err
    assert "Name the folder such as" in run(*ask[:2], "-o", tmp_path / "new", "-p", "x", "--model", "absent")[2]
    assert not (tmp_path / "Dataset008_New").exists()
    assert "other export" in run(*ask, "--min-score", "0.2")[2]
    (tmp_path / "struck.txt").write_text("a\n")
    assert "1 case struck out, 0 restored" in run("strike", out, tmp_path / "struck.txt")[1]
    assert not list((out / "labelsTr").iterdir())
    assert run("strike", out, tmp_path / "absent.txt")[0] == 2
