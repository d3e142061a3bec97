"""Training of the demo SAM 2 on phantoms: boxes (tight, loose, empty), clicks, coarse masks, and correction clicks.

Each image gets prompts for several of its structures and for nothing, so that the answer depends on the prompt and not
on the image alone. The training follows SAM (Kirillov et al. 2023, section 3): a first prompt, then a click where the
first mask is wrong.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from shutil import copyfile

import numpy as np
import torch
import torch.nn.functional as F

from ..finetune.optimizer import convert_to_half, cosine_schedule
from ..models.sam import MEAN, STD, Sam2, build_sam, decode, embed
from ..models.weights import write_weights
from ..phantoms.dataset import make_many
from ..phantoms.phantom import SIZE, Phantom
from ..phantoms.volumes import many_volumes
from ..resources import resource_path
from ..run_context import RunContext
from .sam_training_prompts import SamPrompt, correction, draw_sam_prompt, replace_by_click
from .train_clip import augment
from .train_memory import Clips, jitter_boxes, memory_loss

IMAGE_SIZE = 192
"""Side of the demo SAM 2's input image in pixels; the side of its mask logits is a quarter of it."""


@dataclass(frozen=True)
class SamTraining:
    """Settings of the demo SAM 2's training; the defaults made the shipped weights.

    Args:
        phantoms: number of phantom images.
        steps, batch, prompts: optimizer steps, images per step, and prompts per image.
        balanced_steps: number of first steps that give more weight to the foreground, to avoid empty masks; later steps
            do not, which makes outlines sharper.
        click_every, correct_every: interval between steps whose prompts are all single clicks, and between steps that
            add a correction click.
        volumes, clips, memory_steps, memory_rate: phantom volumes, clips per step, and the steps and learning rate of
            the second stage; see `train_memory`.
    """

    phantoms: int = 6000
    steps: int = 7000
    batch: int = 6
    prompts: int = 6
    balanced_steps: int = 1500
    click_every: int = 10
    correct_every: int = 4
    volumes: int = 200
    clips: int = 3
    memory_steps: int = 2000
    memory_rate: float = 6e-4
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warm_up: int = 100
    seed: int = 12


