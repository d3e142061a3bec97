"""The benchmark of speed: the plain loop gives our maps, variants take turns, tables say what was measured."""

from __future__ import annotations

from io import StringIO

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from MedCLIPSAMLib.cli import app
from MedCLIPSAMLib.commands import speed_tables
from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.experiments.phantom_benchmark import to_rgb
from MedCLIPSAMLib.experiments.speed import full_size, gpu, parts
from MedCLIPSAMLib.experiments.speed.authors import COPIES, STEPS, authors_saliency
from MedCLIPSAMLib.experiments.speed.between import BetweenCost, measure_between
from MedCLIPSAMLib.experiments.speed.full_size import PROMPT, biomedclip
from MedCLIPSAMLib.experiments.speed.interleaved import VariantTimes, interleaved
from MedCLIPSAMLib.experiments.speed.outlines import OutlineCost
from MedCLIPSAMLib.experiments.speed.saliency import AUTHORS, BF16, F32, PeakThroughput, SaliencyCost
from MedCLIPSAMLib.experiments.speed.start import StartCost
from MedCLIPSAMLib.experiments.speed.waiting import WaitingTimes
from MedCLIPSAMLib.experiments.speed.whole import TINY, WholeCost
from MedCLIPSAMLib.models.clip import load_clip
from MedCLIPSAMLib.models.sam import load_sam
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.run_context import RunContext
from MedCLIPSAMLib.segmentation.saliency import M2IBSettings, m2ib, normalize

pytestmark = pytest.mark.gpu


def shown(table) -> str:
    console = Console(file=StringIO(), width=200)
    console.print(table)
    return console.file.getvalue()


def test_the_authors_loop_gives_our_map_and_leaves_the_model_as_it_was():
    clip = load_clip("demo")
    pixels = clip.preprocess(to_rgb(make_phantom("validation", 1, "MR", 1))[None])
    settings = M2IBSettings(2, beta=1.0, steps=STEPS, samples=COPIES)
    trunk = clip.model.visual.trunk
    shape = (COPIES, trunk.grid_size[0] * trunk.grid_size[1] + trunk.num_prefix_tokens, trunk.embed_dim)
    generator = torch.Generator().manual_seed(settings.seed)
    noises = [torch.randn(shape, generator=generator) for _ in range(STEPS)]
    plain = authors_saliency(clip, pixels, clip.tokenize(["brain tumor"]), 2, 1.0, noises)
    ours = m2ib(clip, pixels, clip.encode_text(["brain tumor"]), settings).maps[0, 0]
    assert torch.allclose(normalize(plain), normalize(ours), atol=1e-5)
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in clip.model.parameters())
    assert not any(module._forward_hooks for module in clip.model.modules())


def test_the_models_are_of_full_size_and_the_prompt_as_long_as_the_papers():
    clip = biomedclip()
    assert sum(parameter.numel() for parameter in clip.model.parameters()) == pytest.approx(196e6, rel=1e-3)
    tokens = clip.tokenize([PROMPT])
    assert tokens.shape == (1, 22) and not clip.unknown_words(PROMPT)
    black = torch.zeros(1, 3, 224, 224, device=clip.device)
    assert authors_saliency(clip, black, tokens, 9, 0.1, steps=1).shape == (14, 14)


def test_variants_take_turns_and_ratios_are_those_within_rounds():
    calls = []
    variants = {name: lambda name=name: calls.append(name) or name.upper() for name in ("slow", "fast")}
    times, results = interleaved(variants, 3, once=("slow",))
    assert calls == ["fast", *["slow", "fast"] * 3] and results == {"slow": "SLOW", "fast": "FAST"}
    times = VariantTimes({"slow": [8.0, 20.0, 9.0], "fast": [2.0, 4.0, 3.0]})
    assert times.times_faster("fast", "slow") == (4.0, 3.0, 5.0) and times.median("slow") == 9.0


def test_the_tables_say_what_was_measured():
    times = VariantTimes({AUTHORS: [40.0], F32: [2.0], BF16: [1.0]})
    gflop = {AUTHORS: 8000.0, F32: 400.0, BF16: 400.0}
    cost = SaliencyCost(9, times, gflop, {F32: (1e-6, 1e-7), BF16: (4e-3, 1e-3)}, (0.3, 0.07))
    figures = shown(speed_tables.saliency_table([cost], PeakThroughput(400.0, 2000.0)))
    assert (
        "20.0" in figures and "40.0" in figures and "50%" in figures and "20%" in figures and "3e-01, 7e-02" in figures
    )
    both = OutlineCost("sam2.1-tiny", 512, VariantTimes({"f32": [0.4], "bf16": [0.2]}), 15.0)
    old = OutlineCost("SAM ViT-H (the authors')", 1024, VariantTimes({"f32": [20.0]}), 60.0)
    figures = shown(speed_tables.outline_table([both, old]))
    assert "2.0" in figures and "20.00" in figures
    ours = f"{TINY}, bf16"
    output = shown(speed_tables.whole_table(WholeCost(VariantTimes({ours: [2.0]}), {ours: 2500.0})))
    assert "pip install segment-anything" in output and "2500" in output
    output = shown(speed_tables.waiting_table(WaitingTimes([2.0, 4.0], [1.0, 1.0], 9.0, 70.0)))
    assert "0.38 of the first" in output and "70.0" in output
    output = shown(speed_tables.start_table([StartCost("a command", 3.25, 3.5), StartCost("in a worker", None, 0.25)]))
    assert "3.25" in output and "3.50" in output and "0.25" in output


