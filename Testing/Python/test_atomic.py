"""Files appear whole or not at all, and what a kill leaves is neither taken for data nor kept."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk

from MedCLIPSAMLib.errors import OutputError
from MedCLIPSAMLib.files.atomic import atomic_path, sweep
from MedCLIPSAMLib.files.claim import claim
from MedCLIPSAMLib.files.folder import atomic_folder

ROOT = Path(__file__).resolve().parents[2]
KILLED = """
import os, signal, sys
from pathlib import Path
from MedCLIPSAMLib.files.atomic import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture()
def killed(tmp_path):
    """A dataset in which a run was killed while it wrote an image."""
    folder = tmp_path / "Dataset101_Head"
    (folder / "imagesTr").mkdir(parents=True)
    command = [sys.executable, "-c", KILLED, str(folder / "imagesTr" / "a_0000.nii.gz")]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == -signal.SIGKILL
    return folder


def test_a_killed_run_leaves_no_file_among_the_data(killed):
    assert [path for path in killed.rglob("*") if path.is_file()] != []
    # nnU-Net takes every file of a folder that ends so; see batchgenerators' subfiles.
    images = killed / "imagesTr"
    assert [name for name in os.listdir(images) if (images / name).is_file()] == []


def test_the_next_run_of_the_folder_sweeps_it_and_nothing_else(killed):
    stamp = killed / "export.json"
    stamp.write_text("{}")
    (killed / "labelsTr").mkdir()
    old = killed / "labelsTr" / ".0123abcd.partial.nii.gz"
    old.write_bytes(b"half, by an earlier version")
    kept = [killed / "mine.partial", killed / ".mine.partial.txt", killed / "imagesTr" / ".0123abcd.txt"]
    for path in kept:
        path.write_text("somebody's")
    (killed / ".89abcdef.partial").symlink_to(ROOT)
    claim(killed, "export.json", {}).close()
    assert not old.exists() and all(path.exists() for path in kept) and (ROOT / "pyproject.toml").exists()
    assert os.listdir(killed / "imagesTr") == [".0123abcd.txt"]


@pytest.mark.parametrize("name", ["a.nii.gz", "a.seg.nrrd", "a.png", "a" * 240 + ".nii.gz"])
def test_writers_know_the_format_by_the_name(tmp_path, name):
    with atomic_path(tmp_path / name) as temporary:
        sitk.WriteImage(sitk.Image(4, 4, sitk.sitkUInt8), str(temporary))
    assert os.listdir(tmp_path) == [name] and sitk.ReadImage(str(tmp_path / name)).GetSize() == (4, 4)


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
        raise RuntimeError
    with pytest.raises(OutputError), atomic_path(tmp_path / "a.txt"):
        pass  # nothing was written
    assert os.listdir(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"
    sweep(tmp_path)
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_run_killed_at_its_very_start_goes_on(tmp_path):
    (tmp_path / ".0123abcd.partial").mkdir()
    (tmp_path / ".0123abcd.partial" / "export.json").write_text("{")
    claim(tmp_path, "export.json", {}).close()
    assert sorted(os.listdir(tmp_path)) == [".lock", "export.json"]


def test_a_folder_appears_whole_and_what_a_kill_left_goes_with_the_next(tmp_path):
    script = KILLED.replace("files.atomic import atomic_path", "files.folder import atomic_folder as atomic_path")
    script = script.replace("temporary.write_bytes", "(temporary / 'weights').write_bytes")
    path, command = tmp_path / "mine", [sys.executable, "-c", script, str(tmp_path / "mine")]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == -signal.SIGKILL and os.listdir(tmp_path) == [".mine.partial"]
    with atomic_folder(path) as temporary:
        assert not (temporary / "weights").exists()
        (temporary / "a.txt").write_text("first")
        with pytest.raises(OutputError, match="Another run"), atomic_folder(path):
            pass
    assert os.listdir(tmp_path) == ["mine"] and os.listdir(path) == ["a.txt"]
    with pytest.raises(RuntimeError), atomic_folder(path) as temporary:
        raise RuntimeError
    assert (path / "a.txt").read_text() == "first"
    with atomic_folder(path) as temporary:
        (temporary / "b.txt").write_text("second")
    assert os.listdir(tmp_path) == ["mine"] and os.listdir(path) == ["b.txt"]
    (tmp_path / ".link.partial").symlink_to(path)
    with pytest.raises(OutputError, match="link"), atomic_folder(tmp_path / "link"):
        pass
    assert os.listdir(path) == ["b.txt"]
