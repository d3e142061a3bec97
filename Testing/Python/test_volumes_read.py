"""What can be read is read as it is; what cannot is refused with a cause and a remedy."""

from __future__ import annotations

import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_made import image as dicom_image
from dicom_made import save as save_dicom
from dicom_made import write_series
from PIL import Image

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes import SliceStack, read_volume


def save(image: sitk.Image, path: Path) -> Path:
    sitk.WriteImage(image, str(path))
    return path


def a_volume(pixel_type: int = sitk.sitkInt16) -> sitk.Image:
    image = sitk.Cast(sitk.GaussianSource(sitk.sitkFloat32, (7, 6, 5), (2, 2, 2), (3, 3, 2), 100), pixel_type)
    image.SetSpacing((1, 2, 3))
    image.SetOrigin((10, 20, 30))
    image.SetDirection((0, -1, 0, 0, 0, 1, 1, 0, 0))
    return image


def test_non_finite_voxels_become_the_lowest_value_and_are_noted(tmp_path: Path) -> None:
    array = np.ones((3, 4, 5), np.float32)
    array[0, 0, :3] = np.nan, np.inf, -7
    volume = read_volume(save(sitk.GetImageFromArray(array), tmp_path / "x.nrrd"))
    assert volume.array[0, 0, :3].tolist() == [-7, -7, -7]
    assert "2 NaN" in volume.notes[0]
    with pytest.raises(InputError, match="no finite voxel"):
        read_volume(save(sitk.GetImageFromArray(np.full((3, 4, 5), np.nan)), tmp_path / "nan.nrrd"))


def test_a_constant_image_is_read_and_shown_black(tmp_path: Path) -> None:
    volume = read_volume(save(sitk.Image(4, 5, 6, sitk.sitkFloat32) + 3, tmp_path / "x.mha"))
    assert "constant" in volume.notes[0]
    assert not SliceStack(volume).image(2).any()


def test_4d_is_refused_with_its_shape_and_how_to_take_one_time_point(tmp_path: Path) -> None:
    path = save(sitk.JoinSeries([a_volume()] * 3), tmp_path / "bold.nii.gz")
    with pytest.raises(InputError, match="7 x 6 x 5 x 3") as caught:
        read_volume(path)
    assert "[..., 0]" in caught.value.remedy
    assert read_volume(save(sitk.JoinSeries([a_volume()]), tmp_path / "one.nii.gz")).shape == (5, 6, 7)


def test_vectors_and_complex_numbers_are_refused(tmp_path: Path) -> None:
    field = sitk.Compose([a_volume(sitk.sitkFloat32)] * 3)
    with pytest.raises(InputError, match="not an RGB image"):
        read_volume(save(field, tmp_path / "field.nrrd"))
    with pytest.raises(InputError, match="5 values per voxel"):
        read_volume(save(sitk.Compose([a_volume()] * 5), tmp_path / "five.nrrd"))


THREE = np.random.default_rng(4).integers(0, 256, (2, 3, 4, 3), dtype=np.uint8)


def nrrd_of(kind: str, path: Path) -> Path:
    header = f"NRRD0004\ntype: uchar\ndimension: 4\nsizes: 3 4 3 2\nkinds: {kind} domain domain domain\nspace: LPS\n"
    header += "space directions: none (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\nencoding: raw\n\n"
    path.write_bytes(header.encode() + THREE.tobytes())
    return path


def nifti_of(intent: int, path: Path) -> Path:
    image = nibabel.Nifti1Image(THREE.transpose(2, 1, 0, 3)[:, :, :, None], np.eye(4))
    image.header["intent_code"] = intent
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("kind", ["list", "HSV-color", "3-normal", "covariant-vector", "point"])
def test_three_values_that_are_no_colors_are_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(InputError, match=r"not colors .* header \((list|HSV-color|.*normal|covariant.*|point)\)"):
        read_volume(nrrd_of(kind, tmp_path / "x.nrrd"))


@pytest.mark.parametrize("intent", [1006, 1008, 1009])  # displacement vector, point set, triangle
def test_three_values_of_nifti_that_are_no_colors_are_refused(tmp_path: Path, intent: int) -> None:
    with pytest.raises(InputError, match="not colors according to its header"):
        read_volume(nifti_of(intent, tmp_path / "x.nii"))


