"""The worker of the command line: a command gives the same in it as without it, whatever happens to either of both."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from helpers.command_line import run_python

from MedCLIPSAMLib.command_worker import client, place, server
from MedCLIPSAMLib.command_worker.identity import difference, identity
from MedCLIPSAMLib.command_worker.messages import pack, receive

pytestmark = pytest.mark.skipif(not place.supported(), reason="no Unix-domain sockets that files go through")

ROOT = Path(__file__).resolve().parents[2]
IMAGE = ROOT / "Resources" / "samples" / "breast_us.png"


class Shell:
    """Command lines of one user, whose worker lies in a folder of the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        paths = os.pathsep.join((str(ROOT), str(ROOT / "python")))
        self.environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder), "PYTHONPATH": paths}

    def start(self, *arguments: object, **changes: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "MedCLIPSAMLib", *map(str, arguments)],
            env=self.environment | changes,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def run(self, *arguments: object, **changes: str) -> tuple[int, str, str]:
        process = self.start(*arguments, **changes)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    def segment(self, out: str, *more: object, **changes: str) -> tuple[int, str, str]:
        return self.run("segment", IMAGE, "-p", "breast tumor", "-o", out, *more, **changes)

    def notes(self, **changes: str) -> str:
        """What is told of the worker before a command, which here lacks an option and runs in its own process."""
        code, _, err = self.run("segment", IMAGE, **changes)
        assert code == 2 and "--out" in err
        return "\n".join(line for line in err.splitlines() if line.startswith("note:"))

    def status(self) -> dict:
        """What the worker tells of itself."""
        return ask(self.folder / "medclipsam", {"ask": "status"})


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """With a worker that runs."""
    made = Shell(short_folder(tmp_path_factory))
    code, out, err = made.run("worker", "start", "--idle-minutes", 10)
    assert code == 0 and "The worker is running" in out, err
    yield made
    made.run("worker", "stop")


def short_folder(tmp_path_factory) -> Path:
    """A folder whose path leaves room for a socket's name."""
    folder = tmp_path_factory.mktemp("w")
    if len(str(folder)) > 60:
        pytest.skip(f"the path of temporary files is too long for a socket: {folder}")
    return folder


def test_a_command_gives_the_same_bytes_and_words_as_without_the_worker(shell):
    plain = shell.segment("plain.png", "--no-worker")
    served = [shell.segment(f"served{number}.png") for number in range(2)]
    expected = (shell.folder / "plain.png").read_bytes()
    for number, (code, out, err) in enumerate(served):
        assert (shell.folder / f"served{number}.png").read_bytes() == expected
        assert (code, out.replace(f"served{number}", "plain"), err) == plain
    status = json.loads(shell.run("worker", "status", "--json")[1])
    assert status["running"] and not status["busy"] and (status["model"], status["device"]) == ("demo", "cpu")


def test_refusals_and_exit_codes_are_those_of_the_command(shell):
    arguments = ["segment", "gone.png", "-p", "x", "-o", "x.png", "--json"]
    code, out, err = shell.run(*arguments, MEDCLIPSAM_WORKER="off")
    assert shell.run(*arguments) == (code, out, err) and code == 2 and "gone.png" in json.loads(out)["error"]


def test_permissions_and_place_of_an_output_are_those_of_the_client(shell):
    script = f"umask 027; cd {shell.folder}; mkdir -p inner; cd inner; exec {sys.executable} -m MedCLIPSAMLib "
    subprocess.run(
        ["sh", "-c", script + f"segment {IMAGE} -p lungs -o mask.png"],
        env=shell.environment,
        check=True,
        capture_output=True,
    )
    made = shell.folder / "inner" / "mask.png"
    assert made.stat().st_mode & 0o777 == 0o640
    assert shell.status()["pid"]


def test_temporary_files_lie_where_the_client_wants_them(shell):
    with zipfile.ZipFile(shell.folder / "study.zip", "w") as archive:
        archive.write(ROOT / "Resources" / "samples" / "brain_mri.dcm", "brain.dcm")
    for name in ("first", "second"):
        folder = shell.folder / name
        folder.mkdir()
        os.utime(folder, (0, 0))
        code, _, err = shell.run(
            *("segment", "study.zip", "-p", "brain tumor", "-o", f"{name}.nii.gz"), TMPDIR=str(folder)
        )
        assert code == 0 and "The worker" not in err and folder.stat().st_mtime > 0, err
        folder.rmdir()  # as that of a job that has ended


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_client_ends_its_command_and_not_the_worker(shell, number, code):
    pid = shell.status()["pid"]
    process = shell.start("segment", IMAGE, "-p", "tumor", "-o", "never.png", "--steps", 100000)
    wait_until(lambda: shell.status()["busy"])
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code
    assert not (shell.folder / "never.png").exists()
    assert shell.status()["pid"] == pid and shell.segment(f"after{code}.png")[0] == 0