def pack(prompts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad prompts to the same number of points.

    Args:
        prompts: coords (P, 2) in pixels of SIZE and labels (P,) each.

    Returns:
        Coords (N, P, 2) float32 in pixels of IMAGE_SIZE; and labels (N, P) int32, -1 for padding.
    """
    longest = max(len(labels) for _, labels in prompts)
    coords, labels = torch.zeros(len(prompts), longest, 2), -torch.ones(len(prompts), longest, dtype=torch.int32)
    for index, (points, kinds) in enumerate(prompts):
        coords[index, : len(kinds)] = torch.from_numpy(points * (IMAGE_SIZE / SIZE)).float()
        labels[index, : len(kinds)] = torch.from_numpy(kinds).int()
    return coords, labels


def mask_loss(
    logits: torch.Tensor, ious: torch.Tensor, score: torch.Tensor, truth: torch.Tensor, balanced: bool
) -> torch.Tensor:
    """Sum cross-entropy and Dice loss of the best of M masks, L1 loss of the predicted IoU, and loss of the score.

    The logits are resized to the image as in SAM2ImagePredictor, so that they learn to cross zero at the outline even
    between their own cells: a nodule covers only a few cells.

    Args:
        logits: mask logits (N, M, h, w).
        ious: predicted IoU (N, M).
        score: object score (N, 1).
        truth: (N, 1, SIZE, SIZE) float, 0 or 1.
        balanced: whether to give more weight to the foreground.
    """
    logits = F.interpolate(logits, size=truth.shape[-2:], mode="bilinear", align_corners=False)
    target = truth.expand_as(logits)
    weight = torch.ones_like(target)
    if balanced:
        share = truth.mean((1, 2, 3), keepdim=True).clamp(min=1e-6)
        weight = 1 + target * (0.25 / share).clamp(1, 20)
    entropy = (weight * F.binary_cross_entropy_with_logits(logits, target, reduction="none")).mean((2, 3))
    probability = logits.sigmoid()
    overlap = (probability * target).sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (probability.sum((2, 3)) + target.sum((2, 3)) + 1)
    there = truth.sum((1, 2, 3)) > 0
    dice = dice * there[:, None]
    cost = 3 * entropy + dice
    best = cost.argmin(1, keepdim=True)
    with torch.no_grad():
        hard, solid = logits > 0, target > 0.5
        union = (hard | solid).sum((2, 3))
        quality = torch.where(union > 0, (hard & solid).sum((2, 3)) / union.clamp(min=1), torch.ones_like(ious))
    appears = F.binary_cross_entropy_with_logits(score[:, 0], there.float())
    return cost.gather(1, best).mean() + 0.3 * (ious - quality).abs().mean() + 0.1 * appears


def train_sam(folder: Path, settings: SamTraining = SamTraining(), context: RunContext = RunContext()) -> None:
    """Train the demo SAM 2 from random weights and write its folder (sam2_demo.yaml, model.safetensors).

    The image path is trained first, on single images. Then the memory is trained on clips of volumes; the image encoder
    is frozen, and the decoder trains on both, so that the image path does not get worse.

    Args:
        folder: where the model is written; the weights are written at the end.
        context: notified every 50 steps.
    """
    folder.mkdir(parents=True, exist_ok=True)
    copyfile(resource_path("models/demo-sam/sam2_demo.yaml"), config := folder / "sam2_demo.yaml")
    torch.manual_seed(settings.seed)
    sam = build_sam(config).train().requires_grad_(True)
    rng, generator = np.random.default_rng(settings.seed), torch.Generator().manual_seed(settings.seed)
    started = time.time()
    phantoms = make_many("train", settings.phantoms)
    clips = Clips(many_volumes("train", settings.volumes), rng)
    context.notify(f"{settings.phantoms} phantoms and {settings.volumes} volumes made in {time.time() - started:.0f} s")
    lesson = _Lesson(sam, phantoms, clips, settings, rng, generator)
    _stage(sam, settings.steps, settings.learning_rate, settings, lesson.image_loss, context, "sam")
    sam.image_encoder.requires_grad_(False)
    both = lambda step: lesson.image_loss(settings.balanced_steps + step) + lesson.clip_loss()
    _stage(sam, settings.memory_steps, settings.memory_rate, settings, both, context, "sam memory")
    about = {"training": json.dumps(asdict(settings))}
    write_weights(folder / "model.safetensors", convert_to_half(sam.state_dict()), about)


def _stage(
    sam: Sam2,
    steps: int,
    learning_rate: float,
    settings: SamTraining,
    loss_of: Callable[[int], torch.Tensor],
    context: RunContext,
    name: str,
) -> None:
    """Optimize the trainable parameters with a learning rate that warms up and then decays to 0 along a cosine."""
    started = time.time()
    parameters = [parameter for parameter in sam.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=settings.weight_decay, betas=(0.9, 0.98))
    schedule = cosine_schedule(optimizer, settings.warm_up, steps)
    shown = []
    for step in range(steps):
        loss = loss_of(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        shown.append(loss.item())
        if step % 50 == 49 or step + 1 == steps:
            context.notify(f"{name} step {step + 1}/{steps} loss {np.mean(shown):.3f} {time.time() - started:.0f} s")
            shown.clear()


class _Lesson:
    """Random images with prompts and random clips, and the losses on them."""

    def __init__(
        self,
        sam: Sam2,
        phantoms: list[Phantom],
        clips: Clips,
        settings: SamTraining,
        rng: np.random.Generator,
        generator: torch.Generator,
    ) -> None:
        self.sam, self.phantoms, self.settings = sam, phantoms, settings
        self.rng, self.generator, self._clips = rng, generator, clips
        self._mean, self._std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))

    def image_loss(self, step: int) -> torch.Tensor:
        """Compute the loss of several prompts per image, and sometimes of a correction click."""
        settings, rng = self.settings, self.rng
        chosen = [self.phantoms[index] for index in rng.choice(len(self.phantoms), settings.batch, replace=False)]
        images = self._augment(np.stack([phantom.image for phantom in chosen]))
        prompts = [draw_sam_prompt(rng, phantom) for phantom in chosen for _ in range(settings.prompts)]
        balanced = step < settings.balanced_steps
        single = step % settings.click_every == settings.click_every - 1
        if single:
            prompts = [replace_by_click(rng, prompt) for prompt in prompts]
        truth = torch.from_numpy(np.stack([prompt.truth for prompt in prompts]))[:, None].float()
        embedding, high = embed(self.sam, images)
        repeat = lambda tensor: tensor.repeat_interleave(settings.prompts, 0)
        embedding, high = repeat(embedding), [repeat(level) for level in high]
        points = pack([(prompt.coords, prompt.labels) for prompt in prompts])
        answer = decode(self.sam, embedding, high, points, multimask=single)
        loss = mask_loss(*answer, truth, balanced)
        if step % settings.correct_every == 1:
            loss = loss + self._correction_loss((embedding, high), prompts, answer, truth, balanced)
        return loss

    def _correction_loss(
        self,
        features: tuple[torch.Tensor, list[torch.Tensor]],
        prompts: list[SamPrompt],
        answer: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        truth: torch.Tensor,
        balanced: bool,
    ) -> torch.Tensor:
        """Compute the loss after a correction click on the best masks, half of the time with them as mask prompts."""
        logits, ious, _ = answer
        best = logits[torch.arange(len(prompts)), ious.argmax(1)].detach()
        second = []
        for prompt, guess in zip(prompts, best.numpy()):
            click = correction(self.rng, guess, prompt.truth)
            if click is None:
                second.append((prompt.coords, prompt.labels))
            else:
                second.append((np.concatenate([prompt.coords, click[0]]), np.append(prompt.labels, click[1])))
        previous = best[:, None].clamp(-32, 32) if self.rng.random() < 0.5 else None
        return mask_loss(*decode(self.sam, *features, pack(second), masks=previous), truth, balanced)

    def clip_loss(self) -> torch.Tensor:
        """Compute the loss of following objects through clips."""
        slices, followed = self._clips.draw(self.settings.clips)
        shown = self._augment(slices.reshape(-1, SIZE, SIZE)).unflatten(0, followed.shape[:2])
        boxes, loss = partial(jitter_boxes, self.rng), partial(mask_loss, balanced=False)
        return memory_loss(self.sam, shown, torch.from_numpy(followed), self.rng, boxes, loss)

    def _augment(self, gray: np.ndarray) -> torch.Tensor:
        images = augment(torch.from_numpy(gray), self.generator)
        images = F.interpolate(images, size=IMAGE_SIZE, mode="bilinear", antialias=True, align_corners=False)
        return (images - self._mean) / self._std
