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
    """The defaults are the paper's: all weights, batch 64, learning rate 1e-6 with decay, DHN-NCE with tau 0.6.

    Args:
        base: the model that is trained on, by its name in the catalogue.
        loss: see `losses.make_loss`; its temperature (its own default when None) and hardness.
        batch: pairs a step over all processes; each pair has `batch` - 1 negatives.
        chunk: pairs that go through the model at once, with the same result; 0 takes what fits, see `chunks`.
        epochs: at most; see `patience`.
        learning_rate: at its highest; None takes 1e-6, 1e-4 with LoRA, or 3e-4 where the heads alone are trained.
        warm_up: share of the steps in which it rises from 0; then it falls to 0 along a cosine.
        weight_decay: AdamW's, of matrices only.
        clip_norm: maximum norm of the gradient.
        crop: minimum share of an image's area that a random crop keeps; 1 takes images whole. None takes 0.9, or 1
            where the heads alone are trained, see `heads`.
        freeze: see `trainable.prepare`; `lora_rank` too.
        blend: share of what was learned in the result, see `blend`. None takes 1, or 0.5 where the heads alone are
            trained, whose high learning rate would cost what the base can do beside the captions.
        patience: epochs without a better retrieval on validation pairs after which training ends; 0 never ends it.
        precision: "auto" takes bf16 on a GPU that has it, else 16 bits there, and 32 on a CPU.
        seed: of the order, crops, dropout and LoRA's first weights.
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
                "LoRA is trained in the encoders, which are frozen where the heads alone are trained.",
                "Leave LoRA out, or freeze less.",
            )

    @property
    def loss_temperature(self) -> float:
        """Temperature of the loss."""
        from .losses import LOSSES

        return self.temperature or LOSSES[self.loss].temperature

    @property
    def rate(self) -> float:
        """Maximum learning rate."""
        return self.learning_rate or (1e-4 if self.lora_rank else 3e-4 if self.heads_alone else 1e-6)

    @property
    def min_crop(self) -> float:
        """Minimum share of an image's area that a random crop keeps."""
        return self.crop or (1.0 if self.heads_alone else 0.9)

    @property
    def learned_share(self) -> float:
        """Share of what was learned in the result."""
        return self.blend or (0.5 if self.heads_alone else 1.0)

    @property
    def heads_alone(self) -> bool:
        """Whether both towers stay as they are."""
        return self.freeze is Freeze.ALL_BUT_HEADS

    def resolved(self) -> FineTuneSettings:
        """Return the settings with the values in use in place of None."""
        return replace(
            self,
            temperature=self.loss_temperature,
            learning_rate=self.rate,
            crop=self.min_crop,
            blend=self.learned_share,
        )

    def fingerprint(self) -> dict[str, Any]:
        """Return what a checkpoint must agree with to be resumed, as JSON values.

        Patience, chunk and precision may change, and the betas of a loss that has none.
        """
        from .losses import LOSSES

        free = {"patience", "chunk", "precision"}
        if not LOSSES[self.loss].betas:
            free |= {"beta_image", "beta_text"}
        values: dict[str, Any] = json.loads(json.dumps(asdict(self.resolved())))
        return {name: value for name, value in values.items() if name not in free}
