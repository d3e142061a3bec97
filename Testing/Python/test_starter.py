"""The starter models' training: what is read, what texts say of it, which prompts are drawn, and that it resumes."""

import io
import json
import os
import signal
import zipfile
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.datasets import write_breast_set
from helpers.exhausted import full_disk
from PIL import Image
from safetensors.torch import load_file

from MedCLIPSAMLib.errors import Cancelled, InputError, ModelError, OutputError, with_remedy
from MedCLIPSAMLib.phantoms.captions import Text
from MedCLIPSAMLib.phantoms.dataset import make_many
from MedCLIPSAMLib.phantoms.volumes import many_volumes
from MedCLIPSAMLib.run_context import RunContext
from MedCLIPSAMLib.starter.augmentation import make_generator
from MedCLIPSAMLib.starter.clip_training import ClipTraining, train_clip
from MedCLIPSAMLib.starter.examples import LESION, SIZE, Example, Structure, describe, from_phantom, mirror
from MedCLIPSAMLib.starter.pack import read_pack, write_pack
from MedCLIPSAMLib.starter.real_data import list_tumor_free_boxes, read_examples
from MedCLIPSAMLib.starter.sam_prompts import draw_box_prompts, draw_boxes, draw_corrections, draw_point_prompts
from MedCLIPSAMLib.starter.sam_training import SamTraining, train_sam
from MedCLIPSAMLib.starter.texts import match_texts
from MedCLIPSAMLib.starter.train import StarterTraining, train_starter
from MedCLIPSAMLib.starter.training import Budget, Stage, Trainee, TrainingRun

CPU = torch.device("cpu")


def test_training_images_are_read_with_their_tumors_where_they_are(tmp_path):
    write_breast_set(tmp_path)
    full = [example for example in read_examples(tmp_path) if example.source == "busbra"]
    assert [example.group for example in full] == ["1", "2"]
    rows, columns = np.nonzero(full[0].structures[0].mask)
    # 20 of 80 rows from row 10, 20 of 100 columns from column 60, at 256 x 256
    assert (rows.min(), rows.max() + 1) == (32, 96)
    assert (columns.min(), columns.max() + 1) == (154, 205)
    assert full[0].structures[0].facts >= {"kind:benign"}


def test_parts_without_the_tumor_hold_none_of_it():
    mask = np.zeros((80, 100), bool)
    mask[10:30, 60:80] = True
    boxes = list_tumor_free_boxes(mask)
    assert boxes == [(0, 0, 57, 80), (0, 33, 100, 80)]
    assert not any(mask[y0:y1, x0:x1].any() for x0, y0, x1, y1 in boxes)


def test_wrong_sets_are_refused(tmp_path):
    made = write_breast_set(tmp_path)
    table = (made / "index.csv").read_text(encoding="utf-8")
    for wrong, message in (
        (table.replace("3,test", "1,test"), "every patient in one split, got patient '1' in 'train' and in 'test'"),
        (table.replace("a0.jpg", "../../a0.jpg"), "name of a file"),
    ):
        (made / "index.csv").write_text(wrong, encoding="utf-8")
        with pytest.raises(InputError, match=message):
            list(read_examples(tmp_path))
    (made / "index.csv").unlink()
    with pytest.raises(InputError, match="index.csv"):
        list(read_examples(tmp_path))
    with pytest.raises(InputError, match="breast_us_busbra"):
        list(read_examples(made))


@pytest.mark.parametrize("fault", ["no table", "no sets", "no image", "nothing"])
def test_a_training_on_wrong_data_leaves_no_folder(tmp_path, fault):
    made = write_breast_set(tmp_path / "data")
    if fault == "no table":
        (made / "index.csv").unlink()
    elif fault == "no sets":
        made.rename(tmp_path / "data" / "elsewhere")
    elif fault == "no image":
        for path in (made / "images").iterdir():
            path.write_bytes(b"no image")
    data = tmp_path / ("absent" if fault == "nothing" else "data")
    with pytest.raises(InputError, match="^Expected |cannot be read|^There is no file"):
        train_starter(StarterTraining(data, tmp_path / "out", Budget(steps=1), "cpu", 1, 0))
    assert not (tmp_path / "out").exists()


