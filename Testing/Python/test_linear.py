"""Linear layers by oneDNN: the same layers, used on the processors they are for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from MedCLIPSAMLib.models.acceleration import linear
from MedCLIPSAMLib.models.acceleration.linear import OneDnnLinear, mkl_is_slow, with_fast_linear
from MedCLIPSAMLib.models.clip import load_clip
from MedCLIPSAMLib.models.sam import load_sam


@pytest.fixture()
def convolutions(monkeypatch):
    monkeypatch.setattr(linear, "mkl_is_slow", lambda: True)
    monkeypatch.setattr(linear, "MIN_PRODUCTS", 1)
    calls, plain = [], linear.F.conv2d
    monkeypatch.setattr(linear.F, "conv2d", lambda *given: calls.append(given[0].shape) or plain(*given))
    return calls


@pytest.mark.parametrize("shape", [(5, 6), (2, 7, 6), (2, 3, 4, 6), (6,), (0, 6)])
@pytest.mark.parametrize("bias", [True, False])
def test_the_layer_and_its_derivative_are_the_same(convolutions, shape, bias):
    torch.manual_seed(0)
    layer = nn.Linear(6, 9, bias=bias).requires_grad_(False)
    given = torch.randn(shape, requires_grad=True)
    weights = torch.randn(*shape[:-1], 9)
    plain = layer(given)
    (by_plain,) = torch.autograd.grad((plain * weights).sum(), given)
    assert with_fast_linear(layer) is layer and list(layer.state_dict()) == (["weight", "bias"] if bias else ["weight"])
    ours = layer(given)
    (by_ours,) = torch.autograd.grad((ours * weights).sum(), given)
    assert ours.shape == plain.shape and len(convolutions) == (0 not in shape)
    assert torch.allclose(ours, plain, atol=1e-6) and torch.allclose(by_ours, by_plain, atol=1e-6)


def test_columns_that_do_not_lie_side_by_side_are_taken_too(convolutions):
    layer, given = nn.Linear(6, 9).requires_grad_(False), torch.randn(4, 6, 5).transpose(1, 2)
    plain = layer(given)
    assert torch.allclose(with_fast_linear(layer)(given), plain, atol=1e-6) and convolutions


def test_trained_weights_bfloat16_and_small_products_stay_with_torch(convolutions, monkeypatch):
    layer = with_fast_linear(nn.Linear(6, 9))
    layer(torch.randn(3, 6))
    layer.requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(3, 6)).dtype == torch.bfloat16
    monkeypatch.setattr(linear, "MIN_PRODUCTS", 1000)
    layer(torch.randn(3, 6))
    assert not convolutions
    layer(torch.randn(30, 6))
    assert len(convolutions) == 1


@pytest.mark.parametrize("slow", [True, False])
def test_loaded_models_have_them_where_they_are_faster(monkeypatch, slow):
    monkeypatch.setattr(linear, "mkl_is_slow", lambda: slow)
    for model in (load_clip("demo").model, load_sam("demo")):
        kinds = {type(module) for module in model.modules() if isinstance(module, nn.Linear)}
        assert (OneDnnLinear in kinds) == slow


def test_the_processor_is_read_once_and_known_by_its_maker(monkeypatch, tmp_path):
    described = tmp_path / "cpuinfo"
    monkeypatch.setattr(linear, "Path", lambda _: described)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    for maker, capability, slow in (
        ("AuthenticAMD", "AVX512", True),
        ("AuthenticAMD", "AVX2", False),
        ("GenuineIntel", "AVX512", False),
    ):
        mkl_is_slow.cache_clear()
        described.write_text(f"vendor_id\t: {maker}\n")
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda capability=capability: capability)
        assert mkl_is_slow() == slow
    mkl_is_slow.cache_clear()
    described.unlink()
    monkeypatch.setattr(linear.platform, "processor", lambda: "AMD64 Family 25 Model 97 Stepping 2, AuthenticAMD")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert mkl_is_slow()
    mkl_is_slow.cache_clear()
