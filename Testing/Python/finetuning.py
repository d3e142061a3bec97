"""What the tests of fine-tuning have in common: image-caption pairs, and a quick training on them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from MedCLIPSAMLib.finetune.batches import PairSource
from MedCLIPSAMLib.finetune.captions import Pair
from MedCLIPSAMLib.finetune.settings import FineTuneSettings
from MedCLIPSAMLib.finetune.train import fine_tune
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.volumes.write import write_png

NAMES = {"US": "breast ultrasound", "MR": "brain MRI", "XR": "chest X-ray", "CT": "chest CT"}
QUICK = FineTuneSettings(base="demo", batch=4, epochs=2, learning_rate=3e-5, crop=0.9, patience=0)


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    """32 phantoms with captions, each of another patient."""
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
