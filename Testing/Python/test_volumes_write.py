"""Segmentations, label maps and images are written whole, on the grid of their volume, and read back the same."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom.sr.codedict
import pytest
import SimpleITK as sitk
from helpers.exhausted import full_disk
from PIL import Image

from MedCLIPSAMLib.errors import InputError, OutputError
from MedCLIPSAMLib.volumes import Segment, Volume, read_segmentation, write_saliency, write_segmentation
from MedCLIPSAMLib.volumes.geometry import Geometry
from MedCLIPSAMLib.volumes.statistics import measure
from MedCLIPSAMLib.volumes.terminology import TERMS, Terminology, color_for, distinct_colors, terminology_for
from MedCLIPSAMLib.volumes.write import assign_layers, write_array


@pytest.fixture
def volume() -> Volume:
    image = sitk.Image(7, 6, 5, sitk.sitkInt16)
    image.SetSpacing((1, 2, 3))
    image.SetOrigin((10, 20, 30))
    c, s = np.cos(0.3), np.sin(0.3)
    image.SetDirection((0, -1, 0, s, 0, c, c, 0, -s))
    return Volume.from_sitk(image)


@pytest.fixture
def image() -> Volume:
    return Volume.from_sitk(sitk.Image(7, 6, 1, sitk.sitkUInt8), natural=True)


def box(volume: Volume, *bounds: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(volume.shape, bool)
    mask[tuple(slice(*pair) for pair in bounds)] = True
    return mask


def same_grid(path: Path, volume: Volume) -> bool:
    image = sitk.ReadImage(str(path))
    getters = ("GetOrigin", "GetSpacing", "GetDirection")
    return all(np.allclose(getattr(image, get)(), getattr(volume.to_sitk(), get)(), atol=1e-5) for get in getters)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_label_maps_number_the_segments_in_order(tmp_path: Path, volume: Volume, suffix: str) -> None:
    a, b = box(volume, (0, 2), (1, 4), (2, 5)), box(volume, (3, 5), (1, 4), (2, 5))
    path = tmp_path / f"out{suffix}"
    write_segmentation(path, [Segment("a", a), Segment("b", b)], volume)
    assert same_grid(path, volume)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), a * 1 + b * 2)
    first, second = read_segmentation(path)
    assert (first.name, second.name) == ("out 1", "out 2")
    np.testing.assert_array_equal(first.mask, a)
    np.testing.assert_array_equal(second.mask, b)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".NII.GZ", ".NRRD", ".MHA", ".SEG.NRRD"])
def test_endings_in_capitals_are_written_and_read(tmp_path: Path, volume: Volume, suffix: str) -> None:
    mask = box(volume, (0, 2), (1, 4), (2, 5))
    write_segmentation(tmp_path / f"out{suffix}", [Segment("a", mask)], volume)
    (found,) = read_segmentation(tmp_path / f"out{suffix}", volume)
    np.testing.assert_array_equal(found.mask, mask)


def test_overlaps_need_seg_nrrd(tmp_path: Path, volume: Volume) -> None:
    a, b = box(volume, (0, 3), (0, 3), (0, 3)), box(volume, (2, 5), (2, 5), (2, 5))
    segments = [Segment("tumour", a, tags={"Prompt": "a: b"}), Segment("Ödem", b, (0.1, 0.2, 0.3)), Segment("", a & b)]
    with pytest.raises(OutputError, match=r"'Ödem' overlaps 'tumour'.*seg\.nrrd"):
        write_segmentation(tmp_path / "out.nii.gz", segments, volume)
    assert not any(tmp_path.iterdir())
    path = tmp_path / "out.seg.nrrd"
    write_segmentation(path, segments, volume)
    back = read_segmentation(path, volume)
    assert [segment.name for segment in back] == ["tumour", "Ödem", "Segment 3"]
    for segment, mask in zip(back, (a, b, a & b), strict=True):
        np.testing.assert_array_equal(segment.mask, mask)
    assert back[0].tags == {"Prompt": "a: b"}
    assert back[0].terminology == terminology_for("tumour")
    assert back[1].color == pytest.approx((0.1, 0.2, 0.3), abs=1e-6)


def test_layers_are_shared_by_segments_that_do_not_overlap() -> None:
    a, b, c, d = np.zeros((4, 1, 1, 6), bool)
    a[..., :2], b[..., 1:4], c[..., 4:], d[..., 1] = True, True, True, True
    assert assign_layers([a, b, c, d]) == [(0, 1), (1, 1), (0, 2), (2, 1)]


@pytest.mark.parametrize("count", [0, 300])
def test_no_segment_and_more_than_255_segments_are_kept(tmp_path: Path, count: int) -> None:
    volume = Volume.from_sitk(sitk.Image(300, 2, 1, sitk.sitkInt16))
    masks = np.zeros((count, 1, 2, 300), bool)
    for n in range(count):
        masks[n, 0, 0, n] = True
    segments = [Segment(f"s{n}", mask) for n, mask in enumerate(masks)]
    for name in ("many.seg.nrrd", "many.nii.gz"):
        write_segmentation(tmp_path / name, segments, volume)
        back = read_segmentation(tmp_path / name, volume)
        assert len(back) == count
        assert all(np.array_equal(segment.mask, mask) for segment, mask in zip(back, masks, strict=True))


def test_images_are_written_as_png(tmp_path: Path, image: Volume, volume: Volume) -> None:
    a, b = box(image, (0, 1), (0, 3), (0, 3)), box(image, (0, 1), (3, 6), (3, 7))
    write_segmentation(tmp_path / "one.png", [Segment("a", a)], image)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "one.png")), a[0] * 255)
    write_segmentation(tmp_path / "two.png", [Segment("a", a), Segment("b", b)], image)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "two.png")), a[0] + 2 * b[0])
    (back,) = read_segmentation(tmp_path / "one.png", image)
    np.testing.assert_array_equal(back.mask, a)
    with pytest.raises(OutputError, match="5 slices"):
        write_segmentation(tmp_path / "volume.png", [], volume)


def test_saliency_keeps_its_values_and_place(tmp_path: Path, volume: Volume) -> None:
    saliency = np.random.default_rng(0).random(volume.shape)
    for suffix in (".nrrd", ".nii.gz"):
        write_saliency(tmp_path / f"map{suffix}", saliency, volume)
        assert same_grid(tmp_path / f"map{suffix}", volume)
        image = sitk.ReadImage(str(tmp_path / f"map{suffix}"))
        assert image.GetPixelID() == sitk.sitkFloat32
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), saliency.astype(np.float32))
    with pytest.raises(OutputError, match="none of .nii.gz"):
        write_saliency(tmp_path / "map.png", saliency, volume)


def test_outputs_that_cannot_be_written_are_refused_and_leave_nothing(tmp_path: Path, volume: Volume) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.nii.gz").mkdir()
    for name, reason in {
        "out.xyz": "none of .seg.nrrd",
        "out": "none of .seg.nrrd",
        "missing/out.nii.gz": "does not exist",
        "file/out.nii.gz": "is a file, not a folder",
        "folder.nii.gz": "is a folder",
    }.items():
        with pytest.raises(OutputError, match=reason):
            write_segmentation(tmp_path / name, [], volume)
    with pytest.raises(OutputError, match="/proc/out.nii.gz"):
        write_segmentation("/proc/out.nii.gz", [], volume)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder.nii.gz"]


def test_masks_of_another_shape_are_refused(tmp_path: Path, volume: Volume) -> None:
    with pytest.raises(InputError, match="shape"):
        write_segmentation(tmp_path / "out.nii.gz", [Segment("a", np.zeros((1, 2, 3), bool))], volume)


def test_what_is_no_mask_is_refused(tmp_path: Path, image: Volume) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (6, 7, 3), dtype=np.uint8)).save(tmp_path / "color.png")
    with pytest.raises(InputError, match="color image"):
        read_segmentation(tmp_path / "color.png")
    sitk.WriteImage(sitk.GetImageFromArray(rng.random((3, 4, 5))), str(tmp_path / "map.nrrd"))
    with pytest.raises(InputError, match="Expected a mask"):
        read_segmentation(tmp_path / "map.nrrd")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "other.png")
    with pytest.raises(InputError, match=r"\(9, 9, 1\)"):
        read_segmentation(tmp_path / "other.png", image)


def test_a_grey_mask_saved_as_rgb_is_read(tmp_path: Path) -> None:
    mask = np.zeros((6, 7), bool)
    mask[2:4, 3:5] = True
    Image.fromarray(np.repeat(mask[..., None] * np.uint8(255), 3, axis=2)).save(tmp_path / "mask.png")
    (segment,) = read_segmentation(tmp_path / "mask.png")
    assert segment.name == "mask"
    np.testing.assert_array_equal(segment.mask[0], mask)


@pytest.mark.parametrize("color", [(255, 255, 255), (255, 0, 0), (128, 0, 0), (100, 100, 100), (2, 2, 2)])
def test_a_mask_saved_as_jpeg_is_one_segment(tmp_path: Path, color: tuple[int, ...]) -> None:
    mask = np.zeros((64, 64), bool)
    mask[16:48, 8:40] = True
    Image.fromarray(mask[..., None] * np.array(color, np.uint8)).save(tmp_path / "mask.jpg", quality=50)
    (segment,) = read_segmentation(tmp_path / "mask.jpg", Volume(np.zeros((1, 64, 64), np.uint8), natural=True))
    assert segment.name == "mask" and np.count_nonzero(segment.mask[0] != mask) < 40


def test_masks_come_to_the_grid_of_their_volume_or_are_refused(tmp_path: Path, volume: Volume) -> None:
    mask = box(volume, (1, 3), (2, 5), (3, 6))
    labels = volume.to_sitk(mask.astype(np.uint8))
    sitk.WriteImage(labels[2:, 1:, 1:4], str(tmp_path / "cropped.nrrd"))  # keeps its place
    np.testing.assert_array_equal(read_segmentation(tmp_path / "cropped.nrrd", volume)[0].mask, mask)
    labels.SetOrigin((1000, 0, 0))
    sitk.WriteImage(labels, str(tmp_path / "elsewhere.nrrd"))
    with pytest.raises(InputError, match="wholly outside"):
        read_segmentation(tmp_path / "elsewhere.nrrd", volume)


def test_words_of_a_prompt_become_codes() -> None:
    assert terminology_for("a benign breast tumour").type[2] == "Mass"
    assert terminology_for("a benign breast tumour").region[2] == "Breast"
    assert terminology_for("Brain TUMORS").region[1] == "12738006"
    assert terminology_for("right kidney").modifier[2] == "Right"
    assert terminology_for("right liver lobe").modifier == ("", "", "")
    assert terminology_for("sitting on a chair") == Terminology()
    for text in ("left lung", "lung nodule", "chair"):
        assert Terminology.from_entry(terminology_for(text).entry()) == terminology_for(text)
    assert Terminology.from_entry("nonsense") == Terminology()


def test_codes_and_meanings_are_those_of_dicom() -> None:
    """pydicom has the tables of PS3.16, in which body fat is an observable; the tissue is from Slicer's list."""
    sct = pydicom.sr.codedict.codes.SCT
    known = {(code.value, code.meaning) for code in (getattr(sct, name) for name in sct.dir())}
    ours = {term.code[1:] for term in TERMS.values()}
    assert ours - known == {("248300009", "Body fat")}


