"""Suffixes of the image files that are read; a new format is added here first."""

from __future__ import annotations

RASTER_SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff")
WHOLE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
"""Volumes whose header and voxels are one file."""
DETACHED_SUFFIXES = (".nhdr", ".mhd")
"""Headers that name the files of their voxels."""
PAIR_SUFFIXES = (".hdr", ".hdr.gz")
"""Headers of NIfTI and ANALYZE, whose voxels have the same name with one of `VOXEL_SUFFIXES`."""
VOXEL_SUFFIXES = (".img", ".img.gz")
IMAGE_SUFFIXES = (*WHOLE_SUFFIXES, *DETACHED_SUFFIXES, *PAIR_SUFFIXES, *RASTER_SUFFIXES)
