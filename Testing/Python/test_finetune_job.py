"""`finetune.job.run`: from a table of captions or shards to a model of the catalogue, on the shipped demo model."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from finetuning import QUICK, captions, pairs, png, write_shard
from lightning_fabric.utilities.rank_zero import rank_zero_only
from PIL import Image

from MedCLIPSAMLib.errors import Cancelled, InputError, MedCLIPSAMError, ModelError, OutputError
from MedCLIPSAMLib.finetune import job
from MedCLIPSAMLib.finetune.job import CaptionData, run
from MedCLIPSAMLib.finetune.owner import claim_run
from MedCLIPSAMLib.finetune.train import LOG
from MedCLIPSAMLib.models.store import find, statuses
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.run_context import Progress, RunContext
from MedCLIPSAMLib.segmentation.segmenter import load_segmenter

FIXTURES = (captions, pairs)


def test_a_fine_tuned_model_is_in_the_catalogue_and_segments_at_once(captions, tmp_path, monkeypatch):
    """On a cluster that sets RANK too, where torchrun did not start the process."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(rank_zero_only, "rank", 1)  # as Lightning reads it where it is imported
    progress: list[str] = []
    settings = replace(QUICK, epochs=1)
    data, context = CaptionData(str(captions), share=0.3), RunContext(on_notice=progress.append)
    result, folder = run(data, settings, "mine", tmp_path / "run", "cpu", tmp_path, context=context)
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))
    assert folder == tmp_path / "mine" and any("split by patient" in line for line in progress)
    (unknown,) = [line for line in progress if "does not know" in line]
    assert "'demo'" in unknown and "number" in unknown and "brain" not in unknown
    assert find("mine", "clip", tmp_path).trained
    (status,) = [model for model in statuses(tmp_path) if model.model.name == "mine"]
    assert status.usable and "Apache-2.0" in status.model.license
    segmenter = load_segmenter("mine", "demo", "cpu", tmp_path)
    assert segmenter.settings.saliency.layer == 3
    segmenter.set_image(np.repeat(make_phantom("validation", 1, "MR", 1).image[..., None], 3, 2))
    assert segmenter.segment("brain tumor").mask.shape == (128, 128)
    assert result.before["pairs"] == result.after["pairs"] and (tmp_path / "run" / "dropped.csv").is_file()
    with pytest.raises(ModelError, match="already a model 'mine'"):
        run(CaptionData(str(captions), share=0.3), settings, "mine", tmp_path / "other", "cpu", tmp_path)


ABSENT = [("biomedclip", "cpu", "biomedclip"), ("nothing", "cpu", "nothing"), ("demo", "tpu", "tpu")]


@pytest.mark.parametrize("base, device, message", ABSENT)
def test_a_model_or_device_that_is_not_there_is_said_before_images_are_read(
    captions, tmp_path, monkeypatch, base, device, message
):
    monkeypatch.delenv("MEDCLIPSAM_MODELS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("MedCLIPSAMLib.finetune.job.readable", lambda *_: pytest.fail("images were read"))
    with pytest.raises(MedCLIPSAMError, match=message):
        run(CaptionData(str(captions), share=0.3), replace(QUICK, base=base), "m", tmp_path / "run", device, tmp_path)
    assert not (tmp_path / "run").exists()


def test_a_models_folder_that_cannot_be_written_is_said_before_images_are_read(captions, tmp_path, monkeypatch):
    monkeypatch.setattr("MedCLIPSAMLib.finetune.job.readable", lambda *_: pytest.fail("images were read"))
    models = tmp_path / "models"
    (models / ".mine.lock").mkdir(parents=True)  # root may write where others may not
    with pytest.raises(OutputError, match="'.*models/mine' cannot be written"):
        run(CaptionData(str(captions), share=0.3), QUICK, "mine", tmp_path / "run", "cpu", models)
    assert not (tmp_path / "run").exists() and [path.name for path in models.iterdir()] == [".mine.lock"]


def test_a_run_replaces_only_the_model_that_it_made(captions, tmp_path):
    settings, data, models = replace(QUICK, epochs=1), CaptionData(str(captions), share=0.3), tmp_path / "models"
    models.mkdir()
    for name in ("a1", "a2"):
        run(data, settings, name, tmp_path / f"run-{name}", "cpu", models)
    before = {path: path.read_bytes() for path in models.rglob("*") if path.is_file()}
    with pytest.raises(ModelError, match="already a model 'a1'"):
        run(data, settings, "a1", tmp_path / "run-a2", "cpu", models)
    assert {path: path.read_bytes() for path in models.rglob("*") if path.is_file()} == before
    run(data, settings, "a1", tmp_path / "run-a1", "cpu", models)  # its own, again
    run(data, settings, "a1", tmp_path / "run-a2", "cpu", models, replace=True)
    with pytest.raises(ModelError, match="already a model 'a1'"):
        run(data, settings, "a1", tmp_path / "run-a1", "cpu", models)


def test_a_run_that_ends_second_does_not_replace_the_model_of_the_first(captions, tmp_path, monkeypatch):
    """The other run, of the same name, ends while this one trains; under another name what was trained is there."""
    settings, data, fine_tune = replace(QUICK, epochs=1), CaptionData(str(captions), share=0.3), job.fine_tune

    def overtaken(*arguments):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "weights").write_text("of the other run")
        return fine_tune(*arguments)

    with monkeypatch.context() as patch, pytest.raises(ModelError, match="already a model 'mine'"):
        patch.setattr(job, "fine_tune", overtaken)
        run(data, settings, "mine", tmp_path / "run", "cpu", tmp_path)
    assert (tmp_path / "mine" / "weights").read_text() == "of the other run"
    steps: list[Progress] = []
    run(data, settings, "yours", tmp_path / "run", "cpu", tmp_path, context=RunContext(on_progress=steps.append))
    assert find("yours", "clip", tmp_path).trained and not any("loss" in step.details for step in steps)


