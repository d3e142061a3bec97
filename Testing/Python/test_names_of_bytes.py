"""Names that are no text, names that are too long, and prompts of half characters: an error of two lines."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

from MedCLIPSAMLib import cli
from MedCLIPSAMLib.resources import resource_path

BYTES = os.fsdecode(b"caf\xe9")
LONG = "a" * 300


@pytest.fixture()
def run(tmp_path, monkeypatch, capfd):
    """Run the command line in a folder of samples: exit code, and what it and ITK print."""
    sample = resource_path("samples") / "lung_ct.nii.gz"
    shutil.copy(sample, tmp_path / "scan.nii.gz")
    shutil.copy(resource_path("samples") / "breast_us.png", tmp_path / f"{BYTES}.png")
    shutil.copy(sample, tmp_path / f"{BYTES}.nii.gz")
    (tmp_path / f"{BYTES}.nrrd").write_bytes(b"NRRD0004\n")
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["medclipsam", *arguments])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capfd.readouterr()

    return call


NODULE = ("-p", "lung nodule")


@pytest.mark.parametrize(
    "command",
    [
        ("segment", "scan.nii.gz", *NODULE, "-o", f"{LONG}.nii.gz"),
        ("segment", f"{LONG}.nii.gz", *NODULE, "-o", "o.nii.gz"),
        ("models", "list", "--models-dir", LONG),
        ("export", "scan.nii.gz", *NODULE, "-o", f"{LONG}/Dataset101_X"),
        ("evaluate", ".", ".", "--csv", f"{LONG}.csv"),
        ("segment", "scan.nii.gz", "-p", f"lung {BYTES}", "-o", "o.nii.gz"),
        ("segment", "scan.nii.gz", *NODULE, "--negative", BYTES, "-o", "o.nii.gz"),
        ("segment", "scan.nii.gz", *NODULE, "-o", f"{BYTES}.seg.nrrd"),
        ("segment", f"{BYTES}.nrrd", *NODULE, "-o", "o.nii.gz"),
    ],
    ids=lambda command: " ".join(part.replace(LONG, "LONG").replace(BYTES, "BYTES") for part in command),
)
def test_they_are_refused_in_two_lines(run, command):
    code, _, output = run(*command)
    assert code == 2 and output.startswith("error: ") and len(output.strip().splitlines()) == 2, output[-2000:]


def test_what_no_library_minds_works(run, tmp_path):
    code, out, output = run("segment", f"{BYTES}.nii.gz", *NODULE, "-o", f"{BYTES}-mask.nii.gz")
    assert code == 0, output
    assert (tmp_path / f"{BYTES}-mask.nii.gz").is_file() and "Written" in out
    (tmp_path / "in").mkdir()
    (tmp_path / f"{BYTES}.nii.gz").rename(tmp_path / "in" / f"{BYTES}.nii.gz")
    code, out, output = run("export", "in", *NODULE, "-o", "Dataset101_X")
    assert code == 0 and "1 found" in out, output
    code, out, output = run("export", "in", *NODULE, "-o", "Dataset101_X", "--json")
    assert code == 0 and '"found": 1' in out, output
