"""What differs on Windows and macOS: open and mapped files, drives, shells, processes, the GPU."""

import os
import shutil
import subprocess
import sys
import time
import unicodedata
from contextlib import suppress
from pathlib import PureWindowsPath
from types import SimpleNamespace

import psutil
import pytest
from helpers.windows import refuse_open_files, set_drive_apart, uses

from MedCLIPSAMLib.cli import expanded
from MedCLIPSAMLib.commands.parsing import quoted
from MedCLIPSAMLib.errors import Cancelled, OutputError
from MedCLIPSAMLib.export.image_names import find_image
from MedCLIPSAMLib.export.manifest import read_records
from MedCLIPSAMLib.files.atomic import atomic_path
from MedCLIPSAMLib.files.folder import atomic_folder, remove_folder
from MedCLIPSAMLib.files.lock import hold_lock
from MedCLIPSAMLib.files.relative import listed_path
from MedCLIPSAMLib.files.unfinished import hold_unfinished
from MedCLIPSAMLib.models.feature_statistics import read_statistics
from MedCLIPSAMLib.nnunet.process import Process
from MedCLIPSAMLib.resources import resource_path
from MedCLIPSAMLib.run_context import RunContext


@pytest.fixture()
def windows(monkeypatch):
    refuse_open_files(monkeypatch)


def test_no_lock_stays_behind(tmp_path, windows):
    with hold_lock(tmp_path / ".a.lock"), pytest.raises(PermissionError):
        os.unlink(tmp_path / ".a.lock")
    with hold_unfinished(tmp_path / "a.unfinished"):
        assert (tmp_path / "a.unfinished").is_dir()
    with atomic_folder(tmp_path / "model") as temporary:
        (temporary / "weights").write_text("first")
    remove_folder(tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_a_lock_that_another_run_has_opened_meanwhile_stays_for_it(tmp_path, windows):
    with hold_lock(tmp_path / ".a.lock"):
        other = open(tmp_path / ".a.lock")  # noqa: SIM115
    with other:
        assert os.listdir(tmp_path) == [".a.lock"]


def test_a_file_that_a_scanner_reads_for_a_moment_is_replaced_then_and_one_that_stays_open_is_named(
    tmp_path, windows, monkeypatch
):
    path = tmp_path / "tumor.txt"
    path.write_text("first")
    scanned = open(path)  # noqa: SIM115
    monkeypatch.setattr(time, "sleep", lambda _seconds: scanned.close())
    with atomic_path(path) as temporary:
        temporary.write_text("second")
    assert scanned.closed and path.read_text() == "second"
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    named = pytest.raises(OutputError, match="another program has it open")
    with path.open(), named as caught, atomic_path(path) as temporary:
        temporary.write_text("third")
    assert "tumor.txt" in str(caught.value) and path.read_text() == "second" and os.listdir(tmp_path) == ["tumor.txt"]
    assert 2 < sum(waited) < 5


def test_a_refusal_of_other_systems_is_told_at_once(tmp_path, monkeypatch):
    def refuse(*_paths):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(time, "sleep", lambda _seconds: pytest.fail("It waits."))
    with pytest.raises(OutputError, match="Permission denied"), atomic_path(tmp_path / "tumor.txt") as temporary:
        temporary.write_text("first")


def test_a_model_that_is_loaded_can_be_replaced(tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(resource_path("models/starter-clip"), folder)
    statistics = read_statistics(folder, 192)
    assert statistics is not None and not uses(folder)


def test_files_of_two_drives_are_segmented_and_exported_together(tmp_path, run, monkeypatch):
    drive = tmp_path / "D"
    for folder in (tmp_path / "C" / "scans", drive / "scans"):
        folder.mkdir(parents=True)
        shutil.copy(resource_path("samples/breast_us.png"), folder / "a.png")
    table = tmp_path / "C" / "images.csv"
    table.write_text(f"image,prompt\nscans/a.png,breast tumor\n{drive / 'scans' / 'a.png'},breast tumor\n")
    set_drive_apart(monkeypatch, drive)
    images = [path / "scans" / "a.png" for path in (tmp_path / "C", drive)]
    assert run("segment", *images, "-p", "breast tumor", "-o", tmp_path / "masks", "--format", "png")[0] == 0
    assert len(list((tmp_path / "masks").glob("*.png"))) == 2
    out = tmp_path / "Dataset001_Breast"
    assert run("export", table, "-o", out)[0] == 0
    records = read_records(out)
    assert {find_image(out, record) for record in records.values()} == set(images) and len(records) == 2
    assert {record["image"] for record in records.values()} == {"scans/a.png", "a.png"}, "no folder of this machine"


def test_the_home_folder_and_patterns_of_inputs_are_expanded_where_no_shell_does_it(tmp_path, monkeypatch):
    for name in ("b.png", "a.png", "[1].png", "1.txt", "[1].txt"):
        (tmp_path / name).touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    images = [str(tmp_path / name) for name in ("[1].png", "a.png", "b.png")]
    assert expanded(["segment", "~/*.png", "-o", r"~\masks", "-p", "*.png"]) == [
        *("segment", *images, "-o", str(tmp_path / "masks"), "-p", "*.png")
    ]
    assert expanded(["export", "scans", "--include", "*.png"]) == ["export", "scans", "--include", "*.png"]
    assert expanded(["segment", "no*.png", "[1].txt", "-p", "is it a tumor?"])[1:3] == ["no*.png", "[1].txt"]


@pytest.mark.parametrize(
    "start",
    [
        "from MedCLIPSAMLib import cli; cli.main = show; from MedCLIPSAMLib.__main__ import main; main()",
        "from MedCLIPSAMLib.worker import server; server.Server.run = lambda self: show(); server.main([])",
    ],
)
def test_programs_let_torch_run_on_the_cpu_what_it_lacks_for_the_gpus_of_apple(start):
    """Before torch is imported, which reads the variable then."""
    show = "show = lambda: print(os.environ['PYTORCH_ENABLE_MPS_FALLBACK'], 'torch' in sys.modules, file=sys.stderr)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTORCH_")}
    command = [sys.executable, "-c", f"import os, sys; sys.argv[1:] = ['-h']; {show}; {start}"]
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert done.stderr.decode().strip() == "1 False"


