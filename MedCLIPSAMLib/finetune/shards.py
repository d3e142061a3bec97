"""Pairs in tar files, for sets too large for separate files, in webdataset's layout (NAME.jpg, NAME.txt, ...).

Shards are read one after another, in another order every epoch, through a buffer that shuffles pairs. A first reading
counts the usable pairs. If an image has several captions, each training epoch takes one of them in turn, and validation
takes all. No code in a shard is run: images and captions are taken as bytes and read by this package.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
import zlib
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import braceexpand
import numpy as np
import torch
import webdataset.filters
from webdataset.tariterators import group_by_keys, tar_file_expander

from ..errors import InputError, MedCLIPSAMError, attempt
from ..files.json_text import parse_json, write_json
from ..files.text_file import decode_text
from ..run_context import RunContext
from .batches import UNREADABLE, Batch, check_batch, divide, draw_crop, read_slice, square, stamp
from .caption_text import MIN_CHARACTERS, clean_captions
from .captions import CAPTION_FIELDS, MISSING, SUFFIXES, choose_field, count_reasons, flatten

IMAGES = tuple(suffix.removeprefix(".") for suffix in SUFFIXES)
CAPTIONS = ("txt", "caption", "json")
BUFFER = 1000
DOTTED = "names have a dot before their suffix"


def expand_shards(pattern: str) -> list[Path]:
    """List the files that a pattern such as "train-{000..099}.tar" names; only local files are supported.

    Raises:
        InputError: one of the files does not exist.
    """
    escapes = os.name == "posix"  # on Windows "\\" separates folders
    paths = [Path(name) for name in braceexpand.braceexpand(pattern, escape=escapes)]
    absent = [str(path) for path in paths if not path.is_file()]
    if absent:
        raise InputError(f"There is no shard '{absent[0]}' ({len(absent)} of {len(paths)} are missing).")
    return paths


class ShardSource:
    """Batches of pairs in tar files; see `batches.Source`.

    Args:
        paths: the tar files.
        size, batch, crop, seed, rank, world, keep_rest: see `batches.PairSource`.
        record: a JSON file that records which pairs are usable.
        context: receives the number of pairs during the first reading.
        min_characters: minimum length of a caption.

    Attributes:
        count: number of usable pairs; with several captions, an image counts once for training.
        dropped: (reason, shard and key) for each unusable pair.
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
        check_batch(batch, world)
        self.paths, self.size, self.crop = paths, size, crop
        self.seed, self.rank, self.world, self._min_characters = seed, rank, world, min_characters
        self._every_caption = keep_rest
        self.count, self.dropped = self._count(record, context)
        if not self.count:
            raise InputError(
                f"The shards, beginning with '{paths[0]}', hold no pair that can be used{count_reasons(self.dropped)}.",
                "The files of a pair, NAME.png and NAME.txt or .json, must be adjacent in a tar file, and NAME must "
                "have no dot.",
            )
        self._unreadable = {what for reason, what in self.dropped if reason == UNREADABLE}
        self.batch, self.steps, self._used = divide(self.count, batch, keep_rest)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """See `batches.Source`."""
        batch_of = lambda number: min(number // self.batch, self.steps - 1)
        images, captions = [], []
        for number, (pair, caption) in enumerate(self._draw(epoch)):
            if batch_of(number) < start:
                continue
            if number % self.batch % self.world == self.rank:
                crop = draw_crop(np.random.default_rng([self.seed, epoch, number]), self.crop)
                images.append(square(_read_image(pair), self.size, crop))
                captions.append(caption)
            if number == self._used - 1 or batch_of(number + 1) > batch_of(number):
                yield torch.stack(images), captions
                images, captions = [], []

    def image_names(self, epoch: int) -> list[str]:
        """See `batches.Source`."""
        return [_name(pair) for pair, _caption in self._draw(epoch)]

    def _draw(self, epoch: int) -> Iterator[tuple[dict, str]]:
        """Yield the tar members and the caption of each pair in an epoch."""
        order = random.Random(f"{self.seed} {epoch}")
        paths = order.sample(self.paths, len(self.paths))
        shuffled = webdataset.filters.shuffle(BUFFER, initial=BUFFER, rng=order)(self._captioned(paths, epoch))
        yield from islice(_spread(iter(shuffled), self.batch), self._used)

    def _captioned(self, paths: list[Path], epoch: int) -> Iterator[tuple[dict, str]]:
        """Yield the usable images of some shards with their captions in an epoch, either all or one of them."""
        for pair in self._pairs(paths):
            usable, _problems = self._captions(pair)
            if usable and _name(pair) not in self._unreadable:
                first = zlib.crc32(pair["__key__"].encode(errors="surrogatepass")) + epoch
                for caption in usable if self._every_caption else [usable[first % len(usable)]]:
                    yield pair, caption

    def _pairs(self, paths: list[Path]) -> Iterator[dict]:
        """Yield the tar members of each pair as bytes by suffix."""
        is_shown = lambda name: not Path(name).name.startswith(".")  # macOS puts ._NAME.png beside NAME.png
        for path in paths:
            try:
                with open(path, "rb") as stream:  # webdataset itself would run or download what some names say
                    members = tar_file_expander([{"url": str(path), "stream": stream}], select_files=is_shown)
                    yield from group_by_keys(members)
            except Exception as error:  # tarfile, zlib and webdataset raise many kinds, some with objects as arguments
                reason = getattr(error, "strerror", None) or str(error.args[0] if error.args else error)
                raise InputError(
                    f"The shard '{path}' cannot be read: {reason.partition(' dict_keys')[0]}.",
                    "Create it again, or leave it out.",
                ) from error

    def _count(self, record: Path | None, context: RunContext) -> tuple[int, list[tuple[str, str]]]:
        made_of = [[stamp(path) for path in self.paths], self._min_characters, self._every_caption]
        try:
            known = json.loads(record.read_text(encoding="utf-8")) if record else {}
            if known.get("made of") == made_of:
                return known["pairs"], [(reason, what) for reason, what in known["dropped"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        count, dropped = 0, list[tuple[str, str]]()
        for read, pair in enumerate(self._pairs(self.paths), 1):
            usable, problems = self._captions(pair)
            image = attempt(partial(_read_image, pair), _name(pair), "It cannot be read") if usable else None
            if isinstance(image, MedCLIPSAMError):
                usable, problems = [], [UNREADABLE]
            dropped += [(problem, _name(pair)) for problem in problems]
            count += len(usable) if self._every_caption else bool(usable)
            context.report(read, None, "reading shards")
        if record is not None:
            write_json(record, {"made of": made_of, "pairs": count, "dropped": dropped})
        return count, dropped

    def _captions(self, pair: dict) -> tuple[list[str], list[str]]:
        """Return the usable captions of an image, and the reasons why the others cannot be used."""
        ending = next((suffix for suffix in CAPTIONS if suffix in pair), None)
        if not _image_ending(pair):
            return [], [DOTTED for name in pair if name.endswith(SUFFIXES)] or [MISSING]
        if ending is None:
            return [], ["captions are missing"]
        try:
            field: Any = decode_text(pair[ending])
            if ending == "json":
                fields = flatten(parse_json(field, constants=True))
                field = fields.get(choose_field([fields], CAPTION_FIELDS) or "")
        except (ValueError, AttributeError):
            return [], ["captions cannot be read"]
        found = list(clean_captions(field, self._min_characters))
        return list(dict.fromkeys(text for text, problem in found if not problem)), [why for _text, why in found if why]


def _spread(pairs: Iterator[tuple[dict, str]], batch: int) -> Iterator[tuple[dict, str]]:
    """Defer pairs whose caption is already in their batch, up to `BUFFER` of them, as long as there are others."""
    waiting: list[tuple[dict, str]] = []
    while True:
        captions: set[str] = set()
        for _ in range(batch):
            place = next((at for at, (_pair, caption) in enumerate(waiting) if caption not in captions), None)
            chosen = None if place is None else waiting.pop(place)
            while chosen is None and (pair := next(pairs, None)) is not None:
                if pair[1] in captions and len(waiting) < BUFFER:
                    waiting.append(pair)
                else:
                    chosen = pair
            if chosen is None and not waiting:
                return
            chosen = chosen or waiting.pop(0)
            captions.add(chosen[1])
            yield chosen


def _name(pair: dict) -> str:
    """Name a pair by its shard and key, since keys can repeat across shards."""
    return f"{pair['__url__']}: {pair['__key__']}"


def _image_ending(pair: dict) -> str | None:
    return next((suffix for suffix in IMAGES if suffix in pair), None)


def _read_image(pair: dict) -> np.ndarray:
    ending = _image_ending(pair)
    with tempfile.TemporaryDirectory(prefix="medclipsam-") as folder:
        path = Path(folder) / f"image.{ending}"
        path.write_bytes(pair[ending])
        return read_slice(path)
