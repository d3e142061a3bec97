"""Options by their former names: accepted for one release, absent from the help, with a warning."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import typer

DEPRECATED_FLAGS = {
    "--least-score": "--min-score",
    "--least-ml": "--min-ml",
    "--most-ml": "--max-ml",
    "--least-part": "--min-part",
    "--least-characters": "--min-characters",
    "--replace": "--overwrite",
}
"""Old flag -> new flag, for every command that has the new one and no longer the old one."""


def replace_deprecated_flags(app: typer.Typer, arguments: Sequence[str]) -> list[str]:
    """Replace deprecated flags, as in `--flag VALUE` and `--flag=VALUE`, and warn on stderr."""
    known = _list_flags(typer.main.get_command(app), arguments)
    replaced = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        current = DEPRECATED_FLAGS.get(flag)
        if current in known and flag not in known:
            print(f"warning: {flag} is now {current}; the next release will refuse the old name.", file=sys.stderr)
            argument = f"{current}{equals}{value}"
        replaced.append(argument)
    return replaced


def _list_flags(command: Any, arguments: Sequence[str]) -> set[str]:
    """List the flags of the command that `arguments` name, inside any group."""
    for argument in arguments:
        command = getattr(command, "commands", {}).get(argument, command)
    return {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
