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

MAX_GRAPHS = 16
"""Maximum number of recordings, which share one memory pool."""
MAX_DIFFERENCE = 1e-3
"""Maximum difference to the plain computation, as a share of its largest value, for a recording to be used."""

log = logging.getLogger(__name__)


class Captures:
    """Recordings, each made when a computation is run for a second time on tensors of the same shapes.

    One that fails, or differs from the plain computation, is not used: a warning is logged, and the computation
    stays plain.

    Args:
        record: takes a function and tensors, and returns a function that replays it on other tensors.
    """

    def __init__(self, record: Callable[[Function, Tensors], Function] | None = None) -> None:
        self._record = record or CudaGraphs()
        self._graphs: OrderedDict[Hashable, Function | None] = OrderedDict()

    def run(self, name: Hashable, function: Function, *inputs: torch.Tensor) -> Tensors:
        """Return the outputs of `function` for a batch: the first axis of all inputs and outputs, on one device.

        The batch is filled up to the next power of two by its last row, so that few recordings are needed.

        Args:
            name: with shapes, types and device of the tensors it says which computation this is.
        """
        count = len(inputs[0])
        missing = (1 << (count - 1).bit_length()) - count
        key = name, count + missing, *((tensor.shape[1:], tensor.dtype, tensor.device) for tensor in inputs)
        if key not in self._graphs:
            self._graphs[key] = None
            if len(self._graphs) > MAX_GRAPHS:
                self._graphs.popitem(last=False)
            return function(*inputs)
        self._graphs.move_to_end(key)
        if missing:
            inputs = tuple(torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])]) for tensor in inputs)
        if replay := self._graphs[key]:
            outputs = replay(*inputs)
        else:
            outputs = function(*inputs)
            self._graphs[key] = self._record_checked(function, inputs, outputs)
        return tuple(tensor[:count] for tensor in outputs) if missing else outputs

    def _record_checked(self, function: Function, inputs: Tensors, plain: Tensors) -> Function:
        """Return the recording, or the function where the recording's outputs differ."""
        with_gradients = torch.is_grad_enabled()
        try:  # outside of inference mode, whose tensors cannot be written to after it
            with torch.inference_mode(False), torch.set_grad_enabled(with_gradients):
                replay = self._record(function, inputs)
                same = all(map(_alike, replay(*inputs), plain))
        except RuntimeError as error:
            log.warning("Not recorded as a CUDA graph, so it takes longer: %s", error)
            return function
        if not same:
            log.warning("A CUDA graph differs from the plain computation and is not used.")
        return replay if same else function


def _alike(first: torch.Tensor, second: torch.Tensor) -> bool:
    largest = second.abs().nan_to_num().max().item()
    return torch.allclose(first, second, rtol=0, atol=MAX_DIFFERENCE * largest, equal_nan=True)


class CudaGraphs:
    """Records on the GPU of the inputs, in a memory pool that all its recordings share.

    The outputs of one are copied before another one is replayed.
    """

    def __init__(self) -> None:
        self._memory: Any = None  # a handle of torch's

    def __call__(self, function: Function, inputs: Tensors) -> Function:
        """Record a function on some tensors, and return a function that replays it on others."""
        with torch.cuda.device(inputs[0].device):
            self._memory = self._memory or torch.cuda.graph_pool_handle()
            static_inputs = [tensor.clone() for tensor in inputs]
            beside = torch.cuda.Stream()
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                function(*static_inputs)  # libraries initialize on a stream at their first call
            torch.cuda.current_stream().wait_stream(beside)
            graph = torch.cuda.CUDAGraph()
            # Other threads may copy images to the GPU meanwhile.
            with torch.cuda.graph(graph, pool=self._memory, stream=beside, capture_error_mode="thread_local"):
                outputs = function(*static_inputs)
        return _Replay(function, graph, static_inputs, outputs)


class _Replay:
    """A recording with all tensors that it reads and writes, which must stay allocated, as those of its function."""

    def __init__(
        self, function: Function, graph: torch.cuda.CUDAGraph, static_inputs: list[torch.Tensor], outputs: Tensors
    ) -> None:
        self._function, self._graph, self._static_inputs, self._outputs = function, graph, static_inputs, outputs

    def __call__(self, *inputs: torch.Tensor) -> Tensors:
        for static_input, tensor in zip(self._static_inputs, inputs, strict=True):
            static_input.copy_(tensor)
        self._graph.replay()
        return tuple(tensor.clone() for tensor in self._outputs)