@pytest.mark.parametrize("option, value", [("--parts", "saliency,color"), ("--layers", "9,11"), ("--layers", "-1")])
def test_an_unknown_part_or_block_is_named(option, value):
    found = CliRunner().invoke(app, ["benchmark", "speed", option, value])
    assert isinstance(found.exception, InputError) and f"got '{value}'" in str(found.exception)


def test_what_is_measured_on_a_gpu_runs_and_is_told(monkeypatch):
    """With the demo models on the CPU, where nothing is recorded."""

    def sam(size, pixels, device):
        if size == "large":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return load_sam("demo", device)

    sizes = {
        "SLICES": 3,
        "SLICE_BATCH_SIZES": (1, 2),
        "IMAGES": 2,
        "IMAGE_BATCH_SIZES": (2,),
        "WIDE": 160,
        "NARROW": 96,
    }
    models = {"biomedclip": lambda device: load_clip("demo", device), "sam21": sam, "PROMPT": "brain tumor"}
    for name, value in (sizes | models).items():
        monkeypatch.setattr(gpu, name, value)
    for module in (gpu, full_size):
        monkeypatch.setattr(module, "M2IBSettings", lambda: M2IBSettings(2, steps=3, samples=2))
    cost = gpu.measure_gpu(1, torch.device("cpu"), RunContext())
    figures = {figure.name: figure for figure in cost.figures}
    for name in (
        "a saliency map, bf16, recorded",
        "an image of 160 px to its mask, tiny",
        "another prompt on it, tiny",
    ):
        assert figures[name].value > 0 and figures[name].unit == "ms"
    assert figures["images of 96 px, 2 at once"].value > 0 and figures["images of 160 px, 2 at once"].value > 0
    failed = [figure for figure in cost.figures if figure.value is None]
    assert [figure.name for figure in failed] == ["an image, SAM 2.1 large"], [figure.note for figure in failed]
    assert [profile.name for profile in cost.profiles] == ["1 image of 160 px", "2 images of 96 px"]
    for profile in cost.profiles:
        assert set(profile.parts) >= {"CLIP's image tower and M2IB", "SAM's encoder", "between the networks", "else"}
        assert profile.ms > 0 and sum(profile.parts.values()) > 0 and profile.kernels is None  # of two calls
    table = shown(speed_tables.gpu_table(cost))
    assert "0e+00, 0e+00" in table and "failed: OutOfMemoryError" in table and "2 at once" in table
    profile = gpu.Profile("1 image of 1024 px", 50.0, {"M2IB": 30.0, "masks tidied": 12.0}, 20.0)
    assert "20.0 (40%)" in shown(speed_tables.profile_table(profile))


def test_parts_are_timed_each_without_those_inside(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(parts.time, "perf_counter", lambda: clock[0])

    class Work:
        def outer(self):
            clock[0] += 1
            self.inner()
            clock[0] += 2

        def inner(self):
            clock[0] += 4

    with parts.time_parts({"out": [(Work, "outer")], "in": [(Work, "inner")]}, torch.device("cpu")) as times:
        Work().outer()
        clock[0] += 8
        Work().inner()
    assert times.seconds == {"out": 3.0, "in": 8.0, parts.OTHER: 8.0}
    before = dict(times.seconds)
    Work().outer()
    assert times.seconds == before, "the functions are their own again"


def test_what_an_image_costs_between_the_networks():
    threads = torch.get_num_threads()
    cost = measure_between(64)
    assert len(cost.ms) == 5 and cost.total < sum(cost.ms.values())
    assert all(ms > 0 for ms in cost.ms.values()) and torch.get_num_threads() == threads
    figures = shown(
        speed_tables.between_table(
            [BetweenCost(512, {"cut": 1.5, "tidied": 0.5}), BetweenCost(1024, {"cut": 6.0, "tidied": 2.0})]
        )
    )
    assert "512 px, ms" in figures and "2.00" in figures and "8.00" in figures


def test_figures_of_a_gpu_that_is_not_there_are_refused():
    found = CliRunner().invoke(app, ["benchmark", "speed", "--parts", "gpu", "--device", "cpu"])
    assert found.exit_code and "Expected a CUDA GPU" in str(found.exception)
