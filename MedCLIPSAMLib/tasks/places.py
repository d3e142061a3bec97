"""The output paths of an image: a file that the user named, or files in a folder, named after the image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..choices import MaskFormat, OutputLayout
from ..errors import OutputError
from ..files.unfinished import ENDING
from ..volumes.volume import clean_name
from ..volumes.write import LABELMAP_SUFFIXES, SEGMENTATION_SUFFIXES, check_output

ENDINGS = (*SEGMENTATION_SUFFIXES, ".dcm")
MAPS = {"saliency": ".nii.gz", "uncertainty": ".nii.gz", "overlay": ".png", "montage": ".png"}
"""Outputs besides the masks, and the suffixes of their files in a folder."""


@dataclass(frozen=True)
class Places:
    """The output files of one image.

    Attributes:
        masks: label -> file; if all labels go into one file, its key is "".
        maps: requested key of `MAPS` -> file.
        kept: masks written by an earlier run, which are not replaced.
    """

    masks: dict[str, Path]
    maps: dict[str, Path] = field(default_factory=dict)
    kept: frozenset[Path] = frozenset()

    @property
    def files(self) -> list[Path]:
        """All files."""
        return [*self.masks.values(), *self.maps.values()]

    @property
    def unfinished(self) -> Path:
        """Folder beside the masks in which an unfinished run stores its steps."""
        first = next(iter(self.masks.values()))
        return first.with_name(f"{first.name}{ENDING}")


@dataclass(frozen=True)
class Outputs:
    """The outputs that the user requested.

    Args:
        out: a file, or a folder for the masks of many images.
        form: format of the masks; None means that of the suffix of `out`, or .seg.nrrd in a folder.
        layout: one file for all labels, or one for each.
        maps: requested key of `MAPS` -> path: a file if `out` is a file, else a folder.
    """

    out: Path
    form: MaskFormat | None = None
    layout: OutputLayout = OutputLayout.ONE_FILE
    maps: Mapping[str, Path] = field(default_factory=dict)

    @property
    def is_folder(self) -> bool:
        """Whether the outputs go into folders: `out` is an existing folder, or has no suffix."""
        return self.out.is_dir() or not self.out.suffix

    def check(self) -> MaskFormat:
        """Return the format of the masks.

        Raises:
            OutputError: a suffix is unknown or does not fit the format, or a path cannot be written.
        """
        if self.is_folder:
            return self.form or MaskFormat.SEG_NRRD
        check_output(self.out, ENDINGS)
        name = self.out.name.lower()
        own = next(form for form in MaskFormat if name.endswith(form.ending))
        if self.form is not None and self.form.ending != own.ending:
            raise OutputError(
                f"'{self.out}' does not have the suffix of the format {self.form}.",
                f"Give it the suffix {self.form.ending}.",
            )
        for name, path in self.maps.items():
            check_output(path, (".png",) if MAPS[name] == ".png" else LABELMAP_SUFFIXES)
        return self.form or own

    def places(self, names: Sequence[str], labels: Iterable[str]) -> list[Places]:
        """Return the files of each image.

        Args:
            names: unique names of the images.
            labels: labels of the segments.
        """
        form = self.check()
        parts = _parts(labels) if self.layout == OutputLayout.FILE_PER_LABEL else {"": ""}
        if not self.is_folder:
            cut = len(self.out.name) - len(form.ending)
            stem, ending = self.out.name[:cut], self.out.name[cut:]
            masks = {label: self.out.with_name(f"{stem}{part}{ending}") for label, part in parts.items()}
            return [Places(masks, dict(self.maps))]
        return [
            Places(
                {label: self.out / f"{name}{part}{form.ending}" for label, part in parts.items()},
                {kind: folder / f"{name}_{kind}{MAPS[kind]}" for kind, folder in self.maps.items()},
            )
            for name in names
        ]

    def folders(self) -> list[Path]:
        """Return the output folders without duplicates; empty if the outputs are files."""
        return list(dict.fromkeys((self.out, *self.maps.values()))) if self.is_folder else []


def _parts(labels: Iterable[str]) -> dict[str, str]:
    """Return the part of the file name for each label, unique even on file systems that ignore case."""
    parts: dict[str, str] = {}
    for label in labels:
        plain = clean_name(label).replace(" ", "_")
        taken = {part.casefold() for part in parts.values()}
        numbered = (f"_{plain}" if number == 1 else f"_{plain}_{number}" for number in range(1, len(taken) + 2))
        parts[label] = next(part for part in numbered if part.casefold() not in taken)
    return parts
