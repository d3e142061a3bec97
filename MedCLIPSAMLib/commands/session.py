"""The state that the commands of a process share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

    from ..segmentation.model_cache import ModelCache


@dataclass(frozen=True)
class Session:
    """The state that `medclipsam` passes to its commands.

    Args:
        run: runs another command line in this process and returns its exit code.
        cache: cache of loaded models; None loads them for each command.
    """

    run: Callable[[Sequence[str], Session], int]
    cache: ModelCache | None = None


def model_cache(context: typer.Context) -> ModelCache | None:
    """Return the session's cache of models, or None."""
    session = context.obj
    return session.cache if isinstance(session, Session) else None
