"""TIFF that Pillow cannot read, or reads with other values: read by tifffile, or refused with the reason.

tifffile is imported at the first such file; it is installed with scikit-image.
"""

from __future__ import annotations

import logging
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from PIL import Image

from MedCLIPSAMLib.errors import InputError, load_package, not_installed
from MedCLIPSAMLib.volumes.itk_read import itk_image
from MedCLIPSAMLib.volumes.tiff_stack import SECONDARY, SECONDARY_NOTE, check_axes

SUBFILE, DESCRIPTION = 254, 270
BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANES, EXTRA_SAMPLES, SAMPLE_FORMAT = 258, 259, 262, 277, 284, 338, 339
BIG_ENDIAN = b"MM"
SEPARATE = 2
"""PlanarConfiguration with each sample of all pixels stored separately."""
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
UNSIGNED, SIGNED, FLOAT, UNDEFINED = 1, 2, 3, 4
"""Values of SampleFormat (TIFF 6.0, section 19, by which the last is read as if the tag were missing)."""
FORMATS = {UNSIGNED: "unsigned", UNDEFINED: "unsigned", SIGNED: "signed", FLOAT: "floating-point"}
CHANNELS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3}
ALPHA = (1, 2)
"""Values of ExtraSamples for an alpha channel."""
ALPHA_NOTE = "The alpha channel was left out."
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
"""Functions that turn a stored image upright, by the value of Orientation; 1 is upright."""
MAX_COMPRESSION = 10_000
"""Maximum plausible ratio of the declared size of all pages to the size of their file."""
KIND = "This kind of TIFF"
REMEDY = "Save it as 8-, 16- or 32-bit gray in which black is the lowest value, or as 8-bit RGB{example}."
EXAMPLE = ", for example: python -c \"import tifffile as t; t.imwrite('gray.tif', {pixels})\""


def is_read_by_pillow(page: Image.Image) -> bool:
    """Tell whether Pillow returns the correct values of a page that it opens."""
    kind, bits = _tag(page, SAMPLE_FORMAT, UNSIGNED), _tag(page, BITS, 1)
    in_planes = _tag(page, SAMPLES, 1) > 1 and _tag(page, PLANES, 1) == SEPARATE
    is_packed_big = page.tag_v2.prefix == BIG_ENDIAN and _tag(page, COMPRESSION, 1) != 1  # type: ignore[attr-defined]
    return not (
        (kind, bits) in ((SIGNED, 8), (UNSIGNED, 32))  # read as unsigned, and as signed
        or (bits > 8 and _tag(page, SAMPLES, 1) > 1)  # reduced to 8 bits
        or (bits > 8 and kind != UNSIGNED and is_packed_big)  # bytes swapped wrongly
        or (kind == FLOAT and is_white_zero(page))  # not inverted
        or (in_planes and _tag(page, PHOTOMETRIC, BLACK_IS_ZERO) <= BLACK_IS_ZERO)  # read as if not in planes
    )


def is_secondary(page: Image.Image) -> bool:
    """Tell whether a TIFF page is a thumbnail or a mask of another page."""
    return bool(_tag(page, SUBFILE, 0) & SECONDARY)


def count_described(image: Image.Image, path: Path, notes: list[str]) -> int:
    """Return the number of images that a TIFF file describes on its first page; see `check_axes`."""
    description = image.tag_v2.get(DESCRIPTION, "")  # type: ignore[attr-defined]
    pages = int(getattr(image, "n_frames", 1))
    return check_axes(str(description), image.size, _tag(image, SAMPLES, 1), pages, path, notes)


def is_white_zero(page: Image.Image) -> bool:
    """Tell whether 0 is white on a TIFF page; Pillow only inverts such pages of up to 8 bits."""
    return _tag(page, PHOTOMETRIC, BLACK_IS_ZERO) == WHITE_IS_ZERO


def has_unnamed_samples(page: Image.Image) -> bool:
    """Tell whether the pixels of a TIFF page hold more than gray or colors and alpha."""
    return _tag(page, EXTRA_SAMPLES, ALPHA[0]) not in ALPHA


def check_mask_alpha(pixels: np.ndarray, path: Path) -> None:
    """Refuse a mask with uniform gray or colors but an alpha channel that varies.

    Args:
        pixels: (J, I, channels), alpha last.
        path: the file, for messages.

    Raises:
        InputError: the alpha channel may be the mask; without it, the mask would be the whole image, or empty.
    """
    colors, alpha = pixels[..., :-1], pixels[..., -1]
    if (colors == colors[:1, :1]).all() and alpha.min() < alpha.max():
        raise InputError(
            f"Expected a mask in the gray or the colors of '{path}', but these are uniform and only its alpha channel "
            "varies.",
            'If that is the mask, save it as gray, for example: python -c "from PIL import Image; '
            f"Image.open('{path.name}').getchannel('A').save('mask.png')\"",
        )


