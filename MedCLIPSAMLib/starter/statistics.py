"""Feature statistics of the starter CLIP's training images, with limits from validation images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError
from ..models.clip import ClipModel
from ..models.feature_statistics import FeatureStatistics
from ..phantoms.dataset import make_phantom
from ..run_context import RunContext
from .data_set import UnusableImageError, decode, image_path, read_index

KINDS: Mapping[str, tuple[str, ...]] = {
    "breast ultrasound": ("breast_us_busbra",),
    "brain MR with contrast": ("brain_mr_cheng", "brain_mr_tumour_free"),
    "chest X-rays": ("chest_xray_covid",),
    "nodules cut from lung CT": ("lung_ct_lidc_crops",),
}
"""Kinds of real images that the CLIP was trained on, by names for display, and their sets."""
GROUPS = {"brain_mr_cheng": "block"}
PHANTOMS, MODALITIES = "phantoms", ("US", "MR", "XR", "CT")
FALSE_WARNINGS = 0.03
"""Fraction of the validation images beyond the limit of their kind."""
SHRINKAGE = 0.1
"""Fraction of the mean variance that is added to the variance in every direction."""
SEED = 0


def read_images(data: Path, name: str, split: str, count: int) -> Iterator[np.ndarray]:
    """Read up to `count` images of a set's split, (H, W, 3) uint8, drawn with `SEED`; leave out unreadable ones."""
    rows = [row for row in read_index(data / name, GROUPS.get(name, "patient")) if row["split"] == split]
    for number in np.random.default_rng(SEED).permutation(len(rows))[:count]:
        try:
            yield decode(image_path(data / name, rows[number]["image"]), "RGB").copy()
        except UnusableImageError:
            continue


def make_phantom_images(modality: str, split: str, count: int) -> Iterator[np.ndarray]:
    """Make phantoms of a modality, (H, W, 3) uint8."""
    for index in range(count):
        yield np.repeat(make_phantom(split, index, modality).image[..., None], 3, axis=2)


def compute_features(clip: ClipModel, images: Iterable[np.ndarray], context: RunContext = RunContext()) -> torch.Tensor:
    """Compute the L2-normalized features of images, (N, D) float32 on the CPU."""
    features = []
    for image in images:
        context.raise_if_cancelled()
        features.append(clip.encode_image(clip.preprocess(image[None])).cpu())
        context.report(len(features), None)
    if not features:
        raise InputError("Expected readable images, got none.", "Complete the data.")
    return torch.cat(features)


def find_seen_images(data: Path, split: str, count: int) -> dict[str, Iterator[np.ndarray]]:
    """Find images of every kind that the model was trained on, by kind.

    Args:
        count: maximum number of images per real set; a quarter of it per kind of phantoms.
    """
    return {
        kind: (image for name in names for image in read_images(data, name, split, count))
        for kind, names in KINDS.items()
    } | {f"{PHANTOMS} {of}": make_phantom_images(of, split, max(1, count // 4)) for of in MODALITIES}


def make_statistics(clip: ClipModel, data: Path, count: int, context: RunContext = RunContext()) -> FeatureStatistics:
    """Compute the statistics of a model from the training and validation images of a folder of sets.

    Args:
        count: maximum number of images of each set and split.
    """
    for name in (name for names in KINDS.values() for name in names):
        read_index(data / name, GROUPS.get(name, "patient"))
    training, validation = (
        {kind: compute_features(clip, images, context.titled(f"{split} {kind}")) for kind, images in found.items()}
        for split, found in ((split, find_seen_images(data, split, count)) for split in ("train", "validation"))
    )
    return fit(training, validation)


def fit(training: Mapping[str, torch.Tensor], validation: Mapping[str, torch.Tensor]) -> FeatureStatistics:
    """Fit a mean per kind, one covariance of all features about their means, and the limits.

    Args:
        training, validation: features by kind, (N, D) float32.
    """
    means = {kind: features.mean(0) for kind, features in training.items()}
    within = torch.cat([features - means[kind] for kind, features in training.items()]).double()
    covariance = within.T @ within / (len(within) - len(means))
    values, vectors = torch.linalg.eigh(covariance)
    whitening = (vectors / (values + SHRINKAGE * values.mean()).sqrt()).float()
    limits = []
    for kind, mean in means.items():
        alone = FeatureStatistics((kind,), mean[None], whitening, torch.ones(1))
        limits.append(alone.ood_score(validation[kind]).quantile(1 - FALSE_WARNINGS))
    names = tuple(kind if kind in KINDS else PHANTOMS for kind in means)
    return FeatureStatistics(names, torch.stack(list(means.values())), whitening, torch.stack(limits))
