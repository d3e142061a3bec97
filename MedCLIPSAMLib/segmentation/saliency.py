"""M2IB saliency: which patches of an image carry the information that a text describes.

The multi-modal information bottleneck (Wang, Rudner, Wilson, NeurIPS 2023; MedCLIP-SAMv2, arXiv 2409.19483, section
3.2) blends the tokens X of one transformer block with noise, t = lambda X + (1 - lambda) eps, eps ~ N(0, 1), and finds
the lambda that keeps the similarity of the image with the text while letting through as little information as possible:

    minimize  beta * mean KL(N(lambda X, (1 - lambda)^2) || N(0, 1)) - mean cos(text, image(t)), lambda = sigmoid(alpha)

The saliency of a patch is its remaining KL, summed over channels. This implementation computes the same as the plain
form at less cost: the text and the tokens up to the block are computed once, the last block only for the class token,
and no gradient is taken after the last step, whose lambda gives the map.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field

from ..models.acceleration.bfloat16 import in_bfloat16
from ..run_context import RunContext
from ..validated import Seed, settings_class
from .views import Views
from .vision_tower import VisionTower

if TYPE_CHECKING:
    from ..models.acceleration.captures import Captures
    from ..models.clip import ClipModel

ALPHA = 5.0
"""Initial alpha: lambda begins at 0.993."""
PAIRS = 8
"""Number of image-text pairs computed together on a GPU."""
MAX_RECORDED_VIEWS = 16
"""Maximum number of images, or views of them, whose encoding is recorded; more keep a GPU busy without recording."""
MAX_NOISES = 20
"""Maximum number of updates whose noise is cached for the next image."""


Early = dict[tuple[int, Views], tuple[torch.Tensor, torch.Tensor]]
"""(layer, views) -> tokens of all views of N images, (views * N, T, C), and features of the images, (N, D)."""


@settings_class
class M2IBSettings:
    """Settings of M2IB; the defaults are the authors' for breast ultrasound with BiomedCLIP.

    The authors' parameter `var` is omitted, as it has no effect in their code.

    Args:
        layer: block whose output is blended, counted from 0.
        beta: weight of the compression term.
        steps: number of evaluations of lambda; the number of updates is one less.
        earliest: 0 takes the map of the last step, as in the paper. Otherwise the first candidate step: for each image
            the map of one step from this to the last is chosen, see `agreement.choose_result`.
        mirror: average the map of the image and the flipped-back map of its mirror image; twice the work.
        finer: make a map of twice as many rows and columns from four shifted views; four times the work. See
            `views.Views`.
        samples: noise samples per step.
        learning_rate: learning rate of Adam.
        seed: seed of the noise, which is the same for every image and prompt.
    """

    layer: Annotated[int, Field(ge=0)] = 9
    beta: Annotated[float, Field(ge=0)] = 1.0
    steps: Annotated[int, Field(ge=1)] = 10
    earliest: Annotated[int, Field(ge=0)] = 0
    mirror: bool = False
    finer: bool = False
    samples: Annotated[int, Field(ge=1)] = 10
    learning_rate: Annotated[float, Field(gt=0)] = 1.0
    seed: Seed = 12

    @property
    def candidates(self) -> range:
        """The steps whose maps may be taken, always including the last one."""
        return range(min(self.earliest or self.steps, self.steps), self.steps + 1)


@dataclass(frozen=True)
class Saliency:
    """Raw saliency of N images for P texts.

    Args:
        by_step: (N, P, T, h, w) float32, KL in nats by patch, not normalized, after each of the T steps of
            `M2IBSettings.candidates`.
        image_features: (N, D) float32, L2-normalized features of the unmodified images, as from `clip.encode_image`.
    """

    by_step: torch.Tensor
    image_features: torch.Tensor

    @property
    def maps(self) -> torch.Tensor:
        """Maps of the last step, (N, P, h, w)."""
        return self.by_step[:, :, -1]


def m2ib(
    clip: ClipModel,
    pixels: torch.Tensor,
    text_features: torch.Tensor,
    settings: M2IBSettings,
    context: RunContext = RunContext(),
    batch: int | None = None,
    noise_batch: int | None = None,
    early: Early | None = None,
    bfloat16: bool = False,
    captures: Captures | None = None,
) -> Saliency:
    """Compute M2IB saliency of every image for every text.

    Args:
        pixels: (N, 3, S, S), as from `clip.preprocess`.
        text_features: (P, D), L2-normalized.
        context: checked for cancellation before every step.
        batch: number of image-text pairs computed together. None means 1 on a CPU, where a loop is faster, and `PAIRS`
            otherwise. It affects only rounding.
        noise_batch: number of noise samples computed together; None means all. Fewer need less memory and affect only
            rounding.
        early: cache of what does not depend on the text, by layer and views: the activations before the bottleneck and
            the features of the images. Pass the same dictionary for further texts on the same pixels.
        bfloat16: compute the matrix products of the optimization in bfloat16, and its residual stream in float32.
        captures: recordings of this model, in which the blocks before the bottleneck and the optimization are recorded
            and replayed; `context` is then checked only before every batch. An optimization of more than `MAX_NOISES`
            updates, or with `noise_batch`, is not recorded.

    Raises:
        InputError: the model does not have this layer. ModelError: unsupported vision tower. Cancelled.
    """
    tower = VisionTower(clip.model.visual)
    tower.check_layer(settings.layer)
    text_features = text_features.to(pixels.device).float()
    early = {} if early is None else early
    views = Views(settings.mirror, settings.finer, pixels.shape[-1] // tower.grid[1])
    key = settings.layer, views
    if key not in early:
        encode = partial(_before_bottleneck, tower, views, settings.layer)
        recorder = captures if views.count * len(pixels) <= MAX_RECORDED_VIEWS else None
        by_image = recorder.run(("tokens", *key), encode, pixels) if recorder else encode(pixels)
        early[key] = by_image[0].transpose(0, 1).flatten(0, 1), by_image[1]
    tokens, image_features = early[key]
    noises = _Noises(settings.seed, settings.steps - 1, (settings.samples, *tokens.shape[1:]), tokens.device)
    search: Callable[..., tuple[torch.Tensor, ...]] = partial(
        _bottleneck, tower, settings, noises, context, noise_batch
    )
    if captures and not noise_batch and 1 < settings.steps <= MAX_NOISES + 1:
        recorded = partial(_bottleneck, tower, settings, noises, RunContext(), None)
        search = partial(captures.run, ("search", settings, bfloat16), recorded)
    # The optimization needs gradients, even within torch.no_grad or torch.inference_mode of the caller.
    with torch.inference_mode(False), torch.enable_grad(), in_bfloat16(pixels.device, bfloat16, again=True):
        pairs = len(tokens) * len(text_features)
        batch = batch or (1 if pixels.device.type == "cpu" else PAIRS)
        found: list[torch.Tensor] = []
        for start in range(0, pairs, batch):
            context.raise_if_cancelled()
            pair = torch.arange(start, min(start + batch, pairs), device=tokens.device)
            found += search(tokens[pair // len(text_features)], text_features[pair % len(text_features)])
    maps = torch.cat(found).reshape(len(tokens), len(text_features), -1, *tower.grid)
    return Saliency(views.merge(maps), image_features)


@torch.no_grad()
def _before_bottleneck(
    tower: VisionTower, views: Views, layer: int, pixels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the tokens of all views of N images after a block, (N, views, T, C), and the image features, (N, D)."""
    tokens = tower.tokens_at(views.make(pixels), layer).unflatten(0, (views.count, -1)).transpose(0, 1)
    plain = tokens[:, 0] if not views.finer else tower.tokens_at(pixels, layer)
    return tokens, tower.features_from(plain, layer)


