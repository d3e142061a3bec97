"""The paths of the panel. They are stored in Slicer's settings, not in scenes, because they may name patients."""

from __future__ import annotations

import os
from pathlib import PurePosixPath, PureWindowsPath

import ctk
from MedCLIPSAMScene.strings import _


class MachinePaths:
    """The path edits of the panel, by their names without "Edit", filled with the stored paths."""

    def __init__(self, panel) -> None:
        self._panel = panel
        self._edits = {
            name.removesuffix("Edit"): widget
            for name, widget in vars(panel.ui).items()
            if type(widget) is ctk.ctkPathLineEdit
        }
        for name, edit in self._edits.items():
            edit.currentPath = panel.machine.get(_setting(name))
            # Only the second signal reports an empty path or one that does not match the filters.
            for signal in ("currentPathChanged(QString)", "validInputChanged(bool)"):
                edit.connect(signal, lambda *_arguments, name=name: self._changed(name))

    def get(self, name: str) -> str:
        """Return a path without surrounding blanks and quotation marks, which may come from copying."""
        path = str(self._edits[name].currentPath).strip()
        return path[1:-1] if len(path) > 1 and path[0] == path[-1] and path[0] in "\"'" else path

    def local(self, name: str) -> str:
        """Return a path on this machine, with "~" replaced by the home folder."""
        return os.path.expanduser(self.get(name))

    def set(self, name: str, path: str) -> None:
        """Put a path into its edit."""
        self._edits[name].currentPath = path

    def whyPartial(self, *names: str) -> str:
        """Return a sentence that says which of these paths is relative; empty if none is.

        A relative path would be resolved from the folder in which Slicer was started.
        """
        for path in map(self.get, names):
            whole = path.startswith("~") or any(kind(path).is_absolute() for kind in (PurePosixPath, PureWindowsPath))
            if path and not whole:
                return _("Give the full path of '{path}', from the root of its disk or from '~'.").format(path=path)
        return ""

    def _changed(self, name: str) -> None:
        self._panel.machine.set(_setting(name), self.get(name))
        self._panel.update()


def _setting(name: str) -> str:
    return name[0].upper() + name[1:]
