"""Fine-tuning from a table of captions to a model of the catalogue, on the shipped demo model and real files."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from MedCLIPSAMLib.errors import Cancelled, InputError, MedCLIPSAMError, ModelError, OutputError
from MedCLIPSAMLib.finetune.batches import PairSource
from MedCLIPSAMLib.finetune.captions import Pair
from MedCLIPSAMLib.finetune.checkpoint import read_checkpoint, write_checkpoint
from MedCLIPSAMLib.finetune.job import CaptionData, run
from MedCLIPSAMLib.finetune.owner import claim_run
from MedCLIPSAMLib.finetune.publish import export_model
from MedCLIPSAMLib.finetune.settings import FineTuneSettings
from MedCLIPSAMLib.finetune.train import BEST, CHECKPOINT, LOG, fine_tune
from MedCLIPSAMLib.finetune.trainable import merge_lora, prepare, trained_state
from MedCLIPSAMLib.models import timm_towers
from MedCLIPSAMLib.models.acceleration.linear import with_fast_linear
from MedCLIPSAMLib.models.clip import load_clip
from MedCLIPSAMLib.models.store import find, statuses
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.run_context import RunContext
from MedCLIPSAMLib.segmentation.segmenter import load_segmenter
from MedCLIPSAMLib.volumes.write import write_png

ROOT = Path(__file__).resolve().parents[2]
NAMES = {"US": "breast ultrasound", "MR": "brain MRI", "XR": "chest X-ray", "CT": "chest CT"}
QUICK = FineTuneSettings(base="demo", batch=4, epochs=2, learning_rate=3e-5, crop=0.9, patience=0)


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    """32 phantoms with captions, each of a patient of its own."""
    folder = tmp_path_factory.mktemp("captions")
    rows = []
    for number in range(32):
        phantom = make_phantom("train", number)
        write_png(folder / f"{number}.png", np.repeat(phantom.image[..., None], 3, 2))
        seen = "two masses" if len(phantom.lesions) > 1 else "one mass" if phantom.lesions else "no mass"
        text = f"{NAMES[phantom.modality]} number {number} showing {seen}"
        rows.append(json.dumps({"image": f"{number}.png", "caption": text, "patient": f"p{number}"}))
    (folder / "captions.jsonl").write_text("\n".join(rows) + "\n")
    return folder / "captions.jsonl"


@pytest.fixture(scope="module")
def pairs(captions):
    rows = [json.loads(line) for line in captions.read_text().splitlines()]
    return [Pair(captions.parent / row["image"], row["caption"], row["patient"]) for row in rows]


def train(pairs, out, settings=QUICK, **options):
    source = lambda part, crop: lambda size, rank=0, world=1: PairSource(part, size, settings.batch, crop)
    return fine_tune(source(pairs[:20], settings.crop), source(pairs[20:], 1.0), settings, out, "cpu", **options)


def test_a_fine_tuned_model_is_in_the_catalogue_and_segments_at_once(captions, tmp_path):
    progress: list[str] = []
    settings = replace(QUICK, epochs=1)
    result, folder = run(
        CaptionData(str(captions), share=0.3),
        settings,
        "mine",
        tmp_path / "run",
        "cpu",
        tmp_path,
        context=RunContext(on_notice=progress.append),
    )
    assert folder == tmp_path / "mine" and any("split by patient" in line for line in progress)
    (unknown,) = [line for line in progress if "does not know" in line]
    assert "'demo'" in unknown and "number" in unknown and "brain" not in unknown
    assert find("mine", "clip", tmp_path).trained
    (status,) = [model for model in statuses(tmp_path) if model.model.name == "mine"]
    assert status.usable and "Apache-2.0" in status.model.licence
    segmenter = load_segmenter("mine", "demo", "cpu", tmp_path)
    assert segmenter.settings.saliency.layer == 3
    segmenter.set_image(np.repeat(make_phantom("validation", 1, "MR", 1).image[..., None], 3, 2))
    assert segmenter.segment("brain tumor").mask.shape == (128, 128)
    assert result.before["pairs"] == result.after["pairs"] and (tmp_path / "run" / "dropped.csv").is_file()
    with pytest.raises(ModelError, match="a model 'mine' already"):
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


def test_a_run_replaces_only_the_model_that_it_made(captions, tmp_path):
    settings, data, models = replace(QUICK, epochs=1), CaptionData(str(captions), share=0.3), tmp_path / "models"
    models.mkdir()
    for name in ("a1", "a2"):
        run(data, settings, name, tmp_path / f"run-{name}", "cpu", models)
    before = {path: path.read_bytes() for path in models.rglob("*") if path.is_file()}
    with pytest.raises(ModelError, match="a model 'a1' already"):
        run(data, settings, "a1", tmp_path / "run-a2", "cpu", models)
    assert {path: path.read_bytes() for path in models.rglob("*") if path.is_file()} == before
    run(data, settings, "a1", tmp_path / "run-a1", "cpu", models)  # its own, again
    run(data, settings, "a1", tmp_path / "run-a2", "cpu", models, replace=True)
    with pytest.raises(ModelError, match="a model 'a1' already"):
        run(data, settings, "a1", tmp_path / "run-a1", "cpu", models)


def test_a_run_keeps_off_a_folder_of_something_else_and_of_a_run_at_work(captions, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "dropped.csv").write_text("somebody's")
    with pytest.raises(OutputError, match="not empty"):
        run(CaptionData(str(captions), share=0.3), QUICK, "m", tmp_path / "mine", "cpu", tmp_path)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["dropped.csv"]
    with claim_run(tmp_path / "run"), pytest.raises(OutputError, match="Another run is writing"):
        run(CaptionData(str(captions), share=0.3), QUICK, "m", tmp_path / "run", "cpu", tmp_path)


def test_the_loss_falls_and_the_best_weights_are_kept(pairs, tmp_path):
    seen = []
    result = train(
        pairs, tmp_path, replace(QUICK, epochs=6, learning_rate=2e-4, temperature=0.1), context=RunContext(seen.append)
    )
    losses = [progress.details["loss"] for progress in seen]
    assert len(losses) == 30 and np.mean(losses[-5:]) < np.mean(losses[:5])
    validations = [progress.details["validation"] for progress in seen if progress.details["validation"]]
    assert len(validations) == 6 and validations[-1]["best"] >= max(figures["top1"] for figures in validations)
    assert result.step % 5 == 0 and load_file(result.weights).keys() == load_clip("demo").model.state_dict().keys()
    assert [json.loads(line)["step"] for line in (tmp_path / LOG).read_text().splitlines()] == list(range(1, 31))
    assert list((tmp_path / "tensorboard").glob("events.*"))
    rates = [progress.details["learning_rate"] for progress in seen]
    assert rates[0] < rates[2] == pytest.approx(2e-4) and rates[-1] < 1e-5  # warmed up, then to 0


def test_a_killed_run_goes_on_to_the_same_weights(captions, tmp_path):
    """Killed without warning in the second epoch, and started again; crops, order and Adam go on as if nothing was."""

    def command(out: str) -> list[str]:
        options = (
            "--base demo --batch 4 --epochs 3 --patience 0 --lr 1e-4 --device cpu --workers 0 --validation-share 0.3"
        )
        start = [
            sys.executable,
            "-m",
            "MedCLIPSAMLib",
            "finetune",
            str(captions),
            "--name",
            f"{out}-model",
            "-o",
            str(tmp_path / out),
        ]
        return [*start, *options.split(), "--models-dir", str(tmp_path), "--json"]

    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(
        command("killed"), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    log = tmp_path / "killed" / LOG
    while running.poll() is None and (not log.exists() or len(log.read_text().splitlines()) < 8):
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert (tmp_path / "killed" / CHECKPOINT).is_file() and not (tmp_path / "killed" / "medclipsam.json").exists()
    for out in ("killed", "whole"):
        done = subprocess.run(command(out), cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, done.stderr
    first, other = (torch.load(tmp_path / out / CHECKPOINT, weights_only=True)["model"] for out in ("killed", "whole"))
    assert all(torch.equal(first[name], other[name]) for name in other)
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == sorted(set(steps)) and steps[0] == 1


def test_a_run_killed_before_its_first_checkpoint_logs_each_step_once(pairs, tmp_path):
    (tmp_path / LOG).write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "lo')
    train(pairs, tmp_path, replace(QUICK, epochs=1))
    assert [json.loads(line)["step"] for line in (tmp_path / LOG).read_text().splitlines()] == [1, 2, 3, 4, 5]


def test_a_cancelled_run_keeps_a_checkpoint_and_goes_on(pairs, tmp_path):
    requested = iter([False] * 3 + [True] * 9)
    with pytest.raises(Cancelled):
        train(pairs, tmp_path, context=RunContext(is_cancelled=lambda: next(requested)))
    seen = []
    train(pairs, tmp_path, context=RunContext(seen.append))
    assert [progress.done for progress in seen] == list(range(4, 11))


def test_training_ends_when_nothing_is_gained(pairs, tmp_path):
    result = train(pairs, tmp_path, replace(QUICK, epochs=9, patience=2, learning_rate=1e-12))
    assert result.steps == result.step + 10 < 45


@pytest.mark.parametrize(
    "options", [{"lora_rank": 4, "learning_rate": 1e-3}, {"freeze": "text"}, {"freeze": "lower-half"}]
)
def test_only_what_is_to_be_trained_changes(pairs, tmp_path, options):
    settings = replace(QUICK, epochs=1, **options)
    base = load_clip("demo").model
    model = prepare(load_clip("demo").model, settings.freeze, settings.lora_rank)
    few = trained_state(model)
    assert sum(parameter.numel() for parameter in few.values()) < 0.75 * sum(
        parameter.numel() for parameter in base.parameters()
    )
    train(pairs, tmp_path, settings)
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["model"].keys() == few.keys()
    again = prepare(load_clip("demo").model, settings.freeze, settings.lora_rank)
    again.load_state_dict(torch.load(tmp_path / CHECKPOINT, weights_only=True)["model"], strict=False)
    weights, before = merge_lora(again), {name: weight.float() for name, weight in base.state_dict().items()}
    assert weights.keys() == before.keys()
    changed = {name for name in before if not torch.equal(weights[name], before[name])}
    assert changed
    if settings.freeze == "text":
        assert all(name.startswith("visual.") for name in changed)
    if settings.freeze == "lower-half":
        assert (
            "visual.trunk.blocks.0.attn.qkv.weight" not in changed
            and "visual.trunk.blocks.3.attn.qkv.weight" in changed
        )
    if settings.lora_rank:
        assert all(name.endswith("weight") for name in changed)


def test_what_lora_learnt_is_in_the_merged_weights():
    wrapped = prepare(load_clip("demo").model, lora_rank=4).eval()
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    plain = load_clip("demo").model
    pixels, tokens = torch.randn(3, 3, 128, 128), torch.randint(5, 90, (3, 7))
    with torch.no_grad():
        expected, before = wrapped(pixels, tokens)[:2], plain(pixels, tokens)[:2]
        plain.load_state_dict(merge_lora(wrapped))
        found = plain(pixels, tokens)[:2]
    for first, other, old in zip(expected, found, before):
        assert torch.allclose(first, other, atol=1e-5) and not torch.allclose(first, old, atol=1e-3)


def test_a_full_disk_is_said_and_the_last_checkpoint_stays(tmp_path):
    path = tmp_path / CHECKPOINT
    write_checkpoint(path, {"step": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            write_checkpoint(path, {"step": 2, "model": torch.zeros(1_000_000)})
        with pytest.raises(OutputError, match="cannot be written"):
            export_model("demo", "open-clip", tmp_path / "exported")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert torch.load(path, weights_only=True) == {"step": 1} and [path.name for path in tmp_path.iterdir()] == [
        CHECKPOINT
    ]


def test_checkpoints_that_do_not_belong_are_refused_and_left_alone(pairs, tmp_path):
    with pytest.raises(Cancelled):
        train(pairs, tmp_path, context=RunContext(is_cancelled=iter([False, True]).__next__))
    original = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(ModelError, match="other settings or data"):
        train(pairs, tmp_path, replace(QUICK, temperature=0.3))
    with pytest.raises(ModelError, match="other settings or data"):
        train(pairs, tmp_path, data="other.csv")
    with pytest.raises(ModelError, match="another architecture.*differ"):
        train(pairs, tmp_path, replace(QUICK, lora_rank=2))
    assert (tmp_path / CHECKPOINT).read_bytes() == original
    (tmp_path / CHECKPOINT).write_bytes(original[: len(original) // 2])
    with pytest.raises(ModelError, match="damaged"):
        train(pairs, tmp_path)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"batch": 1}, "'batch'.*got 1.*no negatives"),
        ({"loss": "magic"}, "'loss'.*dhn-nce.*magic"),
        ({"temperature": 0.0}, "temperature"),
        ({"crop": 0.0}, "crop"),
        ({"precision": "8"}, "bf16-mixed"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        FineTuneSettings(**options)


def test_captions_that_all_say_the_same_and_too_few_pairs_are_refused(captions, tmp_path):
    rows = [json.dumps({"image": f"{n}.png", "caption": "the very same caption"}) for n in range(9)]
    (tmp_path / "same.jsonl").write_text("\n".join(rows))
    with pytest.raises(InputError, match="all say the same"):
        run(CaptionData(str(tmp_path / "same.jsonl"), captions.parent), QUICK, "m", tmp_path / "r", "cpu", tmp_path)
    with pytest.raises(InputError, match="validation pairs cannot tell"):
        run(CaptionData(str(captions), share=0.03), QUICK, "m", tmp_path / "r", "cpu", tmp_path)
    with pytest.raises(InputError, match="do not fill a batch of 64"):
        run(CaptionData(str(captions), share=0.3), replace(QUICK, batch=64), "m", tmp_path / "r", "cpu", tmp_path)
    with pytest.raises(InputError, match="both the run and the model"):
        run(CaptionData(str(captions)), QUICK, "x", tmp_path / "x", "cpu", tmp_path)
    with pytest.raises(ModelError, match="cannot be the name"):
        run(CaptionData(str(captions)), QUICK, "../m", tmp_path / "r", "cpu", tmp_path)
    with pytest.raises(ModelError, match="has a model 'biomedclip' already"):
        run(CaptionData(str(captions)), QUICK, "biomedclip", tmp_path / "r", "cpu", tmp_path)


def test_captions_longer_than_the_model_reads_are_cut_at_their_end():
    clip = load_clip("demo")
    tokens = clip.tokenize(["tumor " * 200, "brain tumor"], cut=True)
    assert tokens.shape == (2, clip.context_length) and tokens[0, -1] == tokens[1][tokens[1] != 0][-1]


def test_the_export_loads_in_open_clip_and_gives_the_same_features(tmp_path, monkeypatch):
    import open_clip

    timm_towers.register()
    folder = export_model("demo", "open-clip", tmp_path / "exported")
    clip = load_clip("demo")
    monkeypatch.chdir(folder)  # the demo model's configuration names its BERT by "."
    other = open_clip.create_model(f"local-dir:{folder}", pretrained_text=False, pretrained_image=False).eval()
    pixels, tokens = torch.randn(2, 3, 128, 128), clip.tokenize(["brain tumor", "lungs"])
    other = with_fast_linear(other.requires_grad_(False))
    with torch.no_grad():
        assert torch.equal(other.encode_image(pixels), clip.model.encode_image(pixels))
        assert torch.equal(other.encode_text(tokens), clip.model.encode_text(tokens))
    with pytest.raises(OutputError, match="there already"):
        export_model("demo", "open-clip", folder)
    with pytest.raises(ModelError, match="no names for"):
        export_model("demo", "hugging-face", tmp_path / "hf")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exported"]


def test_two_processes_train_together(captions, tmp_path):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--standalone",
        "-m",
        "MedCLIPSAMLib",
    ]
    command += ["finetune", str(captions), "--name", "two", "-o", str(tmp_path / "run"), "--models-dir", str(tmp_path)]
    command += "--base demo --batch 4 --epochs 1 --device cpu --workers 0 --validation-share 0.3 --lr 1e-5".split()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Use it by --model two") == done.stdout.count("Memory at most: ") == 1
    alone = [*command[:1], *command[command.index("-m", 3) :]]
    alone = [*alone[: alone.index("two")], "one", "-o", str(tmp_path / "alone"), *alone[alone.index("--models-dir") :]]
    subprocess.run(alone, cwd=ROOT, check=True, env=environment, capture_output=True)
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / out / LOG).read_text().splitlines()]
        for out in ("run", "alone")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert (tmp_path / "run" / BEST).is_file()


def test_a_model_is_trained_on_shards(tmp_path):
    for shard in range(3):
        with tarfile.open(tmp_path / f"part-{shard}.tar", "w") as tar:
            for number in range(6):
                image = BytesIO()
                Image.fromarray(np.full((40, 50), 20 * number + shard, np.uint8)).save(image, "PNG")
                caption = f"the ultrasound image {shard} {number}".encode()
                for ending, content in (("png", image.getvalue()), ("txt", caption)):
                    member = tarfile.TarInfo(f"case{shard}{number}.{ending}")
                    member.size = len(content)
                    tar.addfile(member, BytesIO(content))
    pattern, progress = str(tmp_path / "part-{0..1}.tar"), []
    settings = replace(QUICK, batch=4, epochs=1)
    with pytest.raises(InputError, match="validation pairs of their own"):
        run(CaptionData(pattern), settings, "mine", tmp_path / "run", "cpu", tmp_path)
    data = CaptionData(pattern, validation=str(tmp_path / "part-2.tar"))
    result, folder = run(
        data, settings, "mine", tmp_path / "run", "cpu", tmp_path, context=RunContext(on_notice=progress.append)
    )
    assert result.steps == 3 and result.after["pairs"] == 4 and (folder / "medclipsam.json").is_file()
    assert any("12 pairs" in line for line in progress)


@pytest.mark.parametrize("content", [[1], torch.zeros(2), {"model": 3, "fingerprint": ""}, {"model": {"a": 1}}])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, content):
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(ModelError, match="last.ckpt' is damaged"):
        read_checkpoint(tmp_path / "last.ckpt", "", {})
