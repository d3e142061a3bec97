"""Batches of pairs that depend only on the seed and the step number, so that a stopped run can be resumed."""

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
    """Any source of batches of pairs, such as `PairSource` for files and `shards.ShardSource` for tar files.

    Attributes:
        steps: number of batches per epoch.
        batch: number of pairs per batch, over all processes.
    """

    steps: int
    batch: int

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield this process's part of an epoch's batches from number `start` on: uint8 (b, S, S, 3) and captions."""

    def image_names(self, epoch: int) -> list[str]:
        """Return the name of each pair's image, in the order of an epoch's batches; no two images share a name."""


def read_slice(path: Path) -> np.ndarray:
    """Read an image file, or the middle axial slice of a volume, as uint8 (H, W, 3)."""
    stack = SliceStack(read_volume(path))
    return stack.image(len(stack) // 2)


def square(image: np.ndarray, size: int, crop: tuple[float, float, float] = (1.0, 0.0, 0.0)) -> torch.Tensor:
    """Resize an image (H, W, 3) to the model's square, uint8 (size, size, 3), bicubic with antialiasing.

    Args:
        image: (H, W, 3).
        size: edge of the square, in pixels.
        crop: share of each side that is kept, and its start in x and y between the first (0) and last (1) position.
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
    """Draw a random crop for `square`, with a share of the area from `min_share` to 1.

    Images are never flipped, which would swap left and right.
    """
    return float(np.sqrt(rng.uniform(min_share, 1))), float(rng.random()), float(rng.random())


def stamp(path: Path) -> str:
    """Return a file's path, size and modification time, by which a change of the file is noticed."""
    stat = path.stat()
    return f"{path}:{stat.st_size}:{stat.st_mtime_ns}"


def readable(
    pairs: list[Pair], record: Path | None = None, context: RunContext = RunContext()
) -> tuple[list[Pair], list[tuple[str, str]]]:
    """Return the pairs whose image can be read, and (reason, file) for the other images.

    Args:
        pairs: the pairs to check.
        record: a JSON file that records whether files were readable, by size and modification time, so that each
            readable one is read only once. It is also written when the run is cancelled.
        context: receives the number of images read.
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
    """Batches of pairs in files, in another order in every epoch.

    A training batch has at most one pair of each image, since the image's other captions would be negatives although
    they are true of it. Pairs with the same caption are in different batches if possible. An epoch leaves out pairs
    that do not fill a batch, and surplus pairs of an image.

    Args:
        pairs: at least two pairs.
        size: edge of the model's input, in pixels.
        batch: number of pairs per batch, over all processes.
        crop: minimum share of an image's area that a random crop keeps; 1 takes whole images.
        seed: seed of the order and the crops.
        rank, world: number of this process, and number of processes; each takes every `world`-th pair of a batch.
        workers: number of processes that read images.
        read: path of an image file -> uint8 (H, W, 3).
        keep_rest: for validation; an epoch has all pairs. Two or more remaining pairs make a smaller batch, and a
            single one is added to the last batch. If there are fewer pairs than `batch`, they make one batch.

    Raises:
        InputError: the batch is smaller than 2 or not a multiple of `world`, or there are too few pairs or images
            for one batch (with `keep_rest`, fewer than two pairs).
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
        """Yield the batch for each list of pair numbers, with the crops of an epoch."""
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
            del batch_iterator  # ends its processes; a traceback would keep it, and Python would wait for them at exit

    def image_names(self, epoch: int) -> list[str]:
        """See `Source`."""
        return [str(self.pairs[number].image) for batch in self.order(epoch) for number in batch]

    def order(self, epoch: int) -> list[list[int]]:
        """Return the pair numbers in each batch of an epoch."""
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
        """Yield each pair number with how many pairs of its image there have been so far, itself included."""
        times = Counter[Path]()
        for number in numbers:
            times[self.pairs[number].image] += 1
            yield number, times[self.pairs[number].image]


class _Images(Dataset):
    """The items of a source in one epoch: (uint8 (S, S, 3), caption), or the error if an image became unreadable."""

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
    """Join images and captions to a batch, or return the first error.

    The error is returned, since a data loader would not raise it in its original form.
    """
    images, captions = [], []
    for item in items:
        if isinstance(item, MedCLIPSAMError):
            return item
        images.append(item[0])
        captions.append(item[1])
    return torch.stack(images), captions


@contextmanager
def _without_signals() -> Iterator[None]:
    """Shield processes that are started in the block from signals to their group, so that only their parent ends them.

    A parent may wait forever if its workers end before it does.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows, which has no signals to process groups
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
        raise InputError(f"A batch of {batch} has no negatives to learn from.", "Use at least 2; the paper uses 64.")
    if batch % world:
        raise InputError(
            f"A batch of {batch} cannot be shared by {world} processes.", "Use a multiple of the number of processes."
        )


def divide(pairs: int, batch: int, keep_rest: bool) -> tuple[int, int, int]:
    """Return the size of an epoch's batches, their number, and the number of pairs in all of them; see `PairSource`."""
    if pairs < (least := 2 if keep_rest else batch):
        raise InputError(f"{pairs} usable pairs do not fill a batch of {least}.", "Give more pairs or a smaller batch.")
    batch = min(batch, pairs)
    steps, rest = divmod(pairs, batch)
    return batch, steps + (keep_rest and rest > 1), pairs if keep_rest else pairs - rest
