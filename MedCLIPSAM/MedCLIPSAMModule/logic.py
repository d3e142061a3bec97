"""The module's logic for scripts, without its panel."""

from __future__ import annotations

from collections.abc import Callable

from MedCLIPSAMScene.exportOperation import ExportResult
from MedCLIPSAMScene.fineTuneOperation import FineTuneResult
from MedCLIPSAMScene.operations import Operations
from MedCLIPSAMScene.results import SceneResult
from MedCLIPSAMScene.sliceGeometry import SceneSlices
from MedCLIPSAMScene.transport import QProcessTransport, WorkerCommand, workerCommand
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic


class MedCLIPSAMLogic(ScriptedLoadableModuleLogic):
    """The logic for scripts. Each method waits for its result while Slicer handles events.

    Args:
        command: returns the worker's command; by default that of a worker on this machine.

    Attributes:
        operations: the operations, whose `start` methods do not wait; see `MedCLIPSAMScene.operations`.
    """

    def __init__(self, command: Callable[[], WorkerCommand] | None = None) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.operations = Operations(lambda: QProcessTransport(command or workerCommand))

    @property
    def models(self) -> tuple[str, str, str, str | None]:
        """The models for the next run: (text-image model, SAM, device, folder of models or None)."""
        return self.operations.session.models

    @models.setter
    def models(self, models: tuple[str, str, str, str | None]) -> None:
        self.operations.session.models = models

    def segment(self, volumeNode, prompts: str | list[str], segmentationNode=None, **options) -> SceneResult:
        """Segment what the prompts name on slices of a volume; see `SegmentOperation.start` for the options."""
        return self.operations.segment.run(volumeNode, prompts, segmentationNode, **options)

    def segmentVolume(self, volumeNode, prompts: str | list[str], segmentationNode=None, **options) -> SceneResult:
        """Segment every slice of a volume on its own; see `segment`."""
        slices = range(len(SceneSlices(volumeNode, options.get("plane", "axial"))))
        return self.segment(volumeNode, prompts, segmentationNode, slices=slices, **options)

    def propagate(self, volumeNode, prompts: str | list[str], segmentationNode=None, **options) -> SceneResult:
        """Segment a volume from key slices; see `PropagateOperation.start` for the options."""
        return self.operations.propagate.run(volumeNode, prompts, segmentationNode, **options)

    def propagateCorrection(self, segmentationNode, segmentId: str, volumeNode, **options) -> SceneResult:
        """Propagate corrected slices of a segment; see `PropagateOperation.runCorrection` for the options."""
        return self.operations.propagate.runCorrection(segmentationNode, segmentId, volumeNode, **options)

    def refine(self, segmentationNode, segmentId: str, volumeNode, number: int, **options) -> SceneResult:
        """Refine a segment with SAM on one slice; see `RefineOperation.run` for the options."""
        return self.operations.refine.run(segmentationNode, segmentId, volumeNode, number, **options)

    def addSegment(self, segmentationNode, name: str) -> str:
        """Add an empty segment and return its id."""
        return self.operations.addSegment(segmentationNode, name)

    def undo(self, segmentationNode) -> bool:
        """Undo the last change of a segmentation; return False when there is none."""
        return self.operations.session.undo(segmentationNode)

    def exportPseudoLabels(self, inputs: str, prompts, out: str, **options) -> ExportResult:
        """Segment a whole collection and write a dataset; see `ExportOperation.start` for the options."""
        return self.operations.export.run(inputs, prompts, out, **{"models": self.models, **options})

    def fineTune(self, captions: str, name: str, **options) -> FineTuneResult:
        """Fine-tune a text-image model on captions; see `FineTuneOperation.start` for the options."""
        return self.operations.fineTune.run(captions, name, **options)

    def close(self) -> None:
        """End the workers, and wait for their end."""
        self.operations.close()