def test_a_client_that_ignores_an_interrupt_goes_on(shell):
    """A script starts a job in the background so, and Ctrl+C is for the script alone."""
    script = f"trap '' INT; exec {sys.executable} -m MedCLIPSAMLib segment {IMAGE} -p tumor -o never.png --steps 100000"
    process = subprocess.Popen(["sh", "-c", script], env=shell.environment, cwd=shell.folder)
    wait_until(lambda: shell.status()["busy"])
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None and shell.status()["busy"]
    process.terminate()
    assert process.wait(60) == 143


def test_a_client_that_is_killed_ends_its_command_too(shell):
    process = shell.start("segment", IMAGE, "-p", "tumor", "-o", "never.png", "--steps", 100000)
    wait_until(lambda: shell.status()["busy"])
    process.kill()
    process.communicate()
    wait_until(lambda: not shell.status()["busy"])
    assert not (shell.folder / "never.png").exists()


def test_a_second_client_at_the_same_time_runs_by_itself(shell):
    first = shell.start("segment", IMAGE, "-p", "tumor", "-o", "never.png", "--steps", 100000)
    wait_until(lambda: shell.status()["busy"])
    assert shell.notes() == "note: The worker is busy; the models are loaded for this command."
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)


def test_another_environment_is_named_and_the_command_runs_by_itself(shell):
    assert "note: The worker has another OMP_NUM_THREADS;" in shell.notes(OMP_NUM_THREADS="3")


def test_another_version_is_named():
    mine = identity()
    assert not difference(mine, identity())
    assert difference(mine, mine | {"version": "0.0.1"}) == "version"


def test_one_worker_is_enough(shell):
    code, _, err = shell.run("worker", "start")
    assert code == 2 and "A worker is already running" in err


def test_what_is_no_request_is_refused_and_harms_nothing(shell):
    for data in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff" * 8,
        pack({"ask": "run"}),
        pack({"ask": "run", "identity": {}})[:20],
    ):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(shell.folder / "medclipsam" / place.SOCKET))
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(20)
            with suppress(ConnectionResetError):
                assert connection.recv(100) == b""
    assert shell.status()["pid"]


def test_a_worker_that_was_killed_is_told_and_replaced_and_one_that_is_stopped_leaves_nothing(tmp_path_factory):
    shell = Shell(short_folder(tmp_path_factory))
    assert shell.run("worker", "start")[0] == 0
    pid = shell.status()["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not exists(pid))
    assert "note: The worker has crashed" in shell.notes()
    code, out, _ = shell.run("worker", "status", "--json")
    assert code == 1 and json.loads(out) == {"running": False}
    assert shell.run("worker", "start")[0] == 0 and (other := shell.status()["pid"]) != pid
    assert shell.run("worker", "stop")[1] == "The worker has ended.\n"
    wait_until(lambda: not exists(other))
    assert not (shell.folder / "medclipsam" / place.SOCKET).exists()
    assert shell.run("worker", "status") == (1, "No worker is running.\n", "")
    assert shell.notes() == ""


def test_a_folder_that_others_can_enter_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    made = place.make_folder()
    assert made.stat().st_mode & 0o777 == 0o700
    (made / place.SOCKET).touch()
    made.chmod(0o750)
    with pytest.raises(place.PlaceError, match="Others can enter"):
        client.connect()
    assert client.hand_over(["segment", "x.png"]) is None and "Others can enter" in capsys.readouterr().err
    made.chmod(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: made.stat().st_uid + 1)
    with pytest.raises(place.PlaceError, match="belongs to another user"):
        client.connect()


def test_a_link_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "medclipsam").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(place.PlaceError, match="Expected a folder"):
        place.make_folder()


