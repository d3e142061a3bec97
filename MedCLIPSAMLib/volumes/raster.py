"""Raster images: PNG, JPEG, BMP and TIFF, recognized by content whatever their suffix."""

from __future__ import annotations

import io
import warnings
import zlib
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes.geometry import SPACINGS_MM, Geometry
from MedCLIPSAMLib.volumes.itk_read import itk_header, itk_image
from MedCLIPSAMLib.volumes.tiff import (
    ALPHA_NOTE,
    EXTRA_NOTE,
    TURNS,
    check_mask_alpha,
    count_described,
    has_unnamed_samples,
    is_read_by_pillow,
    is_secondary,
    is_white_zero,
    read_tiff,
)
from MedCLIPSAMLib.volumes.tiff_stack import SECONDARY_NOTE
from MedCLIPSAMLib.volumes.volume import clean_name, stem

FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
"""First bytes of each format; TIFF has four, by byte order and for BigTIFF."""
ORIENTATION = 0x0112
GRAY_AND_ALPHA = "LA;16B"
DEEP_PNG = (GRAY_AND_ALPHA, "RGB;16B", "RGBA;16B")
"""Pillow's names for 16-bit PNG of which it keeps only 8 bits."""
PNG_HEADER, PNG_KIND, PNG_SUM = slice(12, 29), slice(24, 26), slice(29, 33)
"""Bytes of a PNG file: the IHDR chunk, bits and color type in it, and the checksum of the chunk."""
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers that begin a frame and give its kind, SOF0 to SOF15 (ISO/IEC 10918-1, table B.1)."""
JPEG_LOSSLESS = (0xC3, 0xC7, 0xCB, 0xCF)
JPEG_READ = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
SENSOR_BITS = (8, 10, 12, 14, 16)
DAMAGED = (OSError, ValueError, SyntaxError, TypeError, AttributeError, ArithmeticError, RuntimeError, MemoryError)
"""Errors that Pillow and ITK raise for damaged images."""
SIDEWAYS = (5, 6, 7, 8)
"""Values of EXIF's orientation that swap rows and columns."""


def raster_format(path: Path) -> str | None:
    """Return the format of an image by its first bytes; None for other files."""
    with path.open("rb") as file:
        head = file.read(8)
    return next((name for beginning, name in BEGINNINGS if head.startswith(beginning)), None)


def read_raster(path: Path, notes: list[str], is_mask: bool = False) -> tuple[np.ndarray, Geometry, dict[str, Any]]:
    """Read the pixels of an image, upright by its EXIF orientation: (pages, J, I), or (pages, J, I, 3) uint8.

    Args:
        notes: receives notes for the user.
        is_mask: return the indices of a palette instead of its colors, and refuse an alpha channel that may be a mask.

    Returns:
        The pixels, their geometry as in ITK, and further attributes of `Volume` by name.

    Raises:
        InputError: the image is damaged, truncated, unsupported, or larger than Pillow's limit.
    """
    kind = raster_format(path)
    try:
        made = _by_pillow(path, kind == "TIFF", notes, is_mask)
    except Image.DecompressionBombError as error:
        raise InputError(f"'{path}' is too large: {error}", "Crop it, or save it smaller.") from error
    except (UnidentifiedImageError, KeyError) as error:
        if kind == "JPEG":
            _check_jpeg(path)
        if kind != "TIFF":
            raise InputError(f"'{path}' is damaged: not a {kind} image.", "Copy or export it again.") from error
        made = None
    except DAMAGED as error:
        if kind == "JPEG":
            _check_jpeg(path)
        raise InputError(f"'{path}' cannot be read: {error}.", "Copy or export it again.") from error
    pages, turned = made or read_tiff(path, notes, is_mask)
    spacing = _spacing(path) if kind in ("JPEG", "TIFF") else (1.0, 1.0)
    if 2 <= turned <= 8:
        notes.append("The image was turned upright, as its EXIF orientation says.")
    if turned in SIDEWAYS:
        spacing = spacing[1], spacing[0]
    alike = _most_pixels(pages)
    if len(alike) < len(pages):
        notes.append(f"{len(pages) - len(alike)} pages of another size or kind were left out.")
    known = {"name": clean_name(stem(path)), "path": path, "natural": True, "known_spacing": False}
    return reduce_colors(np.stack(alike), notes), Geometry(spacing=(*spacing, 1.0)), known


def _most_pixels(pages: list[np.ndarray]) -> list[np.ndarray]:
    """Return the pages of the size and kind with the most pixels in total; ties go to the first."""
    pixels: Counter[Hashable] = Counter()
    for page in pages:
        pixels[page.shape, page.dtype] += page.shape[0] * page.shape[1]
    chosen = pixels.most_common(1)[0][0]
    return [page for page in pages if (page.shape, page.dtype) == chosen]


def reduce_colors(array: np.ndarray, notes: list[str]) -> np.ndarray:
    """Reduce 16-bit RGB to 8 bits, scaled by the sensor bit depth that fits its maximum; return other arrays as is."""
    if array.ndim != 4 or array.dtype != np.uint16:
        return array
    bits = next(bits for bits in SENSOR_BITS if int(array.max()) < 1 << bits)
    if not (array % 257).any():  # 8 bits that were scaled to 16
        bits = 16
    white = f", of which it uses {bits} bits, so that {(1 << bits) - 1} is white," if bits < 16 else ""
    notes.append(f"16-bit RGB{white} was reduced to 8-bit.")
    return np.rint(array * (255 / ((1 << bits) - 1))).astype(np.uint8)


