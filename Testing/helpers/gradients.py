"""A small training batch and model, the same in every process, and the joint gradients of two processes."""

from datetime import timedelta

import torch
from torch.nn.parallel import DistributedDataParallel

from MedCLIPSAMLib.finetune.dhn_nce import dhn_nce_loss
from MedCLIPSAMLib.finetune.gradients import contrastive_backward
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


def joint_gradients(rank: int, store: str) -> tuple[torch.Tensor, dict[str, torch.Tensor | None]]:
    """Return the loss and gradients of a batch shared by two processes, which connect through a file."""
    meet = {"init_method": f"file://{store}", "timeout": timedelta(minutes=3)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2, **meet)
    plain = a_model()
    model = DistributedDataParallel(plain)
    pixels, tokens = (part[rank::2] for part in a_batch())
    chunks = list(zip(pixels.split(CHUNKS), tokens.split(CHUNKS)))
    loss = contrastive_backward(
        lambda *chunk: model(*chunk)[:2], chunks, dhn_nce_loss, rank=rank, world=2, without_sync=model.no_sync
    )
    torch.distributed.barrier()  # gloo's threads abort a process that leaves while the other one still communicates
    torch.distributed.destroy_process_group()
    return loss, {name: parameter.grad for name, parameter in plain.named_parameters()}
