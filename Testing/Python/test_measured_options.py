"""What the help and the documents say of the options of the method is what was measured, in docs/results/method.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from MedCLIPSAMLib import cli

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "results" / "method.md").read_text(encoding="utf-8")
TABLES = re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE)
ON_24 = [table for table in TABLES if "breast US (24)" in table]
ON_160 = [table for table in TABLES if "breast US (160)" in table]
FINAL, COARSE = slice(0, None, 2), slice(1, None, 2)  # the tables come in pairs


def row(table: str, name: str) -> list[str]:
    (line,) = (line for line in table.splitlines() if line.startswith(f"| {name} |"))
    return line.strip("| ").split(" | ")[1:]


def span(tables: list[str], name: str) -> str:
    """The smallest and the largest mean difference of the DSC, as they stand in the tables."""
    changes = [re.match(r"\.\d+, ([+-]\.\d+)", cell)[1] for table in tables for cell in row(table, name)[:-1]]
    return f"{min(changes, key=float)} to {max(changes, key=float)}"


def page(name: str) -> str:
    return re.sub(r"\s+", " ", (ROOT / name).read_text(encoding="utf-8"))


def help_of(command: str, option: str) -> str:
    parameters = typer.main.get_command(cli.app).commands[command].params
    (text,) = (parameter.help for parameter in parameters if option in parameter.opts)
    return text


@pytest.mark.parametrize("command", ["segment", "export"])
def test_the_help_says_what_was_measured(command: str) -> None:
    assert span(ON_24[FINAL], "3 prompts, mean") in help_of(command, "--vote")
    assert span(ON_24[FINAL], "3 prompts x 3 masks, mean") in help_of(command, "--vote-masks")
    assert span(ON_160[COARSE], "affinity, sharper (30)") in help_of(command, "--affinity")
    assert span(ON_160[FINAL], "affinity, sharper (30)") in help_of(command, "--affinity")


def test_the_method_says_what_was_measured_of_the_vote() -> None:
    text = page("docs/method.md")
    assert span(ON_24[FINAL], "3 prompts, mean") in text
    assert span(ON_24[FINAL], "3 prompts x 3 masks, mean") in text
    assert span(ON_24[FINAL], "3 prompts x 3 masks, STAPLE").split()[0] in text


def test_the_method_says_what_was_measured_of_maps() -> None:
    text = page("docs/method.md")
    assert span(ON_160[COARSE], "affinity, sharper (30)") in text
    assert span(ON_160[FINAL], "affinity, sharper (30)") in text
    assert span(ON_24[FINAL], "finer grid (4 shifts)") in text
    assert row(ON_160[0], "affinity of SAM 2, published")[1].split()[1] in text
    assert row(ON_160[1], "mirror image")[0].split()[1] in text


def test_the_time_of_a_vote_is_the_one_measured() -> None:
    vote, plain = (float(row(ON_24[0], name)[-1]) for name in ("3 prompts, mean", "as it is"))
    assert round(4 * (vote / plain - 1)) == 1
    for name in ("docs/method.md", "docs/slicer.md", "MedCLIPSAM/Resources/UI/MedCLIPSAM.ui"):
        assert "a quarter more time" in page(name) and "third more time" not in page(name), name
    assert "a quarter more time" in help_of("segment", "--vote")
