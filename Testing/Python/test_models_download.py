"""Downloads from a real server on this machine: whole, interrupted, continued, damaged, refused."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from MedCLIPSAMLib.errors import Cancelled, ModelError, OutputError
from MedCLIPSAMLib.models.catalogue import find
from MedCLIPSAMLib.models.catalogue_entry import Model, ModelFile
from MedCLIPSAMLib.models.download import download
from MedCLIPSAMLib.models.store import status
from MedCLIPSAMLib.models.trained import Training, trained_models, write_trained
from MedCLIPSAMLib.run_context import RunContext

WEIGHTS = np.random.default_rng(1).bytes(3_500_000)
CONFIG = b'{"a": 1}'
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def server():
    """A file server: `files`, `ranges` (can it continue), `stop_after` bytes, `length` to claim, what was `requested`.

    `tags` names the states of files (ETag); `says_length` whether it tells how long they are; `endless` adds bytes
    until nobody takes them.
    """
    state = SimpleNamespace(
        files={"/w.bin": WEIGHTS, "/c.json": CONFIG},
        ranges=True,
        stop_after=None,
        length=None,
        says_length=True,
        endless=False,
        tags={},
        kind="application/octet-stream",
        requested=[],
        conditions=[],
    )

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            state.requested.append((self.path, wanted))
            body = state.files.get(self.path)
            if body is None:
                return self.send_error(404)
            tag, condition = state.tags.get(self.path), self.headers.get("If-Range")
            state.conditions.append(condition)
            same = condition is None or condition == tag
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and state.ranges and same else 0
            if start >= len(body):
                return self.send_error(416)
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Type", state.kind)
            if tag:
                self.send_header("ETag", tag)
            if state.says_length:
                self.send_header("Content-Length", str(state.length or len(body) - start))
            self.end_headers()
            self.wfile.write(body[start : state.stop_after])
            try:
                while state.endless:
                    self.wfile.write(bytes(100_000))
            except OSError:
                return

        def log_message(self, *arguments):
            pass

    service = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{service.server_port}"
    yield state
    service.shutdown()
    service.server_close()


def entry(server, size=3_500_000, sha256=SHA256, by_hand=""):
    files = (ModelFile("c.json", f"{server.url}/c.json"), ModelFile("w.bin", f"{server.url}/w.bin", size, sha256))
    return Model("some", "clip", "Some", "Tests.", "MIT", "https://example.org", "some", 224, files, by_hand=by_hand)


def names(folder: Path):
    return sorted(path.name for path in folder.iterdir())


def test_a_download_is_whole_recorded_and_reports_its_progress(server, tmp_path):
    seen = []
    folder = download(entry(server), tmp_path / "some", context=RunContext(seen.append))
    assert (folder / "w.bin").read_bytes() == WEIGHTS and (folder / "c.json").read_bytes() == CONFIG
    assert names(folder) == ["c.json", "manifest.json", "w.bin"]
    reports = [(progress.message, progress.done, progress.total) for progress in seen]
    assert reports[-1] == ("w.bin", len(WEIGHTS), len(WEIGHTS)) and ("w.bin", 0, len(WEIGHTS)) in reports
    assert json.loads((folder / "manifest.json").read_text())["w.bin"]["sha256"] == SHA256
    assert status(entry(server), tmp_path, checksums=True).state == "offline"


def test_what_is_there_is_not_downloaded_again(server, tmp_path):
    download(entry(server), tmp_path)
    server.requested.clear()
    download(entry(server), tmp_path)
    assert server.requested == []


def test_an_interrupted_download_continues_where_it_stopped(server, tmp_path):
    server.stop_after = 1_200_000
    with pytest.raises(ModelError, match="1200000 of 3500000.*continues"):
        download(entry(server), tmp_path)
    assert names(tmp_path) == ["c.json", "manifest.json", "w.bin.partial"]
    server.stop_after = None
    download(entry(server), tmp_path)
    assert server.requested[-1] == ("/w.bin", "bytes=1200000-")
    assert (tmp_path / "w.bin").read_bytes() == WEIGHTS


def test_a_server_that_cannot_continue_sends_everything_again(server, tmp_path):
    (tmp_path / "w.bin.partial").write_bytes(b"x" * 1_200_000)
    server.ranges = False
    download(entry(server), tmp_path)
    assert (tmp_path / "w.bin").read_bytes() == WEIGHTS


def test_a_part_that_is_already_whole_or_too_long_is_put_right(server, tmp_path):
    (tmp_path / "w.bin.partial").write_bytes(WEIGHTS)
    download(entry(server), tmp_path)
    assert (tmp_path / "w.bin").read_bytes() == WEIGHTS and all(path != "/w.bin" for path, _ in server.requested)
    (tmp_path / "w.bin").unlink()
    (tmp_path / "w.bin.partial").write_bytes(WEIGHTS + b"more")
    download(entry(server, size=None), tmp_path)
    assert (tmp_path / "w.bin").read_bytes() == WEIGHTS


def test_a_damaged_file_is_removed_and_the_message_says_so(server, tmp_path):
    server.files["/w.bin"] = WEIGHTS[:-1] + b"?"
    with pytest.raises(ModelError, match="checksum.*removed"):
        download(entry(server), tmp_path)
    assert names(tmp_path) == ["c.json", "manifest.json"]


def test_a_part_of_another_file_does_not_pass(server, tmp_path):
    (tmp_path / "w.bin.partial").write_bytes(b"x" * 1_200_000)
    with pytest.raises(ModelError, match="checksum"):
        download(entry(server), tmp_path)
    download(entry(server), tmp_path)
    assert (tmp_path / "w.bin").read_bytes() == WEIGHTS


def test_a_file_of_another_size_is_removed(server, tmp_path):
    server.files["/w.bin"] = WEIGHTS + b"more"
    with pytest.raises(ModelError, match="Expected 3500000 bytes.* got 3500004; the file was removed"):
        download(entry(server), tmp_path)
    assert names(tmp_path) == ["c.json", "manifest.json"]


def test_without_a_checksum_in_the_catalogue_the_first_one_is_kept(server, tmp_path):
    model = entry(server, size=None, sha256=None)
    download(model, tmp_path)
    (tmp_path / "w.bin").unlink()
    server.files["/w.bin"] = WEIGHTS[::-1]
    with pytest.raises(ModelError, match="checksum of 'w.bin'"):
        download(model, tmp_path)


def test_a_web_page_is_not_taken_for_weights(server, tmp_path):
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(ModelError, match="web page.*Ask Bob in"):
        download(entry(server, by_hand="Ask Bob"), tmp_path)
    assert names(tmp_path) == []


def test_a_refusal_and_a_missing_network_are_told_apart(server, tmp_path):
    del server.files["/w.bin"]
    with pytest.raises(ModelError, match="refused 'w.bin' of 'some' with '404"):
        download(entry(server), tmp_path)
    server.url = "http://127.0.0.1:9"
    with pytest.raises(ModelError, match="cannot be reached.*Check the network"):
        download(entry(server), tmp_path / "else")


def test_a_file_larger_than_the_disk_is_refused_before_it_is_written(server, tmp_path):
    server.length = 10**15
    with pytest.raises(ModelError, match="more than is free"):
        download(entry(server, size=None), tmp_path)


def test_a_cancelled_download_can_be_continued(server, tmp_path):
    seen = []
    with pytest.raises(Cancelled):
        stop = lambda: bool(seen) and seen[-1].done > 1_000_000
        download(entry(server), tmp_path, context=RunContext(seen.append, is_cancelled=stop))
    assert (tmp_path / "w.bin.partial").exists() and not (tmp_path / "w.bin").exists()
    download(entry(server), tmp_path)
    assert (tmp_path / "w.bin").read_bytes() == WEIGHTS and server.requested[-1][1] is not None


def test_a_damaged_file_in_place_is_replaced(server, tmp_path):
    download(entry(server), tmp_path)
    (tmp_path / "w.bin").write_bytes(b"?" + WEIGHTS[1:])
    assert download(entry(server), tmp_path) == tmp_path
    assert (tmp_path / "w.bin").read_bytes() == WEIGHTS


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Cannot write"):
        download(entry(server), tmp_path / "file" / "some")


def test_a_model_without_an_address_is_not_downloaded(tmp_path):
    with pytest.raises(ModelError, match="'starter' is not offered for download.*'starter-clip'.*--models-dir"):
        download(replace(find("starter", "clip"), shipped=False), tmp_path / "starter-clip")
    assert not (tmp_path / "starter-clip").exists()


def test_a_shipped_model_is_not_downloaded():
    with pytest.raises(ModelError, match="comes with the program"):
        download(find("demo", "clip"))


def test_an_incomplete_model_of_the_user_is_not_downloaded(tmp_path):
    """Nobody but the user has it; that its folder lacks a file is said with what can be done."""
    training = Training("demo", "10 pairs", {}, {})
    write_trained(tmp_path, find("demo", "clip"), "mine", training, lambda folder: (folder / "vocab.txt").touch())
    (model,) = trained_models([tmp_path])
    about = status(model, tmp_path).as_dict()
    assert not about["usable"]
    assert not about["downloadable"]
    with pytest.raises(ModelError, match="'mine' was trained by you.*Train it again"):
        download(model)


def test_a_part_is_continued_only_where_the_file_is_still_the_same(server, tmp_path):
    """Without a checksum, by the server's ETag or date of the file."""
    model = entry(server, size=None, sha256=None)
    server.tags["/w.bin"] = '"first"'
    server.stop_after = 1_200_000
    with pytest.raises(ModelError, match="continues"):
        download(model, tmp_path)
    server.stop_after = None
    download(model, tmp_path / ".." / tmp_path.name)
    assert server.requested[-1] == ("/w.bin", "bytes=1200000-") and server.conditions[-1] == '"first"'
    assert (tmp_path / "w.bin").read_bytes() == WEIGHTS and names(tmp_path) == ["c.json", "manifest.json", "w.bin"]
    other = tmp_path / "other"
    server.stop_after = 1_200_000
    with pytest.raises(ModelError, match="continues"):
        download(model, other)
    server.stop_after, server.tags["/w.bin"], server.files["/w.bin"] = None, '"second"', WEIGHTS[::-1]
    download(model, other)
    assert (other / "w.bin").read_bytes() == WEIGHTS[::-1]