def _bottleneck(
    tower: VisionTower,
    settings: M2IBSettings,
    noises: _Noises,
    context: RunContext,
    noise_batch: int | None,
    tokens: torch.Tensor,
    texts: torch.Tensor,
) -> tuple[torch.Tensor]:
    """Optimize the bottleneck of M independent pairs: tokens (M, T, C) and texts (M, D).

    Returns the KL by patch token after each candidate step, (M, steps, h * w). No step branches on a computed value, so
    all of it can be recorded as a CUDA graph.
    """
    alpha = torch.full_like(tokens, ALPHA).requires_grad_(True)
    update = _adam(alpha, settings.learning_rate)
    by_patch = lambda: _information(alpha.detach(), tokens).sum(-1)[:, tower.prefix :]
    maps = []
    for step, noise in enumerate(noises, 1):
        context.raise_if_cancelled()
        if step in settings.candidates:
            maps.append(by_patch())
        loss = settings.beta * _information(alpha, tokens).mean((1, 2)).sum()
        (gradient,) = torch.autograd.grad(loss, alpha)
        for samples in noise.split(noise_batch or settings.samples):
            gate = alpha.sigmoid()[:, None]
            blended = (gate * tokens[:, None] + (1 - gate) * samples).flatten(0, 1)
            features = tower.features_from(blended, settings.layer).unflatten(0, (len(tokens), len(samples)))
            similarity = torch.einsum("msd,md->", features, texts) / settings.samples
            gradient = gradient - torch.autograd.grad(similarity, alpha)[0]
        update(gradient)
    return (torch.stack([*maps, by_patch()], 1),)


