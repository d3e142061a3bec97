"""The paths of the outputs of an image: a file that the user named, or files in a folder, named after the image."""

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
"""What may be written beside the masks, and how its files in a folder end."""


@dataclass(frozen=True)
class Places:
    """The output files of one image.

    Attributes:
        masks: label -> file; one file under "" where all labels go into it.
        maps: what was requested of `MAPS` -> file.
        kept: masks that an earlier run has written, and that are not replaced.
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
        """Folder beside the masks in which a long run stores its steps."""
        first = next(iter(self.masks.values()))
        return first.with_name(f"{first.name}{ENDING}")


@dataclass(frozen=True)
class Outputs:
    """The outputs that the user requested.

    Args:
        out: a file, or a folder for the masks of many images.
        form: of the masks; None goes by the suffix of `out`, and is .seg.nrrd in a folder.
        layout: one file for all labels, or one for each.
        maps: what is requested of `MAPS` -> file beside a file, folder beside a folder.
    """

    out: Path
    form: MaskFormat | None = None
    layout: OutputLayout = OutputLayout.ONE_FILE
    maps: Mapping[str, Path] = field(default_factory=dict)

    @property
    def is_folder(self) -> bool:
        """Whether the outputs go into folders: a path that is a folder, or has no suffix."""
        return self.out.is_dir() or not self.out.suffix

    def check(self) -> MaskFormat:
        """Return the format of the masks.

        Raises:
            OutputError: an unknown suffix, or one that does not fit the format; a path that cannot be
                written.
        """
        if self.is_folder:
            return self.form or MaskFormat.SEG_NRRD
        check_output(self.out, ENDINGS)
        name = self.out.name.lower()
        own = next(form for form in MaskFormat if name.endswith(form.ending))
        if self.form is not None and self.form.ending != own.ending:
            raise OutputError(
                f"'{self.out}' does not end as the format {self.form} does.", f"Give it the ending {self.form.ending}."
            )
        for name, path in self.maps.items():
            check_output(path, (".png",) if MAPS[name] == ".png" else LABELMAP_SUFFIXES)
        return self.form or own

    def places(self, names: Sequence[str], labels: Iterable[str]) -> list[Places]:
        """Return the files of each image, by the unique names of the images."""
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
        """Return the folders of outputs, each once; none where files were named."""
        return list(dict.fromkeys((self.out, *self.maps.values()))) if self.is_folder else []


def _parts(labels: Iterable[str]) -> dict[str, str]:
    """Return what each label adds to the name of a file, unique also where the system ignores case."""
    parts: dict[str, str] = {}
    for label in labels:
        plain = clean_name(label).replace(" ", "_")
        taken = {part.casefold() for part in parts.values()}
        numbered = (f"_{plain}" if number == 1 else f"_{plain}_{number}" for number in range(1, len(taken) + 2))
        parts[label] = next(part for part in numbered if part.casefold() not in taken)
    return parts
