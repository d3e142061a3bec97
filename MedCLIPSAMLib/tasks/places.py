"""The paths of the outputs of an image: a file that the user named, or files in a folder, named after the image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..choices import MaskFormat, OutputLayout
from ..errors import OutputError
from ..files.unfinished import ENDING
from ..volumes.volume import clean_name
from ..volumes.write import LABELMAP_SUFFIXES, SEGMENTATION_SUFFIXES, check_output

ENDINGS = (*SEGMENTATION_SUFFIXES, ".dcm")


@dataclass(frozen=True)
class Places:
    """The output files of one image.

    Attributes:
        masks: label -> file; one file under "" where all labels go into it.
        saliency, uncertainty, overlay, montage: None where not requested.
        kept: masks that an earlier run has written, and that are not replaced.
    """

    masks: dict[str, Path]
    saliency: Path | None = None
    uncertainty: Path | None = None
    overlay: Path | None = None
    montage: Path | None = None
    kept: frozenset[Path] = frozenset()

    @property
    def files(self) -> list[Path]:
        """All files."""
        more = (self.saliency, self.uncertainty, self.overlay, self.montage)
        return [*self.masks.values(), *(path for path in more if path is not None)]

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
        saliency, uncertainty, overlay, montage: files beside a file, folders beside a folder.
    """

    out: Path
    form: MaskFormat | None = None
    layout: OutputLayout = OutputLayout.ONE_FILE
    saliency: Path | None = None
    uncertainty: Path | None = None
    overlay: Path | None = None
    montage: Path | None = None

    @property
    def is_folder(self) -> bool:
        """Whether the outputs go into folders: a path that is a folder, or has no suffix."""
        return self.out.is_dir() or not self.out.suffix

    @property
    def beside(self) -> list[Path]:
        """The outputs besides the masks that were requested."""
        more = (self.saliency, self.uncertainty, self.overlay, self.montage)
        return [path for path in more if path is not None]

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
        for path in self.beside:
            check_output(path, LABELMAP_SUFFIXES if path in (self.saliency, self.uncertainty) else (".png",))
        return self.form or own

    def places(self, names: Sequence[str], labels: Iterable[str]) -> list[Places]:
        """Return the files of each image, by the unique names of the images."""
        form = self.check()
        parts = _parts(labels) if self.layout == OutputLayout.FILE_PER_LABEL else {"": ""}
        if not self.is_folder:
            cut = len(self.out.name) - len(form.ending)
            stem, ending = self.out.name[:cut], self.out.name[cut:]
            masks = {label: self.out.with_name(f"{stem}{part}{ending}") for label, part in parts.items()}
            return [Places(masks, self.saliency, self.uncertainty, self.overlay, self.montage)]
        inside = lambda folder, name: None if folder is None else folder / name
        return [
            Places(
                {label: self.out / f"{name}{part}{form.ending}" for label, part in parts.items()},
                inside(self.saliency, f"{name}_saliency.nii.gz"),
                inside(self.uncertainty, f"{name}_uncertainty.nii.gz"),
                inside(self.overlay, f"{name}_overlay.png"),
                inside(self.montage, f"{name}_montage.png"),
            )
            for name in names
        ]

    def folders(self) -> list[Path]:
        """Return the folders of outputs, each once; none where files were named."""
        return list(dict.fromkeys((self.out, *self.beside))) if self.is_folder else []


def _parts(labels: Iterable[str]) -> dict[str, str]:
    """Return what each label adds to the name of a file, unique also where the system ignores case."""
    parts: dict[str, str] = {}
    for label in labels:
        plain = clean_name(label).replace(" ", "_")
        taken = {part.casefold() for part in parts.values()}
        numbered = (f"_{plain}" if number == 1 else f"_{plain}_{number}" for number in range(1, len(taken) + 2))
        parts[label] = next(part for part in numbered if part.casefold() not in taken)
    return parts
