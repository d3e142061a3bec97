"""Volumes whose name ends as another kind of file does are read with a note."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_made import image, save

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes import read_volume

VOXELS = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)


def made(folder: Path, kind: str) -> Path:
    """A file of a kind under its right name."""
    path = folder / f"made.{kind}"
    if kind == "dcm":
        save(image(VOXELS[0]), path)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(made(folder, "nrrd"), "scan.nrrd")
    else:
        sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(path))
    return path


@pytest.mark.parametrize(
    "kind, name, said",
    [
        ("dcm", "x.png", "DICOM, in spite of its ending .png"),
        ("dcm", "x.NII.GZ", "DICOM, in spite of its ending .nii.gz"),
        ("nii.gz", "x.nii", "NIfTI compressed by gzip, in spite of its ending .nii"),
        ("nii", "x.nii.gz", "uncompressed NIfTI, in spite of its ending .nii.gz"),
        ("nii", "x.dcm", "uncompressed NIfTI, in spite of its ending .dcm"),
        ("nii.gz", "x.mha", "NIfTI compressed by gzip, in spite of its ending .mha"),
        ("zip", "x.nrrd", "a zip file, in spite of its ending .nrrd"),
        ("nrrd", "x.nii.gz", "NRRD, in spite of its ending .nii.gz"),
        ("nrrd", "x.MHA", "NRRD, in spite of its ending .mha"),
        ("mha", "x.nrrd", "MetaImage, in spite of its ending .nrrd"),
        ("mha", "x.dcm", "MetaImage, in spite of its ending .dcm"),
        *((kind, f"x.{kind}", "") for kind in ("dcm", "nii", "nii.gz", "nrrd", "mha", "zip")),
        *((kind, name, "") for kind in ("dcm", "nii", "nrrd", "mha") for name in ("x", "1.2.840.17", "x.ima")),
    ],
)
def test_what_is_clear_by_its_content_is_read_and_said(tmp_path: Path, kind: str, name: str, said: str) -> None:
    path = made(tmp_path, kind).rename(tmp_path / name)
    volume = read_volume(path)
    assert np.array_equal(volume.array, VOXELS[:1] if kind == "dcm" else VOXELS)
    spite = [note for note in volume.notes if "in spite of" in note]
    assert spite == ([f"The file is {said}."] if said else [])


def test_a_file_of_no_known_kind_is_refused_whatever_its_name(tmp_path: Path) -> None:
    for name in ("x.png", "x.nii.gz", "x.dcm", "x"):
        (tmp_path / name).write_text("<html>Not found</html>", encoding="utf-8")
        with pytest.raises(InputError, match="no known image format"):
            read_volume(tmp_path / name)


@pytest.mark.parametrize("name", ["x.mha", "x.MHA", "x"])
def test_a_header_alone_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("ObjectType = Image\n", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be read|no known"):
        read_volume(tmp_path / name)
