"""Models that bring their own way from a text to a map, and SAM 2 checkpoints of the user's own."""

from __future__ import annotations

import json
import re
import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from MedCLIPSAMLib.errors import ModelError
from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.experiments.phantom_benchmark import TASKS, to_rgb
from MedCLIPSAMLib.models.clip import load_clip
from MedCLIPSAMLib.models.sam import build_sam, load_sam
from MedCLIPSAMLib.models.store import find, status
from MedCLIPSAMLib.models.trained import MAPS_BY, Training, write_trained
from MedCLIPSAMLib.resources import resource_path
from MedCLIPSAMLib.segmentation.locators import LOCATORS, ClipSeg, CosineMap, find_locator
from MedCLIPSAMLib.segmentation.segmenter import TextSegmenter, load_segmenter

ROOT = Path(__file__).resolve().parents[2]
ENTRY = {
    "title": "A model of one's own",
    "purpose": "Tests",
    "license": "Apache-2.0",
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
    with pytest.raises(ModelError, match="lacks clipseg/config.json"):
        load_segmenter("mine", "demo", "cpu", tmp_path)
    with pytest.raises(ModelError, match="it lacks config.json, model.safetensors, tokenizer.json or vocab.json. Put"):
        ClipSeg(load_clip("demo", "cpu"), own.parent)
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
    preprocessing = {"size": {"height": 96, "width": 96}, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
    (own / "preprocessor_config.json").write_text(json.dumps(preprocessing), encoding="utf-8")
    segmenter = load_segmenter("mine", "demo", "cpu", tmp_path)
    image = to_rgb(TASKS["us_tumour"].phantom("validation", 0))
    segmenter.set_image(image)
    found = segmenter.locate(["breast tumor", "lungs"])[0]["lungs"][0].map.values
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    pixels = torch.nn.functional.interpolate(pixels, (96, 96), mode="bilinear", antialias=True)
    pixels = (pixels - torch.tensor([0.4, 0.5, 0.6])[:, None, None]) / torch.tensor([0.2, 0.3, 0.4])[:, None, None]
    with torch.no_grad():
        logits = model(pixel_values=pixels, **tokenizer(["lungs"], return_tensors="pt")).logits
    assert found.shape == (96, 96) and np.allclose(found, logits.reshape(96, 96).sigmoid().numpy(), atol=1e-5)
    assert np.ptp(found) > 0
    (own / "preprocessor_config.json").write_text('{"size": [96]}', encoding="utf-8")
    with pytest.raises(ModelError, match="size is \\[96\\]"):
        load_segmenter("mine", "demo", "cpu", tmp_path)
    (own / "preprocessor_config.json").write_text('{"image_std": [1, 0, 1]}', encoding="utf-8")
    with pytest.raises(ModelError, match="image_std is \\[1, 0, 1\\]"):
        load_segmenter("mine", "demo", "cpu", tmp_path)
    (own / "preprocessor_config.json").unlink()
    assert ClipSeg(load_clip("demo", "cpu"), own.parent).maps([image], ["lungs"]).shape == (1, 1, 352, 352)

    entry = own / "config.json"
    plain = json.loads(entry.read_text(encoding="utf-8"))
    entry.write_text(json.dumps(plain | {"quantization_config": {"quant_method": "x"}}), encoding="utf-8")
    with pytest.raises(ModelError, match="custom code in 'quantization_config'"):
        load_segmenter("mine", "demo", "cpu", tmp_path)
    entry.write_text(json.dumps(plain), encoding="utf-8")
    (own / "adapter_config.json").write_text('{"base_model_name_or_path": "/elsewhere"}', encoding="utf-8")
    with pytest.raises(ModelError, match="adapter_config.json would take weights"):
        load_segmenter("mine", "demo", "cpu", tmp_path)
    (own / "adapter_config.json").unlink()
    weights = load_file(own / "model.safetensors")
    broken = weights | {"decoder.film_mul.bias": weights["decoder.film_mul.bias"] * torch.nan}
    save_file(broken, own / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="weights are NaN or infinite: 'decoder.film_mul.bias'"):
        load_segmenter("mine", "demo", "cpu", tmp_path)
    del weights["decoder.film_mul.weight"]
    save_file(weights, own / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="the weights lack 'decoder.film_mul.weight'"):
        load_segmenter("mine", "demo", "cpu", tmp_path)


def test_a_model_trained_from_one_keeps_how_its_maps_are_made(tmp_path):
    own_clip(tmp_path, "cosine")
    training = Training("mine", "10 pairs", {}, {})
    write_trained(tmp_path, find("mine", "clip", tmp_path), "tuned", training, lambda folder: None)
    assert find("tuned", "clip", tmp_path).map_by == "cosine"


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"map_by": "magic"}, "expected a map_by of m2ib, cosine, clipseg, got 'magic'"),
        ({"image_size": None, "by_word": None}, "it lacks image_size, by_word"),
        ({"saliency": [3]}, "expected an object of settings, got [3]"),
        ({"saliency": {"layr": 3}}, "(layer, beta, steps, samples, earliest, mirror, finer), got 'layr'"),
        ({"name": "other"}, "it names the model 'other', but its folder is 'mine'"),
        ({"kind": "sam", "base": "sam3"}, "There is no SAM model 'sam3'"),
    ],
    ids=["map_by", "lacking", "no object", "setting", "name", "base"],
)
def test_an_entry_that_cannot_be_used_is_told_with_the_reason_on_use_and_in_the_list(tmp_path, run, change, reason):
    folder = own_clip(tmp_path, "m2ib")
    entry = json.loads((folder / "medclipsam.json").read_text(encoding="utf-8")) | change
    entry = {name: value for name, value in entry.items() if value is not None}
    (folder / "medclipsam.json").write_text(json.dumps(entry), encoding="utf-8")
    kind = entry.get("kind", "clip")
    with pytest.raises(ModelError, match=re.escape(reason)) as refused:
        find("mine", kind, tmp_path)
    assert str(folder / "medclipsam.json") in refused.value.problem and "docs/models.md" in refused.value.remedy
    code, output, _ = run("models", "list", "--models-dir", tmp_path, "--json")
    (listed,) = (model for model in json.loads(output) if model["name"] == "mine")
    assert code == 0 and listed["kind"] == kind and not listed["usable"] and reason in listed["detail"]
    assert find("demo", "clip", tmp_path).shipped, "the other models are there"


