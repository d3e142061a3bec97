"""Score a folder of predicted masks against a folder of true ones, case by case."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.evaluation.masks import MASK_SUFFIXES, common_grid, read_masks
from MedCLIPSAMLib.evaluation.metrics import dsc, hd95, nsd
from MedCLIPSAMLib.files.atomic import atomic_path
from MedCLIPSAMLib.run_context import RunContext
from MedCLIPSAMLib.volumes.volume import stem

METRICS = ("dsc", "nsd", "hd95")
ONLY_SEGMENT = "mask"


@dataclass(frozen=True)
class Score:
    """One segment of one case. `hd95` is in mm (pixels for pictures), infinite where one of the masks is empty."""

    case: str
    segment: str
    dsc: float
    nsd: float
    hd95: float
    note: str = ""


@dataclass(frozen=True)
class Summary:
    """Of the finite values: number, mean, standard deviation (n - 1), median and 95 % interval of the mean."""

    n: int
    mean: float
    sd: float
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """What came of two folders.

    Attributes:
        scores: by case and segment, missing predictions among them as 0.
        missing: cases without a prediction.
        extra: predictions without a truth: cases, or "case: segment".
        tolerance: of the NSD, in mm (pixels for pictures).
    """

    scores: list[Score]
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    tolerance: float = 2.0

    @property
    def segments(self) -> list[str]:
        """The names of the segments, in alphabetical order."""
        return sorted({score.segment for score in self.scores})

    def summary(self, metric: str, segment: str | None = None) -> Summary:
        """Summarize "dsc", "nsd" or "hd95", of one segment or of all."""
        scores = [score for score in self.scores if segment in (None, score.segment)]
        return summarise(np.array([getattr(score, metric) for score in scores]))


def evaluate_folders(
    pred_dir: str | Path,
    truth_dir: str | Path,
    tolerance: float = 2.0,
    context: RunContext = RunContext(),
) -> Evaluation:
    """Score every mask of `truth_dir` with the prediction of the same name; the formats may differ.

    A missing prediction scores 0. Where no file has more than one segment and the truth knows only one, masks are
    compared whatever they are called. Otherwise segments are matched by name (upper and lower case alike) or label
    value; a predicted segment that the truth has in other cases only is a false positive and scores 0.

    Volumes of one slice are measured by their contour. Lengths are mm; pixels where both files are pictures.

    Raises:
        InputError: a folder is missing or holds no mask, two files share a name, the grids of a case differ, or the
            names of the segments have nothing in common.
    """
    preds, truths = _mask_files(pred_dir, may_be_empty=True), _mask_files(truth_dir)
    names = {path: set(read_masks(path).masks) for path in [*truths.values(), *preds.values()]}
    known = set().union(*(names[path] for path in truths.values()))
    predicted = set().union(*(names[path] for case, path in preds.items() if case in truths))
    single = len(known) <= 1 and max(map(len, names.values())) <= 1
    if not single and predicted and not known & predicted:
        raise InputError(
            f"The predictions have other segments than the truth: {_listing(predicted)} and {_listing(known)}.",
            "Give the segments the same names or label values.",
        )
    extra = sorted(preds.keys() - truths.keys())
    scores: list[Score] = []
    for done, (case, truth_path) in enumerate(sorted(truths.items())):
        context.report(done, len(truths), case)
        pred_path = preds.get(case)
        if pred_path is None:
            segments = [ONLY_SEGMENT] if single else sorted(names[truth_path]) or sorted(known)
            scores += [Score(case, segment, 0.0, 0.0, float("inf"), "no prediction") for segment in segments]
            continue
        scores += _score_case(case, pred_path, truth_path, None if single else known, tolerance)
        if not single:
            extra += [f"{case}: {segment}" for segment in sorted(names[pred_path] - known)]
    return Evaluation(scores, sorted(truths.keys() - preds.keys()), extra, tolerance)


def summarise(values: np.ndarray, seed: int = 0) -> Summary:
    """Summarize the finite `values` (N,); the interval by a bootstrap of 10,000 draws, NaN for less than two."""
    from scipy.stats import bootstrap

    values = values[np.isfinite(values)]
    nan = float("nan")
    if values.size == 0:
        return Summary(0, nan, nan, nan, nan, nan)
    mean, median = float(values.mean()), float(np.median(values))
    if values.size == 1:
        return Summary(1, mean, nan, median, nan, nan)
    draws = bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", batch=500, rng=seed)
    low, high = draws.confidence_interval
    return Summary(values.size, mean, float(values.std(ddof=1)), median, float(low), float(high))


def write_csv(evaluation: Evaluation, path: str | Path) -> None:
    """Write a line for each case and segment.

    Raises:
        OutputError: the folder is missing or the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "segment", *METRICS, "note"])
    for score in evaluation.scores:
        writer.writerow([score.case, score.segment, *(f"{getattr(score, name):.6g}" for name in METRICS), score.note])
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def _score_case(case: str, pred_path: Path, truth_path: Path, known: set[str] | None, tolerance: float) -> list[Score]:
    """Score one case; `known` are the segments of the truth of all cases, None where there is but one."""
    pred, truth, spacing = common_grid(case, read_masks(pred_path), read_masks(truth_path))
    nothing = np.zeros(truth.grid.GetSize()[::-1], bool)
    if known is None:
        first = lambda masks: next(iter(masks.values()), nothing)
        pairs = {ONLY_SEGMENT: (first(pred.masks), first(truth.masks))}
    else:
        segments = sorted((pred.masks.keys() | truth.masks.keys()) & known)
        pairs = {name: (pred.masks.get(name, nothing), truth.masks.get(name, nothing)) for name in segments}
    return [
        Score(case, name, dsc(one, other), nsd(one, other, spacing, tolerance), hd95(one, other, spacing))
        for name, (one, other) in pairs.items()
    ]


def _mask_files(folder: str | Path, may_be_empty: bool = False) -> dict[str, Path]:
    """Find the mask files of a folder by their names without suffix."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"There is no folder '{folder}'.", "Check the path.")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file() or not path.name.lower().endswith(MASK_SUFFIXES):
            continue
        if stem(path) in files:
            other = files[stem(path)].name
            raise InputError(f"'{path.name}' and '{other}' in '{folder}' are the same case.", "Keep one.")
        files[stem(path)] = path
    if not files and not may_be_empty:
        raise InputError(f"The folder '{folder}' holds no mask.", f"Readable are: {', '.join(MASK_SUFFIXES)}.")
    return files


def _listing(names: set[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names)[:5]) + (" ..." if len(names) > 5 else "")