def test_colors_are_slicers_for_organs_and_differ_for_other_names() -> None:
    assert color_for("liver") == pytest.approx((221 / 255, 130 / 255, 101 / 255))
    names = ["benign tumour", "malignant tumour", "liver tumour", "chair"]
    assert len({color_for(name) for name in names}) == 4
    assert color_for("Benign tumour ") == color_for("benign tumour")
    assert all(0 <= channel <= 1 and max(color_for(name)) > 0.9 for name in names for channel in color_for(name))


@pytest.mark.parametrize("name", ["x.nii.gz", "x.nii", "x.nrrd", "x.mha", "x.seg.nrrd", "x.png"])
@pytest.mark.parametrize(("side", "room"), [(900, 40_000), (100, 700)])
def test_a_full_disk_leaves_the_file_of_before(tmp_path: Path, name: str, side: int, room: int) -> None:
    mask = np.random.default_rng(0).random((1, side, side)) > 0.5
    path = tmp_path / name
    path.write_bytes(b"good")
    with full_disk(room), pytest.raises(OutputError, match="^Cannot write") as refused:
        write_segmentation(path, [Segment("x", mask)], Volume(mask.astype(np.uint8), natural=True))
    assert len(str(refused.value).splitlines()) <= 2
    assert path.read_bytes() == b"good" and list(tmp_path.iterdir()) == [path]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 32 KiB; skips where none can be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("no disk can be mounted")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("name", ["x.nii.gz", "x.nrrd", "x.seg.nrrd", "x.png"])
