"""Computations on a GPU recorded once and replayed, as CUDA graphs.

Thousands of small kernels cost more to launch from Python, one after the other, than to compute. A recording launches
them all at once, always the same ones: what is recorded must not decide anything by the values of its tensors.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import torch

Tensors = tuple[torch.Tensor, ...]
Function = Callable[..., Tensors]

MAX_GRAPHS = 8
"""Recordings that are kept; they share the memory that they work in."""
APART = 1e-3
"""From this difference to the plain computation on, a share of its largest value, a recording is not used."""

log = logging.getLogger(__name__)


class Captures:
    """Recordings, each made when a computation is asked for a second time on tensors of the same shapes.

    One that fails, or gives something else than the plain computation, is not used: the log tells, and the computation
    stays plain.

    Args:
        record: gives for a function and tensors a function that replays on other tensors what the function does.
    """

    def __init__(self, record: Callable[[Function, Tensors], Function] | None = None) -> None:
        self._record = record or CudaGraphs()
        self._graphs: OrderedDict[Hashable, Function | None] = OrderedDict()

    def run(self, name: Hashable, function: Function, *given: torch.Tensor) -> Tensors:
        """Return what `function` gives for some tensors, all on one device.

        Args:
            name: with shapes, types and device of the tensors it says which computation this is.
        """
        key = name, *((tensor.shape, tensor.dtype, tensor.device) for tensor in given)
        if key not in self._graphs:
            self._graphs[key] = None
            if len(self._graphs) > MAX_GRAPHS:
                self._graphs.popitem(last=False)
            return function(*given)
        self._graphs.move_to_end(key)
        if replay := self._graphs[key]:
            return replay(*given)
        plain = function(*given)
        self._graphs[key] = self._record_checked(function, given, plain)
        return plain

    def _record_checked(self, function: Function, given: Tensors, plain: Tensors) -> Function:
        """Return the recording, or the function where that does not do the same."""
        try:
            replay = self._record(function, given)
            same = all(map(_alike, replay(*given), plain))
        except RuntimeError as error:
            log.warning("Not recorded as a CUDA graph, so it takes longer: %s", error)
            return function
        if not same:
            log.warning("A CUDA graph gave something else than the plain computation and is not used.")
        return replay if same else function


def _alike(first: torch.Tensor, second: torch.Tensor) -> bool:
    largest = second.abs().nan_to_num().max().item()
    return torch.allclose(first, second, rtol=0, atol=APART * largest, equal_nan=True)


class CudaGraphs:
    """Records on the GPU of the tensors that are given, in a memory that all its recordings share.

    What one has given is copied before another one is replayed.
    """

    def __init__(self) -> None:
        self._memory: Any = None  # a handle of torch's

    def __call__(self, function: Function, given: Tensors) -> Function:
        """Record what a function does with some tensors; what is returned does it again with others."""
        with torch.cuda.device(given[0].device):
            self._memory = self._memory or torch.cuda.graph_pool_handle()
            taken = [tensor.clone() for tensor in given]
            beside = torch.cuda.Stream()
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                function(*taken)  # libraries set up what they need on a stream when they are first called on it
            torch.cuda.current_stream().wait_stream(beside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._memory, stream=beside):
                made = function(*taken)
        return _Replay(function, graph, taken, made)


class _Replay:
    """A recording with all that it reads and writes, which must stay where it lies: also what its function uses."""

    def __init__(
        self, function: Function, graph: torch.cuda.CUDAGraph, taken: list[torch.Tensor], made: Tensors
    ) -> None:
        self._function, self._graph, self._taken, self._made = function, graph, taken, made

    def __call__(self, *given: torch.Tensor) -> Tensors:
        for mine, tensor in zip(self._taken, given, strict=True):
            mine.copy_(tensor)
        self._graph.replay()
        return tuple(tensor.clone() for tensor in self._made)
