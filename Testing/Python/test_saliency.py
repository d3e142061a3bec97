"""The fast M2IB against the plain one, and what must hold of any saliency map."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from reference_m2ib import reference_m2ib
from timm.models import register_model
from timm.models.vision_transformer import ParallelScalingBlock, ResPostBlock, VisionTransformer

from MedCLIPSAMLib.errors import Cancelled, InputError, ModelError
from MedCLIPSAMLib.models.clip import ClipModel, build_clip
from MedCLIPSAMLib.models.image_text import VisualTower
from MedCLIPSAMLib.models.vision_transformer import PatchEmbed
from MedCLIPSAMLib.models.vision_transformer import VisionTransformer as OwnTransformer
from MedCLIPSAMLib.resources import resource_path
from MedCLIPSAMLib.run_context import RunContext
from MedCLIPSAMLib.segmentation import saliency
from MedCLIPSAMLib.segmentation.prompts import encode_ensemble
from MedCLIPSAMLib.segmentation.saliency import M2IBSettings, m2ib, normalize, upsample
from MedCLIPSAMLib.segmentation.vision_tower import VisionTower

DEPTH = 4
SHAPE = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": DEPTH, "num_heads": 3, "num_classes": 0}


@register_model
def medclipsam_test_vit_class_token(pretrained=False, **kwargs):
    model = VisionTransformer(**SHAPE)
    model.default_cfg = {}
    return model


@register_model
def medclipsam_test_vit_average(pretrained=False, **kwargs):
    model = VisionTransformer(**SHAPE, class_token=False, global_pool="avg")
    model.default_cfg = {}
    return model


def _clip(pool):
    """A random open_clip vision tower; only the `visual` part of the model is used by M2IB."""
    from open_clip.timm_model import TimmModel

    torch.manual_seed(3)
    name = f"medclipsam_test_vit_{'average' if pool == 'avg' else 'class_token'}"
    visual = TimmModel(name, embed_dim=16, image_size=32, pool=pool, proj="linear").eval().requires_grad_(False)
    for parameter in visual.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    model = SimpleNamespace(visual=visual, encode_image=visual)
    return SimpleNamespace(model=model)


def _own_clip(pool):
    """The same of our own towers."""
    torch.manual_seed(3)
    trunk = OwnTransformer(32, lambda side, width: PatchEmbed(side, 8, width), 24, DEPTH, 3, pool)
    visual = VisualTower(trunk, 16).eval().requires_grad_(False)
    for parameter in visual.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return SimpleNamespace(model=SimpleNamespace(visual=visual, encode_image=visual))


@pytest.fixture(
    scope="module",
    params=[(_clip, ""), (_clip, "avg"), (_own_clip, "token"), (_own_clip, "avg")],
    ids=["class token", "average pooling", "our class token", "our average pooling"],
)
def clip(request):
    make, pool = request.param
    return make(pool)


@pytest.fixture(scope="module")
def inputs():
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randn(2, 3, 32, 32, generator=generator)
    return pixels, F.normalize(torch.randn(3, 16, generator=generator), dim=-1)


def _noises(settings, shape):
    generator = torch.Generator().manual_seed(settings.seed)
    noises = [torch.randn(settings.samples, *shape, generator=generator) for _ in range(settings.steps - 1)]
    return noises + [torch.zeros(settings.samples, *shape)]  # the last step's noise does not reach the map


@pytest.mark.parametrize("layer", range(DEPTH))
def test_matches_the_plain_implementation(clip, inputs, layer):
    tower = VisionTower(clip.model.visual)
    if layer == DEPTH - 1 and tower.prefix:
        pytest.skip("patch tokens of the last block reach nothing")
    pixels, texts = inputs
    settings = M2IBSettings(layer, beta=0.3, steps=6, samples=3)
    fast = m2ib(clip, pixels, texts, settings)
    noises = _noises(settings, (tower.prefix + 16, 24))
    for image in range(2):
        for text in range(3):
            one = pixels[image : image + 1]
            plain = reference_m2ib(clip.model, one, texts[text], layer, 0.3, 6, 3, 1.0, noises)
            assert torch.allclose(normalize(fast.maps[image, text]), normalize(plain), atol=1e-5)
            assert torch.allclose(fast.maps[image, text], plain, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("earliest, steps", [(0, [6]), (3, [3, 4, 5, 6]), (1, [1, 2, 3, 4, 5, 6]), (6, [6]), (9, [6])])
def test_one_search_gives_the_maps_of_all_steps_that_may_be_taken(clip, inputs, earliest, steps):
    settings = M2IBSettings(1, beta=0.3, steps=6, samples=3, earliest=earliest)
    found = m2ib(clip, *inputs, settings)
    assert list(settings.candidates) == steps and found.by_step.shape == (2, 3, len(steps), 4, 4)
    for at, step in enumerate(steps):
        alone = m2ib(clip, *inputs, replace(settings, steps=step, earliest=0))
        assert torch.allclose(found.by_step[:, :, at], alone.maps, rtol=1e-4, atol=1e-3)
    assert torch.equal(found.maps, found.by_step[:, :, -1])


def test_with_the_mirror_image_the_map_is_the_mean_of_both_and_turns_with_the_image(clip, inputs):
    pixels, texts = inputs
    settings = M2IBSettings(1, beta=0.3, steps=4, samples=3)
    plain, turned = m2ib(clip, pixels, texts, settings), m2ib(clip, pixels.flip(-1), texts, settings)
    both = m2ib(clip, pixels, texts, replace(settings, mirror=True))
    assert torch.allclose(both.maps, (plain.maps + turned.maps.flip(-1)) / 2, rtol=1e-4, atol=1e-3)
    assert torch.allclose(both.image_features, plain.image_features, atol=1e-6)
    other = m2ib(clip, pixels.flip(-1), texts, replace(settings, mirror=True))
    assert torch.allclose(other.maps, both.maps.flip(-1), rtol=1e-4, atol=1e-3)
    early = {}
    for variant in (settings, replace(settings, mirror=True)):
        again = m2ib(clip, pixels, texts, variant, early=early)
        assert torch.allclose(again.maps, (both if variant.mirror else plain).maps, rtol=1e-4, atol=1e-3)


def test_features_equal_those_of_the_whole_model(clip, inputs):
    tower = VisionTower(clip.model.visual)
    whole = F.normalize(clip.model.visual(inputs[0]), dim=-1)
    for layer in range(DEPTH):
        assert torch.allclose(tower.features_from(tower.tokens_at(inputs[0], layer), layer), whole, atol=1e-6)
        if layer < DEPTH - 1 or not tower.prefix:
            found = m2ib(clip, *inputs, M2IBSettings(layer, steps=2, samples=1)).image_features
            assert torch.allclose(found, whole, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_a_pair_gives_the_same_alone_in_any_company_and_again(clip, inputs, batch):
    pixels, texts = inputs
    settings = M2IBSettings(1, steps=4, samples=2)
    together = m2ib(clip, pixels, texts, settings, batch=batch)
    assert torch.equal(together.maps, m2ib(clip, pixels, texts, settings, batch=batch).maps)
    for image in range(2):
        for text in range(3):
            alone = m2ib(clip, pixels[image : image + 1], texts[text : text + 1], settings)
            assert torch.allclose(together.maps[image, text], alone.maps[0, 0], rtol=1e-5, atol=1e-4)
    swapped = m2ib(clip, pixels.flip(0), texts.flip(0), settings, batch=batch).maps
    assert torch.allclose(together.maps, swapped.flip(0, 1), rtol=1e-5, atol=1e-4)


def test_another_seed_gives_another_map(clip, inputs):
    first, second = (m2ib(clip, *inputs, M2IBSettings(1, steps=4, samples=2, seed=seed)).maps for seed in (12, 13))
    assert not torch.allclose(first, second)


def test_texts_and_images_of_the_demo_architecture_go_through():
    folder = resource_path("models/demo-clip")
    torch.manual_seed(0)
    clip = ClipModel("demo", build_clip(folder).eval().requires_grad_(False), folder)
    pixels = clip.preprocess(np.random.default_rng(0).integers(0, 255, (1, 90, 120, 3), np.uint8))
    texts = torch.stack([encode_ensemble(clip.encode_text, [text]) for text in ("brain tumor", "lungs")])
    found = m2ib(clip, pixels, texts, M2IBSettings(2, steps=3, samples=2))
    assert found.maps.shape == (1, 2, *VisionTower(clip.model.visual).grid) and found.maps.dtype == torch.float32
    assert torch.allclose(found.image_features, clip.encode_image(pixels), atol=1e-5)
    assert upsample(found.maps, (90, 120)).shape == (1, 2, 90, 120)


def test_the_model_is_left_as_it_was(clip, inputs):
    before = {name: value.clone() for name, value in clip.model.visual.state_dict().items()}
    m2ib(clip, *inputs, M2IBSettings(1, steps=3, samples=1))
    with pytest.raises(Cancelled):
        m2ib(clip, *inputs, M2IBSettings(1), context=RunContext(is_cancelled=lambda: True))
    after = clip.model.visual.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(parameter.grad is not None for parameter in clip.model.visual.parameters())
    assert not any(module._forward_hooks for module in clip.model.visual.modules())


def test_many_steps_draw_the_same_noise_without_keeping_it(clip, inputs, monkeypatch):
    settings = M2IBSettings(1, steps=5, samples=2)
    cached = m2ib(clip, *inputs, settings).maps
    monkeypatch.setattr(saliency, "MAX_NOISES", 3)
    assert torch.equal(m2ib(clip, *inputs, settings).maps, cached)
    began = []
    context = RunContext(is_cancelled=lambda: len(began) > 2 or began.append(1))
    with pytest.raises(Cancelled):
        m2ib(clip, *inputs, M2IBSettings(1, steps=10**9), context)


def test_bf16_stays_near_f32(clip, inputs):
    exact = m2ib(clip, *inputs, M2IBSettings(1, samples=4)).maps
    rounded = m2ib(clip, *inputs, M2IBSettings(1, samples=4), bfloat16=True).maps
    assert rounded.dtype == torch.float32
    assert (normalize(exact) - normalize(rounded)).abs().mean() < 0.03


def test_many_steps_stay_finite(clip, inputs):
    for beta in (0.0, 50.0):
        assert torch.isfinite(m2ib(clip, *inputs, M2IBSettings(0, beta=beta, steps=30, samples=1)).maps).all()


def test_a_constant_map_becomes_zeros():
    assert torch.equal(normalize(torch.full((1, 2, 4, 4), 3.0)), torch.zeros(1, 2, 4, 4))
    scaled = normalize(torch.tensor([[[[1.0, 2.0], [3.0, 5.0]]]]))
    assert torch.allclose(scaled, torch.tensor([[[[0.0, 0.25], [0.5, 1.0]]]]))


def test_blocks_without_patch_attribution_are_refused(inputs):
    with pytest.raises(InputError, match="from 0 to 2"):
        m2ib(_clip(""), *inputs, M2IBSettings(3))
    with pytest.raises(InputError, match="from 0 to 3"):
        m2ib(_clip("avg"), *inputs, M2IBSettings(4))


@pytest.mark.parametrize(
    "extra",
    [
        {"block_fn": ResPostBlock, "init_values": 0.5},
        {"block_fn": ParallelScalingBlock},
        {"qk_norm": True},
        {"reg_tokens": 2},
        {"qkv_bias": False},
        {"init_values": 0.5},
        {"pre_norm": True},
    ],
    ids=str,
)
def test_other_kinds_of_blocks_give_the_features_of_the_whole_model(inputs, extra):
    torch.manual_seed(1)
    trunk = VisionTransformer(**SHAPE, **extra).eval().requires_grad_(False)
    for parameter in trunk.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    tower = VisionTower(SimpleNamespace(trunk=trunk, head=torch.nn.Identity()))
    whole = F.normalize(trunk(inputs[0]), dim=-1)
    assert torch.allclose(tower.features_from(tower.tokens_at(inputs[0], 1), 1), whole, atol=1e-6)


def test_rounded_weights_are_refused(inputs):
    clip = _clip("")
    clip.model.visual.bfloat16()
    with pytest.raises(ModelError, match="float32"):
        m2ib(clip, *inputs, M2IBSettings(1))


def test_other_towers_are_refused():
    with pytest.raises(ModelError, match="VisionTransformer"):
        VisionTower(SimpleNamespace(trunk=timm.create_model("resnet10t", pretrained=False), head=None))


def test_a_map_is_enlarged_with_the_centre_of_a_patch_over_the_middle_of_its_pixels():
    """A patch of 4 pixels has its center between the second and the third: worked out by hand for 0, 1."""
    row = torch.tensor([[[[0.0, 1.0]]]])
    for values, shape in ((row, (1, 8)), (row.mT, (8, 1))):
        np.testing.assert_allclose(upsample(values, shape).flatten(), [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1])
