"""Read a folder of predictions for review, the least certain case first."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..export.manifest import REQUEST, read_records
from ..files.json_text import read_json


def mask_file(case: str) -> str:
    """Return the name of a case's mask file in the folder of predictions."""
    return f"{case}.seg.nrrd"


def uncertainty_file(case: str) -> str:
    """Return the name of a case's uncertainty map in the folder of predictions."""
    return f"{case}_uncertainty.nii.gz"


def rank_records(folder: Path) -> list[dict]:
    """Read the records of a folder of predictions, the least certain case first and failed cases last."""
    records = read_records(folder).values()
    return sorted(
        records, key=lambda record: (record["status"] == "failed", -record.get("uncertainty", 0), record["case"])
    )


def dataset_of(folder: Path) -> Path | None:
    """Find the dataset that the predicted images belong to; None if none was named.

    The folder, and with it the path of the dataset (absolute, or relative to the folder), may come from someone else.
    Before writing into the dataset because of this path alone, ask the user, unless `is_beside` is true.

    Returns:
        The absolute path of the dataset, with links resolved.

    Raises:
        InputError: the folder contains no predictions, or does not name a valid path.
    """
    try:
        request = read_json(folder / REQUEST)
        if not isinstance(request, dict) or "model" not in request:
            raise ValueError("it is not a request of weak predict")
        dataset = request.get("dataset")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"'{folder}' holds no predictions.", "Give the folder that medclipsam weak predict wrote."
        ) from error
    if not dataset:
        return None
    try:
        return (folder / dataset).resolve()
    except (TypeError, ValueError, OSError, RuntimeError) as error:  # not text, a null byte, circular links
        raise InputError(
            f"'{folder / REQUEST}': expected the path of a dataset, got {str(dataset)[:200]!r}.", "Choose the dataset."
        ) from error


def is_beside(dataset: Path, folder: Path) -> bool:
    """Tell whether a dataset lies beside a folder of predictions or is its parent, after resolving links."""
    dataset, folder = dataset.resolve(), folder.resolve()
    return folder.parent in (dataset.parent, dataset)
