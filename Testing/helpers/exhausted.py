"""Models whose memory runs out."""

import torch


def exhaust(module, times):
    """Make a part of a model run out of memory the next `times` times, as CUDA does."""
    left = [times]

    def hook(*_):
        if left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory.")

    module.register_forward_pre_hook(hook)