def test_what_nnunet_has_started_ends_with_it(tmp_path, monkeypatch):
    """By taskkill, whose place a script takes: a process group, which would end it here, is not there."""
    tool, started = tmp_path / "taskkill", tmp_path / "started"
    tool.write_text(f'#!/bin/sh\n[ "$1 $2 $3" = "/F /T /PID" ] && kill -9 "$(cat {started})" "$4"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("MedCLIPSAMLib.nnunet.process.os", SimpleNamespace(name="nt"))
    context = RunContext(is_cancelled=started.is_file)
    command = ["sh", "-c", f"sleep 600 & echo $! > {started}.new; mv {started}.new {started}; wait"]
    with open(tmp_path / "lock", "w") as lock, pytest.raises(Cancelled):
        Process(tmp_path / "log", os.environ, lock, context).run(command)
    ended = lambda: psutil.Process(int(started.read_text())).status() == psutil.STATUS_ZOMBIE
    with suppress(psutil.NoSuchProcess):  # nor a zombie, which nobody waits for
        assert any(ended() or time.sleep(0.1) for _ in range(50))


def test_paths_in_commands_to_paste_are_quoted_as_both_shells_of_windows_read_them(monkeypatch):
    path = PureWindowsPath("C:/scans of today/Dataset001_Liver")
    assert quoted(path) == r"'C:\scans of today\Dataset001_Liver'"
    monkeypatch.setattr("MedCLIPSAMLib.commands.parsing.os", SimpleNamespace(name="nt"))
    assert quoted(path) == r'"C:\scans of today\Dataset001_Liver"'


def test_a_pattern_of_shards_keeps_the_backslashes_of_its_path(tmp_path, monkeypatch):
    expand_shards = pytest.importorskip("MedCLIPSAMLib.finetune.shards").expand_shards
    monkeypatch.setattr("MedCLIPSAMLib.finetune.shards.os", SimpleNamespace(name="nt"))
    shards = [tmp_path / rf"data\train-{number}.tar" for number in range(2)]
    for path in shards:
        path.touch()
    assert expand_shards(str(tmp_path / r"data\train-{0..1}.tar")) == shards


def test_tables_that_were_written_on_windows_and_on_a_mac_name_the_same_files_here(tmp_path, run):
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in ("a.png", unicodedata.normalize("NFD", "b\u00e9.png")):
        shutil.copy(resource_path("samples/breast_us.png"), scans / name)
    table = "image,prompt\nscans\\a.png,breast tumor\nscans\\b\u00e9.png,breast tumor\n"
    (tmp_path / "images.csv").write_text(table, encoding="utf-8")
    assert run("export", tmp_path / "images.csv", "-o", tmp_path / "Dataset001_Breast", "--dry-run")[0] == 0
    truth = resource_path("samples/breast_us_truth.png")
    shutil.copy(truth, scans / "mask.png")
    (tmp_path / "pairs.csv").write_text("prediction,truth\nscans\\mask.png,scans\\mask.png\n")
    assert run("evaluate", tmp_path / "pairs.csv")[0] == 0


def test_a_file_with_a_backslash_in_its_name_is_the_one_that_a_table_names(tmp_path):
    """Such names are allowed on Linux and macOS."""
    (tmp_path / "a").mkdir()
    for name in (r"a\b.png", "a/b.png", "a/c.png"):
        (tmp_path / name).touch()
    assert [listed_path(tmp_path, name) for name in (r"a\b.png", "a/b.png", r"a\c.png")] == [
        tmp_path / name for name in (r"a\b.png", "a/b.png", "a/c.png")
    ]
    assert listed_path(tmp_path, r"\\server\scans\a.png") == tmp_path / r"\\server\scans\a.png"
