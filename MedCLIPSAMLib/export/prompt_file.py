"""Prompts for many images, from a file."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..files.json_text import parse_json
from ..files.regular import check_file


def read_prompts(path: Path) -> dict[str, str]:
    """Read prompts by label: a JSON object {label: prompt}, or a text file with a prompt, or "label: prompt", a line.

    Raises:
        InputError: unreadable, empty, of another shape, or a label twice.
    """
    check_file(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            found = parse_json(text)
            if not isinstance(found, dict) or not all(isinstance(prompt, str) for prompt in found.values()):
                raise InputError(f"'{path}' is no object of prompts by label.", 'Write {"tumor": "brain tumor"}.')
            pairs = list(found.items())
        else:
            lines = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
            cut = [line.partition(":") for line in lines]
            pairs = [(label.strip(), prompt.strip() if colon else label) for label, colon, prompt in cut]
        "".join(label + prompt for label, prompt in pairs).encode()  # unpaired surrogates, which JSON can hold
    except (OSError, ValueError) as error:
        raise InputError(f"The prompts '{path}' cannot be read: {error}.", "Give a text file or JSON.") from error
    if not pairs or not all(label.strip() and prompt.strip() for label, prompt in pairs):
        raise InputError(f"'{path}' holds no prompts, or an empty one.", "Write a prompt a line.")
    if len({label for label, _ in pairs}) < len(pairs):
        raise InputError(f"'{path}' has the same label twice.", "Give each structure once.")
    return dict(pairs)
