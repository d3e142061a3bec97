"""Settings of the method, for experts; the defaults are those of the paper and of the model."""

from __future__ import annotations

from MedCLIPSAMScene.strings import _

from .enabling import enable
from .parameters import CoarseMethod, MethodSettings, SamPromptKind


class SettingsSection:
    """The section of settings."""

    def __init__(self, panel) -> None:
        self._panel = panel
        panel.ui.defaultSettingsButton.connect("clicked(bool)", self._reset)

    def update(self) -> None:
        """Enable the threshold of the coarse mask and the vote only if they are used."""
        method = self._panel.parameters.method
        byThreshold = method.coarse == CoarseMethod.THRESHOLD
        enable(
            self._panel.ui.coarseThresholdBox,
            "" if byThreshold else _("Choose 'threshold' as the coarse mask to set it."),
        )
        byPoints = method.samPrompts == SamPromptKind.POINTS
        enable(
            self._panel.ui.voteBox,
            _("With points alone, SAM is asked once: choose boxes for a vote.") if byPoints else "",
        )

    def _reset(self) -> None:
        self._panel.parameters.method = MethodSettings()
