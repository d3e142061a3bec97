"""How a text-image model is fine-tuned."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from ..errors import InputError
from .losses import LOSSES

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class FineTuneSettings:
    """The defaults are the paper's: all weights, batch 64, learning rate 1e-6 with decay, DHN-NCE with tau 0.6.

    Args:
        base: the model that is trained on, by its name in the catalogue.
        loss: one of `losses.LOSSES`; its temperature (its own default when None) and hardness.
        batch: pairs a step over all processes: as many negatives, less one, has each.
        chunk: pairs that go through the model at once, for less memory at the same result; 0 takes the whole batch.
        epochs: at most; see `patience`.
        learning_rate: at its highest; None takes 1e-6, or 1e-4 with LoRA.
        warm_up: share of the steps in which it rises from 0; then it falls to 0 along a cosine.
        weight_decay: AdamW's, of matrices only.
        clip_norm: the gradient's length at most.
        crop: least share of a picture's area that a random crop keeps; 1 takes pictures whole.
        freeze: see `trainable.prepare`; `lora_rank` too.
        patience: epochs without a better retrieval on validation pairs after which training ends; 0 never ends it.
        precision: one of `PRECISIONS`; "auto" takes bf16 on a GPU that has it, else 16 bits there, and 32 on a CPU.
        seed: of the order, crops, dropout and LoRA's first weights.
    """

    base: str = "biomedclip"
    loss: str = "dhn-nce"
    temperature: float | None = None
    beta_image: float = 0.15
    beta_text: float = 0.15
    batch: int = 64
    chunk: int = 0
    epochs: int = 32
    learning_rate: float | None = None
    warm_up: float = 0.1
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    crop: float = 0.9
    freeze: str = "nothing"
    lora_rank: int = 0
    patience: int = 5
    precision: str = "auto"
    seed: int = 12

    def __post_init__(self) -> None:
        wrong = [
            name
            for name, fine in {
                "loss": self.loss in LOSSES,
                "temperature": self.temperature is None or self.temperature > 0,
                "beta_image": self.beta_image >= 0,
                "beta_text": self.beta_text >= 0,
                "batch": self.batch >= 2,
                "chunk": self.chunk >= 0,
                "epochs": self.epochs >= 1,
                "learning_rate": self.learning_rate is None or self.learning_rate > 0,
                "warm_up": 0 <= self.warm_up < 1,
                "weight_decay": self.weight_decay >= 0,
                "clip_norm": self.clip_norm > 0,
                "crop": 0 < self.crop <= 1,
                "patience": self.patience >= 0,
                "precision": self.precision in PRECISIONS,
            }.items()
            if not fine
        ]
        if wrong:
            choices = {"loss": f"one of {', '.join(LOSSES)}", "precision": f"one of {', '.join(PRECISIONS)}"}
            choices["batch"] = "2 or more: a batch of 1 has no negatives"
            name = wrong[0]
            raise InputError(
                f"Fine-tuning: {name.replace('_', '-')} {getattr(self, name)} came.",
                f"It must be {choices.get(name, 'a positive number in its range')}.",
            )

    @property
    def rate(self) -> float:
        """The learning rate at its highest."""
        return self.learning_rate or (1e-4 if self.lora_rank else 1e-6)

    def fingerprint(self) -> str:
        """Return what a checkpoint must agree with to be gone on from; patience, chunk and precision may change."""
        kept = {name: value for name, value in asdict(self).items() if name not in ("patience", "chunk", "precision")}
        return json.dumps(kept, sort_keys=True)
