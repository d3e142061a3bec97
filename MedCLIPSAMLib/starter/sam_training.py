"""Training of the starter SAM 2: first on images, then its memory on stacks of slices."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from shutil import copyfile

import numpy as np
import torch
import torch.nn.functional as F

from ..demo_models.train_memory import LENGTH, memory_loss
from ..demo_models.train_sam import mask_loss
from ..errors import InputError
from ..models.sam import Sam2, build_sam, decode, embed
from ..phantoms.volumes import VolumePhantom
from ..resources import resource_path
from .augmentation import change_gradation, draw_affine, make_generator, uniform, warp
from .examples import SIZE, STACKS, Example, Structure, enlarge, enlarge_mask, stack
from .real_data import MIN_STACK
from .sam_prompts import Prompts, draw_box_prompts, draw_boxes, draw_corrections, draw_point_prompts
from .training import Stage, Trainee, TrainingRun, autocast

IMAGE_SIZE = 320
MAX_STRUCTURES = 6
"""Maximum number of prompted structures per image."""
MIN_AREA = 40
"""Minimum area of a prompted structure, in pixels."""
SHARES = {
    "busbra": 0.23,
    "busbra_near": 0.08,
    "busbra_free": 0.01,
    "cheng": 0.27,
    "lgg_free": 0.01,
    "covid_xray": 0.06,
    "lidc": 0.08,
    "lidc_stacks": 0.04,
    "fetal_head": 0.04,
    "phantom_us": 0.04,
    "phantom_mr": 0.04,
    "phantom_xr": 0.04,
    "phantom_ct": 0.06,
}
"""Proportions in which examples are drawn, by source."""


@dataclass(frozen=True)
class SamTraining:
    """Settings of the training.

    Args:
        batch_size, prompts: images per step, and prompts per image.
        balanced: fraction of the first stage, from its start, in which the foreground has more weight, to avoid empty
            masks.
        memory: fraction of the budget for training the memory.
        clips: stacks of slices per step of training the memory.
    """

    batch_size: int = 48
    prompts: int = 6
    clips: int = 12
    balanced: float = 0.15
    memory: float = 0.2
    learning_rate: float = 1e-3
    memory_rate: float = 5e-4
    weight_decay: float = 0.03
    warm_up: int = 150
    seed: int = 12


def train_sam(
    folder: Path,
    examples: list[Example],
    volumes: list[VolumePhantom],
    run: TrainingRun,
    settings: SamTraining = SamTraining(),
) -> None:
    """Train the starter SAM 2 from random weights and write its folder (sam2_starter.yaml, model.safetensors).

    The second stage trains the memory with a frozen image encoder; the decoder trains on both images and stacks, so
    that it gets worse on neither.

    Args:
        folder: where the model is written, with every checkpoint.
    """
    folder.mkdir(parents=True, exist_ok=True)
    copyfile(resource_path("models/starter-sam/sam2_starter.yaml"), config := folder / "sam2_starter.yaml")
    torch.manual_seed(settings.seed)
    sam = build_sam(config).train().requires_grad_(True).to(run.device)
    trainee = Trainee(sam, [], folder / "model.safetensors", asdict(settings), run)
    lesson = _Lesson(sam, examples, settings, run.device)
    stacks = _Stacks(examples, volumes, run.device)
    run.context.notify(f"sam: {len(lesson)} images, {len(stacks)} stacks")

    stage = partial(Stage, weight_decay=settings.weight_decay, warm_up=settings.warm_up)
    budget = run.budget.share(1 - settings.memory)
    for step, progress, take in trainee.steps(stage(0, "sam images", budget, settings.learning_rate)):
        take(lesson.loss(step, progress < settings.balanced))
    sam.image_encoder.requires_grad_(False)
    budget = run.budget.share(settings.memory)
    for step, _, take in trainee.steps(stage(1, "sam memory", budget, settings.memory_rate)):
        seed = 1_000_000 + step
        take(
            lesson.loss(seed, False)
            + _stack_loss(sam, stacks, settings, make_generator(run.device, settings.seed, 1, seed), seed)
        )


class _Lesson:
    """All images and their structures on the device, and the loss of random prompts on a random batch."""

    def __init__(self, sam: Sam2, examples: list[Example], settings: SamTraining, device: torch.device) -> None:
        self._sam, self._settings, self._device = sam, settings, device
        examples = [example for example in examples if example.source in SHARES]
        by_example = [_structures(example) for example in examples]
        masks = [structure.mask for structures in by_example for structure in structures]
        if not masks:
            raise InputError("Expected images with structures to outline, got none.", "Give a folder with masks.")
        self._images = torch.from_numpy(np.stack([example.image for example in examples])).to(device)
        self._masks = torch.from_numpy(np.stack([np.zeros_like(masks[0]), *masks])).to(device)
        slots = np.zeros((len(examples), MAX_STRUCTURES), np.int64)  # 0 is the empty mask
        lesion = np.zeros_like(slots, bool)
        number = 1
        for row, structures in enumerate(by_example):
            for place, structure in enumerate(structures):
                slots[row, place], lesion[row, place] = number, structure.name == "lesion"
                number += 1
        self._slots, self._lesion = torch.from_numpy(slots).to(device), torch.from_numpy(lesion).to(device)
        sources = [example.source for example in examples]
        count = {source: sources.count(source) for source in set(sources)}
        self._weight = torch.tensor([SHARES[source] / count[source] for source in sources], device=device)

    def __len__(self) -> int:
        return len(self._images)

    def loss(self, step: int, balanced: bool) -> torch.Tensor:
        """Compute the loss of several prompts per image; every third step adds a correction click."""
        settings, sam = self._settings, self._sam
        generator = make_generator(self._device, settings.seed, step)
        chosen = torch.multinomial(self._weight, settings.batch_size, replacement=True, generator=generator)
        images, truth, occupied = self._batch(chosen, generator)
        kind = step % 10
        if kind == 9:
            prompts = draw_point_prompts(truth, 1, generator)
        elif kind in (3, 6):
            prompts = draw_point_prompts(truth, 4, generator)
        else:
            prompts = draw_box_prompts(truth, occupied, generator)
        with autocast(self._device):
            embedding, fine = embed(sam, _model_input(images, generator))
        repeat = lambda tensor: tensor.float().repeat_interleave(settings.prompts, 0)
        embedding, fine = repeat(embedding), [repeat(level) for level in fine]
        target = prompts.truth[:, None].float()
        answer = decode(sam, embedding, fine, _scale(prompts), multimask=kind == 9)
        loss = mask_loss(*answer, target, balanced)
        if step % 3 == 1:
            logits, quality = answer[0].detach(), answer[1].detach()
            best = logits[torch.arange(len(logits), device=self._device), quality.argmax(1)]
            click = draw_corrections(best, prompts.truth, generator)
            both = Prompts(
                torch.cat([prompts.coords, click.coords], 1), torch.cat([prompts.labels, click.labels], 1), click.truth
            )
            previous = best[:, None].clamp(-32, 32) if step % 2 else None
            loss = loss + mask_loss(*decode(sam, embedding, fine, _scale(both), masks=previous), target, balanced)
        return loss

    def _batch(
        self, chosen: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return images (B, S, S); and the prompt's structure and all structures, (B * prompts, S, S) each."""
        settings = self._settings
        slots, lesion = self._slots[chosen], self._lesion[chosen]
        weight = (slots > 0).float()
        prefer = uniform((len(chosen), settings.prompts, 1), 0, 1, generator) < 0.6
        weight = torch.where(prefer & lesion.any(1)[:, None, None], (lesion * weight)[:, None], weight[:, None])
        place = torch.multinomial(weight.flatten(0, 1) + 1e-9, 1, generator=generator)[:, 0]
        layers = torch.cat([self._images[chosen][:, None].float() / 255, self._masks[slots].float()], 1)
        affine = draw_affine(len(chosen), generator)
        mirrored = uniform((len(chosen), 1, 1), 0, 1, generator) < 0.5
        affine = torch.where(mirrored, affine * _MIRROR.to(affine), affine)
        layers = warp(layers, affine, SIZE)
        masks = layers[:, 1:] > 0.5
        rows = torch.arange(len(chosen), device=chosen.device).repeat_interleave(settings.prompts)
        return layers[:, 0], masks[rows, place], masks.any(1)[rows]


