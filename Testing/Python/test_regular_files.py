"""What is no regular file is refused at once: reading a pipe or a device may never end."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.evaluation.pairs import pairs_of_table
from MedCLIPSAMLib.evaluation.tables import read_scores
from MedCLIPSAMLib.export.cases import find_cases
from MedCLIPSAMLib.export.prompt_file import read_prompts
from MedCLIPSAMLib.files.json_text import read_json
from MedCLIPSAMLib.files.regular import check_regular
from MedCLIPSAMLib.models.clip_config import check_vocabulary
from MedCLIPSAMLib.models.sam_config import read_sam_config
from MedCLIPSAMLib.tasks.report_file import read_report
from MedCLIPSAMLib.volumes import read_segmentation, read_volume
from MedCLIPSAMLib.volumes.slice_count import slice_count

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with a name")


@pytest.mark.parametrize(
    "read",
    [
        read_volume,
        read_segmentation,
        lambda path: find_cases(path, {"x": "x"}),
        read_prompts,
        read_report,
        pairs_of_table,
        read_scores,
        read_json,
        read_sam_config,
        check_vocabulary,
    ],
)
@pytest.mark.parametrize("name", ["x.png", "x.csv"])
def test_a_pipe_is_refused_at_once(tmp_path: Path, read: Callable[[Path], Any], name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=f"Expected a file, got the pipe '.*{name}'") as caught:
        read(tmp_path / name)
    assert "Save its output to a file" in caught.value.remedy
    assert slice_count(tmp_path / name) is None


def test_devices_and_sockets_are_refused_and_files_and_folders_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="the device"):
        check_regular(Path(os.devnull))
    monkeypatch.chdir(tmp_path)  # the address of a socket is short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("s")
        with pytest.raises(InputError, match="the socket 's'"):
            check_regular(Path("s"))
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    for path in (tmp_path, tmp_path / "file", tmp_path / "link", tmp_path / "none"):
        check_regular(path)
