"""The weakly supervised stage on stock nnU-Net: schedule, training that is stopped and goes on, ensemble, review."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import psutil
import pytest
import SimpleITK as sitk
import torch
from helpers.weak import OPTIONS, in_an_epoch, lungs, write_dataset
from PIL import Image

from MedCLIPSAMLib.commands.weak import TrainOptions
from MedCLIPSAMLib.errors import Cancelled, DeviceError, InputError, ModelError, OutputError
from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.export.cases import Case
from MedCLIPSAMLib.nnunet.predict import find_images, predict
from MedCLIPSAMLib.nnunet.process import Process, choose_gpu
from MedCLIPSAMLib.nnunet.ranking import rank_records
from MedCLIPSAMLib.nnunet.raw_dataset import check_voxels, read_dataset
from MedCLIPSAMLib.nnunet.schedule import SEED_IN_PLANS, Schedule
from MedCLIPSAMLib.nnunet.train import FOLD, PROGRESS, SHORT, TrainSettings, _change_plans, train
from MedCLIPSAMLib.nnunet.uncertainty import entropy, entropy_share, expected_loss
from MedCLIPSAMLib.run_context import RunContext
from MedCLIPSAMLib.volumes import Geometry, Volume, read_volume

SETTINGS = replace(SHORT, batch=4, schedule=replace(SHORT.schedule, cycles=2, epochs=3, keep=2, iterations=10))


def test_the_rate_begins_each_cycle_anew_and_the_last_checkpoints_are_kept():
    paper = Schedule()
    assert paper.total == 600 and len(paper.files()) == 30
    assert [paper.rate(epoch) for epoch in (0, 200, 400)] == [0.01] * 3
    assert paper.rate(100) == pytest.approx(0.01 * 0.5**0.9) == paper.rate(300)
    assert paper.rate(199) == paper.rate(160) == pytest.approx(0.01 * 0.2**0.9)
    kept = [epoch for epoch in range(600) if paper.keeps(epoch)]
    assert kept == [*range(190, 200), *range(390, 400), *range(590, 600)]
    assert paper.files()[0] == "cycle1_epoch0191.safetensors" and paper.files()[-1] == "cycle3_epoch0200.safetensors"
    with pytest.raises(InputError, match="at most 5 checkpoints"):
        Schedule(epochs=5, keep=6)


def test_few_epochs_keep_as_many_checkpoints_unless_told_otherwise():
    assert TrainOptions(short=True, epochs=2, cycles=1).settings().schedule.keep == 2
    assert (
        TrainOptions(epochs=6).settings().schedule.keep == 6 and TrainOptions(epochs=50).settings().schedule.keep == 10
    )
    with pytest.raises(InputError, match="at most 2 checkpoints of a cycle"):
        TrainOptions(epochs=2, keep=3).settings()


def test_a_seed_goes_to_the_trainer_by_the_plans_and_without_one_they_hold_none(tmp_path):
    path = tmp_path / "plans.json"
    for seed, expected in ((7, 7), (None, None)):
        path.write_text(json.dumps({"configurations": {"2d": {}}}))
        _change_plans(path, TrainSettings(SETTINGS.schedule, seed=seed))
        assert json.loads(path.read_text()).get(SEED_IN_PLANS) == expected


def test_entropy_and_case_scores_by_hand():
    sure, half, third = np.array([1.0, 0, 0]), np.array([0.5, 0.5, 0]), np.full(3, 1 / 3)
    probabilities = np.stack([sure, half, third], 1).reshape(3, 1, 1, 3).astype(np.float32)
    assert entropy(probabilities).ravel() == pytest.approx([0, np.log(2) / np.log(3), 1], abs=1e-6)
    foreground = np.array([0.9, 0.6, 0.2, 0.0], np.float32).reshape(1, 1, 4)
    two, mask = np.stack([1 - foreground, foreground]), foreground > 0.5
    assert expected_loss(two, mask) == pytest.approx(1 - 2 * 1.5 / (2 + 1.7))
    by_hand = sum(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)) for p in (0.9, 0.6, 0.2))
    assert entropy_share(two, mask) == pytest.approx(by_hand / 2, abs=1e-5)
    certain = np.stack([~mask, mask]).astype(np.float32)
    assert expected_loss(certain, mask) == 0 == entropy_share(certain, mask)
    nothing = np.zeros_like(mask)
    assert 0 < expected_loss(np.stack([1 - foreground / 3, foreground / 3]), nothing) < expected_loss(two, nothing) < 1


def test_what_cannot_be_trained_on_is_refused_by_name(tmp_path):
    good = write_dataset(tmp_path / "Dataset011_Lungs", 2)
    found = read_dataset(good)
    check_voxels(found)
    assert found.cases == ("ct00", "ct01") and found.labels == {1: "lungs"} and found.number == 11

    def broken(number, change):
        copy = tmp_path / f"Dataset{number:03d}_Broken"
        shutil.copytree(good, copy)
        change(copy)
        return copy

    def other_name(copy):
        (copy / "labelsTr" / "ct00.nii.gz").rename(copy / "labelsTr" / "patient.nii.gz")

    def label(copy, array):
        sitk.WriteImage(sitk.GetImageFromArray(array), str(copy / "labelsTr" / "ct01.nii.gz"))

    def described(**changes):
        def change(copy):
            about = json.loads((copy / "dataset.json").read_text()) | changes
            (copy / "dataset.json").write_text(json.dumps(about))

        return change

    def nothing(copy):
        for name in ("ct00", "ct01"):
            label_file = copy / "labelsTr" / f"{name}.nii.gz"
            sitk.WriteImage(sitk.ReadImage(str(label_file)) * 0, str(label_file))

    for number, (change, output) in enumerate(
        (
            (other_name, "no label, such as 'ct00'"),
            (lambda copy: label(copy, np.zeros((1, 100, 128), np.uint8)), "ct01.*128, 128, 1.*128, 100, 1"),
            (lambda copy: label(copy, np.full((1, 128, 128), 3, np.uint8)), "ct01.*value 3"),
            (lambda copy: (copy / "labelsTr" / "ct01.nii.gz").write_bytes(b"no more"), "ct01.*cannot be read"),
            (described(channel_names={"0": "T1", "1": "T2"}), "2 channels"),
            (described(labels={"background": 0, "both": [1, 2]}), "regions, which .*such as 'both'"),
            (described(labels={"background": 0, "lungs": 1, "heart": 3}), "labels 0, 1, 2 .*got 0, 1, 3"),
            (nothing, "All labels .* are empty"),
            (lambda copy: (copy / "dataset.json").unlink(), "dataset.json"),
        ),
        20,
    ):
        with pytest.raises(InputError, match=output):
            check_voxels(read_dataset(broken(number, change)))
    with pytest.raises(InputError, match="Dataset101_BrainTumor"):
        read_dataset(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training that SIGTERM ends, as batch systems send it, that is killed when it goes on, and goes on to its end.

    Dataset, folder, how the first one ended and what it left alive, and the epochs of the last one.
    """
    pytest.importorskip("nnunetv2")
    folder = tmp_path_factory.mktemp("weak")
    dataset, out = write_dataset(folder / "Dataset012_Lung-CT of 2026.1"), folder / "run"
    shutil.make_archive(str(dataset), "zip", dataset)  # a file beside it is no other dataset of its number
    with in_an_epoch(dataset, out) as (running, started):
        running.terminate()
        _, said = running.communicate(timeout=60)
    _, alive = psutil.wait_procs(started, 5)
    with in_an_epoch(dataset, out) as (killed, left):
        for process in left:
            process.suspend()  # so that it lives on while the next run is refused
        killed.kill()
    with pytest.raises(OutputError, match="Another run is writing"):
        train(dataset, out, SETTINGS)
    for process in left:
        process.kill()
    psutil.wait_procs(left, 20)
    epochs = []
    train(dataset, out, SETTINGS, context=RunContext(epochs.append))
    return dataset, out, (running.returncode, said, alive), epochs