def _by_pillow(path: Path, is_tiff: bool, notes: list[str], is_mask: bool) -> tuple[list[np.ndarray], int] | None:
    """Read the pages, and EXIF's orientation; None if Pillow does not count a page or cannot read it correctly."""
    # Open a file, not a path: Pillow orients memory-mapped images wrongly (TIFF, orientation 5 to 8).
    with warnings.catch_warnings(action="ignore"), path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
        raw = str(image.tile[0][3] if image.tile else "")
        turned = image.getexif().get(ORIENTATION, 1)
        if not is_tiff:
            if raw in DEEP_PNG:
                turn = TURNS.get(turned, lambda pixels: pixels)
                return [turn(_deep_png(path, raw, notes, is_mask))], turned
            return [_pixels(ImageOps.exif_transpose(image), path, notes, is_mask)], turned
        said: list[str] = []
        try:
            total, count = count_described(image, path, said), int(getattr(image, "n_frames", 1))
            if count == 1 and total > 1:
                return None
            pages = [is_secondary(page) for page in ImageSequence.Iterator(image)]
            kept = [number for number, secondary in enumerate(pages) if not secondary] or list(range(count))
            if not all(is_read_by_pillow(page) for page in _seek(image, kept)):
                return None
        except SyntaxError:  # raised by Pillow for a page of an unknown kind
            return None
        notes += said
        if len(kept) < count:
            notes.append(SECONDARY_NOTE.format(count=count - len(kept)))
        return [_page(page, path, notes, is_mask) for page in _seek(image, kept)], turned


def _seek(image: Image.Image, numbers: list[int]) -> Iterator[Image.Image]:
    """Yield the image at each of these page numbers."""
    for number in numbers:
        image.seek(number)
        yield image


def _deep_png(path: Path, raw: str, notes: list[str], is_mask: bool) -> np.ndarray:
    """Read PNG of a kind in `DEEP_PNG` in 16 bits: gray (J, I), or RGB (J, I, 3)."""
    if raw == GRAY_AND_ALPHA:
        # Two 16-bit samples lie as four 8-bit ones, and PNG filters bytes: the header is changed to 8-bit RGBA.
        content = bytearray(path.read_bytes())
        content[PNG_KIND] = bytes((8, 6))
        content[PNG_SUM] = zlib.crc32(content[PNG_HEADER]).to_bytes(4, "big")
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            array = np.asarray(image).view(">u2").astype(np.uint16)
    else:
        array = sitk.GetArrayFromImage(itk_image(path))
    channels = 1 if raw == GRAY_AND_ALPHA else 3
    if array.shape[-1] > channels:
        notes.append(ALPHA_NOTE)
        if is_mask:
            check_mask_alpha(array, path)
    return array[..., :3] if channels == 3 else array[..., 0]


def _page(page: Image.Image, path: Path, notes: list[str], is_mask: bool) -> np.ndarray:
    """Convert a page of a TIFF file to an array with white as the highest value."""
    if has_unnamed_samples(page) and EXTRA_NOTE not in notes:
        notes.append(EXTRA_NOTE)
    inverted = is_white_zero(page)
    pixels = _pixels(ImageOps.exif_transpose(page), path, notes, is_mask)
    return np.iinfo(pixels.dtype).max - pixels if inverted and pixels.dtype == np.uint16 else pixels


def _pixels(page: Image.Image, path: Path, notes: list[str], is_mask: bool) -> np.ndarray:
    """Convert a page to an array: gray at its bit depth, or RGB."""
    page.load()  # raises on truncated data
    if page.mode == "P" and is_mask:
        return np.asarray(page)
    if page.mode in ("LA", "PA", "RGBA", "La", "RGBa"):
        if ALPHA_NOTE not in notes:
            notes.append(ALPHA_NOTE)
        if is_mask:
            check_mask_alpha(np.asarray(page), path)
    if page.mode in ("1", "LA", "La"):
        page = page.convert("L")
    elif page.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV", "RGBA", "RGBa", "RGBX"):
        page = page.convert("RGB")
    array = np.asarray(page)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _check_jpeg(path: Path) -> None:
    """Refuse JPEG that Pillow does not read: lossless, hierarchical, or of other than 8 bits."""
    with path.open("rb") as file:
        file.seek(2)
        while len(head := file.read(4)) == 4 and head[0] == 0xFF:
            if head[1] in JPEG_FRAMES and (bits := file.read(1)):
                if head[1] in JPEG_READ and bits == b"\x08":
                    return
                kind = "lossless" if head[1] in JPEG_LOSSLESS else f"{bits[0]}-bit (SOF{head[1] - 0xC0})"
                raise InputError(
                    f"'{path}' is {kind} JPEG, which is not supported.", "Save it as PNG, TIFF or 8-bit JPEG."
                )
            file.seek(int.from_bytes(head[2:], "big") - 2, io.SEEK_CUR)


def _spacing(path: Path) -> tuple[float, float]:
    """Return (between columns, between rows) as ITK and 3D Slicer read it from the file; 1 if it has none."""
    with suppress(RuntimeError, InputError):
        if (header := itk_header(path)) and all(SPACINGS_MM[0] <= mm <= SPACINGS_MM[1] for mm in header.spacing[:2]):
            return header.spacing[0], header.spacing[1]
    return 1.0, 1.0
