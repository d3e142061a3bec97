"""What a program that imports the package relies on: the import changes nothing of its own."""

from __future__ import annotations

import ast
import pkgutil
from pathlib import Path

from helpers.command_line import run_python

import MedCLIPSAMLib
from MedCLIPSAMLib.errors import EXTRAS

ROOT = Path(__file__).resolve().parents[2]
OPTIONAL = ("braceexpand", *(name for names in EXTRAS.values() for name in names))
MODULES = [
    found.name
    for found in pkgutil.walk_packages(MedCLIPSAMLib.__path__, "MedCLIPSAMLib.")
    if not found.name.endswith("__main__")
]

IMPORT = f"""
import importlib, json, os, sys, warnings

def load(names):
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name.partition(".")[0] not in {OPTIONAL}:
                raise

ours = {MODULES}
"""
WHO_ELSE = """
before = set(sys.modules)
load(ours)
print(json.dumps([name for name in sys.modules if name not in before and not name.startswith("MedCLIPSAMLib")]))
"""
COMPARE = """
def patched(before):
    return sorted(
        f"{name}.{attribute}"
        for name, attributes in before.items()
        for attribute, value in attributes.items()
        if vars(sys.modules[name]).get(attribute, value) is not value
    )

with warnings.catch_warnings(action="ignore"):
    for name in json.load(sys.stdin):
        try:
            importlib.import_module(name)
        except ImportError:  # a name that its package made up
            pass
import pydantic, torch
pydantic.TypeAdapter(int)  # looks for plugins of pydantic, once in a process
state = lambda: {
    **{f"variable {name}": value for name, value in os.environ.items()},
    "search path": list(sys.path),
    "warning filters": [str(each) for each in warnings.filters],
    "warnings shown by": warnings.showwarning,
    "threads of torch": torch.get_num_threads(),
    "type of torch": torch.get_default_dtype(),
}
tables = {name: dict(vars(module)) for name, module in sys.modules.items() if hasattr(module, "__dict__")}
before = state()
load(ours)
after = state()
changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
assert not changed + patched(tables), changed + patched(tables)
"""


def run(script: str, given: str = "") -> str:
    ran = run_python(IMPORT + script, given=given)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_what_slicer_imports_of_the_engine_needs_no_torch() -> None:
    """The module of 3D Slicer and its panel run in the application, which may not have the models' packages."""
    lines = [
        node
        for path in (ROOT / "MedCLIPSAM").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "MedCLIPSAMLib"
    ]
    imported = sorted({(line.module, name.name) for line in lines for name in line.names})
    assert ("MedCLIPSAMLib.worker.client", "WorkerClient") in imported
    heavy = ("matplotlib", "monai", "open_clip", "pydantic", "sam2", "timm", "torch", "transformers", "typer")
    run(
        f"for module, name in {imported}:\n"
        f"    getattr(importlib.import_module(module), name)\n"
        f"    found = [each for each in {heavy} if each in sys.modules]\n"
        f"    assert not found, (module, found)"
    )


def test_import_changes_nothing_of_the_importing_program() -> None:
    """No environment variable, search path, warning filter or setting of torch, and no other package's attribute.

    What is compared is what our modules do, so all that they import is imported before.
    """
    run(COMPARE, given=run(WHO_ELSE).splitlines()[-1])
