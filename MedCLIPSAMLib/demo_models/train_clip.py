"""Training of the demo CLIP on phantoms.

The losses are multi-positive InfoNCE over images and texts, and an alignment of patches with the target of a text. The
facts behind each text tell exactly which texts of a batch describe which images, so no true pair serves as a negative.

A small transformer, like large ones (Darcet et al., ICLR 2024), tends to store information on the whole image in
patches of empty background, and M2IB then finds the background. So the target of a text must be encoded by the tokens
inside its region, and not by those outside: each of the two sets is pooled with the other replaced by noise, as M2IB
does.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..finetune.optimizer import convert_to_half, cosine_schedule, group_by_decay
from ..models.clip import build_clip
from ..models.weights import write_weights
from ..phantoms.captions import Text, all_texts, impossible_texts
from ..phantoms.dataset import make_many
from ..phantoms.phantom import SIZE, Phantom
from ..phantoms.volumes import many_sections
from ..run_context import RunContext
from .clip_layout import ClipLayout, tokenize, write_layout

LAYOUT = ClipLayout("medclipsam_demo_vit", image_size=SIZE, width=128, layers=2, heads=4)
GRID = 16
"""Side of the patch grid: SIZE divided by the patch size of `medclipsam_demo_vit`."""


ALWAYS = {f"{no}{name}" for no in ("", "no ") for name in ("breast tumor", "brain tumor", "lung nodule")}
"""Texts in every batch: the targets of the lesion tasks and their negations."""


@dataclass(frozen=True)
class ClipTraining:
    """Settings of the demo CLIP's training; the defaults made the shipped weights.

    Args:
        phantoms, volumes: number of phantom images, and of phantom volumes whose slices are further images.
        steps, batch, texts: optimizer steps, images per step, and texts drawn per step in addition to `ALWAYS`.
        impossible: number of these texts that describe no phantom.
        dense_texts: texts per image whose region is aligned patch by patch.
    """

    phantoms: int = 6000
    volumes: int = 100
    steps: int = 1750
    batch: int = 64
    texts: int = 112
    impossible: int = 24
    dense_texts: int = 4
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    warm_up: int = 60
    seed: int = 12


class _Batches:
    """Random batches of images and texts, with their matches and the regions of a few texts per image."""

    def __init__(
        self, phantoms: list[Phantom], texts: list[Text], impossible: list[Text], settings: ClipTraining
    ) -> None:
        self.phantoms, self.settings = phantoms, settings
        self.texts, self.possible = texts + impossible, len(texts)
        self.rng = np.random.default_rng(settings.seed)
        self.images = torch.from_numpy(np.stack([phantom.image for phantom in phantoms]))
        self.match = np.array([[text.region(phantom) is not None for text in self.texts] for phantom in phantoms])
        self.targets = np.array([text.has_target for text in self.texts])
        self.lesions = np.array([text.lesion is not None for text in self.texts])
        self.always = np.array([index for index, text in enumerate(self.texts) if text.text in ALWAYS])

    def draw(self) -> tuple[np.ndarray, np.ndarray, torch.Tensor, np.ndarray, torch.Tensor]:
        """Draw a batch.

        Returns:
            Indices of B images and of T texts; match (B, T) bool; K dense texts per image (B, K), and their regions
            (B, K, GRID, GRID) float32.
        """
        settings, rng = self.settings, self.rng
        indices = rng.choice(len(self.phantoms), settings.batch, replace=False)
        own = [rng.choice(np.flatnonzero(self.match[index])) for index in indices]
        others = rng.choice(self.possible, settings.texts - settings.batch, replace=False)
        nowhere = self.possible + rng.choice(len(self.texts) - self.possible, settings.impossible, replace=False)
        texts = np.unique(np.concatenate([own, others, nowhere, self.always]))
        dense = np.stack([self._dense_texts(index) for index in indices])
        regions = np.stack([[self._region(index, text) for text in row] for index, row in zip(indices, dense)])
        return indices, texts, torch.from_numpy(self.match[np.ix_(indices, texts)]), dense, torch.from_numpy(regions)

    def _dense_texts(self, image: int) -> np.ndarray:
        """Draw texts with a region in the image, and a last one whose target is absent."""
        there = np.flatnonzero(self.match[image] & self.targets)
        lesions = there[self.lesions[there]]
        there = lesions if len(lesions) and self.rng.random() < 0.7 else there
        absent = np.flatnonzero(~self.match[image] & (self.targets | (np.arange(len(self.texts)) >= self.possible)))
        count = self.settings.dense_texts - 1
        first = self.rng.choice(there, count) if len(there) else self.rng.choice(absent, count)
        return np.append(first, self.rng.choice(absent))

    def _region(self, image: int, text: int) -> np.ndarray:
        region = self.texts[text].region(self.phantoms[image])
        return np.zeros((GRID, GRID), np.float32) if region is None else _shares(region)


def _shares(mask: np.ndarray) -> np.ndarray:
    """Compute the fraction of each patch that a mask covers, (GRID, GRID) float32."""
    return mask.reshape(GRID, SIZE // GRID, GRID, SIZE // GRID).mean((1, 3)).astype(np.float32)


def augment(gray: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Vary display window, gamma, contrast, brightness and noise: (B, H, W) uint8 to (B, 3, H, W) float32, 0 to 1.

    Half of the windows clip the darkest and brightest values, as a percentile window does.
    """
    count = len(gray)
    draw = lambda low, high: low + (high - low) * torch.rand(count, 1, 1, generator=generator)
    narrow = (draw(0, 1) < 0.5).float()
    low, high = narrow * draw(0, 0.1), 1 - narrow * draw(0, 0.35)
    images = ((gray.float() / 255 - low) / (high - low)).clamp(0, 1).pow(draw(0.75, 1.33))
    images = (images - 0.5) * draw(0.8, 1.2) + 0.5 + draw(-0.08, 0.08)
    images = images + draw(0.0, 0.04) * torch.randn(images.shape, generator=generator)
    return images.clamp(0, 1)[:, None].expand(-1, 3, -1, -1)


