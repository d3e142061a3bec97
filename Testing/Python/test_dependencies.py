"""What is installed by pip and what inside Slicer: two lists, which agree, and are enough for what runs there."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from helpers.command_line import run_python
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
SLICERS_OWN = {"numpy", "simpleitk", "torch", "torchvision"}
"""Of Slicer and of its PyTorch extension, which MedCLIPSAMScene/dependencies.py asks for by itself."""
COMMAND_LINE_ONLY = {"matplotlib", "monai", "rich", "typer"}
ABSENT_IN_SLICER = {"matplotlib", "monai"}
"""The others of the command line come to Slicer with transformers."""
LOOSER_IN_SLICER = {"scipy"}
"""A lower minimum: only the intervals of the scores, which Slicer does not compute, need the newer one."""


def by_name(lines: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, lines)}


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def in_slicer() -> dict[str, Requirement]:
    lines = (ROOT / "Resources" / "requirements.txt").read_text().splitlines()
    return by_name([line for line in lines if line.strip() and not line.startswith("#")])


def test_both_lists_hold_the_same_packages(project: dict, in_slicer: dict[str, Requirement]) -> None:
    by_pip = {**by_name(project["dependencies"]), **by_name(project["optional-dependencies"]["finetune"])}
    assert set(in_slicer) == set(by_pip) - SLICERS_OWN - COMMAND_LINE_ONLY


def test_both_lists_hold_the_same_ranges(project: dict, in_slicer: dict[str, Requirement]) -> None:
    by_pip = {**by_name(project["dependencies"]), **by_name(project["optional-dependencies"]["finetune"])}
    for name, requirement in in_slicer.items():
        if name in LOOSER_IN_SLICER:
            assert {specifier for specifier in requirement.specifier if specifier.operator == "<"} < set(
                by_pip[name].specifier
            )
        else:
            assert requirement.specifier == by_pip[name].specifier, name


def test_the_worker_does_without_what_slicer_lacks(tmp_path: Path) -> None:
    """The worker's requests of an image and of an export, where the packages of the command line are absent."""
    script = f"""
import sys
from pathlib import Path

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT_IN_SLICER}:
            raise ModuleNotFoundError(name=name)

sys.meta_path.insert(0, Absent())

import numpy as np
import MedCLIPSAMLib.finetune.job, MedCLIPSAMLib.finetune.train
from MedCLIPSAMLib.worker.engine import Engine
from MedCLIPSAMLib.worker.protocol import Message

class Reply:
    def send(self, *what): pass
    def cancelled(self): return False

engine = Engine()
ask = lambda kind, fields, arrays={{}}: engine.handle(Message(kind, 1, fields, arrays), Reply())
ask("models", {{}})
ask("load", {{"clip": "demo", "sam": "demo", "device": "cpu"}})
ask("image", {{"key": "a"}}, {{"images": np.zeros((1, 64, 64, 3), np.uint8)}})
ask("segment", {{"image": "a", "prompts": ["brain tumor"]}})
sample = "{(ROOT / "Resources/samples/breast_us.png").as_posix()}"
ask("export", {{"inputs": sample, "out": "Dataset101_Breast", "prompts": {{"tumor": "breast tumor"}}}})
assert Path("Dataset101_Breast/dataset.json").is_file()
"""
    ran = run_python(script, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr


def test_what_a_gpu_is_measured_and_tested_with_reads_no_files_of_images(tmp_path: Path) -> None:
    """A machine with a GPU that is lent for minutes has torch and little else."""
    script = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("SimpleITK", "pydicom", "nibabel"):
            raise ModuleNotFoundError(name=name)

sys.meta_path.insert(0, Absent())

import pytest
from typer.testing import CliRunner
from MedCLIPSAMLib.cli import app

import MedCLIPSAMLib.experiments.speed.gpu
done = CliRunner().invoke(app, ["benchmark", "speed", "--parts", "gpu", "--device", "cpu", "--json", sys.argv[2]])
assert done.exit_code != 0 and "Expected a CUDA GPU" in str(done.exception), done.exception
sys.exit(pytest.main(["-m", "gpu", "--collect-only", "-q", "-p", "no:cacheprovider", sys.argv[1]]))
"""
    ran = run_python(script, ROOT / "Testing/Python", tmp_path / "gpu.json", cwd=tmp_path)
    assert ran.returncode == 0 and "test_a_gpu_without_memory" in ran.stdout, ran.stdout[-2000:] + ran.stderr