def test_a_process_that_the_system_ends_is_said(tmp_path, monkeypatch):
    write_breast_set(tmp_path)
    monkeypatch.setattr("MedCLIPSAMLib.starter.train.train_clip", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(BrokenProcessPool) as ended:
        train_starter(StarterTraining(tmp_path, tmp_path / "out", Budget(steps=1), "cpu", 1, 0, models=("clip",)))
    refusal = with_remedy(ended.value)
    assert refusal is not None and "memory runs out" in refusal.problem


@pytest.mark.parametrize("fault", ["broken", "16 bits", "no mask", "other size", "0 and 1"])
def test_a_case_that_cannot_be_used_is_left_out_with_a_word(tmp_path, fault):
    """Of 16 bits Pillow would make white, and 1 is no 255: neither is read in silence."""
    made = write_breast_set(tmp_path)
    image, mask = made / "images" / "a0.jpg", made / "masks" / "a0.png"
    if fault == "broken":
        image.write_bytes(image.read_bytes()[:300])
    elif fault == "16 bits":
        Image.fromarray(np.full((80, 100), 900, np.uint16)).save(image, "PNG")
    elif fault == "no mask":
        mask.unlink()
    else:
        size, value = ((50, 80), 255) if fault == "other size" else ((100, 80), 1)
        Image.new("L", size, value).save(mask)
    messages = []
    read = list(read_examples(tmp_path, RunContext(on_notice=messages.append)))
    assert {example.group for example in read} == {"2"}
    assert len(messages) == 1
    assert "breast_us_busbra/a0.jpg" in messages[0]


def test_a_pack_holds_the_same_examples(tmp_path):
    write_breast_set(tmp_path)
    read = list(read_examples(tmp_path))
    assert write_pack(tmp_path, tmp_path / "real.pack") == len(read)
    packed = read_pack(tmp_path / "real.pack")
    for first, other in zip(read, packed, strict=True):
        assert (first.source, first.group, first.facts) == (other.source, other.group, other.facts)
        assert [s.name for s in first.structures] == [s.name for s in other.structures]
        assert all((a.mask == b.mask).all() for a, b in zip(first.structures, other.structures))
        assert np.abs(first.image.astype(int) - other.image).mean() < 3


def _as_pack(path, index, image=None):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("index.json", index)
        if image is not None:
            archive.writestr("0.webp", image)
    return path


def test_what_is_no_pack_is_refused(tmp_path):
    entry = {"modality": "US", "source": "busbra", "facts": [], "structures": [], "group": "", "position": 0}
    file = io.BytesIO()
    Image.new("L", (20, 20)).save(file, "WEBP")
    (tmp_path / "text").write_text("no archive", encoding="utf-8")
    packs = [
        tmp_path / "text",
        _as_pack(tmp_path / "a", "[" * 100_000),
        _as_pack(tmp_path / "b", json.dumps([entry])),
        _as_pack(tmp_path / "c", json.dumps([entry]), file.getvalue()),
        _as_pack(tmp_path / "d", json.dumps([entry]), b"GIF89a"),
    ]
    for pack in packs:
        with pytest.raises(InputError, match="starter pack"):
            read_pack(pack)


def square(x0, y0, x1, y1):
    mask = np.zeros((SIZE, SIZE), bool)
    mask[y0:y1, x0:x1] = True
    return mask


BLANK = np.zeros((SIZE, SIZE), np.uint8)
BENIGN = Structure(LESION, square(20, 20, 60, 60), frozenset({"kind:benign"}))
UNNAMED = Structure(LESION, square(20, 20, 60, 60))
US = frozenset({"modality:US"})


def test_texts_match_do_not_match_or_are_unknown():
    examples = [
        describe(Example(BLANK, "US", "busbra", US, (BENIGN,))),
        describe(Example(BLANK, "US", "busbra", US, (UNNAMED,))),
        describe(Example(BLANK, "US", "busbra_free", US)),
    ]
    texts = [
        Text("breast tumor", US, frozenset()),
        Text("benign tumor", US, frozenset({"kind:benign"})),
        Text("malignant tumor", US, frozenset({"kind:malignant"})),
        Text("no tumor", US | {"lesions:0"}),
        Text("lungs", organ="lung"),
        Text("a dog", impossible=True),
    ]
    matches = match_texts(examples, texts)
    assert matches.match.tolist() == [
        [True, True, False, False, False, False],
        [True, False, False, False, False, False],
        [False, False, False, True, False, False],
    ]
    assert matches.unknown.tolist() == [[False] * 6, [False, True, True, False, False, False], [False] * 6]


def test_an_organ_that_nobody_outlined_is_unknown_not_absent():
    chest = describe(Example(BLANK, "XR", "covid_xray", frozenset({"modality:XR"}), (Structure("lungs", BLANK > 0),)))
    matches = match_texts([chest], [Text("heart", organ="heart"), Text("left lung", organ="left lung")])
    assert not matches.match.any()
    assert matches.unknown.tolist() == [[True, True]]


def test_a_text_of_two_structures_speaks_of_both():
    left, right = Structure("left lung", square(150, 50, 200, 200)), Structure("right lung", square(50, 50, 100, 200))
    chest = Example(BLANK, "XR", "phantom_xr", frozenset({"modality:XR"}), (left, right))
    matches = match_texts([chest], [Text("lungs", organ="lung"), Text("left lung", organ="left lung")])
    regions = [matches.regions[0][number] for number in matches.region[0]]
    assert regions == [(0, 1), (0,)]


def test_mirroring_exchanges_sides():
    lesion = Structure(LESION, square(0, 0, 40, 40), frozenset({"side:right", "kind:glioma"}))
    example = Example(BLANK, "MR", "phantom_mr", frozenset(), (lesion, Structure("left lung", square(200, 0, 256, 9))))
    mirrored = mirror(example)
    assert mirrored.structures[0].facts == {"side:left", "kind:glioma"}
    assert mirrored.structures[0].mask[10, 250]
    assert mirrored.structures[1].name == "right lung"
    assert mirrored.structures[1].mask[4, 10]


def test_boxes_lie_about_their_masks():
    masks = torch.from_numpy(np.stack([square(100, 60, 140, 100), square(60, 150, 110, 200), BLANK > 0]))
    boxes = torch.stack([draw_boxes(masks, make_generator(CPU, seed)) for seed in range(300)])
    middle = boxes[:, :2].mean(2).mean(0)
    assert torch.allclose(middle, torch.tensor([[120.0, 80.0], [85.0, 175.0]]), atol=3)
    around = (boxes[:, 0, 0] <= torch.tensor([114.0, 77.0])).all() and (
        boxes[:, 0, 1] >= torch.tensor([126.0, 83.0])
    ).all()
    assert around
    assert (boxes[:, 2] == torch.tensor([[0.0, 0.0], [256.0, 256.0]])).all()


def test_a_box_around_nothing_holds_next_to_nothing_and_asks_for_nothing():
    truth = torch.from_numpy(np.stack([square(100, 60, 140, 100)] * 400))
    prompts = draw_box_prompts(truth, truth, make_generator(CPU, 3))
    empty = ~prompts.truth.flatten(1).any(1)
    assert 0.12 < empty.float().mean() < 0.28
    for (corner, opposite), mask in zip(prompts.coords[empty], truth[empty]):
        (x0, y0), (x1, y1) = corner.int().tolist(), opposite.int().tolist()
        full = x1 - x0 > 230
        assert full or mask[y0:y1, x0:x1].float().mean() < 0.06


def test_clicks_lie_inside_and_beside():
    truth = torch.from_numpy(np.stack([square(100, 60, 140, 100)] * 100))
    prompts = draw_point_prompts(truth, 4, make_generator(CPU, 3))
    for point, label in zip(prompts.coords.flatten(0, 1), prompts.labels.flatten()):
        x, y = (int(value) for value in point)
        if label >= 0:
            assert bool(truth[0, y, x]) == bool(label == 1)
    assert {int(label) for label in prompts.labels.flatten()} == {-1, 0, 1}


def test_a_correction_is_clicked_where_the_mask_is_wrong():
    truth = torch.from_numpy(np.stack([square(0, 0, 128, 128)] * 3))
    logits = -torch.ones(3, 64, 64)
    logits[1, :32, :32] = 1  # right
    logits[2, :32, :] = 1  # too wide
    click = draw_corrections(logits, truth, make_generator(CPU, 1))
    assert click.labels[:, 0].tolist() == [1, -1, 0]
    x, y = click.coords[2, 0].tolist()
    assert x > 130
    assert y < 130


@pytest.fixture(scope="module")
def examples():
    return [from_phantom(phantom) for phantom in make_many("train", 16)]


def _weights(folder):
    return {name: value for path in folder.glob("*.safetensors") for name, value in load_file(path).items()}


def _train(model, folder, examples, resume=False, stop_after=None):
    """Train four steps; cancelled after `stop_after` reports."""
    reports = []
    context = RunContext(
        on_progress=lambda progress: reports.append(progress.done),
        is_cancelled=lambda: stop_after is not None and len(reports) >= stop_after,
    )
    run = TrainingRun(Budget(steps=4), CPU, folder / f"{model}.checkpoint", resume, context)
    if model == "clip":
        settings = ClipTraining(batch_size=2, texts=4, nowhere=2, warm_up=1)
        train_clip(folder / "model", examples, run, settings)
    else:
        settings = SamTraining(batch_size=1, prompts=2, clips=1, memory=0.5, warm_up=1)
        train_sam(folder / "model", examples, many_volumes("train", 2, 1), run, settings)


@pytest.mark.parametrize("model", ["clip", "sam"])
def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path, examples, model):
    full, stopped = tmp_path / "whole", tmp_path / "stopped"
    full.mkdir(), stopped.mkdir()
    _train(model, full, examples)
    with pytest.raises(Cancelled):
        _train(model, stopped, examples, stop_after=1)
    with pytest.raises(Cancelled):
        _train(model, stopped, examples, resume=True, stop_after=2)
    _train(model, stopped, examples, resume=True)
    expected, found = _weights(full / "model"), _weights(stopped / "model")
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    averages = torch.load(full / f"{model}.checkpoint", weights_only=True)["average"]
    assert all(torch.equal(averages[name].half(), expected[name]) for name in averages)


