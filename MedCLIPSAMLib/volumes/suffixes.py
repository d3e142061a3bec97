"""Suffixes of the image files that are read; a new format is added here first. Files are read by their content."""

from __future__ import annotations

from pathlib import Path

RASTER_SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff")
WHOLE_SUFFIXES = (".nii.gz", ".nii.bz2", ".nii", ".nrrd", ".mha")
"""Volumes whose header and voxels are one file."""
DETACHED_SUFFIXES = (".nhdr", ".mhd")
"""Headers that name the files of their voxels."""
PAIR_SUFFIXES = (".hdr", ".hdr.gz")
"""Headers of NIfTI and ANALYZE, whose voxels have the same name with one of `VOXEL_SUFFIXES`."""
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
"""What a file is -> how its name ends."""


def misnamed_notes(path: Path, kind: str) -> list[str]:
    """Say that a name ends as another kind of file does, as a list of one sentence or none; other endings say nothing.

    Args:
        kind: what the file is, of `ENDINGS`.
    """
    name = path.name.lower()
    ending = next((ending for endings in ENDINGS.values() for ending in endings if name.endswith(ending)), "")
    return [f"The file is {kind}, in spite of its ending {ending}."] if ending and ending not in ENDINGS[kind] else []
