"""The weights that a training leaves: LoRA merged, and the layouts of open_clip and Hugging Face."""

from __future__ import annotations

import json
import shutil
import warnings

import pytest
import torch

from MedCLIPSAMLib.errors import ModelError, OutputError
from MedCLIPSAMLib.finetune.publish import export_model, publish
from MedCLIPSAMLib.finetune.settings import FineTuneSettings
from MedCLIPSAMLib.finetune.train import FineTuned
from MedCLIPSAMLib.finetune.trainable import merge_lora, prepare
from MedCLIPSAMLib.models.acceleration.linear import with_fast_linear
from MedCLIPSAMLib.models.clip import load_clip
from MedCLIPSAMLib.models.own_towers import register_image_towers
from MedCLIPSAMLib.models.store import find, find_model_folder
from MedCLIPSAMLib.models.trained import ENTRY, WEIGHTS_FILE


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


def test_captions_longer_than_the_model_reads_are_cut_at_their_end():
    clip = load_clip("demo")
    tokens = clip.tokenize(["tumor " * 200, "brain tumor"], cut=True)
    assert tokens.shape == (2, clip.context_length) and tokens[0, -1] == tokens[1][tokens[1] != 0][-1]


def test_the_export_loads_in_open_clip_and_gives_the_same_features(tmp_path, monkeypatch):
    import open_clip

    register_image_towers()
    with warnings.catch_warnings(action="error"):  # a program may do so again
        register_image_towers()
    folder = export_model("demo", "open-clip", tmp_path / "exported")
    clip = load_clip("demo")
    monkeypatch.chdir(folder)  # the demo model's configuration names its BERT by "."
    other = open_clip.create_model(f"local-dir:{folder}", pretrained_text=False, pretrained_image=False).eval()
    pixels, tokens = torch.randn(2, 3, 128, 128), clip.tokenize(["brain tumor", "lungs"])
    other = with_fast_linear(other.requires_grad_(False))
    with torch.no_grad():
        assert torch.equal(other.encode_image(pixels), clip.model.encode_image(pixels))
        assert torch.equal(other.encode_text(tokens), clip.model.encode_text(tokens))
    with pytest.raises(OutputError, match="already exists"):
        export_model("demo", "open-clip", folder)
    with pytest.raises(ModelError, match="no names for"):
        export_model("demo", "hugging-face", tmp_path / "hf")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exported"]


def test_a_model_whose_maps_are_clipsegs_takes_its_files_along(tmp_path):
    folder = shutil.copytree(find_model_folder(find("demo", "clip")), tmp_path / "models" / "mine")
    about = dict.fromkeys(("title", "purpose", "license"), "mine") | {"name": "mine", "base": "demo", "image_size": 128}
    about |= {"saliency": {"layer": 3, "beta": 0.3, "steps": 10}, "by_word": {}, "map_by": "clipseg"}
    (folder / ENTRY).write_text(json.dumps(about), encoding="utf-8")
    (folder / "clipseg").mkdir()
    files = ("config.json", "model.safetensors", "vocab.json", "merges.txt")
    for file in files:
        (folder / "clipseg" / file).write_text(file, encoding="utf-8")
    exported = export_model("mine", "open-clip", tmp_path / "exported", tmp_path / "models")
    figures = {way: {"top1": {"mean": 0.5}} for way in ("image_to_text", "text_to_image")}
    trained = FineTuned(folder / WEIGHTS_FILE, figures, figures, 1, 1, 0)
    tuned = publish(trained, FineTuneSettings(base="mine"), "tuned", "captions.csv", tmp_path / "models")
    for out in (exported, tuned):
        assert {path.name: path.read_text() for path in (out / "clipseg").iterdir()} == {file: file for file in files}
