"""Reading of files by ITK and GDCM in a child process, so that a file that crashes or hangs them fails alone.

The process is started for the first file, serves all others, and ends with this process. It may use as much memory as
the machine has. Each file may take a minute, plus a second per megabyte.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes.meta_image import is_meta_image
from MedCLIPSAMLib.volumes.nrrd import is_nrrd

SECONDS = 60.0
SECONDS_A_BYTE = 1e-6


def itk_path(path: Path) -> str:
    """Return a path for ITK, which aborts the whole process if a name is not valid text.

    Raises:
        InputError: the name, or that of a folder in the path, is not valid UTF-8.
    """
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"Expected a name in UTF-8, got {text!r}.", "Rename the file or folder, or copy it to another place."
        ) from error
    return text


class _Reader:
    """The child process, which reads one file at a time."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = 0  # number of requests

    def ask(self, path: Path, voxels: bool) -> tuple[dict[str, Any], bytes]:
        """Return the answer of the process for a file; see `itk_child`.

        If its answer is not read to the end, as after Ctrl+C, the process is killed, or the next request would get it.

        Raises:
            InputError: the process crashed or took too long.
            MemoryError: the file needs more memory than there is.
            RuntimeError: ITK's message on the file.
        """
        with self._turn:
            process = self._running()
            late = threading.Event()
            seconds = SECONDS + path.stat().st_size * SECONDS_A_BYTE

            def end() -> None:
                late.set()
                process.kill()

            watch = threading.Timer(seconds, end)
            try:
                watch.start()
                answer = self._answer(process, path, voxels)
            except (OSError, ValueError) as error:
                self.stop()
                slow = f"takes longer than {seconds:.0f} s to read"
                why = slow if late.is_set() else "crashes the library that reads it"
                raise InputError(f"'{path}' {why}: it is damaged or malicious.", "Leave it out.") from error
            except BaseException:
                self.stop()
                raise
            finally:
                watch.cancel()
        about, data = answer
        if "error" in about:
            raise MemoryError(about["said"]) if about["error"] == "MemoryError" else RuntimeError(about["said"])
        return about, data

    def fork(self) -> None:
        """Forget the process in a forked one, and the lock, whose holder may be a thread that was not forked."""
        self._turn, self._process = threading.Lock(), None

    def stop(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                with suppress(OSError):
                    pipe.close()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.stop()
            child = Path(__file__).with_name("itk_child.py")
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(child)],
                stdin=pipe,
                stdout=pipe,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl+C only reaches this program, which ends the process
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # Windows would open one
            )
        return self._process

    def _answer(self, process: subprocess.Popen[bytes], path: Path, voxels: bool) -> tuple[dict[str, Any], bytes]:
        self._asked += 1
        assert process.stdin is not None
        assert process.stdout is not None
        reader = "NrrdImageIO" if is_nrrd(path) else "MetaImageIO" if is_meta_image(path) else ""
        name = os.fsencode(itk_path(path.absolute())).hex()  # the process keeps the working directory of its start
        request = {"path": name, "reader": reader, "voxels": voxels, "number": self._asked}
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        line = process.stdout.readline()
        about = json.loads(line)  # a ValueError if the process has ended
        if about["number"] != self._asked:
            raise ValueError("it answers another request")
        count = int(np.prod(about["shape"])) * np.dtype(about["dtype"]).itemsize if "shape" in about else 0
        data = process.stdout.read(count)
        if len(data) != count:
            raise ValueError("it ended")
        return about, data


_reader = _Reader()
atexit.register(_reader.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reader.fork)


class ItkHeader(NamedTuple):
    """What ITK reads of an image without its voxels, x first.

    Attributes:
        is_flipped: whether a distance between voxels was negative, in which case ITK flips the axis.
    """

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]
    is_flipped: bool


def itk_header(path: Path) -> ItkHeader | None:
    """Read the size and position of an image; None if ITK does not know the format.

    Raises:
        InputError: the file crashes ITK or takes too long.
        RuntimeError: ITK's message on the file.
    """
    about, _ = _reader.ask(path, voxels=False)
    if not about["known"]:
        return None
    spacing = np.array(about["spacing"])
    signs = np.where(spacing < 0, -1.0, 1.0)  # itk::ImageFileReader moves them to the directions
    direction = np.array(about["direction"]).reshape(len(signs), -1) * signs
    placed = tuple((spacing * signs).tolist()), tuple(about["origin"]), tuple(direction.ravel().tolist())
    return ItkHeader(tuple(about["size"]), *placed, bool((signs < 0).any()))


def itk_image(path: Path) -> sitk.Image:
    """Read an image in a format that ITK knows; errors as in `itk_header`, and RuntimeError for other formats."""
    about, data = _reader.ask(path, voxels=True)
    if not about["known"]:
        raise RuntimeError("its format is not known")
    array = np.frombuffer(data, np.dtype(about["dtype"])).reshape(about["shape"])
    image = sitk.GetImageFromArray(array, isVector=about["channels"] > 1)
    image.SetOrigin(about["origin"])
    image.SetSpacing(about["spacing"])
    image.SetDirection(about["direction"])
    for key, value in about["tags"].items():
        image.SetMetaData(key, value)
    return image
