"""The state that the commands of a process share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

    from ..segmentation.model_cache import ModelCache
    from ..segmentation.segmenter import TextSegmenter


@dataclass(frozen=True)
class Session:
    """The state that `medclipsam` passes to its commands.

    Args:
        run: runs another command line in this process and returns its exit code.
        cache: of the models in use; None loads them for each command.
    """

    run: Callable[[Sequence[str], Session], int]
    cache: ModelCache | None = None


def segmenter_loader(context: typer.Context) -> Callable[..., TextSegmenter]:
    """Return the function that loads a segmenter: `load_segmenter`, or that of the session's cache of models."""
    from ..segmentation.segmenter import load_segmenter

    session = context.obj
    return session.cache.load if isinstance(session, Session) and session.cache is not None else load_segmenter
