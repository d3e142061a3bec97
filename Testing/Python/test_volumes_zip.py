"""Zip files are unpacked, read and removed; what cannot be read of them is said."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_made import values, write_series

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes import read_volume
from MedCLIPSAMLib.volumes.archive import unpack_zip

PIXELS = np.zeros((4, 6), np.int16)


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))
    return path


def test_a_zip_file_is_read_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    write_series(tmp_path / "study" / "a", range(3), SeriesInstanceUID="1.9.1", SeriesNumber="1")
    write_series(tmp_path / "study" / "b", range(5), SeriesInstanceUID="1.9.2", SeriesNumber="2")
    path = zipped(tmp_path / "study", tmp_path / "study.zip")
    assert len(values(path, series="2")) == 5
    volume = read_volume(path, series="1")
    assert volume.path == path and volume.shape == (3, 4, 6)
    with pytest.raises(InputError, match="study.zip' holds 2 DICOM series") as caught:
        read_volume(path)
    assert "temporary" not in str(caught.value)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("name", ["Series: 1/{}.dcm", "CT:b/{}.dcm", "./{}.dcm"])
def test_names_that_lead_nowhere_are_read(tmp_path: Path, name: str) -> None:
    write_series(tmp_path / "a", range(3))
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(".", "")
        for number, file in enumerate(sorted((tmp_path / "a").iterdir())):
            archive.write(file, name.format(number))
    assert read_volume(path).shape == (3, 4, 6)


@pytest.mark.parametrize("name", ["../out.dcm", "/abs.dcm", "a/../../out.dcm", "..\\out.dcm", "C:\\out.dcm"])
def test_zip_files_that_lead_outside_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "in" / "bad.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        member = zipfile.ZipInfo("x")
        member.filename = name
        archive.writestr(member, "x")
    with pytest.raises(InputError, match="leads out of it"):
        read_volume(path)
    assert not (tmp_path / "out.dcm").exists()


def test_zip_files_with_links_or_too_much_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="link"):
        read_volume(tmp_path / "link.zip")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(3 << 20))
    monkeypatch.setattr("MedCLIPSAMLib.volumes.archive.MAX_BYTES", 1 << 20)
    with pytest.raises(InputError, match="would unpack to"):
        read_volume(tmp_path / "bomb.zip")
    data = bytearray((tmp_path / "bomb.zip").read_bytes())
    for at in (data.find(b"PK\x03\x04") + 22, data.find(b"PK\x01\x02") + 24):
        data[at : at + 4] = (10).to_bytes(4, "little")  # says that it is small
    (tmp_path / "liar.zip").write_bytes(data)
    with pytest.raises(InputError):
        read_volume(tmp_path / "liar.zip")
    (tmp_path / "cut.zip").write_bytes(data[:100])
    with pytest.raises(InputError, match="cannot be unpacked"):
        read_volume(tmp_path / "cut.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_zip_files_are_a_message(tmp_path: Path, method: int) -> None:
    path = tmp_path / "damaged.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("scan.nii", np.random.default_rng(0).bytes(5000))
    data = bytearray(path.read_bytes())
    data[60:2000] = bytes(1940)
    path.write_bytes(data)
    with pytest.raises(InputError, match="cannot be unpacked"):
        read_volume(path)


@pytest.mark.parametrize("name", ["my-scan_1", "T1 post (2)", "Kopf Übersicht", "頭部", "scan" * 24])
@pytest.mark.parametrize("ending", ["mhd", "nhdr", "hdr", "hdr.gz"])
def test_voxels_beside_their_header_are_found_in_a_zip_file(tmp_path: Path, ending: str, name: str) -> None:
    voxels = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
    written = sitk.GetImageFromArray(voxels)
    written.SetSpacing((2, 3, 4))
    (tmp_path / "in" / "sub").mkdir(parents=True)
    sitk.WriteImage(written, str(tmp_path / "in" / "sub" / f"{name}.{ending.replace('hdr.gz', 'img.gz')}"))
    volume = read_volume(zipped(tmp_path / "in", tmp_path / "x.zip"))
    assert np.array_equal(volume.array, voxels) and volume.geometry.spacing == (2, 3, 4) and volume.name == "x"


@pytest.mark.parametrize("first", [[2, 0, 0, 0, 0], [8, 5, 4, 0, 3], [8, 0, 4, 0, 0], [8, 8, 0, 0, 7]])
@pytest.mark.parametrize("kind", [np.uint8, np.int16])
def test_voxels_that_begin_like_an_element_of_dicom_are_none(tmp_path: Path, first: list[int], kind: type) -> None:
    voxels = np.resize(np.array(first, kind), (4, 3, 2)) * (np.arange(24).reshape(4, 3, 2) < 5)
    sitk.WriteImage(sitk.GetImageFromArray(voxels.astype(kind)), str(tmp_path / "x.hdr"))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("x.hdr", "x.img"):
            archive.write(tmp_path / name, name)
    for name in ("x.img", "x.zip"):
        assert np.array_equal(read_volume(tmp_path / name).array, voxels)


@pytest.mark.parametrize("name", ["envi.hdr", "sub/envi.hdr"])
def test_a_header_without_voxels_beside_an_image_in_a_zip_file_is_none(tmp_path: Path, name: str) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(PIXELS[None] + 5), str(tmp_path / "scan.nii.gz"))
    for path, others in (("x.zip", []), ("two.zip", ["other.nii.gz"])):
        with zipfile.ZipFile(tmp_path / path, "w") as archive:
            archive.writestr(name, "ENVI")
            for inside in ("scan.nii.gz", *others):
                archive.write(tmp_path / "scan.nii.gz", inside)
    assert np.array_equal(read_volume(tmp_path / "x.zip").array, PIXELS[None] + 5)
    with pytest.raises(InputError, match="holds 2 images, and no DICOM: scan.nii.gz, other.nii.gz. Unpack"):
        read_volume(tmp_path / "two.zip")


def test_a_header_alone_in_a_zip_file_says_what_lacks(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(PIXELS[None]), str(tmp_path / "scan.hdr"))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(tmp_path / "scan.hdr", "scan.hdr")
    with pytest.raises(InputError, match="Expected the voxels of '.*x.zip' beside it, in 'scan.img'"):
        read_volume(tmp_path / "x.zip")


def test_no_file_of_a_zip_file_replaces_another_one(tmp_path: Path) -> None:
    """Files without a plain name get numbers, which may be the name of another file: here of the voxels, 1 and 2."""
    header = "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = 000002.raw\n"
    ones, twos = bytes([1] * 8), bytes([2] * 8)
    for order in (("000002.raw", "other*.raw"), ("other*.raw", "000002.raw")):
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            archive.writestr("h.mhd", header)
            for name, content in zip(order, (ones, twos)):
                archive.writestr(name, content)
        assert np.unique(read_volume(tmp_path / "x.zip").array).tolist() == [order.index("000002.raw") + 1]


@pytest.mark.parametrize("name", ["nul.raw", "a*b.raw", "x.", "x ", "a\nb.raw", 'a"b.raw', "-x.raw", "COM1", "頭" * 80])
def test_names_that_are_not_plain_do_not_reach_the_disk(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.mhd", "x")
        archive.writestr(name, "x")
    with unpack_zip(tmp_path / "x.zip") as folder:
        found = sorted(path.name for path in folder.rglob("*") if path.is_file())
    assert "a.mhd" in found and len(found) == 2 and name not in found


def test_a_zip_file_of_something_else_says_what_it_holds(tmp_path: Path) -> None:
    empty, two, nested = (tmp_path / f"{name}.zip" for name in ("empty", "two", "nested"))
    zipfile.ZipFile(empty, "w").close()
    with zipfile.ZipFile(two, "w") as archive:
        for name in ("a.nii", "sub/b.nii"):
            archive.writestr(name, "x")
    with zipfile.ZipFile(nested, "w") as archive:
        archive.write(two, "inner.zip")
    for path, expected in (
        (empty, "empty.zip' is a zip file that holds no files"),
        (two, "two.zip' holds 2 images, and no DICOM: a.nii, sub/b.nii"),
        (nested, "nested.zip' holds no image, but zip files: inner.zip"),
    ):
        with pytest.raises(InputError, match=expected) as caught:
            read_volume(path)
        assert caught.value.remedy and "medclipsam-" not in str(caught.value)


def test_what_is_wrong_with_the_image_in_a_zip_file_is_said_of_the_zip_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.nii", "x" * 400)
    for which in ({}, {"series": "2"}):
        with pytest.raises(InputError, match="x.zip'") as caught:
            read_volume(tmp_path / "x.zip", **which)
        assert "medclipsam-" not in str(caught.value)
