"""DHN-NCE against the formula written out in float64 loops, and in the precisions that training uses."""

import math

import pytest
import torch
import torch.nn.functional as F

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.finetune.dhn_nce import dhn_nce_loss


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


@pytest.fixture()
def pair():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(7, 5, dtype=torch.float64, generator=generator, requires_grad=False) for _ in range(2)]


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
