"""Ways to run the command line in the test's process, and scripts in processes of their own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from MedCLIPSAMLib import cli

ROOT = Path(__file__).resolve().parents[2]


def run_python(
    script: str, *arguments: object, cwd: Path = ROOT, given: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a script in a Python process of its own; `given` is its standard input, `more` are environment variables."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "python")])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"} | more
    options = {"cwd": cwd, "input": given, "env": environment, "encoding": "utf-8", "timeout": 500}
    return subprocess.run([sys.executable, "-c", script, *map(str, arguments)], capture_output=True, **options)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs `medclipsam` with arguments and returns (exit code, output, error output)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["medclipsam", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        written = capsys.readouterr()
        return code, written.out, written.err

    return call
