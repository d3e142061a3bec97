"""Compressed voxels of MetaImage, unpacked before ITK reads them: from damaged ones, ITK returns arbitrary memory."""

from __future__ import annotations

import math
import re
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes.nifti_file import MAX_COMPRESSION
from MedCLIPSAMLib.volumes.nrrd import MAX_HEADER, file_name

META_SUFFIXES = (".mha", ".mhd")
BEGINNING = re.compile(rb"\s*(ObjectType|NDims|Comment)\s*[=:]")
BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}
"""Bytes per value by type, without the U of unsigned types."""
OF_COMPRESSION = ("CompressedData", "CompressedDataSize", "HeaderSize", "ElementDataFile")
GZIP_OR_ZLIB = 47
"""zlib's window setting that detects gzip or zlib data."""


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Unpack the voxels of a compressed MetaImage into a file that is removed at the end; yield other files unchanged.

    Args:
        path: a file whose header has been checked: compressed voxels are in it, or in one file beside it.

    Raises:
        InputError: the voxels are damaged, truncated, or differ in length from the header.
    """
    lines, start = read_header(path)
    fields = {key: value for key, value, _ in lines}
    source = fields.get("ElementDataFile", "")
    voxels = path if source.upper() == "LOCAL" else path.parent / file_name(source)
    if not is_compressed(fields):
        yield path
        return
    start = start if voxels == path else max(0, int(fields.get("HeaderSize", 0)))
    data = _inflate(voxels, start, int(fields.get("CompressedDataSize", 0)), _length(fields, path), path)
    kept = "".join(f"{line}\n" for key, _, line in lines if key not in OF_COMPRESSION)
    with tempfile.TemporaryDirectory(prefix="medclipsam-") as folder:
        made = Path(folder, "image.mha")
        with made.open("wb") as file:
            file.write(f"{kept}ElementDataFile = LOCAL\n".encode("latin-1"))
            file.write(data)
        yield made


def is_meta_image(path: Path) -> bool:
    """Tell whether a file is MetaImage, by its name or first bytes."""
    with path.open("rb") as file:
        return path.suffix.lower() in META_SUFFIXES or BEGINNING.match(file.read(80)) is not None


def read_header(path: Path) -> tuple[list[tuple[str, str, str]], int]:
    """Return key, value and text of each line, and where the voxels begin; empty and 0 for other files.

    The last key is ElementDataFile; if it is a list, its value is `LIST` followed by one file name per line.
    """
    lines: list[tuple[str, str, str]] = []
    if not is_meta_image(path):
        return lines, 0
    with path.open("rb") as file:
        while file.tell() < MAX_HEADER and (line := file.readline(MAX_HEADER)):
            text = line.decode("latin-1").strip()
            key, _, value = (part.strip() for part in re.sub("[=:]", "\n", text, count=1).partition("\n"))
            is_last = key == "ElementDataFile"
            if is_last and value.startswith("LIST"):
                names = (name.strip() for name in file.read(MAX_HEADER).decode("latin-1").split("\n"))
                value = "\n".join([value, *filter(None, names)])
            lines.append((key, value, text))
            if is_last:
                break
        return lines, file.tell()


def is_compressed(fields: Mapping[str, str]) -> bool:
    """Tell whether the header declares compressed voxels."""
    return fields.get("CompressedData", "")[:1] in ("T", "t", "1")


def _length(fields: dict[str, str], path: Path) -> int:
    """Return the number of bytes of the uncompressed voxels."""
    kind = fields.get("ElementType", "").removeprefix("MET_").removesuffix("_ARRAY").removeprefix("U")
    try:
        extents = [int(extent) for extent in fields["DimSize"].split()]
        return math.prod(extents) * int(fields.get("ElementNumberOfChannels", 1)) * BYTES[kind]
    except (KeyError, ValueError) as error:
        raise InputError(f"'{path}' does not state the number or type of its voxels.", "Export it again.") from error


def _inflate(voxels: Path, start: int, packed: int, size: int, path: Path) -> bytes:
    """Unpack `size` bytes from a file.

    Args:
        packed: number of compressed bytes; 0 for all that follow.
        path: the header, for messages.
    """
    if not 0 <= size <= voxels.stat().st_size * MAX_COMPRESSION:
        raise InputError(f"'{path}' is truncated: voxels are missing at its end.", "Copy or export it again.")
    inflater = zlib.decompressobj(GZIP_OR_ZLIB)
    with voxels.open("rb") as file:
        file.seek(start)
        content = file.read(packed) if packed > 0 else file.read()
    try:
        data = inflater.decompress(content, size + 1)
    except zlib.error as error:
        raise InputError(
            f"'{path}' is damaged: it cannot be unpacked ({error}).", "Copy or export it again."
        ) from error
    if not inflater.eof and len(data) <= size:
        raise InputError(f"'{path}' is truncated: voxels are missing at its end.", "Copy or export it again.")
    if len(data) != size:
        got = "more" if len(data) > size else str(len(data))
        raise InputError(
            f"Expected {size} bytes of voxels in '{path}', as its header declares, got {got}.",
            "Correct its header, or export it again.",
        )
    return data
