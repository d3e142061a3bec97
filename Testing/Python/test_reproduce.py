"""What the trial of losses is made of: its pairs, one training and one measurement of it, and its tables."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from MedCLIPSAMLib.commands.reproduce import result_table, search_table
from MedCLIPSAMLib.experiments import reproduce_finetune as trial
from MedCLIPSAMLib.models.clip import load_clip
from MedCLIPSAMLib.phantoms.captions import all_texts


def shown(table) -> str:
    console = Console(file=StringIO(), width=160)
    console.print(table)
    return console.file.getvalue()


def test_captions_are_true_statements_of_new_phantoms():
    image, caption = trial.draw_described_phantom("test", 3)
    assert image.shape == (128, 128, 3) and image.dtype == np.uint8 and caption.count(", ") >= 1
    again, same = trial.draw_described_phantom("test", 3)
    assert caption == same and np.array_equal(image, again)
    assert trial.draw_described_phantom("train", 3)[1] != caption


def top1_by_hand(images: np.ndarray, captions: list[str], weights: Path) -> float:
    """Share of images that are nearest to their caption, and of captions to their image, under some weights."""
    clip = load_clip("demo")
    clip.model.load_state_dict(load_file(weights))
    similar = clip.encode_image(clip.preprocess(images)) @ clip.encode_text(captions).T
    right = torch.arange(len(captions))
    return ((similar.argmax(1) == right).float().mean() + (similar.argmax(0) == right).float().mean()).item() / 2


def test_one_training_and_its_measurement(tmp_path):
    plan, texts = trial.quick(), list(dict.fromkeys(text.text for text in all_texts()))
    rng, data = np.random.default_rng(0), {}
    for split, count in (("train", plan.pairs), ("validation", plan.validation), ("test", plan.test)):
        images = rng.integers(0, 255, (count, 128, 128, 3), dtype=np.uint8)
        data[split] = images, rng.choice(texts, count, replace=False).tolist()
        np.savez(tmp_path / f"{split}.npz", images=images, captions=data[split][1])
    weights, found = trial._train(plan, "dhn-nce", 0.6, 1, tmp_path, "one")
    figures = trial._measure(plan, weights, tmp_path)
    assert found == pytest.approx(top1_by_hand(*data["validation"], weights), abs=0.011)  # bfloat16: half a pair of 50
    assert figures["top1"] == pytest.approx(top1_by_hand(*data["test"], weights), abs=1e-6)
    assert figures["by_task"].keys() == {"us_tumour", "mri_tumour", "xray_lungs", "ct_lungs", "ct_nodule"}


def test_the_tables_compare_seed_by_seed():
    row = lambda *tops: {
        "temperature": 0.6,
        "seeds": [
            {"top1": top, "image_to_text": top, "text_to_image": top, "coarse_dsc": 0.5, "dsc": 0.8} for top in tops
        ],
    }
    rows = {trial.BASE: row(0.1) | {"temperature": None}, "info-nce": row(0.2, 0.4), "dhn-nce": row(0.3, 0.5)}
    figures = {"plan": {"test": 100, "cases": 2, "seeds": [1, 2]}, "rows": rows}
    output = shown(result_table(figures))
    assert "+0.100 ± 0.000" in output and "0.300 ± 0.141" in output and "0.100 " in output
    assert "0.250" in shown(search_table({"search": {"dhn-nce": {0.6: 0.25}}}))