def test_a_run_keeps_off_a_folder_of_something_else_and_of_a_run_at_work(captions, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "dropped.csv").write_text("somebody's")
    with pytest.raises(OutputError, match="not empty"):
        run(CaptionData(str(captions), share=0.3), QUICK, "m", tmp_path / "mine", "cpu", tmp_path)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["dropped.csv"]
    with claim_run(tmp_path / "run"), pytest.raises(OutputError, match="Another run is writing"):
        run(CaptionData(str(captions), share=0.3), QUICK, "m", tmp_path / "run", "cpu", tmp_path)


def test_what_cannot_be_trained_is_refused_before_an_image_is_read_and_leaves_no_folder(
    captions, tmp_path, monkeypatch
):
    monkeypatch.setattr("MedCLIPSAMLib.finetune.job.readable", lambda *_: pytest.fail("images were read"))
    rows = [json.dumps({"image": f"{n}.png", "caption": "the very same caption"}) for n in range(9)]
    (tmp_path / "same.jsonl").write_text("\n".join(rows))
    (tmp_path / "empty.jsonl").write_text("")
    here, same = CaptionData(str(captions)), CaptionData(str(tmp_path / "same.jsonl"), captions.parent)
    for data, settings, name, out, message in (
        (same, QUICK, "m", "r", "got . usable pairs, which all have the same caption"),
        (replace(here, captions=str(tmp_path / "empty.jsonl")), QUICK, "m", "r", "no rows"),
        (replace(here, share=0.03), QUICK, "m", "r", "two captions for validation in .*got 1 usable pair"),
        (replace(here, share=0.3), replace(QUICK, batch=64), "m", "r", "do not fill a batch of 64"),
        (replace(here, share=1.5), QUICK, "m", "r", "share between 0 and 1"),
        (replace(here, captions="part.tar"), QUICK, "m", "r", "separate validation pairs"),
        (here, QUICK, "x", "x", "both the run and the model"),
        (here, QUICK, "../m", "r", "cannot be the name"),
        (here, QUICK, "biomedclip", "r", "already has a model 'biomedclip'"),
    ):
        with pytest.raises(MedCLIPSAMError, match=message):
            run(data, settings, name, tmp_path / out, "cpu", tmp_path)
        assert not (tmp_path / out).exists()


def test_pairs_whose_images_cannot_be_read_are_left_out_of_their_side(captions, tmp_path):
    rows = [json.loads(line) for line in captions.read_text().splitlines()]
    for number, row in enumerate(rows):
        row["image"] = str(captions.parent / row["image"]) if number % 8 else str(tmp_path / f"broken{number}.png")
        if number % 8 == 0:
            (tmp_path / f"broken{number}.png").write_bytes(b"no image")
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    notes: list[str] = []
    context = RunContext(on_notice=notes.append, is_cancelled=lambda: any("unreadable" in note for note in notes))
    with pytest.raises(Cancelled):
        data = CaptionData(str(tmp_path / "a.jsonl"), share=0.3)
        run(data, QUICK, "m", tmp_path / "r", "cpu", tmp_path, context=context)
    assert notes[-1] == f"Left out as unreadable: 4 images; see {tmp_path / 'r' / 'dropped.csv'}."
    dropped = (tmp_path / "r" / "dropped.csv").read_text().splitlines()[1:]
    assert sorted(line.split(",")[1].split(":")[0] for line in dropped) == sorted(
        map(str, tmp_path.glob("broken*.png"))
    )
    lines = [json.dumps({"image": f"broken{n}.png", "caption": f"breast ultrasound number {n}"}) for n in (0, 8)]
    (tmp_path / "v.jsonl").write_text("\n".join(lines), encoding="utf-8")
    data = CaptionData(str(captions), validation=str(tmp_path / "v.jsonl"))
    with pytest.raises(InputError, match="two captions for validation in .*v.jsonl', got 0 usable pairs"):
        run(data, QUICK, "m", tmp_path / "s", "cpu", tmp_path)


