"""MedCLIPSAM in 3D Slicer: a prompt becomes a segmentation in the scene.

The module, its panel, its logic and its self-test. The sections of the panel are in MedCLIPSAMPanel, what is done to
the scene in MedCLIPSAMScene, and the method in MedCLIPSAMLib, which knows nothing of Slicer.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

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
if str(_HERE) not in sys.path:
    sys.path.insert(0, str(_HERE))


def _loadEngine() -> None:
    """Make MedCLIPSAMLib importable in a source checkout, where it lies beside the module's folder.

    The package is loaded from its place. The checkout's folder is not put on sys.path, where other folders of it would
    become modules, too.
    """
    package = _HERE.parent / "MedCLIPSAMLib"
    if importlib.util.find_spec("MedCLIPSAMLib") is None:
        spec = importlib.util.spec_from_file_location(
            "MedCLIPSAMLib", package / "__init__.py", submodule_search_locations=[str(package)]
        )
        if spec is None or spec.loader is None:
            raise ImportError(f"'{package}' holds no Python package.")
        sys.modules["MedCLIPSAMLib"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["MedCLIPSAMLib"])


_loadEngine()

from MedCLIPSAMScene.exportOperation import ExportResult  # noqa: E402
from MedCLIPSAMScene.fineTuneOperation import FineTuneResult  # noqa: E402
from MedCLIPSAMScene.operations import Operations  # noqa: E402
from MedCLIPSAMScene.results import SceneResult  # noqa: E402
from MedCLIPSAMScene.sliceGeometry import SceneSlices  # noqa: E402
from MedCLIPSAMScene.strings import _, translate  # noqa: E402
from MedCLIPSAMScene.transport import QProcessTransport, WorkerCommand, workerCommand  # noqa: E402

from MedCLIPSAMLib.errors import Cancelled, MedCLIPSAMError  # noqa: E402

if TYPE_CHECKING:
    from MedCLIPSAMPanel.parameters import MedCLIPSAMParameters


class MedCLIPSAM(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "MedCLIPSAM"
        # Translated where Slicer's own modules have it, so that the module joins their category in every language.
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "SegmentEditor", "Markups"]
        parent.contributors = ["MedCLIPSAM contributors"]
        parent.helpText = _(
            "Type what to segment, such as 'brain tumor', and press Segment. BiomedCLIP finds where the image "
            "answers to the words (M2IB saliency), SAM 2 outlines it, and the result is a segment to be corrected with "
            "points, boxes and the Segment Editor. For research only, not for diagnosis."
        )
        parent.acknowledgementText = _(
            "The method is that of MedCLIP-SAMv2 (Koleilat, Asgariandehkordi, Rivaz, Xiao; arXiv 2409.19483)."
        )
        slicer.app.connect("startupCompleted()", _registerSamples)
        slicer.app.connect("startupCompleted()", _registerEffect)


def _registerSamples() -> None:
    from MedCLIPSAMScene.samples import registerSampleData

    registerSampleData()


def _registerEffect() -> None:
    """Offer the text prompt in the Segment Editor; where that fails the application starts without it."""
    try:
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        effect = effects.qSlicerSegmentEditorScriptedEffect(None)
        effect.setPythonSource((_HERE / "MedCLIPSAMEffects" / "SegmentEditorTextPromptEffect.py").as_posix())
        effect.self().register()
    except Exception:
        logging.exception("MedCLIPSAM: the Segment Editor gets no text prompt")


class MedCLIPSAMWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. It reads and writes the parameter node and calls the logic; its sections do the rest.

    Attributes:
        operations, session: those of the logic; see `MedCLIPSAMScene.operations`.
        parameters: the typed parameter node of the scene; None while a scene is closed.
    """

    def __init__(self, parent=None) -> None:
        # What Slicer's base class may use already: it calls setup() itself where no parent is given.
        self.parameters: MedCLIPSAMParameters | None = None
        self._wrapper: MedCLIPSAMParameters | None = None
        self._storedChoices: dict[str, str] = {}
        VTKObservationMixin.__init__(self)
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self) -> None:
        """Build the panel."""
        from MedCLIPSAMPanel.correctSection import CorrectSection
        from MedCLIPSAMPanel.exportSection import ExportSection
        from MedCLIPSAMPanel.fineTuneSection import FineTuneSection
        from MedCLIPSAMPanel.guiConnection import GuiConnection
        from MedCLIPSAMPanel.inputSection import InputSection
        from MedCLIPSAMPanel.installationSection import InstallationSection
        from MedCLIPSAMPanel.modelsSection import ModelsSection
        from MedCLIPSAMPanel.promptSection import PromptSection
        from MedCLIPSAMPanel.resultSection import ResultSection
        from MedCLIPSAMPanel.reviewSection import ReviewSection
        from MedCLIPSAMPanel.settingsSection import SettingsSection
        from MedCLIPSAMScene.machineSettings import MachineSettings

        ScriptedLoadableModuleWidget.setup(self)
        panel = self.content = slicer.util.loadUI(self.resourcePath("UI/MedCLIPSAM.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.machine = MachineSettings()
        self.models = ModelsSection(self)
        self.logic = MedCLIPSAMLogic(self.models.command)
        self.operations, self.session = self.logic.operations, self.logic.operations.session
        self._beginHistory()
        self.inputs, self.prompts, self.results = InputSection(self), PromptSection(self), ResultSection(self)
        self.corrections, self.settings = CorrectSection(self), SettingsSection(self)
        self.fineTune, self.export, self.review = FineTuneSection(self), ExportSection(self), ReviewSection(self)
        self.installation = InstallationSection(self)
        self.gui = GuiConnection(self.ui)
        self.session.onStateChanged = self.update
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self.onNodeAboutToBeRemoved)
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        self.addObserver(scene, scene.EndBatchProcessEvent, self.onSceneEndBatchProcess)
        self.initializeParameterNode()
        # Reload builds a second panel while the module is shown, and does not enter it.
        if getattr(self.parent, "isEntered", False):
            self.enter()

    def cleanup(self) -> None:
        """Leave nothing behind before the module is reloaded, removed, or Slicer ends."""
        self.session.onStateChanged = lambda: None
        self.corrections.close()
        self._setParameters(None)
        self.gui.connect(None)
        self.removeObservers()
        self.inputs.close()
        self.prompts.status.close()
        self.logic.close()
        self.models.close()
        self.content.deleteLater()

    def onReload(self) -> None:
        """Reload the module with the packages of its panel and its logic, which Slicer would take as they were."""
        for name in list(sys.modules):
            if name.split(".")[0] in ("MedCLIPSAMPanel", "MedCLIPSAMScene", "MedCLIPSAMEffects"):
                del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def enter(self) -> None:
        """Take up the scene when the module is shown."""
        self.initializeParameterNode()
        self.corrections.enter()
        self.ui.promptEdit.setFocus()

    def exit(self) -> None:
        """Leave keyboard, mouse and views to the module that is shown next."""
        self.corrections.exit()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAboutToBeRemoved(self, _caller, _event, node) -> None:
        """Choose nothing in place of a node that is removed; the selectors would choose its neighbor."""
        if self.parameters is None or slicer.mrmlScene.IsClosing():
            return
        for name in ("inputVolume", "segmentation"):
            if getattr(self.parameters, name) is node:
                setattr(self.parameters, name, None)

    def onSceneStartClose(self, _caller, _event) -> None:
        """End the run, and keep what the user chose for the next scene."""
        from MedCLIPSAMPanel.parameters import OF_ONE_SCENE

        if self.parameters is not None:
            node = self.parameters.parameterNode
            names = set(node.GetParameterNames()) - set(OF_ONE_SCENE)
            self._storedChoices = {name: node.GetParameter(name) for name in names}
        self.session.forgetScene()
        self.corrections.forget()
        self.review.forget()
        self._setParameters(None)

    def onSceneEndClose(self, _caller, _event) -> None:
        """Begin with an empty scene and the choices of the one before."""
        node = self.logic.getParameterNode()
        for name, value in self._storedChoices.items():
            node.SetParameter(name, value)
        self._beginScene()

    def onSceneEndImport(self, _caller, _event) -> None:
        """Take up a scene that was loaded."""
        self._beginScene()

    def onSceneEndBatchProcess(self, _caller, _event) -> None:
        """Let the editor show the segmentation again that it may have let go of while a scene was loaded."""
        if self.parameters is not None and not slicer.mrmlScene.IsClosing():
            self.update()

    def _beginHistory(self) -> None:
        from MedCLIPSAMPanel.editorHistory import EditorHistory

        volumeShown = lambda: self.parameters.inputVolume if self.parameters is not None else None
        self.session.history = EditorHistory(self.ui.segmentEditor, volumeShown)

    def _beginScene(self) -> None:
        self._beginHistory()
        self.ui.resultLabel.text = _("No result yet.")
        self.prompts.beginScene()
        self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Take up the scene's parameter node, or make one; choose a first volume of the scene."""
        from MedCLIPSAMPanel.parameters import MedCLIPSAMParameters

        node = self.logic.getParameterNode()
        if self._wrapper is None or self._wrapper.parameterNode is not node:
            # One wrapper a node: the observers that connect it to widgets live as long as the node.
            self._wrapper = MedCLIPSAMParameters(node)
            self.gui.connect(self._wrapper)
        self._setParameters(self._wrapper)
        if self._wrapper.inputVolume is None:
            self._wrapper.inputVolume = self._volumeToBeginWith()
        self.corrections.sceneOpened()
        self.update()

    def _volumeToBeginWith(self):
        """Return the volume that a view shows, else the first of the scene, or None."""
        volumes = [
            node
            for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            if not node.GetHideFromEditors() and not node.IsA("vtkMRMLLabelMapVolumeNode")
        ]
        composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        shown = {composite.GetBackgroundVolumeID() for composite in composites}
        return next((node for node in volumes if node.GetID() in shown), next(iter(volumes), None))

    def _setParameters(self, parameters) -> None:
        modified = vtk.vtkCommand.ModifiedEvent
        if self.parameters is not None:
            self.removeObserver(self.parameters.parameterNode, modified, self.onParametersModified)
        self.parameters = parameters
        if parameters is not None:
            self.addObserver(parameters.parameterNode, modified, self.onParametersModified)

    def onParametersModified(self, _caller=None, _event=None) -> None:
        """Show the parameter node that has changed."""
        self.update()

    def update(self) -> None:
        """Show the parameters and the state of the work in every section."""
        if self.parameters is None:
            return
        # First the corrections: they give the editor its segmentation, and the others ask for the segment chosen in it.
        sections = (self.corrections, self.inputs, self.prompts, self.results, self.settings, self.models)
        for section in (*sections, self.export, self.fineTune, self.review):
            section.update()

    @property
    def busy(self) -> bool:
        """Whether a run is not finished."""
        return self.session.job is not None

    def whyBusy(self) -> str:
        """Return that a run is not finished; empty when none is running."""
        return _("A run is not finished.") if self.busy else ""

    def run(self, start: Callable, show: Callable, status=None) -> bool:
        """Start a run with the chosen models and show how it goes.

        Args:
            start: takes `finished(result, error)` and `progressed(fraction, stage)` and starts the run.
            show: called with its result.
            status: a `RunStatus`, where it is shown how the run goes; the panel's own when None.

        Returns:
            Whether it was started; else the reason is shown.
        """
        status = status or self.prompts.status

        def finished(result, error) -> None:
            if error is None:
                status.end("")
                show(result)
            else:
                cancelled = isinstance(error, Cancelled)
                status.end(_("Cancelled; the scene is as it was.") if cancelled else self.models.explain(error))

        self.session.models = self.models.models()
        try:
            start(finished, status.progress)
        except MedCLIPSAMError as error:
            status.end(str(error))
            self.say(str(error))
            return False
        self.ui.correctStatusLabel.text = ""
        if self.busy:
            status.begin()
        self.update()
        return True

    def attempt(self, action: Callable[[], None]) -> None:
        """Do something that may be refused, and show why."""
        try:
            action()
        except MedCLIPSAMError as error:
            self.say(str(error))

    def say(self, text: str) -> None:
        """Tell the user something, beside the buttons of both the prompt and the corrections."""
        self.ui.statusLabel.text = self.ui.correctStatusLabel.text = text


class MedCLIPSAMLogic(ScriptedLoadableModuleLogic):
    """What scripts use. Each method waits for its result while Slicer's events run.

    Args:
        command: gives the worker's command; that of this machine when None.

    Attributes:
        operations: the same without waiting, by their `start` methods; see `MedCLIPSAMScene.operations`.
    """

    def __init__(self, command: Callable[[], WorkerCommand] | None = None) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.operations = Operations(lambda: QProcessTransport(command or workerCommand))

    @property
    def models(self) -> tuple[str, str, str, str | None]:
        """(text and image, outline, device, folder of models or None) for the next run."""
        return self.operations.session.models

    @models.setter
    def models(self, models: tuple[str, str, str, str | None]) -> None:
        self.operations.session.models = models

    def segment(self, volumeNode, prompts: list[str], segmentationNode=None, **options) -> SceneResult:
        """Segment what prompts name on slices of a volume; see `SegmentOperation.start` for the options."""
        return self.operations.segment.run(volumeNode, prompts, segmentationNode, **options)

    def segmentVolume(self, volumeNode, prompts: list[str], segmentationNode=None, **options) -> SceneResult:
        """Segment every slice of a volume on its own; see `segment`."""
        slices = range(len(SceneSlices(volumeNode, options.get("plane", "axial"))))
        return self.segment(volumeNode, prompts, segmentationNode, slices=slices, **options)

    def propagate(self, volumeNode, prompts: list[str], segmentationNode=None, **options) -> SceneResult:
        """Segment a volume from key slices on; see `PropagateOperation.start` for the options."""
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
        """Take back the last change of a segmentation; return False when there is none."""
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


class MedCLIPSAMTest(ScriptedLoadableModuleTest):
    """The self-test of the module: the demo models on the shipped images ("Reload and Test", and ctest)."""

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
        for name in sorted(name for name in dir(self) if name.startswith("test_")):
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
        """A prompt that has nothing to do with the image is answered with nothing."""
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
