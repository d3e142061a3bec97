"""BiomedCLIP in open_clip's layout and in the Hugging Face layout is the same model."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.clip_layouts import HEADS, TEXT_HEADS, TEXTS, images, write_architecture
from safetensors.torch import load_file, save_file

from MedCLIPSAMLib.errors import ModelError
from MedCLIPSAMLib.finetune.publish import export_model
from MedCLIPSAMLib.models.clip import build_clip, load_clip
from MedCLIPSAMLib.models.layouts import is_hugging_face, set_layer_norm_epsilon, to_hugging_face, to_open_clip


@pytest.fixture(scope="module")
def model_folders(tmp_path_factory):
    """Models where 'biomedclip' is in open_clip's layout and 'medclip-samv2' holds the same numbers in the other."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("biomedclip", "medclip-samv2"):
        write_architecture(folder / name)
    model = build_clip(folder / "biomedclip")
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0, 0.1, generator=generator)
            if "norm" in name.lower() and name.endswith("weight"):
                parameter.add_(1)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "biomedclip" / "open_clip_model.safetensors")
    torch.save(to_hugging_face(state), folder / "medclip-samv2" / "pytorch_model.bin")
    return folder


def attention(x, state, prefix, heads):
    n, tokens, width = x.shape
    q, k, v = (
        F.linear(x, state[f"{prefix}.{part}_proj.weight"], state[f"{prefix}.{part}_proj.bias"])
        .view(n, tokens, heads, -1)
        .transpose(1, 2)
        for part in "qkv"
    )
    mixed = (q @ k.transpose(2, 3) / math.sqrt(width // heads)).softmax(-1) @ v
    return F.linear(
        mixed.transpose(1, 2).reshape(n, tokens, width),
        state[f"{prefix}.out_proj.weight"],
        state[f"{prefix}.out_proj.bias"],
    )


def mlp(x, state, prefix):
    hidden = F.gelu(F.linear(x, state[f"{prefix}.fc1.weight"], state[f"{prefix}.fc1.bias"]))
    return F.linear(hidden, state[f"{prefix}.fc2.weight"], state[f"{prefix}.fc2.bias"])


def norm(x, state, name, eps):
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)


def image_by_hand(state, pixels):
    """The image tower as its authors define it: pre-norm blocks, the class token's last norm, a projection."""
    patches = F.conv2d(
        pixels,
        state["vision_model.embeddings.patch_embedding.weight"],
        state["vision_model.embeddings.patch_embedding.bias"],
        stride=16,
    )
    token = state["vision_model.embeddings.class_embedding"].expand(len(pixels), 1, -1)
    x = (
        torch.cat([token, patches.flatten(2).transpose(1, 2)], 1)
        + state["vision_model.embeddings.position_embedding.weight"]
    )
    for layer in range(12):
        name = f"vision_model.encoder.layers.{layer}"
        x = x + attention(norm(x, state, f"{name}.layer_norm1", 1e-12), state, f"{name}.self_attn", HEADS)
        x = x + mlp(norm(x, state, f"{name}.layer_norm2", 1e-12), state, f"{name}.mlp")
    return F.normalize(
        F.linear(norm(x[:, 0], state, "vision_model.post_layernorm", 1e-12), state["visual_projection.weight"]), dim=-1
    )


def text_by_hand(state, tokens):
    """The text tower as its authors define it: post-norm layers, the first token, a projection through GELU."""
    embeddings = "text_model.embeddings"
    x = (
        F.embedding(tokens, state[f"{embeddings}.token_embedding.weight"])
        + state[f"{embeddings}.token_type_embedding.weight"][0]
    )
    x = norm(
        x + state[f"{embeddings}.position_embedding.weight"][: tokens.shape[1]],
        state,
        f"{embeddings}.layer_norm",
        1e-12,
    )
    for layer in range(2):
        name = f"text_model.encoder.layers.{layer}"
        x = norm(x + attention(x, state, f"{name}.self_attn", TEXT_HEADS), state, f"{name}.layer_norm1", 1e-12)
        x = norm(x + mlp(x, state, f"{name}.mlp"), state, f"{name}.layer_norm2", 1e-12)
    return F.normalize(
        F.linear(F.gelu(F.linear(x[:, 0], state["text_projection.fc1.weight"])), state["text_projection.fc2.weight"]),
        dim=-1,
    )


def test_the_hugging_face_layout_means_what_its_authors_mean(model_folders):
    clip = load_clip("medclip-samv2", models_dir=model_folders)
    state = torch.load(model_folders / "medclip-samv2" / "pytorch_model.bin", weights_only=True)
    pixels = clip.preprocess(images())
    assert torch.allclose(clip.encode_image(pixels), image_by_hand(state, pixels), atol=2e-6)
    for text in TEXTS:
        assert torch.allclose(clip.encode_text([text]), text_by_hand(state, clip.tokenize([text])), atol=2e-6)


def test_there_and_back_is_exact(model_folders):
    state = build_clip(model_folders / "biomedclip").state_dict()
    back = to_open_clip(to_hugging_face(state))
    assert back.keys() == state.keys() and all(torch.equal(back[name], state[name]) for name in state)


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda state: state.pop("visual_projection.weight"), "visual.head.proj.weight"),
        (
            lambda state: state.pop("vision_model.encoder.layers.11.self_attn.k_proj.bias"),
            "layers.11.self_attn.k_proj.bias",
        ),
        (
            lambda state: state.pop("text_model.encoder.layers.0.mlp.fc1.weight"),
            "text.transformer.encoder.layer.0.intermediate.dense.weight",
        ),
        (
            lambda state: state.update({"vision_model.pre_layrnorm.weight": torch.ones(2)}),
            "vision_model.pre_layrnorm.weight",
        ),
        (
            lambda state: state.update({"visual_projection.weight": torch.ones(2, 2)}),
            "another shape for 'visual.head.proj.weight'",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(model_folders, tmp_path, change, expected):
    state = torch.load(model_folders / "medclip-samv2" / "pytorch_model.bin", weights_only=True)
    change(state)
    write_architecture(tmp_path / "medclip-samv2")
    torch.save(state, tmp_path / "medclip-samv2" / "pytorch_model.bin")
    with pytest.raises(ModelError, match=expected.replace(".", r"\.")):
        load_clip("medclip-samv2", models_dir=tmp_path)


def test_constants_that_older_programs_saved_are_ignored(model_folders, tmp_path):
    state = torch.load(model_folders / "medclip-samv2" / "pytorch_model.bin", weights_only=True)
    state["text.transformer.embeddings.position_ids"] = state["text_model.embeddings.position_ids"] = torch.arange(24)[
        None
    ]
    write_architecture(tmp_path / "medclip-samv2")
    torch.save(state, tmp_path / "medclip-samv2" / "pytorch_model.bin")
    assert load_clip("medclip-samv2", models_dir=tmp_path).encode_text(TEXTS).shape == (2, 64)


def test_a_model_of_another_architecture_cannot_be_written_in_the_hugging_face_layout():
    with pytest.raises(ModelError, match="visual.trunk.fc_norm.weight"):
        to_hugging_face({"visual.trunk.fc_norm.weight": torch.ones(4)})


@pytest.mark.parametrize("layout", ["open-clip", "hugging-face"])
def test_an_exported_model_loads_back_with_the_same_embeddings(model_folders, tmp_path, layout):
    export_model("biomedclip", layout, tmp_path / "medclip-samv2", model_folders)
    before = load_clip("biomedclip", models_dir=model_folders)
    after = load_clip("medclip-samv2", models_dir=tmp_path)
    pixels = before.preprocess(np.random.default_rng(1).integers(0, 255, (2, 60, 60, 3), dtype=np.uint8))
    if layout == "hugging-face":  # the two have different epsilons in their norms
        assert torch.allclose(before.encode_image(pixels), after.encode_image(pixels), atol=2e-5)
        set_layer_norm_epsilon(before.model.visual)
    assert torch.equal(before.encode_image(pixels), after.encode_image(pixels))
    assert torch.equal(before.encode_text(TEXTS), after.encode_text(TEXTS))
    (weights,) = (tmp_path / "medclip-samv2").glob("*.safetensors")
    assert is_hugging_face(load_file(weights)) == (layout == "hugging-face")
