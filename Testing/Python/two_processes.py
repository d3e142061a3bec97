"""Run by torchrun in two processes: the gradients of a joint batch, written by the first to the file that is named."""

import sys

import torch
from helpers.gradients import CHUNKS, a_batch, a_model
from torch.nn.parallel import DistributedDataParallel

from MedCLIPSAMLib.finetune.dhn_nce import dhn_nce_loss
from MedCLIPSAMLib.finetune.gradients import contrastive_backward

torch.distributed.init_process_group("gloo")
rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
plain = a_model()
model = DistributedDataParallel(plain)
pixels, tokens = (part[rank::world] for part in a_batch())
chunks = list(zip(pixels.split(CHUNKS), tokens.split(CHUNKS)))
loss = contrastive_backward(
    lambda *chunk: model(*chunk)[:2], chunks, dhn_nce_loss, rank=rank, world=world, without_sync=model.no_sync
)
if rank == 0:
    torch.save({"loss": loss, **{name: parameter.grad for name, parameter in plain.named_parameters()}}, sys.argv[1])
torch.distributed.barrier()  # one that leaves while the other still talks to it is ended by gloo's threads
torch.distributed.destroy_process_group()
