"""The training examples of real data in one small file, for a machine without the data or without a network.

The file is a zip archive of index.json, images as WebP and masks as 1-bit PNG, all `SIZE` x `SIZE`.
"""

from __future__ import annotations

import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from ..errors import InputError
from ..files.atomic import atomic_path
from ..run_context import RunContext
from .examples import SIZE, Example, Structure
from .real_data import read_examples

QUALITY = 72
"""Quality of the WebP images."""
_MAX_INDEX = 64 * 2**20


@dataclass(frozen=True)
class _Entry:
    """An example in index.json: everything but its image, with the names and facts of its structures."""

    modality: str
    source: str
    facts: frozenset[str]
    structures: tuple[tuple[str, frozenset[str]], ...]
    group: str
    position: int
    unknown_facts: frozenset[str]
    unknown_organs: tuple[str, ...]


_INDEX = TypeAdapter(list[_Entry])


def write_pack(data: Path, path: Path, context: RunContext = RunContext()) -> int:
    """Write the training examples under `data` to the file `path`; return their number."""
    index: list[_Entry] = []
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for number, example in enumerate(read_examples(data, context)):
            archive.writestr(f"{number}.webp", _encode(Image.fromarray(example.image), "WEBP"))
            for place, structure in enumerate(example.structures):
                archive.writestr(f"{number}-{place}.png", _encode(Image.fromarray(structure.mask), "PNG"))
            about = {name: value for name, value in vars(example).items() if name not in ("image", "structures")}
            structures = tuple((structure.name, structure.facts) for structure in example.structures)
            index.append(_Entry(structures=structures, **about))
            context.report(number + 1, None, example.source)
        archive.writestr("index.json", _INDEX.dump_json(index), zipfile.ZIP_DEFLATED)
    return len(index)


def read_pack(path: Path) -> list[Example]:
    """Read the examples from a file written by `write_pack`."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("index.json").file_size > _MAX_INDEX:
                raise ValueError("its index is too large")
            entries = _INDEX.validate_json(archive.read("index.json"))
            files = [
                (archive.read(f"{number}.webp"), [archive.read(f"{number}-{i}.png") for i in range(len(e.structures))])
                for number, e in enumerate(entries)
            ]
        with ThreadPoolExecutor() as pool:
            return list(pool.map(_decode, entries, files))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, ValidationError, SyntaxError) as error:
        raise InputError(
            f"Expected a file of 'starter pack', got '{path}': {error}.",
            "Make it again, or give the folder of the data.",
        ) from error


def _encode(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **({"quality": QUALITY, "method": 4} if kind == "WEBP" else {}))
    return file.getvalue()


def _decode(entry: _Entry, files: tuple[bytes, list[bytes]]) -> Example:
    masks = [_read(data, "PNG") > 127 for data in files[1]]
    structures = [Structure(name, mask, facts) for (name, facts), mask in zip(entry.structures, masks, strict=True)]
    return Example(_read(files[0], "WEBP"), **vars(entry) | {"structures": tuple(structures)})


def _read(data: bytes, kind: str) -> np.ndarray:
    image = Image.open(io.BytesIO(data), formats=(kind,))
    if image.size != (SIZE, SIZE):
        raise ValueError(f"expected images of {SIZE} x {SIZE}, got {image.width} x {image.height}")
    return np.asarray(image.convert("L"))
