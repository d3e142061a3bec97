"""The command line as a user meets it: its output and its exit code, in a process of its own where it matters."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import run_python
from PIL import Image

from MedCLIPSAMLib import __version__

COMMAND = [sys.executable, "-m", "MedCLIPSAMLib"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    pred, truth = tmp_path / "pred", tmp_path / "truth"
    for folder in (pred, truth):
        folder.mkdir()
    for number in range(3):
        mask = np.zeros((60, 60), np.uint8)
        mask[20:40, 20:40] = 255
        Image.fromarray(mask).save(truth / f"case{number}.png")
        if number != 2:
            Image.fromarray(np.roll(mask, 10 * number, 1)).save(pred / f"case{number}.png")
    return pred, truth


def test_help_comes_without_loading_torch(run):
    probe = "import sys; import MedCLIPSAMLib.cli; print({'torch', 'matplotlib', 'SimpleITK'} & sys.modules.keys())"
    found = run_python(probe)
    assert found.stdout.strip() == "set()", found.stderr
    code, shown, _ = run("--help")
    assert code == 0 and all(command in shown for command in ("evaluate", "models", "segment", "demo"))


def test_version(run):
    assert run("--version")[1] == f"medclipsam {__version__}\n"


@pytest.mark.parametrize("module", ["MedCLIPSAMLib", "MedCLIPSAMLib.cli"])
def test_both_modules_that_look_like_the_command_are_it(module):
    found = subprocess.run(
        [sys.executable, "-m", module, "--debug", "evaluate", "absent", "absent"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert found.returncode == 2 and "error: " in found.stderr and "Traceback" in found.stderr


def test_evaluate_prints_a_table_and_writes_a_csv(folders, tmp_path, run):
    code, shown, err = run("evaluate", *folders, "--csv", tmp_path / "scores.csv")
    assert code == 0, err
    assert "0.5000" in shown and "No prediction (scored 0): case2" in shown
    with (tmp_path / "scores.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [(line["case"], float(line["dsc"])) for line in lines] == [("case0", 1.0), ("case1", 0.5), ("case2", 0.0)]


def test_evaluate_prints_json_that_any_reader_takes(folders, run):
    _, shown, _ = run("evaluate", *folders, "--json", "--tolerance", "10")
    found = json.loads(shown, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found["summary"]["mask"]["dsc"]["mean"] == 0.5
    assert [case["nsd"] for case in found["cases"]] == [1.0, 1.0, 0.0]
    assert found["cases"][2]["hd95"] is None
    assert found["missing"] == ["case2"]


def test_an_error_is_a_message_and_exit_code_2(tmp_path, run):
    code, _, err = run("evaluate", tmp_path / "absent", tmp_path)
    assert code == 2 and err.startswith("error: There is no file or folder") and "absent" in err
    assert "Traceback" not in err and len(err.strip().splitlines()) <= 2


def test_a_value_that_reads_like_the_debug_option_is_a_value(tmp_path, run):
    code, _, err = run("segment", tmp_path / "absent.png", "-p", "--debug", "-o", tmp_path / "mask.png")
    assert code == 2 and err.startswith("error: ") and "Traceback" not in err


def test_the_file_of_a_benchmark_is_no_wish_for_json(tmp_path, run):
    for before in ([], ["--log-level", "info"], ["--debug"]):
        code, out, err = run(*before, "benchmark", "speed", "--parts", "none", "--json", tmp_path / "figures.json")
        assert code == 2 and out == "" and "Expected --parts" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is full")
@pytest.mark.parametrize("arguments", [["worker", "status", "--json"], ["evaluate", "absent", "absent", "--json"]])
def test_an_output_that_cannot_be_written_is_no_traceback(arguments, tmp_path):
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run([*COMMAND, *arguments], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, encoding="utf-8")
    assert ended.returncode == 2 and ended.stderr.startswith("error: ") and "Traceback" not in ended.stderr


def test_a_reader_that_stops_early_is_no_failure_of_images(folders):
    """As `medclipsam evaluate ... | head -1` with pipefail: 1 would say that some cases failed."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [*COMMAND, "evaluate", *map(str, folders)]
    ended = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, encoding="utf-8")
    os.close(writing)
    assert ended.returncode == 130 and ended.stderr == ""


def test_a_folder_that_was_removed_under_the_terminal_is_told(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    script = (
        f"import os; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r}); from MedCLIPSAMLib.__main__ import main; main()"
    )
    ended = run_python(script)
    assert ended.returncode == 2 and ended.stderr.startswith("error: The current folder of this terminal was removed.")


def test_csv_into_a_missing_folder_is_refused(folders, tmp_path, run):
    code, _, err = run("evaluate", *folders, "--csv", tmp_path / "absent" / "scores.csv")
    assert code == 2 and "does not exist" in err


def test_interruption_ends_with_130(folders):
    pred, truth = folders
    large = np.zeros((2000, 2000), np.uint8)
    large[500:1500, 500:1500] = 255
    for number in range(1500):
        for folder in folders:
            path = folder / f"large{number}.png"
            os.link(folder / "large0.png", path) if number else Image.fromarray(large).save(path)
    running = subprocess.Popen(
        [*COMMAND, "evaluate", str(pred), str(truth)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        cwd=ROOT,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # ignored where the tests run in the background
    )
    time.sleep(5)
    running.send_signal(signal.SIGINT)
    _, message = running.communicate(timeout=60)
    assert running.returncode == 130
    assert message.splitlines()[-1] == "Interrupted." and "Traceback" not in message


@pytest.mark.parametrize("module", ["MedCLIPSAMLib.command_worker.client", "typer", "MedCLIPSAMLib.commands.weak"])
def test_interruption_of_the_start_ends_with_130_too(module):
    script = f"""
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            exec("os.kill(os.getpid(), signal.SIGINT)")

sys.meta_path.insert(0, Interrupt())
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = ["medclipsam", "segment", "absent.png", "-p", "tumor", "-o", "mask.png"]
from MedCLIPSAMLib.__main__ import main
main()
"""
    ended = run_python(script)
    assert (ended.returncode, ended.stderr) == (130, "Interrupted.\n")


def test_models_are_listed_and_found(run):
    listed = {(model["name"], model["kind"]): model for model in json.loads(run("models", "list", "--json")[1])}
    assert listed["biomedclip", "clip"]["license"] == "MIT"
    assert listed["demo", "clip"]["download_bytes"] is None
    assert "biomedclip" in run("models", "list")[1]


def test_an_absent_model_says_how_to_get_it(tmp_path, run, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code, _, err = run("models", "where", "biomedclip")
    assert code == 2 and "medclipsam models download biomedclip" in err
    assert "Did you mean 'biomedclip'" in run("models", "where", "bimedclip")[2]


def test_the_log_of_a_command_goes_to_a_file_too(tmp_path, run):
    run("--log-level", "debug", "--log-file", tmp_path / "log.txt", "evaluate", tmp_path / "absent", tmp_path)
    assert " DEBUG MedCLIPSAMLib.cli: " in (tmp_path / "log.txt").read_text()
    code, _, err = run("--log-file", tmp_path / "absent" / "log.txt", "models", "list")
    assert code == 2 and "cannot be written" in err
