"""MedCLIPSAM in 3D Slicer: a prompt becomes a segmentation in the scene.

The module, its panel, its logic and its self-test. The sections of the panel are in MedCLIPSAMPanel, what is done to
the scene in MedCLIPSAMScene, and the method in MedCLIPSAMLib, which knows nothing of Slicer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import slicer
import slicer.util
import vtk
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

_HERE = Path(__file__).resolve().parent
for _folder in (_HERE, _HERE.parent):  # the second in a source checkout, where the engine lies beside the module
    if str(_folder) not in sys.path and ((_folder / "MedCLIPSAMLib").is_dir() or _folder == _HERE):
        sys.path.insert(0, str(_folder))

from MedCLIPSAMScene.exportLogic import ExportLogic, ExportResult  # noqa: E402
from MedCLIPSAMScene.reviewLogic import ReviewLogic  # noqa: E402
from MedCLIPSAMScene.sceneLogic import SceneLogic  # noqa: E402
from MedCLIPSAMScene.strings import _  # noqa: E402
from MedCLIPSAMScene.trainLogic import TrainingResult, TrainLogic  # noqa: E402
from MedCLIPSAMScene.transport import QProcessTransport, workerCommand  # noqa: E402

from MedCLIPSAMLib.errors import Cancelled, MedCLIPSAMError  # noqa: E402


class MedCLIPSAM(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "MedCLIPSAM"
        parent.categories = [_("Segmentation")]
        parent.dependencies = ["Segmentations", "SegmentEditor", "Markups"]
        parent.contributors = ["MedCLIPSAM contributors"]
        parent.helpText = _(
            "Type what to segment, such as 'brain tumor', and press Segment. BiomedCLIP finds where the picture "
            "answers to the words (M2IB saliency), SAM 2 outlines it, and the result is a segment to be corrected with "
            "points, boxes and the Segment Editor. For research only, not for diagnosis."
        )
        parent.acknowledgementText = _(
            "The method is that of MedCLIP-SAMv2 (Koleilat, Asgariandehkordi, Rivaz, Xiao; arXiv 2409.19483)."
        )
        slicer.app.connect("startupCompleted()", _registerSamples)


def _registerSamples() -> None:
    from MedCLIPSAMScene.samples import registerSampleData

    registerSampleData()


class MedCLIPSAMWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. It reads and writes the parameter node and calls the logic; its sections do the rest."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.parameters = None
        self._choices: dict = {}

    def setup(self) -> None:
        """Build the panel."""
        from MedCLIPSAMPanel.binding import Bindings
        from MedCLIPSAMPanel.correctSection import CorrectSection, EditorHistory
        from MedCLIPSAMPanel.exportSection import ExportSection
        from MedCLIPSAMPanel.inputSection import InputSection
        from MedCLIPSAMPanel.installationSection import InstallationSection
        from MedCLIPSAMPanel.modelsSection import ModelsSection
        from MedCLIPSAMPanel.parameters import MachineSettings
        from MedCLIPSAMPanel.promptSection import PromptSection
        from MedCLIPSAMPanel.resultSection import ResultSection
        from MedCLIPSAMPanel.reviewSection import ReviewSection
        from MedCLIPSAMPanel.settingsSection import SettingsSection
        from MedCLIPSAMPanel.trainSection import TrainSection

        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/MedCLIPSAM.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.machine = MachineSettings()
        self.bindings = Bindings(lambda: self.parameters)
        self.models = ModelsSection(self)
        self.logic = MedCLIPSAMLogic(self.models.command)
        self.logic.history = EditorHistory(self.ui.segmentEditor)
        self.logic.onProgress = lambda fraction, stage: self.prompts.progress(fraction, stage)
        self.inputs, self.prompts, self.results = InputSection(self), PromptSection(self), ResultSection(self)
        self.corrections, self.settings = CorrectSection(self), SettingsSection(self)
        self.training, self.exports = TrainSection(self), ExportSection(self)
        self.review = ReviewSection(self)
        self.installation = InstallationSection(self)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndClose)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Before the module is removed or Slicer ends."""
        self.logic.close()
        self.models.close()
        self.removeObservers()

    def enter(self) -> None:
        """The module is shown."""
        self.initializeParameterNode()
        self.corrections.enter()

    def exit(self) -> None:
        """Another module is shown."""
        self.corrections.exit()

    def onSceneStartClose(self, _caller, _event) -> None:
        """The run ends, and what the user chose is kept for the next scene."""
        from MedCLIPSAMPanel.parameters import CHOICES

        if self.parameters is not None:
            self._choices = {name: getattr(self.parameters, name) for name in CHOICES}
        self.logic.sceneClosing()
        self.corrections.forget()
        self.review.forget()
        self._setParameterNode(None)

    def onSceneEndClose(self, _caller, _event) -> None:
        """A new scene has begun, or one was loaded."""
        from MedCLIPSAMPanel.correctSection import EditorHistory

        self.logic.history = EditorHistory(self.ui.segmentEditor)
        self.ui.resultLabel.text = _("No result yet.")
        self.ui.statusLabel.text = ""
        self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Take up the scene's parameter node, or make one; a first volume of the scene is chosen."""
        from MedCLIPSAMPanel.parameters import MedCLIPSAMParameters

        node = self.logic.getParameterNode()
        fresh = not node.GetParameterNamesAsCommaSeparatedList()
        parameters = MedCLIPSAMParameters(node)
        if fresh:
            for name, value in self._choices.items():
                setattr(parameters, name, value)
        if parameters.inputVolume is None:
            volumes = [each for each in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if each.GetSelectable()]
            volumes = [each for each in volumes if not each.IsA("vtkMRMLLabelMapVolumeNode")]
            parameters.inputVolume = volumes[0] if volumes else None
        self._setParameterNode(parameters)
        self.corrections.sceneOpened()
        self.update()

    def _setParameterNode(self, parameters) -> None:
        modified = vtk.vtkCommand.ModifiedEvent
        if self.parameters is not None:
            self.removeObserver(self.parameters.parameterNode, modified, self.onParametersModified)
        self.parameters = parameters
        if parameters is not None:
            self.addObserver(parameters.parameterNode, modified, self.onParametersModified)

    def onParametersModified(self, _caller=None, _event=None) -> None:
        """The parameter node has changed."""
        self.update()

    def update(self) -> None:
        """Show the parameters and the state of the work in every section."""
        if self.parameters is None:
            return
        self.bindings.update()
        sections = (self.inputs, self.prompts, self.results, self.corrections, self.settings, self.models)
        for section in (*sections, self.exports, self.training, self.review):
            section.update()

    @property
    def busy(self) -> bool:
        """Whether a run is not finished."""
        return self.logic.job is not None

    def run(self, start: Callable, show: Callable) -> bool:
        """Start a run of the logic and show how it goes.

        Args:
            start: takes `finished(result, error)` and starts the run.
            show: called with its result.

        Returns:
            Whether it was started; else the reason is shown.
        """

        def finished(result, error) -> None:
            if error is None:
                self.prompts.end("")
                show(result)
            else:
                self.prompts.end(
                    _("Cancelled; the scene is as it was.") if isinstance(error, Cancelled) else str(error)
                )
            self.update()

        self.logic.models = self.models.models()
        try:
            start(finished)
        except MedCLIPSAMError as error:
            self.prompts.end(str(error))
            return False
        if self.busy:
            self.prompts.begin()
        self.update()
        return True

    def attempt(self, action: Callable[[], None]) -> None:
        """Do something that may be refused, and show why."""
        try:
            action()
        except MedCLIPSAMError as error:
            self.ui.statusLabel.text = str(error)


