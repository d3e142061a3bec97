"""Training and validation data: open them, split them by patient, compare them, and compute their checksums."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..counted import counted
from ..errors import InputError
from ..run_context import RunContext
from .batches import stamp
from .caption_text import MIN_CHARACTERS
from .captions import Pair, is_shards, read_captions, split_by_patient


@dataclass(frozen=True)
class CaptionData:
    """The image-caption pairs of a fine-tuning.

    Args:
        captions: a table or a folder, see `captions`; or shards such as "train-{00..09}.tar", see `shards`.
        images: folder that the image names in a table are relative to; by default the table's own folder.
        validation: the validation pairs, given like `captions`; None takes a share of the table's patients.
        share: that share of the patients.
        min_characters: minimum length of a caption.
    """

    captions: str
    images: Path | None = None
    validation: str | None = None
    share: float = 0.15
    min_characters: int = MIN_CHARACTERS


@dataclass
class Side:
    """The pairs for training or for validation.

    Args:
        name: "training" or "validation".
        source: the table, folder or shards as the user named them.
        pairs: pairs in files, whose images may be unreadable.
        patients: names of the patients in the table.
        shards: tar files, instead of pairs in files.
    """

    name: str
    source: str
    pairs: list[Pair] = field(default_factory=list)
    patients: set[str] = field(default_factory=set)
    shards: list[Path] = field(default_factory=list)

    def check_captions(self) -> None:
        """Refuse pairs in files with fewer than two different captions."""
        if not self.shards and len({pair.caption for pair in self.pairs}) < 2:
            all_same = ", which all have the same caption" if len(self.pairs) > 1 else ""
            raise InputError(
                f"Expected at least two captions for {self.name} in '{self.source}', got "
                f"{counted(len(self.pairs), 'usable pair')}{all_same}.",
                "Give more pairs with different captions, another validation share, or validation pairs in a table.",
            )

    def checksums(self, min_characters: int) -> dict[str, str]:
        """Compute the checksums of the pairs and the image files, or of the shards, each under a descriptive name."""
        if self.shards:
            parts = [*(stamp(path.resolve()) for path in self.shards), str(min_characters)]
            return {f"{self.name} shards": _checksum(parts)}
        files = {image: image.resolve() for image in dict.fromkeys(pair.image for pair in self.pairs)}
        return {
            f"{self.name} pairs": _checksum(f"{files[pair.image]}\0{pair.caption}" for pair in self.pairs),
            f"{self.name} images": _checksum(map(stamp, files.values())),
        }


def open_sides(data: CaptionData, seed: int, context: RunContext) -> tuple[Side, Side, list[tuple[str, str]]]:
    """Read the tables and find the shards of training and validation, without reading images.

    Returns:
        Both sides, and (reason, name) for the rows of tables that were dropped.

    Raises:
        InputError: see `captions.read_captions` and `captions.split_by_patient`. Also: shards have no validation pairs,
            a side has only one caption, or all validation data are training data.
    """
    if is_shards(data.captions) and data.validation is None:
        raise InputError("Shards name no patients to split by.", "Give separate validation pairs.")
    dropped: list[tuple[str, str]] = []
    training = _open("training", data.captions, data, dropped, context)
    if data.validation is not None:
        validation = _open("validation", data.validation, data, dropped, context)
        _compare(training, validation, context)
    else:
        kept, held_out = split_by_patient(training.pairs, data.share, seed)
        training, validation = replace(training, pairs=kept), replace(training, name="validation", pairs=held_out)
        context.notify(
            f"{counted(len(kept), 'pair')} for training and {len(held_out)} for validation, split by patient."
        )
        training.check_captions()
        validation.check_captions()
    return training, validation, dropped


def _open(name: str, source: str, data: CaptionData, dropped: list[tuple[str, str]], context: RunContext) -> Side:
    if is_shards(source):
        from .shards import expand_shards  # it imports webdataset

        return Side(name, source, shards=expand_shards(source))
    found = read_captions(Path(source), data.images, data.min_characters)
    context.notify(f"{Path(source).absolute().name}: {found.summary()}.")
    if not found.patients:
        context.notify("The table names no patients: every image counts as a separate patient.")
    elif found.unknown:
        context.notify(
            f"Without a patient: {counted(found.unknown, 'pair')}. Each of their images counts as a separate patient."
        )
    if found.contradicting:
        context.notify(
            f"Several patients are named for {counted(len(found.contradicting), 'image')}, such as "
            f"'{found.contradicting[0].name}'. They count as one patient."
        )
    if name == "training" and found.held_out:
        context.notify(
            f"The column 'split' marks {counted(found.held_out, 'row')} as test or validation. It is ignored: all rows "
            "are used. Give these rows as validation pairs in a separate table, or leave them out."
        )
    dropped += found.dropped
    side = Side(name, source, found.pairs, found.patients)
    side.check_captions()
    return side


def _compare(training: Side, validation: Side, context: RunContext) -> None:
    """Notify about what validation and training share; raise InputError if that is all images or shards."""
    trained = _parts(training)
    if training.shards or validation.shards:
        context.notify("For shards, only the files are compared: the same images in other shards go unnoticed.")
    for what, held_out in _parts(validation).items():
        shared = len(trained[what] & held_out)
        if shared and shared == len(held_out) and what != "patients":
            raise InputError(
                f"All {shared} {what} of the validation data are also in the training data.",
                "Give validation data from other patients.",
            )
        if shared:
            context.notify(
                f"{shared} of {len(held_out)} {what} of the validation data are also in the training data: the "
                "validation figures will be too high."
            )


def _parts(side: Side) -> Mapping[str, Set[Hashable]]:
    images = {pair.image.resolve() for pair in side.pairs}
    return {"images": images, "patients": side.patients, "shards": {path.resolve() for path in side.shards}}


def _checksum(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode(errors="surrogatepass")).hexdigest()