_MIRROR = torch.tensor([[-1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]])
"""Factors of an affine map (2, 3) that mirror its output left to right."""


def _structures(example: Example) -> list[Structure]:
    """List the structures of an image to prompt for: lesions, then both lungs as one, then organs."""
    lungs = [organ.mask for organ in example.organs if organ.name in ("left lung", "right lung")]
    both = [Structure("lungs", lungs[0] | lungs[1])] if len(lungs) == 2 else []
    found = [*example.lesions, *both, *example.organs]
    return [structure for structure in found if structure.mask.sum() >= MIN_AREA][:MAX_STRUCTURES]


def _model_input(images: torch.Tensor, generator: torch.Generator, groups: int | None = None) -> torch.Tensor:
    """Augment and normalize images (N, S, S) for the model, (N, 3, IMAGE_SIZE, IMAGE_SIZE)."""
    images = change_gradation(images, generator, groups)[:, None]
    images = F.interpolate(images, size=IMAGE_SIZE, mode="bilinear", antialias=True, align_corners=False)
    mean, std = (images.new_tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return (images - mean) / std


def _scale(prompts: Prompts) -> tuple[torch.Tensor, torch.Tensor]:
    return prompts.coords * (IMAGE_SIZE / SIZE), prompts.labels


class _Stacks:
    """Stacks of slices with one object each, on the device: nodules, and lesions and lungs of phantom volumes."""

    def __init__(self, examples: list[Example], volumes: list[VolumePhantom], device: torch.device) -> None:
        nodules: dict[str, list[Example]] = {}
        for example in examples:
            if example.source == STACKS:
                nodules.setdefault(example.group, []).append(example)
        stacks = [stack(group) for group in nodules.values() if len(group) >= MIN_STACK]
        stacks += [objects for volume in volumes for objects in _volume_stacks(volume)]
        if not stacks:
            raise InputError("Expected stacks of slices for the memory, got none.", "Do not leave out data sets.")
        slices, objects = zip(*stacks)
        self._starts = np.cumsum([0, *map(len, slices)])
        self._areas = [mask.sum((1, 2)) for mask in objects]
        self._slices = torch.from_numpy(np.concatenate(slices)).to(device)
        self._objects = torch.from_numpy(np.concatenate(objects)).to(device)

    def __len__(self) -> int:
        return len(self._areas)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw clips (count, LENGTH, S, S) float32 and the object's masks, bool; the first slice shows the object."""
        places = np.stack([self._clip(rng) for _ in range(count)])
        return self._slices[places].float() / 255, self._objects[places]

    def _clip(self, rng: np.random.Generator) -> np.ndarray:
        while True:
            number = int(rng.integers(len(self._areas)))
            area = self._areas[number]
            shown = np.flatnonzero(area >= max(48, (rng.random() < 0.5) * 0.6 * area.max()))
            if not len(shown):
                continue
            at = rng.choice(shown) + int(rng.choice((-2, -1, -1, 1, 1, 2))) * np.arange(LENGTH)
            if at.min() >= 0 and at.max() < len(area):
                return self._starts[number] + at


def _volume_stacks(volume: VolumePhantom) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the slices of a volume at `SIZE` with the masks of each object that can be followed."""
    lungs = [mask for name, mask in volume.organs.items() if name in ("left lung", "right lung")]
    images = np.stack([enlarge(image) for image in volume.slices])
    return [(images, np.stack([enlarge_mask(part) for part in mask])) for mask in (*volume.lesions, *lungs)]


def _stack_loss(
    sam: Sam2, stacks: _Stacks, settings: SamTraining, generator: torch.Generator, seed: int
) -> torch.Tensor:
    """Compute the loss of following objects through clips."""
    rng = np.random.default_rng([settings.seed, seed])
    slices, truth = stacks.draw(settings.clips, rng)
    affine = draw_affine(settings.clips, generator)
    layers = warp(torch.cat([slices, truth.float()], 1), affine, SIZE)
    slices, truth = layers[:, :LENGTH], layers[:, LENGTH:] > 0.5
    images = _model_input(slices.flatten(0, 1), generator, settings.clips).unflatten(0, truth.shape[:2])
    boxes = partial(draw_boxes, generator=generator)
    return memory_loss(sam, images, truth, rng, boxes, partial(mask_loss, balanced=False))
