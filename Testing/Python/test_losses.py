"""DHN-NCE and the losses beside it, against their formulas in float64 loops, and in the precisions of training."""

import math

import pytest
import torch
import torch.nn.functional as F

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.finetune.dhn_nce import dhn_nce_loss
from MedCLIPSAMLib.finetune.losses import (
    LOSSES,
    dcl_loss,
    dhn_nce_released_loss,
    hn_nce_loss,
    info_nce_loss,
    make_loss,
    siglip_loss,
)


@pytest.fixture()
def pair():
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(9, 6, dtype=torch.float64, generator=generator)
    return images, images + 1.5 * torch.randn(9, 6, dtype=torch.float64, generator=generator)


def loop(images, texts, temperature, beta_image, beta_text):
    """The formula term by term, in Python floats of tensors."""
    images, texts = F.normalize(images, dim=-1), F.normalize(texts, dim=-1)
    count = len(images)
    z = [[torch.dot(image, text) / temperature for text in texts] for image in images]
    total = 0.0
    for i in range(count):
        for row, beta in ([z[i], beta_image], [[z[j][i] for j in range(count)], beta_text]):
            normalizer = sum(math.e ** (beta * row[k]) for k in range(count) if k != i)
            weights = [(count - 1) * math.e ** (beta * row[j]) / normalizer for j in range(count)]
            total = total - row[i] + torch.log(sum(weights[j] * math.e ** row[j] for j in range(count) if j != i))
    return total / count


@pytest.mark.parametrize("settings", [(0.6, 0.15, 0.15), (0.07, 0.5, 0.1), (1.0, 0.0, 0.0)])
def test_value_and_gradient_are_those_of_the_formula(pair, settings):
    fast = [features.clone().requires_grad_() for features in pair]
    slow = [features.clone().requires_grad_() for features in pair]
    ours, theirs = dhn_nce_loss(*fast, *settings), loop(*slow, *settings)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)
    ours.backward(), theirs.backward()
    for a, b in zip(fast, slow):
        assert torch.allclose(a.grad, b.grad, rtol=1e-9, atol=1e-12)


def test_defaults_are_the_papers(pair):
    assert dhn_nce_loss(*pair) == dhn_nce_loss(*pair, temperature=0.6, beta_image=0.15, beta_text=0.15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("temperature", [0.6, 0.07, 0.01])
def test_low_precision_stays_finite_and_near(dtype, temperature):
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(64, 32, generator=generator)
    texts = images + 0.1 * torch.randn(64, 32, generator=generator)
    low = [features.to(dtype).requires_grad_() for features in (images, texts)]
    loss = dhn_nce_loss(*low, temperature)
    loss.backward()
    assert loss.dtype == torch.float32 and all(torch.isfinite(features.grad).all() for features in low)
    exact = dhn_nce_loss(*(features.detach().double() for features in low), temperature)
    assert loss.item() == pytest.approx(exact.item(), rel=1e-4, abs=1e-3)


def test_autocast_does_not_lower_its_precision():
    images, texts = torch.randn(2, 16, 8, generator=torch.Generator().manual_seed(3))
    with torch.autocast("cpu", torch.bfloat16):
        inside = dhn_nce_loss(images, texts, 0.05)
    assert torch.equal(inside, dhn_nce_loss(images, texts, 0.05))


@pytest.mark.parametrize(
    "shapes, options",
    [
        (((4, 3), (5, 3)), {}),
        (((4,), (4,)), {}),
        (((1, 3), (1, 3)), {}),
        (((4, 3), (4, 3)), {"temperature": 0.0}),
        (((4, 3), (4, 3)), {"beta_image": -1.0}),
    ],
)
def test_wrong_input_is_refused(shapes, options):
    with pytest.raises(InputError, match="DHN-NCE"):
        dhn_nce_loss(torch.randn(shapes[0]), torch.randn(shapes[1]), **options)


def cosines(images, texts):
    return F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T


def test_info_nce_is_cross_entropy_in_both_directions(pair):
    logits, own = cosines(*pair) / 0.2, torch.arange(9)
    expected = F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)
    assert info_nce_loss(*pair, 0.2).item() == pytest.approx(expected.item(), rel=1e-12)


def test_hn_nce_adds_the_positive_to_the_denominator_of_dhn_nce(pair):
    logits = cosines(*pair) / 0.3
    total = 0.0
    for z in (logits, logits.T):
        for i in range(9):
            others = torch.cat([z[i, :i], z[i, i + 1 :]])
            weights = 8 * (0.4 * others).exp() / (0.4 * others).exp().sum()
            total += -z[i, i] + torch.log(z[i, i].exp() + (weights * others.exp()).sum())
    assert hn_nce_loss(*pair, 0.3, 0.4, 0.4).item() == pytest.approx((total / 9).item(), rel=1e-12)
    assert dcl_loss(*pair, 0.3) == dhn_nce_loss(*pair, 0.3, 0.0, 0.0)


def test_siglip_is_a_binary_cross_entropy_of_all_pairs(pair):
    logits = cosines(*pair) / 0.1 - 10
    expected = F.binary_cross_entropy_with_logits(logits, torch.eye(9, dtype=torch.float64), reduction="sum") / 9
    assert siglip_loss(*pair).item() == pytest.approx(expected.item(), rel=1e-12)


def gradient(loss, features):
    leaves = [tensor.clone().requires_grad_() for tensor in features]
    return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss(*leaves), leaves)])


def test_the_gradient_of_the_released_variant_is_another_and_small():
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(64, 128, dtype=torch.float64, generator=generator)
    texts = images + torch.randn(64, 128, dtype=torch.float64, generator=generator)
    ours, theirs = (gradient(loss, (images, texts)) for loss in (dhn_nce_loss, dhn_nce_released_loss))
    assert F.cosine_similarity(ours, theirs, dim=0) < 0.8
    assert theirs.norm() < ours.norm() / 10


def test_the_released_variant_lowers_its_loss_where_a_hard_negative_comes_nearer():
    logits = torch.tensor([[0.2, 0.9, 0.0], [0.1, 0.3, 0.1], [0.0, 0.1, 0.4]], dtype=torch.float64)
    slope = {}
    for name, loss in (("ours", dhn_nce_loss), ("released", dhn_nce_released_loss)):
        # Features whose cosines are these logits: unit images along the axes, texts as columns of unit length.
        images = torch.eye(4, dtype=torch.float64)[:3]
        raised = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
        columns = logits + raised * torch.eye(3, dtype=torch.float64)[0][:, None] * torch.tensor([0.0, 1.0, 0.0])
        rest = (1 - columns.square().sum(0)).clamp(min=0).sqrt()
        texts = torch.cat([columns, rest[None]]).T
        slope[name] = torch.autograd.grad(loss(images, texts), raised)[0].item()
    assert slope["ours"] > 0 > slope["released"]


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_by_its_name(pair, name):
    loss = make_loss(name)
    assert loss(*pair).shape == () and torch.isfinite(loss(*pair))
    if name != "dhn-nce-released":
        assert loss(pair[0], pair[0]) < loss(*pair)
    with pytest.raises(InputError, match="no negatives"):
        loss(pair[0][:1], pair[1][:1])


def test_an_unknown_loss_is_refused_with_those_there_are():
    with pytest.raises(InputError, match="dhn-nce.*got 'triplet'"):
        make_loss("triplet")