def load(model, **options):
    from MedCLIPSAMLib.nnunet.ensemble import Ensemble

    return Ensemble(model, "cpu", **options)


@pytest.fixture(scope="module")
def ensemble(trained):
    return load(trained[1])


@pytest.mark.parametrize("device, gpus", [("cuda:63", 1), ("cuda:x", 1), ("gpu", 1), ("cpu", 2)])
def test_a_device_that_is_not_there_is_refused_before_the_work(tmp_path, monkeypatch, device, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    good = write_dataset(tmp_path / "Dataset011_Lungs", 2)
    with pytest.raises(DeviceError):
        train(good, tmp_path / "run", SETTINGS, device, gpus)
    assert not (tmp_path / "run").exists()


def test_a_training_that_is_ended_or_killed_goes_on_from_its_checkpoint(trained, run):
    dataset, out, (code, said, alive), epochs = trained
    assert code == 143 and "resumes from nnU-Net's last checkpoint" in said and "Traceback" not in said
    assert not alive, "nnU-Net is taken with it"
    assert 1 < epochs[0].done and epochs[-1].done == 6 == epochs[-1].total, "it did not restart"
    assert [epoch.details["rate"] for epoch in epochs] == [SETTINGS.schedule.rate(epoch.done - 1) for epoch in epochs]
    (fold,) = out.glob(f"results/*/*/{FOLD}")
    assert sorted(path.name for path in fold.glob("cycle*")) == SETTINGS.schedule.files()
    assert epochs[-1].details["dsc"] > 0.8  # it has learned lungs
    before = (fold / PROGRESS).read_bytes()
    assert json.loads(run("weak", "train", dataset, "-o", out, *OPTIONS.split(), "--json")[1]) == {
        "model": str(fold.parent),
        "checkpoints": SETTINGS.schedule.files(),
    }
    assert (fold / PROGRESS).read_bytes() == before  # a finished run is not done again


def test_a_cancelled_run_takes_its_process_with_it(tmp_path):
    started = tmp_path / "started"
    script = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
    with open(tmp_path / "lock", "w", encoding="utf-8") as lock:
        context = RunContext(is_cancelled=lambda: started.is_file() and bool(started.read_text()))
        with pytest.raises(Cancelled):
            Process(tmp_path / "log", dict(os.environ), lock, context).run([sys.executable, "-c", script, str(started)])
    assert not psutil.pid_exists(int(started.read_text()))


@pytest.mark.parametrize(
    "checkpoint, said", [(False, "starts again"), (True, "resumes from nnU-Net's last checkpoint")]
)
def test_a_stop_names_a_checkpoint_only_where_there_is_one(tmp_path, monkeypatch, run, checkpoint, said):
    fold = tmp_path / "r" / "results" / "Dataset001_X" / "nnUNetTrainerMedCLIPSAM__nnUNetPlans__2d" / FOLD
    if checkpoint:
        fold.mkdir(parents=True)
        (fold / "checkpoint_latest.pth").touch()
    monkeypatch.setattr("MedCLIPSAMLib.nnunet.train.train", Mock(side_effect=KeyboardInterrupt))
    code, _, err = run("weak", "train", tmp_path / "Dataset001_X", "-o", tmp_path / "r", "--device", "cpu")
    assert code == 130 and f"Stopped; the same command {said}" in err


def test_another_round_needs_another_folder(trained, tmp_path):
    dataset, out, *_ = trained
    with pytest.raises(OutputError, match="results of other settings"):
        train(dataset, out, SHORT)
    copy = tmp_path / dataset.name
    shutil.copytree(dataset, copy)
    with pytest.raises(OutputError, match="results of other dataset"):
        train(copy, out, SETTINGS)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match="not empty"):
        train(copy, tmp_path / "full", SETTINGS)
    (tmp_path / "Dataset012_Twin").mkdir()
    with pytest.raises(InputError, match="same number"):
        train(copy, tmp_path / "run", SETTINGS)


