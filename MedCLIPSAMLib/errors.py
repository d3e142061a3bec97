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
"""Exit codes: refused with a message, by Ctrl+C, by SIGTERM, and as the terminal was closed."""

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
"""Characters that control a terminal; a quotation from a file of unknown origin may hold them."""


class MedCLIPSAMError(Exception):
    """An error with a cause and a remedy, ready to be shown to the user.

    Control characters are escaped; only a list in a message has several lines.

    Args:
        problem: what was expected and what was given, naming the file, prompt or setting.
        remedy: what the user can do; empty when there is nothing to do.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        problem, remedy = without_controls(problem), without_controls(remedy)
        super().__init__(f"{problem} {remedy}".strip())
        self.problem = problem
        self.remedy = remedy


def without_controls(text: str) -> str:
    """Escape control characters, but for ends of lines."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def shorten(text: str, width: int) -> str:
    """Cut a text that is longer than `width` behind a word, or in one that is longer itself."""
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
    """Refuse a value of another type, where a program may give any.

    Args:
        expected: with its article, as in "a path".

    Raises:
        MedCLIPSAMError: of the class `error`.
    """
    if not isinstance(value, kind):
        shown = repr(value)
        shown = shown if len(shown) <= 60 else f"a value of type {type(value).__name__}"
        raise error(f"Expected {expected}, got {shown}.", remedy)


PATH = (str, os.PathLike)
"""The types of a path."""


class PromptError(MedCLIPSAMError):
    """A text prompt that the text encoder cannot use."""


class ModelError(MedCLIPSAMError):
    """A model that is unknown, absent, damaged or of another layout."""


class OutputError(MedCLIPSAMError):
    """A result that cannot be written to its path."""


def from_system(error: OSError) -> OutputError:
    """Convert an error of the system to one with a remedy, naming the file."""
    named = f"'{error.filename}': " if error.filename is not None else ""
    return OutputError(f"{named}{error.strerror or error}.", "Check the path, the permissions and the free space.")


def attempt(work: Callable[[], T], name: str, failure: str) -> T | MedCLIPSAMError:
    """Do the work on one image of many and return its result, or why it failed, so that the others go on.

    An error that was not foreseen is logged with its traceback.

    Args:
        name: of the image, for the log.
        failure: how the message of such an error begins, as in "'head.nii' cannot be read".

    Raises:
        Cancelled: the user cancelled. OutputError: the system refuses to write, as on a full disk.
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
"""The modules of each extra of pyproject.toml that work on images needs."""
NAMES_OF_PIP = {
    "PIL": "pillow",
    "hydra": "hydra-core",
    "open_clip": "open_clip_torch",
    "pydensecrf": "pydensecrf2",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Packages that are installed by another name than they are imported by."""


def not_installed(packages: Sequence[str], work: str = "This") -> InputError:
    """Make the error on packages that are not installed, which says how they are.

    Args:
        packages: packages, or modules of them, as they are imported; all of one extra, or of none.
        work: what needs them, as the beginning of a sentence.
    """
    tops = [name.partition(".")[0] for name in packages]
    extra = next((extra for extra, names in EXTRAS.items() if tops[0] in names), None)
    names = " ".join(NAMES_OF_PIP.get(name, name) for name in tops)
    wanted = f"'medclipsam[{extra}]'" if extra else names
    what = "a package that is" if len(packages) == 1 else "packages that are"
    return InputError(
        f"{work} needs {what} not installed: {', '.join(packages)}.",
        f"In a terminal, for the Python that lacks it: pip install {wanted}. In 3D Slicer: Install under Installation, "
        f"or, where that lists nothing, slicer.util.pip_install('{names}') in the Python console.",
    )


def with_remedy(error: Exception) -> MedCLIPSAMError | None:
    """Convert an error of the system, or the lack of a package, to one with a remedy; None for errors not foreseen."""
    if isinstance(error, OSError):
        return from_system(error)
    if isinstance(error, ModuleNotFoundError):
        ours = (error.name or __package__).partition(".")[0] == __package__
        return None if ours else not_installed([str(error.name)])
    if type(error).__name__ == "BrokenProcessPool":  # whose module takes long to import
        problem = "A process of this run was ended from outside, as the system does where memory runs out."
        return DeviceError(problem, "Give it more memory or less to do at once.")
    return error if isinstance(error, MedCLIPSAMError) else None


def require_extra(extra: str, work: str) -> None:
    """Refuse work whose packages are not installed, before it begins.

    Args:
        work: what needs them, as the beginning of a sentence.

    Raises:
        InputError: naming the packages and the extra.
    """
    absent = [name for name in EXTRAS[extra] if find_spec(name) is None]
    if absent:
        raise not_installed(absent, work)


def load_package(name: str, work: str) -> Any:
    """Import a package at its first use; InputError where it is not installed. `work`: see `not_installed`."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise not_installed([name], work) from error


class DeviceError(MedCLIPSAMError):
    """A device that is not available, or ran out of memory."""


class Cancelled(MedCLIPSAMError):  # noqa: N818  # no error, but the user's request
    """The user cancelled; nothing was written."""

    def __init__(self, problem: str = "Cancelled.") -> None:  # with which pickle makes it again in another process
        super().__init__(problem)
