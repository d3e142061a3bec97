"""Computations on a GPU recorded once and replayed, as CUDA graphs.

Thousands of small kernels cost more to launch from Python, one after the other, than to compute. A recording launches
them all at once, always the same ones: what is recorded must not decide anything by the values of its tensors.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any

import torch

from .memory import is_out_of_memory

Tensors = tuple[torch.Tensor, ...]
Function = Callable[..., Tensors]

MAX_GRAPHS, MAX_SEEN = 16, 64
"""Maximum number of recordings, which share one memory pool, and of computations that were run once so far."""
MAX_DIFFERENCE = 1e-3
"""Maximum difference to the plain computation, as a share of its largest value, for a recording to be used."""

log = logging.getLogger(__name__)


class Captures:
    """Recordings, each made when a computation is run for a second time on tensors of the same shapes.

    One that fails, or differs from the plain computation, is not used: a warning is logged, and the computation
    stays plain. Where memory runs out in it, all are let go of. For one thread, as all share memory.

    Args:
        record: takes a function and tensors, and returns a function that replays it on other tensors.
    """

    def __init__(self, record: Callable[[Function, Tensors], Function] | None = None) -> None:
        self._record = record or CudaGraphs()
        self._seen: OrderedDict[Hashable, None] = OrderedDict()
        self._plain: set[Hashable] = set()
        self._graphs: OrderedDict[Hashable, Function] = OrderedDict()

    @property
    def count(self) -> int:
        """Number of recordings."""
        return len(self._graphs)

    def clear(self) -> None:
        """Let go of all recordings, and of their memory."""
        self._graphs.clear()

    def run(self, name: Hashable, function: Function, *inputs: torch.Tensor) -> Tensors:
        """Return the outputs of `function` for a batch: the first axis of all inputs and outputs, on one device.

        The batch is filled up to the next power of two by its last row, so that few recordings are needed.

        Args:
            name: with shapes, types and device of the tensors it says which computation this is.
        """
        count = len(inputs[0])
        missing = (1 << (count - 1).bit_length()) - count
        key = name, count + missing, *((tensor.shape[1:], tensor.dtype, tensor.device) for tensor in inputs)
        if key in self._plain or self._is_first(key):
            return function(*inputs)
        filled = inputs
        if missing:
            filled = tuple(torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])]) for tensor in inputs)
        if replay := self._graphs.get(key):
            self._graphs.move_to_end(key)
            outputs = replay(*filled)
        else:
            outputs = function(*filled)
            self._add(key, function, filled, outputs)
        return tuple(tensor[:count] for tensor in outputs) if missing else outputs

    def _is_first(self, key: Hashable) -> bool:
        """Tell whether a computation was not run before, as far as is known, and remember it."""
        if key in self._graphs:
            return False
        known = key in self._seen
        self._seen[key] = None
        self._seen.move_to_end(key)
        if len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)
        return not known

    def _add(self, key: Hashable, function: Function, inputs: Tensors, plain: Tensors) -> None:
        """Record a computation, unless its recording fails or its outputs differ."""
        with_gradients = torch.is_grad_enabled()
        try:  # outside of inference mode, whose tensors cannot be written to after it
            with torch.inference_mode(False), torch.set_grad_enabled(with_gradients):
                replay = self._record(function, inputs)
                same = all(map(_alike, replay(*inputs), plain))
        except RuntimeError as error:
            cause = error.__context__ or error  # of an invalid operation, behind that of the end of its recording
            log.warning("Not recorded as a CUDA graph, so it takes longer: %s: %s", key, cause)
            self._plain.add(key)
            if is_out_of_memory(error) or is_out_of_memory(cause):
                self.clear()
            return
        if not same:
            log.warning("A CUDA graph differs from the plain computation and is not used: %s", key)
            self._plain.add(key)
            return
        self._graphs[key] = replay
        if len(self._graphs) > MAX_GRAPHS:
            self._graphs.popitem(last=False)


def _alike(first: torch.Tensor, second: torch.Tensor) -> bool:
    largest = second.abs().nan_to_num().max().item()
    return torch.allclose(first, second, rtol=0, atol=MAX_DIFFERENCE * largest, equal_nan=True)


class CudaGraphs:
    """Records on the GPU of the inputs, in a memory pool and on a stream that all its recordings share.

    The outputs of one are copied before another one is replayed. After a recording that failed none is made any more:
    torch before 2.12 takes memory as if it went on.
    """

    def __init__(self) -> None:
        self._memory: Any = None  # a handle of torch's
        self._beside: torch.cuda.Stream | None = None
        self._failed = False

    def __call__(self, function: Function, inputs: Tensors) -> Function:
        """Record a function on some tensors, and return a function that replays it on others.

        Raises:
            RuntimeError: the function cannot be recorded, or another one could not.
        """
        if self._failed:
            raise RuntimeError("another one could not be recorded")
        with torch.cuda.device(inputs[0].device):
            if self._beside is None:
                self._memory, self._beside = torch.cuda.graph_pool_handle(), torch.cuda.Stream()
            static_inputs = [tensor.clone() for tensor in inputs]
            current, graph = torch.cuda.current_stream(), torch.cuda.CUDAGraph()
            self._beside.wait_stream(current)
            try:
                with torch.cuda.stream(self._beside):  # which a recording that fails does not leave by itself
                    function(*static_inputs)  # libraries initialize on a stream at their first call
                    outputs = self._captured(graph, function, static_inputs)
            finally:
                current.wait_stream(self._beside)
        return _Replay(function, graph, static_inputs, outputs)

    def _captured(self, graph: torch.cuda.CUDAGraph, function: Function, inputs: list[torch.Tensor]) -> Tensors:
        """Capture a call in `graph`, and return its outputs, which every replay writes to."""
        try:  # other threads may copy images to the GPU meanwhile
            with torch.cuda.graph(graph, self._memory, self._beside, capture_error_mode="thread_local"):
                return function(*inputs)
        except RuntimeError:
            self._failed = True
            _end_allocation(self._memory)
            raise


def _end_allocation(memory: Any) -> None:
    """End that the allocator takes memory for a recording that failed, which torch before 2.12 does not do itself."""
    end = getattr(torch._C, "_cuda_endAllocateToPool", None)
    with suppress(RuntimeError, TypeError):
        if end is not None:
            end(torch.cuda.current_device(), memory)


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
