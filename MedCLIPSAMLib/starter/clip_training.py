"""Training of the starter CLIP: aligns images with texts, and patches with the targets of texts.

There are three losses, as for the demo CLIP (`demo_models.train_clip`): multi-positive InfoNCE over images and texts,
without pairs that may or may not match; cross-entropy and Dice of the patches against the region of a text; and the
similarity of the text to its region only, and to everything else, pooled with noise as in M2IB.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..demo_models.clip_layout import ClipLayout, tokenize, write_layout
from ..demo_models.train_clip import ALWAYS, contrastive_loss, dense_loss, place_loss, split_pool
from ..models.clip import build_clip
from ..phantoms.captions import Text
from .augmentation import change_gradation, draw_affine, make_generator, warp
from .examples import SIZE, Example, mirror
from .texts import MAX_REGIONS, TextMatches, match_texts, training_texts
from .training import Stage, Trainee, TrainingRun, autocast

IMAGE_SIZE, PATCH = 224, 8
LAYOUT = ClipLayout("medclipsam_starter_vit", IMAGE_SIZE, width=192, layers=3, heads=6)
GRID = IMAGE_SIZE // PATCH
REGION_SIZE = 64
"""Side of the mask of a region, in cells."""
SHARES = {
    "busbra": 0.20,
    "busbra_free": 0.08,
    "busbra_near": 0.07,
    "cheng": 0.23,
    "lgg_free": 0.06,
    "covid_xray": 0.06,
    "lidc": 0.06,
    "lidc_stacks": 0.03,
    "phantom_us": 0.04,
    "phantom_mr": 0.05,
    "phantom_xr": 0.05,
    "phantom_ct": 0.07,
}
"""Proportions in which examples are drawn, by source; other sources are not used."""
_ALWAYS = ALWAYS | {"lungs", "heart", "left lung", "right lung"}


@dataclass(frozen=True)
class ClipTraining:
    """Settings of the training.

    Args:
        batch_size: images per step.
        texts, nowhere: numbers of additional texts drawn per step: of texts that may describe an example, and of texts
            that describe none.
        dense_texts: texts per image whose region is aligned patch by patch; the target of the last one is absent.
    """

    batch_size: int = 256
    texts: int = 192
    nowhere: int = 40
    dense_texts: int = 4
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warm_up: int = 200
    seed: int = 12


def train_clip(
    folder: Path, examples: list[Example], run: TrainingRun, settings: ClipTraining = ClipTraining()
) -> None:
    """Train the starter CLIP from random weights and write its folder.

    Args:
        folder: where the model is written with every checkpoint; see `models.clip` for the layout.
    """
    possible, nowhere = training_texts()
    texts = possible + nowhere
    write_layout(folder, texts, LAYOUT)
    torch.manual_seed(settings.seed)
    model = build_clip(folder).train().requires_grad_(True).to(run.device)
    scale = torch.nn.Parameter(torch.tensor([10.0, -3.0], device=run.device))
    trainee = Trainee(model, [scale], folder / "open_clip_model.safetensors", asdict(settings), run)
    lesson = _Lesson(examples, texts, len(possible), tokenize(folder, texts), settings, run.device)
    run.context.notify(f"clip: {len(lesson)} images with their mirror images, {len(texts)} texts")
    stage = Stage(0, "clip", run.budget, settings.learning_rate, settings.weight_decay, settings.warm_up)
    for step, _, take in trainee.steps(stage):
        take(lesson.loss(model, scale, make_generator(run.device, settings.seed, step)))


class _Lesson:
    """All images and texts on the device, and the loss on a random batch."""

    def __init__(
        self,
        examples: list[Example],
        texts: list[Text],
        possible: int,
        tokens: torch.Tensor,
        settings: ClipTraining,
        device: torch.device,
    ) -> None:
        examples = [example for example in examples if example.source in SHARES]
        originals = examples
        examples = [*originals, *map(mirror, originals)]
        self._settings, self._possible, self._device = settings, possible, device
        matches = match_texts(examples, texts)
        on_device = lambda array: torch.from_numpy(array).to(device)
        images = on_device(np.stack([example.image for example in originals]))
        self._images = torch.cat([images, images.flip(-1)])
        self._match, self._unknown = on_device(matches.match), on_device(matches.unknown)
        self._region = on_device(matches.region)
        self._masks = _region_masks(originals, matches, device)
        self._tokens, self._lengths = tokens.to(device), (tokens != 0).sum(1)
        self._target = on_device(np.array([text.has_target for text in texts]))
        self._lesion = on_device(np.array([text.lesion is not None for text in texts]))
        self._nowhere = torch.arange(len(texts), device=device) >= possible
        always = [number for number, text in enumerate(texts) if text.text in _ALWAYS]
        self._always = torch.tensor(always, device=device)
        self._rarity = 1 / self._match.float().sum(0).clamp(min=20).sqrt()
        sources = [example.source for example in examples]
        count = {source: sources.count(source) for source in set(sources)}
        self._weight = torch.tensor([SHARES[source] / count[source] for source in sources], device=device)

    def __len__(self) -> int:
        return len(self._images)

    def loss(self, model: Any, scale: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Compute the loss of a random batch."""
        settings, device = self._settings, self._device
        chosen = torch.multinomial(self._weight, settings.batch_size, replacement=True, generator=generator)
        match, unknown = self._match[chosen], self._unknown[chosen]
        columns = self._draw_texts(match, generator)
        dense = self._draw_dense_texts(match, unknown, generator)
        affine = draw_affine(len(chosen), generator)
        images = warp(self._images[chosen][:, None].float() / 255, affine, IMAGE_SIZE)[:, 0]
        images = (change_gradation(images, generator) - 0.5) / 0.25
        number = self._region[chosen].gather(1, dense).long()
        number = torch.where(number < 0, MAX_REGIONS, number)
        regions = warp(self._masks[chosen[:, None], number].float() / 255, affine, 4 * GRID)
        regions = F.avg_pool2d(regions, 4).flatten(2)

        trunk, head = model.visual.trunk, model.visual.head
        project = lambda tokens: F.normalize(head(trunk.fc_norm(tokens)), dim=-1)
        with autocast(device):
            patches = trunk.forward_features(images[:, None].expand(-1, 3, -1, -1))
        patches = patches.float()
        image = project(patches.mean(1))
        used, place = torch.unique(torch.cat([columns, dense.flatten()]), return_inverse=True)
        with autocast(device):
            features = model.text(self._tokens[used][:, : int(self._lengths[used.cpu()].max())])
        features = F.normalize(features.float(), dim=-1)[place]
        text, spoken = features[: len(columns)], features[len(columns) :].reshape(*dense.shape, -1)

        logits = model.logit_scale.exp().clamp(max=100) * image @ text.T
        contrast = contrastive_loss(logits.masked_fill(unknown[:, columns], -1e4), match[:, columns])
        similarity = torch.einsum("bpd,bkd->bkp", project(patches), spoken) * scale[0] + scale[1]
        inside = regions > 0.25
        pooled = split_pool(patches, inside, generator)
        within, without = (torch.einsum("bkd,bkd->bk", project(tokens), spoken) for tokens in pooled)
        return contrast + 1.5 * dense_loss(similarity, regions) + place_loss(within, without, inside.any(-1))

    def _draw_texts(self, match: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Draw the texts of a batch: one per image, random others, some that describe no example, and `_ALWAYS`."""
        own = torch.multinomial(match * self._rarity + 1e-12, 1, generator=generator)[:, 0]
        between = lambda low, high, count: torch.randint(low, high, (count,), generator=generator, device=match.device)
        others = between(0, self._possible, self._settings.texts)
        nowhere = between(self._possible, match.shape[1], self._settings.nowhere)
        return torch.unique(torch.cat([own, others, nowhere, self._always]))

    def _draw_dense_texts(self, match: torch.Tensor, unknown: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Draw texts with a region in the image, preferably lesions, and one whose target is absent: (B, K)."""
        count = self._settings.dense_texts - 1
        there = match & self._target
        lesion = there & self._lesion
        prefer = torch.rand((len(match), 1), generator=generator, device=match.device) < 0.7
        there = torch.where(prefer & lesion.any(1, keepdim=True), lesion, there)
        absent = ~match & ~unknown & (self._target | self._nowhere)
        weight = torch.where(there.any(1, keepdim=True), there * self._rarity, absent.float())
        shown = torch.multinomial(weight, count, replacement=True, generator=generator)
        return torch.cat([shown, torch.multinomial(absent.float(), 1, generator=generator)], 1)


def _region_masks(examples: list[Example], matches: TextMatches, device: torch.device) -> torch.Tensor:
    """Return the regions of the examples, followed by those of their mirror images.

    Returns:
        (2 N, MAX_REGIONS + 1, REGION_SIZE, REGION_SIZE) uint8, 255 where a cell is covered; the last region is empty.
    """
    cells: list[torch.Tensor] = [torch.zeros(0, REGION_SIZE, REGION_SIZE, dtype=torch.uint8, device=device)]
    for start in range(0, len(examples), 512):
        masks = [structure.mask for example in examples[start : start + 512] for structure in example.structures]
        if masks:
            large = 255 * torch.from_numpy(np.stack(masks)).to(device)[:, None].float()
            cells.append(F.avg_pool2d(large, SIZE // REGION_SIZE)[:, 0].byte())
    small = torch.cat(cells)
    small = torch.cat([small, small.flip(-1)])
    counts = [len(example.structures) for example in examples]
    first = np.cumsum([0, *counts, *counts])
    regions = torch.zeros(
        2 * len(examples), MAX_REGIONS + 1, REGION_SIZE, REGION_SIZE, dtype=torch.uint8, device=device
    )
    members = [
        (row, number, first[row] + structure, order)
        for row, sets in enumerate(matches.regions)
        for number, structures in enumerate(sets)
        for order, structure in enumerate(structures)
    ]
    table = np.array(members, np.int64).reshape(-1, 4)
    for order in np.unique(table[:, 3]):
        row, number, structure = torch.from_numpy(table[table[:, 3] == order, :3]).to(device).T
        regions[row, number] = torch.maximum(regions[row, number], small[structure])
    return regions
