"""Errors of command lines that cannot be parsed, worded like all other errors of the program."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any

from ..errors import MedCLIPSAMError

BEFORE_THE_COMMAND = ("--log-level", "--log-file", "--debug", "--version")
"""The options of all commands."""
_INVALID = re.compile(r"Invalid value for '?(?P<where>.+?)'?: ", re.DOTALL)


def usage_error(error: Any) -> MedCLIPSAMError:
    """Convert an error of Typer to one that says what was expected, what was given, and where to find help.

    Args:
        error: a ClickException, from click or from the copy of click in newer versions of Typer.
    """
    message = error.format_message().strip()
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "medclipsam COMMAND"
    listed = "commands" if hasattr(getattr(context, "command", None), "commands") else "arguments and options"
    remedy = f"'{command} -h' lists the {listed}."
    option = getattr(error, "option_name", "")
    if option in BEFORE_THE_COMMAND and message.startswith("No such option"):
        value = " ..." if option.startswith("--log") else ""
        remedy = f"Put it before the command: medclipsam {option}{value} {command.partition(' ')[2]} ..."
        return MedCLIPSAMError(f"'{option}' is an option of medclipsam itself, not of '{command}'.", remedy)
    where = _INVALID.match(message)
    found: list[Any] = getattr(error.__cause__, "errors", list)()  # pydantic's
    if where and found:
        return _invalid(where["where"], found[0], remedy)
    return MedCLIPSAMError(message if message.endswith((".", "?")) else f"{message}.", remedy)


def _invalid(where: str, found: Any, remedy: str) -> MedCLIPSAMError:
    """Describe a value that pydantic has refused."""
    value, expected = str(found["input"]), found["msg"].removeprefix("Input should be ").partition(", unable")[0]
    choices = re.findall(r"'([^']+)'", expected.partition(" is not one of ")[2])
    if choices:
        close = get_close_matches(value, choices, n=1)
        return MedCLIPSAMError(
            f"Expected {' or '.join([', '.join(choices[:-1]), choices[-1]])} for {where}, got '{value}'.",
            f"Did you mean '{close[0]}'?" if close else "Choose one of them.",
        )
    expected = expected.removeprefix("Value error, ").replace("a valid integer", "an integer").replace("valid ", "")
    expected = f"a value {expected}" if expected.startswith(("greater", "less")) else expected
    return MedCLIPSAMError(f"Expected {expected} for {where}, got '{value}'.", remedy)
