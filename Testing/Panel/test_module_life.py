"""The module is made, reloaded, and used without a main window, as by Slicer."""

from __future__ import annotations

import ast
import gc
import importlib.util
import json
import os
import re
import subprocess
import sys
import unittest
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import slicer
import slicer.util
import standin
from helpers.predictions import predicted
from parts import shown_volume
from PySide6 import QtGui

from MedCLIPSAMLib.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "MedCLIPSAM" / "MedCLIPSAM.py"


def shortcuts(keys: str) -> int:
    """Return the number of shortcuts in the main window; two with the same keys would do nothing."""
    found = standin.unwrap(slicer.util.mainWindow()).findChildren(QtGui.QShortcut)
    return sum(shortcut.key() == QtGui.QKeySequence(keys) for shortcut in found)


def test_an_older_slicer_is_told_what_is_needed(monkeypatch) -> None:
    """Slicer 5.8 has Python 3.9, which must be able to read the file."""
    source = MODULE.read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 9))
    compiled = compile(source, str(MODULE), "exec")
    monkeypatch.setattr(sys, "version_info", (3, 9, 10, "final", 0))
    with pytest.raises(ImportError, match=r"needs Slicer 5\.10 or later; this is .* with Python 3\.9"):
        exec(compiled, {"__name__": "MedCLIPSAM", "__file__": str(MODULE)})


def test_the_help_leads_to_the_documentation(fresh) -> None:
    (address,) = re.findall(r'href="([^"]+)"', fresh.helpText)
    home, _, page = address.partition("/blob/main/")
    assert f"homepage {home}\n" in (ROOT / "MedCLIPSAM.s4ext").read_text() and (ROOT / page).is_file()


OPTIONS = """
import qt
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect


class SegmentEditorNamesakeEffect(AbstractScriptedSegmentEditorEffect):
    def __init__(self, scriptedEffect):
        scriptedEffect.name = "Namesake"
        AbstractScriptedSegmentEditorEffect.__init__(self, scriptedEffect)

    def clone(self):
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        made = effects.qSlicerSegmentEditorScriptedEffect(None)
        made.setPythonSource(__file__)
        return made

    def setupOptionsFrame(self):
        for name in ("coarseBox", "installButton"):
            widget = qt.QComboBox()
            widget.objectName = name
            widget.setProperty("SlicerParameterName", "method.coarse")
            self.scriptedEffect.addOptionsWidget(widget)
"""


def test_options_of_an_effect_may_have_the_names_of_the_panels_widgets(fresh, tmp_path) -> None:
    import qSlicerSegmentationsEditorEffectsPythonQt as effects

    path = tmp_path / "SegmentEditorNamesakeLib" / "SegmentEditorNamesakeEffect.py"
    path.parent.mkdir()
    path.write_text(OPTIONS)
    effect = effects.qSlicerSegmentEditorScriptedEffect(None)
    assert effect.setPythonSource(str(path))
    effect.self().register()
    made = fresh.widgetRepresentation().self()
    try:
        assert made.ui.segmentEditor.effectByName("Namesake") is not None
        assert "Install" in made.ui.installButton.text and made.ui.coarseBox.count == 3
        made.ui.coarseBox.setCurrentIndex(1)
        assert made.parameters.method.coarse == "kmeans"
    finally:
        made.cleanup()
        standin.unwrap(slicer.qSlicerSegmentEditorEffectFactory.instance()).forget("Namesake")


@pytest.fixture
def pip(monkeypatch):
    """Two packages are missing; `then` is what the user does while pip runs, which lets Slicer handle events."""
    from MedCLIPSAMScene import dependencies

    made = SimpleNamespace(calls=0, then=lambda: None, missing=dependencies.check()[:2])

    def install(progress) -> None:
        made.calls += 1
        progress("first package")
        made.then()
        progress("second package")
        made.missing = []

    monkeypatch.setattr(dependencies, "missing", lambda: made.missing)
    monkeypatch.setattr(dependencies, "install", install)
    return made


def test_nothing_else_is_started_while_packages_are_installed(panel, pip) -> None:
    ui = panel.ui
    ui.inputVolumeSelector.setCurrentNode(shown_volume())
    ui.promptEdit.setPlainText("brain tumor")
    ui.checkButton.click()
    assert ui.installButton.enabled and ui.segmentButton.enabled and ui.segmentBoxesButton.enabled
    seen = []

    def then() -> None:
        for button in (ui.installButton, ui.segmentButton, ui.checkButton, ui.installButton):
            button.click()
        seen.append([button.enabled for button in (ui.installButton, ui.segmentButton, ui.segmentBoxesButton)])
        seen.append(ui.installButton.toolTip)

    pip.then = then
    ui.installButton.click()
    assert seen == [[False, False, False], "Packages are being installed."] and pip.calls == 1 and not panel.busy
    assert not ui.installButton.enabled and ui.segmentButton.enabled, "all is there"