def test_what_a_kill_left_of_the_record_goes_with_the_next_download(server, tmp_path):
    (tmp_path / ".0123abcd.partial").mkdir()
    (tmp_path / ".0123abcd.partial" / "data.json").write_text("{")
    download(entry(server), tmp_path)
    assert names(tmp_path) == ["c.json", "manifest.json", "w.bin"]


def test_a_part_that_nobody_can_vouch_for_is_not_continued(server, tmp_path):
    model = entry(server, size=None, sha256=None)
    (tmp_path / "w.bin.partial").write_bytes(b"x" * 1_200_000)
    download(model, tmp_path)
    assert server.requested[-1] == ("/w.bin", None) and (tmp_path / "w.bin").read_bytes() == WEIGHTS


def test_a_file_whose_end_nobody_knows_is_not_taken_nor_recorded(server, tmp_path):
    server.says_length, server.stop_after = False, 1_200_000
    with pytest.raises(ModelError, match="does not say how long"):
        download(entry(server, size=None, sha256=None), tmp_path)
    assert "w.bin" not in names(tmp_path) and not (tmp_path / "manifest.json").exists()
    known = ModelFile("w.bin", f"{server.url}/w.bin", None, SHA256)
    with pytest.raises(ModelError, match="checksum"):  # where that is known, it tells
        download(replace(entry(server), files=(known,)), tmp_path / "x")


