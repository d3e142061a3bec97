"""Zip files, unpacked into a temporary private folder."""

from __future__ import annotations

import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from MedCLIPSAMLib.errors import InputError, without_controls
from MedCLIPSAMLib.volumes.suffixes import DETACHED_SUFFIXES, PAIR_SUFFIXES

MAX_BYTES = 16 << 30
MAX_FILES = 200_000
MAX_NAMED = 4
HEADERS = (*DETACHED_SUFFIXES, *PAIR_SUFFIXES)
"""Suffixes of headers whose voxels are in other files beside them, referred to by name."""
PLAIN = re.compile(r"(?!(con|prn|aux|nul|com\d|lpt\d)(\.|$))\w[\w .,()=+-]*(?<![ .-])", re.IGNORECASE)
"""File names that are safe on every system: letters and digits of any script, and a few signs."""
MAX_NAME = 180
"""Maximum length of such a name in bytes."""
DRIVE = re.compile("[a-z]:", re.IGNORECASE)
"""Beginning of a name with a Windows drive. Other colons never reach the disk, because files are named by numbers."""
try:
    from lzma import LZMAError
except ImportError:  # a Python without lzma, where zipfile raises NotImplementedError or RuntimeError for such files
    LZMAError = NotImplementedError  # type: ignore[misc, assignment]
DAMAGED = (zipfile.BadZipFile, zlib.error, LZMAError, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)
"""Errors that zipfile raises for damaged or unsupported archives."""


def is_zip(path: Path) -> bool:
    """Tell whether a file begins as zip files do, including empty ones."""
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def names_in(path: Path, endings: tuple[str, ...]) -> str:
    """List the first files in a zip file whose names have one of these endings, for messages."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.lower().endswith(endings) and not _is_hidden(_name(name))]
    return without_controls(", ".join(names[:MAX_NAMED])) + (", ..." if len(names) > MAX_NAMED else "")


@contextmanager
def unpack_zip(path: Path) -> Iterator[Path]:
    """Unpack a zip file into a folder that is removed at the end.

    Each folder of the archive becomes a numbered folder, and files are named by numbers, so no name of the archive
    reaches the disk. The exception is plain names (`PLAIN`) in a folder with a header that refers to its voxels by
    name, such as scan.mhd. Numbers begin with a plus, which no plain name does, so no file overwrites another.

    Raises:
        InputError: the archive is damaged or encrypted, holds a link or a name that leads out of it, or unpacks to more
            than 200,000 files, 16 GiB or the free space.
    """
    with tempfile.TemporaryDirectory(prefix="medclipsam-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                _unpack(archive, Path(folder), path)
        except DAMAGED as error:
            raise InputError(f"'{path}' cannot be unpacked: {error}.", "Copy it again, or unpack it.") from error
        yield Path(folder)


def _unpack(archive: zipfile.ZipFile, folder: Path, path: Path) -> None:
    members = {member: _name(member.filename) for member in archive.infolist() if not member.is_dir()}
    size, room = sum(member.file_size for member in members), min(MAX_BYTES, shutil.disk_usage(folder).free)
    if len(members) > MAX_FILES or size > room:  # zipfile reads no more of a file than its declared size
        raise InputError(
            f"'{path}' would unpack to {len(members)} files of {size / (1 << 30):.1f} GiB: expected at most "
            f"{MAX_FILES} files and {room / (1 << 30):.1f} GiB.",
            "Unpack it yourself, and give the folder.",
        )
    folders: dict[PurePosixPath, Path] = {}
    of_headers = {name.parent for name in members.values() if name.name.lower().endswith(HEADERS)}
    for number, (member, name) in enumerate(members.items()):
        if not name.parts:  # ".", the folder itself
            continue
        if name.is_absolute() or ".." in name.parts or DRIVE.match(name.parts[0]):
            raise InputError(f"'{path}' holds the name '{member.filename}', which leads out of it.", "Do not use it.")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise InputError(f"'{path}' holds the link '{member.filename}'.", "Do not use it.")
        if member.flag_bits & 1:
            raise InputError(f"'{path}' is encrypted.", "Unpack it yourself, and give the folder.")
        if _is_hidden(name):
            continue
        parent = folders.setdefault(name.parent, folder / f"{len(folders)}")
        parent.mkdir(exist_ok=True)
        suffixes = "".join(suffix for suffix in name.suffixes[-2:] if suffix[1:].isalnum() and len(suffix) < 8)
        target_path = parent / f"+{number:06d}{suffixes}"
        is_plain = PLAIN.fullmatch(name.name) and len(name.name.encode()) <= MAX_NAME
        if name.parent in of_headers and is_plain and not (parent / name.name).exists():
            target_path = parent / name.name
        with archive.open(member) as source, target_path.open("xb") as target:
            shutil.copyfileobj(source, target)


def _name(text: str) -> PurePosixPath:
    return PurePosixPath(text.replace("\\", "/"))


def _is_hidden(name: PurePosixPath) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.parts)
