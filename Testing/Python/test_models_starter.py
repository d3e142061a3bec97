"""The starter models: their architecture, and an image through both, where their weights are at hand."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.models.catalogue import MODELS
from MedCLIPSAMLib.models.clip import build_clip
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.resources import resource_path
from MedCLIPSAMLib.segmentation.agreement import AgreementSettings
from MedCLIPSAMLib.segmentation.segmenter import load_segmenter
from MedCLIPSAMLib.segmentation.settings import default_settings
from MedCLIPSAMLib.segmentation.vision_tower import VisionTower

WEIGHTS = Path(
    os.environ.get("MEDCLIPSAM_STARTER", Path(__file__).resolve().parents[3] / "shared" / "starter" / "models")
)
needs_weights = pytest.mark.skipif(not (WEIGHTS / "starter-clip").is_dir(), reason=f"no starter models in {WEIGHTS}")


@pytest.fixture()
def clip_folder(tmp_path):
    """The demo CLIP's folder with the starter's tower in its configuration."""
    folder = tmp_path / "starter-clip"
    shutil.copytree(resource_path("models") / "demo-clip", folder, ignore=shutil.ignore_patterns("*.safetensors"))
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["model_cfg"]["vision_cfg"] |= {"timm_model_name": "medclipsam_starter_vit", "image_size": 224}
    path.write_text(json.dumps(config), encoding="utf-8")
    return folder


def test_the_tower_sees_patches_of_eight_pixels_in_reading_order(clip_folder):
    """A bright pixel changes the tokens whose receptive field has it, and no others."""
    tower = VisionTower(build_clip(clip_folder).visual)
    assert (tower.depth, tower.grid, tower.prefix) == (8, (28, 28), 0)
    stem = tower.trunk.patch_embed.proj
    for layer in stem:
        if isinstance(layer, torch.nn.GroupNorm):  # which spreads a change over the image
            layer.forward = lambda values: values
    dark, bright = torch.zeros(2, 1, 3, 224, 224)
    bright[..., 8 * 5 + 4, 8 * 20 + 4] = 1
    with torch.no_grad():
        changed = (tower.trunk.patch_embed(bright) - tower.trunk.patch_embed(dark)).abs().amax(2).reshape(28, 28)
    rows, columns = np.nonzero(changed.numpy() > 1e-9)
    assert set(zip(rows, columns)) == {(5, 20), (5, 21), (6, 20), (6, 21)}, "pixel 44 -> 22 -> 11 -> 5 and 6"


def test_its_settings_are_those_that_were_chosen_on_validation_images():
    """The same for every prompt; see docs/results/real.md."""
    settings = default_settings("starter")
    for prompt in ("brain tumor", "lungs", "left lung", "lung nodule", "fetal head"):
        m2ib = settings.saliency_for(prompt)
        assert (m2ib.layer, m2ib.beta, m2ib.candidates, m2ib.mirror) == (7, 0.3, range(8, 13), False)
    assert settings.prompts.margin == 0.2 and settings.prompts.kind == "boxes"
    assert settings.agreement == AgreementSettings(min_iou=0.15, min_iou_in_doubt=0.4, certain=0.9)
    assert settings.presence_threshold == 0.5


@needs_weights
def test_an_image_is_segmented_from_the_command_line(tmp_path, run):
    phantom = make_phantom("test", 0, "US", 1)
    Image.fromarray(phantom.image).save(tmp_path / "us.png")
    models = ("--model", "starter", "--sam", "starter", "--models-dir", WEIGHTS, "--device", "cpu")
    code, _, err = run("segment", tmp_path / "us.png", "-p", "breast tumor", *models, "-o", tmp_path / "mask.png")
    assert code == 0, err
    assert dsc(np.asarray(Image.open(tmp_path / "mask.png")) > 0, phantom.lesion_mask) > 0.7


def test_the_shipped_models_are_the_default_and_small_and_say_what_they_saw():
    shipped = resource_path("models")
    weights = [*shipped.glob("starter-*/*model.safetensors")]
    assert len(weights) == 2
    assert sum(path.stat().st_size for path in weights) < 40e6
    for name in ("starter-clip", "starter-sam"):
        card = (shipped / name / "DATA-CARD.md").read_text(encoding="utf-8")
        assert "BUS-BRA" in card and "not for diagnosis" in card
    assert all(model.tested and model.seen for model in MODELS if model.name == "starter")
    ours = {name: value for name, value in os.environ.items() if name not in ("MEDCLIPSAM_MODEL", "MEDCLIPSAM_SAM")}
    program = "from MedCLIPSAMLib.choices import DEFAULT_MODEL, DEFAULT_SAM; print(DEFAULT_MODEL, DEFAULT_SAM)"
    named = ours | {"MEDCLIPSAM_MODEL": "biomedclip"}
    for environment, expected in ((ours, "starter starter"), (named, "biomedclip starter")):
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, encoding="utf-8")
        assert done.stdout.strip() == expected


@pytest.mark.parametrize(("name", "prompt"), [("breast_us.png", "breast tumor"), ("chest_xray.png", "lungs")])
def test_the_shipped_models_outline_what_a_sample_shows(name, prompt):
    image = np.asarray(Image.open(resource_path("samples") / name).convert("RGB"))
    truth = np.asarray(Image.open(resource_path("samples") / name.replace(".png", "_truth.png")).convert("L")) > 0
    segmenter = load_segmenter("starter", "starter", "cpu")
    segmenter.set_image(image)
    assert dsc(segmenter.segment(prompt).mask, truth) > 0.6
    assert not segmenter.segment("a dog in the park").found
