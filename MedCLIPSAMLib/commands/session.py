"""What the commands of a process share, besides their arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

    from ..segmentation.kept_models import KeptModels
    from ..segmentation.segmenter import TextSegmenter


@dataclass(frozen=True)
class Session:
    """What `medclipsam` tells its commands.

    Args:
        run: runs another command line in this process and returns its exit code.
        kept: models that stay loaded; None loads them for each command.
    """

    run: Callable[[Sequence[str], Session], int]
    kept: KeptModels | None = None


def segmenter_loader(context: typer.Context) -> Callable[..., TextSegmenter]:
    """Return what a command loads a segmenter with: `load_segmenter`, or the models that are there already."""
    from ..segmentation.segmenter import load_segmenter

    session = context.obj
    return session.kept.load if isinstance(session, Session) and session.kept is not None else load_segmenter
