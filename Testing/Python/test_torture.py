"""A little of each kind of torture, and that the torture sees what goes wrong; docs/results/torture.md has the rest."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks")


def torture(*options: str) -> list[list[str]]:
    """The cells of the rows of the table."""
    command = [sys.executable, "-m", "Testing.torture", "--seed", "5", *options]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "python")))}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", errors="replace", timeout=500
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert rows[1:] and all(cells[1] == cells[2] for cells in rows[1:]), done.stdout
    return rows[1:]


def test_nonsense_is_refused_with_a_remedy():
    rows = torture(
        "--only", "frames", "--only", "headers", "--frames", "3000", "--worker-frames", "0", "--headers", "100"
    )
    assert [int(cells[1].replace(",", "")) for cells in rows] == [3000, 20, 20, 20, 20, 20]


def test_what_is_killed_or_has_no_room_is_done_again():
    options = "--only kills --only disks --kills 2 --disks 1 --processes 0 --scene".split()
    assert {cells[0] for cells in torture(*options, "segment, a folder")} == {
        "SIGKILL, segment, a folder",
        "full disk, segment, a folder",
    }


def test_half_and_foreign_and_lost_files_are_seen(tmp_path):
    from torture.trees import check_done, check_left

    right, out, before = (tmp_path / name for name in ("right", "out", "before"))
    for folder in (right, out, before):
        folder.mkdir()
    (right / "a.nii.gz").write_bytes(b"whole")
    (right / "manifest.jsonl").write_text('{"case": "a", "time": "1"}\n{"case": "b", "time": "2"}\n', encoding="utf-8")
    assert check_left(out, right, None) is None
    (out / ".0123abcd.partial").mkdir()
    (out / ".0123abcd.partial" / "data.nii.gz").write_bytes(b"wh")
    (out / "manifest.jsonl").write_text('{"case": "a", "time": "3"}\n{"case": "b", "ti', encoding="utf-8")
    assert check_left(out, right, None) is None
    (out / "a.nii.gz").write_bytes(b"who")
    assert "incomplete" in (check_left(out, right, None) or "")
    (out / "a.nii.gz").write_bytes(b"whole")
    assert check_left(out, right, None) is None and "other files" in (check_done(out, right) or "")
    (before / "old.png").write_bytes(b"mine")
    assert "lost 'old.png'" in (check_left(out, right, before) or "")
    (out / "core").write_bytes(b"")
    assert "no undisturbed run makes" in (check_left(out, right, None) or "")


def test_an_answer_that_is_no_error_of_two_lines_is_seen():
    from torture.forks import Ended
    from torture.headers import is_plain

    assert Ended(2, "", "error: it is so.\n  Do that.\n", 1).fault((0, 2)) is None
    assert "two-line" in (Ended(2, "", "error: it is so.\n", 1).fault((0, 2)) or "")
    assert "traceback" in (Ended(1, "", "Traceback (most recent call last):\nE: x\n", 1).fault((0, 1)) or "")
    assert "signal 11" in (Ended(-11, "", "", 1).fault((0, 2)) or "")
    assert is_plain("It holds:\n  a list\n") and not is_plain("\x1b[31m") and not is_plain("a\nb")


def test_mutations_come_again_with_their_seed():
    from torture.frames import mutated, requests
    from torture.mutations import damaged

    header = (ROOT / "Resources" / "samples" / "brain_mri.dcm").read_bytes()
    one, other = (
        [mutated(requests()[5], chance) for _ in range(20)] + [damaged(header, "DICOM", chance) for _ in range(20)]
        for chance in (random.Random(3), random.Random(3))
    )
    assert one == other and len(set(one)) > 30
