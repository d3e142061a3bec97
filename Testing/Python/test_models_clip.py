"""A text-image model as the rest of the program uses it: words in, images in, features out, and what is refused."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
import socket

import huggingface_hub
import numpy as np
import pytest
import torch
from helpers.clip_layouts import TEXTS, images, write_architecture
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms.v2 import functional as transforms
from transformers import AutoTokenizer

from MedCLIPSAMLib.errors import InputError, ModelError, PromptError
from MedCLIPSAMLib.models.clip import build_clip, load_clip


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_architecture(folder / "biomedclip")
    torch.manual_seed(4)
    save_file(build_clip(folder / "biomedclip").state_dict(), folder / "biomedclip" / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def clip(models_dir):
    return load_clip("biomedclip", models_dir=models_dir)


def test_nothing_is_asked_of_the_network(models_dir, monkeypatch):
    """Whether or not the program that loads the model has told the Hugging Face libraries to stay offline."""
    requested = []
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, lambda sock, address: requested.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *more, **options: requested.append(host))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    load_clip("biomedclip", models_dir=models_dir).encode_text(TEXTS)
    load_clip("demo").encode_text(TEXTS)
    assert not requested


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda clip: pickle.loads(pickle.dumps(clip))])
def test_a_copy_or_a_pickled_model_reads_texts_alike(clip, copied):
    again = copied(clip)
    assert torch.equal(again.encode_text(TEXTS), clip.encode_text(TEXTS))
    assert again.unknown_words("a qwxz! tumor") == ["qwxz!"]


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", lambda config: config | {"auto_map": {"AutoConfig": "x--y"}}, "custom code"),
        (
            "open_clip_config.json",
            lambda config: config | {"model_cfg": with_tower(config["model_cfg"], "hf-hub:x/y")},
            "hf-hub:x/y",
        ),
        (
            "open_clip_config.json",
            lambda config: config | {"model_cfg": with_tower(config["model_cfg"], "local-dir:/tmp")},
            "local-dir:/tmp",
        ),
    ],
)
def test_a_configuration_that_points_elsewhere_is_refused(tmp_path, monkeypatch, file, change, message):
    requested = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *more, **options: requested.append(host))
    folder = tmp_path / "biomedclip"
    write_architecture(folder)
    (folder / file).write_text(json.dumps(change(json.loads((folder / file).read_text()))))
    with pytest.raises(ModelError, match=message):
        build_clip(folder)
    assert not requested


def with_tower(model: dict, name: str) -> dict:
    return model | {"vision_cfg": model["vision_cfg"] | {"timm_model_name": name}}


def test_it_is_frozen_and_describes_itself(clip):
    assert clip.name == "biomedclip" and clip.image_size == 224 and clip.context_length == 16
    assert not clip.model.training and not any(parameter.requires_grad for parameter in clip.model.parameters())


def test_tokens_are_those_of_transformers_and_as_long_as_the_longest_text(clip, models_dir):
    tokens = clip.tokenize(TEXTS)
    reference = AutoTokenizer.from_pretrained(models_dir / "biomedclip")(
        TEXTS, padding=True, return_tensors="pt"
    ).input_ids
    assert tokens.dtype == torch.int64 and torch.equal(tokens, reference)
    assert tokens.shape == (2, 9)
    assert clip.tokenize(["Brain TUMORS"]).tolist() == [[2, 5, 6, 14, 3]], "lower case, and a word made of two pieces"


def test_padding_does_not_change_a_text(clip):
    assert torch.allclose(clip.encode_text(TEXTS)[0], clip.encode_text(TEXTS[:1])[0], atol=1e-6)


def test_a_prompt_over_the_limit_is_refused_with_limit_and_count(clip):
    assert clip.tokenize(["brain " * 14]).shape == (1, 16)
    with pytest.raises(PromptError, match="'brain brain.* has 17 tokens; 'biomedclip' takes at most 16"):
        clip.tokenize(["lungs", "brain " * 15])


def test_unknown_words_are_named(clip):
    assert clip.unknown_words("brain tumor") == []
    assert clip.unknown_words("Tumors, in the qwxz!") == ["qwxz!"]
    assert clip.unknown_words("qwxz ??? 漢") == ["qwxz", "???", "漢"]
    assert clip.unknown_words("qwxz-tumor") == []


def test_the_whole_image_is_resized_without_a_crop(clip):
    image = np.zeros((1, 300, 100, 3), np.uint8)
    image[:, :30] = 255
    pixels = clip.preprocess(image)
    assert pixels.shape == (1, 3, 224, 224) and pixels.dtype == torch.float32
    assert pixels[0, :, :20].min() > 1 and pixels[0, :, 30:].max() < -1


def test_images_are_resized_as_open_clip_resizes_and_normalized_with_its_numbers(clip):
    """open_clip resizes with Pillow, which rounds to 8 bits after each direction; ours does not: a gray level apart."""
    image = 80 + images()[:1] // 3
    pillow = transforms.to_dtype(
        transforms.to_image(Image.fromarray(image[0]).resize((224, 224), Image.Resampling.BICUBIC)),
        torch.float32,
        scale=True,
    )
    mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    difference = (clip.preprocess(image)[0] - transforms.normalize(pillow, mean, std)).abs()
    assert difference.max() < 1.5 / 255 / 0.26 and difference.mean() < 0.5 / 255 / 0.26


def test_images_of_another_form_are_refused(clip):
    for wrong in (np.zeros((4, 4, 3), np.uint8), np.zeros((1, 4, 4, 3), np.float32), np.zeros((1, 4, 4), np.uint8)):
        with pytest.raises(InputError, match="Expected images of uint8"):
            clip.preprocess(wrong)


def test_features_have_length_one(clip):
    for features in (clip.encode_text(TEXTS), clip.encode_image(clip.preprocess(images()))):
        assert features.dtype == torch.float32 and features.shape == (2, 64)
        assert torch.allclose(features.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("name", ["biomedclip", "demo", "starter"])
def test_no_texts_and_no_images_have_no_features(models_dir, name):
    clip = load_clip(name, models_dir=models_dir)
    width = clip.encode_text(TEXTS).shape[1]
    assert clip.encode_text([]).shape == (0, width) and len(clip.tokenize([])) == 0
    assert clip.encode_image(clip.preprocess(np.zeros((0, 30, 40, 3), np.uint8))).shape == (0, width)


def test_open_clips_own_bin_file_loads_too(models_dir, clip, tmp_path):
    write_architecture(tmp_path / "medclip-samv2")
    torch.save(clip.model.state_dict(), tmp_path / "medclip-samv2" / "pytorch_model.bin")
    assert torch.equal(load_clip("medclip-samv2", models_dir=tmp_path).encode_text(TEXTS), clip.encode_text(TEXTS))


def damaged(content):
    return lambda path: path.write_bytes(content(path.read_bytes()))


class RunsCode:
    def __reduce__(self):
        return print, ("this must not run",)


@pytest.mark.parametrize(
    "spoil, expected",
    [
        (damaged(lambda content: content[: len(content) // 2]), "damaged, or holds more than weights"),
        (damaged(lambda content: b""), "damaged, or holds more than weights"),
        (damaged(lambda content: b"<html>sign in</html>"), "damaged, or holds more than weights"),
        (lambda path: torch.save({"a": RunsCode()}, path), "damaged, or holds more than weights"),
        (lambda path: torch.save([1, 2], path), "Expected a table of weights"),
        (lambda path: torch.save({0: torch.zeros(2)}, path), "Expected a table of weights"),
        (lambda path: torch.save({"a": torch.eye(2).to_sparse()}, path), "Expected a table of weights"),
        (lambda path: torch.save({"a": torch.empty(2, device="meta")}, path), "Expected a table of weights"),
    ],
)
def test_a_file_that_is_no_table_of_weights_is_refused_and_nothing_in_it_is_run(
    clip, tmp_path, capsys, spoil, expected
):
    write_architecture(tmp_path / "medclip-samv2")
    path = tmp_path / "medclip-samv2" / "pytorch_model.bin"
    torch.save(clip.model.state_dict(), path)
    spoil(path)
    with pytest.raises(ModelError, match=expected):
        load_clip("medclip-samv2", models_dir=tmp_path)
    assert "must not run" not in capsys.readouterr().out


def test_images_of_another_size_than_the_tower_takes_are_refused(models_dir, tmp_path):
    folder = tmp_path / "biomedclip"
    shutil.copytree(models_dir / "biomedclip", folder)
    config = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))
    config["model_cfg"]["vision_cfg"]["image_size"] = 384
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelError, match="expected an image size of 224, got 384"):
        load_clip("biomedclip", models_dir=tmp_path)