def test_scripts_and_long_runs_are_refused_while_packages_are_installed(panel, pip, tmp_path) -> None:
    """A point and the effect of the Segment Editor start a run as a script does."""
    ui, volume, operations = panel.ui, shown_volume(), panel.operations
    ui.inputVolumeSelector.setCurrentNode(volume)
    ui.promptEdit.setPlainText("brain tumor")
    ui.exportInputsEdit.currentPath, ui.exportOutEdit.currentPath = str(tmp_path), str(tmp_path / "made")
    ui.fineTuneCaptionsEdit.currentPath, ui.fineTuneNameEdit.text = str(tmp_path / "captions.csv"), "mine"
    ui.checkButton.click()
    runs = (
        lambda: operations.segment.start(volume, ["brain tumor"]),
        lambda: operations.export.start(str(tmp_path), ["tumor"], str(tmp_path / "made")),
        lambda: operations.fineTune.start("captions.csv", "mine"),
    )
    refused, enabled = [], []

    def then() -> None:
        for run in runs:
            with pytest.raises(InputError, match="Packages are being installed"):
                run()
            refused.append(run)
        enabled.extend((ui.exportButton.enabled, ui.fineTuneButton.enabled))

    pip.then = then
    ui.installButton.click()
    assert refused == list(runs) and enabled == [False] * 2 and not panel.busy
    assert ui.exportButton.enabled and ui.fineTuneButton.enabled


def test_an_installation_that_fails_can_be_tried_again(panel, pip) -> None:
    from MedCLIPSAMScene.dependencies import InstallationError

    def fail() -> None:
        raise InstallationError("No network.")

    pip.then = fail
    panel.ui.checkButton.click()
    panel.ui.installButton.click()
    assert ("error", "No network.") in standin.messages and panel.ui.installButton.enabled
    pip.then = lambda: None
    panel.ui.installButton.click()
    assert pip.calls == 2


def test_a_panel_that_is_removed_while_packages_are_installed_is_left_alone(fresh, pip) -> None:
    made = fresh.widgetRepresentation().self()
    seen = made.ui.reportEdit
    pip.then = made.cleanup
    made.ui.installButton.click()
    assert pip.calls == 1 and seen.plainText == "first package"


TEMPLATE = "Base/QTCore/Testing/Python/qSlicerModuleGenericTest.py.in"


@pytest.mark.skipif(
    not Path(os.environ.get("SLICER_SOURCE", ""), TEMPLATE).is_file(), reason=f"no {TEMPLATE} in SLICER_SOURCE"
)
def test_slicers_own_generic_test_passes(fresh, tmp_path) -> None:
    text = Path(os.environ["SLICER_SOURCE"], TEMPLATE).read_text(encoding="utf-8")
    name = "qSlicerMedCLIPSAMModuleGenericTest"
    path = tmp_path / f"{name}.py"
    path.write_text(text.replace("@MODULENAME@", "MedCLIPSAM").replace("@MODULENAME_LC@", "medclipsam"))
    spec = importlib.util.spec_from_file_location(name, path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    with standin.without_main_window():
        result = unittest.TestResult()
        try:
            unittest.defaultTestLoader.loadTestsFromModule(made).run(result)
        finally:
            if getattr(slicer.modules, "MedCLIPSAMWidget", None) is fresh.widgetRepresentation().self():
                fresh.widgetRepresentation().self().cleanup()
        assert result.testsRun > 8 and not result.errors and not result.failures, (result.errors, result.failures)


def test_the_panel_is_made_without_a_main_window(fresh) -> None:
    """What Slicer's generic test of a module does, which runs with --no-main-window."""
    with standin.without_main_window():
        made = fresh.createNewWidgetRepresentation().self()
        try:
            assert fresh.name == "MedCLIPSAM" and fresh.categories and fresh.contributors and fresh.helpText
            made.enter()
            slicer.mrmlScene.Clear(0)
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "head")
            slicer.util.updateVolumeFromArray(node, np.zeros((4, 12, 16), np.int16))
            made.ui.inputVolumeSelector.setCurrentNode(node)
            made.ui.promptEdit.setPlainText("brain tumor")
            for button in (made.ui.segmentButton, made.ui.addBoxButton, made.ui.segmentBoxesButton):
                button.click()  # there is no view that shows a slice
            standin.check()
            made.exit()
        finally:
            made.cleanup()


def test_a_case_is_reviewed_without_a_main_window(fresh, tmp_path) -> None:
    _dataset, folder, _truths = predicted(tmp_path, 1)
    with standin.without_main_window():
        made = fresh.createNewWidgetRepresentation().self()
        try:
            made.ui.reviewFolderEdit.currentPath = str(folder)
            made.ui.listReviewButton.click()
            made.ui.nextReviewButton.click()
            standin.check()
            assert made.parameters.inputVolume.GetName() == "head0" and made.ui.trustButton.enabled
        finally:
            made.cleanup()