def test_the_entry_on_the_page_about_models_works(tmp_path):
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    name = json.loads(example)["name"]
    own_clip(tmp_path, "m2ib").rename(tmp_path / name)
    (tmp_path / name / "medclipsam.json").write_text(example, encoding="utf-8")
    segmenter = load_segmenter(name, "demo", "cpu", tmp_path)
    assert segmenter.settings.prompts.margin == 0.2
    assert segmenter.settings.saliency_for("breast tumor").steps == 10 and segmenter.settings.saliency.steps == 15
    segmenter.set_image(to_rgb(TASKS["us_tumour"].phantom("validation", 0)))
    assert segmenter.segment("breast tumor").found


def test_every_locator_can_be_named_in_an_entry():
    assert set(MAPS_BY) == {"m2ib", *LOCATORS} and find_locator("demo") is None


def test_a_file_that_a_model_of_ones_own_lacks_is_copied_from_where_it_comes_from(tmp_path):
    (own_clip(tmp_path, "m2ib") / "vocab.txt").unlink()
    with pytest.raises(ModelError, match="lacks vocab.txt") as refused:
        load_segmenter("mine", "demo", "cpu", tmp_path)
    assert refused.value.remedy.startswith("Copy what it lacks from the source of the model (demo)")


def test_a_sam_checkpoint_of_ones_own_is_an_entry_of_the_architecture_it_names(tmp_path):
    """In the layout of MedSAM2: {"model": weights} in a .pt, with the configuration of SAM 2 beside it."""
    shipped, own = resource_path("models") / "demo-sam", tmp_path / "medsam2"
    own.mkdir()
    shutil.copy(shipped / "sam2_demo.yaml", own / "sam2_own.yaml")
    weights = load_file(shipped / "model.safetensors")
    torch.save({"model": weights}, own / "MedSAM2_latest.pt")
    entry = {"kind": "sam", "name": "medsam2", "title": "MedSAM2", "purpose": "Medical images"}
    entry |= {"license": "Apache-2.0", "base": "sam2.1-tiny", "image_size": 256}
    (own / "medclipsam.json").write_text(json.dumps(entry), encoding="utf-8")
    found = find("medsam2", "sam", tmp_path)
    assert (found.image_size, found.config) == (256, "configs/sam2.1/sam2.1_hiera_t.yaml")
    assert status(found, tmp_path).usable and not found.downloadable
    sam = load_sam("medsam2", "cpu", tmp_path)
    assert sam.name == "medsam2" and sam.image_size == 256
    assert torch.equal(sam.state_dict()["no_mem_embed"], weights["no_mem_embed"])
    (own / "medclipsam.json").write_text(json.dumps(entry | {"image_size": 250}), encoding="utf-8")
    with pytest.raises(ModelError, match="expected a multiple of 32 up to 4096 as image_size, got 250"):
        find("medsam2", "sam", tmp_path)


def test_sam_2_weights_of_meta_at_another_size_load_without_a_configuration_of_their_own(tmp_path):
    """As MedSAM2's: SAM 2.1 tiny at 512 pixels; here with random weights."""
    tiny = find("sam2.1-tiny", "sam")
    own = tmp_path / "medsam2"
    own.mkdir()
    model = build_sam(Path(str(files("sam2").joinpath(tiny.config))), tiny.options)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, own / "weights.safetensors")
    entry = {"kind": "sam", "name": "medsam2", "title": "MedSAM2", "purpose": "Medical images"}
    entry |= {"license": "Apache-2.0", "base": "sam2.1-tiny", "image_size": 512}
    (own / "medclipsam.json").write_text(json.dumps(entry), encoding="utf-8")
    assert load_sam("medsam2", "cpu", tmp_path).image_size == 512
