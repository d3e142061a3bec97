"""Performance on a GPU: saliency maps from recordings, whole images, stacks of slices, memory, and a profile."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import cycle

import numpy as np
import torch

from ...models import sam as sam_module
from ...models import sam_image_batch
from ...models.acceleration.captures import Captures
from ...models.acceleration.memory import release
from ...models.clip import ClipModel
from ...run_context import RunContext
from ...segmentation import locate as locating
from ...segmentation import segmenter as segmenting
from ...segmentation.saliency import M2IBSettings, m2ib
from .full_size import PROMPT, biomedclip, sam21, segmenter
from .interleaved import interleaved
from .parts import Place, measure_kernel_seconds, time_parts
from .saliency import difference, wait_for_device

SLICES, SLICE_BATCH_SIZES = 64, (1, 8, 16, 32)
"""Number of slices of 512 px, and batch sizes."""
IMAGES, IMAGE_BATCH_SIZES = 16, (8, 16)
"""Number of images of 1024 px, and batch sizes."""
WIDE, NARROW = 1024, 512

PLACES: dict[str, list[Place]] = {
    "images made inputs": [(ClipModel, "preprocess"), (sam_module.Sam2, "preprocess")],
    "texts": [(ClipModel, "encode_text")],
    "CLIP's image tower and M2IB": [(locating, "m2ib")],
    "between the networks": [(segmenting, "draft_results")],
    "SAM's encoder": [(sam_module.Sam2, "forward_image")],
    "SAM's decoder": [(sam_image_batch, "decode")],
    "masks tidied": [(sam_image_batch, "_change_logits")],
    "copies to the host": [(torch.Tensor, "cpu"), (sam_image_batch, "to_host")],
}


@dataclass(frozen=True)
class Figure:
    """One line of the table; if its part failed, the value is None and `note` has the reason."""

    name: str
    value: float | None
    unit: str = ""
    note: str = ""


@dataclass(frozen=True)
class Profile:
    """The profile of a call.

    Args:
        name: name of the call.
        ms: milliseconds of the whole call, without synchronizing after its parts.
        parts: milliseconds by part, with the GPU synchronized after each, so that they sum up to more than `ms`.
        kernels: milliseconds during which the GPU was busy; None on a CPU.
    """

    name: str
    ms: float
    parts: dict[str, float]
    kernels: float | None


@dataclass(frozen=True)
class GpuCost:
    """Figures of full-size models, with block 9, and SAM 2.1 tiny unless another one is named."""

    figures: list[Figure] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)


def measure_gpu(rounds: int, device: torch.device, context: RunContext) -> GpuCost:
    """Measure all parts; a part that fails gets a line of its own, and the others continue."""
    made, clip = GpuCost(), biomedclip(device)
    parts: dict[str, Callable[[], Iterator[Figure | Profile]]] = {
        "an image, SAM 2.1 tiny": lambda: _time_image(clip, "tiny", rounds),
        "where the time of an image goes": lambda: _profile(clip, WIDE, 1, rounds),
        "slices": lambda: _stack(clip, NARROW, SLICES, SLICE_BATCH_SIZES, rounds, context),
        "images": lambda: _stack(clip, WIDE, IMAGES, IMAGE_BATCH_SIZES, rounds, context),
        "where the time of slices goes": lambda: _profile(clip, NARROW, max(SLICE_BATCH_SIZES), rounds),
        "a saliency map": lambda: _saliency(clip, rounds, context),
        "an image, SAM 2.1 large": lambda: _time_image(clip, "large", rounds),
    }
    for name, part in parts.items():
        started = time.perf_counter()
        try:
            for found in part():
                made.figures.append(found) if isinstance(found, Figure) else made.profiles.append(found)
                context.notify(str(found))  # printed at once, in case a time limit ends the run
        except Exception as error:
            made.figures.append(Figure(name, None, note=f"failed: {type(error).__name__}: {error}"))
        release()
        context.notify(f"{name}: {time.perf_counter() - started:.1f} s")
    return made


def _saliency(clip: ClipModel, rounds: int, context: RunContext) -> Iterator[Figure]:
    """Time the computation of a map from an image, plain and recorded; the text is already encoded."""
    image = np.random.default_rng(0).integers(0, 256, (1, NARROW, NARROW, 3), dtype=np.uint8)
    text, settings, captures = clip.encode_text([PROMPT]), M2IBSettings(), Captures()

    def call(bfloat16: bool, recorded: bool) -> Callable[[], torch.Tensor]:
        used = captures if recorded and clip.device.type == "cuda" else None
        search = lambda: m2ib(clip, clip.preprocess(image), text, settings, bfloat16=bfloat16, captures=used)
        return lambda: wait_for_device(search().maps[0, 0])

    ways = {"f32": False, "bf16": True}
    calls = {f"{name}, {how}": call(ways[name], how == "recorded") for name in ways for how in ("plain", "recorded")}
    for warm in list(calls.values()) * 2:  # recorded at the second call
        warm()
    times, maps = interleaved(calls, rounds, context=context)
    for name in calls:
        kind = name.partition(",")[0]
        apart = "{:.0e}, {:.0e}".format(*difference(maps[f"{kind}, recorded"], maps[f"{kind}, plain"]))
        note = f"maximum, mean difference to the plain one, 0 to 1: {apart}" if name.endswith("recorded") else ""
        yield Figure(f"a saliency map, {name}", 1e3 * times.median(name), "ms", note)


def _time_image(clip: ClipModel, size: str, rounds: int) -> Iterator[Figure]:
    """Time a new image, and another prompt on it with new texts; on a GPU, alternate with and without recordings."""
    _forget_peak(clip.device)
    recorded, words = segmenter(clip, sam21(size, WIDE, clip.device)), PROMPT.split()
    plain = recorded.with_settings(replace(recorded.settings, capture=False))
    image = np.random.default_rng(0).integers(0, 256, (WIDE, WIDE, 3), dtype=np.uint8)
    seconds: dict[str, list[float]] = {}
    prompts = cycle(" ".join(words[start:]) for start in range(1, len(words)))
    ways = {"": recorded} | ({", not recorded": plain} if clip.device.type == "cuda" else {})
    for _ in range(rounds + 2):  # recorded at the second call
        for way, made in ways.items():
            started = time.perf_counter()
            made.set_image(image)
            made.segment(PROMPT)
            seconds.setdefault(f"an image of {WIDE} px to its mask, {size}{way}", []).append(
                time.perf_counter() - started
            )
            prompt = next(prompts)
            started = time.perf_counter()
            made.segment(prompt)
            seconds.setdefault(f"another prompt on it, {size}{way}", []).append(time.perf_counter() - started)
    for name, times in seconds.items():
        yield Figure(name, 1e3 * statistics.median(times[2:]), "ms")
    yield from _peak(f"memory for it, both ways, {size}", clip.device)


def _stack(
    clip: ClipModel, pixels: int, count: int, together: tuple[int, ...], rounds: int, context: RunContext
) -> Iterator[Figure]:
    """Measure images per second by batch size, with SAM 2 at their size; memory includes the recordings."""
    sam = sam21("tiny", pixels, clip.device)
    images = np.random.default_rng(0).integers(0, 256, (count, pixels, pixels, 3), dtype=np.uint8)

    def in_parts(size: int) -> Callable[[], None]:
        made = segmenter(clip, sam, at_once=size)

        def work() -> None:
            for start in range(0, count, size):
                made.set_images(list(images[start : start + size]))
                made.segment_each([PROMPT])

        return work

    for size in together:
        name, work = f"{pixels} px, {size} at once", in_parts(size)
        sam.captures = None  # drop those recorded with the previous segmenter
        release()
        _forget_peak(clip.device)
        work()  # recorded at the second call
        times, _ = interleaved({name: work}, rounds, context=context)
        yield Figure(f"images of {name}", count / times.median(name), "a second")
        yield from _peak(f"memory for {size} at once", clip.device)


def _profile(clip: ClipModel, pixels: int, count: int, rounds: int) -> Iterator[Profile]:
    """Profile the segmentation of a batch of images, which are set again in every call."""
    made = segmenter(clip, sam21("tiny", pixels, clip.device), at_once=count)
    images = list(np.random.default_rng(0).integers(0, 256, (count, pixels, pixels, 3), dtype=np.uint8))

    def work() -> None:
        made.set_images(images)
        made.segment_each([PROMPT])

    work()  # recorded at the second call
    whole, _ = interleaved({"": work}, max(rounds, 2))
    with time_parts(PLACES, clip.device) as times:
        work()
    kernels = 1e3 * measure_kernel_seconds(work, clip.device) if clip.device.type == "cuda" else None
    parts = {name: 1e3 * seconds for name, seconds in times.seconds.items()}
    name = f"{count} image{'s' if count > 1 else ''} of {pixels} px"
    yield Profile(name, 1e3 * whole.median(""), parts, kernels)


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _peak(name: str, device: torch.device) -> Iterator[Figure]:
    """Yield torch's peak memory on the GPU, including the models; nothing on a CPU."""
    if device.type == "cuda":
        yield Figure(name, torch.cuda.max_memory_reserved(device) / 2**20, "MiB")
