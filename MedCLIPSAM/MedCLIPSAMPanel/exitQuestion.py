"""A question before Slicer's window is closed while a run, a download or an installation is not finished."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import qt
import slicer
import slicer.util
from MedCLIPSAMScene.strings import _


class ExitQuestion(qt.QObject):
    """An event filter of the main window, if there is one. Slicer itself only asks about unsaved changes of the scene.

    Args:
        unfinished: returns what is not finished, in words such as "an export".
    """

    def __init__(self, unfinished: Callable[[], Sequence[str]]) -> None:
        qt.QObject.__init__(self)
        self._unfinished, self._window = unfinished, slicer.util.mainWindow()
        if self._window is not None:
            self._window.installEventFilter(self)

    def eventFilter(self, _object, event) -> bool:
        """Keep the window open if the user answers so.

        A window that is not visible is ignored, because macOS sends a second close event to a closed window.
        """
        if event.type() != qt.QEvent.Close or not self._window.visible:
            return False
        unfinished = self._unfinished()
        if not unfinished or slicer.app.testingEnabled():  # in testing mode the question always returns False
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
        """Stop asking, before the panel is removed."""
        if self._window is not None:
            self._window.removeEventFilter(self)
