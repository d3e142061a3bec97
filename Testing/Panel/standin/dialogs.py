"""Dialogs are not shown: what they say is kept, and what they would be answered is set by the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

messages: list[tuple[str, str]] = []
"""(kind, text) of every message: "error", "warning", "info", "confirm", or "QMessageBox.question" and so on."""

DEFAULTS: dict[str, Any] = {"confirm": True}
answers: dict[str, Any] = dict(DEFAULTS)
"""Answers to "confirm", and by the name of the function to dialogs of Qt, such as "QFileDialog.getOpenFileName"."""


def reset() -> None:
    """Forget messages and answers."""
    messages.clear()
    answers.clear()
    answers.update(DEFAULTS)


def function(cls: str, name: str) -> Callable[..., Any]:
    """A static function of a dialog of Qt, which would wait for the user."""

    def ask(*arguments: Any) -> Any:
        key = f"{cls}.{name}"
        messages.append((key, " ".join(argument for argument in arguments if isinstance(argument, str))))
        if key not in answers:
            raise RuntimeError(f"{key}() would wait for a user; put its answer into standin.answers['{key}']")
        return answers[key]

    return ask
