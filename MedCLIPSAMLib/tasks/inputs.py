"""Find the images in files and folders, and give each a unique name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from ..errors import InputError
from ..export.cases import ImageChoice, case_names, images_below
from ..export.image_names import hide_names
from ..volumes import Volume, read_volume
from ..volumes.archive import is_zip
from ..volumes.dicom_header import is_directory


@dataclass(frozen=True)
class Input:
    """One image.

    Args:
        name: name for its outputs.
        path: a file, or the folder of a DICOM series.
        series, phase: see `read_volume`.
        anonymous: whether reports show only this name, not the path.
    """

    name: str
    path: Path
    series: str | None = None
    phase: str | None = None
    anonymous: bool = False

    @property
    def shown(self) -> str:
        """Name of the image in reports."""
        return self.name if self.anonymous else str(self.path)

    def hide_names(self, text: str) -> str:
        """Remove the names of the image's files from a sentence if the image is anonymous."""
        return hide_names(text, self.path, self.path.parent) if self.anonymous else text

    @property
    def holds_images(self) -> bool:
        """Whether the path is a folder of several images or of an image file, and none of them was chosen."""
        if not self.path.is_dir() or self.series is not None:
            return False
        try:
            found = images_below(self.path, notify=lambda note: None)
        except InputError:
            return False
        return len(found) > 1 or found[0][1].is_file()

    def read(self) -> Volume:
        """Read the image; raises the same errors as `read_volume`."""
        return read_volume(self.path, self.series, self.phase)


def find_inputs(
    paths: Sequence[Path],
    series: str | None = None,
    phase: str | None = None,
    notify: Callable[[str], None] = lambda note: None,
) -> list[Input]:
    """Find the images in files and folder trees: named files, and the image files and DICOM series of folders.

    A DICOMDIR stands for the folder that it is in. A missing file stays in the list; reading it reports the error.

    Args:
        paths: files and folders.
        series: take only the DICOM series of folders and zip files that match this UID, number, or words of the
            description.
        phase: which phase of series with several images at one position.
        notify: told which files of folders are left out.

    Raises:
        InputError: a folder holds no images.
    """
    found: dict[tuple[Path, str | None], tuple[Path, Path]] = {}
    for path in paths:
        if path.is_file() and is_directory(path):
            path = path.parent
        if not path.is_dir():
            within = series if path.is_file() and is_zip(path) else None
            found.setdefault((path.resolve(), within), (Path(path.name), path))
            continue
        for inside, image, uid in images_below(path, ImageChoice(series), notify):
            short = inside if inside.parts else Path(path.resolve().name)
            found.setdefault((image.resolve(), uid), (short, image))
    names = _names([short for short, _ in found.values()], [image for image, _ in found])
    return [Input(name, image, uid, phase) for name, (_, uid), (_, image) in zip(names, found, found.values())]


def _names(short: Sequence[Path], images: Sequence[Path]) -> list[str]:
    """Name images by their short paths, or by their paths from the common folder if two short paths are equal.

    Args:
        short: short path of each image.
        images: resolved path of each image.
    """
    levels = zip(*(image.parent.parts for image in images))
    shared = len([*takewhile(lambda level: len(set(level)) == 1, levels)])  # 0 on several drives of Windows
    lowered = [folder.as_posix().lower() for folder in short]
    count = Counter(lowered)
    longer = [
        folder if count[text] == 1 else Path(*image.parent.parts[shared:], folder.name)
        for folder, text, image in zip(short, lowered, images)
    ]
    return case_names(longer)
