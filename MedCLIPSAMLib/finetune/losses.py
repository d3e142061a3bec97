"""The losses for fine-tuning a text-image model: DHN-NCE, and others for comparison.

Each takes the features (B, D) of B matching pairs, which need not be normalized, and a temperature. It returns the mean
over the batch of the sum of both directions, so that values are comparable. With
z_ij = cos(image_i, text_j) / temperature:

    info-nce   -z_ii + log sum_j exp(z_ij)                                       (van den Oord et al. 2018; CLIP)
    dcl        -z_ii + log sum_{j != i} exp(z_ij)                                (Yeh et al. 2022)
    hn-nce     -z_ii + log (exp(z_ii) + sum_{j != i} w_ij exp(z_ij))             (Radenovic et al. 2023, alpha = 1)
    dhn-nce    -z_ii + log sum_{j != i} w_ij exp(z_ij)                           (MedCLIP-SAM; see `dhn_nce`)
    siglip     sum_j -log sigmoid(y_ij (z_ij + bias)), y = 1 on pairs, else -1   (Zhai et al. 2023)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..errors import InputError
from .dhn_nce import compute_pair_logits, dhn_nce_loss, weight_negatives


def info_nce_loss(image_features: torch.Tensor, text_features: torch.Tensor, temperature: float = 0.07) -> torch.Tensor:
    """Compute InfoNCE, the loss of CLIP; see the top of this file."""
    return hn_nce_loss(image_features, text_features, temperature, 0.0, 0.0)


def dcl_loss(image_features: torch.Tensor, text_features: torch.Tensor, temperature: float = 0.07) -> torch.Tensor:
    """Compute the decoupled contrastive loss: DHN-NCE with both betas 0."""
    return dhn_nce_loss(image_features, text_features, temperature, 0.0, 0.0)


def hn_nce_loss(
    image_features: torch.Tensor,
    text_features: torch.Tensor,
    temperature: float = 0.07,
    beta_image: float = 0.15,
    beta_text: float = 0.15,
) -> torch.Tensor:
    """Compute HN-NCE: the weights of DHN-NCE, with the positive in the denominator; see the top of this file."""
    logits = compute_pair_logits("HN-NCE", image_features, text_features, temperature)
    positives = logits.diagonal()
    denominators = [
        torch.logaddexp(positives, weight_negatives(scores, beta))
        for scores, beta in ((logits, beta_image), (logits.T, beta_text))
    ]
    return (sum(denominators) - 2 * positives).mean()


def siglip_loss(
    image_features: torch.Tensor, text_features: torch.Tensor, temperature: float = 0.1, bias: float = -10.0
) -> torch.Tensor:
    """Compute the pairwise sigmoid loss with a constant bias; see the top of this file."""
    logits = compute_pair_logits("SigLIP", image_features, text_features, temperature) + bias
    signs = 2 * torch.eye(len(logits), device=logits.device, dtype=logits.dtype) - 1
    return -F.logsigmoid(signs * logits).sum() / len(logits)


def dhn_nce_released_loss(
    image_features: torch.Tensor,
    text_features: torch.Tensor,
    temperature: float = 0.6,
    beta_image: float = 0.15,
    beta_text: float = 0.15,
) -> torch.Tensor:
    """Compute the loss that the script released with MedCLIP-SAM calls DHN-NCE; for comparison only.

    It differs from the paper's equations in three ways. The logits of other pairs (for the positives) and of the pair
    itself (for the negatives) are set to 0 instead of being left out, so that each counts as exp(0) = 1. There is no
    sum over the negatives, and the mean is taken over a B x B table. The denominators of the weights run along the
    wrong axis, with a beta of 1. As a result, a close negative is drawn closer. The loss is unstable at low
    temperatures.
    """
    logits = compute_pair_logits("DHN-NCE as released", image_features, text_features, temperature)
    pairs = torch.eye(len(logits), device=logits.device, dtype=logits.dtype)
    total = logits.new_zeros(())
    for scores, beta in ((logits, beta_image), (logits.T, beta_text)):
        negatives = scores * (1 - pairs)
        weights = (len(scores) - 1) * (beta * negatives).exp() / negatives.exp().sum(-1)
        total = total + (weights.log() + negatives - scores * pairs).mean()
    return total


@dataclass(frozen=True)
class LossEntry:
    """An entry of `LOSSES`.

    Args:
        function: (image features, text features, temperature) -> scalar.
        temperature: the default temperature.
        betas: whether the function also takes `beta_image` and `beta_text`.
    """

    function: Callable[..., torch.Tensor]
    temperature: float
    betas: bool = False


LOSSES = {
    "dhn-nce": LossEntry(dhn_nce_loss, 0.6, True),
    "info-nce": LossEntry(info_nce_loss, 0.07),
    "hn-nce": LossEntry(hn_nce_loss, 0.07, True),
    "dcl": LossEntry(dcl_loss, 0.07),
    "siglip": LossEntry(siglip_loss, 0.1),
    "dhn-nce-released": LossEntry(dhn_nce_released_loss, 0.6, True),
}


def make_loss(
    name: str, temperature: float | None = None, beta_image: float = 0.15, beta_text: float = 0.15
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return a loss by its name as a function of image features and text features, with its settings bound.

    Raises:
        InputError: there is no such loss.
    """
    if name not in LOSSES:
        raise InputError(f"Expected one of the losses {', '.join(LOSSES)}, got '{name}'.", "Choose one of them.")
    entry = LOSSES[name]
    settings = {"temperature": entry.temperature if temperature is None else temperature}
    if entry.betas:
        settings |= {"beta_image": beta_image, "beta_text": beta_text}
    return lambda images, texts: entry.function(images, texts, **settings)
