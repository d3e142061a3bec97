"""The losses beside DHN-NCE, against their formulas and against each other."""

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