def in_a_fresh_slicer(folder: Path, *options: str) -> dict:
    command = [sys.executable, Path(__file__).with_name("fresh_slicer.py"), folder, *options]
    ran = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def test_the_panel_of_a_fresh_slicer_says_what_to_install(tmp_path) -> None:
    """Slicer brings no nibabel, and of Resources/requirements.txt only what is named in fresh_slicer.py."""
    said = in_a_fresh_slicer(predicted(tmp_path, 1)[1])
    assert said["install"]
    for name in ("nibabel", "torch", "pydantic", "open_clip_torch"):
        assert name in said["warning"].partition("must be installed first")[0]
        assert any(line.split()[:2] == [name, "-"] for line in said["report"].splitlines())
    assert "pydicom" not in said["warning"] and "numpy" not in said["warning"]
    assert said["review"].startswith("NIfTI needs a package that is not installed: nibabel")
    assert "Install" in said["review"]


def test_the_panel_imports_nothing_that_install_does_not_get(tmp_path) -> None:
    said = in_a_fresh_slicer(predicted(tmp_path, 1)[1], "--installed")
    assert not said["install"] and "correct the mask" in said["review"]


def test_keys_are_there_once_after_a_reload(fresh) -> None:
    """Slicer does not call enter() of the new panel, but the panel can tell that it is shown."""
    panel = fresh.widgetRepresentation()
    first = panel.self()
    panel.enter()
    assert shortcuts("Alt+S") == 1 and shortcuts("Z") == 1
    first.onReload()
    second = panel.self()
    try:
        assert second is not first and second.ui.promptEdit is not first.ui.promptEdit
        assert panel.isEntered and shortcuts("Alt+S") == 1
        panel.exit()
        assert shortcuts("Alt+S") == 0 and shortcuts("Z") == 0
        panel.enter()
        assert shortcuts("Alt+S") == 1 and shortcuts("Z") == 1
        head = shown_volume()
        second.ui.inputVolumeSelector.setCurrentNode(head)  # the first panel is not there any more
        standin.check()
        panel.exit()
    finally:
        second.cleanup()


def test_a_reload_takes_up_every_file_of_the_module(fresh) -> None:
    """After a Reload, changes in any file are used; Slicer itself only reads MedCLIPSAM.py again."""
    panel = fresh.widgetRepresentation()
    panel.enter()
    own = lambda: {
        name: module
        for name, module in sys.modules.items()
        if MODULE.parent in Path(getattr(module, "__file__", None) or "").parents
    }
    before = own()
    assert len(before) > 20
    panel.self().onReload()
    try:
        assert [name for name, module in own().items() if module is before.get(name)] == []
        made = sys.modules["MedCLIPSAM"]
        assert type(panel.self()) is made.MedCLIPSAMWidget and type(panel.self().logic) is made.MedCLIPSAMLogic
        assert made.MedCLIPSAM.__module__ == "MedCLIPSAM", "Slicer looks for the self-test in the module of the class"
        panel.exit()
    finally:
        panel.self().cleanup()


def test_a_reload_takes_up_what_connects_widgets(fresh, monkeypatch) -> None:
    """Slicer keeps the connectors that a module registers, and tries the oldest one first."""
    panel = fresh.widgetRepresentation()
    panel.self().onReload()
    try:
        changed = sys.modules["MedCLIPSAMPanel.connectors"].PlainTextConnector
        monkeypatch.setattr(changed, "read", lambda self: "as it is read now")
        panel.self().ui.promptEdit.setPlainText("brain tumor")
        assert panel.self().parameters.prompts == "as it is read now"
    finally:
        panel.self().cleanup()


def test_a_worker_that_has_ended_is_let_go_of(fresh) -> None:
    """The first worker is killed, the second ends by itself, and the third cannot be started."""
    from MedCLIPSAMScene.transport import QProcessTransport, WorkerCommand

    commands = [[sys.executable, "-c", "input()"], [sys.executable, "-c", "print(1)"], ["/nowhere/python"]]
    ended, processes = [], []
    client = SimpleNamespace(feed=len, feed_log=len, ended=ended.append)
    transport = QProcessTransport(lambda: WorkerCommand(commands[len(processes)], {}))
    for _ in commands:
        transport.start(client)
        processes.append(weakref.ref(standin.unwrap(transport._process)))
        if len(processes) == 1:
            transport.stop()
        else:
            standin.pump(lambda: len(ended) == len(processes) - 1, 20)
    transport.close()
    standin.pump(lambda: gc.collect() >= 0 and not any(process() for process in processes), 10)
    assert "exit code 0" in ended[0] and "cannot be started" in ended[1]


def test_a_panel_that_is_reloaded_while_packages_are_installed_offers_no_second_installation(fresh, pip) -> None:
    made = fresh.widgetRepresentation().self()
    seen = []

    def reload() -> None:
        made.onReload()
        new = slicer.modules.MedCLIPSAMWidget
        seen.extend((new, new.ui.installButton.enabled, new.ui.installButton.toolTip))

    pip.then = reload
    made.ui.installButton.click()
    new, *offered = seen
    try:
        assert new is not made and offered == [False, "Packages are being installed."]
        assert new.ui.installButton.toolTip != "Packages are being installed."
    finally:
        new.cleanup()