class MedCLIPSAMLogic(ScriptedLoadableModuleLogic, SceneLogic):
    """The logic: see `MedCLIPSAMScene.sceneLogic.SceneLogic`, on a worker that Slicer's event loop listens to.

    Args:
        command: gives the worker's program and arguments; that of this machine when None.
    """

    def __init__(self, command: Callable[[], list[str]] | None = None) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        SceneLogic.__init__(self, QProcessTransport(command or workerCommand))
        self.training = TrainLogic(QProcessTransport(command or workerCommand))
        self.export = ExportLogic(QProcessTransport(command or workerCommand))
        self.review = ReviewLogic()

    def fineTune(self, captions: str, name: str, **more) -> TrainingResult:
        """Fine-tune a text-image model on captions and wait for it; see `TrainLogic.fineTune`."""
        return self.training.fineTune(captions, name, **more)

    def exportPseudoLabels(self, inputs: str, prompts, out: str, **more) -> ExportResult:
        """Segment a whole collection, write a dataset and wait for it; see `ExportLogic.exportPseudoLabels`."""
        return self.export.exportPseudoLabels(inputs, prompts, out, **{"models": self.models, **more})

    def close(self) -> None:
        """End the workers, and wait for their end."""
        SceneLogic.close(self)
        for run in (self.training, self.export):
            run.close()
            run.transport.close()
        self.transport.close()


