"""`medclipsam segment` on many images in one start: names, failures, labels, sizes, files for labels, images."""

import json
import subprocess
import sys
import time
import zipfile
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_made import image, save
from PIL import Image, ImageDraw
from segmenting import TURNED, models_stay_loaded, phantom_png, series, turned_volume

from MedCLIPSAMLib.errors import OutputError
from MedCLIPSAMLib.phantoms.volumes import make_volume
from MedCLIPSAMLib.segmentation import model_choice
from MedCLIPSAMLib.tasks.batch import prepare
from MedCLIPSAMLib.tasks.inputs import find_inputs
from MedCLIPSAMLib.tasks.mask_sources import SOURCES, add_source
from MedCLIPSAMLib.tasks.places import Outputs
from MedCLIPSAMLib.volumes import read_segmentation, read_volume

FIXTURES = (models_stay_loaded,)


def test_images_volumes_and_series_are_segmented_in_one_start(run, tmp_path, monkeypatch):
    """One file each, models loaded once; a damaged file is a line, and the exit code says so at the end."""
    study = tmp_path / "study"
    phantom_png(study / "a" / "head.png"), phantom_png(study / "b" / "head.png")
    series(study / "scan")
    sitk.WriteImage(sitk.GetImageFromArray(make_volume("validation", 8, "MR", 1).slices[8:10]), study / "v.nii.gz")
    (study / "broken.nii.gz").write_bytes(b"\x1f\x8b no image")
    more = phantom_png(tmp_path / "more.png")
    loads = []
    load = model_choice.load_segmenter
    monkeypatch.setattr(model_choice, "load_segmenter", lambda *a, **k: loads.append(a) or load(*a, **k))
    out = tmp_path / "out"
    ask = ("segment", study, more, "-p", "tumor: brain tumor", "-o", out, "--format", "nii.gz", "--json")
    code, text, err = run(*ask)
    assert code == 1 and len(loads) == 1
    made = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    assert made == {f"{name}.nii.gz" for name in ("a_head", "b_head", "scan", "v", "more")}
    assert [line for line in err.splitlines() if line.startswith("failed: broken: ")] and "Traceback" not in err
    report = json.loads(text)
    assert len(report["images"]) == 5 and [failure["input"] for failure in report["failed"]] == [
        str(study / "broken.nii.gz")
    ]
    assert {row["label"] for image in report["images"] for row in image["results"]} == {"tumor"}
    for name, source in {"scan": study / "scan", "v": study / "v.nii.gz"}.items():
        mask, scan = sitk.ReadImage(str(out / f"{name}.nii.gz")), read_volume(source)
        assert mask.GetSize() == scan.shape[::-1] and np.allclose(mask.GetSpacing(), scan.geometry.spacing)
    # The same command does only what is not there, another one is refused, and --overwrite does all again.
    (out / "v.nii.gz").unlink()
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")}
    code, text, _ = run(*ask)
    report = json.loads(text)
    assert code == 1 and [image["output"] for image in report["images"]] == [str(out / "v.nii.gz")]
    assert len(report["kept"]) == 4 and all(path.stat().st_mtime_ns == time for path, time in before.items())
    code, _, err = run("segment", more, "-p", "ventricles", "-o", out, "--format", "nii.gz")
    assert code == 2 and "other prompts" in err
    code, _, _ = run("segment", more, "-p", "ventricles", "-o", out, "--format", "nii.gz", "--overwrite")
    assert code == 0 and (out / "more.nii.gz").stat().st_mtime_ns > before[out / "more.nii.gz"]


