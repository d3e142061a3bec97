"""Models that run out of memory, and a full disk."""

import signal
from contextlib import contextmanager

import torch


def exhaust(module, times):
    """Make a part of a model run out of memory the next `times` times, as CUDA does."""
    left = [times]

    def hook(*_):
        if left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory.")

    module.register_forward_pre_hook(hook)


@contextmanager
def full_disk(room):
    """Limit the size of files to `room` bytes, as if the disk were full then."""
    import resource  # not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
