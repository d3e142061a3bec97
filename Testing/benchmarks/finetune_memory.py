"""Measure memory and time of a training step at BiomedCLIP's size, for all weights and for LoRA, by chunk size.

    python Testing/benchmarks/finetune_memory.py --chunks 8,16

The weights are random. Prints the peak memory of each variant beyond that of Python and its packages, in float32 on the
CPU, each in a process of its own. On a GPU in bf16 the activations take half of that.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor

import torch

from MedCLIPSAMLib.experiments.speed.full_size import biomedclip
from MedCLIPSAMLib.finetune.dhn_nce import dhn_nce_loss
from MedCLIPSAMLib.finetune.gradients import contrastive_backward
from MedCLIPSAMLib.finetune.trainable import prepare


def measure(lora: int, chunk: int, batch: int, tokens: int) -> tuple[float, float, int]:
    """Return GiB and seconds of a step with cached gradients and AdamW, and the number of trained weights."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = prepare(biomedclip(fast=False).model.requires_grad_(True), lora_rank=lora).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6)
    words = model.text.transformer.config.vocab_size
    pixels, ids = torch.randn(batch, 3, 224, 224), torch.randint(5, words, (batch, tokens))
    started = time.perf_counter()
    chunks = list(zip(pixels.split(chunk), ids.split(chunk)))
    contrastive_backward(lambda *batch: model(*batch)[:2], chunks, dhn_nce_loss)
    optimizer.step()
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return used / 2**20, time.perf_counter() - started, sum(parameter.numel() for parameter in trained)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", default="8,16", help="pairs in memory at once")
    parser.add_argument("--batch", type=int, default=16, help="pairs per step")
    parser.add_argument("--tokens", type=int, default=64, help="tokens per caption")
    options = parser.parse_args()
    print(f"{'trained':>22}  {'chunk':>5}  {'GiB':>5}  {'s/pair':>8}")
    for lora in (0, 8):
        for chunk in map(int, options.chunks.split(",")):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                gib, seconds, trained = pool.submit(measure, lora, chunk, options.batch, options.tokens).result()
            name = f"{'LoRA 8' if lora else 'all'} ({trained / 1e6:.1f} M)"
            print(f"{name:>22}  {chunk:5}  {gib:5.2f}  {seconds / options.batch:8.2f}", flush=True)


if __name__ == "__main__":
    main()
