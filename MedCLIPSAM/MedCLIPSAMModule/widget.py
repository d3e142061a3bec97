"""The panel that Slicer creates: its sections, the parameter node of the scene, and the runs that sections start."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import slicer
import slicer.util
import vtk
from MedCLIPSAMScene.strings import _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from MedCLIPSAMLib.errors import Cancelled, MedCLIPSAMError

from .logic import MedCLIPSAMLogic

if TYPE_CHECKING:
    from MedCLIPSAMPanel.parameters import MedCLIPSAMParameters

PACKAGES = ("MedCLIPSAMModule", "MedCLIPSAMPanel", "MedCLIPSAMScene", "MedCLIPSAMEffects")
"""The packages next to MedCLIPSAM.py, which Slicer's Reload does not reload."""


class MedCLIPSAMWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. It reads and writes the parameter node and calls the logic; its sections do the rest.

    Attributes:
        operations, session: of the logic; see `MedCLIPSAMScene.operations`.
        parameters: the typed parameter node of the scene; None while a scene is closed.
    """

    def __init__(self, parent=None) -> None:
        # Slicer's base class calls setup(), which uses these, in its constructor if no parent is given.
        self.parameters: MedCLIPSAMParameters | None = None
        self._wrapper: MedCLIPSAMParameters | None = None
        self._storedChoices: dict[str, str] = {}
        self._importedUnseen = False
        VTKObservationMixin.__init__(self)
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self) -> None:
        """Build the panel."""
        from MedCLIPSAMPanel.correctSection import CorrectSection
        from MedCLIPSAMPanel.exitQuestion import ExitQuestion
        from MedCLIPSAMPanel.exportSection import ExportSection
        from MedCLIPSAMPanel.fineTuneSection import FineTuneSection
        from MedCLIPSAMPanel.guiConnection import GuiConnection, namedWidgets
        from MedCLIPSAMPanel.inputSection import InputSection
        from MedCLIPSAMPanel.installationSection import InstallationSection
        from MedCLIPSAMPanel.modelsSection import ModelsSection
        from MedCLIPSAMPanel.paths import MachinePaths
        from MedCLIPSAMPanel.promptSection import PromptSection
        from MedCLIPSAMPanel.resultSection import ResultSection
        from MedCLIPSAMPanel.reviewSection import ReviewSection
        from MedCLIPSAMPanel.settingsSection import SettingsSection
        from MedCLIPSAMScene.machineSettings import MachineSettings

        ScriptedLoadableModuleWidget.setup(self)
        path = self.resourcePath("UI/MedCLIPSAM.ui")
        panel = self.content = slicer.util.loadUI(path)
        self.layout.addWidget(panel)
        self.ui = namedWidgets(panel, path)
        panel.setMRMLScene(slicer.mrmlScene)
        self.machine = MachineSettings()
        self.paths = MachinePaths(self)
        self.models = ModelsSection(self)
        self.logic = MedCLIPSAMLogic(self.models.command)
        self.operations, self.session = self.logic.operations, self.logic.operations.session
        self._beginHistory()
        self.inputs, self.prompts, self.results = InputSection(self), PromptSection(self), ResultSection(self)
        self.corrections, self.settings = CorrectSection(self), SettingsSection(self)
        self.fineTune, self.export, self.review = FineTuneSection(self), ExportSection(self), ReviewSection(self)
        self.installation = InstallationSection(self)
        self.gui = GuiConnection(self.ui)
        self.exitQuestion = ExitQuestion(self.unfinished)
        self.session.onStateChanged = self.update
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self.onNodeAboutToBeRemoved)
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        ended = scene.EndBatchProcessEvent
        self.addObserver(scene, ended, self.onSceneEndBatchProcess, priority=-1.0)  # after the editor's own
        self.initializeParameterNode()
        # Reload builds a second panel while the module is shown, but does not call its enter().
        if self.isShown:
            self.enter()

    def cleanup(self) -> None:
        """Clean up before the module is reloaded or removed, or Slicer ends."""
        self.session.onStateChanged = lambda: None
        self.exitQuestion.close()
        self.corrections.close()
        self.results.close()
        self.parameters = None
        self.gui.connect(None)
        self.removeObservers()
        self.inputs.close()
        self.installation.close()
        self.prompts.status.close()
        self.logic.close()
        self.models.close()
        self.content.deleteLater()

    def onReload(self) -> None:
        """Reload the module together with its packages, which Slicer alone would not reload."""
        for name in list(sys.modules):
            if name.split(".")[0] in PACKAGES:
                del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def enter(self) -> None:
        """Connect to the scene when the module is shown."""
        self.installation.enter()
        if self._importedUnseen:
            self._beginScene()
        else:
            self.initializeParameterNode()
        self.corrections.enter()
        self.ui.promptEdit.setFocus()

    def exit(self) -> None:
        """Release keyboard, mouse and views when another module is shown."""
        self.corrections.exit()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAboutToBeRemoved(self, _caller, _event, node) -> None:
        """Clear the choice of a node that is removed, because the selectors would choose its neighbor instead.

        The maps and markups of a removed volume are removed with it.
        """
        from MedCLIPSAMScene import markups, overlay

        if self.parameters is None or slicer.mrmlScene.IsClosing():
            return
        if node.IsA("vtkMRMLVolumeNode"):
            overlay.removeMaps(node)
            markups.removeMarkups(node)
        for name in ("inputVolume", "segmentation"):
            if getattr(self.parameters, name) is node:
                setattr(self.parameters, name, None)

    def onSceneStartClose(self, _caller, _event) -> None:
        """End the run, and keep the user's choices for the next scene."""
        from MedCLIPSAMPanel.parameters import OF_ONE_SCENE

        if self.parameters is not None:
            node = self.parameters.parameterNode
            names = set(node.GetParameterNames()) - set(OF_ONE_SCENE)
            self._storedChoices = {name: node.GetParameter(name) for name in names}
        self.session.forgetScene()
        self.inputs.forget()
        self.results.close()
        self.corrections.forget()
        self.review.forget()
        self.parameters = None

    def onSceneEndClose(self, _caller, _event) -> None:
        """Begin with an empty scene and the choices made in the previous one."""
        node = self.logic.getParameterNode()
        for name, value in self._storedChoices.items():
            node.SetParameter(name, value)
        self._beginScene()

    def onSceneStartImport(self, _caller, _event) -> None:
        """Keep what is chosen: at the end of an import the selectors rebuild their lists and briefly choose nothing."""
        self._blockSelectors(True)

    def onSceneEndImport(self, _caller, _event) -> None:
        """Connect to a loaded scene now, or the next time the module is shown if another module is shown now."""
        if self.isShown:
            self._beginScene()
        else:
            self._importedUnseen = True

    def onSceneEndBatchProcess(self, _caller, _event) -> None:
        """Show changes made during the batch; the editor may have released its segmentation, too."""
        self._blockSelectors(False)
        if not self._importedUnseen:
            self.update()

    def _blockSelectors(self, blocked: bool) -> None:
        for widget in (self.ui.inputVolumeSelector, self.ui.segmentationSelector, self.ui.segmentEditor):
            widget.blockSignals(blocked)

    def _beginHistory(self) -> None:
        from MedCLIPSAMPanel.editorHistory import EditorHistory

        volumeShown = lambda: self.parameters.inputVolume if self.parameters is not None else None
        self.session.history = EditorHistory(self.ui.segmentEditor, volumeShown)

    def _beginScene(self) -> None:
        self._importedUnseen = False
        self._beginHistory()
        self.prompts.beginScene()
        self.initializeParameterNode()
        self.results.clear()

    def initializeParameterNode(self) -> None:
        """Connect to the scene's parameter node, or make one; choose a volume if none is chosen."""
        from MedCLIPSAMPanel.otherVersions import forgetPaths, takeDefaults
        from MedCLIPSAMPanel.parameters import MedCLIPSAMParameters

        self.parameters = None  # until all is connected, nothing is shown or taken for a choice of the user
        node = self.logic.getParameterNode()
        if self._wrapper is None or self._wrapper.parameterNode is not node:
            forgetPaths(node)
            takeDefaults(node)
            # Among observers of the same priority, VTK calls the first one last. This one must be called after those by
            # which the wrapper reads the node and shows it in the widgets.
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
            # This one must be called before them, because scenes that are loaded later write into the same node.
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self.onValuesModified, priority=1.0)
            # One wrapper per node: the observers that connect it to widgets live as long as the node.
            self._wrapper = MedCLIPSAMParameters(node)
            self.gui.connect(self._wrapper)
        else:
            node.Modified()  # nodes that it refers to may have been loaded after it, and the selectors rebuilt
        self.parameters = self._wrapper
        self.inputs.begin()
        self.corrections.sceneOpened()
        self.update()

    def onValuesModified(self, node, _event) -> None:
        """Replace invalid values from a scene of another version by defaults, and remove paths of earlier versions."""
        from MedCLIPSAMPanel.otherVersions import forgetPaths, takeDefaults

        with slicer.util.NodeModify(node):  # otherwise each change would call this method recursively
            forgetPaths(node)
            takeDefaults(node)

    def onParametersModified(self, _caller=None, _event=None) -> None:
        """Show the parameter node that has changed."""
        self.update()

    def update(self) -> None:
        """Show the parameters and the state of the runs in every section.

        Nothing is done while a scene is loaded: until the end, the parameters refer to nodes of the previous scene.
        """
        scene = slicer.mrmlScene
        if self.parameters is None or scene.IsClosing() or scene.IsBatchProcessing():
            return
        # The corrections come first: they set the editor's segmentation, and the others use the segment chosen in it.
        sections = (self.corrections, self.inputs, self.prompts, self.results, self.settings, self.models)
        for section in (*sections, self.export, self.fineTune, self.review, self.installation):
            section.update()

    @property
    def isShown(self) -> bool:
        """Whether the module is the one that Slicer shows."""
        return bool(getattr(self.parent, "isEntered", False))

    @property
    def busy(self) -> bool:
        """Whether a run is not finished."""
        return self.session.job is not None

    def whyBusy(self) -> str:
        """Return a sentence that says that a run or an installation is not finished; empty if nothing is running."""
        from MedCLIPSAMScene import dependencies

        return _("A run is not finished.") if self.busy else dependencies.whyBusy()

    def unfinished(self) -> list[str]:
        """Return what is not finished, in words such as "an export"."""
        from MedCLIPSAMScene import dependencies

        states = (
            (_("a segmentation"), self.busy),
            (_("an export"), self.operations.export.task.running),
            (_("a fine-tuning"), self.operations.fineTune.task.running),
            (_("a download of a model"), self.models.loading),
            (_("an installation of packages"), bool(dependencies.whyBusy())),
        )
        return [words for words, running in states if running]

    def run(self, start: Callable, show: Callable, status=None) -> bool:
        """Start a run with the chosen models and show how it goes.

        Args:
            start: takes `finished(result, error)` and `progressed(fraction, stage)` and starts the run.
            show: called with its result.
            status: a `RunStatus` that shows the progress; the panel's own if None.

        Returns:
            Whether the run was started. If it was not, the reason is shown.
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
            self.results.clear()
            status.begin()
        self.update()
        return True

    def attempt(self, action: Callable[[], None]) -> None:
        """Call an action, and show the message if it is refused."""
        try:
            action()
        except MedCLIPSAMError as error:
            self.say(str(error))

    def say(self, text: str) -> None:
        """Show a message beside the buttons of both the prompt and the corrections."""
        self.ui.statusLabel.text = self.ui.correctStatusLabel.text = text
