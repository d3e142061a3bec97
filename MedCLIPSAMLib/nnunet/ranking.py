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

    Raises:
        InputError: the folder holds no predictions.
    """
    try:
        request = read_json(folder / REQUEST)
        if "model" not in request:
            raise KeyError("model")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"'{folder}' holds no predictions.", "Give the folder that medclipsam weak predict wrote."
        ) from error
    return (folder / str(request["dataset"])).resolve() if request.get("dataset") else None
