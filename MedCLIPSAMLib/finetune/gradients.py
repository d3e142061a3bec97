"""The gradients of a contrastive loss over a batch that is larger than memory, or spread over several processes.

The loss needs the features of all pairs at once, but not the activations that produced them. Features are therefore
computed without gradients, one chunk at a time. The loss of the whole batch then gives the gradient at each feature.
Finally, each chunk is computed again with gradients, and receives its part (Gao et al. 2021, "GradCache"). The result
equals that of the whole batch at once. Random numbers (dropout) are the same in both passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch

Features = tuple[torch.Tensor, torch.Tensor]
Chunk = tuple[torch.Tensor, torch.Tensor]


def contrastive_backward(
    encode: Callable[[torch.Tensor, torch.Tensor], Features],
    chunks: Sequence[Chunk],
    loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    backward: Callable[[torch.Tensor], None] = torch.Tensor.backward,
    rank: int = 0,
    world: int = 1,
    without_sync: Callable[[], AbstractContextManager] = nullcontext,
) -> torch.Tensor:
    """Add the gradients of a loss over all pairs to the parameters of `encode`.

    Args:
        encode: (pixels (b, 3, S, S), tokens (b, L)) -> features of images and texts, (b, D) each.
        chunks: this process's pairs, in parts that fit into memory.
        loss_of: computes the loss from the features of all processes' pairs, in the order of the processes.
        backward: runs the backward pass, for example with loss scaling as in Fabric.
        rank, world: number of this process, and number of processes; each has the same number of pairs.
        without_sync: makes a context without synchronization of gradients, for all chunks but the last.

    Returns:
        The loss of the whole batch, detached; the same in every process. Each process's gradients are `world` times its
        share, so that their mean over the processes, which is taken elsewhere, is the gradient of the whole batch.
    """
    single = len(chunks) == 1
    states, made = [], []
    with torch.enable_grad() if single else torch.no_grad():
        for chunk in chunks:
            states.append(_random_state(chunk[0].device))
            made.append(encode(*chunk))
    own = [torch.cat([features[side] for features in made]).detach().requires_grad_() for side in (0, 1)]
    loss = loss_of(*(_gather(features, rank, world) for features in own))
    gradients = torch.autograd.grad(loss, own)
    begin = 0
    for number, chunk in enumerate(chunks):
        last = number + 1 == len(chunks)
        with nullcontext() if last else without_sync():
            if not single:
                _set_random_state(states[number], chunk[0].device)
            features = made[number] if single else encode(*chunk)
            end = begin + len(chunk[0])
            parts = [(feature * gradient[begin:end]).sum() for feature, gradient in zip(features, gradients)]
            backward(world * (parts[0] + parts[1]))
            begin = end
    return loss.detach()


def _gather(own: torch.Tensor, rank: int, world: int) -> torch.Tensor:
    """Gather the features of all processes; gradients flow to this process's own."""
    if world == 1:
        return own
    parts = [torch.empty_like(own) for _ in range(world)]
    torch.distributed.all_gather(parts, own.detach().contiguous())
    parts[rank] = own
    return torch.cat(parts)


def _random_state(device: torch.device) -> tuple[torch.Tensor, torch.Tensor | None]:
    if device.type == "mps":
        return torch.get_rng_state(), torch.mps.get_rng_state()
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(state: tuple[torch.Tensor, torch.Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None and device.type == "mps":
        torch.mps.set_rng_state(state[1])
    elif state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
