"""A program in a Python like that of a fresh Slicer. It builds the panel, opens a case, and prints the messages.

    python fresh_slicer.py PREDICTIONS [--installed]

Packages that Slicer does not contain cannot be imported, and do not count as installed. With --installed, those that
the Install button installs are there, too, with their dependencies.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUNDLED = (
    *("numpy", "scipy", "simpleitk", "vtk", "pip", "setuptools", "wheel", "packaging", "pyparsing", "six"),
    *("pydicom", "pillow", "retrying", "dicomweb-client", "typing-extensions"),
    *("chardet", "couchdb", "gitdb", "smmap", "gitpython"),
    *("cryptography", "pyjwt", "wrapt", "deprecated", "pycparser", "cffi", "pynacl", "python-dateutil", "pygithub"),
    *("certifi", "idna", "charset-normalizer", "urllib3", "requests"),
)
"""Packages that Slicer 5.10 and 5.12 both contain: SuperBuild/External_python-*.cmake."""
STAND_IN = ("pyside6", "pyside6-essentials", "pyside6-addons", "shiboken6", "slicer-core")
OWN = ("MedCLIPSAM", "standin", "fresh_slicer", "helpers")


class Fresh:
    """A finder that refuses all packages except those that are there, and hides the metadata of the others."""

    def __init__(self, there: set[str]) -> None:
        self._there = there
        self._of = importlib.metadata.packages_distributions()

    def find_spec(self, name: str, path=None, target=None) -> None:
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top.startswith(OWN) or top not in self._of:
            return
        if self._there.isdisjoint(map(_normal, self._of[top])):
            raise ModuleNotFoundError(f"No module named '{top}'", name=top)

    def find_distribution(self, name: str) -> importlib.metadata.Distribution:
        if _normal(name) not in self._there:
            raise importlib.metadata.PackageNotFoundError(name)
        return _distribution(name)


_distribution = importlib.metadata.Distribution.from_name


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _installed() -> set[str]:
    """Return the required packages with their dependencies."""
    lines = (ROOT / "Resources" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    todo, found = ["torch", "torchvision", *(line for line in lines if line and not line.startswith("#"))], set()
    while todo:
        line = todo.pop()
        name = _normal(re.match(r"[\w.-]+", line)[0])
        if name not in found and "extra ==" not in line:
            found.add(name)
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                todo += importlib.metadata.requires(name) or []
    return found


def main(predictions: str, *options: str) -> None:
    fresh = Fresh({*BUNDLED, *STAND_IN} | (_installed() if "--installed" in options else set()))
    sys.meta_path.insert(0, fresh)
    importlib.metadata.Distribution.from_name = fresh.find_distribution
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    sys.path[:0] = [str(ROOT), str(HERE.parent), str(ROOT / "MedCLIPSAM")]
    import standin

    standin.install()
    module = standin.load_module(ROOT / "MedCLIPSAM" / "MedCLIPSAM.py")
    panel = standin.unwrap(module.widgetRepresentation()).self()
    try:
        ui = panel.ui
        said = {"install": ui.installButton.enabled, "warning": ui.warningLabel.text, "report": ui.reportEdit.plainText}
        ui.reviewFolderEdit.currentPath = predictions
        ui.listReviewButton.click()
        ui.nextReviewButton.click()
        standin.check()
        print(json.dumps(said | {"review": ui.reviewLabel.text}), flush=True)
    finally:
        panel.cleanup()
    os._exit(0)  # Qt and VTK, whose objects Python ends in no order, may crash at its end


if __name__ == "__main__":
    main(*sys.argv[1:])
