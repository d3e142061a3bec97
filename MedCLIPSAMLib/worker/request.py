"""A request to the worker, the messages that answer it, and the errors with which it can end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import errors
from ..errors import Cancelled, MedCLIPSAMError
from .protocol import Message


class WorkerError(MedCLIPSAMError):
    """The worker ended, could not be started, uses another protocol, or failed internally.

    Attributes:
        log: last lines of the worker's log.
    """

    def __init__(self, problem: str, remedy: str = "", log: str = "") -> None:
        super().__init__(problem, remedy)
        self.log = log


@dataclass
class Request:
    """A request and its answer so far.

    Args:
        id: number of the request.
        type: kind of request, such as "segment".
        parts: results that are sent one by one, each for a prompt and a slice.
        result: the last message, if the request succeeded.
        error: why there is no result.
        cancelled: whether the worker was told to cancel the request, which is done once the worker has answered.
    """

    id: int
    type: str
    parts: list[Message] = field(default_factory=list)
    result: Message | None = None
    error: MedCLIPSAMError | None = None
    cancelled: bool = False

    @property
    def done(self) -> bool:
        """Whether it has a result or an error."""
        return self.result is not None or self.error is not None

    def answer(self) -> Message:
        """Return the result, or raise the error."""
        if self.error:
            raise self.error
        if self.result is None:
            raise WorkerError(f"The request '{self.type}' is not answered yet.", "Wait until it is done.")
        return self.result

    def value(self) -> Request:
        """Return the request itself if it has a result, or raise the error."""
        self.answer()
        return self


_KINDS: dict[str, type[MedCLIPSAMError]] = {
    kind.__name__: kind
    for kind in (
        errors.InputError,
        errors.PromptError,
        errors.ModelError,
        errors.OutputError,
        errors.DeviceError,
    )
}


def error_from(fields: Mapping[str, Any], log: str) -> MedCLIPSAMError:
    """Return the error of a message, as its class in `errors` if there is one, else as WorkerError."""
    kind, problem, remedy = (str(fields.get(name, "")) for name in ("kind", "problem", "remedy"))
    if kind == Cancelled.__name__:
        return Cancelled()
    return _KINDS[kind](problem, remedy) if kind in _KINDS else WorkerError(problem, remedy, log)
