"""What the trial of losses is made of: its pairs, one training and one measurement of it, and its tables."""

from __future__ import annotations

from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from MedCLIPSAMLib.commands.reproduce import result_table, search_table
from MedCLIPSAMLib.experiments import reproduce_finetune as trial


def shown(table) -> str:
    console = Console(file=StringIO(), width=160)
    console.print(table)
    return console.file.getvalue()


def test_captions_are_true_statements_of_new_phantoms():
    picture, caption = trial.described_phantom("test", 3)
    assert picture.shape == (128, 128, 3) and picture.dtype == np.uint8 and caption.count(", ") >= 1
    again, same = trial.described_phantom("test", 3)
    assert caption == same and np.array_equal(picture, again)
    assert trial.described_phantom("train", 3)[1] != caption


def test_one_training_and_its_measurement(tmp_path):
    plan = trial.quick()
    rng = np.random.default_rng(0)
    for split, count in (("train", plan.pairs), ("validation", plan.validation), ("test", plan.test)):
        pictures = rng.integers(0, 255, (count, 128, 128, 3), dtype=np.uint8)
        captions = [f"brain tumor {number}" for number in range(count)]
        np.savez(tmp_path / f"{split}.npz", pictures=pictures, captions=captions)
    weights, found = trial._trained(plan, "dhn-nce", 0.6, 1, tmp_path, "one")
    assert weights.is_file() and 0 <= found <= 0.2
    figures = trial._measured(plan, weights, tmp_path)
    assert 0 <= figures["top1"] <= 0.2 and figures["by_task"].keys() == {
        "us_tumour",
        "mri_tumour",
        "xray_lungs",
        "ct_lungs",
        "ct_nodule",
    }


def test_the_tables_compare_seed_by_seed():
    row = lambda *tops: {
        "temperature": 0.6,
        "seeds": [
            {"top1": top, "image_to_text": top, "text_to_image": top, "coarse_dsc": 0.5, "dsc": 0.8} for top in tops
        ],
    }
    rows = {trial.BASE: row(0.1) | {"temperature": None}, "info-nce": row(0.2, 0.4), "dhn-nce": row(0.3, 0.5)}
    figures = {"plan": {"test": 100, "cases": 2, "seeds": [1, 2]}, "rows": rows}
    said = shown(result_table(figures))
    assert "+0.100 ± 0.000" in said and "0.300 ± 0.141" in said and "0.100 " in said
    assert "0.250" in shown(search_table({"search": {"dhn-nce": {0.6: 0.25}}}))


@pytest.mark.parametrize("loss", trial.LOSSES)
def test_every_loss_of_the_trial_exists(loss):
    from MedCLIPSAMLib.finetune.losses import LOSSES

    assert loss in LOSSES