class MedCLIPSAMTest(ScriptedLoadableModuleTest):
    """The self-test of the module: the demo models on the shipped pictures ("Reload and Test", and ctest)."""

    TIMEOUT = 300

    def setUp(self) -> None:
        """Begin with an empty scene and the demo models on the CPU."""
        slicer.mrmlScene.Clear(0)
        self.logic = MedCLIPSAMLogic()
        self.logic.models = ("demo", "demo", "cpu", None)

    def tearDown(self) -> None:
        """End the worker."""
        self.logic.close()

    def runTest(self) -> None:
        """Run every case."""
        for name in sorted(each for each in dir(self) if each.startswith("test_")):
            self.setUp()
            try:
                getattr(self, name)()
            finally:
                self.tearDown()
            self.delayDisplay(f"{name}: passed", 50)

    def test_everySampleIsSegmented(self) -> None:
        """Each sample with its prompt: the segment agrees with the shipped truth."""
        from MedCLIPSAMScene.samples import SAMPLES, loadSample

        for sample, (file, _name, prompt) in SAMPLES.items():
            volume = loadSample(sample)
            result = self.logic.segment(volume, [prompt], timeout=self.TIMEOUT)
            self.assertTrue(result.found, f"{file}: {result.text()}")
            mask = slicer.util.arrayFromSegmentBinaryLabelmap(result.segmentation, result.prompts[0].segmentId, volume)
            truth = _truth(file).reshape(mask.shape)
            dsc = 2 * (truth & (mask > 0)).sum() / (truth.sum() + (mask > 0).sum())
            self.assertGreater(dsc, 0.5, file)
            self.assertTrue(self.logic.undo(result.segmentation))
            self.assertEqual(result.segmentation.GetSegmentation().GetNumberOfSegments(), 0)

    def test_nothingIsFoundWhereNothingIs(self) -> None:
        """A prompt that has nothing to do with the picture is answered with nothing."""
        from MedCLIPSAMScene.samples import loadSample

        result = self.logic.segment(loadSample("MedCLIPSAMChestXray"), ["brain tumor"], timeout=self.TIMEOUT)
        self.assertFalse(result.found)
        self.assertIsNone(result.segmentation)

    def test_aMaskIsRefinedFromAPoint(self) -> None:
        """A point inside the lesion outlines it; undo takes it back."""
        import numpy as np
        from MedCLIPSAMScene import segments
        from MedCLIPSAMScene.samples import loadSample
        from MedCLIPSAMScene.sliceGeometry import SceneSlices

        volume = loadSample("MedCLIPSAMBreastUS")
        segmentation = segments.newSegmentation(volume)
        segment = self.logic.addSegment(segmentation, "lesion")
        truth = _truth("breast_us.png")
        row, column = np.argwhere(truth).mean(0)
        inside = SceneSlices(volume).toWorld(0, column + 0.5, row + 0.5)
        result = self.logic.refine(segmentation, segment, volume, 0, points=[inside], labels=[1], timeout=self.TIMEOUT)
        self.assertTrue(result.found)
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment, volume)[0] > 0
        self.assertGreater(2 * (truth & mask).sum() / (truth.sum() + mask.sum()), 0.5)
        self.logic.undo(segmentation)
        self.assertFalse(segments.readSlice(segmentation, segment, SceneSlices(volume), 0).any())


def _truth(file: str):
    """The shipped truth of a sample, bool; its slices are as those of the sample."""
    import SimpleITK as sitk

    from MedCLIPSAMLib.resources import resource_path

    suffix = ".png" if file.endswith(".png") else ".nii.gz"
    path = resource_path(f"samples/{Path(file).name.split('.')[0]}_truth{suffix}")
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path))) > 0
