"""Settings of fine-tuning a text-image model."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Annotated, Any

from pydantic import Field

from ..choices import Freeze, Loss, TrainingPrecision
from ..errors import InputError
from ..validated import Choice, settings_class

NotNegative = Annotated[float, Field(ge=0)]


@settings_class
class FineTuneSettings:
    """Settings of a fine-tuning.

    The defaults are the paper's: all weights, batch 64, learning rate 1e-6 with decay, DHN-NCE with tau 0.6.

    Args:
        base: name in the catalogue of the model to fine-tune.
        loss: name of the loss; see `losses.make_loss`.
        temperature: temperature of the loss; None takes the loss's own default.
        beta_image, beta_text: hardness of the negatives, for losses that have it.
        batch: pairs per step over all processes; each pair has `batch` - 1 negatives.
        chunk: pairs that go through the model at once, which does not change the result; 0 takes as many as fit, see
            `chunks`.
        epochs: maximum number of epochs; see `patience`.
        learning_rate: peak learning rate; None takes 1e-6, 1e-4 with LoRA, or 3e-4 if only the heads are trained.
        warm_up: share of the steps in which the learning rate rises from 0, before it falls to 0 along a cosine.
        weight_decay: weight decay of AdamW, applied to matrices only.
        clip_norm: maximum norm of the gradient.
        crop: minimum share of an image's area that a random crop keeps; 1 takes whole images. None takes 0.9, or 1 if
            only the heads are trained, see `heads`.
        freeze, lora_rank: see `trainable.prepare`.
        blend: share of the learned weights in the result, see `blend`. None takes 1, or 0.5 if only the heads are
            trained, whose high learning rate would otherwise cost abilities of the base that the captions do not cover.
        patience: number of epochs without better retrieval on the validation pairs after which training ends; 0 never
            ends it early.
        precision: "auto" takes bf16 on a GPU that supports it, 16 bits on other GPUs, and 32 bits on a CPU.
        seed: seed of the order, the crops, dropout and LoRA's initial weights.
    """

    base: str = "biomedclip"
    loss: Choice[Loss] = Loss.DHN_NCE
    temperature: Annotated[float | None, Field(gt=0)] = None
    beta_image: NotNegative = 0.15
    beta_text: NotNegative = 0.15
    batch: Annotated[int, Field(ge=2, description="A batch of 1 has no negatives.")] = 64
    chunk: Annotated[int, Field(ge=0)] = 0
    epochs: Annotated[int, Field(ge=1)] = 32
    learning_rate: Annotated[float | None, Field(gt=0)] = None
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.1
    weight_decay: NotNegative = 0.1
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    crop: Annotated[float | None, Field(gt=0, le=1)] = None
    freeze: Choice[Freeze] = Freeze.NOTHING
    lora_rank: Annotated[int, Field(ge=0)] = 0
    blend: Annotated[float | None, Field(gt=0, le=1)] = None
    patience: Annotated[int, Field(ge=0)] = 5
    precision: Choice[TrainingPrecision] = TrainingPrecision.AUTO
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 12

    def __post_init__(self) -> None:
        if self.heads_alone and self.lora_rank:
            raise InputError(
                "LoRA is trained in the encoders, which are frozen when only the heads are trained.",
                "Do not use LoRA, or freeze less.",
            )

    @property
    def loss_temperature(self) -> float:
        """The temperature of the loss."""
        from .losses import LOSSES

        return self.temperature or LOSSES[self.loss].temperature

    @property
    def rate(self) -> float:
        """The peak learning rate."""
        return self.learning_rate or (1e-4 if self.lora_rank else 3e-4 if self.heads_alone else 1e-6)

    @property
    def min_crop(self) -> float:
        """The minimum share of an image's area that a random crop keeps."""
        return self.crop or (1.0 if self.heads_alone else 0.9)

    @property
    def learned_share(self) -> float:
        """The share of the learned weights in the result."""
        return self.blend or (0.5 if self.heads_alone else 1.0)

    @property
    def heads_alone(self) -> bool:
        """Whether only the heads are trained and both towers are frozen."""
        return self.freeze is Freeze.ALL_BUT_HEADS

    def resolved(self) -> FineTuneSettings:
        """Return the settings with each None replaced by the value in use."""
        return replace(
            self,
            temperature=self.loss_temperature,
            learning_rate=self.rate,
            crop=self.min_crop,
            blend=self.learned_share,
        )

    def fingerprint(self) -> dict[str, Any]:
        """Return the settings that a checkpoint must share to be resumed, as JSON values.

        Patience, chunk and precision may differ, and so may the betas if the loss does not use them.
        """
        from .losses import LOSSES

        free = {"patience", "chunk", "precision"}
        if not LOSSES[self.loss].betas:
            free |= {"beta_image", "beta_text"}
        values: dict[str, Any] = json.loads(json.dumps(asdict(self.resolved())))
        return {name: value for name, value in values.items() if name not in free}