def test_what_nnunet_says_last_reaches_the_user(tmp_path):
    with open(tmp_path / "lock", "w", encoding="utf-8") as lock:
        process = Process(tmp_path / "log", {}, lock, RunContext())
        with pytest.raises(ModelError, match="code 1: CUDA out of memory") as raised:
            process.run([sys.executable, "-c", "raise SystemExit('CUDA out of memory')"])
    assert "--batch" in raised.value.remedy and str(tmp_path / "log") in raised.value.remedy


def test_the_ensemble_is_the_mean_of_what_each_checkpoint_gives(trained, ensemble, tmp_path):
    """Against a plain loop: one window covers the image, so that nnU-Net's weights of windows cancel."""
    image, _ = lungs("validation", 3)
    sitk.WriteImage(sitk.GetImageFromArray(image[None]), str(tmp_path / "ct.nii.gz"))
    volume = read_volume(tmp_path / "ct.nii.gz")
    plain = load(trained[1], mirroring=False)
    made = plain.predict(volume)
    pixels = torch.from_numpy(image.astype(np.float32))
    # CT is clipped and normalized by the figures of the training set.
    plans = json.loads(next(trained[1].glob("results/*/*/plans.json")).read_text())
    about = plans["foreground_intensity_properties_per_channel"]["0"]
    pixels = (pixels.clip(about["percentile_00_5"], about["percentile_99_5"]) - about["mean"]) / about["std"]
    total = 0
    network = plain._predictor.network.eval()
    (fold,) = trained[1].glob(f"results/*/*/{FOLD}")
    for name in SETTINGS.schedule.files():
        from safetensors.torch import load_model

        load_model(network, fold / name)
        with torch.no_grad():
            total = total + torch.softmax(network(pixels[None, None])[0], 0).numpy()
    mean = total / len(SETTINGS.schedule.files())
    assert np.abs(made.probabilities[:, 0] - mean).max() < 1e-2  # nnU-Net keeps logits in half precision
    assert np.array_equal(made.labels[0] > 0, made.probabilities[1, 0] > made.probabilities[0, 0])
    last = load(trained[1], mirroring=False, last=1).predict(volume).probabilities[:, 0]
    assert np.abs(last - torch.softmax(network(pixels[None, None])[0], 0).detach().numpy()).max() < 1e-2
    assert np.abs(last - mean).max() > 0.1
    assert np.allclose(ensemble.predict(volume).probabilities.sum(0), 1, atol=1e-5)


