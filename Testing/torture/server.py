"""A local file server in a process of its own, and a catalogue model whose files it serves."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Callable
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np

from .forks import run_main

SIZE = 6_000_000


class Handler(SimpleHTTPRequestHandler):
    """Sends whole files, or their rest from a byte on, slowly enough for a client to be killed meanwhile."""

    def do_GET(self) -> None:
        content = (Path(self.directory) / Path(self.path).name).read_bytes()
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.end_headers()
        try:
            self.wfile.write(content[start:])
        except OSError:  # the client was killed
            return

    def log_message(self, *arguments: object) -> None:
        return


def serve(work: Path) -> str:
    """Serve a folder with weights.bin and vocab.txt until this process ends; return the address."""
    folder = work / "served"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(np.random.default_rng(1).bytes(SIZE))
    (folder / "vocab.txt").write_bytes(b"brain\ntumor\n")
    server = HTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    multiprocessing.get_context("fork").Process(target=server.serve_forever, daemon=True).start()
    server.socket.close()
    return f"http://127.0.0.1:{server.server_port}"


def patched_catalogue(url: str) -> Callable[[], None]:
    """Return a main function with a model "torture" in the catalogue and the model cache in `out`."""

    def main() -> None:
        from MedCLIPSAMLib.models import catalogue

        sha256 = hashlib.sha256(np.random.default_rng(1).bytes(SIZE)).hexdigest()
        listed = (
            catalogue.ModelFile("vocab.txt", f"{url}/vocab.txt"),
            catalogue.ModelFile("weights.bin", f"{url}/weights.bin", SIZE, sha256),
        )
        model = catalogue.Model("torture", "clip", "T", "Tests.", "MIT", "https://example.org", "t", 224, listed)
        catalogue.find.__defaults__ = (None, (*catalogue.MODELS, model))
        os.environ["XDG_CACHE_HOME"] = str(Path("out").resolve())
        run_main()

    return main
