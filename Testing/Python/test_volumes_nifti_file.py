"""NIfTI on the disk: pairs of files, and what compression may leave at the end of one."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from nifti_made import ARRAY, patched, save, turned

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.export.cases import find_cases
from MedCLIPSAMLib.volumes import read_volume, write_saliency
from MedCLIPSAMLib.volumes.read import read_image
from MedCLIPSAMLib.volumes.slice_count import slice_count

PAIRS = [(".hdr", ".img"), (".hdr", ".img.gz"), (".hdr.gz", ".img.gz"), (".HDR", ".IMG")]


def save_pair(folder: Path, affine: np.ndarray, array: np.ndarray, endings: tuple[str, str], kind: str = "1") -> None:
    """A pair as nibabel writes it, under the endings."""
    made = getattr(nibabel, f"Nifti{kind}Pair")(array, affine)
    made.set_qform(turned(0, (1, 1, 2), (50, 0, 0)), 1)
    made.set_sform(affine, 1)
    nibabel.save(made, folder / "made.hdr")
    for ending, source in zip(endings, (folder / "made.hdr", folder / "made.img")):
        content = source.read_bytes()
        (folder / f"x{ending}").write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)
        source.unlink()


@pytest.mark.parametrize("endings", PAIRS)
@pytest.mark.parametrize("kind", ["1", "2"])
def test_pairs_are_read_as_single_files_are(tmp_path: Path, endings: tuple[str, str], kind: str) -> None:
    affine = turned(0, (1, 1, 2), (0, 0, 0))
    array = np.full((4, 5, 6), 50, np.float32)
    array[0, 0, 0], array[1, 2, 3] = np.nan, -1000
    save_pair(tmp_path, affine, array, endings, kind)
    for ending in endings:
        volume = read_volume(tmp_path / f"x{ending}")
        assert volume.array[0, 0, 0] == volume.array[3, 2, 1] == -1000 and volume.name == "x"
        assert "50.0 mm apart" in volume.notes[0] and "1 NaN" in volume.notes[1] and len(volume.notes) == 2
        assert volume.geometry.origin == (0, 0, 0) and volume.geometry.spacing == (1, 1, 2)
        assert slice_count(tmp_path / f"x{ending}") == 6
        write_saliency(tmp_path / "map.nii", np.ones(volume.shape), volume)
        header = nibabel.load(tmp_path / "map.nii").header
        np.testing.assert_allclose(header.get_sform(), affine)
        assert header.get_qform()[0, 3] == 50
    mask = sitk.GetArrayFromImage(read_image(tmp_path / f"x{endings[0]}"))
    assert np.isnan(mask[0, 0, 0]) and mask[3, 2, 1] == -1000


def test_a_header_without_its_voxels_is_refused(tmp_path: Path) -> None:
    save_pair(tmp_path, np.eye(4), ARRAY, (".hdr", ".img"))
    (tmp_path / "x.img").unlink()
    with pytest.raises(InputError, match=r"Expected the voxels of '.*x.hdr' beside it, in 'x.img' or 'x.img.gz'"):
        read_volume(tmp_path / "x.hdr")


def test_a_qfac_of_0_is_1_as_the_standard_says(tmp_path: Path) -> None:
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = 10, 20, 30
    path = patched(save(tmp_path / "x.nii", None, sform=(None, 0), qform=(affine, 1)), 76, "<f4", 0.0)
    volume = read_volume(path)
    assert (volume.geometry.affine @ (1, 1, 1, 1))[:3].tolist() == [-12, -23, 34] and volume.notes == []
    assert sitk.ReadImage(str(path)).TransformIndexToPhysicalPoint((1, 1, 1)) == (-12, -23, 34)


def test_what_is_wrong_with_a_compressed_file_is_said(tmp_path: Path) -> None:
    packed = gzip.compress(save(tmp_path / "x.nii", np.eye(4)).read_bytes())
    broken = bytearray(packed)
    broken[-8] ^= 1  # of the checksum, which RFC 1952 places before the length
    for name, content, said in (
        ("sum", bytes(broken), "damaged: it cannot be unpacked .CRC check failed"),
        ("short", packed[:-40], "truncated"),
    ):
        (tmp_path / f"{name}.nii.gz").write_bytes(content)
        with pytest.raises(InputError, match=said):
            read_volume(tmp_path / f"{name}.nii.gz")


@pytest.mark.parametrize("behind, count", [(b"garbage!", 1), (bytes(100), 0)])
def test_bytes_behind_compressed_content_are_left_out_as_by_itk(tmp_path: Path, behind: bytes, count: int) -> None:
    path = save(tmp_path / "x.nii.gz", np.eye(4))
    path.write_bytes(path.read_bytes() + behind)
    volume = read_volume(path)
    assert np.array_equal(volume.array, ARRAY.T)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), ARRAY.T)
    assert sum("Bytes after" in note for note in volume.notes) == count


def test_nifti_compressed_by_bzip2_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "x.nii.bz2", np.diag([2.0, 3.0, 4.0, 1.0]))
    volume = read_volume(path)
    assert np.array_equal(volume.array, ARRAY.T) and volume.notes == [] and volume.name == "x"
    assert [case.image for case in find_cases(tmp_path, {"a": "a"})] == [path]
    packed = path.read_bytes()
    for content in (packed[:-9], packed[:-30] + bytes(30)):
        path.write_bytes(content)
        with pytest.raises(InputError, match="no complete NIfTI|truncated|damaged"):
            read_volume(path)


@pytest.mark.parametrize("kind, field, kind_of_field, size", [("1", 108, "<f4", 348), ("2", 168, "<i8", 540)])
@pytest.mark.parametrize(
    "stated, gap", [(-1e15, 0), (-1e15, 4), (0, 0), (0, 4), (100, 4), (None, 0), (None, 1), (None, 3), (None, 4)]
)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_voxels_of_a_single_file_begin_where_its_header_says_or_behind_it(
    tmp_path: Path, kind: str, field: int, kind_of_field: str, size: int, stated: float | None, gap: int, ending: str
) -> None:
    """An offset into the header means behind it, and behind the four bytes of nifti1.h where the file holds as much."""
    nibabel.save(getattr(nibabel, f"Nifti{kind}Image")(ARRAY, np.eye(4)), tmp_path / "made.nii")
    offset = size + gap if stated is None else stated
    whole = patched(tmp_path / "made.nii", field, kind_of_field, offset).read_bytes()
    content = whole[:size] + bytes(gap) + whole[size + 4 :]
    (tmp_path / f"x{ending}").write_bytes(gzip.compress(content) if ending == ".nii.gz" else content)
    assert np.array_equal(read_volume(tmp_path / f"x{ending}").array, ARRAY.T)


@pytest.mark.parametrize("kind, magic", [("1", 344), ("2", 4)])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_single_file_that_is_marked_as_a_pair_is_read(tmp_path: Path, kind: str, magic: int, ending: str) -> None:
    nibabel.save(getattr(nibabel, f"Nifti{kind}Image")(ARRAY, np.eye(4)), tmp_path / "made.nii")
    content = patched(tmp_path / "made.nii", magic, "u1", *f"ni{kind}".encode()).read_bytes()
    (tmp_path / f"x{ending}").write_bytes(gzip.compress(content) if ending == ".nii.gz" else content)
    assert np.array_equal(read_volume(tmp_path / f"x{ending}").array, ARRAY.T)
    (tmp_path / "alone.nii").write_bytes(content[: 348 if kind == "1" else 540])
    with pytest.raises(InputError, match="Expected the voxels of '.*alone.nii' beside it"):
        read_volume(tmp_path / "alone.nii")


@pytest.mark.parametrize("offset", [1e15, 1e30, np.inf, np.nan])
def test_where_a_hostile_header_puts_its_voxels_takes_no_memory(tmp_path: Path, offset: float) -> None:
    path = patched(save(tmp_path / "x.nii", np.eye(4)), 108, "<f4", offset)
    (tmp_path / "y.nii.gz").write_bytes(gzip.compress(path.read_bytes()))
    for name in ("x.nii", "y.nii.gz"):
        with pytest.raises(InputError, match="truncated|damaged|cannot be read") as refused:
            read_volume(tmp_path / name)
        assert "memory" not in str(refused.value)


@pytest.mark.parametrize("kind", ["AnalyzeImage", "Spm99AnalyzeImage"])
@pytest.mark.parametrize("order", "<>")
def test_analyze_keeps_its_values_and_says_that_it_has_no_place(tmp_path: Path, kind: str, order: str) -> None:
    array = np.full((4, 5, 6), 50, np.float32)
    array[0, 0, 0], array[1, 2, 3] = np.nan, -1000
    made = getattr(nibabel, kind)
    nibabel.save(made(array, np.eye(4), made.header_class(endianness=order), dtype=np.float32), tmp_path / "x.img")
    for name in ("x.hdr", "x.img"):
        volume = read_volume(tmp_path / name)
        assert volume.array[0, 0, 0] == volume.array[3, 2, 1] == -1000 and volume.shape == (6, 5, 4)
        assert len(volume.notes) == 2 and "does not say how it lies" in volume.notes[0] and "1 NaN" in volume.notes[1]
