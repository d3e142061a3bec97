"""Images: PNG, JPEG, BMP and TIFF, by their content whatever their suffix."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes.alpha import ALPHA_NOTE, check_mask_alpha
from MedCLIPSAMLib.volumes.geometry import SPACINGS_MM, Geometry
from MedCLIPSAMLib.volumes.itk_read import itk_header
from MedCLIPSAMLib.volumes.tiff import EXTRA_NOTE, has_unnamed_samples, is_read_by_pillow, is_white_zero, read_tiff
from MedCLIPSAMLib.volumes.volume import clean_name, stem

RASTER_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
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
"""Those of TIFF by the order of bytes, and for BigTIFF."""
DEEP_NOTE = "16-bit RGB was reduced to 8-bit."
ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)
"""The values of EXIF's orientation that exchange rows and columns."""


def raster_format(path: Path) -> str | None:
    """Return the format of an image by its first bytes; None for other files."""
    with path.open("rb") as file:
        head = file.read(8)
    return next((name for beginning, name in BEGINNINGS if head.startswith(beginning)), None)


def read_raster(path: Path, notes: list[str], is_mask: bool = False) -> tuple[np.ndarray, Geometry, dict[str, Any]]:
    """Read the pixels of an image, upright by its EXIF orientation: (pages, J, I), or (pages, J, I, 3) of uint8.

    Args:
        is_mask: the numbers of a palette rather than its colors; what may be a mask in an alpha channel is refused.

    Returns:
        The pixels, their geometry as in ITK, and further attributes of `Volume` by name.

    Raises:
        InputError: damaged, truncated, or larger than Pillow's limit.
    """
    kind = raster_format(path)
    try:
        made = _by_pillow(path, kind == "TIFF", notes, is_mask)
    except Image.DecompressionBombError as error:
        raise InputError(f"'{path}' is too large: {error}", "Cut it, or save it smaller.") from error
    except (UnidentifiedImageError, KeyError) as error:
        if kind != "TIFF":
            raise InputError(f"'{path}' is damaged: no {kind} image.", "Copy or export it again.") from error
        made = None
    except (OSError, ValueError, SyntaxError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        raise InputError(f"'{path}' cannot be read: {error}.", "Copy or export it again.") from error
    pages, deep, turned = made or read_tiff(path, notes, is_mask)
    spacing = _spacing(path) if kind in ("JPEG", "TIFF") else (1.0, 1.0)
    if deep:
        notes.append(DEEP_NOTE)
    if 2 <= turned <= 8:
        notes.append("The image was turned upright, as its EXIF orientation says.")
    if turned in SIDEWAYS:
        spacing = spacing[1], spacing[0]
    alike = [page for page in pages if page.shape == pages[0].shape and page.dtype == pages[0].dtype]
    if len(alike) < len(pages):
        notes.append(f"{len(pages) - len(alike)} pages of another size or kind were left out.")
    known = {"name": clean_name(stem(path)), "path": path, "natural": True, "known_spacing": False}
    return np.stack(alike), Geometry(spacing=(*spacing, 1.0)), known


def _by_pillow(path: Path, is_tiff: bool, notes: list[str], is_mask: bool) -> tuple[list[np.ndarray], bool, int] | None:
    """Read the pages, whether they were 16-bit RGB, and EXIF's orientation; None where Pillow does not know a page."""
    # A file that is open, not a path: what Pillow maps into memory it turns wrongly (TIFF, orientation 5 to 8).
    with (
        warnings.catch_warnings(action="ignore"),
        path.open("rb") as file,
        Image.open(file, formats=FORMATS) as image,
    ):
        deep = "16" in str(image.tile[0][3] if image.tile else "") and image.mode in ("RGB", "RGBA", "LA")
        turned = image.getexif().get(ORIENTATION, 1)
        if not is_tiff:
            return [_pixels(ImageOps.exif_transpose(image), path, notes, is_mask)], deep, turned
        try:
            if not all(is_read_by_pillow(page) for page in ImageSequence.Iterator(image)):
                return None
        except SyntaxError:  # as Pillow calls a page of no kind that it knows
            return None
        return [_page(page, path, notes, is_mask) for page in ImageSequence.Iterator(image)], deep, turned


def _page(page: Image.Image, path: Path, notes: list[str], is_mask: bool) -> np.ndarray:
    """Convert a page of a TIFF file to an array, with white as the highest value."""
    if has_unnamed_samples(page) and EXTRA_NOTE not in notes:
        notes.append(EXTRA_NOTE)
    inverted = is_white_zero(page)
    pixels = _pixels(ImageOps.exif_transpose(page), path, notes, is_mask)
    return np.iinfo(pixels.dtype).max - pixels if inverted and pixels.dtype == np.uint16 else pixels


def _pixels(page: Image.Image, path: Path, notes: list[str], is_mask: bool) -> np.ndarray:
    """Convert a page to an array: gray at its bit depth, or RGB."""
    page.load()  # which raises on truncated data
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


def _spacing(path: Path) -> tuple[float, float]:
    """Return (between columns, between rows) as ITK and 3D Slicer read it from the file; 1 where it has none."""
    try:
        header = itk_header(path)
    except (RuntimeError, InputError):
        return 1.0, 1.0
    if header is None:
        return 1.0, 1.0
    x, y = header.spacing[:2]
    return (x, y) if all(SPACINGS_MM[0] <= spacing <= SPACINGS_MM[1] for spacing in (x, y)) else (1.0, 1.0)