def contrastive_loss(logits: torch.Tensor, match: torch.Tensor) -> torch.Tensor:
    """Compute multi-positive InfoNCE: the negative mean log-probability of an image's matching texts, and the reverse.

    Args:
        logits: (B, T) scaled cosine similarities.
        match: (B, T) bool; texts that match no image are only used as negatives of the images.
    """
    total = logits.new_zeros(())
    for scores, truth in ((logits, match), (logits.T, match.T)):
        scores, truth = scores[truth.any(1)], truth[truth.any(1)]
        log_probability = scores.log_softmax(1)
        total = total - ((log_probability * truth).sum(1) / truth.sum(1)).mean()
    return total / 2


def dense_loss(logits: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
    """Compute binary cross-entropy, plus Dice for regions that are not empty; both arguments are (B, K, patches)."""
    entropy = F.binary_cross_entropy_with_logits(logits, regions, pos_weight=logits.new_tensor(3.0))
    there = regions.sum(-1) > 0
    probability, truth = logits.sigmoid()[there], regions[there]
    dice = 1 - (2 * (probability * truth).sum(-1) + 0.1) / (probability.sum(-1) + truth.sum(-1) + 0.1)
    return entropy + (dice.mean() if len(dice) else 0.0)


def split_pool(patches: torch.Tensor, regions: torch.Tensor, generator: torch.Generator) -> list[torch.Tensor]:
    """Pool tokens inside regions and outside them, with N(0, 1) noise in the other places.

    Args:
        patches: (B, P, C).
        regions: (B, K, P) bool.

    Returns:
        Two means over all P places, inside and outside, each (B, K, C).
    """
    noise = torch.randn(patches.shape, generator=generator, device=patches.device)
    weights = regions.to(patches.dtype)
    share = lambda tokens, weight: torch.einsum("bpc,bkp->bkc", tokens, weight) / patches.shape[1]
    return [share(patches, weight) + share(noise, 1 - weight) for weight in (weights, 1 - weights)]


def place_loss(inside: torch.Tensor, outside: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """Penalize similarities below 0.6 inside a text's region and above 0 outside it, squared.

    Args:
        inside, outside: (B, K) cosine similarities.
        there: (B, K) bool, whether the text has a region in the image.
    """
    wanted = (0.6 - inside).clamp(min=0)[there].square()
    leaked = outside.clamp(min=0)[there].square()
    return 4 * (wanted.mean() + leaked.mean())


def train_clip(folder: Path, settings: ClipTraining = ClipTraining(), context: RunContext = RunContext()) -> None:
    """Train the demo CLIP from random weights and write its folder (see `models.clip` for the layout).

    Args:
        folder: where the model is written; the weights are written at the end.
        context: notified every 20 steps.
    """
    torch.manual_seed(settings.seed)
    texts, impossible = all_texts(), impossible_texts()
    write_layout(folder, texts + impossible, LAYOUT)
    model = build_clip(folder).train().requires_grad_(True)
    started = time.time()
    phantoms = make_many("train", settings.phantoms) + many_sections("train", settings.volumes)
    batches = _Batches(phantoms, texts, impossible, settings)
    tokens = tokenize(folder, batches.texts)
    context.notify(f"{len(phantoms)} phantoms and {len(batches.texts)} texts made in {time.time() - started:.0f} s")

    dense_scale = torch.nn.Parameter(torch.tensor([10.0, -3.0]))
    groups = group_by_decay([*model.parameters(), dense_scale], settings.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98))
    schedule = cosine_schedule(optimizer, settings.warm_up, settings.steps)
    generator = torch.Generator().manual_seed(settings.seed)
    trunk, head = model.visual.trunk, model.visual.head
    for step in range(settings.steps):
        indices, chosen, match, dense, regions = batches.draw()
        images = (augment(batches.images[indices], generator) - 0.5) / 0.25
        with torch.autocast("cpu", torch.bfloat16):
            patches = trunk.forward_features(images).float()
        image = F.normalize(head(trunk.fc_norm(patches.mean(1))), dim=-1)
        unique, where = np.unique(np.concatenate([chosen, dense.ravel()]), return_inverse=True)
        ids = tokens[unique]
        features = F.normalize(model.text(ids[:, : int((ids != 0).sum(1).max())]), dim=-1)[torch.from_numpy(where)]
        text, spoken_of = features[: len(chosen)], features[len(chosen) :].reshape(*dense.shape, -1)
        contrast = contrastive_loss(model.logit_scale.exp().clamp(max=100) * image @ text.T, match)
        aligned = F.normalize(head(trunk.fc_norm(patches)), dim=-1)
        similarity = torch.einsum("bpd,bkd->bkp", aligned, spoken_of) * dense_scale[0] + dense_scale[1]
        inside, outside = (
            torch.einsum("bkd,bkd->bk", F.normalize(head(trunk.fc_norm(pooled)), dim=-1), spoken_of)
            for pooled in split_pool(patches, regions.flatten(2) > 0, generator)
        )
        place = place_loss(inside, outside, regions.flatten(2).any(-1))
        loss = contrast + dense_loss(similarity, regions.flatten(2)) + place
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 20 == 19 or step + 1 == settings.steps:
            dense_part = (loss - contrast - place).item()
            parts = f"contrastive {contrast.item():.3f} dense {dense_part:.3f} place {place.item():.3f}"
            context.notify(f"clip step {step + 1}/{settings.steps} {parts} {time.time() - started:.0f} s")
    about = {"training": json.dumps(asdict(settings))}
    write_weights(folder / "open_clip_model.safetensors", convert_to_half(model.state_dict()), about)
