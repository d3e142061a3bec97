"""Presence: whether the target of a prompt is in the image at all, by comparison with its negation and everyday texts.

A saliency map always has a maximum, so it cannot show absence. Therefore the prompt competes, zero-shot, with
statements that the target is absent and with texts that do not describe medical images: softmax over
exp(logit_scale) * cosine similarity, as in CLIP's training. The probability of the prompt is the presence. A prompt
that is meaningless for the image ("sitting on a chair") is about as similar to it as the everyday texts are, and gets
about 1 / number of texts.
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
"""Texts that do not describe medical images; a meaningless prompt is about as probable as these."""


@dataclass(frozen=True)
class Presence:
    """The certainty of the text-image model that the target is present. The three probabilities sum to 1.

    Args:
        probability: probability of the prompt among all its rivals.
        absent: total probability of the texts that say the target is absent.
        unrelated: total probability of the everyday texts.
        denial: the most probable of the texts that say the target is absent.
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
    """List texts that say the target of `prompt` is absent.

    These are the negatives of its prompt set, or negations of a prompt without a set; and `negative`, if given.

    Args:
        modality: modality of the image, if known; see `prompts.find_prompt_set`.
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
        text_features: (D,) float, L2-normalized features of the prompt or its ensemble.
        prompt: the prompt as text; the negations are made from those of its words that the model knows.
        negative: the user's negative prompt.
        encode_text: replaces `clip.encode_text`, such as `prompts.RememberedTexts`.
        modality: modality of the images, if known.
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
