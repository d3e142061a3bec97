"""The extension's files are all built, and what the extension needs in Slicer is found and installed."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import slicer
import slicer.util
from MedCLIPSAMScene import dependencies, samples
from packaging.requirements import Requirement

from MedCLIPSAMLib.resources import resource_path

ROOT = Path(__file__).resolve().parents[2]
FAKE_SLICER = """
set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/nothing.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/nothing.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/nothing.cmake)
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR lib/Slicer/qt-scripted-modules)
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR Slicer.app/Contents/${Slicer_QTSCRIPTEDMODULES_LIB_DIR})
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MODULE "WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  foreach(file ${MODULE_SCRIPTS} ${MODULE_RESOURCES})
    get_filename_component(folder ${file} DIRECTORY)
    configure_file(${file} ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}/${file} COPYONLY)
    install(FILES ${file} DESTINATION ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}/${folder})
  endforeach()
endmacro()
"""


def cmake() -> str | None:
    beside = Path(sys.executable).parent / "cmake"
    return str(beside) if beside.exists() else shutil.which("cmake")


@pytest.mark.skipif(cmake() is None, reason="cmake is not installed")
def test_every_file_is_installed_where_the_module_looks_for_it(tmp_path: Path) -> None:
    """Run the project's CMake files with a stand-in for Slicer's, which installs files as Slicer's macro does."""
    fake = tmp_path / "slicer"
    fake.mkdir()
    (fake / "SlicerConfig.cmake").write_text(FAKE_SLICER)
    (fake / "nothing.cmake").write_text("")
    build, installed = tmp_path / "build", tmp_path / "installed"
    configure = [cmake(), "-S", ROOT, "-B", build, f"-DSlicer_DIR={fake}", f"-DCMAKE_INSTALL_PREFIX={installed}"]
    subprocess.run([*configure, "-DCMAKE_C_COMPILER_WORKS=1", "-DCMAKE_CXX_COMPILER_WORKS=1"], check=True)
    subprocess.run([cmake(), "--install", build], check=True, stdout=subprocess.DEVNULL)
    modules = installed / "Slicer.app" / "Contents" / "lib" / "Slicer" / "qt-scripted-modules"

    def files(folder: Path, *patterns: str) -> set[str]:
        return {
            path.relative_to(folder).as_posix()
            for pattern in patterns
            for path in folder.rglob(pattern)
            if path.is_file() and "__pycache__" not in path.parts
        }

    assert files(ROOT / "MedCLIPSAM", "*.py", "*.ui", "*.png") == files(modules, "*.py", "*.ui", "*.png") - {
        name for name in files(modules, "*.py", "*.png") if name.startswith("MedCLIPSAMLib/")
    }
    assert files(ROOT / "MedCLIPSAMLib", "*.py") == files(modules / "MedCLIPSAMLib", "*.py")
    shipped = files(ROOT / "Resources", "models/*/*", "pages/*", "prompts/*", "samples/*", "requirements.txt")
    assert files(modules / "MedCLIPSAMLib" / "Resources", "*") == shipped
    assert files(installed, "*") == {
        f"Slicer.app/Contents/lib/Slicer/qt-scripted-modules/{name}" for name in files(modules, "*")
    }
    assert files(build / "lib" / "Slicer" / "qt-scripted-modules", "*") == files(modules, "*")
    script = "from MedCLIPSAMLib.resources import resource_path as p; print(p('models/demo-clip').is_dir())"
    ran = subprocess.run([sys.executable, "-c", script], cwd=modules, capture_output=True, encoding="utf-8", check=True)
    assert ran.stdout.strip() == "True"


