"""TIFF of the kinds that Pillow does not read, or reads as other values: read by tifffile, or refused by name.

tifffile is imported at the first such file; scikit-image brings it.
"""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes.alpha import ALPHA_NOTE, check_mask_alpha

BITS, PHOTOMETRIC, SAMPLES, PLANES, EXTRA_SAMPLES, SAMPLE_FORMAT = 258, 262, 277, 284, 338, 339
SEPARATE = 2
"""Of PlanarConfiguration: each sample of all pixels by itself."""
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
"""Values of SampleFormat (TIFF 6.0, section 19)."""
FORMATS = {UNSIGNED: "unsigned", SIGNED: "signed", FLOAT: "floating-point"}
CHANNELS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3}
ALPHA = (1, 2)
"""Values of ExtraSamples that are an alpha channel."""
EXTRA_NOTE = "The samples of each pixel that are neither gray nor RGB were left out."
TURNS = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}
"""What makes a stored image upright, by the value of Orientation; 1 is upright."""
MAX_COMPRESSION = 10_000
"""Headers that declare pixels of more than so many times the bytes of their file, all pages together, are wrong."""
REMEDY = "Save it as gray of 8, 16 or 32 bits in which black is the lowest value, or as RGB of 8 bits{example}."
EXAMPLE = ", for example: python -c \"import tifffile as t; t.imwrite('gray.tif', {pixels})\""


def is_read_by_pillow(page: Image.Image) -> bool:
    """Tell whether Pillow returns the values of a page that it opens."""
    kind, bits = _tag(page, SAMPLE_FORMAT, UNSIGNED), _tag(page, BITS, 1)
    in_planes = _tag(page, SAMPLES, 1) > 1 and _tag(page, PLANES, 1) == SEPARATE
    return not (
        (kind, bits) in ((SIGNED, 8), (UNSIGNED, 32))  # read as unsigned, and as signed
        or (kind == FLOAT and is_white_zero(page))  # which is not inverted
        or (
            in_planes and (bits > 8 or _tag(page, PHOTOMETRIC, BLACK_IS_ZERO) <= BLACK_IS_ZERO)
        )  # read as if it were not
    )


def is_white_zero(page: Image.Image) -> bool:
    """Tell whether 0 is white on a page of TIFF; Pillow inverts such pages of 8 bits at most."""
    return _tag(page, PHOTOMETRIC, BLACK_IS_ZERO) == WHITE_IS_ZERO


def has_unnamed_samples(page: Image.Image) -> bool:
    """Tell whether the pixels of a page of TIFF hold more than gray or colors and alpha."""
    return _tag(page, EXTRA_SAMPLES, ALPHA[0]) not in ALPHA


def read_tiff(path: Path, notes: list[str], is_mask: bool) -> tuple[list[np.ndarray], bool, int]:
    """Read the pages of a file, upright by the orientation of the first: gray (J, I), or RGB (J, I, 3) of any depth.

    Returns:
        The pages, whether they were reduced to 8 bits (never), and the orientation.

    Raises:
        InputError: damaged, truncated, too large, or of a kind that is not read.
    """
    tifffile = _load_tifffile()
    damaged = (
        tifffile.TiffFileError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        struct.error,
        zlib.error,
    )
    try:
        with _unlogged(), tifffile.TiffFile(path) as file:
            tag = file.pages[0].tags.get("Orientation")
            turned = int(tag.value) if tag is not None else 1
            turn = TURNS.get(turned, lambda pixels: pixels)
            _check_size(file.pages, path)
            return [turn(_pixels(page, path, notes, is_mask)) for page in file.pages], False, turned
    except (*damaged, OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"'{path}' cannot be read as TIFF: {error}.", "Is the file complete? " + REMEDY.format(example="")
        ) from error


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keep tifffile from logging what is wrong with a file, which the error says."""
    log = logging.getLogger("tifffile")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _load_tifffile() -> Any:
    try:
        import tifffile
    except ImportError as error:
        raise InputError(
            f"This kind of TIFF needs a package that is not installed: {error.name}.",
            "In 3D Slicer press Install under Installation, elsewhere run: pip install tifffile",
        ) from error
    return tifffile


def _tag(page: Image.Image, number: int, missing: int) -> int:
    """Return the first value of a tag of TIFF."""
    values = np.atleast_1d(page.tag_v2.get(number, missing))  # type: ignore[attr-defined]
    return int(values[0]) if values.size else missing


def _check_size(pages: Sequence[Any], path: Path) -> None:
    limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # as Pillow's
    if limit and any(page.imagewidth * page.imagelength * page.imagedepth > limit for page in pages):
        raise InputError(f"'{path}' is too large: over {limit} pixels.", "Cut it, or save it smaller.")
    lacks_pixels = any(not page.dataoffsets or not all(page.dataoffsets) for page in pages)
    if lacks_pixels or sum(page.nbytes for page in pages) > MAX_COMPRESSION * path.stat().st_size:
        raise InputError(f"'{path}' is truncated: pixels are missing.", "Copy or export it again.")


def _pixels(page: Any, path: Path, notes: list[str], is_mask: bool) -> np.ndarray:
    photometric, samples = int(page.photometric), int(page.samplesperpixel)
    channels = CHANNELS.get(photometric)
    kind = FORMATS.get(int(page.sampleformat))
    inverted = photometric == WHITE_IS_ZERO
    is_read = channels is not None and channels <= samples <= channels + 1 and page.imagedepth == 1
    if not is_read or kind is None or (inverted and kind != "unsigned"):
        pixels = f"t.imread('{path.name}')"
        pixels = f"-{pixels}" if inverted and samples == 1 else f"{pixels}[..., 0]"
        raise InputError(
            f"'{path}' is TIFF of a kind that is not read: {page.bitspersample}-bit {kind or 'undefined'}, {samples} "
            f"per pixel, depth {page.imagedepth}, {page.photometric.name} (PhotometricInterpretation {photometric}).",
            REMEDY.format(example=EXAMPLE.format(pixels=pixels) if inverted or samples > 4 else ""),
        )
    pixels = page.asarray()
    if samples > 1 and page.axes.startswith("S"):
        pixels = np.moveaxis(pixels, 0, -1)
    if samples != channels:
        note = ALPHA_NOTE if page.extrasamples and page.extrasamples[0] in ALPHA else EXTRA_NOTE
        if note not in notes:
            notes.append(note)
        if is_mask:
            check_mask_alpha(pixels, path)
        pixels = pixels[..., 0] if channels == 1 else pixels[..., :channels]
    if pixels.dtype == np.float16:
        pixels = pixels.astype(np.float32)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="))
    return (1 << page.bitspersample) - 1 - pixels if inverted else pixels