def test_a_photograph_is_taken_by_its_pixels_whatever_resolution_its_file_names(ensemble, tmp_path):
    """That of a print or a screen is no size of a pixel: it must not shrink what the network sees."""
    image, _ = lungs("validation", 3)
    Image.fromarray(image).save(tmp_path / "plain.png")
    Image.fromarray(image).save(tmp_path / "print.tif", dpi=(300, 300))
    plain, printed = (read_volume(tmp_path / name) for name in ("plain.png", "print.tif"))
    assert printed.geometry.spacing != plain.geometry.spacing
    made = ensemble.predict(plain).labels
    assert made.any() and np.array_equal(made, ensemble.predict(printed).labels)


def test_a_radiograph_is_taken_at_its_own_spacing(ensemble):
    """It has no place in the patient, as a photograph, but the size of its pixels counts."""
    image, _ = lungs("validation", 3)
    slice_of_a_volume = Volume(image[None], Geometry(spacing=(0.5, 0.5, 1.0)))
    radiograph = replace(slice_of_a_volume, natural=True)
    first, other = (ensemble.predict(volume).probabilities for volume in (slice_of_a_volume, radiograph))
    assert np.array_equal(first, other)


def test_masks_and_uncertainty_lie_where_the_image_lies(ensemble, tmp_path):
    """An oblique, anisotropic, flipped volume of two slices: a hand-computed point of the patient is in the mask."""
    slices = [lungs("validation", index) for index in (1, 2)]
    image = sitk.GetImageFromArray(np.stack([pixels for pixels, _ in slices]))
    turn = np.deg2rad(20)
    axes = np.array([[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]]) @ np.diag(
        [-1, 1, -1]
    )
    image.SetDirection(axes.ravel().tolist())
    image.SetSpacing((0.8, 0.8, 5.0))
    image.SetOrigin((12.0, -30.0, 140.0))
    sitk.WriteImage(image, str(tmp_path / "oblique.nii.gz"))
    (record,) = predict([Case("oblique", tmp_path / "oblique.nii.gz", {})], ensemble, tmp_path / "out")
    assert record["status"] == "found"
    mask = sitk.ReadImage(str(tmp_path / "out" / "oblique.seg.nrrd"))
    uncertain = sitk.ReadImage(str(tmp_path / "out" / "oblique_uncertainty.nii.gz"))
    for made in (mask, uncertain):
        assert np.allclose(made.GetOrigin(), image.GetOrigin(), atol=1e-4) and made.GetSize() == image.GetSize()
        assert np.allclose(made.GetDirection(), image.GetDirection(), atol=1e-5)
        assert np.allclose(made.GetSpacing(), image.GetSpacing())
    taken, truth = sitk.GetArrayFromImage(mask) > 0, np.stack([mask for _, mask in slices])
    assert dsc(taken, truth) > 0.8
    k, j, i = 1, *np.argwhere(truth[1] & taken[1])[10]
    point = np.array([12.0, -30.0, 140.0]) + axes @ (np.array([i, j, k]) * (0.8, 0.8, 5.0))
    assert mask.GetPixel(mask.TransformPhysicalPointToIndex(point.tolist())) == 1
    values = sitk.GetArrayFromImage(uncertain)
    wrong = taken ^ truth
    assert 0 <= values.min() and values.max() <= 1 and values[wrong].mean() > 1.5 * values[~wrong].mean()


