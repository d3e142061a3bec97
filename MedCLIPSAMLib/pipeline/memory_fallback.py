"""Retry work with less memory when memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from ..models.acceleration.memory import is_out_of_memory, release
from ..run_context import RunContext
from ..segmentation.segmenter import TextSegmenter

log = logging.getLogger(__name__)

T = TypeVar("T")


def run_within_memory(segmenter: TextSegmenter, work: Callable[[], T], context: RunContext) -> T:
    """Run `work`; if memory runs out, retry in smaller steps and then on the CPU.

    The segmenter keeps this mode for later work, and `context` notifies the user.

    Raises:
        DeviceError: there is too little memory on the CPU too. Other errors of `work` are passed on.
    """
    while True:
        try:
            return work()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            log.warning("out of memory on %s: %s", segmenter.clip.device, error)
        release()  # outside of the handler, as the traceback keeps tensors alive
        context.notify(segmenter.reduce_memory())
