"""Errors that reach the user: each names what is wrong and what to do about it."""

from __future__ import annotations


class MedCLIPSAMError(Exception):
    """An error with a cause and a remedy, fit to be shown to a user as it is.

    Args:
        problem: what came and what is wrong with it, naming the file, prompt or setting.
        remedy: what the user can do; empty when there is nothing to say.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem} {remedy}".strip())
        self.problem = problem
        self.remedy = remedy


class InputError(MedCLIPSAMError):
    """An image, mask or folder that cannot be used as it is."""


class PromptError(MedCLIPSAMError):
    """A text prompt that the text encoder cannot make sense of."""


class ModelError(MedCLIPSAMError):
    """A model that is unknown, absent, damaged or of another layout."""


class OutputError(MedCLIPSAMError):
    """A result that cannot be written where it was asked for."""


class DeviceError(MedCLIPSAMError):
    """A device that was asked for and is not there, or ran out of memory."""


class Cancelled(MedCLIPSAMError):  # noqa: N818  # no error, but what the user asked for
    """The user cancelled; nothing was written."""

    def __init__(self) -> None:
        super().__init__("Cancelled.")
