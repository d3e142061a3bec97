"""Training and validation data side by side: checksums that tell whether they were changed, and what they share."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Set
from pathlib import Path

from ..errors import InputError
from ..run_context import RunContext
from .batches import stamp
from .captions import Captions, Pair


def checksum_pairs(side: str, pairs: list[Pair]) -> dict[str, str]:
    """Compute the checksums of pairs in files by what they are of: the pairs, and the files of the images.

    Args:
        side: "training" or "validation".
    """
    files = {image: image.resolve() for image in dict.fromkeys(pair.image for pair in pairs)}
    return {
        f"{side} pairs": _checksum(f"{files[pair.image]}\0{pair.caption}" for pair in pairs),
        f"{side} images": _checksum(map(stamp, files.values())),
    }


def checksum_shards(side: str, shards: list[Path], min_characters: int) -> dict[str, str]:
    """Compute the checksum of shards, and of what is dropped of them, by what it is of; see `checksum_pairs`."""
    return {f"{side} shards": _checksum([*(stamp(path.resolve()) for path in shards), str(min_characters)])}


def tell_shared_pairs(training: Captions, validation: Captions, context: RunContext) -> None:
    """Notify of images and patients of validation pairs that the training pairs have too.

    Raises:
        InputError: they have all images.
    """
    images = [{pair.image.resolve() for pair in side.pairs} for side in (training, validation)]
    _tell_shared("images", images[0], images[1], context, refuse=True)
    _tell_shared("patients", training.patients, validation.patients, context, refuse=False)


def tell_shared_shards(training: list[Path], validation: list[Path], context: RunContext) -> None:
    """Notify of validation shards that are training shards too.

    Raises:
        InputError: all are.
    """
    files = [{path.resolve() for path in side} for side in (training, validation)]
    _tell_shared("shards", files[0], files[1], context, refuse=True)


def _tell_shared(
    what: str, training: Set[Hashable], validation: Set[Hashable], context: RunContext, refuse: bool
) -> None:
    shared = len(training & validation)
    if shared and shared == len(validation) and refuse:
        raise InputError(
            f"All {shared} {what} of the validation data are in the training data too.",
            "Give validation data of other patients.",
        )
    if shared:
        context.notify(
            f"{shared} of {len(validation)} {what} of the validation data are in the training data too: figures of the "
            "validation are too high."
        )


def _checksum(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode(errors="surrogatepass")).hexdigest()
