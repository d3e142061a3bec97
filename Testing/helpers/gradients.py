"""A small training batch and a model, the same in every process."""

import torch

from MedCLIPSAMLib.finetune.trainable import prepare
from MedCLIPSAMLib.models.clip import load_clip

CHUNKS = 2


def a_model(device: str = "cpu", dropout: float = 0.0) -> torch.nn.Module:
    model = prepare(load_clip("demo", device).model)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    return model.train()


def a_batch(count: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randn(count, 3, 128, 128, generator=generator)
    return pixels, torch.randint(5, 100, (count, 9), generator=generator)