def test_a_full_disk_is_named_as_the_reason(tiny_disk: Path, name: str) -> None:
    mask = np.random.default_rng(0).random((1, 900, 900)) > 0.5
    with pytest.raises(OutputError, match="No space left on device"):
        write_segmentation(tiny_disk / name, [Segment("x", mask)], Volume(mask.astype(np.uint8), natural=True))
    assert not list(tiny_disk.iterdir())


def test_numbers_of_64_bits_are_written(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.int64).reshape(2, 3, 4)
    write_array(tmp_path / "x.nii.gz", array, Volume(array))
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "x.nii.gz"))), array)


@pytest.mark.parametrize(
    ("key", "value"), [("Layer", "5"), ("Layer", "-1"), ("Layer", "x"), ("LabelValue", "x"), ("Color", "red 0 0")]
)
def test_damaged_fields_of_a_segment_are_a_message(tmp_path: Path, volume: Volume, key: str, value: str) -> None:
    path = tmp_path / "bad.seg.nrrd"
    write_segmentation(path, [Segment("lungs", np.ones(volume.shape, bool))], volume)
    image = sitk.ReadImage(str(path))
    image.SetMetaData(f"Segment0_{key}", value)
    sitk.WriteImage(image, str(path))
    with pytest.raises(InputError, match="has damaged segments"):
        read_segmentation(path)


