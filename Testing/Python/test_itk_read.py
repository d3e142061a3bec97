"""A file that crashes ITK, or never ends, is the failure of that file: the process that reads it is another one."""

import json
import os
import signal
import threading
import time

import numpy as np
import psutil
import pytest
import SimpleITK as sitk
from helpers.command_line import run_python

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.export.manifest import read_records
from MedCLIPSAMLib.volumes import itk_read, read_volume
from MedCLIPSAMLib.worker.images import ReceivedImages
from MedCLIPSAMLib.worker.protocol import Message


@pytest.fixture()
def scan(tmp_path):
    path = tmp_path / "scan.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(3 * 40 * 40, dtype=np.int16).reshape(3, 40, 40)), str(path))
    return path


@pytest.fixture()
def crash(tmp_path, monkeypatch):
    """A header of 16 dimensions, which crashes ITK, and a program that no longer knows that."""
    monkeypatch.setattr("MedCLIPSAMLib.volumes.read.check_header", lambda path, notes: None)
    path = tmp_path / "crash.nrrd"
    sizes = " ".join(["1"] * 16)
    path.write_text(f"NRRD0004\ntype: uchar\ndimension: 16\nsizes: {sizes}\nencoding: raw\n\n0")
    return path


def readers() -> list[psutil.Process]:
    return [process for process in psutil.Process().children() if "itk_child.py" in " ".join(process.cmdline())]


def test_a_file_that_ends_the_reader_is_refused_and_the_next_one_is_read(scan, monkeypatch):
    """By SIGSEGV at the moment of reading, as a parser's fault is one."""
    read_volume(scan)
    (reader,) = readers()
    os.kill(reader.pid, signal.SIGSTOP)
    threading.Timer(0.3, lambda: os.kill(reader.pid, signal.SIGSEGV)).start()
    threading.Timer(0.5, lambda: os.kill(reader.pid, signal.SIGCONT)).start()
    with pytest.raises(InputError, match=r"scan.nrrd' crashes the library"):
        read_volume(scan)
    assert read_volume(scan).shape == (3, 40, 40) and readers()[0].pid != reader.pid


def test_a_relative_path_is_read_from_where_the_program_is_now(scan, monkeypatch):
    expected = read_volume(scan).array
    monkeypatch.chdir(scan.parent)
    assert np.array_equal(read_volume(scan.name).array, expected)


def test_a_file_that_takes_too_long_is_refused(scan, monkeypatch):
    read_volume(scan)
    monkeypatch.setattr(itk_read, "SECONDS", 0.5)
    (reader,) = readers()
    os.kill(reader.pid, signal.SIGSTOP)
    with pytest.raises(InputError, match="takes longer"):
        read_volume(scan)
    monkeypatch.setattr(itk_read, "SECONDS", 60)
    assert read_volume(scan).shape == (3, 40, 40)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, MemoryError])
def test_after_an_interrupt_the_next_file_is_read_and_not_the_one_before(scan, tmp_path, interrupt):
    """The reader of the first file is stopped until the interrupt, so that its answer comes after it."""
    other = tmp_path / "other.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(np.full((2, 8, 8), 7, np.int16)), str(other))
    itk_read.itk_header(scan)
    (reader,) = readers()
    os.kill(reader.pid, signal.SIGSTOP)

    def stop(*_) -> None:
        raise interrupt

    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(interrupt):
            itk_read.itk_image(scan)
    finally:
        signal.signal(signal.SIGALRM, before)
    if reader.is_running():
        os.kill(reader.pid, signal.SIGCONT)
    image = itk_read.itk_image(other)
    assert image.GetSize() == (8, 8, 2) and (sitk.GetArrayFromImage(image) == 7).all()


