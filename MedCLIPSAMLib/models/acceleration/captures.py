"""Record computations on a GPU as CUDA graphs, and replay them.

Launching thousands of small kernels from Python one by one takes longer than computing them. A recording launches all
of them at once. It always launches the same ones, so a recorded function must not branch on the values of its tensors.
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
"""Maximum number of recordings, which share one memory pool, and of remembered computations that have run before."""
MAX_DIFFERENCE = 1e-3
"""Maximum difference from the plain computation, relative to its largest value, for a recording to be used."""

log = logging.getLogger(__name__)


class Captures:
    """Recordings of computations, each made when a computation runs for the second time on tensors of the same shapes.

    If a recording fails or differs from the plain computation, a warning is logged and the plain computation is used
    from then on. If memory runs out while recording, all recordings are released. Use an instance from one thread only,
    since all its recordings share memory.

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
        """The number of recordings."""
        return len(self._graphs)

    def clear(self) -> None:
        """Release all recordings and their memory."""
        self._graphs.clear()

    def run(self, name: Hashable, function: Function, *inputs: torch.Tensor) -> Tensors:
        """Return the outputs of `function` for a batch, which is the first axis of all inputs and outputs.

        The batch is padded to the next power of two by repeating its last row, so that few recordings are needed.

        Args:
            name: identifies the computation, together with the shapes, dtypes and device of the tensors.
            function: the computation; it must not branch on the values of its tensors.
            inputs: tensors on one device.
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
        """Tell whether a computation has not run before, as far as is remembered, and remember it."""
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
        try:  # outside inference mode, since tensors made in it cannot be written to afterwards
            with torch.inference_mode(False), torch.set_grad_enabled(with_gradients):
                replay = self._record(function, inputs)
                same = all(map(_alike, replay(*inputs), plain))
        except RuntimeError as error:
            cause = error.__context__ or error  # the invalid operation, masked by the error at the recording's end
            log.warning("A computation was not recorded as a CUDA graph and takes longer: %s: %s", key, cause)
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
    """A recorder on the GPU of the inputs, with a memory pool and a stream that all its recordings share.

    The outputs of one recording are copied before another one is replayed. After a failed recording, no more are made,
    because torch before 2.12 keeps allocating memory as if that recording went on.
    """

    def __init__(self) -> None:
        self._memory: Any = None  # a handle of torch's
        self._beside: torch.cuda.Stream | None = None
        self._failed = False

    def __call__(self, function: Function, inputs: Tensors) -> Function:
        """Record a function on some tensors, and return a function that replays it on others.

        Raises:
            RuntimeError: the function cannot be recorded, or an earlier one could not.
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
                with torch.cuda.stream(self._beside):  # a failed recording does not leave the stream by itself
                    function(*static_inputs)  # libraries initialize at their first call on a stream
                    outputs = self._captured(graph, function, static_inputs)
            finally:
                current.wait_stream(self._beside)
        return _Replay(function, graph, static_inputs, outputs)

    def _captured(self, graph: torch.cuda.CUDAGraph, function: Function, inputs: list[torch.Tensor]) -> Tensors:
        """Capture a call in `graph`, and return its outputs, which each replay overwrites."""
        try:  # other threads may copy images to the GPU meanwhile
            with torch.cuda.graph(graph, self._memory, self._beside, capture_error_mode="thread_local"):
                return function(*inputs)
        except RuntimeError:
            self._failed = True
            _end_allocation(self._memory)
            raise


def _end_allocation(memory: Any) -> None:
    """Stop the allocator from taking memory for a failed recording, which torch before 2.12 does not do itself."""
    end = getattr(torch._C, "_cuda_endAllocateToPool", None)
    with suppress(RuntimeError, TypeError):
        if end is not None:
            end(torch.cuda.current_device(), memory)


class _Replay:
    """A recording with its function and all tensors that it reads and writes, which must stay allocated."""

    def __init__(
        self, function: Function, graph: torch.cuda.CUDAGraph, static_inputs: list[torch.Tensor], outputs: Tensors
    ) -> None:
        self._function, self._graph, self._static_inputs, self._outputs = function, graph, static_inputs, outputs

    def __call__(self, *inputs: torch.Tensor) -> Tensors:
        for static_input, tensor in zip(self._static_inputs, inputs, strict=True):
            static_input.copy_(tensor)
        self._graph.replay()
        return tuple(tensor.clone() for tensor in self._outputs)
