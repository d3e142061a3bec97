"""Volumes whose name ends as another kind of file does: read with a note, or refused with the name that is right."""

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
        *((kind, f"x.{kind}", "") for kind in ("dcm", "nii", "nii.gz", "nrrd", "mha", "zip")),
        *((kind, name, "") for kind in ("dcm", "nii") for name in ("x", "1.2.840.17", "x.ima")),
    ],
)
def test_what_is_clear_by_its_content_is_read_and_said(tmp_path: Path, kind: str, name: str, said: str) -> None:
    path = made(tmp_path, kind).rename(tmp_path / name)
    volume = read_volume(path)
    assert np.array_equal(volume.array, VOXELS[:1] if kind == "dcm" else VOXELS)
    spite = [note for note in volume.notes if "in spite of" in note]
    assert spite == ([f"The file is {said}."] if said else [])


@pytest.mark.parametrize("kind, what", [("nrrd", "NRRD"), ("mha", "MetaImage")])
@pytest.mark.parametrize("name, better", [("x.nii.gz", "x"), ("x.png", "x"), ("x.dcm", "x"), ("1.2", "1.2")])
def test_what_is_read_by_its_name_only_is_refused_with_the_right_one(
    tmp_path: Path, kind: str, what: str, name: str, better: str
) -> None:
    path = made(tmp_path, kind).rename(tmp_path / name)
    with pytest.raises(InputError, match=f"ends in .{kind}, as the file is {what}, got ") as refused:
        read_volume(path)
    assert refused.value.remedy == f"Rename it to '{better}.{kind}'."
    assert np.array_equal(read_volume(path.rename(tmp_path / f"{better}.{kind}")).array, VOXELS)


def test_a_file_of_no_known_kind_is_refused_whatever_its_name(tmp_path: Path) -> None:
    for name in ("x.png", "x.nii.gz", "x.dcm", "x"):
        (tmp_path / name).write_text("<html>Not found</html>", encoding="utf-8")
        with pytest.raises(InputError, match="no known image format"):
            read_volume(tmp_path / name)


@pytest.mark.parametrize("name", ["x.mha", "x.mhd", "x.MHA"])
def test_a_damaged_file_is_not_told_to_take_the_name_that_it_has(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("ObjectType = Image\n", encoding="utf-8")
    with pytest.raises(InputError) as refused:
        read_volume(tmp_path / name)
    assert "Rename" not in str(refused.value)