def test_an_answer_to_another_request_is_not_taken_for_the_file(scan, tmp_path):
    other = tmp_path / "other.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(np.full((2, 8, 8), 7, np.int16)), str(other))
    itk_read.itk_header(scan)
    stray = {"path": os.fsencode(scan).hex(), "voxels": True, "number": 0}
    itk_read._reader._process.stdin.write(json.dumps(stray).encode() + b"\n")
    with pytest.raises(InputError, match=r"other\.nrrd"):
        itk_read.itk_image(other)
    assert itk_read.itk_image(other).GetSize() == (8, 8, 2)


def test_a_real_crash_of_itk_is_one_case_of_an_export(scan, crash, tmp_path, run):
    out = tmp_path / "Dataset001_X"
    code, _, error = run("export", tmp_path, "-p", "tumor", "-o", out, "--propagate", "slices")
    assert code == 1 and error.count("crashes the library") == 1, error
    records = read_records(out)
    assert records["scan"]["status"] != "failed"
    assert records["crash"]["status"] == "failed" and "crashes the library" in records["crash"]["problem"]


def test_processes_that_were_forked_have_readers_of_their_own(scan):
    first = read_volume(scan).array
    with_fork = os.fork()
    if with_fork == 0:
        same = all(np.array_equal(read_volume(scan).array, first) for _ in range(20))
        itk_read._reader.stop()
        os._exit(0 if same else 1)
    assert all(np.array_equal(read_volume(scan).array, first) for _ in range(20))
    assert os.waitpid(with_fork, 0)[1] == 0


def test_no_reader_outlives_its_program(scan):
    code = f"from MedCLIPSAMLib.volumes import read_volume; read_volume({str(scan)!r}); import psutil, os; "
    code += "print(psutil.Process().children()[0].pid, flush=True); os.kill(os.getpid(), 9)"
    done = run_python(code)
    until = time.monotonic() + 10
    while psutil.pid_exists(int(done.stdout)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not psutil.pid_exists(int(done.stdout))


def test_voxels_geometry_and_tags_cross_the_process_as_they_are(tmp_path):
    """All types of voxels that ITK reads, oblique, with tags that are no ASCII."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    for kind in "u1 i1 u2 i2 u4 i4 u8 i8 f4 f8".split():
        image = sitk.GetImageFromArray((rng.random((3, 4, 5)) * 100).astype(kind))
        image.SetDirection(turn.ravel().tolist()), image.SetOrigin((1.25, -3.5, 1e3)), image.SetSpacing((0.1, 2, 3))
        image.SetMetaData("note", "Größe | 大")
        path = tmp_path / f"{kind}.nrrd"
        sitk.WriteImage(image, str(path))
        by_us, by_itk = itk_read.itk_image(path), sitk.ReadImage(str(path))
        assert sitk.Hash(by_us) == sitk.Hash(by_itk) and by_us.GetPixelID() == by_itk.GetPixelID()
        assert by_us.GetOrigin() == by_itk.GetOrigin() and by_us.GetDirection() == by_itk.GetDirection()
        assert by_us.GetMetaData("note") == by_itk.GetMetaData("note")
    colors = sitk.GetImageFromArray(rng.integers(0, 255, (3, 4, 5, 3)).astype(np.uint8), isVector=True)
    sitk.WriteImage(colors, str(tmp_path / "rgb.mha"))
    assert sitk.Hash(itk_read.itk_image(tmp_path / "rgb.mha")) == sitk.Hash(colors)


def test_the_worker_takes_no_stack_that_no_machine_holds():
    """10,000 images of 2048 x 2048, of which one is sent: 126 GB are declared."""
    image = np.zeros((1, 2048, 2048, 3), np.uint8)
    message = Message("images", 1, {"key": "a", "slice": 0, "of": 10_000}, {"images": image})
    with pytest.raises(InputError, match="126 GB"):
        ReceivedImages().receive(message)
    small = Message("images", 1, {"key": "a", "slice": 0, "of": 100}, {"images": image[:, :64, :64]})
    assert ReceivedImages().receive(small) == 100
