"""Batches of pairs that depend only on a seed and the number of the step, so that a stopped run can be resumed."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

from ..errors import InputError, MedCLIPSAMError, attempt
from ..files.json_text import write_json
from ..run_context import RunContext
from ..signals import ending_signals
from ..volumes import SliceStack, read_volume
from .captions import Pair
from .deal import count_batches, deal, group_pairs

Batch = tuple[torch.Tensor, list[str]]

UNREADABLE = "images cannot be read"


class Source(Protocol):
    """Anything with batches of pairs: `PairSource` reads files, `shards.ShardSource` tar files.

    Attributes:
        steps: batches an epoch.
        batch: pairs a batch, over all processes.
    """

    steps: int
    batch: int

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield this process's part of the batches of an epoch from number `start` on: uint8 (b, S, S, 3), captions."""

    def image_names(self, epoch: int) -> list[str]:
        """Return what tells the images of the pairs of an epoch apart, in the order of all its batches."""


def read_slice(path: Path) -> np.ndarray:
    """Read an image file, uint8 (H, W, 3); of a volume the middle axial slice."""
    stack = SliceStack(read_volume(path))
    return stack.image(len(stack) // 2)


def square(image: np.ndarray, size: int, crop: tuple[float, float, float] = (1.0, 0.0, 0.0)) -> torch.Tensor:
    """Resize an image (H, W, 3) to the model's square, uint8 (size, size, 3), bicubic with antialias.

    Args:
        crop: share of each side that is kept, and where it begins between the first (0) and the last (1) place.
    """
    share, x, y = crop
    height, width = image.shape[:2]
    rows, columns = max(1, round(share * height)), max(1, round(share * width))
    top, left = round(y * (height - rows)), round(x * (width - columns))
    part = np.ascontiguousarray(image[top : top + rows, left : left + columns])
    pixels = torch.from_numpy(part).permute(2, 0, 1)[None].float()
    pixels = F.interpolate(pixels, (size, size), mode="bicubic", antialias=True, align_corners=False)
    return pixels[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8)


def draw_crop(rng: np.random.Generator, min_share: float) -> tuple[float, float, float]:
    """Draw a random crop for `square`, of an area from `min_share` to 1; never a flip, which would swap sides."""
    return float(np.sqrt(rng.uniform(min_share, 1))), float(rng.random()), float(rng.random())


def stamp(path: Path) -> str:
    """Return the path, the size and the time of the last change of a file, which tell whether it was changed."""
    stat = path.stat()
    return f"{path}:{stat.st_size}:{stat.st_mtime_ns}"


def readable(
    pairs: list[Pair], record: Path | None = None, context: RunContext = RunContext()
) -> tuple[list[Pair], list[tuple[str, str]]]:
    """Find the pairs whose image can be read, and (reason, file) of the others.

    Args:
        record: a JSON file that records which files were read before, by size and modification time, so that each
            that could be is read once only; also when the run is cancelled.
    """
    known = _read_recorded(record)
    files = list(dict.fromkeys(pair.image for pair in pairs))

    def check(path: Path) -> str:
        try:
            key = stamp(path)
        except OSError as error:
            return error.strerror or str(error)
        if known.get(key) != "":
            image = attempt(lambda: read_slice(path), path.name, f"'{path}' cannot be read")
            known[key] = image.problem if isinstance(image, MedCLIPSAMError) else ""
        return known[key]

    wrong: dict[Path, str] = {}
    try:
        with ThreadPoolExecutor(8) as pool:
            for done, (path, problem) in enumerate(zip(files, pool.map(check, files)), 1):
                context.raise_if_cancelled()
                context.report(done, len(files), "reading images")
                if problem:
                    wrong[path] = problem
    finally:
        if record is not None:
            write_json(record, known)
    return [pair for pair in pairs if pair.image not in wrong], [
        (UNREADABLE, f"{path}: {problem}") for path, problem in wrong.items()
    ]


def _read_recorded(record: Path | None) -> dict[str, str]:
    try:
        known = json.loads(record.read_text(encoding="utf-8")) if record else {}
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


class PairSource:
    """Batches of pairs in files; every epoch in another order.

    A batch for training has one pair of an image at most, whose other captions would be its negatives though they are
    true, and pairs with the same caption are in different batches while there are others. An epoch leaves out the rest,
    and what is too much of an image.

    Args:
        pairs: at least two.
        size: edge of the image that the model sees.
        batch: pairs a batch over all processes.
        crop: minimum share of an image's area that a random crop keeps; 1 takes it whole.
        rank, world: number of this process, and of all; each takes every `world`-th pair of a batch.
        workers: processes that read images.
        read: path of an image file -> uint8 (H, W, 3).
        keep_rest: for validation. All pairs are in an epoch: the rest is a smaller batch of two or more, or one more
            pair in the last batch; and fewer pairs than a batch are one.

    Raises:
        InputError: a batch of less than 2, or not a multiple of `world`, or fewer pairs, or images, than a batch.
    """

    def __init__(
        self,
        pairs: list[Pair],
        size: int,
        batch: int,
        crop: float = 1.0,
        seed: int = 12,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        read: Callable[[Path], np.ndarray] = read_slice,
        keep_rest: bool = False,
    ) -> None:
        check_batch(batch, world)
        if keep_rest:
            self.batch, self.steps, _ = divide(len(pairs), batch, keep_rest)
        else:
            self.batch, self.steps = batch, count_batches(pairs, batch)
        self.pairs, self.size, self.crop = pairs, size, crop
        self.seed, self.rank, self.world, self.workers = seed, rank, world, workers
        self.read, self.keep_rest = read, keep_rest
        self._groups = group_pairs(pairs)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """See `Source`."""
        yield from self.load([numbers[self.rank :: self.world] for numbers in self.order(epoch)[start:]], epoch)

    def load(self, batches: list[list[int]], epoch: int = 0) -> Iterator[Batch]:
        """Yield the pairs of each list of numbers, with the crops of an epoch."""
        loader = DataLoader(
            _Images(self, epoch), batch_sampler=batches, num_workers=min(self.workers, len(batches)), collate_fn=_join
        )
        with _without_signals():
            batch_iterator = iter(loader)
        try:
            for batch in batch_iterator:
                if isinstance(batch, MedCLIPSAMError):
                    raise batch
                yield batch
        finally:
            del batch_iterator  # ends its processes: a traceback would keep it, and Python's exit wait for them

    def image_names(self, epoch: int) -> list[str]:
        """See `Source`."""
        return [str(self.pairs[number].image) for batch in self.order(epoch) for number in batch]

    def order(self, epoch: int) -> list[list[int]]:
        """Return the numbers of the pairs in each batch of an epoch."""
        rng = np.random.default_rng([self.seed, epoch])
        drawn = rng.permutation(len(self.pairs)).tolist()
        if not self.keep_rest:
            drawn = [number for number, times in self._counted(drawn) if times <= self.steps]
        whole = len(self.pairs) // self.batch if self.keep_rest else self.steps
        drawn, rest = drawn[: whole * self.batch], drawn[whole * self.batch :]
        batches = deal(self.pairs, self._groups, drawn, whole, rng)
        if self.keep_rest and len(rest) == 1:
            batches[-1] += rest
        elif self.keep_rest and rest:
            batches.append(rest)
        return batches

    def _counted(self, numbers: list[int]) -> Iterator[tuple[int, int]]:
        """Yield numbers of pairs, and how many of the image there have been with it."""
        times = Counter[Path]()
        for number in numbers:
            times[self.pairs[number].image] += 1
            yield number, times[self.pairs[number].image]


class _Images(Dataset):
    """The images of a source in one epoch: (uint8 (S, S, 3), caption), or why one cannot be read any more."""

    def __init__(self, source: PairSource, epoch: int) -> None:
        self._source, self._epoch = source, epoch

    def __getitem__(self, number: int) -> tuple[torch.Tensor, str] | MedCLIPSAMError:
        source = self._source
        pair = source.pairs[number]
        image = attempt(lambda: source.read(pair.image), pair.image.name, f"'{pair.image}' cannot be read")
        if isinstance(image, MedCLIPSAMError):
            return image
        crop = draw_crop(np.random.default_rng([source.seed, self._epoch, number]), source.crop)
        return square(image, source.size, crop), pair.caption


def _join(items: list[tuple[torch.Tensor, str] | MedCLIPSAMError]) -> Batch | MedCLIPSAMError:
    """Join images and captions to a batch, or return the first error; loaders raise none that other code can read."""
    images, captions = [], []
    for item in items:
        if isinstance(item, MedCLIPSAMError):
            return item
        images.append(item[0])
        captions.append(item[1])
    return torch.stack(images), captions


@contextmanager
def _without_signals() -> Iterator[None]:
    """Let processes that are started in the block outlive the signals to their group: their parent ends them.

    A parent whose workers are gone before it has ended may wait for them for ever.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where a group gets no signals
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ending_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def check_batch(batch: int, world: int) -> None:
    """Refuse a batch that has no negatives or cannot be divided among the processes; see `PairSource`."""
    if batch < 2:
        raise InputError(f"A batch of {batch} has no negatives to learn from.", "Take 2 or more; the paper takes 64.")
    if batch % world:
        raise InputError(f"A batch of {batch} cannot be shared by {world} processes.", "Take a multiple of it.")


def divide(pairs: int, batch: int, keep_rest: bool) -> tuple[int, int, int]:
    """Return the size of an epoch's batches, their number, and the number of pairs in them; see `PairSource`."""
    if pairs < (least := 2 if keep_rest else batch):
        raise InputError(f"{pairs} usable pairs do not fill a batch of {least}.", "Give more pairs or a smaller batch.")
    batch = min(batch, pairs)
    steps, rest = divmod(pairs, batch)
    return batch, steps + (keep_rest and rest > 1), pairs if keep_rest else pairs - rest
