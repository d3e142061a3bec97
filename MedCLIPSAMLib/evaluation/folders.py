"""Scores of predicted masks against true ones, case by case."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MedCLIPSAMLib.errors import InputError, MedCLIPSAMError, attempt
from MedCLIPSAMLib.evaluation.masks import WHITE, Masks, bring_to_common_grid, gray_levels, read_masks
from MedCLIPSAMLib.evaluation.metrics import dsc, hd95, nsd
from MedCLIPSAMLib.evaluation.pairs import MaskPairs, label_names, masks_in
from MedCLIPSAMLib.files.csv_text import write_rows
from MedCLIPSAMLib.run_context import RunContext
from MedCLIPSAMLib.volumes.dicom_segmentation import is_dicom_segmentation, is_structures
from MedCLIPSAMLib.volumes.geometry import Geometry
from MedCLIPSAMLib.volumes.suffixes import RASTER_SUFFIXES

METRICS = ("dsc", "nsd", "hd95")
DIFFERENCE = "difference_ml"
ONLY_SEGMENT = "mask"
VAST = Geometry(spacing=(1e7, 1e7, 1e7))
"""A grid for contours when there are no voxels to draw them on: each becomes one empty voxel and keeps its name."""
NO_PREDICTION, EMPTY, ROW = "no prediction", "empty in both", "a single row of pixels"


@dataclass(frozen=True)
class Score:
    """Scores of one segment of one case.

    Attributes:
        hd95: in `unit`; infinite if one of the masks is empty or the prediction is missing, NaN if both are empty.
        note: "no prediction", with DSC and NSD of 0; "empty in both", with DSC and NSD of 1; or "a single row of
            pixels", which has no contour, so that NSD and HD95 are NaN.
        difference_ml: volume of the prediction minus that of the truth, in ml; NaN if the spacing is unknown.
        unit: unit of lengths, "mm", or "pixels" if the spacing of either mask is unknown.
    """

    case: str
    segment: str
    dsc: float
    nsd: float
    hd95: float
    note: str = ""
    difference_ml: float = field(default=float("nan"), compare=False)  # NaN never equals NaN
    unit: str = "mm"


@dataclass(frozen=True)
class Summary:
    """Number, mean, standard deviation (n - 1), median, and 95 % interval of the mean, of the finite values."""

    n: int
    mean: float
    sd: float
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """Scores of a folder of predictions against a folder of truths.

    Attributes:
        scores: by case and segment, including missing predictions, which score 0.
        missing: cases without a prediction.
        extra: predictions without a truth.
        tolerance: tolerance of the NSD, in the unit of each score.
        failed: reason why a case could not be scored, by case.
        notes: sentences for the user on how files were read, and on names that do not match.
        extra_segments: predicted segments that the truth has in no case, as "case: segment"; they are not scored.
    """

    scores: list[Score]
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    tolerance: float = 2.0
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    extra_segments: list[str] = field(default_factory=list)

    @property
    def units(self) -> list[str]:
        """Units of length of the scores."""
        return sorted({score.unit for score in self.scores})

    @property
    def segments(self) -> list[str]:
        """Names of the segments, in alphabetical order."""
        return sorted({score.segment for score in self.scores})

    def summary(self, metric: str, segment: str | None = None, unit: str | None = None) -> Summary:
        """Summarize "dsc", "nsd", "hd95" or "difference_ml", for one segment or all, and for one unit or all.

        For all segments, the finite values of each case are averaged first: the masks of one image are not
        independent, so an interval over all of them would be too narrow.
        """
        cases: dict[str, list[float]] = defaultdict(list)
        for score in self.scores:
            value = getattr(score, metric)
            if segment in (None, score.segment) and unit in (None, score.unit) and np.isfinite(value):
                cases[score.case].append(value)
        return summarize(np.array([np.mean(values) for values in cases.values()]))


def evaluate(pairs: MaskPairs, tolerance: float = 2.0, context: RunContext = RunContext()) -> Evaluation:
    """Score predictions against their truth.

    Every case gets a score for every segment of the truth. DSC and NSD are 1 if both masks are empty, and 0 if one of
    them is empty or the prediction is missing. If no file has more than one segment and the truth has only one, masks
    are compared whatever their names. Otherwise segments are matched by name (ignoring case) or label value. The names
    that files beside the masks give to label values are used if both sides have them, or if nothing else matches.
    Cases that cannot be scored are in `Evaluation.failed`.

    Volumes of one slice are measured by their contour. Lengths are in mm, or in pixels if either spacing is unknown.

    Args:
        pairs: files by case.
        tolerance: tolerance of the NSD, in mm or pixels.

    Raises:
        InputError: no case can be scored, the names of the segments have nothing in common, or the tolerance is
            negative or not finite.
    """
    if not 0 <= tolerance < np.inf:
        raise InputError(
            f"Expected a tolerance of 0 or more, got {tolerance:g}.",
            "Give it in mm, or in pixels if sizes are unknown.",
        )
    names, numbers, failed, notes = _names(pairs)
    cases = {case: pair for case, pair in pairs.cases.items() if case not in failed}
    failed |= _gray_levels(cases, names)
    cases = {case: pair for case, pair in cases.items() if case not in failed}
    names = {path: names[path] for pair in cases.values() for path in pair if path is not None}
    labels = {path: label_names(path) for path in names}
    both = any(pred and labels[pred] and labels[truth] for pred, truth in cases.values())
    renamed = labels if both else {}
    known, predicted = _segments(cases, names, renamed)
    declared = max((len(found.keys() - {"0"}) for found in renamed.values()), default=0)
    single = len(known) <= 1 and max(map(len, names.values()), default=0) <= 1 and declared <= 1
    if not single and predicted and not known & predicted:
        renamed = labels
        known, predicted = _segments(cases, names, renamed)
        if not known & predicted and numbers:
            renamed = labels | numbers
            known, predicted = _segments(cases, names, renamed)
            path, found = next(iter(numbers.items()))
            listed = ", ".join(f"{number} is '{name}'" for name, number in list(found.items())[:5])
            notes.append(f"DICOM segments were matched by their numbers, as in '{path}': {listed}.")
        if not known & predicted:
            raise InputError(
                f"The segments of the predictions ({_listing(predicted)}) and of the truth ({_listing(known)}) differ.",
                "Give the segments the same names or label values.",
            )
    named = _segments(cases, names, labels)[1] if single else set()
    if len(named) > 1:
        notes.append(
            f"The predictions have {_listing(named)}, but the truth has one mask per case: each prediction is compared "
            "with that mask, whatever its label."
        )
    extra_segments: list[str] = []
    scores: list[Score] = []
    if not single and known - predicted and predicted - known:
        notes.append(
            f"The truth has {_listing(known - predicted)}, which no prediction has, and the predictions have "
            f"{_listing(predicted - known)}, which no truth has. If these mean the same, give them the same names."
        )
    for done, (case, (pred, truth)) in enumerate(sorted(cases.items())):
        context.report(done, len(cases), case)
        work = partial(_score_case, case, pred, truth, None if single else known, tolerance, renamed)
        scored = attempt(work, case, f"'{case}' cannot be scored")
        if isinstance(scored, MedCLIPSAMError):
            failed[case] = str(scored)
            continue
        scores += scored
        if not single and pred is not None:
            extra_segments += [f"{case}: {segment}" for segment in sorted(_renamed(names, renamed, pred) - known)]
    if failed and not scores:
        raise InputError(next(iter(failed.values())), "" if len(failed) == 1 else f"All {len(failed)} cases failed.")
    missing = sorted(case for case, (pred, _) in cases.items() if pred is None)
    failed = dict(sorted(failed.items()))
    return Evaluation(scores, missing, pairs.extra, tolerance, failed, notes, extra_segments)


def _names(pairs: MaskPairs) -> tuple[dict[Path, set[str]], dict[Path, dict[str, str]], dict[str, str], list[str]]:
    """Read the segments and their numbers of every file, the reasons for failures by case, and notes on the others."""
    names: dict[Path, set[str]] = {}
    numbers: dict[Path, dict[str, str]] = {}
    failed: dict[str, str] = {}
    notes: list[str] = []
    for case, pair in pairs.cases.items():
        found = attempt(partial(_read_pair, pair), case, f"The masks of '{case}' cannot be read")
        if isinstance(found, MedCLIPSAMError):
            failed[case] = str(found)
            continue
        names |= {masks.path: set(masks.masks) for masks in found}
        numbers |= {masks.path: masks.numbers for masks in found if masks.numbers}
        notes += [note for masks in found for note in masks.notes if note not in notes]
    return names, numbers, failed, notes


def _read_pair(pair: tuple[Path | None, Path]) -> list[Masks]:
    """Read the truth, preceded by the prediction if there is one; DICOM is placed on the grid of the other side."""
    pred_path, truth_path = pair
    if pred_path is None:
        return [read_masks(truth_path, VAST if _holds(is_structures, truth_path) else None)]
    if not _holds(is_dicom_segmentation, truth_path):
        truth = read_masks(truth_path)
        return [read_masks(pred_path, truth.geometry), truth]
    likes = _holds(is_dicom_segmentation, pred_path) and not _holds(is_structures, truth_path)
    like = read_masks(truth_path).geometry if likes else None
    pred = read_masks(pred_path, like)
    return [pred, read_masks(truth_path, pred.geometry)]


def _holds(is_kind: Callable[[Path], bool], path: Path) -> bool:
    """Tell whether a file, or any file in a folder of masks, is of a kind."""
    return any(map(is_kind, masks_in(path) if path.is_dir() else [path]))


def _renamed(names: Mapping[Path, set[str]], renamed: Mapping[Path, Mapping[str, str]], path: Path) -> set[str]:
    return {renamed.get(path, {}).get(name, name) for name in names[path]}


def _segments(
    cases: Mapping[str, tuple[Path | None, Path]],
    names: Mapping[Path, set[str]],
    renamed: Mapping[Path, Mapping[str, str]],
) -> tuple[set[str], set[str]]:
    """Return the segments of all truths and of all predictions."""
    known = set().union(*(_renamed(names, renamed, truth) for _, truth in cases.values()))
    return known, set().union(*(_renamed(names, renamed, pred) for pred, _ in cases.values() if pred))


def _gray_levels(cases: Mapping[str, tuple[Path | None, Path]], names: Mapping[Path, set[str]]) -> dict[str, str]:
    """Find cases with an image of several values, including white, which is not a label on the other side."""
    known, predicted = _segments(cases, names, {})
    failed = {}
    for case, (pred, truth) in cases.items():
        for path, others in ((pred, known), (truth, predicted)):
            white = {str(value) for value in WHITE} - others
            if path and len(names[path]) > 1 and names[path] & white and path.suffix.lower() in RASTER_SUFFIXES:
                failed[case] = str(gray_levels(path, len(names[path]) + 1))
    return failed


def summarize(values: np.ndarray) -> Summary:
    """Summarize the finite `values` (N,); the interval is a bootstrap of 10,000 draws, NaN for fewer than two."""
    from scipy.stats import bootstrap

    values = values[np.isfinite(values)]
    nan = float("nan")
    if values.size == 0:
        return Summary(0, nan, nan, nan, nan, nan)
    mean, median = float(values.mean()), float(np.median(values))
    if values.size == 1:
        return Summary(1, mean, nan, median, nan, nan)
    draws = bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", batch=500, rng=0)
    low, high = draws.confidence_interval
    return Summary(values.size, mean, float(values.std(ddof=1)), median, float(low), float(high))


def write_csv(evaluation: Evaluation, path: str | Path) -> None:
    """Write a line for each case and segment.

    Raises:
        OutputError: the folder is missing or the file cannot be written.
    """
    columns = (*METRICS, DIFFERENCE)
    rows = [["case", "segment", *columns, "unit", "tolerance", "note"]]
    for score in evaluation.scores:
        values = (f"{getattr(score, name):.6g}" for name in columns)
        rows.append([score.case, score.segment, *values, score.unit, f"{evaluation.tolerance:g}", score.note])
    write_rows(path, rows)


def _score_case(
    case: str,
    pred_path: Path | None,
    truth_path: Path,
    known: set[str] | None,
    tolerance: float,
    renamed: Mapping[Path, Mapping[str, str]],
) -> list[Score]:
    """Score one case.

    Args:
        known: the segments of the truth in all cases, None if masks are compared whatever their names.
        renamed: names of label values, by file.
    """
    *preds, truth = (masks.with_names(renamed.get(masks.path, {})) for masks in _read_pair((pred_path, truth_path)))
    pred, spacing = None, truth.grid.GetSpacing()[::-1]
    if preds:
        pred, truth, spacing = bring_to_common_grid(case, preds[0], truth)
    in_mm = truth.known_spacing and (pred is None or pred.known_spacing)
    has_volume = in_mm and spacing != VAST.spacing
    ml = float(np.prod(spacing)) / 1000 if has_volume else float("nan")
    scores = []
    for name in [None] if known is None else sorted(known):
        predicted, expected = _mask(pred, name, truth.grid), _mask(truth, name, truth.grid)
        lacks = pred is None
        surface = 0.0 if lacks else nsd(predicted, expected, spacing, tolerance)
        note = ROW if np.isnan(surface) else "" if predicted.any() or expected.any() else EMPTY
        scores.append(
            Score(
                case,
                name or ONLY_SEGMENT,
                0.0 if lacks else dsc(predicted, expected),
                surface,
                float("inf") if lacks else hd95(predicted, expected, spacing),
                NO_PREDICTION if lacks else note,
                (int(predicted.sum()) - int(expected.sum())) * ml,
                "mm" if in_mm else "pixels",
            )
        )
    return scores


def _mask(masks: Masks | None, segment: str | None, grid: sitk.Image) -> np.ndarray:
    """Return the mask of a segment, or the only mask of the file for None; empty if there is none."""
    found = {} if masks is None else masks.masks
    mask = next(iter(found.values()), None) if segment is None else found.get(segment)
    return np.zeros(grid.GetSize()[::-1], bool) if mask is None else mask


def _listing(names: set[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names)[:5]) + (" ..." if len(names) > 5 else "") or "none"
