"""Slicer's own slice views, drawn without a screen next to the panel on the stand-in, in a separate pytest process."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

for name in ("MEDCLIPSAM_MODEL", "MEDCLIPSAM_SAM"):  # small and fast, in processes of the tests too
    os.environ.setdefault(name, "demo")

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import offscreen  # noqa: E402

offscreen.choose()

# The stand-in is set up as for the tests of the panel, which have the fixtures; the conftest there is not a package.
_spec = importlib.util.spec_from_file_location("panel_fixtures", HERE.parent / "Panel" / "conftest.py")
_panel = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_panel)
nothing_goes_wrong_unseen, scene, widget, panel = (
    getattr(_panel, name) for name in ("nothing_goes_wrong_unseen", "scene", "widget", "panel")
)


@pytest.fixture(scope="session")
def red() -> Iterator[object]:
    """The Red view for the whole session; its managers follow the scene, as in Slicer."""
    from sliceview import SliceView

    if reason := offscreen.missing():
        pytest.skip(reason)
    return SliceView("Red")


@pytest.fixture
def view(scene: object, red: object) -> object:
    """The Red view on the empty scene."""
    return red


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Save the image of the view at the end of each test in test-output/views."""
    try:
        return (yield)
    finally:
        if "view" in item.funcargs:
            from sliceview import SCREENSHOTS

            name = "".join(character if character.isalnum() else "_" for character in item.name)
            item.funcargs["view"].save(SCREENSHOTS / f"{name}.png")
