"""The packages that the worker needs in Slicer's Python: their state, and their installation.

PyTorch comes from the PyTorch extension, which knows the graphics driver; numpy, vtk and SimpleITK are Slicer's own.
None of them is ever replaced: pip is given their present versions as constraints.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import slicer
from packaging.requirements import Requirement

from MedCLIPSAMLib.errors import InputError, MedCLIPSAMError
from MedCLIPSAMLib.resources import resource_path

from .strings import _

TORCH = (Requirement("torch>=2.6,<3"), Requirement("torchvision>=0.21,<1"))
SLICERS = (Requirement("numpy>=1.26"), Requirement("SimpleITK>=2.2"), Requirement("vtk>=9.2"))
PROTECTED = ("torch", "torchvision", "numpy", "vtk", "SimpleITK")
INSTALLING = "MedCLIPSAMInstalling"
"""Attribute of the module slicer, which outlives Reload."""
LONG_PATH = 100
"""Maximum length of a Python folder on Windows with which all packages stay within 260 characters for a path."""


class InstallationError(MedCLIPSAMError):
    """A package that is needed could not be installed."""


@dataclass(frozen=True)
class Dependency:
    """A package that the worker needs.

    Args:
        origin: "slicer", "pytorch" (the PyTorch extension) or "pip".
        installed: its version; None when it is absent.
        state: "ok", "missing" or "unfit" (another version is needed).
    """

    requirement: Requirement
    origin: str
    installed: str | None
    state: str

    @property
    def name(self) -> str:
        """Name of the package."""
        return self.requirement.name


def requirements() -> list[Requirement]:
    """Read the lines of Resources/requirements.txt."""
    lines = resource_path("requirements.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def check(version: Callable[[str], str] = metadata.version) -> list[Dependency]:
    """List every package that is needed, with its state; nothing is imported.

    Args:
        version: the installed version of a package, or PackageNotFoundError.
    """
    found = []
    for origin, group in (("slicer", SLICERS), ("pytorch", TORCH), ("pip", requirements())):
        for requirement in group:
            try:
                installed = version(requirement.name)
            except metadata.PackageNotFoundError:
                installed = None
            fits = installed is not None and requirement.specifier.contains(installed, prereleases=True)
            state = "ok" if fits else "missing" if installed is None else "unfit"
            if origin == "slicer" and installed is None:
                state = "ok"  # some builds of Slicer carry these without package data
            found.append(Dependency(requirement, origin, installed, state))
    return found


def missing() -> list[Dependency]:
    """List the packages to install before the models can run."""
    return [dependency for dependency in check() if dependency.state != "ok"]


def warning(lacking: Sequence[Dependency], ownCommand: str = "") -> str:
    """Return a sentence on packages that the next run needs and lacks; empty when all are installed.

    Args:
        lacking: as `missing` lists them.
        ownCommand: that of the worker, which may run on another machine; see `transport.workerCommand`.
    """
    if not lacking or ownCommand:
        return ""
    return _(
        "The models cannot run yet: {names} must be installed first, under Installation in the module MedCLIPSAM."
    ).format(names=", ".join(dependency.name for dependency in lacking))


def report() -> str:
    """Write a page for the user: versions, what is missing, and what to do about it."""
    checked = check()
    states = {"ok": _("ok"), "missing": _("missing"), "unfit": _("unfit")}
    width = max(len(dependency.name) for dependency in checked)
    lines = [
        _("Python {version} on {system}: {executable}").format(
            version=platform.python_version(), system=platform.platform(), executable=sys.executable
        )
    ]
    for dependency in checked:
        wanted = f"  ({dependency.requirement.specifier})" if dependency.state != "ok" else ""
        shown = dependency.installed or ("Slicer" if dependency.state == "ok" else "-")
        lines.append(f"{dependency.name:<{width}}  {shown:<14} {states[dependency.state]}{wanted}")
    absent = [dependency for dependency in checked if dependency.state != "ok"]
    if not absent:
        lines.append(_("All packages are installed."))
    if any(dependency.origin == "pytorch" for dependency in absent):
        how = _("PyTorch: install the extension 'PyTorch' in the Extensions Manager, restart, then press Install.")
        lines.append(whyNoTorch() or how)
    if any(dependency.origin == "pip" for dependency in absent):
        lines.append(_("The others: press Install. Without internet: install the wheels with pip on this Python."))
    build = torchBuild()
    if build == "cpu" and hasNvidia():
        lines.append(
            _(
                "PyTorch is a build for the CPU, but this machine has an NVIDIA GPU: reinstall it for CUDA in the "
                "module 'PyTorch Utils'."
            )
        )
    if os.name == "nt" and len(sys.prefix) > LONG_PATH:
        lines.append(
            _("The path of Slicer's folder is too long for some packages: install Slicer in one with a shorter path.")
        )
    return "\n".join(lines)


def whyNoTorch() -> str:
    """Return why no PyTorch that fits can be installed into this Slicer, and what to do; empty where one can."""
    if sys.platform != "darwin" or platform.machine() != "x86_64":
        return ""
    return _(
        "There is no PyTorch 2.6 or later for this Slicer, which is built for Intel processors, even if macOS runs it "
        "on Apple silicon. On Apple silicon, install the engine into a separate Python (Documentation, section 'On "
        "macOS') and enter it as the Worker command under Models and device; nothing else needs to be installed then."
    )


def torchBuild() -> str:
    """Return what the installed PyTorch was built for: "cpu", "cu126", ...; empty when that is unknown.

    The version may lack it (PyPI's build for Windows is for the CPU), so torch/version.py is read, not imported.
    """
    try:
        torch = metadata.distribution("torch")
        build = torch.version.partition("+")[2]
        text = Path(str(torch.locate_file("torch/version.py"))).read_text(encoding="utf-8")
    except metadata.PackageNotFoundError:
        return ""
    except OSError:
        return build
    cuda = re.search(r"^cuda\b.*=\s*(?:'([\d.]+)'|None)\s*$", text, re.MULTILINE)
    if build or cuda is None:
        return build
    return "cu" + cuda[1].replace(".", "") if cuda[1] else "cpu"


def hasNvidia() -> bool:
    """Tell whether an NVIDIA driver is loaded."""
    if os.name == "nt":
        return (Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / "nvcuda.dll").is_file()
    return Path("/proc/driver/nvidia/version").is_file()


def whyBusy() -> str:
    """Return a sentence that packages are being installed; empty when none are."""
    return _("Packages are being installed.") if getattr(slicer, INSTALLING, False) else ""


def requireIdle() -> None:
    """Check that no packages are being installed, which a worker that starts meanwhile would import half of.

    Raises:
        InputError: they are.
    """
    if busy := whyBusy():
        raise InputError(busy, _("Wait until the installation has ended."))


@contextmanager
def installing() -> Iterator[None]:
    """Let nothing else be started, nor by a panel that is reloaded meanwhile; pip lets Slicer handle clicks."""
    setattr(slicer, INSTALLING, True)
    try:
        yield
    finally:
        setattr(slicer, INSTALLING, False)


def install(progress: Callable[[str], None] = lambda text: None) -> None:
    """Install what is missing, one package after another.

    Args:
        progress: called with a message before each installation.

    Raises:
        InstallationError: PyTorch without its extension, or a package that pip could not install.
    """
    import slicer.util

    absent = missing()
    if any(dependency.origin == "pytorch" for dependency in absent):
        progress(_("PyTorch is being downloaded (several hundred megabytes)..."))
        _installTorch()
    wanted = [dependency.requirement for dependency in absent if dependency.origin == "pip"]
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("".join(f"{line}\n" for line in pins()), encoding="utf-8")
        os.environ.setdefault("SAM2_BUILD_CUDA", "0")
        ensure = _pipEnsure()
        plain = [dependency for dependency in wanted if dependency.name != "sam2"]
        if ensure is not None and plain:
            progress(_("Packages are being installed..."))
            # The panel has asked, sam2 follows, and the worker is a new process: no question, no restart.
            quiet = {"prompt_install": False, "prompt_restart": False}
            _attempt(lambda: ensure(plain, constraints=constraints, requester="MedCLIPSAM", **quiet), _("the packages"))
            wanted = [dependency for dependency in wanted if dependency.name == "sam2"]
        for number, requirement in enumerate(wanted, 1):
            progress(_("{name} ({number} of {all})...").format(name=requirement.name, number=number, all=len(wanted)))
            # The build of sam2 needs torch; without isolation it uses the installed one.
            options = ["--no-build-isolation"] if requirement.name == "sam2" else []
            arguments = [*options, "--constraint", str(constraints), str(requirement)]
            _attempt(partial(slicer.util.pip_install, arguments), requirement.name)
    progress("")


def pins(version: Callable[[str], str] = metadata.version) -> list[str]:
    """List constraints for pip that keep protected packages at their present version."""
    lines = []
    for name in PROTECTED:
        try:
            lines.append(f"{name}=={version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return lines


def _installTorch() -> None:
    if reason := whyNoTorch():
        raise InstallationError(_("PyTorch cannot be installed here."), reason)
    try:
        from PyTorchUtils import PyTorchUtilsLogic
    except ImportError:
        raise InstallationError(
            _("PyTorch is missing, and so is the extension that installs it."),
            _("Install the extension 'PyTorch' in the Extensions Manager, restart Slicer, and press Install again."),
        ) from None
    torch, vision = (str(requirement.specifier) for requirement in TORCH)
    installed = _attempt(
        lambda: PyTorchUtilsLogic().installTorch(
            askConfirmation=True, torchVersionRequirement=torch, torchvisionVersionRequirement=vision
        ),
        "torch",
    )
    if installed is None:
        raise InstallationError(_("PyTorch was not installed."), _("Press Install again to install it."))


def _pipEnsure() -> Callable | None:
    """Return Slicer's own installer with a progress window (5.12 and later); it exists only once it is imported."""
    try:
        from slicer.packaging import pip_ensure
    except ImportError:
        return None
    return pip_ensure


def _attempt(action: Callable[[], object], name: str) -> object:
    try:
        return action()
    except Exception as error:
        raise InstallationError(
            _("'{name}' could not be installed: {error}").format(name=name, error=error),
            _("See Slicer's error log, check the network, and press Install again to install what is still missing."),
        ) from error
