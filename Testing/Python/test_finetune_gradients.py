"""Cached contrastive gradients are those of the whole batch: in chunks, with dropout, and in two processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.gradients import a_batch, a_model, joint_gradients

from MedCLIPSAMLib.finetune.dhn_nce import dhn_nce_loss
from MedCLIPSAMLib.finetune.gradients import contrastive_backward

pytestmark = pytest.mark.gpu

TESTING = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def without_tf32(monkeypatch):
    """A GPU rounds the patch embedding to TF32, by another amount for every size of a chunk."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def gradients(model, chunk: int, loss=dhn_nce_loss) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    torch.manual_seed(4)
    pixels, tokens = (tensor.to(model.logit_scale.device) for tensor in a_batch())
    value = contrastive_backward(
        lambda *batch: model(*batch)[:2], list(zip(pixels.split(chunk), tokens.split(chunk))), loss
    )
    return value, {
        name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None
    }


def near(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    largest = max(gradient.abs().max() for gradient in one.values())
    for name in one:
        assert (one[name] - other[name]).abs().max() < 1e-4 * largest, name


def test_one_chunk_is_plain_backpropagation(device):
    model = a_model(device)
    loss, found = gradients(model, 8)
    model.zero_grad()
    expected = dhn_nce_loss(*model(*(tensor.to(device) for tensor in a_batch()))[:2])
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    near(found, {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None})
    assert "logit_scale" not in found


@pytest.mark.parametrize("chunk", [1, 3, 4])
def test_chunks_give_the_gradients_of_the_whole_batch(chunk, device):
    model = a_model(device)
    (loss, full), (same, parts) = gradients(model, 8), gradients(model, chunk)
    assert loss.item() == pytest.approx(same.item(), rel=1e-5)
    near(full, parts)


def test_dropout_is_the_same_in_both_passes(device):
    """The loss that is reported and the gradients are of one and the same network: else a finite difference tells."""
    model = a_model(device, dropout=0.3)
    loss, found = gradients(model, 4)
    name, parameter = next(parameter for parameter in model.named_parameters() if parameter[0] == "text.proj.weight")
    step = 1e-2 * parameter.detach().norm() * found[name] / found[name].norm()
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            parameter.add_(sign * step)
        values.append(gradients(model, 4)[0].item())
        with torch.no_grad():
            parameter.sub_(sign * step)
    slope = (values[0] - values[1]) / (2 * step.norm().item())
    assert slope == pytest.approx(found[name].norm().item(), rel=0.05)


class OnApplesGpu(torch.Tensor):
    """A tensor of the CPU that says that it is on an Apple GPU."""

    device = torch.device("mps")


def test_dropout_on_apples_gpus_is_the_same_in_both_passes(monkeypatch):
    """Their random numbers have a state of their own, which a generator of the CPU stands in for here."""
    generator, drawn = torch.Generator().manual_seed(3), []
    monkeypatch.setattr(torch.mps, "get_rng_state", generator.get_state)
    monkeypatch.setattr(torch.mps, "set_rng_state", generator.set_state)
    weight = torch.eye(5).requires_grad_()

    def encode(pixels, tokens):
        drawn.append(torch.rand(pixels.shape, generator=generator))
        return (pixels.as_subclass(torch.Tensor) * drawn[-1]) @ weight, tokens @ weight

    chunks = [(torch.randn(4, 5).as_subclass(OnApplesGpu), torch.randn(4, 5)) for _ in range(3)]
    contrastive_backward(encode, chunks, dhn_nce_loss)
    assert len(drawn) == 6 and not torch.equal(drawn[0], drawn[1])
    assert all(torch.equal(first, again) for first, again in zip(drawn[:3], drawn[3:]))


def test_two_processes_give_the_gradients_of_one(tmp_path):
    other = "import sys; from helpers.gradients import joint_gradients; joint_gradients(1, sys.argv[1])"
    paths = os.pathsep.join([str(TESTING.parent), str(TESTING), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    with subprocess.Popen([sys.executable, "-c", other, str(tmp_path / "store")], env=environment) as second:
        loss, joint = joint_gradients(0, str(tmp_path / "store"))
        assert second.wait(60) == 0
    alone, full = gradients(a_model(), 8)
    assert loss.item() == pytest.approx(alone.item(), rel=1e-5)
    near(full, {name: gradient for name, gradient in joint.items() if gradient is not None})