def test_a_checkpoint_of_another_run_is_refused(tmp_path, examples):
    with pytest.raises(Cancelled):
        _train("clip", tmp_path, examples, stop_after=1)
    run = TrainingRun(Budget(steps=9), CPU, tmp_path / "clip.checkpoint", True)
    with pytest.raises(ModelError, match="steps was .* and is 9"):
        train_clip(tmp_path / "model", examples, run, ClipTraining(batch_size=2, texts=4, nowhere=2, warm_up=1))


def test_a_new_training_forgets_the_checkpoint_before(tmp_path, examples):
    """One that ends before its first checkpoint is not resumed from that of another run."""
    path = tmp_path / "clip.checkpoint"
    path.write_bytes(b"of an earlier run")

    def interrupt(_notice: str) -> None:
        raise KeyboardInterrupt

    run = TrainingRun(Budget(steps=4), CPU, path, context=RunContext(on_notice=interrupt))
    with pytest.raises(KeyboardInterrupt):
        train_clip(tmp_path / "model", examples, run, ClipTraining(batch_size=2, texts=4, nowhere=2, warm_up=1))
    assert not path.exists()


@pytest.mark.parametrize("budget", [{"seconds": float("nan")}, {"seconds": 0}, {"steps": 0}, {}])
def test_a_budget_that_trains_nothing_is_refused(budget):
    with pytest.raises(InputError, match="number of steps or of seconds"):
        Budget(**budget)