def test_three_values_that_may_be_colors_are_taken_for_them_with_a_note(tmp_path: Path) -> None:
    """SimpleITK writes colors as vectors: it has no other name for them."""
    colors = sitk.GetImageFromArray(THREE, isVector=True)
    vectors = [save(colors, tmp_path / f"x{suffix}") for suffix in (".nrrd", ".nii", ".mha")]
    vectors.append(nifti_of(0, tmp_path / "unnamed.nii"))
    named = [nrrd_of("RGB-color", tmp_path / "rgb.nrrd"), nifti_of(2003, tmp_path / "rgb.nii"), tmp_path / "rgb24.nii"]
    packed = THREE.transpose(2, 1, 0, 3).copy().view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    nibabel.save(nibabel.Nifti1Image(packed, np.eye(4)), named[-1])
    for path in (*vectors, *named):
        volume = read_volume(path)
        assert np.array_equal(volume.array, THREE)
        assert any("taken to be colors" in note for note in volume.notes) == (path in vectors)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".png", ".jpg", ".tif", ".dcm"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 250, (1, 64, 64), dtype=np.uint8)
    image = sitk.GetImageFromArray(noise)
    path = tmp_path / f"cut{suffix}"
    if suffix in (".png", ".jpg", ".tif"):
        Image.fromarray(noise[0]).save(path)
    else:
        save(image, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(InputError, match="cut"):
        read_volume(path)


def test_folders_and_files_that_hold_no_image_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file or folder"):
        read_volume(tmp_path / "missing.nii.gz")
    (tmp_path / "link.nii.gz").symlink_to(".git/annex/objects/x")
    with pytest.raises(InputError, match="is a link to a missing file"):
        read_volume(tmp_path / "link.nii.gz")
    for name in ("lfs.nii.gz", "lfs.mha", "lfs.nrrd"):
        (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n")
        with pytest.raises(InputError, match="is a pointer of git-lfs, whose"):
            read_volume(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is empty"):
        read_volume(tmp_path / "empty")
    (tmp_path / "texts").mkdir()
    for name in ("a.txt", "b.nii.gz"):
        (tmp_path / "texts" / name).write_text("hello")
    with pytest.raises(InputError, match="2 files but no DICOM"):
        read_volume(tmp_path / "texts")
    with pytest.raises(InputError, match="no known image format"):
        read_volume(tmp_path / "texts" / "a.txt")
    with pytest.raises(InputError, match="b.nii.gz"):
        read_volume(tmp_path / "texts" / "b.nii.gz")


def test_a_folder_of_folders_and_a_sheared_volume_are_refused(tmp_path: Path) -> None:
    (tmp_path / "study" / "series").mkdir(parents=True)
    with pytest.raises(InputError, match="holds only folders"):
        read_volume(tmp_path / "study")
    path = save(a_volume(), tmp_path / "sheared.nii")
    raw = bytearray(path.read_bytes())
    raw[252:256] = np.array([0, 1], "<i2").tobytes()  # qform_code 0, sform_code 1
    raw[280:328] = np.array([[1, 0.8, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], "<f4").tobytes()
    path.write_bytes(raw)
    with pytest.raises(InputError, match="right angles"):
        read_volume(path)


def test_paths_outside_ascii_and_awkward_names_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "Größe – 画像"
    folder.mkdir()
    volume = read_volume(save(a_volume(), folder / "Schädel; rm -rf *.nii.gz"))
    assert volume.name == "Schädel_ rm -rf"
    write_series(folder / "série", range(3))
    assert read_volume(folder / "série").shape == (3, 4, 6)


def test_the_display_range_of_nifti_is_its_window(tmp_path: Path) -> None:
    image = a_volume()
    path = save(image, tmp_path / "x.nii")
    raw = bytearray(path.read_bytes())
    raw[124:132] = np.array([80.0, 20.0], "<f4").tobytes()  # cal_max, cal_min
    path.write_bytes(raw)
    assert read_volume(path).window == (50.0, 60.0)


SHORTS = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)


def made(folder: Path, kind: str) -> Path:
    """A file of a kind under its right name."""
    path = folder / f"made.{kind}"
    if kind == "dcm":
        save_dicom(dicom_image(SHORTS[0]), path)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(made(folder, "nrrd"), "scan.nrrd")
    else:
        sitk.WriteImage(sitk.GetImageFromArray(SHORTS), str(path))
    return path


@pytest.mark.parametrize(
    "kind, name, said",
    [
        ("dcm", "x.png", "DICOM, despite its suffix .png"),
        ("dcm", "x.NII.GZ", "DICOM, despite its suffix .nii.gz"),
        ("nii.gz", "x.nii", "NIfTI compressed by gzip, despite its suffix .nii"),
        ("nii", "x.nii.gz", "uncompressed NIfTI, despite its suffix .nii.gz"),
        ("nii", "x.dcm", "uncompressed NIfTI, despite its suffix .dcm"),
        ("nii.gz", "x.mha", "NIfTI compressed by gzip, despite its suffix .mha"),
        ("zip", "x.nrrd", "a zip file, despite its suffix .nrrd"),
        ("nrrd", "x.nii.gz", "NRRD, despite its suffix .nii.gz"),
        ("nrrd", "x.MHA", "NRRD, despite its suffix .mha"),
        ("mha", "x.nrrd", "MetaImage, despite its suffix .nrrd"),
        ("mha", "x.dcm", "MetaImage, despite its suffix .dcm"),
        *((kind, f"x.{kind}", "") for kind in ("dcm", "nii", "nii.gz", "nrrd", "mha", "zip")),
        *((kind, name, "") for kind in ("dcm", "nii", "nrrd", "mha") for name in ("x", "1.2.840.17", "x.ima")),
    ],
)
def test_what_is_clear_by_its_content_is_read_and_said(tmp_path: Path, kind: str, name: str, said: str) -> None:
    path = made(tmp_path, kind).rename(tmp_path / name)
    volume = read_volume(path)
    assert np.array_equal(volume.array, SHORTS[:1] if kind == "dcm" else SHORTS)
    spite = [note for note in volume.notes if "despite" in note]
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