def test_a_body_without_an_end_is_cut_off(server, tmp_path, monkeypatch):
    server.says_length, server.endless = False, True
    del server.files["/c.json"]
    files = (ModelFile("w.bin", f"{server.url}/w.bin", None, SHA256),)
    model = Model("some", "clip", "Some", "Tests.", "MIT", "https://example.org", "some", 224, files)
    monkeypatch.setattr("MedCLIPSAMLib.models.download.MAX_BYTES", 5_000_000)
    with pytest.raises(ModelError, match="at most 5000000 bytes.*the file was removed"):
        download(model, tmp_path)
    assert names(tmp_path) == []


def test_only_one_process_downloads_into_a_folder(server, tmp_path):
    """The second one is refused while the first one works, and leaves its part alone."""
    seen = []

    def second(progress):
        if progress.message == "w.bin" and not seen:
            with pytest.raises(OutputError, match="already"):
                download(entry(server), tmp_path / "some")
            seen.append(progress)

    download(entry(server), tmp_path / "some", context=RunContext(second))
    assert seen and (tmp_path / "some" / "w.bin").read_bytes() == WEIGHTS


def test_what_can_be_downloaded_says_so():
    assert status(find("biomedclip")).as_dict()["downloadable"]
    assert not status(find("demo", "sam")).as_dict()["downloadable"]