def read_tiff(path: Path, notes: list[str], is_mask: bool) -> tuple[list[np.ndarray], int]:
    """Read the pages of a file, upright by the orientation of the first: gray (J, I), or RGB (J, I, 3) of any depth.

    Images stored contiguously after a single page, as ImageJ and tifffile write large stacks, are pages too.

    Args:
        path: the file.
        notes: receives notes for the user.
        is_mask: refuse an alpha channel that may be a mask.

    Returns:
        The pages, and the orientation.

    Raises:
        InputError: the file is damaged, truncated, too large, or of an unsupported kind.
    """
    tifffile = load_package("tifffile", KIND)
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
            pages = [page for page in file.pages if not int(page.subfiletype) & SECONDARY] or list(file.pages)
            _check_size(pages, path)
            if len(pages) < len(file.pages):
                notes.append(SECONDARY_NOTE.format(count=len(file.pages) - len(pages)))
            first = pages[0]
            size = (first.imagewidth, first.imagelength)
            total = check_axes(first.description, size, first.samplesperpixel, len(file.pages), path, notes)
            if len(file.pages) == 1 and total > 1:
                stored = [(first, pixels) for pixels in _read_stack(file, total, path)]
            else:
                stored = list(zip(pages, _decode(pages, path)))
            return [turn(_pixels(page, pixels, path, notes, is_mask)) for page, pixels in stored], turned
    except (*damaged, OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"'{path}' cannot be read as TIFF: {error}.", "Check that it is complete. " + REMEDY.format(example="")
        ) from error


def _decode(pages: Sequence[Any], path: Path) -> list[np.ndarray]:
    """Decode the pixels of pages; with ITK if tifffile lacks a package for their compression, such as LZW."""
    try:
        return [page.asarray() for page in pages]
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        found = sitk.GetArrayFromImage(itk_image(path))
        wanted = len(pages), *pages[0].shape
        if pages[0].tags.valueof("Orientation", 1) != 1 or found.size != np.prod(wanted):
            raise not_installed(["imagecodecs"], KIND) from error
        return list(found.reshape(wanted))


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keep tifffile from logging problems with a file, which the error reports."""
    log = logging.getLogger("tifffile")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _read_stack(file: Any, total: int, path: Path) -> np.ndarray:
    """Read images stored contiguously after a single page: (total, ...)."""
    page = file.pages[0]
    if not page.is_contiguous or page.dataoffsets[0] + page.nbytes * total > path.stat().st_size:
        raise InputError(
            f"'{path}' is truncated: it describes {total} images but holds one page.", "Copy or export it again."
        )
    file.filehandle.seek(page.dataoffsets[0])
    kind = np.dtype(page.dtype).newbyteorder(file.byteorder)
    pixels = file.filehandle.read_array(kind, total * math.prod(page.shape))
    return pixels.reshape(total, *page.shape)


def _tag(page: Image.Image, number: int, missing: int) -> int:
    """Return the first value of a TIFF tag, or `missing`."""
    values = np.atleast_1d(page.tag_v2.get(number, missing))  # type: ignore[attr-defined]
    return int(values[0]) if values.size else missing


def _check_size(pages: Sequence[Any], path: Path) -> None:
    limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # Pillow's limit
    if limit and any(page.imagewidth * page.imagelength * page.imagedepth > limit for page in pages):
        raise InputError(f"'{path}' is too large: over {limit} pixels.", "Crop it, or save it smaller.")
    lacks_pixels = any(not page.dataoffsets or not all(page.dataoffsets) for page in pages)
    if lacks_pixels or sum(page.nbytes for page in pages) > MAX_COMPRESSION * path.stat().st_size:
        raise InputError(f"'{path}' is truncated: pixels are missing.", "Copy or export it again.")


def _pixels(page: Any, pixels: np.ndarray, path: Path, notes: list[str], is_mask: bool) -> np.ndarray:
    photometric, samples = int(page.photometric), int(page.samplesperpixel)
    channels = CHANNELS.get(photometric)
    kind = FORMATS.get(int(page.sampleformat))
    inverted = photometric == WHITE_IS_ZERO
    is_read = channels is not None and channels <= samples <= channels + 1 and page.imagedepth == 1
    if not is_read or kind is None or (inverted and kind != "unsigned"):
        read = f"t.imread('{path.name}')"
        read = f"-{read}" if inverted and samples == 1 else f"{read}[..., 0]"
        raise InputError(
            f"'{path}' is an unsupported kind of TIFF: {page.bitspersample}-bit {kind or 'undefined'}, {samples} "
            f"per pixel, depth {page.imagedepth}, {page.photometric.name} (PhotometricInterpretation {photometric}).",
            REMEDY.format(example=EXAMPLE.format(pixels=read) if inverted or samples > 4 else ""),
        )
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
