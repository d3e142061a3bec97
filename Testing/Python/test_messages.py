"""Messages of the engine fit the command line, the panel and Python alike."""

from __future__ import annotations

import ast
import logging
import re
from pathlib import Path

import pytest

import MedCLIPSAMLib
import MedCLIPSAMLib.errors
from MedCLIPSAMLib.logs import configure_logging

ENGINE = Path(MedCLIPSAMLib.__file__).parent
SHARED = ("export", "finetune", "pipeline", "propagation", "segmentation", "worker")
"""What the panel and the command line both run. The panel has words of its own for models that are missing."""
COMMAND_LINE = ("ray_engine.py", "strike.py")
"""What the command line alone runs."""


@pytest.mark.parametrize(
    "path",
    [path for name in SHARED for path in (ENGINE / name).glob("*.py") if path.name not in COMMAND_LINE],
    ids=lambda p: p.name,
)
def test_errors_name_no_option_of_the_command_line(path: Path) -> None:
    raised = [node.exc for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Raise)]
    texts = [node.value for error in raised if error for node in ast.walk(error) if isinstance(node, ast.Constant)]
    of_commands = re.compile(r"(^|[^\w'-])--?[a-z]|medclipsam [a-z]")
    assert not [text for text in texts if isinstance(text, str) and of_commands.search(text)]


def test_what_is_quoted_of_a_file_cannot_command_a_terminal() -> None:
    error = MedCLIPSAMLib.errors.InputError("It is \x1b[2J\x9b1m\0.\n  a list", "Leave\r it.")
    assert error.problem == r"It is \x1b[2J\x9b1m\x00." + "\n  a list" and error.remedy == r"Leave\r it."
    assert str(error) == f"{error.problem} {error.remedy}"


def test_names_that_are_no_text_are_logged(tmp_path: Path) -> None:
    configure_logging(file=tmp_path / "log.txt")
    logging.getLogger("MedCLIPSAMLib.x").warning("caf\udce9")
    assert r"caf\udce9" in (tmp_path / "log.txt").read_text(encoding="utf-8")
