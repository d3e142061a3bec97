"""Commands that need an extra name it where its packages are absent, before they begin."""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import run_python
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from MedCLIPSAMLib.errors import EXTRAS, InputError, with_remedy
from MedCLIPSAMLib.experiments.label_free import Space, search_without_masks
from MedCLIPSAMLib.experiments.search import SearchCase
from MedCLIPSAMLib.finetune.trainable import prepare
from MedCLIPSAMLib.models.clip import load_clip
from MedCLIPSAMLib.segmentation.segmenter import load_segmenter
from MedCLIPSAMLib.worker.engine import Engine
from MedCLIPSAMLib.worker.protocol import FrameParser, Message, encode
from MedCLIPSAMLib.worker.server import Server

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "Resources" / "samples"
FOR_DEVELOPERS = {"scene", "panel", "test", "dev", "docs"}
COMMANDS = {
    "cluster": [
        "benchmark cluster --workers 1 --cases 1",
        "export images -o Dataset101_Breast -p tumor --engine ray",
    ],
    "crf": ["segment breast_us.png -p tumor -o mask.png --coarse crf"],
    "dicom": ["segment brain_mri.dcm -p tumor -o mask.dcm", "export images -o Dataset1_A -p tumor --format dcm"],
    "finetune": [
        "finetune captions.csv --name mine --base demo",
        "finetune shards.tar --name mine --base demo",
        "reproduce finetune --quick",
    ],
    "search": ["search images -p tumor"],
    "weak": [
        "weak train Dataset101_Breast -o run",
        "weak predict run breast_us.png -o predictions",
        "reproduce weak --quick",
    ],
}


@pytest.mark.parametrize(
    ("extra", "command"), [(extra, command) for extra, commands in COMMANDS.items() for command in commands]
)
def test_a_command_names_the_extra_that_it_needs(run, tmp_path, monkeypatch, extra: str, command: str) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SAMPLES, tmp_path, dirs_exist_ok=True)
    shutil.copytree(SAMPLES, tmp_path / "images")
    Path("captions.csv").write_text("image,caption\nbreast_us.png,a breast ultrasound with a tumor\n")
    for name in EXTRAS[extra]:
        monkeypatch.setitem(sys.modules, name, None)  # as where it is not installed
    code, _, err = run(*command.split())
    assert code == 2 and f"pip install 'medclipsam[{extra}]'" in err, err
    assert EXTRAS[extra][0] in err


def test_an_import_that_fails_later_names_the_extra_too() -> None:
    refused = with_remedy(ModuleNotFoundError(name="webdataset.shardlists"))
    assert refused is not None and ": pip install 'medclipsam[finetune]'." in refused.remedy
    assert with_remedy(ModuleNotFoundError(name="MedCLIPSAMLib.nothing")) is None  # a fault of the program


@pytest.mark.parametrize(
    ("module", "package"), [("typer", "typer"), ("skimage", "scikit-image"), ("matplotlib", "matplotlib")]
)
def test_a_package_that_all_need_is_named_where_it_is_absent(tmp_path, module: str, package: str) -> None:
    """As in a checkout that is run by a Python in which not everything was installed; matplotlib is for the overlay."""
    script = f"import sys; sys.modules['{module}'] = None; from MedCLIPSAMLib.__main__ import main; main()"
    options = "-p", "breast tumor", "-o", tmp_path / "out.png", "--overlay", tmp_path / "overlay.png"
    done = run_python(script, "segment", SAMPLES / "breast_us.png", *options)
    assert done.returncode == 2 and f"not installed: {module}" in done.stderr, done.stderr
    assert f": pip install {package}." in done.stderr
    assert "Traceback" not in done.stderr and "Leave it out" not in done.stderr


def test_a_search_without_masks_names_its_extra_from_python_too(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    case = SearchCase(np.zeros((8, 8, 3), np.uint8), "tumor", None)
    with pytest.raises(InputError, match="not installed: optuna"):
        search_without_masks(load_segmenter("demo", "demo", "cpu"), [case], Space((3,)))


def test_lora_names_its_extra_from_python_too(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match="LoRA needs .*: peft"):
        prepare(load_clip("demo").model, lora_rank=2)


@pytest.mark.parametrize(
    ("name", "words"), [("optuna", "pip install 'medclipsam[search]'"), ("timm", ": pip install timm.")]
)
def test_a_worker_that_lacks_a_package_says_how_to_get_it(monkeypatch, name: str, words: str) -> None:
    def lack(*_: object) -> None:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(Engine, "handle", lack)
    (source, ask), (answers, sink) = os.pipe(), os.pipe()
    os.write(ask, encode(Message("models", 1)) + encode(Message("shutdown", 2)))
    Server(source, sink, 10).run()
    answer = FrameParser().feed(os.read(answers, 1 << 16))[0]
    assert answer.type == "error" and name in answer.fields["problem"] and words in answer.fields["remedy"]


def test_the_extras_are_those_of_the_project() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS) == set(listed) - FOR_DEVELOPERS
    packages = packages_distributions()
    for extra, modules in EXTRAS.items():
        names = {canonicalize_name(Requirement(line).name) for line in listed[extra]}
        for module in set(modules) & set(packages):
            assert {canonicalize_name(name) for name in packages[module]} & names, module
