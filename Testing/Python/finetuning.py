"""What the tests of fine-tuning have in common: image-caption pairs, and a quick training on them."""

from __future__ import annotations

import json
import tarfile
from io import BytesIO

import numpy as np
import pytest
from helpers.datasets import write_caption_set
from PIL import Image

from MedCLIPSAMLib.finetune.batches import PairSource
from MedCLIPSAMLib.finetune.captions import Pair
from MedCLIPSAMLib.finetune.settings import FineTuneSettings
from MedCLIPSAMLib.finetune.train import fine_tune
from MedCLIPSAMLib.run_context import RunContext

QUICK = FineTuneSettings(base="demo", batch=4, epochs=2, learning_rate=3e-5, crop=0.9, patience=0)
LONG = "Axial MRI of the brain with a large mass"


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    """32 phantoms with captions, each of another patient."""
    return write_caption_set(tmp_path_factory.mktemp("captions"), 32)


@pytest.fixture(scope="module")
def pairs(captions):
    rows = [json.loads(line) for line in captions.read_text().splitlines()]
    return [Pair(captions.parent / row["image"], row["caption"], row["patient"]) for row in rows]


def train(pairs, out, settings=QUICK, **options):
    source = lambda part, crop: lambda size, rank=0, world=1: PairSource(part, size, settings.batch, crop)
    return fine_tune(source(pairs[:20], settings.min_crop), source(pairs[20:], 1.0), settings, out, "cpu", **options)


def stop_after(steps: int) -> RunContext:
    """Return a context that cancels a training after a number of steps."""
    done = []
    return RunContext(done.append, is_cancelled=lambda: len(done) >= steps)


@pytest.fixture(name="folder")
def image_folder(tmp_path):
    """Six images, each of another size."""
    for number in range(6):
        Image.fromarray(np.full((20 + number, 30, 3), 40 * number, np.uint8)).save(tmp_path / f"image{number}.png")
    return tmp_path


def png(shade: int = 0) -> bytes:
    image = BytesIO()
    Image.fromarray(np.full((24, 24), shade, np.uint8)).save(image, "PNG")
    return image.getvalue()


def write_shard(path, members, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, BytesIO(content))
    return path
