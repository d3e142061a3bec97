"""Dialogs that are not shown: their messages are kept, and the test sets their answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

messages: list[tuple[str, str]] = []
"""(kind, text) of every message: "error", "warning", "info", "confirm", or "QMessageBox.question" and so on."""

DEFAULTS: dict[str, Any] = {"confirm": True}
answers: dict[str, Any] = dict(DEFAULTS)
"""Answers by "confirm", or by the function of a Qt dialog, such as "QFileDialog.getOpenFileName"."""


def reset() -> None:
    """Forget messages and answers."""
    messages.clear()
    answers.clear()
    answers.update(DEFAULTS)


def function(cls: str, name: str) -> Callable[..., Any]:
    """Replacement of a static function of a Qt dialog, which would wait for the user."""

    def ask(*arguments: Any) -> Any:
        key = f"{cls}.{name}"
        messages.append((key, " ".join(argument for argument in arguments if isinstance(argument, str))))
        if key not in answers:
            raise RuntimeError(f"{key}() would wait for a user; put its answer into standin.answers['{key}']")
        return answers[key]

    return ask
