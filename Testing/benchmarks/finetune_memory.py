"""Memory and time of a training step at BiomedCLIP's size, with random weights: all weights and LoRA, by chunk.

    python Testing/benchmarks/finetune_memory.py --chunks 8,16

Prints the most memory that each way takes beside what Python and its packages take, in float32 on the CPU, each in a
process of its own. On a GPU in bf16 the activations take half of that.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

WORDS = 30522
"""Of PubMedBERT's vocabulary."""


def write_architecture(folder: Path) -> None:
    """BiomedCLIP's configuration: ViT-B/16 at 224 pixels, BERT-base, an MLP as text projection."""
    clip = {
        "model_cfg": {
            "embed_dim": 512,
            "vision_cfg": {
                "timm_model_name": "vit_base_patch16_224",
                "timm_model_pretrained": False,
                "timm_pool": "",
                "timm_proj": "linear",
                "image_size": 224,
            },
            "text_cfg": {
                "hf_model_name": ".",
                "hf_tokenizer_name": ".",
                "hf_proj_type": "mlp",
                "hf_pooler_type": "cls_last_hidden_state_pooler",
                "context_length": 256,
            },
        }
    }
    bert = {"model_type": "bert", "vocab_size": WORDS, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    for name, content in (("open_clip_config.json", clip), ("config.json", bert), ("tokenizer_config.json", {})):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ntumor\n", encoding="utf-8")


def measure(lora: int, chunk: int, batch: int, tokens: int) -> dict:
    """One step of a batch with cached gradients and AdamW, in this process."""
    from MedCLIPSAMLib.finetune.dhn_nce import dhn_nce_loss
    from MedCLIPSAMLib.finetune.gradients import contrastive_backward
    from MedCLIPSAMLib.finetune.trainable import prepare
    from MedCLIPSAMLib.models.clip import build_clip

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        write_architecture(Path(folder))
        model = prepare(build_clip(Path(folder)), lora_rank=lora).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6)
    pixels, ids = torch.randn(batch, 3, 224, 224), torch.randint(5, WORDS, (batch, tokens))
    started = time.perf_counter()
    chunks = list(zip(pixels.split(chunk), ids.split(chunk)))
    contrastive_backward(lambda *batch: model(*batch)[:2], chunks, dhn_nce_loss)
    optimizer.step()
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    count = sum(parameter.numel() for parameter in trained)
    return {"gib": used / 2**20, "seconds": time.perf_counter() - started, "trained": count}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", default="8,16", help="pairs in memory at once")
    parser.add_argument("--batch", type=int, default=16, help="pairs a step")
    parser.add_argument("--tokens", type=int, default=64, help="of a caption")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        lora, chunk = map(int, options.one.split(","))
        print(json.dumps(measure(lora, chunk, options.batch, options.tokens)))
        return
    print(f"{'trained':>22}  {'chunk':>5}  {'GiB':>5}  {'s a pair':>8}")
    for lora in (0, 8):
        for chunk in map(int, options.chunks.split(",")):
            command = [sys.executable, __file__, "--one", f"{lora},{chunk}", "--batch", str(options.batch)]
            command += ["--tokens", str(options.tokens)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout)
            name = f"{'LoRA 8' if lora else 'all'} ({found['trained'] / 1e6:.1f} M)"
            print(f"{name:>22}  {chunk:5}  {found['gib']:5.2f}  {found['seconds'] / options.batch:8.2f}", flush=True)


if __name__ == "__main__":
    main()
