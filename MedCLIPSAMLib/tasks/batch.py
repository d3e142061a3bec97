"""The images of one command and the paths of their outputs, checked and locked before models are loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..choices import MaskFormat
from ..errors import InputError, OutputError
from ..export.case_key import CaseKey
from ..export.known import Sources
from ..files.claim import claim, refuse_foreign
from ..files.json_text import read_json, write_json
from ..files.outputs import MARKER, check_outputs
from ..files.unfinished import STEPS, check_unfinished, discard_unfinished, hold_unfinished
from ..volumes.archive import is_zip
from ..volumes.dicom_header import is_directory
from ..volumes.slice_count import slice_count
from ..volumes.volume import clean_name, stem
from .inputs import Input, find_inputs
from .mask_sources import add_source, read_sources
from .places import Outputs, Places

MADE_BY = "medclipsam segment"
LEFT_OUT = "left out"
"""Key in the marker of a folder for the labels that the models cannot process."""


@dataclass(frozen=True)
class Batch:
    """The images of a command.

    Attributes:
        work: images and the paths of their outputs.
        folders: folders of outputs; empty if the output is a file.
        overwrite: whether to replace existing files.
    """

    work: list[tuple[Input, Places]]
    folders: list[Path]
    overwrite: bool

    def claim(self, request: Mapping[str, Any], locks: ExitStack) -> None:
        """Lock the output folders until `locks` closes; a folder holds results of only one request.

        Args:
            request: what the results depend on besides the chosen phase and the series chosen in zip files. These two
                are added, the series because the names of the outputs do not tell it.
            locks: holds the locks.

        Raises:
            OutputError: another run is using a folder, or it holds results of another request.
        """
        zipped = {image.series for image, _ in self.work if image.path.is_file() and is_zip(image.path)}
        chosen = {"phase": {image.phase for image, _ in self.work}, "series": zipped}
        given = {name: sorted(filter(None, values)) for name, values in chosen.items()}
        wanted = {"made by": MADE_BY, **request, **{name: values for name, values in given.items() if values}}
        for folder in self.folders:
            _take(folder, wanted, self.overwrite, locks)

    def split(self) -> tuple[list[tuple[Input, Places]], list[tuple[Input, Places]]]:
        """Return the images still to segment, and those that the same command has finished before.

        An image is finished if all its files exist, except those of labels that were left out. Existing masks are kept
        even if other files of their image are missing. Steps that a killed run left beside a finished image are
        removed.
        """
        if not self.folders or self.overwrite:
            return self.work, []
        todo: list[tuple[Input, Places]] = []
        finished: list[tuple[Input, Places]] = []
        left_out = _left_out(self.folders[0])
        for image, places in self.work:
            masks = {label: path for label, path in places.masks.items() if label not in left_out or path.exists()}
            written = replace(places, masks=masks)
            if masks and all(path.exists() for path in written.files):
                if places.unfinished.is_dir():  # from a run killed after its last file was in place
                    with suppress(OutputError), hold_unfinished(places.unfinished):
                        discard_unfinished(places.unfinished)
                finished.append((image, written))
            else:
                kept = frozenset(path for path in masks.values() if path.exists())
                todo.append((image, replace(places, kept=kept)))
        return todo, finished

    def record_left_out(self, labels: Iterable[str]) -> None:
        """Record in the claimed folder which labels get no mask for any image, before the first mask is written."""
        for folder in self.folders[:1]:
            recorded = list(dict.fromkeys([*_left_out(folder), *labels]))
            write_json(folder / MARKER, _read_marker(folder) | {LEFT_OUT: recorded})

    def describe_source(self, image: Input, places: Places) -> dict[str, Any]:
        """Describe the files of an image before it is read; {} if masks are kept or the output is a single file."""
        source = Sources().describe(image.path) if self.folders and not places.kept else {}
        return {name: source[name] for name in source if name != "time" or not image.anonymous}

    def record_source(self, image: Input, source: Mapping[str, Any]) -> None:
        """Record the files from which new masks of an image are made."""
        if source:
            add_source(self.folders[0], image.name, source)

    def exchanged(self) -> list[Input]:
        """Find the images whose existing masks are kept although they were made from different files."""
        if not self.folders or self.overwrite:
            return []
        known, sources = read_sources(self.folders[0]), Sources()
        staying = (image for image, places in self.work if any(path.exists() for path in places.masks.values()))
        return [
            image for image in staying if known.get(image.name) and not sources.is_same(image.path, known[image.name])
        ]

    @property
    def unfinished_steps(self) -> int:
        """Number of steps stored beside the outputs, from which unfinished runs resume."""
        return sum(len(list(places.unfinished.glob(STEPS))) for _, places in self.work)


def prepare(
    paths: Sequence[Path],
    outputs: Outputs,
    labels: Sequence[str],
    overwrite: bool = False,
    series: str | None = None,
    phase: str | None = None,
    key: CaseKey | None = None,
    notify: Callable[[str], None] = lambda note: None,
) -> Batch:
    """Find the images and the paths of their outputs, and refuse outputs that cannot be written.

    Args:
        paths: files and folders of images.
        outputs: the requested outputs.
        labels: labels of the segments.
        overwrite: replace existing files.
        series, phase: see `read_volume`.
        key: names the images by number.
        notify: told which files of folders are left out.

    Raises:
        InputError: there are no images, or the output is one file but there are several inputs or a key.
        OutputError: an output is an input, exists already, or is the same as another; or a folder holds something
            else.
    """
    if not outputs.is_folder:
        if key is not None:
            raise InputError("--anonymous needs a folder as output, got a file.", "Give -o a folder.")
        if len(paths) > 1:
            raise InputError(
                f"The masks of {len(paths)} inputs cannot go into one file, '{outputs.out}'.",
                "Give -o a folder: a name without a suffix.",
            )
        image = Input(clean_name(stem(paths[0])), paths[0], series, phase)
        (places,) = outputs.places([image.name], labels)
        of_disc = [path.parent for path in paths if path.is_file() and is_directory(path)]
        check_outputs([*paths, *of_disc], places.files, overwrite)
        check_unfinished(places.unfinished)
        _check_slices([(image, places)], outputs)
        return Batch([(image, places)], [], overwrite)
    for folder in outputs.folders():
        refuse_foreign(folder, MARKER)
    images = find_inputs(paths, series, phase, notify)
    if key is not None:
        images = _number(images, key, outputs)
    work = list(zip(images, outputs.places([image.name for image in images], labels)))
    files = [path for _, places in work for path in places.files]
    named = Counter(str(path).casefold() for path in files)
    twice = next((path for path in files if named[str(path).casefold()] > 1), None)
    if twice:
        raise OutputError(
            f"Two outputs are the same file, '{twice}'.", "Rename an image, or segment it in a separate command."
        )
    check_outputs(
        [image.path for image in images if image.path.is_file()], [path for path in files if path.exists()], True
    )
    _check_slices(work, outputs)
    return Batch(work, outputs.folders(), overwrite)


def _check_slices(work: Sequence[tuple[Input, Places]], outputs: Outputs) -> None:
    """Refuse PNG for images that have several slices according to their headers."""
    for image, places in work if outputs.check() == MaskFormat.PNG else ():
        count = slice_count(image.path, image.series) if image.path.exists() else None
        if count is not None and count > 1:
            raise OutputError(f"Cannot write {count} slices to '{places.files[0]}'.", "Write .nii.gz or .seg.nrrd.")


def _number(images: Sequence[Input], key: CaseKey, outputs: Outputs) -> list[Input]:
    """Name images by the numbers of the key; refuse DICOM objects, which carry the patient's identity."""
    if outputs.check() in (MaskFormat.DICOM_SEG, MaskFormat.RTSTRUCT):
        raise OutputError("DICOM objects carry the identity of the patient and the study.", "Choose another --format.")
    for folder in outputs.folders():
        key.check_outside(folder)
    names = key.number([(image.path, image.series) for image in images])
    return [replace(image, name=name, anonymous=True) for image, name in zip(images, names)]


def _take(folder: Path, request: dict[str, Any], overwrite: bool, locks: ExitStack) -> None:
    """Claim a folder; with `overwrite` also one of another request of this command, which this request replaces."""
    before = _read_marker(folder)
    replaced = overwrite and before.get("made by") == MADE_BY
    recorded = {LEFT_OUT: before[LEFT_OUT]} if LEFT_OUT in before else {}
    locks.callback(claim(folder, MARKER, before if replaced else request | recorded).close)
    if replaced:
        write_json(folder / MARKER, request)


def _left_out(folder: Path) -> list[str]:
    labels = _read_marker(folder).get(LEFT_OUT)
    return [label for label in labels if isinstance(label, str)] if isinstance(labels, list) else []


def _read_marker(folder: Path) -> dict[str, Any]:
    """Read the marker of a folder; empty if there is no readable one."""
    with suppress(OSError, ValueError):
        marker = read_json(folder / MARKER)
        return marker if isinstance(marker, dict) else {}
    return {}
