"""Errors that reach the user: each names what is wrong and what to do about it."""

from __future__ import annotations

import re

EXIT_ERROR, EXIT_INTERRUPTED, EXIT_TERMINATED = 2, 130, 143
"""Exit codes: refused with a message, ended by Ctrl+C, ended by SIGTERM."""

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
"""Signs that a terminal obeys; a file of unknown origin may have them in what is quoted of it."""


class MedCLIPSAMError(Exception):
    """An error with a cause and a remedy, fit to be shown to a user as it is.

    Control characters are escaped; only a list in a message has lines of its own.

    Args:
        problem: what came and what is wrong with it, naming the file, prompt or setting.
        remedy: what the user can do; empty when there is nothing to say.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        problem, remedy = without_controls(problem), without_controls(remedy)
        super().__init__(f"{problem} {remedy}".strip())
        self.problem = problem
        self.remedy = remedy


def without_controls(text: str) -> str:
    """Escape what a terminal would obey, but for ends of lines."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


class InputError(MedCLIPSAMError):
    """An image, mask or folder that cannot be used as it is."""


class PromptError(MedCLIPSAMError):
    """A text prompt that the text encoder cannot make sense of."""


class ModelError(MedCLIPSAMError):
    """A model that is unknown, absent, damaged or of another layout."""


class OutputError(MedCLIPSAMError):
    """A result that cannot be written where it was asked for."""


def from_system(error: OSError) -> OutputError:
    """Say what the system refused, of which file, as an error with a remedy."""
    named = f"'{error.filename}': " if error.filename is not None else ""
    return OutputError(f"{named}{error.strerror or error}.", "Check the path, the permissions and the free space.")


class DeviceError(MedCLIPSAMError):
    """A device that was asked for and is not there, or ran out of memory."""


class Cancelled(MedCLIPSAMError):  # noqa: N818  # no error, but what the user asked for
    """The user cancelled; nothing was written."""

    def __init__(self) -> None:
        super().__init__("Cancelled.")
