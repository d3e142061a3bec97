"""Settings of the method, for those who know it; the defaults are those of the paper and of the model."""

from __future__ import annotations

from MedCLIPSAMScene.strings import _

from .parameters import SETTINGS

COARSE = ("otsu", "kmeans", "threshold")
SAM_PROMPTS = ("boxes", "points", "both")


class SettingsSection:
    """The fifth section of the panel."""

    def __init__(self, panel) -> None:
        self._panel, ui, bindings = panel, panel.ui, panel.bindings
        ui.coarseBox.addItems([_("two classes (Otsu, the paper)"), _("k-means (the authors' code)"), _("threshold")])
        ui.samPromptsBox.addItems([_("boxes"), _("points"), _("boxes and points")])
        bindings.choice(ui.coarseBox, COARSE, "coarse")
        bindings.choice(ui.samPromptsBox, SAM_PROMPTS, "samPrompts")
        bindings.properties(
            (ui.presenceBox, "value", "valueChanged(double)", "presence"),
            (ui.coarseThresholdBox, "value", "valueChanged(double)", "coarseThreshold"),
            (ui.layerBox, "value", "valueChanged(int)", "layer"),
            (ui.betaBox, "value", "valueChanged(double)", "beta"),
            (ui.stepsBox, "value", "valueChanged(int)", "steps"),
            (ui.seedBox, "value", "valueChanged(int)", "seed"),
        )
        ui.defaultSettingsButton.connect("clicked(bool)", lambda *_arguments: self._reset())

    def update(self) -> None:
        """The threshold matters for one kind of coarse mask only."""
        self._panel.ui.coarseThresholdBox.enabled = self._panel.parameters.coarse == "threshold"

    def _reset(self) -> None:
        for name, default in SETTINGS.items():
            setattr(self._panel.parameters, name, default)