def test_the_descriptions_agree() -> None:
    entry = json.loads((ROOT / "MedCLIPSAM.json").read_text())
    old = dict(
        line.split(" ", 1) for line in (ROOT / "MedCLIPSAM.s4ext").read_text().splitlines() if not line.startswith("#")
    )
    cmakelists = (ROOT / "CMakeLists.txt").read_text()
    assert entry["scm_url"] == old["scmurl"] and entry["category"] == old["category"]
    assert entry["build_dependencies"] == old["depends"].split() == re.findall(r'EXTENSION_DEPENDS "(.+)"', cmakelists)
    assert f'"{old["description"]}"' in cmakelists
    assert (ROOT / "LICENSE").is_file()


def test_the_cmake_version_is_that_of_slicers_template_for_extensions() -> None:
    """Utilities/Templates/Extensions/Default/CMakeLists.txt of Slicer 5.10, the oldest that is supported."""
    first = (ROOT / "CMakeLists.txt").read_text().splitlines()[0]
    assert first == "cmake_minimum_required(VERSION 3.20.6...3.22.6 FATAL_ERROR)"


def test_every_text_that_is_translated_can_be_extracted() -> None:
    """Slicer's translation tool reads the sources, so it finds literal texts but not variables."""
    found = []
    for path in (ROOT / "MedCLIPSAM").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ("_", "translate"):
                found += [f"{path.name}:{call.lineno}"] if any(type(it) is not ast.Constant for it in call.args) else []
    assert found == []


def test_what_is_installed_here_is_found_to_fit() -> None:
    assert {dependency.state for dependency in dependencies.check() if dependency.origin == "pip"} == {"ok"}
    assert "torch " in dependencies.report() and sys.executable in dependencies.report()


def test_missing_and_unfit_packages_are_told_apart() -> None:
    def version(name: str) -> str:
        if name in ("timm", "torch"):
            raise PackageNotFoundError(name)
        return "0.1" if name == "transformers" else dependencies.metadata.version(name)

    states = {dependency.name: dependency.state for dependency in dependencies.check(version)}
    assert states["timm"] == states["torch"] == "missing" and states["transformers"] == "unfit"
    assert states["numpy"] == "ok"
    assert not [line for line in dependencies.pins(version) if line.startswith("torch==")]


def test_pip_is_told_to_keep_what_slicer_has(monkeypatch: pytest.MonkeyPatch) -> None:
    requested, progress = [], []

    def pip_install(arguments: list[str]) -> None:
        constraints = Path(arguments[arguments.index("--constraint") + 1]).read_text(encoding="utf-8")
        requested.append((arguments[-1], "--no-build-isolation" in arguments, constraints))

    absent = [dependency for dependency in dependencies.check() if dependency.name in ("timm", "sam2")]
    monkeypatch.setattr(dependencies, "missing", lambda: absent)
    monkeypatch.setattr(slicer.util, "pip_install", pip_install)
    dependencies.install(progress.append)
    assert [(Requirement(line).name, isolated) for line, isolated, _ in requested] == [("timm", False), ("sam2", True)]
    for _, _, constraints in requested:
        assert {line.split("==")[0] for line in constraints.split()} >= {"torch", "numpy", "vtk"}
    assert "timm (1 of 2)..." in progress

    ensured = []
    packaging = ModuleType("slicer.packaging")  # not an attribute of slicer until something imports it
    packaging.pip_ensure = lambda wanted, **options: ensured.append((wanted, options))
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    requested.clear()
    dependencies.install()
    ((wanted, options),) = ensured
    assert [dependency.name for dependency in wanted] == ["timm"] and options["requester"] == "MedCLIPSAM"
    assert not options["prompt_install"] and not options["prompt_restart"]  # sam2 is still to come
    assert len(requested) == 1 and Requirement(requested[0][0]).name == "sam2"


