"""Pairs in tar files, for sets that are too large for single files: webdataset's layout (NAME.jpg, NAME.txt, ...).

Shards are read one after the other, in another order every epoch, through a buffer that shuffles pairs. A first reading
counts usable pairs. Nothing in a shard is run: images and captions are taken as bytes and read by this package.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import braceexpand
import numpy as np
import torch
import webdataset

from ..errors import InputError, MedCLIPSAMError, attempt
from ..files.atomic import atomic_path
from ..files.json_text import parse_json
from ..run_context import RunContext
from .batches import Batch, check_batch, count_steps, draw_crop, read_raster, square
from .caption_text import MIN_CHARACTERS, clean_caption
from .captions import CAPTION_FIELDS

IMAGES = ("jpg", "jpeg", "png", "tif", "tiff", "bmp", "nii.gz", "nii", "nrrd", "mha", "dcm")
CAPTIONS = ("txt", "caption", "json")
BUFFER = 1000


def expand_shards(pattern: str) -> list[Path]:
    """List the files that a pattern such as "train-{000..099}.tar" names.

    Raises:
        InputError: one of them is not there. Only files on this machine are read.
    """
    paths = [Path(name) for name in braceexpand.braceexpand(pattern)]
    absent = [str(path) for path in paths if not path.is_file()]
    if absent:
        raise InputError(f"There is no shard '{absent[0]}' ({len(absent)} of {len(paths)} are missing).")
    return paths


class ShardSource:
    """Batches of pairs in tar files; see `batches` for what a source is.

    Args:
        paths: the tar files.
        size, batch, crop, seed, rank, world, keep_rest: see `batches.PairSource`.
        record: a JSON file that records which pairs can be used.
        context: reports the number of pairs in the first reading.

    Attributes:
        dropped: (reason, shard and key) of each pair that cannot be used.

    Raises:
        InputError: see `batches.PairSource`; or a damaged shard.
    """

    def __init__(
        self,
        paths: list[Path],
        size: int,
        batch: int,
        crop: float = 1.0,
        seed: int = 12,
        rank: int = 0,
        world: int = 1,
        record: Path | None = None,
        context: RunContext = RunContext(),
        min_characters: int = MIN_CHARACTERS,
        keep_rest: bool = False,
    ) -> None:
        self.paths, self.size, self.crop = paths, size, crop
        self.seed, self.rank, self.world, self._min_characters = seed, rank, world, min_characters
        self.count, self.dropped = self._count(record, context)
        self._unusable = {what for _reason, what in self.dropped}
        self.batch = check_batch(batch, world, self.count, keep_rest)
        self.steps, self._used = count_steps(self.count, self.batch, keep_rest)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """See `batches`."""
        order = random.Random(f"{self.seed} {epoch}")
        paths = order.sample(self.paths, len(self.paths))
        pairs = (pair for pair in self._pairs(paths) if _name(pair) not in self._unusable)
        shuffled = webdataset.filters.shuffle(BUFFER, initial=BUFFER, rng=order)(pairs)
        batch_of = lambda number: min(number // self.batch, self.steps - 1)
        images, captions = [], []
        for number, pair in enumerate(shuffled):
            if number >= self._used:
                return
            if batch_of(number) < start:
                continue
            if number % self.batch % self.world == self.rank:
                crop = (1.0, 0.0, 0.0)
                if self.crop < 1:
                    crop = draw_crop(np.random.default_rng([self.seed, epoch, number]), self.crop)
                images.append(square(_read_image(pair), self.size, crop))
                captions.append(clean_caption(_caption(pair)))
            if number == self._used - 1 or batch_of(number + 1) > batch_of(number):
                yield torch.stack(images), captions
                images, captions = [], []

    def _pairs(self, paths: list[Path]) -> Iterator[dict]:
        """Yield the members of each pair as bytes, by their ending."""
        try:
            yield from webdataset.WebDataset(
                [str(path) for path in paths],
                shardshuffle=False,
                nodesplitter=None,
                workersplitter=None,
                empty_check=False,
                handler=webdataset.handlers.reraise_exception,
            )
        except MedCLIPSAMError:
            raise
        except Exception as error:  # tarfile, zlib and webdataset have many
            raise InputError(f"A shard cannot be read: {error}.", "Make it again, or leave it out.") from error

    def _count(self, record: Path | None, context: RunContext) -> tuple[int, list[tuple[str, str]]]:
        named = [f"{path}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in self.paths]
        try:
            known = json.loads(record.read_text(encoding="utf-8")) if record else {}
            if known.get("shards") == named and known["min_characters"] == self._min_characters:
                return known["count"], [(reason, what) for reason, what in known["unusable"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        count, dropped = 0, []
        for pair in self._pairs(self.paths):
            reason = self._problem(pair)
            if reason:
                dropped.append((reason, _name(pair)))
            count += not reason
            context.report(count + len(dropped), None, "reading shards")
        if record is not None:
            content = {"shards": named, "min_characters": self._min_characters, "count": count, "unusable": dropped}
            with atomic_path(record) as temporary:
                temporary.write_text(json.dumps(content), encoding="utf-8")
        return count, dropped

    def _problem(self, pair: dict) -> str:
        """Return why a pair cannot be used; "" when it can."""
        if len(clean_caption(_caption(pair))) < self._min_characters:
            return f"captions have less than {self._min_characters} characters"
        image = attempt(lambda: _read_image(pair), _name(pair), "It cannot be read")
        return "images cannot be read" if isinstance(image, MedCLIPSAMError) else ""


def _name(pair: dict) -> str:
    """Name a pair by its shard and key, as keys repeat across shards."""
    return f"{pair['__url__']}: {pair['__key__']}"


def _caption(pair: dict) -> str:
    ending = next((suffix for suffix in CAPTIONS if suffix in pair), None)
    text = pair[ending].decode("utf-8", errors="replace") if ending else ""
    if ending != "json":
        return text
    try:
        fields = parse_json(text, constants=True)
        return str(next((fields[name] for name in CAPTION_FIELDS if name in fields), ""))
    except (ValueError, TypeError):
        return ""


def _read_image(pair: dict) -> np.ndarray:
    ending = next((suffix for suffix in IMAGES if suffix in pair), None)
    if ending is None:
        raise InputError(f"'{pair['__key__']}' has no image.", f"Its ending must be one of {', '.join(IMAGES)}.")
    with tempfile.TemporaryDirectory(prefix="medclipsam-") as folder:
        path = Path(folder) / f"image.{ending}"
        path.write_bytes(pair[ending])
        return read_raster(path)
