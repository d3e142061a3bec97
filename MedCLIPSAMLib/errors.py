"""Errors that reach the user: each names what is wrong and what to do about it."""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
log = logging.getLogger(__name__)

EXIT_ERROR, EXIT_INTERRUPTED, EXIT_TERMINATED = 2, 130, 143
"""Exit codes: refused with a message, ended by Ctrl+C, ended by SIGTERM."""

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


def from_import(error: ModuleNotFoundError) -> InputError:
    """Convert the lack of a package to an error with a remedy."""
    return InputError(
        f"The models need a package that is not installed: {error.name}.",
        "In 3D Slicer press Install under Installation. On another machine install it for the Python of the worker.",
    )


def how_to_install(package: str) -> str:
    """Say how a package is got that only some need."""
    console = f"slicer.util.pip_install('{package}')"
    return f"Run: pip install {package} (in 3D Slicer: Install under Installation, or in the Python console {console})."


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
        log.warning("%s failed", name, exc_info=True)
        return InputError(f"{failure}: {type(error).__name__}: {error}.", "Leave it out.")


def _is_of_system(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__
    return error is not None


class DeviceError(MedCLIPSAMError):
    """A device that is not available, or ran out of memory."""


class Cancelled(MedCLIPSAMError):  # noqa: N818  # no error, but the user's request
    """The user cancelled; nothing was written."""

    def __init__(self) -> None:
        super().__init__("Cancelled.")