def test_without_the_pytorch_extension_the_user_is_told_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = [dependency for dependency in dependencies.check() if dependency.name == "torch"]
    monkeypatch.setattr(dependencies, "missing", lambda: absent)
    with pytest.raises(dependencies.InstallationError, match="Extensions Manager"):
        dependencies.install()
    calls = []
    logic = lambda: SimpleNamespace(installTorch=lambda **options: calls.append(options) or object())
    utils = ModuleType("PyTorchUtils")
    utils.PyTorchUtilsLogic = logic
    monkeypatch.setitem(sys.modules, "PyTorchUtils", utils)
    dependencies.install()
    assert calls[0]["askConfirmation"] and ">=2.6" in calls[0]["torchVersionRequirement"]

    def fail(**_options: object) -> None:
        raise RuntimeError("no network")

    utils.PyTorchUtilsLogic = lambda: SimpleNamespace(installTorch=fail)
    with pytest.raises(dependencies.InstallationError, match="'torch' could not be installed: no network"):
        dependencies.install()


def test_slicer_for_intel_processors_on_a_mac_is_told_how_else_to_run_the_models(monkeypatch) -> None:
    """The last PyTorch for them is 2.2, so none is requested, and no other package is installed before the error."""
    absent = [dependency for dependency in dependencies.check() if dependency.name in ("torch", "timm")]
    states = [replace(dependency, installed=None, state="missing") for dependency in absent]
    monkeypatch.setattr(dependencies, "check", lambda *_: states)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(dependencies.platform, "machine", lambda: "x86_64")
    with pytest.raises(dependencies.InstallationError, match="Worker command"):
        dependencies.install()
    assert "Worker command" in dependencies.report() and "extension 'PyTorch'" not in dependencies.report()
    monkeypatch.setattr(dependencies.platform, "machine", lambda: "arm64")
    assert "extension 'PyTorch'" in dependencies.report()


@pytest.mark.parametrize(
    ("version", "text", "build"),
    [
        ("2.6.0", "cuda: Optional[str] = None", "cpu"),
        ("2.6.0", "cuda: Optional[str] = '12.6'", "cu126"),
        ("2.6.0+cpu", "cuda: Optional[str] = None", "cpu"),
        ("2.6.0+rocm6.2", "cuda: Optional[str] = None", "rocm6.2"),
        ("2.6.0", "", ""),
    ],
)
def test_the_build_of_torch_is_read_without_importing_it(
    version: str, text: str, build: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "version.py").write_text(f"from typing import Optional\n\n{text}\n")
    distribution = SimpleNamespace(version=version, locate_file=lambda name: tmp_path / name)
    monkeypatch.setattr(dependencies.metadata, "distribution", lambda name: distribution)
    assert dependencies.torchBuild() == build


def test_a_failed_installation_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(arguments: list[str]) -> None:
        raise RuntimeError("no network")

    absent = [dependency for dependency in dependencies.check() if dependency.name == "timm"]
    monkeypatch.setattr(dependencies, "missing", lambda: absent)
    monkeypatch.setattr(slicer.util, "pip_install", fail)
    with pytest.raises(dependencies.InstallationError, match="'timm' could not be installed: no network"):
        dependencies.install()


def test_every_sample_is_offered_with_its_file_and_thumbnail(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = []
    fake = ModuleType("SampleData")
    fake.SampleDataLogic = SimpleNamespace(registerCustomSampleDataSource=lambda **options: offered.append(options))
    monkeypatch.setitem(sys.modules, "SampleData", fake)
    samples.registerSampleData()
    shipped = {path.name for path in resource_path("samples").iterdir() if "truth" not in path.name}
    assert {options["fileNames"] for options in offered} == shipped
    titles = {options["sampleName"]: options for options in offered}
    assert titles.keys() == {name for _, name, _ in samples.SAMPLES.values()} and "Breast ultrasound phantom" in titles
    monkeypatch.setattr(samples, "loadSample", lambda sample: sample)
    assert titles["Lung CT phantom"]["customDownloader"](None) == ["MedCLIPSAMLungCT"]
    for options in offered:
        assert Path(options["thumbnailFileName"]).is_file() and options["category"] == "MedCLIPSAM"
