"""DHN-NCE, the decoupled hard-negative noise-contrastive loss of MedCLIP-SAM (arXiv 2409.19483, equations 1 to 3)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from ..errors import InputError


def dhn_nce_loss(
    image_features: torch.Tensor,
    text_features: torch.Tensor,
    temperature: float = 0.6,
    beta_image: float = 0.15,
    beta_text: float = 0.15,
) -> torch.Tensor:
    """Compute the DHN-NCE loss of a batch of matching pairs: the mean over the batch of the sum of both directions.

    With z_ij = cos(image_i, text_j) / temperature, the loss from image to text is

        L_i = -z_ii + log sum_{j != i} w_ij exp(z_ij),   w_ij = (B - 1) exp(beta z_ij) / sum_{k != i} exp(beta z_ik)

    and that from text to image is the same with its own beta. "Decoupled" means that the positive is not in the sum.
    "Hard negative" means that the weights raise negatives that are close. With both betas 0, the loss is the decoupled
    contrastive loss (DCL). It is computed as -z_ii + logsumexp((1 + beta) z) - logsumexp(beta z) + log(B - 1) over the
    negatives, at least in float32.

    Args:
        image_features: (B, D); row i belongs to row i of the texts. They need not be normalized.
        text_features: (B, D).
        temperature: tau in the paper.
        beta_image: hardness of the negatives from image to text.
        beta_text: hardness of the negatives from text to image.

    Returns:
        A float32 scalar (float64 for float64 features).

    Raises:
        InputError: shapes do not match, there are fewer than two pairs (so no negative), or a setting is out of range.
    """
    logits = compute_pair_logits("DHN-NCE", image_features, text_features, temperature)
    if beta_image < 0 or beta_text < 0:
        raise InputError(f"DHN-NCE: expected betas of 0 or more, got {beta_image} and {beta_text}.")
    return (_one_direction(logits, beta_image) + _one_direction(logits.T, beta_text)).mean()


def compute_pair_logits(
    name: str, image_features: torch.Tensor, text_features: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Check the inputs of a loss, and compute all cosines divided by the temperature, (B, B), at least in float32.

    Args:
        name: name of the loss, for error messages.
        image_features, text_features, temperature: see `dhn_nce_loss`.
    """
    if image_features.shape != text_features.shape or image_features.ndim != 2:
        raise InputError(
            f"{name}: expected features of one shape (B, D), got {tuple(image_features.shape)} and "
            f"{tuple(text_features.shape)}.",
            "Give one row for each pair.",
        )
    if len(image_features) < 2:
        raise InputError(f"{name}: a batch of {len(image_features)} pair has no negatives.", "Use at least two pairs.")
    if temperature <= 0:
        raise InputError(f"{name}: expected a temperature above 0, got {temperature}.")
    wide = torch.promote_types(image_features.dtype, torch.float32)
    with torch.autocast(image_features.device.type, enabled=False):
        images, texts = (F.normalize(features.to(wide), dim=-1) for features in (image_features, text_features))
        return images @ texts.T / temperature


def weight_negatives(logits: torch.Tensor, beta: float) -> torch.Tensor:
    """Compute log sum_{j != i} w_ij exp(z_ij) for every row of logits z (B, B), as (B,)."""
    count = len(logits)
    others = ~torch.eye(count, dtype=torch.bool, device=logits.device)
    negatives = logits[others].reshape(count, count - 1)
    return torch.logsumexp((1 + beta) * negatives, 1) - torch.logsumexp(beta * negatives, 1) + math.log(count - 1)


def _one_direction(logits: torch.Tensor, beta: float) -> torch.Tensor:
    """Compute L_i for every row, as (B,)."""
    return weight_negatives(logits, beta) - logits.diagonal()
