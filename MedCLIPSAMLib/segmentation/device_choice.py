"""The sentence that tells the user how a segmenter runs on its device."""

from __future__ import annotations

import torch

from ..models.device import fast_bfloat16
from .segmenter import TextSegmenter


def describe_device(segmenter: TextSegmenter) -> str:
    """Describe the device, and the precision and batch size chosen for it, in a sentence for the user."""
    clip, device = segmenter.clip, segmenter.clip.device
    own = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    fast = "with" if fast_bfloat16(device) else "without"
    together = "one by one" if segmenter.batch_size == 1 else f"{segmenter.batch_size} at once"
    recorded = ", networks recorded as CUDA graphs" if device.type == "cuda" and segmenter.settings.capture else ""
    return (
        f"{device} ({own}, {fast} bfloat16): {segmenter.settings.precision} for '{clip.name}' and "
        f"'{segmenter.sam.name}', images {together}{recorded}."
    )
