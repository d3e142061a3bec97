"""NRRD and MetaImage headers come from elsewhere: they may not lead to other files, and shear is no volume."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes import read_segmentation, read_volume

NRRD = "NRRD0004\ntype: unsigned char\ndimension: 3\nsizes: 2 3 4\nspace: left-posterior-superior\n{}encoding: raw\n"
META = "ObjectType = Image\nNDims = 3\nDimSize = 2 3 4\nElementType = MET_UCHAR\n{}ElementDataFile = {}\n"
VOXELS = np.arange(24, dtype=np.uint8)


def nrrd(path: Path, data: str, more: str = "space directions: (1,0,0) (0,1,0) (0,0,1)\n") -> Path:
    path.write_text(NRRD.format(more) + f"{data}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../x.raw", "sub/x.raw", "..\\x.raw", "C:\\x.raw", "/etc/%s%n", "x%s.raw", "/etc/pass%d 1 4 1 2"],
)
@pytest.mark.parametrize("kind", ["data file", "datafile", "list", "meta", "meta list"])
def test_voxels_of_other_files_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / "x.raw").write_bytes(VOXELS.tobytes())
    if kind == "meta":
        path = tmp_path / "x.mhd"
        path.write_text(META.format("", name))
    elif kind == "meta list":
        path = tmp_path / "x.mhd"
        path.write_text(META.format("", f"LIST 2\n{name}\n{name}"))
    else:
        path = nrrd(tmp_path / "x.nhdr", f"data file: LIST\n{name}" if kind == "list" else f"{kind}: {name}")
    for read in (read_volume, read_segmentation):
        with pytest.raises(InputError, match="plain name"):
            read(path)


def test_voxels_beside_the_header_are_read(tmp_path: Path) -> None:
    (tmp_path / "the voxels.raw").write_bytes(VOXELS.tobytes())
    (tmp_path / "x.mhd").write_text(META.format("", "the voxels.raw"))
    for path in (nrrd(tmp_path / "x.nhdr", "data file: the voxels.raw"), tmp_path / "x.mhd"):
        assert np.array_equal(read_volume(path).array.ravel(), VOXELS)
    for k in range(4):
        (tmp_path / f"s{k:02d}.raw").write_bytes(VOXELS[6 * k : 6 * k + 6].tobytes())
    names = "\n".join(f"s{k:02d}.raw" for k in range(4))
    (tmp_path / "list.mhd").write_text(META.format("", f"LIST 2\n{names}"))
    (tmp_path / "pattern.mhd").write_text(META.format("", "s%02d.raw 0 3 1"))
    paths = [
        nrrd(tmp_path / "l.nhdr", f"data file: LIST 2\n{names}"),
        nrrd(tmp_path / "p.nhdr", "data file: s%02d.raw 0 3 1 2"),
    ]
    for path in (*paths, tmp_path / "list.mhd", tmp_path / "pattern.mhd"):
        assert np.array_equal(read_volume(path).array.ravel(), VOXELS), path


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_many_dimensions_are_refused_before_itk_sees_them(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x{ending}"
    sizes = " ".join(["1"] * 16)
    if ending == ".nrrd":
        path.write_text(f"NRRD0004\ntype: uchar\ndimension: 16\nsizes: {sizes}\nencoding: raw\n\n0")
    else:
        path.write_text(
            f"ObjectType = Image\nNDims = 16\nDimSize = {sizes}\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n0"
        )
    with pytest.raises(InputError, match="16-D"):
        read_volume(path)


def sheared(path: Path, by: float) -> Path:
    image = sitk.GetImageFromArray(VOXELS.reshape(4, 3, 2))
    sitk.WriteImage(image, str(path))
    data = path.read_bytes()
    before, after = (
        (b"TransformMatrix = 1 0 0 0 1 0 0 0 1", f"TransformMatrix = 1 0 0 {by} 1 0 0 0 1".encode())
        if path.suffix == ".mha"
        else (b"(0,1,0)", f"({by},1,0)".encode())
    )
    assert before in data
    path.write_bytes(data.replace(before, after))
    return path


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_shear_is_refused_with_a_remedy_that_works(tmp_path: Path, ending: str) -> None:
    path = sheared(tmp_path / f"x{ending}", 0.4)
    with pytest.raises(InputError, match="degrees from right angles") as caught:
        read_volume(path)
    command = caught.value.remedy.split("python -c ")[1].strip('"')
    subprocess.run([sys.executable, "-c", command], cwd=tmp_path, check=True, capture_output=True)
    assert not any("angles" in note for note in read_volume(tmp_path / "straight.nrrd").notes)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_rounded_axes_are_straightened_with_a_note(tmp_path: Path, ending: str) -> None:
    volume = read_volume(sheared(tmp_path / f"x{ending}", 0.01))
    assert "0.57 degrees from right angles" in volume.notes[0]
    np.testing.assert_allclose(volume.geometry.cosines.T @ volume.geometry.cosines, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("number", ["1e308", "inf", "nan"])
def test_directions_over_which_itk_computes_without_end_are_refused_at_once(tmp_path: Path, number: str) -> None:
    path = tmp_path / "a.mha"
    header = f"ObjectType = Image\nNDims = 3\nTransformMatrix = 0 1 0 0 0 1 1 {number} 0\nDimSize = 2 2 2\n"
    path.write_bytes(f"{header}ElementType = MET_UCHAR\nElementDataFile = LOCAL\n".encode() + bytes(8))
    started = time.monotonic()
    with pytest.raises(InputError, match="finite numbers up to 1e.09 as TransformMatrix"):
        read_volume(path)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("spacing", ["1 1 0", "1 1 -1", "1 1 1e30", "1 1 1e-9"])
def test_impossible_spacing_is_refused(tmp_path: Path, spacing: str) -> None:
    path = tmp_path / "x.mha"
    path.write_bytes(META.format(f"ElementSpacing = {spacing}\n", "LOCAL").encode() + VOXELS.tobytes())
    with pytest.raises(InputError) as caught:
        read_volume(path)
    assert caught.value.remedy and "\n" not in str(caught.value)


def test_the_place_of_a_voxel_in_an_oblique_flipped_nrrd(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(VOXELS.reshape(4, 3, 2))
    angle = np.radians(40)
    direction = np.array([[np.cos(angle), np.sin(angle), 0], [np.sin(angle), -np.cos(angle), 0], [0, 0, 1]])
    image.SetDirection(direction.ravel().tolist())
    image.SetSpacing((0.5, 2, 3))
    image.SetOrigin((1, -2, 3))
    for ending in (".nrrd", ".mha", ".nii.gz"):
        sitk.WriteImage(image, str(tmp_path / f"x{ending}"))
        volume = read_volume(tmp_path / f"x{ending}")
        by_hand = np.array([1, -2, 3]) + direction @ np.array([0.5 * 1, 2 * 2, 3 * 3])
        np.testing.assert_allclose((volume.geometry.affine @ (1, 2, 3, 1))[:3], by_hand, atol=1e-5)
        assert volume.array[3, 2, 1] == 23