def test_several_images_do_not_go_into_one_file_nor_into_a_folder_of_something_else(run, tmp_path):
    one, other = phantom_png(tmp_path / "in" / "one.png"), phantom_png(tmp_path / "in" / "other.png")
    code, _, err = run("segment", one, other, "-p", "brain", "--model", "none", "-o", tmp_path / "out.nii.gz")
    assert code == 2 and "-o a folder" in err
    code, _, err = run("segment", tmp_path / "in", "-p", "brain", "-o", tmp_path / "out.nii.gz")
    assert code == 2 and "give -o a folder too" in err
    code, _, err = run("segment", one, other, "-p", "brain", "--model", "none", "-o", tmp_path / "in")
    assert code == 2 and "not empty" in err
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["one.png", "other.png"]


def test_names_of_outputs_do_not_collide(tmp_path):
    paths = [phantom_png(tmp_path / name) for name in ("a/x.png", "b/x.png", "b/x.bmp", "y.png")]
    names = [item.name for item in find_inputs([*paths, tmp_path / "b" / ".." / "y.png"])]
    assert len(names) == 4 == len({name.lower() for name in names})
    assert names[0] == "a_x" and names[3] == "y"


def test_prompts_with_labels_name_the_segments(run, tmp_path):
    head = phantom_png(tmp_path / "head.png")
    out = tmp_path / "out.seg.nrrd"
    code, text, err = run("segment", head, "-p", "lesion: brain tumor", "-p", "ventricles", "-o", out, "--json")
    assert code == 0, err
    segments = read_segmentation(out)
    assert [segment.name for segment in segments] == ["lesion", "ventricles"]
    assert segments[0].tags["MedCLIPSAM.Prompt"] == "brain tumor"
    assert json.loads(segments[0].tags["MedCLIPSAM.Settings"])["presence_threshold"] == 0.5
    assert [(row["label"], row["prompt"]) for row in json.loads(text)["results"]] == [
        ("lesion", "brain tumor"),
        ("ventricles", "ventricles"),
    ]
    for wrong in (["x:"], [": x"], ["x: a", "x: b"]):
        requested = [part for words in wrong for part in ("-p", words)]
        assert run("segment", head, *requested, "-o", tmp_path / "no.png")[0] == 2


def test_a_folder_is_proposed_where_one_was_given_that_holds_images_of_other_formats(run, tmp_path):
    """Not where the folder is one series, which fails for another reason."""
    phantom_png(tmp_path / "two" / "a.png"), phantom_png(tmp_path / "two" / "b.png")
    phantom_png(tmp_path / "single" / "a.png"), (tmp_path / "single" / "a.json").touch()
    series(tmp_path / "one")
    for folder in ("two", "single"):
        code, _, err = run("segment", tmp_path / folder, "-p", "tumor", "-o", tmp_path / "x.nii.gz")
        assert code == 2 and "give -o a folder too" in err
    code, _, err = run("segment", tmp_path / "one", "-p", "tumor", "--slice", 99, "-o", tmp_path / "x.nii.gz")
    assert code == 2 and "give -o a folder" not in err


