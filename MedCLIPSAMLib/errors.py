"""Errors that reach the user: each names what is wrong and what to do about it."""

from __future__ import annotations

import re

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


class DeviceError(MedCLIPSAMError):
    """A device that is not available, or ran out of memory."""


class Cancelled(MedCLIPSAMError):  # noqa: N818  # no error, but the user's request
    """The user cancelled; nothing was written."""

    def __init__(self) -> None:
        super().__init__("Cancelled.")
