"""Retrieval in batches, against cases worked out by hand, and the command that measures it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from typer.testing import CliRunner

from MedCLIPSAMLib import cli
from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.finetune.batches import read_slice
from MedCLIPSAMLib.finetune.captions import Pair
from MedCLIPSAMLib.finetune.evaluate import features
from MedCLIPSAMLib.finetune.retrieval import retrieval, spread_of, top1
from MedCLIPSAMLib.models.clip import load_clip
from MedCLIPSAMLib.phantoms.captions import all_texts
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.volumes.write import write_png


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_right_pairs_are_found_and_random_ones_by_chance():
    same = unit(400, 64)
    figures = retrieval(same, same)
    assert top1(figures) == 1.0 and figures["batch"] == 50 and figures["chance"] == 0.02 and figures["seeds"] == 5
    random = retrieval(unit(2000, 64), unit(2000, 64, seed=1))
    assert random["image_to_text"]["top1"]["mean"] == pytest.approx(0.02, abs=0.01)
    assert random["image_to_text"]["top2"]["mean"] == pytest.approx(0.04, abs=0.015)


def test_both_directions_and_both_ranks_by_hand():
    """Images 0, 1, 2 against texts: image 2 is nearest to text 1, with its own text second."""
    images = torch.eye(3)
    texts = F.normalize(torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.8, 0.9], [0.0, 0.1, 0.7]]), dim=-1)
    texts[2] = F.normalize(torch.tensor([0.8, 0.0, 0.5]), dim=0)
    # cosines, rows images: [1, 0, .85], [0, .66, 0], [0, .75, .53]
    figures = retrieval(images, texts, batch=3, seeds=[0])
    assert figures["image_to_text"]["top1"]["mean"] == pytest.approx(2 / 3)
    assert figures["image_to_text"]["top2"]["mean"] == 1.0
    assert figures["text_to_image"]["top1"]["mean"] == pytest.approx(1 / 3)
    assert figures["text_to_image"]["top2"]["mean"] == 1.0


def test_equal_captions_in_a_batch_both_count():
    images, texts = torch.eye(4), torch.eye(4)[[1, 0, 2, 3]]
    assert top1(retrieval(images, texts, ["a", "b", "c", "d"])) == 0.5
    assert top1(retrieval(images, texts, ["a", "a", "c", "d"])) == 1.0


def test_every_caption_of_an_image_is_right():
    """Image 0 has captions a and b, image 1 has b and c: each image finds the other pair's text first."""
    images = torch.eye(2)[[0, 0, 1, 1]]
    captions, names = ["a", "b", "b", "c"], ["0", "0", "1", "1"]
    texts = F.normalize(torch.tensor([[0.5, 0.0, 0.8], [0.9, 0.4, 0.0], [0.8, 0.6, 0.0], [0.3, 0.5, 0.8]]), dim=-1)
    # cosines: image 0 [.53, .91, .80, .30], image 1 [0, .41, .60, .51]; right: 0 a b b, 1 b b c
    figures = retrieval(torch.nn.functional.pad(images, (0, 1)), texts, captions, names, batch=4, seeds=[0])
    assert figures["image_to_text"]["top1"]["mean"] == figures["text_to_image"]["top1"]["mean"] == 1.0
    assert figures["chance"] == 12 / 16
    alone = retrieval(torch.nn.functional.pad(images, (0, 1)), texts, batch=4, seeds=[0])
    # of their own, image 0 finds b for both its pairs, image 1 b for both; ties between equal images go to the first
    assert alone["image_to_text"]["top1"]["mean"] == 0.5 and alone["chance"] == 0.25


def test_the_interval_is_students_of_the_mean_over_seeds():
    noisy = F.normalize(unit(300, 16) + 2.0 * unit(300, 16, seed=2), dim=-1)
    figure = retrieval(unit(300, 16), noisy, seeds=range(5))["image_to_text"]["top1"]
    assert len(set(figure["by_seed"])) > 1
    expected = 2.776 * np.std(figure["by_seed"], ddof=1) / 5**0.5  # t for 4 degrees of freedom
    assert figure["interval"] == pytest.approx(expected, rel=1e-3)


def test_what_is_left_over_of_a_shuffle_is_left_out_and_a_pair_is_too_few():
    assert retrieval(unit(30, 8), unit(30, 8))["batch"] == 30
    with pytest.raises(InputError, match="two pairs"):
        retrieval(unit(1, 8), unit(1, 8))


def test_the_spread_is_that_of_the_texts_around_each_image():
    images = torch.eye(2)
    texts = F.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), dim=-1)
    assert spread_of(images, texts) == pytest.approx(np.std([1, 0, 0.5**0.5], ddof=1))


def test_the_command_compares_models(tmp_path):
    rows, captions = [], sorted({text.text for text in all_texts() if len(text.text) > 30})
    for number in range(12):
        phantom = make_phantom("validation", number)
        write_png(tmp_path / f"{number}.png", np.repeat(phantom.image[..., None], 3, 2))
        rows.append({"image": f"{number}.png", "caption": captions[number]})
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, rows)))
    said = CliRunner().invoke(
        cli.app, ["retrieval", str(tmp_path / "c.jsonl"), "-m", "demo", "--device", "cpu", "--json"]
    )
    assert not said.exit_code and said.stderr.startswith("12 pairs.")
    figures = json.loads(said.stdout)["demo"]
    assert figures["pairs"] == figures["batch"] == 12
    clip = load_clip("demo")
    images = clip.encode_image(clip.preprocess(np.stack([read_slice(tmp_path / row["image"]) for row in rows])))
    similar = images @ clip.encode_text([row["caption"] for row in rows]).T
    expected = (similar.argmax(1) == torch.arange(12)).float().mean().item()
    assert figures["image_to_text"]["top1"]["mean"] == pytest.approx(expected, abs=1e-6)


def test_images_and_captions_of_several_pairs_have_their_own_features(tmp_path):
    for number in range(2):
        phantom = make_phantom("validation", number)
        write_png(tmp_path / f"{number}.png", np.repeat(phantom.image[..., None], 3, 2))
    named = [(0, "a brain tumor"), (0, "two lungs"), (1, "a brain tumor")]
    pairs = [Pair(tmp_path / f"{number}.png", caption, "") for number, caption in named]
    clip = load_clip("demo")
    for together, alone in zip(features(clip, pairs), zip(*(features(clip, [pair]) for pair in pairs))):
        assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_a_table_whose_images_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    (tmp_path / "c.csv").write_text("image,caption\na.png,breast ultrasound of a tumor\n", encoding="utf-8")
    done = CliRunner().invoke(cli.app, ["retrieval", str(tmp_path / "c.csv"), "-m", "demo", "--device", "cpu"])
    assert isinstance(done.exception, InputError) and "at least two pairs" in str(done.exception)
