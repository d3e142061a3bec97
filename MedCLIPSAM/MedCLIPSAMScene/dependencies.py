"""The packages that the worker needs in Slicer's Python: their state, and their installation.

PyTorch is installed by the PyTorch extension, which knows the graphics driver; numpy, vtk and SimpleITK come with
Slicer. None of them is ever replaced: pip gets their installed versions as constraints.
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
"""Attribute of the module `slicer`, which survives a Reload."""
LONG_PATH = 100
"""Maximum length of the path of Python's folder on Windows for which the packages' paths stay within 260 characters."""


class InstallationError(MedCLIPSAMError):
    """A required package could not be installed."""


@dataclass(frozen=True)
class Dependency:
    """A package that the worker needs.

    Args:
        origin: "slicer", "pytorch" (the PyTorch extension) or "pip".
        installed: its version; None if it is absent.
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
    """Read the requirements in Resources/requirements.txt."""
    lines = resource_path("requirements.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def check(version: Callable[[str], str] = metadata.version) -> list[Dependency]:
    """List every required package with its state, without importing any.

    Args:
        version: returns the installed version of a package, or raises PackageNotFoundError.
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
                state = "ok"  # some builds of Slicer contain these without package metadata
            found.append(Dependency(requirement, origin, installed, state))
    return found


def missing() -> list[Dependency]:
    """List the packages to install before the models can run."""
    return [dependency for dependency in check() if dependency.state != "ok"]


def warning(lacking: Sequence[Dependency], ownCommand: str = "") -> str:
    """Return a sentence that names the packages missing for the next run; empty if none are.

    Args:
        lacking: packages from `missing`.
        ownCommand: the user's command of the worker; see `transport.workerCommand`. With one there is no warning,
            because the worker may run on another machine.
    """
    if not lacking or ownCommand:
        return ""
    return _(
        "The models cannot run yet: {names} must be installed first, under Installation in the module MedCLIPSAM."
    ).format(names=", ".join(dependency.name for dependency in lacking))


def report() -> str:
    """Return a page for the user: versions, what is missing, and what to do about it."""
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
    """Return why no suitable PyTorch can be installed into this Slicer, and what to do; empty if one can."""
    if sys.platform != "darwin" or platform.machine() != "x86_64":
        return ""
    return _(
        "There is no PyTorch 2.6 or later for this Slicer, which is built for Intel processors, even if macOS runs it "
        "on Apple silicon. On Apple silicon, install the engine into a separate Python (Documentation, section 'On "
        "macOS') and enter it as the Worker command under Models and device; nothing else needs to be installed then."
    )


def torchBuild() -> str:
    """Return what the installed PyTorch was built for: "cpu", "cu126", ...; empty if that is unknown.

    The version of the package may not tell (PyPI's build for Windows is for the CPU), so torch/version.py is read. It
    is not imported.
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
    """Return whether an NVIDIA driver is loaded."""
    if os.name == "nt":
        return (Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / "nvcuda.dll").is_file()
    return Path("/proc/driver/nvidia/version").is_file()


def whyBusy() -> str:
    """Return a sentence that says that packages are being installed; empty if none are."""
    return _("Packages are being installed.") if getattr(slicer, INSTALLING, False) else ""


def requireIdle() -> None:
    """Check that no packages are being installed; a worker that starts meanwhile could import incomplete packages.

    Raises:
        InputError: packages are being installed.
    """
    if busy := whyBusy():
        raise InputError(busy, _("Wait until the installation has ended."))


@contextmanager
def installing() -> Iterator[None]:
    """Prevent other runs during an installation, including those of a panel that is reloaded meanwhile.

    This is needed because Slicer handles clicks while pip runs.
    """
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
        InstallationError: PyTorch is missing and so is its extension, or pip could not install a package.
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
            # No question: the panel has asked. No restart: sam2 follows, and the worker is a new process.
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
    """List constraints for pip that keep protected packages at their installed versions."""
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
    """Return Slicer's own installer with a progress window (5.12 and later), or None.

    The module `slicer.packaging` has to be imported explicitly.
    """
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