def test_statistics_of_volumes_images_and_unknown_spacing(run, tmp_path):
    """ml by the spacing of the volume; mm² of a radiograph that says how large a pixel is; else a word."""
    volume, _ = turned_volume(TURNED["oblique"])
    sitk.WriteImage(volume.to_sitk(), str(tmp_path / "v.nrrd"))
    box = ("--box", "22,4,6,32,14,6", "--statistics", "--json")
    code, text, err = run("segment", tmp_path / "v.nrrd", *box, "-o", tmp_path / "out.nii.gz")
    assert code == 0, err
    voxels = int((sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out.nii.gz"))) > 0).sum())
    (row,) = json.loads(text)["statistics"]
    assert row["voxels"] == voxels > 20 and row["slices"] == 1 and row["mm2"] is None
    assert row["ml"] == pytest.approx(voxels * 0.8 * 1.0 * 2.0 / 1000)
    pixels = np.full((60, 80), 100, np.uint16)
    pixels[20:40, 30:60] = 900
    save(image(pixels, "1.2.840.10008.5.1.4.1.1.1", "CR", PixelSpacing=[0.5, 0.25]), tmp_path / "r.dcm")
    Image.fromarray((pixels // 4).astype(np.uint8)).save(tmp_path / "r.png")
    box = ("--box", "30,20,59,39", "--statistics")
    code, text, err = run("segment", tmp_path / "r.dcm", *box, "--json", "-o", tmp_path / "r.nii.gz")
    assert code == 0, err
    (row,) = json.loads(text)["statistics"]
    assert row["mm2"] == pytest.approx(row["voxels"] * 0.125) and row["ml"] is None and row["voxels"] > 300
    code, text, _ = run("segment", tmp_path / "r.png", *box, "-o", tmp_path / "p.png")
    assert code == 0 and "unknown" in text and "the size of its pixels" in text


def test_a_file_for_each_label(run, tmp_path):
    head = phantom_png(tmp_path / "head.png")
    ask = ("segment", head, "-p", "lesion: brain tumor", "-p", "LESION: ventricles", "--output-layout")
    code, _, err = run(*ask, "one-file-per-label", "-o", tmp_path / "m.png")
    assert code == 0, err
    made = sorted(path.name for path in tmp_path.glob("m*.png"))
    assert made == ["m_LESION_2.png", "m_lesion.png"]
    assert all(set(np.unique(np.asarray(Image.open(tmp_path / name)))) == {0, 255} for name in made)
    assert run(*ask, "one-file-per-label", "-o", tmp_path / "m.png")[0] == 2  # they are there


def test_overlays_and_montages_say_what_they_show(run, tmp_path, monkeypatch):
    """Names, slice and score are drawn; a montage has a cell for each slice with a find."""
    written = []
    draw = ImageDraw.ImageDraw.text
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda *a, **k: written.append(a[2]) or draw(*a, **k))
    head = tmp_path / "head.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(make_volume("validation", 8, "MR", 1).slices), str(head))
    files = ("-o", tmp_path / "o.nii.gz", "--overlay", tmp_path / "o.png", "--montage", tmp_path / "m.png")
    ask = ("-p", "t: brain tumor", "--window", "0:255", "--slices", "12:15", "--propagate", "slices", "--json")
    code, text, err = run("segment", head, *ask, *files)
    assert code == 0, err
    rows = json.loads(text)["results"]
    best = max(rows, key=lambda row: row["score"])
    assert f"head, axial slice {best['slice']} of 0 to 23" in written and f"t {best['score']:.2f}" in written
    assert [f"slice {row['slice']}" for row in rows if row["found"]] == [
        path for path in written if path.startswith("slice ")
    ]
    image_size, sheet = Image.open(tmp_path / "o.png").size, np.asarray(Image.open(tmp_path / "m.png"))
    assert image_size[0] >= 512 and sheet.shape[0] > 240 and len(np.unique(sheet)) > 50

    # Without a find the title of a single cell says on how many slices, over as many lines as it needs.
    written.clear()
    ask = ("-p", "t: brain tumor", "--slices", "12:15", "--presence", "1", "--overwrite")
    code, text, err = run("segment", head, *ask, *files)
    assert code == 0 and "Found on none of 4 slices." in text, err
    assert "head, nothing found on 4 axial slices" in " ".join(written)
    assert json.loads(run("segment", head, *ask, *files, "--json")[1])["slices"] == 4


def test_what_a_killed_run_left_beside_a_finished_image_is_removed(run, tmp_path):
    phantom_png(tmp_path / "in" / "a.png", 1)
    ask = ("segment", tmp_path / "in", "-p", "brain tumor", "-o", tmp_path / "out")
    assert run(*ask)[0] == 0
    left = tmp_path / "out" / "a.seg.nrrd.unfinished"
    left.mkdir()
    (left / ".lock").touch()
    assert run(*ask)[0] == 0 and not left.exists()
    left.mkdir()
    (left / "mine.txt").touch()
    assert run(*ask)[0] == 0 and (left / "mine.txt").exists(), "what is not of a run stays, and hinders none"


def test_a_run_over_a_folder_that_is_ended_goes_on_with_the_next_image(tmp_path, run):
    """By SIGTERM, after the first images; the same command then does the others only."""
    for number in range(8):
        phantom_png(tmp_path / "in" / f"{number}.png", number)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "MedCLIPSAMLib", "segment", str(tmp_path / "in"), "-p", "brain tumor"]
    command += ["-o", str(out), "--json"]
    root = Path(__file__).resolve().parents[2]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=root, stdout=pipe, stderr=pipe, encoding="utf-8") as running:
        until = time.monotonic() + 120
        while len(list(out.glob("*.seg.nrrd"))) < 2:
            assert running.poll() is None and time.monotonic() < until
            time.sleep(0.02)
        running.terminate()
        _, err = running.communicate(timeout=60)
    assert running.returncode == 143 and "continues with the next image" in err and "Traceback" not in err
    done = {path: path.stat().st_mtime_ns for path in out.glob("*.seg.nrrd")}
    code, text, _ = run(*command[3:])
    report = json.loads(text)
    assert code == 0 and 2 <= len(report["kept"]) < 8 and len(report["kept"]) + len(report["images"]) == 8
    assert all(path.stat().st_mtime_ns == time_ for path, time_ in done.items())
    assert {path.name for path in out.iterdir()} == {
        ".lock",
        ".medclipsam.json",
        ".medclipsam-images.jsonl",
        *(f"{number}.seg.nrrd" for number in range(8)),
    }


def test_a_folder_holds_masks_of_one_phase_and_of_one_series_of_a_zip_file(run, tmp_path):
    for k in range(2):
        for echo in (1, 2):
            pixels = np.full((40, 50), 100, np.int16)
            pixels[10:20, (5, 30)[echo - 1] :][:, :10] = 900
            tags = {"ImagePositionPatient": [0, 0, 2.0 * k], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
            tags |= {"EchoTime": str(10 * echo), "InstanceNumber": str(2 * k + echo), "SeriesInstanceUID": "1.2.3.9"}
            made = image(pixels, "1.2.840.10008.5.1.4.1.1.4", "MR", PixelSpacing=[1, 1], **tags)
            save(made, tmp_path / "scan" / f"{k}_{echo}.dcm")
    ask = ("segment", tmp_path / "scan", "--box", "5,10,14,19", "--slice", 0, "-o", tmp_path / "out")
    code, text, err = run(*ask, "--phase", "1")
    assert code == 0 and "1 written" in text, err
    code, text, err = run(*ask, "--phase", "2")
    assert code == 2 and "other phase" in err and "already there" not in text
    code, text, err = run(*ask, "--phase", "1")
    assert code == 0 and "1 already there" in text, err
    with zipfile.ZipFile(tmp_path / "scans.zip", "w") as file:
        for number, path in enumerate(sorted((tmp_path / "scan").iterdir())):
            file.write(path, f"{number}.dcm")
    work = prepare([tmp_path / "scans.zip"], Outputs(tmp_path / "zipped"), ["x"], series="1.2.3.9")
    with ExitStack() as locks:
        work.claim({}, locks)
    work = prepare([tmp_path / "scans.zip"], Outputs(tmp_path / "zipped"), ["x"], series="1.2.3.8")
    with pytest.raises(OutputError, match="other series"), ExitStack() as locks:
        work.claim({}, locks)


def test_a_mask_of_an_image_that_was_exchanged_stays_and_it_is_said(run, tmp_path):
    head, out = phantom_png(tmp_path / "head.png"), tmp_path / "out"
    ask = ("segment", head, "--box", "20,20,60,60", "-o", out)
    assert run(*ask)[0] == 0
    head.touch()  # another time, the same content
    code, text, err = run(*ask, "--json")
    assert code == 0 and json.loads(text)["exchanged"] == [] and "other files" not in err
    with next(out.glob(".*.jsonl")).open("a") as sources:
        sources.write('\n{"image": "he')  # of a run that was killed
    phantom_png(head, 0)
    before = (out / "head.seg.nrrd").read_bytes()
    for _ in range(2):
        code, text, err = run(*ask, "--json")
        assert code == 0 and json.loads(text)["exchanged"] == [str(head)] and "note: head: the mask" in err
        assert len(json.loads(text)["kept"]) == 1 and (out / "head.seg.nrrd").read_bytes() == before
    (out / "head.seg.nrrd").unlink()
    for _ in range(2):
        code, text, err = run(*ask, "--json")
        assert code == 0 and json.loads(text)["exchanged"] == [] and "other files" not in err
    phantom_png(head, 1)
    assert "other files" not in run(*ask, "--overwrite")[2] and "other files" not in run(*ask)[2]
    assert run(*ask[:-1], tmp_path / "numbered", "--anonymous", tmp_path / "key.csv")[0] == 0
    (sources,) = (tmp_path / "numbered").glob(".*.jsonl")
    (source,) = (json.loads(line) for line in sources.read_text().split("\n") if line)
    assert source.keys() == {"image", "size", "sha256"} and source["image"] != "head"  # no date, no name


def test_no_mask_is_there_without_the_files_it_was_made_from(run, tmp_path):
    first, second, out = phantom_png(tmp_path / "a.png"), phantom_png(tmp_path / "b.png"), tmp_path / "out"
    ask = ("--box", "20,20,60,60", "-o", out, "--json")
    assert run("segment", first, *ask)[0] == 0
    (out / SOURCES).unlink()
    (out / SOURCES).mkdir()  # which cannot be written, as on a full disk
    assert run("segment", second, *ask)[0] == 2 and not (out / "b.seg.nrrd").exists()
    (out / SOURCES).rmdir()
    assert run("segment", second, *ask)[0] == 0
    phantom_png(second, 0)
    assert json.loads(run("segment", second, *ask)[1])["exchanged"] == [str(second)]


@pytest.mark.parametrize("ending", [KeyboardInterrupt(), RuntimeError("a filter failed")], ids=["stopped", "failed"])
def test_a_mask_that_was_not_replaced_after_all_is_of_the_files_before(run, tmp_path, monkeypatch, ending):
    head, out = phantom_png(tmp_path / "head.png"), tmp_path / "out"
    ask = ("segment", head, "--box", "20,20,60,60", "-o", out, "--json")
    assert run(*ask)[0] == 0
    phantom_png(head, 0)
    with monkeypatch.context() as patch:
        patch.setattr("MedCLIPSAMLib.tasks.segment_files.segment_file", Mock(side_effect=ending))
        assert run(*ask, "--overwrite")[0] != 0
    assert json.loads(run(*ask)[1])["exchanged"] == [str(head)]
    assert run(*ask, "--overwrite")[0] == 0 and json.loads(run(*ask)[1])["exchanged"] == []


def test_a_full_disk_ends_the_run_over_a_folder(run, tmp_path, monkeypatch):
    for name in "ab":
        phantom_png(tmp_path / "in" / f"{name}.png")
    full = Mock(side_effect=OSError(28, "No space left on device"))
    monkeypatch.setattr("MedCLIPSAMLib.tasks.segment_files.segment_file", full)
    code, _, err = run("segment", tmp_path / "in", "--box", "20,20,60,60", "-o", tmp_path / "out")
    assert code == 2 and full.call_count == 1 and "No space left on device" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is full")
def test_a_full_disk_is_told_with_the_file(tmp_path):
    (tmp_path / SOURCES).symlink_to("/dev/full")
    with pytest.raises(OutputError, match=f"'{tmp_path / SOURCES}' cannot be written: No space left on device"):
        add_source(tmp_path, "a", {"size": 1})
