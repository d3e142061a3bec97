"""Find pseudo-labels that disagree with a network trained on them, to strike them out before training again.

A short training learns what most labels have in common before it learns the errors of single labels. A label that is
unlike the network's own mask of that image is therefore more likely to be wrong. Leaving out such labels and training
again is the filter of CLISC (Ma et al., ISBI 2025, arXiv 2501.16246), which compares SAM's mask with the network's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..counted import counted
from ..errors import InputError
from ..evaluation.masks import bring_to_common_grid, read_masks
from ..evaluation.metrics import dsc
from ..export.manifest import REQUEST, read_records
from ..export.upkeep import read_struck
from ..files.atomic import atomic_path
from ..files.csv_text import write_rows
from ..files.json_text import read_json
from ..run_context import RunContext
from .ranking import dataset_of, mask_file
from .raw_dataset import RawDataset, read_dataset
from .trust import trusted_cases

SHARE = 0.2
"""Default share of the cases to strike out."""


@dataclass(frozen=True)
class Agreement:
    """The agreement of a network's mask with the label of a case.

    Args:
        case: name of the case.
        dsc: mean DSC over `labels`; 1 if there are none.
        labels: DSC of each label that occurs in either mask, by its name.
        trusted: whether a person set the label of the case.
    """

    case: str
    dsc: float
    labels: dict[str, float]
    trusted: bool


def measure_agreement(predictions: Path, dataset: Path, context: RunContext = RunContext()) -> list[Agreement]:
    """Compare the labels of a dataset with a network's masks of its images, case by case.

    Voxels with the ignore label do not count.

    Args:
        predictions: folder that `weak predict` wrote for the dataset; cases that have been struck out since are left
            out.
        dataset: the dataset that the network was trained on.
        context: receives the finished cases.

    Raises:
        InputError: there is no dataset, the predictions are missing or are for another dataset or other labels, a case
            has no prediction, a file cannot be read, or masks are on different grids.
        Cancelled: the context was cancelled.
    """
    found = read_dataset(dataset)
    _check_belongs(predictions, found)
    names = {f"{number}": name.lower() for number, name in found.labels.items()}
    trusted, agreements = trusted_cases(found.folder), []
    for done, case in enumerate(found.cases, 1):
        context.raise_if_cancelled()
        made, label = read_masks(predictions / mask_file(case)), read_masks(found.label(case)).with_names(names)
        made, label, _ = bring_to_common_grid(case, made, label)
        nothing = np.zeros(label.grid.GetSize()[::-1], bool)
        counts = ~label.masks.get(f"{found.ignored}", nothing)
        made = replace(made, masks={name: mask & counts for name, mask in made.masks.items()})
        scores = {
            name: dsc(made.masks.get(name.lower(), nothing), label.masks.get(name.lower(), nothing))
            for name in found.labels.values()
            if any(masks.masks.get(name.lower(), nothing).any() for masks in (made, label))
        }
        mean = float(np.mean(list(scores.values()))) if scores else 1.0
        agreements.append(Agreement(case, mean, scores, case in trusted))
        context.report(done, len(found.cases), case)
    return agreements


def choose_struck(agreements: Sequence[Agreement], below: float | None = None, share: float | None = None) -> list[str]:
    """Choose the cases to strike out, the lowest DSC first; cases with a trusted label are never chosen.

    Args:
        agreements: the agreements of all cases.
        below: choose the cases with a DSC below this, from 0 to 1.
        share: choose this share, from 0 to 1, of the cases that are not trusted. The default is `SHARE` if neither
            argument is given.

    Raises:
        InputError: both arguments are given, a number is out of its range, or no case would be left.
    """
    if below is not None and share is not None:
        raise InputError("Expected a DSC or a share, got both.", "Give one of --below and --share.")
    for name, value in (("DSC", below), ("share", share)):
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"Expected a {name} from 0 to 1, got {value:g}.", "Give it as a fraction, such as 0.2.")
    scores = {about.case: about.dsc for about in agreements if not about.trusted}
    if below is None:
        chosen = lowest(scores, SHARE if share is None else share)
    else:
        chosen = [case for case in lowest(scores, 1.0) if scores[case] < below]
    if chosen and len(chosen) == len(agreements):
        raise InputError(
            f"All cases ({len(chosen)}) would be struck out, and nothing would be left to train on.",
            "Give a lower --below or --share.",
        )
    return chosen


def lowest(scores: Mapping[str, float], share: float) -> list[str]:
    """Return a share of the cases, those with the lowest scores, the lowest first; ties are ordered by name."""
    return sorted(scores, key=lambda case: (scores[case], case))[: round(share * len(scores))]


def write_struck_list(path: Path, chosen: Sequence[str], dataset: Path) -> set[str]:
    """Write a list for `medclipsam strike`.

    It includes the cases that are already struck out, which would otherwise be restored.

    Returns:
        The cases that were already struck out.

    Raises:
        OutputError: the list cannot be written.
    """
    before = read_struck(dataset)
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{case}\n" for case in (*chosen, *sorted(before))), encoding="utf-8")
    return before


def write_table(path: Path, agreements: Sequence[Agreement], chosen: Collection[str], labels: Sequence[str]) -> None:
    """Write a table with a row per case, the lowest DSC first: whether it is struck out, and its DSC by label.

    Raises:
        OutputError: the table cannot be written.
    """
    rows: list[Sequence[Any]] = [("case", "dsc", "struck", "trusted", *labels)]
    for about in sorted(agreements, key=lambda about: (about.dsc, about.case)):
        by_label = [f"{about.labels[name]:.4f}" if name in about.labels else "" for name in labels]
        rows.append((about.case, f"{about.dsc:.4f}", int(about.case in chosen), int(about.trusted), *by_label))
    write_rows(path, rows)


def _check_belongs(predictions: Path, dataset: RawDataset) -> None:
    """Check that a folder has a prediction for each case of a dataset, with the same labels, and no other cases."""
    named = dataset_of(predictions)
    if named is not None and named != dataset.folder:
        raise InputError(
            f"'{predictions}' holds predictions of '{named}', not of '{dataset.folder}'.",
            "Predict the dataset that the network was trained on: medclipsam weak predict RUN DATASET.",
        )
    labels = read_json(predictions / REQUEST).get("labels")
    if labels != list(dataset.labels.values()):
        raise InputError(
            f"'{predictions}' has the labels {labels}, '{dataset.folder.name}' has {list(dataset.labels.values())}.",
            "Give the predictions of a network that was trained on this dataset.",
        )
    done = {case for case, record in read_records(predictions).items() if record["status"] != "failed"}
    lacking = [case for case in dataset.cases if case not in done]
    if lacking:
        raise InputError(
            f"{len(lacking)} of {len(dataset.cases)} cases of '{dataset.folder.name}' have no prediction in "
            f"'{predictions}', such as '{lacking[0]}'.",
            "Run the same medclipsam weak predict command again; it resumes.",
        )
    foreign = sorted(read_records(predictions).keys() - set(dataset.cases) - read_struck(dataset.folder))
    if foreign:
        raise InputError(
            f"'{predictions}' has {counted(len(foreign), 'case')} not of '{dataset.folder.name}', such as "
            f"'{foreign[0]}'.",
            "Give the predictions of this dataset only.",
        )
