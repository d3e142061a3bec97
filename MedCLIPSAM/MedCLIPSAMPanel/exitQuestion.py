"""Ask before Slicer's window is closed while something is not finished."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import qt
import slicer
import slicer.util
from MedCLIPSAMScene.strings import _


class ExitQuestion(qt.QObject):
    """An event filter of the main window, where there is one; Slicer's own question is on the scene only.

    Args:
        unfinished: returns what is not finished, in words.
    """

    def __init__(self, unfinished: Callable[[], Sequence[str]]) -> None:
        qt.QObject.__init__(self)
        self._unfinished, self._window = unfinished, slicer.util.mainWindow()
        if self._window is not None:
            self._window.installEventFilter(self)

    def eventFilter(self, _object, event) -> bool:
        """Keep the window open where the user does not want it closed; on macOS a closed one is closed again."""
        if event.type() != qt.QEvent.Close or not self._window.visible:
            return False
        unfinished = self._unfinished()
        if not unfinished or slicer.app.testingEnabled():  # nobody is there then, and the question returns a no
            return False
        if slicer.util.confirmOkCancelDisplay(
            _(
                "MedCLIPSAM has not finished: {unfinished}. Exit anyway? A segmentation is lost; anything else "
                "resumes where it stopped when you start it again."
            ).format(unfinished=", ".join(unfinished))
        ):
            return False
        event.ignore()
        return True

    def close(self) -> None:
        """Ask no more, before the panel is removed."""
        if self._window is not None:
            self._window.removeEventFilter(self)