def test_a_damaged_checkpoint_is_refused(tmp_path, examples):
    (tmp_path / "clip.checkpoint").write_bytes(b"no checkpoint")
    with pytest.raises(ModelError, match="damaged"):
        _train("clip", tmp_path, examples, resume=True)


def test_a_full_disk_is_said_and_the_last_checkpoint_stays(tmp_path, examples):
    with pytest.raises(Cancelled):
        _train("clip", tmp_path, examples, stop_after=1)
    path = tmp_path / "clip.checkpoint"
    before = path.read_bytes()
    with full_disk(1_000_000), pytest.raises(OutputError, match="cannot be written"):
        _train("clip", tmp_path, examples, resume=True, stop_after=1)
    assert path.read_bytes() == before


@pytest.mark.parametrize("stops", [False, True])
def test_weights_that_are_no_numbers_replace_no_checkpoint(tmp_path, stops):
    """At a step whose loss is not in the log."""
    steps = []
    run = TrainingRun(
        Budget(steps=4), CPU, tmp_path / "a.checkpoint", context=RunContext(is_cancelled=lambda: len(steps) == 4)
    )
    model = torch.nn.Linear(2, 1)
    trainee = Trainee(
        model, [], tmp_path / "weights.safetensors", {}, run if stops else replace(run, context=RunContext())
    )
    with pytest.raises(InputError, match="loss of 'first' is not a finite number"):
        for step, _, take in trainee.steps(Stage(0, "first", run.budget, 1e-3, 0.0, 1)):
            steps.append(step)
            take(model(torch.ones(1, 2)).sum() * (float("nan") if step == 3 else 1))
    assert not list(tmp_path.iterdir())
