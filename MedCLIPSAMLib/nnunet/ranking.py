"""A folder of predictions as it is read for review: the least sure case first."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..export.manifest import REQUEST, read_records
from ..files.json_text import read_json


def mask_file(case: str) -> str:
    """Return the file of a case's masks, in the folder of predictions."""
    return f"{case}.seg.nrrd"


def uncertainty_file(case: str) -> str:
    """Return the file of a case's map of the uncertainty."""
    return f"{case}_uncertainty.nii.gz"


def rank_records(folder: Path) -> list[dict]:
    """Read the records of a folder of predictions, the least sure first and failed ones at the end."""
    records = read_records(folder).values()
    return sorted(
        records, key=lambda record: (record["status"] == "failed", -record.get("uncertainty", 0), record["case"])
    )


def dataset_of(folder: Path) -> Path | None:
    """Find the dataset that the predicted images belong to, where one was named.

    The folder may come from elsewhere, and so may the path of the dataset, absolute or from the folder: whoever writes
    into it on that word alone asks first where it is not `is_beside`.

    Returns:
        Its absolute path without links.

    Raises:
        InputError: the folder holds no predictions, or what it names is no path.
    """
    try:
        request = read_json(folder / REQUEST)
        if not isinstance(request, dict) or "model" not in request:
            raise ValueError("it is no request of weak predict")
        dataset = request.get("dataset")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"'{folder}' holds no predictions.", "Give the folder that medclipsam weak predict wrote."
        ) from error
    if not dataset:
        return None
    try:
        return (folder / dataset).resolve()
    except (TypeError, ValueError, OSError, RuntimeError) as error:  # no text, a zero in it, links in a circle
        raise InputError(
            f"'{folder / REQUEST}': expected the path of a dataset, got {str(dataset)[:200]!r}.", "Choose the dataset."
        ) from error


def is_beside(dataset: Path, folder: Path) -> bool:
    """Tell whether a dataset lies beside a folder of predictions or is its parent, links followed."""
    dataset, folder = dataset.resolve(), folder.resolve()
    return folder.parent in (dataset.parent, dataset)