def test_validation_pairs_that_are_training_pairs_are_said_and_all_of_them_refused(captions, tmp_path):
    rows = [json.loads(line) for line in captions.read_text().splitlines()]
    rows[2]["patient"] = rows[20]["patient"]
    tables = {"training": rows[:20], "some": rows[18:], "all": rows[:9]}
    for name, part in tables.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, part)), encoding="utf-8")
    notes: list[str] = []
    stop = RunContext(on_notice=notes.append, is_cancelled=lambda: any("validation data" in note for note in notes))
    data = CaptionData(str(tmp_path / "training.jsonl"), captions.parent, str(tmp_path / "some.jsonl"))
    with pytest.raises(Cancelled):
        run(data, QUICK, "m", tmp_path / "r", "cpu", tmp_path, context=stop)
    said = [note for note in notes if "validation data" in note]
    assert [note.split(" of the")[0] for note in said] == ["2 of 14 images", "3 of 14 patients"]
    with pytest.raises(InputError, match="All 9 images of the validation data"):
        run(replace(data, validation=str(tmp_path / "all.jsonl")), QUICK, "m", tmp_path / "r", "cpu", tmp_path)


def test_images_or_shards_that_were_changed_under_their_names_are_no_resume(captions, tmp_path):
    files = [tmp_path / f"{number}.png" for number in range(8)]
    for number, file in enumerate(files):
        Image.fromarray(np.full((40, 50), 20 * number, np.uint8)).save(file)
    rows = [{"image": file.name, "caption": f"the ultrasound image of {file.stem}"} for file in files]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows[:4])), encoding="utf-8")
    (tmp_path / "v.jsonl").write_text("\n".join(map(json.dumps, rows[4:])), encoding="utf-8")
    members = [(file.name, file.read_bytes()) for file in files[:4]]
    texts = [(f"{file.stem}.txt", f"the ultrasound image of {file.stem}".encode()) for file in files[:4]]
    write_shard(tmp_path / "s.tar", [member for pair in zip(members, texts) for member in pair])
    for table, changed, message in (
        ("t.jsonl", files[1], "the training images differ"),
        ("s.tar", tmp_path / "s.tar", "the training shards differ"),
    ):
        data = CaptionData(str(tmp_path / table), validation=str(tmp_path / "v.jsonl"))
        out = tmp_path / f"run-{table}"
        requests = iter([False] * 9)
        stop = RunContext(is_cancelled=lambda: next(requests, True) and (out / LOG).is_file())
        with pytest.raises(Cancelled):
            run(data, replace(QUICK, epochs=50), "m", out, "cpu", tmp_path, context=stop)
        status = changed.stat()
        os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
        with pytest.raises(ModelError, match=message):
            run(data, replace(QUICK, epochs=50), "m", out, "cpu", tmp_path)


def test_records_without_a_patient_and_of_another_split_are_counted(captions, tmp_path):
    rows = [{"image": f"{n}.png", "caption": "the very same caption"} for n in range(9)]
    rows[4]["study_id"], rows[4]["split"], rows[5]["Split"] = "P7", "train", "Test"
    (tmp_path / "same.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    notes: list[str] = []
    data = CaptionData(str(tmp_path / "same.jsonl"), captions.parent)
    with pytest.raises(InputError, match="all have the same caption"):
        run(data, QUICK, "m", tmp_path / "r", "cpu", tmp_path, context=RunContext(on_notice=notes.append))
    assert any(note.startswith("Without a patient: 8 pairs.") for note in notes), notes
    assert any(note.startswith("The column 'split' marks 1 row as test or validation.") for note in notes), notes


def test_a_model_is_trained_on_shards(tmp_path):
    for shard in range(3):
        images = [png(20 * number + shard) for number in range(7)]
        texts = [f"the ultrasound image {shard} {number}" for number in range(6)] + ["short"]
        members = [
            (f"case{shard}{number}.{ending}", content)
            for number, (image, text) in enumerate(zip(images, texts))
            for ending, content in (("png", image), ("txt", text.encode()))
        ]
        write_shard(tmp_path / f"part-{shard}.tar", members)
    progress: list[str] = []
    reported: list[Progress] = []
    settings = replace(QUICK, batch=4, epochs=1)
    data = CaptionData(str(tmp_path / "part-{0..1}.tar"), validation=str(tmp_path / "part-2.tar"))
    context = RunContext(reported.append, progress.append)
    result, folder = run(data, settings, "mine", tmp_path / "run", "cpu", tmp_path, context=context)
    assert [report.details["step"] for report in reported] == [1, 2, 3]
    assert result.steps == 3 and result.after["pairs"] == 6 and (folder / "medclipsam.json").is_file()
    assert any("12 pairs" in line for line in progress)
    assert any("For shards, only the files are compared" in line for line in progress)
    dropped = (tmp_path / "run" / "dropped.csv").read_text().splitlines()[1:]
    assert [line.split("/")[-1] for line in dropped] == [f"part-{shard}.tar: case{shard}6" for shard in range(3)]
