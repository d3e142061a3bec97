"""Read prompts for many images from a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import InputError
from ..files.csv_text import read_table
from ..files.json_text import parse_json
from ..files.text_file import read_text


def read_prompts(path: Path) -> dict[str, str]:
    """Read prompts by label.

    The file is a JSON object {label: prompt}, a table (.csv, .tsv) with the columns label and prompt, or a text file
    with a prompt or "label: prompt" on each line.

    Raises:
        InputError: the file is unreadable, empty or malformed, or has a label twice.
    """
    pairs = _pairs(path)
    try:
        "".join(label + prompt for label, prompt in pairs).encode()  # refuses unpaired surrogates, which JSON can hold
    except ValueError as error:
        raise InputError(f"The prompts '{path}' cannot be read: {error}.", "Give a text file or JSON.") from error
    if not pairs or not all(label.strip() and prompt.strip() for label, prompt in pairs):
        raise InputError(f"'{path}' holds no prompts, or an empty one.", "Write one prompt on each line.")
    if len({label for label, _ in pairs}) < len(pairs):
        raise InputError(f"'{path}' has the same label twice.", "Give each structure once.")
    return dict(pairs)


def check_are_labels(prompts: Mapping[str, str], images: Iterable[Path], path: Path) -> None:
    """Refuse a file with prompts by image, as the image names would become labels of every image.

    Raises:
        InputError: a label is the name of an image.
    """
    names = {image.name for image in images}
    stems = {name.split(".")[0] for name in names}
    are_stems = len(prompts) > 1 and prompts.keys() <= stems
    found = [label for label in prompts if label in names or are_stems]
    if found:
        raise InputError(
            f"Expected prompts by label in '{path}', got one for the image '{found[0]}'.",
            "Give prompts by image as a CSV with the columns image and prompt, instead of the folder.",
        )


def _pairs(path: Path) -> list[tuple[str, str]]:
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        rows = [row for _, row in read_table(path)]
        if rows and not {"label", "prompt"} <= rows[0].keys():
            raise InputError(
                f"Expected the columns label and prompt in '{path}', got {', '.join(rows[0])}.",
                "Give a table of prompts by image instead of the folder of images.",
            )
        return [(row["label"].strip(), row["prompt"].strip()) for row in rows]
    text = read_text(path)
    if suffix == ".json":
        try:
            found = parse_json(text)
        except ValueError as error:
            raise InputError(f"The prompts '{path}' cannot be read: {error}.", "Give a text file or JSON.") from error
        if not isinstance(found, dict) or not all(isinstance(prompt, str) for prompt in found.values()):
            raise InputError(f"'{path}' is not a JSON object of prompts by label.", 'Write {"tumor": "brain tumor"}.')
        return list(found.items())
    lines = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
    cut = [line.partition(":") for line in lines]
    return [(label.strip(), prompt.strip() if colon else label) for label, colon, prompt in cut]
