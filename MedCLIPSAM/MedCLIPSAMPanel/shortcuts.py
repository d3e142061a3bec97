"""Keyboard shortcuts while the module is shown, including those of the Segment Editor."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer.util

KEYS = {
    "segmentButton": "Alt+S",
    "insideButton": "Alt+I",
    "outsideButton": "Alt+O",
    "addBoxButton": "Alt+B",
    "refineButton": "Alt+R",
    "propagateButton": "Alt+P",
}
"""Button -> key sequence that clicks it."""
SEGMENT_WHILE_TYPING = "Ctrl+Return"


class Shortcuts:
    """Shortcuts of the panel on the main window.

    Args:
        ui: the named widgets of the panel.
        parent: the panel, used instead of the main window if there is none.
        onEscape: called when Esc is pressed, in addition to the Segment Editor's action.
    """

    def __init__(self, ui, parent, onEscape: Callable[[], None]) -> None:
        self._ui, self._parent, self._onEscape = ui, parent, onEscape
        self._shortcuts: list = []
        for name, keys in KEYS.items():
            button = getattr(ui, name)
            button.toolTip = f"{button.toolTip} ({keys})".strip()

    def install(self) -> None:
        """Install the shortcuts."""
        self.uninstall()
        window = slicer.util.mainWindow() or self._parent
        self._ui.segmentEditor.installKeyboardShortcuts(window)  # among them Ctrl+Z and Ctrl+Y
        # A second shortcut on Esc would make both ambiguous and neither would work, so the editor's is used.
        for shortcut in window.findChildren(qt.QShortcut):
            if shortcut.key.toString() == "Esc":
                shortcut.connect("activated()", self._onEscape)
        for name, keys in (*KEYS.items(), ("segmentButton", SEGMENT_WHILE_TYPING)):
            shortcut = qt.QShortcut(qt.QKeySequence(keys), window)
            shortcut.connect("activated()", getattr(self._ui, name).click)
            self._shortcuts.append(shortcut)

    def uninstall(self) -> None:
        """Remove the shortcuts."""
        self._ui.segmentEditor.uninstallKeyboardShortcuts()
        for shortcut in self._shortcuts:
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts = []
