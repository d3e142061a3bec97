"""Suffixes of readable image files, to which a new format is added first; files are read by content."""

from __future__ import annotations

from pathlib import Path

RASTER_SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff")
WHOLE_SUFFIXES = (".nii.gz", ".nii.bz2", ".nii", ".nrrd", ".mha")
"""Volumes with header and voxels in one file."""
DETACHED_SUFFIXES = (".nhdr", ".mhd")
"""Headers that name the files of their voxels."""
PAIR_SUFFIXES = (".hdr", ".hdr.gz")
"""Headers of NIfTI and ANALYZE; their voxels are in a file of the same name with one of `VOXEL_SUFFIXES`."""
VOXEL_SUFFIXES = (".img", ".img.gz")
IMAGE_SUFFIXES = (*WHOLE_SUFFIXES, *DETACHED_SUFFIXES, *PAIR_SUFFIXES, *RASTER_SUFFIXES)
ENDINGS = {
    "a PNG image": (".png",),
    "a JPEG image": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "a BMP image": (".bmp", ".dib"),
    "a TIFF image": (".tif", ".tiff"),
    "DICOM": (".dcm", ".dicom"),
    "uncompressed NIfTI": (".nii",),
    "NIfTI compressed by gzip": (".nii.gz",),
    "NIfTI compressed by bzip2": (".nii.bz2",),
    "NRRD": (".nrrd", ".nhdr"),
    "MetaImage": (".mha", ".mhd"),
    "a zip file": (".zip",),
}
"""Suffixes by the kind of file."""


def misnamed_notes(path: Path, kind: str) -> list[str]:
    """Make a note if a name has the suffix of another kind of file; at most one sentence, none for other suffixes.

    Args:
        kind: the kind of file, a key of `ENDINGS`.
    """
    name = path.name.lower()
    ending = next((ending for endings in ENDINGS.values() for ending in endings if name.endswith(ending)), "")
    return [f"The file is {kind}, despite its suffix {ending}."] if ending and ending not in ENDINGS[kind] else []
