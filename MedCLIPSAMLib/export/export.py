"""Pseudo-labels in bulk: every case is segmented by its prompts and written into a dataset.

A case enters the manifest once its files are complete, so a killed run resumes with the next case. A broken file is
recorded as failed, and the run continues.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..choices import ExportFormat
from ..errors import OutputError
from ..files.atomic import check_place, sweep
from ..files.claim import refuse_foreign
from ..run_context import RunContext
from .case_key import CaseKey
from .cases import Case, check_names
from .dataset import check_folder, check_labels, check_slices
from .dicom_seg import check_dicom_cases
from .engines import Engine
from .folder_tree import REQUEST
from .image_names import ImageNames
from .job import ExportJob, ExportSettings
from .known import Sources, check_prompts, describing, exchanged, with_known_names
from .manifest import Manifest
from .upkeep import read_struck, refresh


def export(
    cases: Sequence[Case],
    engine: Engine,
    out: Path,
    settings: ExportSettings = ExportSettings(),
    context: RunContext = RunContext(),
    retry: bool = False,
    key: CaseKey | None = None,
) -> dict[str, int]:
    """Segment and write every case that is not yet in the manifest of `out`, or whose image has changed.

    Cases that were struck out are skipped.

    Args:
        engine: segments on this machine or on a cluster; the masks are the same.
        out: the dataset's folder: new, empty, or from the same export.
        context: reports each finished case, with its name as the message, and its status.
        retry: also process failed cases again if their image has not changed.
        key: names the cases by number; nothing else in the dataset then names their images.

    Returns:
        The number of cases in the manifest by status: "found", "empty", "filtered", "failed".

    Raises:
        InputError: two cases have the same name, a label is invalid, or the folder or a volume does not fit the
            format. OutputError: see `Manifest`; the prompts differ from those before; or the disk is full (finished
            cases are kept). Cancelled: finished cases are kept.
    """
    check_request(cases, out, settings, key)
    if key is not None:
        names = key.number([(case.image, case.series) for case in cases])
        cases = [replace(case, name=name) for case, name in zip(cases, names)]
    check_names(cases)
    labels = _labels(cases)
    manifest = Manifest(out, _describe_request(cases, engine, settings, labels) | ({"anonymous": True} if key else {}))
    started = time.monotonic()
    try:
        records, images = manifest.records, ImageNames(out, key is not None)
        cases, todo = plan_cases(cases, out, records, images, retry)
        _say_other_folder(cases, images, context)
        write = describing(todo, out, dict(records), images, manifest.write)
        job = ExportJob(out, settings, tuple(labels))
        for finished, record in enumerate(engine.run(todo, job, write, context), 1):
            left = (len(todo) - finished) * (time.monotonic() - started) / finished
            done, name = len(cases) - len(todo) + finished, record["case"]
            context.report(done, len(cases), name, seconds_left=left, status=record["status"])
        sweep(out)  # remove half-written files of workers that died
    finally:
        try:
            refresh(out, settings.form, labels)
        finally:
            manifest.close()
    counts: dict[str, int] = {}
    for record in manifest.records.values():
        counts[record["status"]] = counts.get(record["status"], 0) + 1
    return counts


def plan_cases(
    cases: Sequence[Case], out: Path, records: Mapping[str, Mapping[str, Any]], images: ImageNames, retry: bool = False
) -> tuple[list[Case], list[Case]]:
    """Find the names of the cases in a dataset, and which of them an export would process, without writing anything.

    Returns:
        All cases, and those to process: new ones, those whose image has changed, and failed ones to retry.

    Raises:
        InputError: two cases have the same name. OutputError: the prompts differ from those before.
    """
    cases = [replace(case, image=case.image.absolute(), root=case.folder.absolute()) for case in cases]
    cases = with_known_names(cases, records, images)
    check_names(cases)
    check_prompts(cases, records)
    again = exchanged(cases, records, Sources(), images)
    again |= {name for name, record in records.items() if retry and record["status"] == "failed"}
    again -= read_struck(out)  # until they are put back
    return cases, [case for case in cases if case.name not in records or case.name in again]


def _labels(cases: Sequence[Case]) -> list[str]:
    return list(dict.fromkeys(label for case in cases for label in case.prompts))


def _say_other_folder(cases: Sequence[Case], images: ImageNames, context: RunContext) -> None:
    """Notify the user if the dataset already has images, and these come from other folders."""
    now = {str(case.folder.resolve()) for case in cases}
    if images.stored and not now & set(images.stored):
        context.notify(
            f"These images come from '{min(now)}'; those in the dataset came from '{images.stored[-1]}'. "
            "The cases are added to it."
        )


def check_request(cases: Sequence[Case], out: Path, settings: ExportSettings, key: CaseKey | None = None) -> None:
    """Refuse an invalid export before models are loaded for it; see `export` for the arguments.

    Raises:
        InputError: the folder's name, a label, or an image (judged by its header) does not fit the format.
        OutputError: the folder holds something else, or, with a key, the key lies in the dataset or the format carries
            the patient's identity.
    """
    check_folder(out, settings.form)
    check_place(out)
    refuse_foreign(out, REQUEST)
    check_labels(_labels(cases))
    check_slices(settings.form, cases, settings.min_expected_dsc)
    check_dicom_cases(settings.form, cases)
    if key is None:
        return
    if settings.form == ExportFormat.DICOM_SEG:
        raise OutputError(
            "DICOM segmentations carry the identity of the patient and the study.", "Choose another format."
        )
    key.check_outside(out)


def _describe_request(
    cases: Sequence[Case], engine: Engine, settings: ExportSettings, labels: Sequence[str]
) -> dict[str, Any]:
    """Return everything the masks depend on besides images and prompts, as JSON values."""
    phases = sorted({case.phase for case in cases if case.phase})
    request: dict[str, Any] = {
        "models": {"clip": engine.clip, "sam": engine.sam, "version": __version__},
        "export": {**asdict(settings), "max_ml": min(settings.max_ml, 1e12)},
        "segmenter": engine.settings.deciding(),
        "labels": list(labels),
    }
    return request | ({"phase": phases} if phases else {})
