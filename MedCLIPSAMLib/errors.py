"""Errors that reach the user: each names what is wrong and what to do about it."""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

T = TypeVar("T")
log = logging.getLogger(__name__)

EXIT_ERROR, EXIT_INTERRUPTED, EXIT_TERMINATED, EXIT_HUNG_UP = 2, 130, 143, 129
"""Exit codes: refused with a message, interrupted by Ctrl+C, ended by SIGTERM, and ended as the terminal was closed."""

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
"""Terminal control characters, which text quoted from an untrusted file may contain."""


class MedCLIPSAMError(Exception):
    """An error with a cause and a remedy, ready to be shown to the user.

    Control characters are escaped. Messages have one line, unless they contain a list.

    Args:
        problem: what was expected and what was given, naming the file, prompt or setting.
        remedy: what the user can do; empty if there is nothing to do.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        problem, remedy = without_controls(problem), without_controls(remedy)
        super().__init__(f"{problem} {remedy}".strip())
        self.problem = problem
        self.remedy = remedy


def without_controls(text: str) -> str:
    """Escape control characters, except line breaks."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def shorten(text: str, width: int) -> str:
    """Cut a text longer than `width` after a word, or within a word that is longer than `width` itself."""
    return text if len(text) <= width else f"{text[:width].rpartition(' ')[0] or text[:width]} ..."


class InputError(MedCLIPSAMError):
    """An image, mask or folder that cannot be used as it is."""


def check_type(
    value: object,
    kind: type | tuple[type, ...],
    expected: str,
    remedy: str = "",
    error: type[MedCLIPSAMError] = InputError,
) -> None:
    """Refuse a value of the wrong type that a program passed.

    Args:
        expected: what is expected, with its article, as in "a path".

    Raises:
        MedCLIPSAMError: of the class `error`.
    """
    if not isinstance(value, kind):
        shown = repr(value)
        shown = shown if len(shown) <= 60 else f"a value of type {type(value).__name__}"
        raise error(f"Expected {expected}, got {shown}.", remedy)


PATH = (str, os.PathLike)
"""The types that a path may have."""


class PromptError(MedCLIPSAMError):
    """A text prompt that the text encoder cannot use."""


class ModelError(MedCLIPSAMError):
    """A model that is unknown, missing, damaged or of an unsupported layout."""


class OutputError(MedCLIPSAMError):
    """A result that cannot be written to its path."""


def from_system(error: OSError) -> OutputError:
    """Convert an operating system error to one with a remedy, naming the file."""
    named = f"'{error.filename}': " if error.filename is not None else ""
    return OutputError(f"{named}{error.strerror or error}.", "Check the path, the permissions and the free space.")


def attempt(work: Callable[[], T], name: str, failure: str) -> T | MedCLIPSAMError:
    """Process one image of many and return the result, or the error, so that the other images are still processed.

    Unforeseen errors are logged with a traceback.

    Args:
        name: name of the image, for the log.
        failure: beginning of the message on an unforeseen error, as in "'head.nii' cannot be read".

    Raises:
        Cancelled: the user cancelled. OutputError: the system cannot write, for example as the disk is full.
    """
    try:
        return work()
    except Cancelled:
        raise
    except MedCLIPSAMError as error:
        if isinstance(error, OutputError) and _is_of_system(error):
            raise
        log.info("%s: %s", name, error)
        return error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise from_system(error) from error
        if isinstance(error, ModuleNotFoundError) and (lacking := with_remedy(error)) is not None:
            return lacking
        log.warning("%s failed", name, exc_info=True)
        return InputError(f"{failure}: {type(error).__name__}: {error}.", "Leave it out.")


def _is_of_system(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__
    return error is not None


EXTRAS: Mapping[str, tuple[str, ...]] = {
    "cluster": ("ray",),
    "crf": ("pydensecrf",),
    "dicom": ("highdicom",),
    "finetune": ("lightning_fabric", "peft", "psutil", "tensorboard", "webdataset"),
    "search": ("optuna",),
    "weak": ("nnunetv2",),
}
"""The modules that work on images needs from each extra of pyproject.toml."""
NAMES_OF_PIP = {
    "PIL": "pillow",
    "hydra": "hydra-core",
    "open_clip": "open_clip_torch",
    "pydensecrf": "pydensecrf2",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Packages whose name for pip differs from their import name."""


def not_installed(packages: Sequence[str], work: str = "This") -> InputError:
    """Return the error on packages that are not installed, which says how to install them.

    Args:
        packages: import names of packages or their modules; all of one extra, or all of none.
        work: what needs them, as the beginning of a sentence.
    """
    tops = [name.partition(".")[0] for name in packages]
    extra = next((extra for extra, names in EXTRAS.items() if tops[0] in names), None)
    names = " ".join(NAMES_OF_PIP.get(name, name) for name in tops)
    wanted = f"'medclipsam[{extra}]'" if extra else names
    what = "a package that is" if len(packages) == 1 else "packages that are"
    return InputError(
        f"{work} needs {what} not installed: {', '.join(packages)}.",
        f"In a terminal, for the same Python: pip install {wanted}. In 3D Slicer: Install under Installation, or, if "
        f"that lists nothing, slicer.util.pip_install('{names}') in the Python console.",
    )


def with_remedy(error: Exception) -> MedCLIPSAMError | None:
    """Convert an operating system error or a missing package to an error with a remedy; None for unforeseen errors."""
    if isinstance(error, OSError):
        return from_system(error)
    if isinstance(error, ModuleNotFoundError):
        ours = (error.name or __package__).partition(".")[0] == __package__
        return None if ours else not_installed([str(error.name)])
    if type(error).__name__ == "BrokenProcessPool":  # compared by name, as its module is slow to import
        problem = "A process of this run was killed, as the system does when memory runs out."
        return DeviceError(problem, "Give it more memory, or less to do at once.")
    return error if isinstance(error, MedCLIPSAMError) else None


def require_extra(extra: str, work: str) -> None:
    """Refuse work, before it begins, if its packages are not installed.

    Args:
        extra: an extra of pyproject.toml, one of `EXTRAS`.
        work: what needs them, as the beginning of a sentence.

    Raises:
        InputError: packages are missing; it names them and the extra.
    """
    absent = [name for name in EXTRAS[extra] if find_spec(name) is None]
    if absent:
        raise not_installed(absent, work)


def load_package(name: str, work: str) -> Any:
    """Import a package when it is first needed.

    Args:
        name: import name of the package.
        work: see `not_installed`.

    Raises:
        InputError: the package is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise not_installed([name], work) from error


class DeviceError(MedCLIPSAMError):
    """A device that is not available, or ran out of memory."""


class Cancelled(MedCLIPSAMError):  # noqa: N818  # not an error but the user's request
    """The user cancelled; nothing was written."""

    def __init__(self, problem: str = "Cancelled.") -> None:  # pickle passes it to recreate the error elsewhere
        super().__init__(problem)
