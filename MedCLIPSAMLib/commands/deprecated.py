"""Former names of options, which are accepted for one release with a warning and are not shown in the help."""

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
"""Old flag -> new flag, for each command that has only the new one."""


def replace_deprecated_flags(app: typer.Typer, arguments: Sequence[str]) -> list[str]:
    """Replace deprecated flags, as in `--flag VALUE` or `--flag=VALUE`, and warn on stderr."""
    known = _list_flags(typer.main.get_command(app), arguments)
    replaced = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        current = DEPRECATED_FLAGS.get(flag)
        if current in known and flag not in known:
            print(f"warning: {flag} is now {current}; the next release will not accept the old name.", file=sys.stderr)
            argument = f"{current}{equals}{value}"
        replaced.append(argument)
    return replaced


def _list_flags(command: Any, arguments: Sequence[str]) -> set[str]:
    """List the flags of the command that `arguments` name, which may be inside a group."""
    for argument in arguments:
        command = getattr(command, "commands", {}).get(argument, command)
    return {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
