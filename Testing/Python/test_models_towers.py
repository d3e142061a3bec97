"""Our own image and text towers compute what open_clip, timm and transformers do of the same weights, bit by bit."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.clip_layouts import write_architecture
from open_clip.model import CustomTextCLIP

from MedCLIPSAMLib.errors import ModelError
from MedCLIPSAMLib.models.clip import build_clip
from MedCLIPSAMLib.models.image_text import ImageTextModel, VisualTower
from MedCLIPSAMLib.models.text_transformer import BertConfig, TextTower
from MedCLIPSAMLib.models.vision_transformer import PatchEmbed, VisionTransformer

OWN = {"timm_model_name": "medclipsam_demo_vit", "timm_pool": "avg"}
IDS = torch.tensor([[2, 5, 6, 3, 0, 0], [2, 7, 8, 9, 10, 3]])


def both(folder):
    """The model of a folder as ours and as open_clip's, with the same random weights, in evaluation mode."""
    config = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))["model_cfg"]
    text = config["text_cfg"] | {"hf_model_name": str(folder), "hf_model_pretrained": False}
    theirs = CustomTextCLIP(config["embed_dim"], config["vision_cfg"], text).eval()
    shape = theirs.visual.trunk
    patches = lambda side, width: PatchEmbed(side, shape.patch_embed.patch_size[0], width)
    heads = shape.blocks[0].attn.num_heads
    trunk = VisionTransformer(224, patches, shape.embed_dim, len(shape.blocks), heads, "token")
    bert = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kinds = config["text_cfg"]["hf_pooler_type"], config["text_cfg"]["hf_proj_type"]
    tower = TextTower(BertConfig.read(bert), config["embed_dim"], *kinds)
    ours = ImageTextModel(VisualTower(trunk, config["embed_dim"]), tower).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in theirs.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.fixture()
def folder(tmp_path):
    write_architecture(tmp_path / "biomedclip")
    return tmp_path / "biomedclip"


def change(folder, **entries):
    """Change entries of the two towers in open_clip_config.json."""
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for name, value in entries.items():
        config["model_cfg"]["vision_cfg" if name.startswith("timm") else "text_cfg"][name] = value
    path.write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.parametrize("pooler", ["cls_last_hidden_state_pooler", "mean_pooler"])
@pytest.mark.parametrize("projection", ["mlp", "linear"])
def test_texts_with_padding_have_the_same_features(folder, pooler, projection):
    change(folder, hf_pooler_type=pooler, hf_proj_type=projection)
    ours, theirs = both(folder)
    with torch.no_grad():
        assert torch.equal(ours.encode_text(IDS), theirs.encode_text(IDS))


def test_images_have_the_same_features(folder):
    ours, theirs = both(folder)
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(ours.encode_image(pixels), theirs.encode_image(pixels))


def test_gradients_are_the_same_and_padding_learns_nothing(folder):
    ours, theirs = both(folder)
    pixels = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    for model in (ours, theirs):
        (model.encode_text(IDS).sum() + model.encode_image(pixels).sum()).backward()
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        if name != "logit_scale":
            assert torch.allclose(parameter.grad, expected[name].grad, rtol=1e-4, atol=1e-5), name
    assert not ours.text.transformer.embeddings.word_embeddings.weight.grad[0].any()


def test_dropout_is_for_training_alone(folder):
    ours, _ = both(folder)
    with torch.no_grad():
        plain, again = ours.encode_text(IDS), ours.encode_text(IDS)
        ours.train()
        assert torch.equal(plain, again) and not torch.allclose(ours.encode_text(IDS), plain)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"timm_proj": "mlp"}, "image tower ends in"),
        ({"timm_pool": "map"}, "image tower ends in"),
        ({"hf_pooler_type": "max_pooler"}, "hf_pooler_type is 'max_pooler'"),
        ({"hf_proj_type": "none"}, "hf_proj_type is 'none'"),
    ],
    ids=str,
)
def test_other_ends_of_our_towers_are_refused_by_name(folder, entries, message):
    change(folder, **OWN | entries)
    with pytest.raises(ModelError, match=message):
        build_clip(folder)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"model_type": "roberta"}, "model_type 'bert', got 'roberta'"),
        ({"hidden_act": "relu"}, "hidden_act 'gelu', got 'relu'"),
        ({"num_attention_heads": 5}, "5 heads do not divide"),
        ({"vocab_size": 10**9}, "vocab_size is 1000000000"),
        ({"hidden_size": 1.5}, "hidden_size is 1.5"),
        ({"pad_token_id": 15}, "pad_token_id is 15"),
    ],
    ids=str,
)
def test_a_text_tower_that_cannot_be_is_refused(folder, entry, message):
    change(folder, **OWN)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | entry), encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        build_clip(folder)
