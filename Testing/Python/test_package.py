"""What a user installs: the wheel, built from the source distribution, in an environment that lacks the checkout."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from MedCLIPSAMLib import __version__
from MedCLIPSAMLib.errors import EXTRAS

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("MedCLIPSAMLib", "Resources", "python")
RESOURCES = ("models/*/*", "pages/*", "prompts/*", "samples/*", "requirements.txt")
HERE = ("dicom", "finetune", "weak")
IN_EXTRAS = ("braceexpand", *(name for names in EXTRAS.values() for name in names))


def built_from() -> list[Path]:
    """The folders and files of the checkout that a build reads."""
    names = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff")
    return [ROOT / name for name in names]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that was built from it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for path in built_from():
        shutil.copy(path, source)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source]
    built = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert built.returncode == 0, built.stdout + built.stderr
    return out


@pytest.fixture(scope="module")
def python(distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment in which the wheel is installed; its dependencies are those of this environment.

    A path in a .pth file is put on sys.path without its own .pth files, so that no editable installation takes part.
    """
    folder = tmp_path_factory.mktemp("environment")
    context = venv.EnvBuilder(symlinks=os.name != "nt").ensure_directories(folder)
    venv.create(folder, symlinks=os.name != "nt")
    python = Path(context.env_exe)
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    wheel = next(distributions.glob("*.whl"))
    subprocess.run([*pip, "install", "-q", "--no-deps", "--no-index", wheel], check=True)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": folder, "platbase": folder}))
    dependencies = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "dependencies.pth").write_text("".join(f"{path}\n" for path in dependencies))
    return python


def run(python: Path, *arguments: str | Path, cwd: Path) -> str:
    """The output of a program of the environment, which knows nothing of the checkout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    ran = subprocess.run([python, *arguments], cwd=cwd, env=environment, capture_output=True, encoding="utf-8")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_wheel_holds_what_runs_and_nothing_else(distributions: Path) -> None:
    with zipfile.ZipFile(next(distributions.glob("*.whl"))) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "MedCLIPSAMLib").rglob("*.py")}
    resources = {
        f"MedCLIPSAMLib/{path.relative_to(ROOT).as_posix()}"
        for pattern in RESOURCES
        for path in (ROOT / "Resources").glob(pattern)
    }
    sources |= {f"medclipsam/{name}" for name in ("__init__.py", "__main__.py", "py.typed")}
    assert names == sources | resources | {"MedCLIPSAMLib/py.typed"}


def test_source_distribution_holds_its_papers(distributions: Path) -> None:
    with tarfile.open(next(distributions.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {path.name for path in built_from()} <= names


def test_version_has_one_source(distributions: Path) -> None:
    """The file for citations, which no build reads, and the changelog repeat it."""
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert __version__ in re.search(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)[1]
    names = sorted(path.name for path in distributions.iterdir())
    assert names == [f"medclipsam-{__version__}-py3-none-any.whl", f"medclipsam-{__version__}.tar.gz"]


def test_dependencies_of_the_extras_are_met(python: Path, tmp_path: Path) -> None:
    """The ranges of the wheel admit the versions that the tests run with."""
    script = "import importlib.metadata as m; print(*m.requires('medclipsam'), sep='\\n')"
    unmet = []
    for line in run(python, "-c", script, cwd=tmp_path).splitlines():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in HERE):
            try:
                version = importlib.metadata.version(requirement.name)
            except importlib.metadata.PackageNotFoundError:
                if marker is None:
                    unmet.append(line)
                continue
            if version not in requirement.specifier:
                unmet.append(f"{line}: {version}")
    assert not unmet


def test_public_names_are_there_under_the_distributions_name(python: Path, tmp_path: Path) -> None:
    script = "import sys, medclipsam as m; print(m.__version__, m.InputError.__name__, 'torch' in sys.modules)"
    assert run(python, "-c", script, cwd=tmp_path).split() == [__version__, "InputError", "False"]
    assert run(python, "-m", "medclipsam", "--version", cwd=tmp_path).split() == ["medclipsam", __version__]


def test_demo_runs(python: Path, tmp_path: Path) -> None:
    output = run(python.with_name("medclipsam"), "demo", "--out", "out", cwd=tmp_path)
    assert "brain tumor" in output
    sheet = re.search(r"overlays and (\S+) are in (.*?)\. The sample", output)
    assert sheet and (Path(sheet[2]) / sheet[1]).is_file()
    samples = re.search(r"The sample images are in (.*?)\. For research", output)
    assert samples and (Path(samples[1]) / "breast_us.png").is_file()


def test_every_module_is_imported_from_the_wheel(python: Path, tmp_path: Path) -> None:
    """Modules of an extra that is not installed here are left out."""
    absent = [name for name in IN_EXTRAS if importlib.util.find_spec(name) is None]
    script = f"""
import importlib, pkgutil, sys, MedCLIPSAMLib
for found in pkgutil.walk_packages(MedCLIPSAMLib.__path__, "MedCLIPSAMLib."):
    if not found.name.endswith("__main__"):
        try:
            module = importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            if error.name.partition(".")[0] not in {absent}:
                raise
        else:
            assert module.__file__.startswith(sys.prefix), module.__file__
            print(found.name)
"""
    imported = run(python, "-c", script, cwd=tmp_path).split()
    assert "MedCLIPSAMLib.segmentation.segmenter" in imported
    assert len(imported) > 100


@pytest.mark.skipif(importlib.util.find_spec("nnunetv2") is None, reason="nnunetv2 is not installed")
def test_nnunet_finds_the_trainer(python: Path, tmp_path: Path) -> None:
    """As `medclipsam weak train` starts nnU-Net: by the variables that it gives to the process."""
    script = """
import os, sys
from pathlib import Path
from MedCLIPSAMLib.nnunet.process import environment
from MedCLIPSAMLib.nnunet.train import TRAINER
os.environ.update(environment(Path("raw"), Path("out")))
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
print(recursive_find_trainer_class_by_name(TRAINER).__name__)
"""
    assert run(python, "-c", script, cwd=tmp_path).split()[-1] == "nnUNetTrainerMedCLIPSAM"
