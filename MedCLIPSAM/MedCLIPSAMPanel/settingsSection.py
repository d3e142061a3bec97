"""Settings of the method, for experts; the defaults are those of the paper and of the model."""

from __future__ import annotations

from MedCLIPSAMScene.strings import _

from .enabling import enable
from .parameters import CoarseMethod, MethodSettings


class SettingsSection:
    """The section of settings."""

    def __init__(self, panel) -> None:
        self._panel = panel
        panel.ui.defaultSettingsButton.connect("clicked(bool)", lambda *_arguments: self._reset())

    def update(self) -> None:
        """Enable the threshold for the one kind of coarse mask that uses it."""
        byThreshold = self._panel.parameters.method.coarse == CoarseMethod.THRESHOLD
        enable(
            self._panel.ui.coarseThresholdBox,
            "" if byThreshold else _("Choose the coarse mask by threshold to set it."),
        )

    def _reset(self) -> None:
        self._panel.parameters.method = MethodSettings()
