"""Locate prompts in images: their maps by M2IB or the model's locator, and their presence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from ..choices import Precision
from ..models.sam_image_batch import SamImageBatch
from ..run_context import RunContext
from .affinity import finest, spread_map
from .image_batch import ImageBatch
from .loaded_models import LoadedModels
from .presence import presence
from .result import Localization
from .saliency import M2IBSettings, m2ib, normalize, upsample
from .saliency_map import SaliencyMap
from .settings import Settings


def locate(
    models: LoadedModels,
    shown: ImageBatch,
    settings: Settings,
    prompts: Sequence[str],
    negative: str | None,
    text_features: Callable[[str], torch.Tensor],
    batch: int,
    context: RunContext,
) -> list[dict[str, list[Localization]]]:
    """Find what the text-image model sees in each image, by prompt, with the map of every candidate step.

    Args:
        settings: settings whose precision is not "auto".
        text_features: returns the features (D,) of a prompt; see `prompts.encode_prompt`, also for errors.
        batch: number of image-text pairs that M2IB processes together.
    """
    context.report(0.0, stage="saliency")
    loaded, negatives = models.loaded, [negative] if negative else []
    texts = {prompt: text_features(prompt) for prompt in [*prompts, *negatives]}
    prompts_by_settings: dict[M2IBSettings, list[str]] = {}
    for prompt in prompts:
        prompts_by_settings.setdefault(settings.saliency_for(prompt), []).append(prompt)
    where: list[dict[str, list[Localization]]] = [{} for _ in shown.images]
    shape = shown.images[0].shape[:2]
    for m2ib_settings, group in prompts_by_settings.items():
        group_prompts = [*group, *negatives]
        if loaded.locator is None:
            found = m2ib(
                loaded.clip,
                shown.pixels,
                torch.stack([texts[prompt] for prompt in group_prompts]),
                m2ib_settings,
                context,
                batch=batch,
                noise_batch=1 if models.frugal else None,
                early=shown.early,
                bfloat16=settings.precision == Precision.BF16,
                captures=loaded.captures if settings.capture else None,
            )
            maps, seen = found.by_step.cpu(), found.image_features  # (N, P, T, h, w) and (N, D)
        else:
            context.raise_if_cancelled()
            maps = torch.from_numpy(loaded.locator.maps(shown.images, group_prompts))[:, :, None]
            seen = loaded.clip.encode_image(shown.pixels)
        if negative:
            maps = normalize(upsample(maps.flatten(1, 2), shape)).unflatten(1, maps.shape[1:3])
            maps = normalize((maps[:, :-1] - maps[:, -1:]).clamp(min=0))
        known = loaded.clip.feature_statistics
        ood_score = known.ood_score(seen).tolist() if known else [None] * len(seen)
        for column, prompt in enumerate(group):
            present = presence(
                loaded.clip, seen, texts[prompt], prompt, negative, loaded.encode_text, settings.modality
            )
            for at, image_presence in enumerate(present):
                steps = maps[at, column].numpy()
                where[at][prompt] = [  # copies, as a view would keep the maps of all steps and prompts in memory
                    Localization(SaliencyMap(values.copy(), shape), image_presence, ood_score[at]) for values in steps
                ]
    return where


def spread_by_sam(
    where: list[dict[str, list[Localization]]], images: SamImageBatch, settings: Settings, context: RunContext
) -> list[dict[str, list[Localization]]]:
    """Spread maps among places that look alike to SAM 2, on images where a prompt is present; see `affinity`."""
    is_there = lambda localization: localization.presence.probability >= settings.presence_threshold
    wanted = [at for at, seen in enumerate(where) if any(is_there(maps[0]) for maps in seen.values())]
    images.embed(wanted, context)
    spread = list(where)
    for at in wanted:
        features = finest(images.features(at))[0]
        spread[at] = {prompt: _spread(maps, features, settings) for prompt, maps in where[at].items()}
    return spread


def _spread(maps: list[Localization], features: torch.Tensor, settings: Settings) -> list[Localization]:
    values = torch.from_numpy(np.stack([localization.map.values for localization in maps])).to(features.device)
    found = spread_map(values, features, settings.affinity).cpu().numpy()
    return [
        replace(localization, map=SaliencyMap(spread_values, localization.map.shape))
        for localization, spread_values in zip(maps, found)
    ]
