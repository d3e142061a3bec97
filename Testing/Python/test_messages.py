"""Messages of the engine fit the command line, the panel and Python alike."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import MedCLIPSAMLib

ENGINE = Path(MedCLIPSAMLib.__file__).parent
SHARED = ("finetune", "pipeline", "propagation", "segmentation")
"""What the panel and the command line both run. The panel has words of its own for models that are missing."""


@pytest.mark.parametrize(
    "path", [path for name in SHARED for path in (ENGINE / name).glob("*.py")], ids=lambda p: p.name
)
def test_errors_name_no_option_of_the_command_line(path: Path) -> None:
    raised = [node.exc for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Raise)]
    texts = [node.value for error in raised if error for node in ast.walk(error) if isinstance(node, ast.Constant)]
    assert not [text for text in texts if isinstance(text, str) and re.search(r"(^|\W)--[a-z]", text)]
