"""The public API: its names, what they cost to import, and the example of the README."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from helpers.command_line import run_python

import MedCLIPSAMLib

ROOT = Path(__file__).resolve().parents[2]


def run(script: str) -> str:
    ran = run_python(script)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_every_public_name_is_imported_when_asked_for() -> None:
    for name in MedCLIPSAMLib.__all__:
        assert getattr(MedCLIPSAMLib, name) is not None
    assert set(MedCLIPSAMLib.__all__) <= set(dir(MedCLIPSAMLib))
    with pytest.raises(AttributeError, match="no attribute 'read_volumes'"):
        MedCLIPSAMLib.read_volumes  # noqa: B018


def test_type_checkers_see_the_names_that_are_there() -> None:
    tree = ast.parse(Path(MedCLIPSAMLib.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {}
    for line in block.body:
        seen |= {
            alias.asname: getattr(import_module(f".{line.module}", "MedCLIPSAMLib"), alias.name) for alias in line.names
        }
    assert seen == {name: getattr(MedCLIPSAMLib, name) for name in MedCLIPSAMLib.__all__ if name != "__version__"}


def test_both_names_give_the_same_objects() -> None:
    run(
        "import MedCLIPSAMLib, medclipsam\n"
        "assert set(medclipsam.__all__) == set(MedCLIPSAMLib.__all__) == set(dir(medclipsam))\n"
        "for name in medclipsam.__all__: assert getattr(medclipsam, name) is getattr(MedCLIPSAMLib, name)"
    )


def test_errors_volumes_and_the_client_need_no_torch() -> None:
    """3D Slicer imports them in its own process."""
    heavy = ("torch", "timm", "transformers", "open_clip", "sam2", "matplotlib", "monai", "pydantic", "typer")
    light = (
        "InputError",
        "Plane",
        "RunContext",
        "Volume",
        "read_volume",
        "write_segmentation",
        "WorkerClient",
        "SubprocessTransport",
    )
    output = run(
        f"import sys, medclipsam\n"
        f"for name in {light}: getattr(medclipsam, name)\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    assert output.strip() == "[]"


def test_the_example_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands, in a folder that has the sample images where the checkout has them."""
    (tmp_path / "Resources").symlink_to(ROOT / "Resources")
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    assert MedCLIPSAMLib.read_segmentation(tmp_path / "tumor.seg.nrrd")


def test_installing_takes_the_same_lines_on_every_system() -> None:
    """A variable before a command is for POSIX shells alone, and a build that is not isolated needs its tools first."""
    text = (ROOT / "docs" / "tutorial.md").read_text()
    lines = re.findall(r"^    pip install .*$", text, re.MULTILINE)
    assert len(lines) == 2
    assert not re.search(r"[A-Z0-9_]+=\S+ +pip ", text)
    for needed in tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]:
        assert needed in lines[0]


def test_no_two_files_differ_in_case_only() -> None:
    """On a disk that is blind to case they would be one: MedCLIPSAM is Slicer's module, medclipsam the package."""
    for folder in (ROOT, ROOT / "MedCLIPSAM", ROOT / "MedCLIPSAMLib", ROOT / "python"):
        names = [path.stem.lower() for path in folder.iterdir() if path.suffix in ("", ".py")]
        assert len(set(names)) == len(names), folder
