"""Packages that some commands need and pip installs as extras only."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from .errors import InputError

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "cluster": ("ray",),
    "crf": ("pydensecrf",),
    "dicom": ("highdicom",),
    "finetune": ("lightning_fabric", "peft", "psutil", "tensorboard", "webdataset"),
    "search": ("optuna",),
    "weak": ("nnunetv2",),
}
"""The modules of each extra of pyproject.toml that work on images needs."""
NAMES_OF_PIP = {"pydensecrf": "pydensecrf2"}


def require_extra(extra: str, work: str) -> None:
    """Refuse work whose packages are not installed, before it begins.

    Args:
        work: what needs them, as the beginning of a sentence.

    Raises:
        InputError: naming the packages and the extra.
    """
    absent = [name for name in EXTRAS[extra] if find_spec(name) is None]
    if absent:
        raise _refusal(f"{work} needs", absent, extra)


def absent_package(error: ModuleNotFoundError) -> InputError | None:
    """Convert an import that failed for lack of an extra; None where the module is of none."""
    name = (error.name or "").partition(".")[0]
    extra = next((extra for extra, names in EXTRAS.items() if name in names), None)
    return _refusal("This needs", [name], extra) if extra else None


def _refusal(beginning: str, packages: list[str], extra: str) -> InputError:
    what = "a package that is" if len(packages) == 1 else "packages that are"
    console = f"slicer.util.pip_install('{' '.join(NAMES_OF_PIP.get(name, name) for name in packages)}')"
    return InputError(
        f"{beginning} {what} not installed: {', '.join(packages)}.",
        f"Run: pip install 'medclipsam[{extra}]' (in 3D Slicer: Install under Installation, or in the Python console "
        f"{console}).",
    )
