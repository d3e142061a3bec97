"""The panel on the stand-in of Slicer's desktop, in a pytest process of its own."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["QT_QPA_PLATFORM"] = "offscreen"
pytest.importorskip("PySide6.QtWidgets", reason="PySide6 or a library of Qt is not installed", exc_type=ImportError)
pytest.importorskip("slicer", reason="slicer-core is not installed")

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "MedCLIPSAM")]

import standin  # noqa: E402

# PySide6 lets go of None more often than it takes hold of it; before Python 3.12, where None is not immortal, a long
# run ends in an abort of the interpreter. References that nobody counts keep it alive.
if sys.version_info < (3, 12):
    ctypes.c_ssize_t.from_address(id(None)).value += 1_000_000_000

standin.install()


@pytest.fixture(autouse=True)
def nothing_goes_wrong_unseen() -> Iterator[None]:
    """An exception in a slot or an observer fails the test in which it was raised; dialogs are forgotten after it."""
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


@pytest.fixture(scope="session")
def widget() -> Iterator[object]:
    """The module's panel with its real worker, warm through the session."""
    import MedCLIPSAM

    made = MedCLIPSAM.MedCLIPSAMWidget(standin.parent())
    made.setup()
    made.enter()
    yield made
    made.exit()
    made.cleanup()


def choose_defaults(parameters: object) -> None:
    """Set what the user chose back to what a new panel shows."""
    from MedCLIPSAMPanel import parameters as choices

    defaults = {
        "extent": choices.Extent.SLICE,
        "view": "Red",
        "plane": choices.Plane.AXIAL,
        "strategy": choices.Strategy.MEMORY,
        "prompts": "",
        "negative": "",
        "reach": 0,
        "clip": "demo",
        "sam": "demo",
        "method": choices.MethodSettings(),
        "export": choices.ExportSettings(),
        "review": choices.ReviewSettings(),
        "fineTune": choices.FineTuneSettings(),
    }
    for name, value in defaults.items():
        setattr(parameters, name, value)


@pytest.fixture
def panel(scene: object, widget: object) -> Iterator[object]:
    """The panel on the empty scene, with its defaults."""
    import slicer

    choose_defaults(widget.parameters)
    widget.machine.set("Device", "cpu")
    standin.messages.clear()
    yield widget
    widget.logic.cancel()
    slicer.mrmlScene.Clear(0)