def test_the_best_checkpoint_joins_and_a_threshold_labels_more(trained, tmp_path):
    """As the authors' code predicts: checkpoint_best among the others, foreground above 0.2."""
    image, _ = lungs("validation", 3)
    sitk.WriteImage(sitk.GetImageFromArray(image[None]), str(tmp_path / "ct.nii.gz"))
    volume = read_volume(tmp_path / "ct.nii.gz")
    plain, released = (
        load(trained[1], mirroring=False, best=best, foreground=cut) for best, cut in ((False, None), (True, 0.2))
    )
    count = len(SETTINGS.schedule.files())
    assert "foreground above 0.2" in released.name and "best" in released.name and plain.name != released.name
    made, usual = released.predict(volume), plain.predict(volume)
    assert np.array_equal(made.labels > 0, made.probabilities[1] > 0.2)
    assert (made.labels > 0).sum() > (usual.labels > 0).sum()
    best = load(trained[1], mirroring=False, last=1, best=True).predict(volume).probabilities
    last = load(trained[1], mirroring=False, last=1).predict(volume).probabilities
    alone = 2 * best - last  # of the best one, whose mean with the last one this is
    expected = (count * usual.probabilities + alone) / (count + 1)
    assert np.abs(made.probabilities - expected).max() < 1e-2


def test_predictions_are_ranked_go_on_and_name_what_failed(trained, ensemble, tmp_path, run):
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    for index in (1, 2):
        sitk.WriteImage(sitk.GetImageFromArray(lungs("test", index)[0]), str(folder / f"{index}.png"))
    noise = np.random.default_rng(1).integers(0, 255, (128, 128), np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(noise), str(folder / "noise.png"))
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    images, none = find_images(folder)
    assert none is None and {image.name for image in images} == {"1", "2", "noise", "broken"}
    predict(images[:2], ensemble, out)
    before = (out / "manifest.jsonl").read_text()
    records = json.loads(run("weak", "predict", trained[1], folder, "-o", out, "--device", "cpu", "--json")[1])
    assert (out / "manifest.jsonl").read_text().startswith(before)
    assert [record["case"] for record in records][0] == "noise" and records[-1]["case"] == "broken"
    assert records[-1]["status"] == "failed" and "broken.png" in records[-1]["problem"]
    shown = [record["uncertainty"] for record in records[:-1]]
    assert shown == sorted(shown, reverse=True) and records == rank_records(out)
    table = (out / "review.csv").read_text().splitlines()
    assert table[0] == "rank,case,uncertainty,status,image" and table[1].startswith("1,noise,")
    assert (out / "report" / "1.png").is_file() and '"noise"' in (out / "report.html").read_text()
    found, dataset = find_images(trained[0])
    assert dataset == trained[0] and len(found) == 24 and found[0].image.name == "ct00_0000.nii.gz"


def test_unfinished_and_damaged_models_are_refused(trained, tmp_path):
    (model,) = trained[1].glob("results/*/*")
    copy = tmp_path / model.name
    shutil.copytree(model, copy)
    first = copy / FOLD / SETTINGS.schedule.files()[0]
    first.write_bytes(first.read_bytes()[:1000])
    with pytest.raises(ModelError, match="damaged"):
        load(copy)
    plans = json.loads((copy / "plans.json").read_text())
    evil = json.loads(json.dumps(plans))
    evil["configurations"]["2d"]["architecture"]["network_class_name"] = "subprocess.Popen"
    (copy / "plans.json").write_text(json.dumps(evil))
    with pytest.raises(ModelError, match="subprocess.Popen.*not part of a network"):
        load(copy)
    (copy / "plans.json").write_text(json.dumps(plans))
    first.unlink()
    with pytest.raises(ModelError, match="1 of 4 checkpoints are missing"):
        load(copy)
    with pytest.raises(ModelError, match="no trained nnU-Net"):
        load(tmp_path)


def test_a_gpu_by_its_number_is_the_only_one_that_nnunet_sees(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert choose_gpu("cpu") == ("cpu", {}) and choose_gpu("cuda:1") == ("cuda", {"CUDA_VISIBLE_DEVICES": "1"})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert choose_gpu("cuda:1") == ("cuda", {"CUDA_VISIBLE_DEVICES": "6"})