@pytest.mark.parametrize("kind, said", [("", "header does not describe"), ("Fractional labelmap", "holds fractions")])
def test_voxels_that_are_of_no_segment_are_never_an_empty_mask(tmp_path: Path, kind: str, said: str) -> None:
    image = sitk.GetImageFromArray(np.full((2, 3, 4), 50, np.uint8))
    if kind:
        image.SetMetaData("Segmentation_MasterRepresentation", kind)
        image.SetMetaData("Segment0_ID", "Segment_1")
    sitk.WriteImage(image, str(tmp_path / "x.seg.nrrd"))
    with pytest.raises(InputError, match=said):
        read_segmentation(tmp_path / "x.seg.nrrd")
    sitk.WriteImage(sitk.GetImageFromArray(np.array([[[0, np.inf]]], np.float32)), str(tmp_path / "x.mha"))
    with pytest.raises(InputError, match="Expected a mask in"):
        read_segmentation(tmp_path / "x.mha")


def test_structures_of_one_image_have_colors_that_can_be_told_apart():
    names = ["lung nodule", "brain tumor", "breast tumor", "lungs", "left lung", *(f"lesion {n}" for n in range(6))]
    assert distinct_colors(["brain tumor"]) == [color_for("brain tumor")]
    colors = distinct_colors(names)
    assert colors[0] == color_for(names[0]) and colors == distinct_colors(names)
    for first, second in itertools.combinations(colors, 2):
        assert max(abs(a - b) for a, b in zip(first, second)) > 0.2


def test_slices_are_counted_along_the_plane_that_was_looked_at():
    mask = np.zeros((4, 5, 6), bool)
    mask[1:3, 2, 1:5] = True
    volume = Volume(np.zeros(mask.shape, np.int16), Geometry())
    counts = {axis: measure(Segment("a", mask), volume, axis).slices for axis in "KJI"}
    assert counts == {"K": 2, "J": 1, "I": 4}
