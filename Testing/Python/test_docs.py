"""The documents: the site builds without the network, and links hold on GitHub too."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import MedCLIPSAMLib
from MedCLIPSAMLib.volumes.window import PRESETS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "Testing" / "README.md"]
PUBLIC = set(MedCLIPSAMLib.__all__) - {"__version__"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site; building it takes the real configuration, in which a link to nowhere is an error."""
    pytest.importorskip("mkdocs")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "-d", str(out)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")
    assert ran.returncode == 0, ran.stderr
    return out


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_the_site_takes_nothing_from_a_server(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|iframe|source)\b[^>]*\bsrc="([^"]*)"', read(page))
        loaded += re.findall(r'<link\b[^>]*rel="(?:stylesheet|preconnect|preload)"[^>]*href="([^"]*)"', read(page))
        loaded += re.findall(r'<link\b[^>]*href="([^"]*)"[^>]*rel="(?:stylesheet|preconnect|preload)"', read(page))
        assert not [address for address in loaded if re.match(r"(https?:)?//", address)], page


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    text = read(site / "api.html")
    for name in PUBLIC:
        assert re.search(rf'<h3 id="MedCLIPSAMLib\.[\w.]*\b{name}"', text), name


def test_every_command_is_in_the_reference(site: Path) -> None:
    text = read(site / "commands.html")
    for words in ("medclipsam segment", "medclipsam weak train", "medclipsam models download"):
        assert f"<code>{words}</code>" in text, words
    assert "<code>-p, --prompt TEXT</code>" in text


def test_pages_outside_the_folder_are_linked_inside_the_site(site: Path) -> None:
    assert 'href="CONTRIBUTING.html#glossary"' in read(site / "index.html")
    assert 'href="Testing/index.html"' in read(site / "index.html")
    assert (site / "Resources" / "screenshots" / "views.png").is_file()


def test_the_reference_says_what_every_public_name_is_without_the_site() -> None:
    rows = re.findall(r"^\| `(\w+)` \| \w.*\w.* \|$", read(ROOT / "docs" / "api.md"), re.MULTILINE)
    assert set(rows) == PUBLIC and len(rows) == len(PUBLIC)


def test_contributors_see_the_layers_that_imports_are_held_to() -> None:
    contracts = tomllib.loads(read(ROOT / "pyproject.toml"))["tool"]["importlinter"]["contracts"]
    layers = [set(layer.split(" | ")) for layer in contracts[0]["layers"]]
    rows = read(ROOT / "CONTRIBUTING.md").split("| layer | what |")[1].split("\n\n")[0]
    assert [set(re.findall(r"`(\w+)`", row.split(" | ")[0])) for row in rows.splitlines()[2:]] == layers


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_are_of_public_names(page: Path) -> None:
    """Private modules may change without notice; the program of the worker is started by its name."""
    text = read(page)
    code = re.findall(r"(?s:```python\n.*?```)|^    .*$|`[^`\n]+`", text, re.MULTILINE)
    for piece in code:
        assert not re.search(r"(?:from|import) MedCLIPSAMLib|MedCLIPSAMLib\.[\w.]*\(", piece), piece
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        named = set(re.findall(r"\bmedclipsam\.(\w+)", block))
        for line in re.findall(r"^from medclipsam import (.*)$", block, re.MULTILINE):
            named |= set(re.split(r",\s*", line))
        assert named <= PUBLIC, named - PUBLIC


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_of_the_checkout(page: Path) -> None:
    text = re.sub(r"```.*?```", "", read(page), flags=re.DOTALL)
    for target in re.findall(r'\]\(([^)#\s]+)|src="([^"]+)"', text):
        path = "".join(target)
        if not path.startswith("http"):
            assert (page.parent / path).exists(), path


def test_the_tutorial_runs(tmp_path: Path, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands and its Python as they stand, in a folder that has the sample images where the checkout has them."""
    (tmp_path / "Resources").symlink_to(ROOT / "Resources")
    monkeypatch.chdir(tmp_path)
    text = read(ROOT / "docs" / "tutorial.md")
    script = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    exec(script, {})
    demo, tumor, nothing, lungs, _, scores = run_commands(run, text)
    written = {"demo-output", "tumor.png", "overlay.png", "nothing.png", "lungs.seg.nrrd", "brain.seg.nrrd"}
    assert written <= {path.name for path in tmp_path.iterdir()}
    assert "brain tumor" in demo and "DSC" in scores
    assert "Found 'breast tumor'" in tumor
    assert "Found" not in nothing
    assert "Found 'lungs'" in lungs and "nodule: Found 'lung nodule'" in lungs


def test_the_examples_on_sample_images_run(tmp_path: Path, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Resources").symlink_to(ROOT / "Resources")
    monkeypatch.chdir(tmp_path)
    output = run_commands(run, read(ROOT / "docs" / "commands.md"), "Resources/samples")
    assert len(output) == 4
    written = {"tumor.seg.nrrd", "tumor.png", "masks", "heart.png", "tumor.dcm"}
    assert written <= {path.name for path in tmp_path.iterdir()}


def run_commands(run: Callable, text: str, named: str = "") -> list[str]:
    """Run the commands of a page that name something, and return what each prints."""
    output = []
    for line in re.findall(r"^    medclipsam (.*)$", text, re.MULTILINE):
        if named in line:
            code, out, err = run(*shlex.split(line))
            assert code == 0, err
            output.append(out)
    return output


def test_the_presets_of_windows_are_listed_with_their_values() -> None:
    text = read(ROOT / "docs" / "volumes.md").replace("\n", " ")
    for name, (level, width) in PRESETS.items():
        assert re.search(rf"`{name}`( and `\w+`)? {level - width / 2:g}:{level + width / 2:g}\b", text), name
