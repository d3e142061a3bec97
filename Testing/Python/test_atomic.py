"""Files appear whole or not at all, and what a kill leaves is neither taken for data nor kept."""

import errno
import fcntl
import os
import shutil
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
from MedCLIPSAMLib.files.lock import lock_file

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


def test_the_next_write_of_a_file_removes_what_a_killed_one_left_and_not_what_others_are_writing(killed):
    image = killed / "imagesTr" / "a_0000.nii.gz"
    (left,) = image.parent.iterdir()
    with atomic_path(image.with_name("b.nii.gz")) as other, atomic_path(image) as first:
        assert not (left / "data.nii.gz").exists()
        first.write_bytes(b"first")
        other.write_bytes(b"other")
        with atomic_path(image) as second:
            assert first.exists() and other.exists() and second != first
            second.write_bytes(b"second")
        assert image.read_bytes() == b"second"
    assert {path.name: path.read_bytes() for path in image.parent.iterdir()} == {
        "a_0000.nii.gz": b"first",
        "b.nii.gz": b"other",
    }


def test_a_disk_on_which_no_file_can_be_made_holds_no_empty_folder_either(tmp_path, monkeypatch):
    def full(*_args, **_more):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(OutputError, match="No space left"), atomic_path(tmp_path / "a.txt"):
        pytest.fail("there is no place to write to")
    assert os.listdir(tmp_path) == []


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
    assert done.returncode == -signal.SIGKILL and not path.exists() and len(list(tmp_path.rglob("weights"))) == 1
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
    (tmp_path / ".mine.0123abcd.partial").symlink_to(path)
    with atomic_folder(path) as temporary:
        (temporary / "c.txt").write_text("third")
    assert os.listdir(tmp_path) == ["mine"] and os.listdir(path) == ["c.txt"]


def test_a_second_run_has_to_wait_until_the_first_one_has_replaced_the_folder(tmp_path, monkeypatch):
    """It tries while the content before is being moved, and while it is being removed."""
    path, refused = tmp_path / "mine", []
    with atomic_folder(path) as temporary:
        (temporary / "a.txt").write_text("first")

    def disturbed(function):
        def run(*arguments, **named):
            if len(refused) < 3:
                with pytest.raises(OutputError, match="Another run") as caught, atomic_folder(path) as other:
                    (other / "half").write_text("second")
                refused.append(caught.value)
            return function(*arguments, **named)

        return run

    with atomic_folder(path) as temporary:
        (temporary / "b.txt").write_text("complete")
        monkeypatch.setattr(os, "replace", disturbed(os.replace))
        monkeypatch.setattr("MedCLIPSAMLib.files.folder.shutil.rmtree", disturbed(shutil.rmtree))
    assert len(refused) == 3 and os.listdir(path) == ["b.txt"] and os.listdir(tmp_path) == ["mine"]


def test_a_folder_that_cannot_be_moved_into_place_leaves_what_was_there(tmp_path, monkeypatch):
    path, rename = tmp_path / "mine", os.replace
    with atomic_folder(path) as temporary:
        (temporary / "a.txt").write_text("first")

    def full(source, target):
        if source.name.endswith(".partial") and ".old." not in source.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="No space left"), atomic_folder(path) as temporary:
        (temporary / "b.txt").write_text("second")
    assert os.listdir(tmp_path) == ["mine"] and os.listdir(path) == ["a.txt"]


@pytest.mark.parametrize("aside", [".mine.0123abcd.old.partial", ".mine.old.partial"])  # now, and in earlier versions
def test_what_a_killed_run_had_moved_aside_is_put_back_by_the_next_one(tmp_path, aside):
    (tmp_path / aside).mkdir()
    (tmp_path / aside / "a.txt").write_text("first")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "mine"):
        raise RuntimeError
    assert os.listdir(tmp_path) == ["mine"] and os.listdir(tmp_path / "mine") == ["a.txt"]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_is_named_and_no_other_run(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(OutputError, match="cannot be locked") as caught:
        claim(tmp_path, "run.json", {})
    assert os.strerror(number) in str(caught.value) and "Another run" not in str(caught.value)


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_on_the_new_file(tmp_path, monkeypatch):
    """Between the opening and the locking of the file, who had it before removes it."""
    path, flock = tmp_path / ".lock", fcntl.flock

    def removed_first(file, how):
        monkeypatch.setattr("fcntl.flock", flock)
        path.unlink()
        flock(file, how)

    monkeypatch.setattr("fcntl.flock", removed_first)
    with lock_file(path), pytest.raises(BlockingIOError):
        lock_file(path)
