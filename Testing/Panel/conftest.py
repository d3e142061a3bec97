"""The panel on the stand-in for Slicer's desktop, in a separate pytest process."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

for name in ("MEDCLIPSAM_MODEL", "MEDCLIPSAM_SAM"):  # small and fast, in processes of the tests too
    os.environ.setdefault(name, "demo")

os.environ["QT_QPA_PLATFORM"] = "offscreen"
pytest.importorskip("PySide6.QtWidgets", reason="PySide6 or a library of Qt is not installed", exc_type=ImportError)
pytest.importorskip("slicer", reason="slicer-core is not installed")

LONG = ["panel_tasks", "workers", "sequences", "long_runs", "module_life", "self_test"]
"""Files of long tests, which run first, so that no process ends long after the other."""
HERE = Path(__file__).resolve().parent
MODULE = HERE.parents[1] / "MedCLIPSAM" / "MedCLIPSAM.py"
sys.path[:0] = [str(HERE), str(MODULE.parent)]

import standin  # noqa: E402

# PySide6 decreases the reference counts of None, True and False more often than it increases them. Before Python 3.12,
# where they are not immortal, a long run would abort the interpreter; extra references keep them alive.
if sys.version_info < (3, 12):
    for shared in (None, True, False):
        ctypes.c_ssize_t.from_address(id(shared)).value += 1_000_000_000

standin.install()
pytest.register_assert_rewrite("effects")

from effects import editor, registered  # noqa: E402, F401  # fixtures


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first."""
    items.sort(key=lambda item: item.path.stem.removeprefix("test_") not in LONG)


@pytest.fixture(autouse=True)
def nothing_goes_wrong_unseen() -> Iterator[None]:
    """Fail a test in which a slot or an observer raises an exception, and forget its dialogs afterwards."""
    yield
    standin.reset()
    standin.check()


@pytest.fixture
def scene() -> Iterator[object]:
    """The scene, empty before and after the test."""
    import slicer

    slicer.mrmlScene.Clear(0)
    yield slicer.mrmlScene
    slicer.mrmlScene.Clear(0)


@pytest.fixture
def ui(scene: object, tmp_path: Path) -> Iterator[object]:
    """The widgets of a small panel in the scene."""
    import parts
    import slicer

    panel = parts.load(tmp_path)
    panel.setMRMLScene(scene)
    yield slicer.util.childWidgetVariables(panel)
    panel.deleteLater()


@pytest.fixture(scope="session")
def widget() -> Iterator[object]:
    """The module's panel with its real worker, which stays warm throughout the session."""
    import slicer

    module = standin.load_module(MODULE)
    module.widgetRepresentation()
    made = slicer.modules.MedCLIPSAMWidget
    made.parent.resize(460, 1400)
    yield made
    slicer.util.selectModule("Welcome")
    made.cleanup()


@pytest.fixture
def panel(scene: object, widget: object) -> Iterator[object]:
    """The panel, shown, on the empty scene and with its defaults."""
    import ctk
    import slicer

    slicer.util.selectModule("MedCLIPSAM")
    for name in widget.parameters.allParameters:
        setattr(widget.parameters, name, widget.parameters.default(name).value)
    widget.machine.set("Device", "cpu")
    widget.machine.set("WorkerCommand", "")
    for edit in vars(widget.ui).values():
        if type(edit) is ctk.ctkPathLineEdit:
            edit.currentPath = ""
    for label in (widget.ui.exportLabel, widget.ui.fineTuneLabel, widget.ui.reviewLabel):
        label.text = ""  # how the last run ended
    widget.update()
    standin.messages.clear()
    yield widget
    widget.ui.cancelButton.click()
    slicer.mrmlScene.Clear(0)


@pytest.fixture
def torch() -> object:
    """PyTorch as one of the packages that the worker needs."""
    from MedCLIPSAMScene import dependencies

    return next(dependency for dependency in dependencies.check() if dependency.name == "torch")


@pytest.fixture
def fresh(scene: object, monkeypatch: pytest.MonkeyPatch) -> object:
    """A separate module that nobody has entered, and the main window without the shared panel's shortcuts."""
    import slicer

    slicer.util.selectModule("Welcome")
    module = slicer.qSlicerScriptedLoadableModule(str(MODULE))
    for name in ("medclipsam", "MedCLIPSAMWidget", "MedCLIPSAMInstance"):
        monkeypatch.setattr(slicer.modules, name, getattr(slicer.modules, name, None), raising=False)
    monkeypatch.setitem(sys.modules, "MedCLIPSAM", sys.modules.get("MedCLIPSAM"))
    if sys.modules["MedCLIPSAM"] is None:
        del sys.modules["MedCLIPSAM"]
    module.load()
    monkeypatch.setattr(slicer.modules, "medclipsam", module)
    return module


@pytest.fixture(scope="session")
def phantom() -> object:
    """A brain MRI with a tumor that is not small."""
    from MedCLIPSAMLib.phantoms.dataset import make_phantom

    made = (make_phantom("validation", index, "MR", 1) for index in range(3, 40))
    return next(item for item in made if item.lesion_mask.sum() > 300)
