"""Fine-tuning: train a new model on the user's captions, which can be chosen when it is finished."""

from __future__ import annotations

from MedCLIPSAMScene import dependencies
from MedCLIPSAMScene.strings import _

from . import lossPlot
from .longRunSection import LongRunSection

REDRAW_EVERY = 5
"""Steps."""


class FineTuneSection(LongRunSection):
    """The section of fine-tuning."""

    def __init__(self, panel) -> None:
        ui, operation = panel.ui, panel.operations.fineTune
        stopped = _("Stopped. Press Fine-tune again to resume from the last checkpoint.")
        super().__init__(panel, operation, ui.fineTuneLabel, ui.fineTuneBar, "UnfinishedFineTuning", stopped)
        self._losses: list[float] = []
        self._validation: list[tuple[int, float, float]] = []
        if self.unfinished:
            ui.fineTuneLabel.text = _(
                "An earlier fine-tuning of '{name}' may not have finished: press Fine-tune with the same name, "
                "captions and settings to resume it from its last checkpoint."
            ).format(name=self.unfinished)
        ui.fineTuneButton.connect("clicked(bool)", self._start)
        ui.stopFineTuneButton.connect("clicked(bool)", self._stop)

    def update(self) -> None:
        """Enable the possible actions, and show what is missing."""
        ui, parameters, running = self._panel.ui, self._panel.parameters, self._operation.task.running
        lacking = (
            dependencies.whyBusy()
            or self._panel.installation.whyLacking()
            or (
                _("A fine-tuning is running.")
                if running
                else _("Choose a table of images and captions.")
                if not self._paths.get("fineTuneCaptions")
                else _("Give the new model a name.")
                if not parameters.fineTune.name
                else self._paths.whyPartial("fineTuneCaptions", "fineTuneImages")
            )
        )
        self._enable(ui.fineTuneButton, ui.stopFineTuneButton, lacking, _("No fine-tuning is running."))
        ui.fineTuneBaseLabel.text = _("Starts from '{base}', which is chosen under Models and device.").format(
            base=parameters.clip
        )

    def _start(self) -> None:
        fineTune = self._panel.parameters.fineTune
        base, _sam, device, folder = self._panel.models.models()
        self._losses, self._validation = [], []
        lossPlot.draw(self._panel.ui.fineTunePlot, [], [])
        settings = {
            "loss": str(fineTune.loss),
            "epochs": fineTune.epochs,
            "batch": fineTune.batchSize,
            "chunk": fineTune.chunkSize,
            "freeze": str(fineTune.freeze),
            "lora_rank": fineTune.loraRank,
        }
        start = lambda: self._operation.start(
            self._paths.get("fineTuneCaptions"),
            fineTune.name,
            base,
            self._paths.get("fineTuneImages") or None,
            settings,
            device,
            folder,
            finished=self._finished,
        )
        self._begin(fineTune.name, _("Reading the captions and their images..."), start)

    def _progress(self, progress) -> None:
        self._bar.value = int(100 * progress["fraction"])
        if progress["stage"] == "encoding":
            self._say(_("Encoding the images, {percent}%...").format(percent=self._bar.value))
            return
        self._losses.append(progress["loss"])
        checked = progress["validation"]
        if checked:
            self._validation.append((len(self._losses), checked["loss"], checked["top1"]))
        message = _("Step {step} of {steps}, loss {loss:.3f}, {minutes:.0f} min left at most.").format(
            step=progress["step"],
            steps=progress["steps"],
            loss=progress["loss"],
            minutes=progress["seconds_left"] / 60,
        )
        if self._validation:
            message += " " + _("Retrieval on validation pairs {top1:.0%}, best {best:.0%}.").format(
                top1=self._validation[-1][2], best=max(top1 for _step, _loss, top1 in self._validation)
            )
        self._say(message)
        if checked or len(self._losses) % REDRAW_EVERY == 0:
            lossPlot.draw(self._panel.ui.fineTunePlot, self._losses, self._validation)

    def _show(self, result) -> None:
        text = _(
            "Top-1 retrieval on validation pairs: '{name}' {after:.0%}, its base {before:.0%}, chance {chance:.0%}. "
            "The new model can be chosen under Models and device."
        )
        self._say(text.format(name=result.name, after=result.after, before=result.before, chance=result.chance))
        self._panel.models.refresh()