def test_it_ends_after_the_idle_time(tmp_path_factory):
    folder = short_folder(tmp_path_factory)
    script = (
        "import sys, time; from pathlib import Path; from MedCLIPSAMLib.command_worker.server import CommandServer;"
        "CommandServer(Path(sys.argv[1]), lambda arguments: 0, 0.2).serve()"
    )
    assert run_python(script, folder).returncode == 0
    assert not (folder / place.SOCKET).exists()


@pytest.mark.parametrize("apart, ours", [(0, True), (1, False)])
def test_a_client_of_another_user_is_not_ours(monkeypatch, apart, ours):
    uid = os.geteuid() + apart

    class Connection:
        def getsockopt(self, *_: object) -> bytes:
            return struct.pack("3i", 1, uid, uid)

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(socket, "SO_PEERCRED", 17, raising=False)
    assert server._is_ours(Connection()) == ours


def test_a_client_needs_no_package():
    script = (
        "import sys; from MedCLIPSAMLib import __main__; "
        "print(*sorted({'numpy', 'torch', 'typer', 'rich', 'pydantic'} & set(sys.modules)))"
    )
    assert (shown := run_python(script)).stdout == "\n", shown.stderr


def test_a_client_that_leaves_before_the_answer_leaves_the_worker_free(tmp_path_factory):
    with serving(short_folder(tmp_path_factory)) as folder:
        request = run_request(folder)
        for _ in range(5):
            with socket.socket(socket.AF_UNIX) as connection, open(os.devnull, "w+b") as nothing:
                connection.connect(str(folder / place.SOCKET))
                socket.send_fds(connection, [pack(request)], [nothing.fileno()] * 3)
        wait_until(lambda: not ask(folder, {"ask": "status"})["busy"])
        assert answers(folder, request) == [{"answer": "running"}, {"code": 7}]


@pytest.mark.parametrize(
    "change", [{"directory": "/gone"}, {"encoding": ["no such encoding"] * 3}, {"environment": {"A": 1}}]
)
def test_a_command_that_cannot_be_set_up_is_an_error_and_the_next_one_runs(tmp_path_factory, change):
    with serving(short_folder(tmp_path_factory)) as folder:
        request = run_request(folder)
        assert answers(folder, request | change) == [{"answer": "running"}, {"code": 2}]
        assert answers(folder, request) == [{"answer": "running"}, {"code": 7}]


@contextmanager
def serving(folder: Path):
    """Run a worker whose commands return 7."""
    script = (
        "import sys; from pathlib import Path; from MedCLIPSAMLib.command_worker.server import CommandServer;"
        "CommandServer(Path(sys.argv[1]), lambda arguments: 7, 60).serve()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", script, str(folder)], env=environment)
    try:
        wait_until((folder / place.SOCKET).exists)
        yield folder
    finally:
        process.kill()
        process.wait()


def run_request(folder: Path) -> dict:
    """A command of a client with the environment of `serving`."""
    script = "import json; from MedCLIPSAMLib.command_worker.identity import identity; print(json.dumps(identity()))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    shown = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True)
    described = {"arguments": [], "directory": str(folder), "environment": environment, "umask": 0o22}
    return {"ask": "run", "identity": json.loads(shown.stdout), "encoding": ["utf-8"] * 3, **described}


def answers(folder: Path, request: dict) -> list[dict]:
    """Send a command, and return both answers."""
    with socket.socket(socket.AF_UNIX) as connection, open(os.devnull, "w+b") as nothing:
        connection.settimeout(30)
        connection.connect(str(folder / place.SOCKET))
        socket.send_fds(connection, [pack(request)], [nothing.fileno()] * 3)
        return [receive(connection)[0], receive(connection)[0]]


def ask(folder: Path, question: dict) -> dict:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(folder / place.SOCKET))
        connection.sendall(pack(question))
        return receive(connection)[0]


def test_a_message_comes_whole_or_is_refused():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(pack({"name": "\udcff"}) + pack({"a": 1})[:-2])
        ours.shutdown(socket.SHUT_WR)
        assert receive(theirs) == ({"name": "\udcff"}, [])
        with pytest.raises(ValueError, match="ends early"):
            receive(theirs)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"\x7f\xff\xff\xff")
        with pytest.raises(ValueError, match="a message of at most"):
            receive(theirs)


def wait_until(done, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


def exists(pid: int) -> bool:
    """Whether a process is there that has not ended; this one may be the one to wait for it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        threads = len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return False
    return threads > 1 or state.rpartition(")")[2].split()[0] != "Z"
