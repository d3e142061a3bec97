"""Models that bring their own way from a text to a map, and SAM 2 checkpoints of the user's own."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from MedCLIPSAMLib.errors import ModelError
from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.experiments.phantom_benchmark import TASKS, to_rgb
from MedCLIPSAMLib.models.sam import load_sam
from MedCLIPSAMLib.models.store import find, status
from MedCLIPSAMLib.models.trained import Training, write_trained
from MedCLIPSAMLib.resources import resource_path
from MedCLIPSAMLib.segmentation.locators import CosineMap, locator_of
from MedCLIPSAMLib.segmentation.segmenter import TextSegmenter, load_segmenter

ENTRY = {
    "title": "A model of one's own",
    "purpose": "Tests",
    "licence": "Apache-2.0",
    "base": "demo",
    "image_size": 128,
    "saliency": {"layer": 3},
    "by_word": {},
}


def own_clip(folder, map_by):
    """The demo CLIP as a model of the user's, whose maps are made in another way."""
    shutil.copytree(resource_path("models") / "demo-clip", folder / "mine")
    entry = ENTRY | {"name": "mine", "map_by": map_by}
    (folder / "mine" / "medclipsam.json").write_text(json.dumps(entry), encoding="utf-8")
    return folder / "mine"


class Disc:
    """A locator that finds a disc in the middle of everything but lungs."""

    def maps(self, images, prompts):
        disc = (np.hypot(*(np.mgrid[:32, :32] - 15.5)) < 6).astype(np.float32)
        return np.stack([[disc * ("lungs" not in prompt) for prompt in prompts] for _ in images])


def test_a_segmenter_outlines_what_a_locator_finds():
    demo = load_segmenter("demo", "demo", "cpu")
    segmenter = TextSegmenter(demo.clip, demo.sam, demo.settings, make_locator=lambda clip: Disc())
    task = TASKS["us_tumour"]
    segmenter.set_image(to_rgb(task.phantom("validation", 0)))
    demo.set_image(segmenter.images[0])
    found, plain = segmenter.segment(task.prompt), demo.segment(task.prompt)
    assert found.where.map.values.shape == (32, 32) and plain.where.map.values.shape == (16, 16)
    assert found.where.presence == pytest.approx(plain.where.presence) or (
        found.where.presence.probability == pytest.approx(plain.where.presence.probability, abs=1e-5)
    )
    disc = np.hypot(*(np.mgrid[:128, :128] - 63.5)) < 24
    assert dsc(found.coarse, disc) > 0.9
    x0, y0, x1, y1 = found.sam_prompts.boxes[0]
    assert abs(x0 - 40) < 3 and abs(y0 - 40) < 3 and abs(x1 - 88) < 3 and abs(y1 - 88) < 3
    less = segmenter.segment(task.prompt, negative="everything but lungs")
    assert less.coarse.any(), "what the negative prompt finds is subtracted"


def test_the_cosine_of_patch_and_text_by_hand(tmp_path):
    own_clip(tmp_path, "cosine")
    segmenter = load_segmenter("mine", "demo", "cpu", tmp_path)
    image = to_rgb(TASKS["us_tumour"].phantom("validation", 0))
    clip = segmenter.clip
    found = CosineMap(clip, tmp_path).maps([image], ["breast tumor", "lungs"])
    assert found.shape == (1, 2, 16, 16) and found.dtype == np.float32
    with torch.no_grad():
        tokens = clip.model.visual.trunk.forward_features(clip.preprocess(image[None]))[0]
        patch = clip.model.visual.head(clip.model.visual.trunk.fc_norm(tokens[16 * 5 + 7]))
    text = clip.model.encode_text(clip.tokenize(["lungs"]))[0]
    expected = float(patch @ text / patch.norm() / text.norm())
    assert found[0, 1, 5, 7] == pytest.approx(expected, abs=1e-5)
    segmenter.set_image(image)
    result = segmenter.segment("breast tumor")
    assert np.allclose(result.where.map.values, found[0, 0], atol=1e-5)