def _adam(alpha: torch.Tensor, rate: float) -> Callable[[torch.Tensor], None]:
    """Return a function that updates `alpha` by Adam (Kingma and Ba, ICLR 2015, algorithm 1) with a gradient.

    It rounds as torch.optim.Adam does. That one reads its step number from a tensor, so it cannot be recorded.
    """
    mean, square = torch.zeros_like(alpha), torch.zeros_like(alpha)
    mean_decay, square_decay, numbers = 0.9, 0.999, itertools.count(1)

    @torch.no_grad()
    def step(gradient: torch.Tensor) -> None:
        number = next(numbers)
        mean.lerp_(gradient, 1 - mean_decay)
        square.mul_(square_decay).addcmul_(gradient, gradient, value=1 - square_decay)
        spread = (square.sqrt() / (1 - square_decay**number) ** 0.5).add_(1e-8)
        alpha.addcdiv_(mean, spread, value=-rate / (1 - mean_decay**number))

    return step


class _Noises:
    """The noise of every update, the same for all images and texts; drawn on the CPU, so the same on every device.

    Unless there are many updates, it stays on the device (54 MB for 9 updates of a ViT-B/16) for the next image. This
    object keeps it too, as recordings read it at its address.
    """

    def __init__(self, seed: int, count: int, shape: tuple[int, int, int], device: torch.device) -> None:
        self._of, self._count = (seed, count, shape, device), count
        self._kept: tuple[torch.Tensor, ...] | None = None

    def __iter__(self) -> Iterator[torch.Tensor]:
        if self._count > MAX_NOISES:
            return _drawn(*self._of)
        self._kept = self._kept or _cache_noises(*self._of)
        return iter(self._kept)


def forget_noises() -> None:
    """Discard the noise that is cached on a device for the next image."""
    _cache_noises.cache_clear()


@lru_cache(maxsize=1)
def _cache_noises(*of: Any) -> tuple[torch.Tensor, ...]:
    return tuple(_drawn(*of))


def _drawn(seed: int, count: int, shape: tuple[int, int, int], device: torch.device) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        yield torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu").to(device)


def _information(alpha: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Compute KL(N(lambda X, (1 - lambda)^2) || N(0, 1)) by element, in nats, without taking the logarithm of 0."""
    gate = alpha.sigmoid()
    return -0.5 * (1 + 2 * F.logsigmoid(-alpha) - (gate * tokens) ** 2 - (1 - gate) ** 2)


def upsample(maps: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Upsample maps (N, P, h, w) bilinearly to an image's (H, W)."""
    return F.interpolate(maps.float(), size=shape, mode="bilinear", align_corners=False)


def normalize(maps: torch.Tensor) -> torch.Tensor:
    """Rescale each map (the last two axes) to 0 to 1 by its minimum and maximum; a constant map becomes zeros."""
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    spread = (high - low).clamp(min=torch.finfo(maps.dtype).tiny)
    return torch.where(high > low, (maps - low) / spread, torch.zeros_like(maps))
