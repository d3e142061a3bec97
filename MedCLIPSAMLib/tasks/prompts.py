"""Parse prompts as the user types them: "brain tumor", or with a label "tumor: brain tumor"."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import PromptError


def parse_prompts(texts: Iterable[str]) -> dict[str, str]:
    """Parse prompts into label -> prompt; a prompt without a label is its own label.

    Raises:
        PromptError: a prompt is empty, nothing precedes or follows its first colon, or a label was given twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        before, colon, after = text.partition(":")
        label, prompt = (before.strip(), after.strip()) if colon else (text, text)
        if colon and not (label and prompt):
            raise PromptError(f"Expected \"label: prompt\", got '{text}'.", "Write both, or the prompt alone.")
        if not prompt.strip():
            raise PromptError("The prompt is empty.", "Say what to segment, such as 'brain tumor'.")
        if label in found:
            raise PromptError(f"The label '{label}' was given twice.", "Give each structure a different label.")
        found[label] = prompt
    return found