def test_clipseg_of_random_weights_gives_the_maps_of_its_own_class(tmp_path):
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, CLIPTokenizer

    own = own_clip(tmp_path, "clipseg") / "clipseg"
    with pytest.raises(ModelError, match="No CLIPSeg can be loaded"):
        load_segmenter("mine", "demo", "cpu", tmp_path)
    words = ["<|startoftext|>", "<|endoftext|>", *"abcdefghijklmnopqrstuvwxyz", *(f"{c}</w>" for c in "rstl")]
    own.mkdir()
    (own / "vocab.json").write_text(json.dumps({word: at for at, word in enumerate(words)}), encoding="utf-8")
    (own / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    tokenizer = CLIPTokenizer(str(own / "vocab.json"), str(own / "merges.txt"))
    tokenizer.save_pretrained(own)
    width = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    config = CLIPSegConfig(
        text_config=width | {"num_hidden_layers": 1, "vocab_size": len(tokenizer), "eos_token_id": 1},
        vision_config=width | {"num_hidden_layers": 3, "image_size": 64, "patch_size": 16},
        projection_dim=16,
        extract_layers=[0, 1],
        reduce_dim=8,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
    )
    torch.manual_seed(1)
    model = CLIPSegForImageSegmentation(config).eval()
    model.save_pretrained(own)
    segmenter = load_segmenter("mine", "demo", "cpu", tmp_path)
    image = to_rgb(TASKS["us_tumour"].phantom("validation", 0))
    segmenter.set_image(image)
    found = segmenter.locate(["breast tumor", "lungs"])[0]["lungs"][0].map.values
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    pixels = torch.nn.functional.interpolate(pixels, (64, 64), mode="bilinear", antialias=True)
    pixels = (pixels - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]
    with torch.no_grad():
        logits = model(pixel_values=pixels, **tokenizer(["lungs"], return_tensors="pt")).logits
    assert found.shape == (64, 64) and np.allclose(found, logits.reshape(64, 64).sigmoid().numpy(), atol=1e-5)
    assert np.ptp(found) > 0

    entry = own / "config.json"
    plain = json.loads(entry.read_text(encoding="utf-8"))
    entry.write_text(json.dumps(plain | {"quantization_config": {"quant_method": "x"}}), encoding="utf-8")
    with pytest.raises(ModelError, match="custom code by 'quantization_config'"):
        load_segmenter("mine", "demo", "cpu", tmp_path)
    entry.write_text(json.dumps(plain), encoding="utf-8")
    (own / "adapter_config.json").write_text('{"base_model_name_or_path": "/elsewhere"}', encoding="utf-8")
    with pytest.raises(ModelError, match="adapter_config.json would take weights"):
        load_segmenter("mine", "demo", "cpu", tmp_path)
    (own / "adapter_config.json").unlink()
    weights = load_file(own / "model.safetensors")
    del weights["decoder.film_mul.weight"]
    save_file(weights, own / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="the weights lack 'decoder.film_mul.weight'"):
        load_segmenter("mine", "demo", "cpu", tmp_path)


def test_a_model_trained_from_one_keeps_how_its_maps_are_made(tmp_path):
    own_clip(tmp_path, "cosine")
    training = Training("mine", "10 pairs", {}, {})
    write_trained(tmp_path, find("mine", "clip", tmp_path), "tuned", training, lambda folder: None)
    assert find("tuned", "clip", tmp_path).map_by == "cosine"


def test_a_way_that_is_not_known_is_refused(tmp_path):
    own_clip(tmp_path, "magic")
    with pytest.raises(ModelError, match="cosine, clipseg, got 'magic'"):
        locator_of("mine", tmp_path)
    assert locator_of("demo") is None


def test_a_sam_checkpoint_of_ones_own_is_an_entry_of_the_architecture_it_names(tmp_path):
    """In the layout of MedSAM2: {"model": weights} in a .pt, with the configuration of SAM 2 beside it."""
    shipped, own = resource_path("models") / "demo-sam", tmp_path / "medsam2"
    own.mkdir()
    shutil.copy(shipped / "sam2_demo.yaml", own / "sam2_own.yaml")
    weights = load_file(shipped / "model.safetensors")
    torch.save({"model": weights}, own / "MedSAM2_latest.pt")
    entry = {"kind": "sam", "name": "medsam2", "title": "MedSAM2", "purpose": "Medical images"}
    entry |= {"licence": "Apache-2.0", "base": "sam2.1-tiny", "image_size": 256}
    (own / "medclipsam.json").write_text(json.dumps(entry), encoding="utf-8")
    found = find("medsam2", "sam", tmp_path)
    assert (found.image_size, found.config) == (256, "configs/sam2.1/sam2.1_hiera_t.yaml")
    assert status(found, tmp_path).usable and not found.downloadable
    sam = load_sam("medsam2", "cpu", tmp_path)
    assert sam.name == "medsam2" and sam.image_size == 256
    assert torch.equal(sam.state_dict()["no_mem_embed"], weights["no_mem_embed"])
    (own / "medclipsam.json").write_text(json.dumps(entry | {"image_size": 250}), encoding="utf-8")
    with pytest.raises(ModelError, match="no SAM model 'medsam2'"):
        find("medsam2", "sam", tmp_path)


def test_sam_2_weights_of_meta_at_another_size_load_without_a_configuration_of_their_own(tmp_path):
    """As MedSAM2's: SAM 2.1 tiny at 512 pixels; here with random weights."""
    from importlib.resources import files
    from pathlib import Path

    from MedCLIPSAMLib.models.sam import build_sam

    tiny = find("sam2.1-tiny", "sam")
    own = tmp_path / "medsam2"
    own.mkdir()
    model = build_sam(Path(str(files("sam2").joinpath(tiny.config))), tiny.options)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, own / "weights.safetensors")
    entry = {"kind": "sam", "name": "medsam2", "title": "MedSAM2", "purpose": "Medical images"}
    entry |= {"licence": "Apache-2.0", "base": "sam2.1-tiny", "image_size": 512}
    (own / "medclipsam.json").write_text(json.dumps(entry), encoding="utf-8")
    assert load_sam("medsam2", "cpu", tmp_path).image_size == 512
