"""Additions to the help of commands: names of values, an example for each group, and complete sentences."""

from __future__ import annotations

import inspect
import re
import typing
from pathlib import Path
from types import NoneType
from typing import Any

from typer.core import TyperGroup

_NAMES: dict[Any, str] = {str: "TEXT", int: "NUMBER", float: "NUMBER", Path: "PATH"}


class CommandLine(TyperGroup):
    """The group of all commands. It names the values of each command, in the same way with all versions of Typer."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        _name_values(self)
        _give_example(self)

    def get_command(self, *arguments: Any, **options: Any) -> Any:
        """Return a command or a group by its name, or None."""
        command = super().get_command(*arguments, **options)
        if command is not None:
            for one in (command, *getattr(command, "commands", {}).values()):
                _name_values(one)
                _group_options(one)
                one.short_help = " ".join((one.help or "").split("\n\n")[0].split())  # click would cut it short
            _give_example(command)
        return command


def _name_values(command: Any) -> None:
    hints = typing.get_type_hints(inspect.unwrap(command.callback)) if command.callback else {}
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            _name_argument(parameter)
        elif parameter.metavar is None and not parameter.is_flag:
            parameter.metavar = _name_of(hints.get(parameter.name))


def _name_argument(argument: Any) -> None:
    """Show INPUT... instead of {INPUT}... or the Python type."""
    argument.metavar = name = argument.metavar or argument.name.upper()
    shown = name if argument.nargs == 1 else f"{name}..."
    help_record = argument.get_help_record
    argument.get_usage_pieces = lambda context: [shown if argument.required else f"[{shown}]"]
    argument.get_help_record = lambda context: (name, help_record(context)[1])


def _name_of(kind: Any) -> str | None:
    """Return the name shown for values of this type; None if the help lists the possible values."""
    inner = [part for part in typing.get_args(kind) if part is not NoneType]
    return _NAMES.get(kind) if not inner else _name_of(inner[0])


def _group_options(command: Any) -> None:
    """Show the options of each dataclass of a command under a heading, after those of the command itself."""
    headings: dict[str, str] = (
        getattr(inspect.unwrap(command.callback), "option_headings", {}) if command.callback else {}
    )
    if not headings:
        return

    def format_options(context: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in command.get_params(context):
            if record := parameter.get_help_record(context):
                is_argument = parameter.param_type_name == "argument"
                heading = "Arguments" if is_argument else headings.get(parameter.name, "Options")
                sections.setdefault(heading, []).append(record)
        for heading, records in filter(lambda section: section[1], sections.items()):
            with formatter.section(heading):
                formatter.write_dl(records)

    command.format_options = format_options


def _give_example(group: Any) -> None:
    """End the help of a group with the example of its first command."""
    for command in list(getattr(group, "commands", {}).values())[:1]:
        found = re.search(r"^\s*(Example: .*)$", command.help or "", re.MULTILINE)
        group.epilog = found and found[1]
