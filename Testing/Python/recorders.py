"""What makes recordings in place of CUDA graphs.

A graph holds the operations of one call only: were any of them chosen by a value, its trace by torch's `make_fx` would
fail or give the first image's result.
"""

from __future__ import annotations

import weakref

import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Traced:
    """Traces in place of a CUDA graph, and counts."""

    def __init__(self):
        self.made, self.replayed = 0, 0
        self.replays: list[weakref.ref] = []

    def __call__(self, function, given):
        self.made += 1
        graph = make_fx(lambda *given: function(*given))(*given)

        def replay(*given):
            self.replayed += 1
            return graph(*given)

        self.replays.append(weakref.ref(replay))
        return replay


class Reads(TorchDispatchMode):
    """Knows, as a CUDA graph would, which memory a function reads that is neither given to it nor made by it."""

    def __call__(self, function, given):
        self.read: dict[int, StorageWeakRef] = {}
        self._made = list(given)  # what lives on has addresses that nothing else gets
        with self:
            function(*given)
        del self._made
        return lambda *tensors: function(*tensors)

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = {tensor.untyped_storage()._cdata for tensor in self._made}
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in made:
                self.read[tensor.untyped_storage()._cdata] = StorageWeakRef(tensor.untyped_storage())
        result = operation(*args, **(kwargs or {}))
        self._made += [tensor for tensor in tree_leaves(result) if isinstance(tensor, torch.Tensor)]
        return result
