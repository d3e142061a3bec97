"""Whether the target of a prompt is in the image at all: the prompt against its negation and against everyday texts.

A saliency map always has a maximum; it cannot say "absent". So the prompt competes, zero-shot, with statements that the
target is not there and with texts that describe no medical image: softmax over exp(logit_scale) * cosine similarity, as
CLIP was trained. The probability of the prompt is the presence. A prompt without meaning for the image ("sitting on a
chair") is about as similar to it as the everyday texts are, and gets about 1 / number of texts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .prompts import find_prompt_set

if TYPE_CHECKING:
    from ..models.clip import ClipModel

ABSENCE = ("no {}", "an image without a {}", "no {} is seen", "normal image, {} is absent")
"""Negations of a prompt without a prompt set."""

EVERYDAY = (
    "a dog in the park",
    "a red car on the street",
    "two people eating pizza",
    "a wooden table in the kitchen",
    "hello world",
    "the weather is nice today",
    "a photo of a mountain",
    "a cat sleeping on a sofa",
)
"""Texts that describe no medical image: what a meaningless prompt is compared with."""


@dataclass(frozen=True)
class Presence:
    """How sure the text-image model is that the target is present. The three probabilities sum to 1.

    Args:
        probability: of the prompt among all its rivals.
        absent: of the texts that say the target is not there, together.
        unrelated: of the everyday texts, together.
        denial: the strongest of the texts that say the target is not there.
    """

    probability: float
    absent: float
    unrelated: float
    denial: str

    @property
    def meaningful(self) -> bool:
        """Whether the prompt fits the image better than all unrelated texts together."""
        return self.probability > self.unrelated


def list_absence_texts(prompt: str, negative: str | None = None, modality: str | None = None) -> list[str]:
    """List texts by which the target of `prompt` is absent: the negatives of its set, else negations; `negative`.

    Args:
        modality: of the image where it is known; see `prompts.find_prompt_set`.
    """
    prompt_set = find_prompt_set(prompt, modality)
    if prompt_set:
        texts = [*prompt_set.negatives, f"no {prompt_set.target}"]
    else:
        texts = [template.format(prompt) for template in ABSENCE]
    return texts + ([negative] if negative else [])


def presence(
    clip: ClipModel,
    image_features: torch.Tensor,
    text_features: torch.Tensor,
    prompt: str,
    negative: str | None = None,
    encode_text: Callable[[list[str]], torch.Tensor] | None = None,
    modality: str | None = None,
) -> list[Presence]:
    """Compute the presence of one prompt in each of N images.

    Args:
        image_features: (N, D) float, L2-normalized.
        text_features: (D,) float, L2-normalized: of the prompt or of its ensemble.
        prompt: the prompt in words, from whose known ones the negations are made.
        negative: the user's own negative prompt.
        encode_text: in place of `clip.encode_text`, such as `prompts.RememberedTexts`.
        modality: of the images where it is known.
    """
    absent = list_absence_texts(clip.known_part(prompt), negative, modality)
    rivals = absent + list(EVERYDAY)
    features = torch.cat([text_features[None], (encode_text or clip.encode_text)(rivals)]).to(image_features)
    logits = clip.model.logit_scale.exp().to(image_features) * image_features @ features.T
    found = []
    for probability, *others in logits.softmax(1).tolist():
        denials, unrelated = others[: len(absent)], others[len(absent) :]
        denial = absent[denials.index(max(denials))]
        found.append(Presence(probability, sum(denials), sum(unrelated), denial))
    return found
