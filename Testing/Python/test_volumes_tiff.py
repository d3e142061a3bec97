"""TIFF of every kind is read with its values, or refused by name: never as other values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from helpers.remedies import follow
from PIL import Image

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes import read_segmentation, read_volume
from MedCLIPSAMLib.volumes.read import read_image
from MedCLIPSAMLib.volumes.slice_count import slice_count

KINDS = {
    "uint8": [0, 7, 255],
    "int8": [-128, -1, 127],
    "uint16": [0, 300, 65535],
    "int16": [-32768, -5, 32767],
    "uint32": [0, 1, 4_000_000_000],
    "int32": [-2_000_000_000, 0, 9],
    "float16": [0, 0.5, 1000],
    "float32": [-0.25, 0, 1e9],
    "float64": [-0.125, 0, 1e12],
}


def save(path: Path, pixels: Any, **options: Any) -> Path:
    tifffile.imwrite(path, pixels, **{"photometric": "minisblack", **options})
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"compression": "zlib"}, {"compression": "packbits"}])
def test_gray_of_every_kind_keeps_its_values(tmp_path: Path, kind: str, order: str, options: dict) -> None:
    values = KINDS[kind]
    path = save(tmp_path / "x.tif", np.array([values, values[::-1]], kind), byteorder=order, **options)
    volume = read_volume(path)
    assert volume.array.tolist() == [[values, values[::-1]]]
    assert volume.natural and not volume.known_spacing and volume.notes == []
    assert sitk.GetArrayFromImage(read_image(path)).tolist() == [[values, values[::-1]]]


@pytest.mark.parametrize("kind, white", [("uint8", 255), ("uint16", 65535), ("uint32", 4_294_967_295)])
def test_high_values_are_bright_where_white_is_0(tmp_path: Path, kind: str, white: int) -> None:
    stored = np.array([[0, 1, 100], [white, 0, 0]], kind)  # TIFF 6.0: 0 is white, the highest value is black
    path = save(tmp_path / "x.tif", stored, photometric="miniswhite")
    assert read_volume(path).array.tolist() == [[[white, white - 1, white - 100], [0, white, white]]]
    stored = np.array([[white, 0, white]], kind)
    (mask,) = read_segmentation(save(tmp_path / "mask.tif", stored, photometric="miniswhite"))
    assert mask.mask.tolist() == [[[False, True, False]]]


UPRIGHT = {  # of [[0, 1, 2], [3, 4, 5]], by TIFF 6.0: where its row 0 and its column 0 are
    1: [[0, 1, 2], [3, 4, 5]],
    2: [[2, 1, 0], [5, 4, 3]],
    3: [[5, 4, 3], [2, 1, 0]],
    4: [[3, 4, 5], [0, 1, 2]],
    5: [[0, 3], [1, 4], [2, 5]],
    6: [[3, 0], [4, 1], [5, 2]],
    7: [[5, 2], [4, 1], [3, 0]],
    8: [[2, 5], [1, 4], [0, 3]],
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["png", "uint8", "uint16", "float64"])
@pytest.mark.parametrize("big", [False, True])
def test_every_kind_is_upright(tmp_path: Path, orientation: int, kind: str, big: bool) -> None:
    path, stored = tmp_path / "x.tif", np.arange(6).reshape(2, 3)
    if kind == "png":
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(stored.astype(np.uint8)).save(path, "PNG", exif=exif)
    else:
        save(path, stored.astype(kind), extratags=[(274, "H", 1, orientation, True)], bigtiff=big)
    volume = read_volume(path)
    assert volume.array[0].tolist() == UPRIGHT[orientation]
    assert ("The image was turned upright, as its EXIF orientation says." in volume.notes) == (orientation > 1)


def test_big_files_are_as_large_as_small_ones(tmp_path: Path) -> None:
    pages = np.arange(24, dtype=np.uint16).reshape(2, 3, 4) * 100
    for big in (False, True):
        path = save(tmp_path / "x.tif", pages, bigtiff=big, resolution=(100, 50), resolutionunit="CENTIMETER")
        volume = read_volume(path)
        assert np.array_equal(volume.array, pages) and not volume.known_spacing
        assert volume.geometry.spacing == pytest.approx((0.1, 0.2, 1))


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("extra", ["unassalpha", "unspecified"])
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_further_samples_are_left_out_with_a_note(
    tmp_path: Path, samples: int, extra: str, planes: str, kind: str
) -> None:
    stored = np.zeros((2, 4, samples + 1), kind)
    stored[..., 0], stored[1, 0, 0], stored[..., -1] = 100, 50, 9
    scale = 257 if kind == "uint16" and samples == 3 else 1
    path = save(
        tmp_path / "x.tif",
        np.moveaxis(stored * scale, -1, 0) if planes == "separate" else stored * scale,
        planarconfig=planes,
        photometric="rgb" if samples == 3 else "minisblack",
        extrasamples=[extra],
    )
    volume = read_volume(path)
    gray = volume.array[0] if samples == 1 else volume.array[0, ..., 0]
    assert gray.tolist() == [[100, 100, 100, 100], [50, 100, 100, 100]]
    said = "The alpha channel was left out." if extra == "unassalpha" else "neither gray nor RGB were left out"
    assert any(said in note for note in volume.notes)


@pytest.mark.parametrize(
    "pixels, options, said",
    [
        (np.zeros((4, 4, 5), np.uint16), {"planarconfig": "contig"}, "16-bit unsigned, 5 per pixel"),
        (np.eye(4, dtype=np.float32), {"photometric": "miniswhite"}, "32-bit floating-point, 1 per pixel"),
        (np.eye(4, dtype=np.int16), {"photometric": "miniswhite"}, "16-bit signed, 1 per pixel"),
        (np.eye(4, dtype=np.complex64), {}, "64-bit undefined, 1 per pixel"),
        (np.zeros((4, 4, 3), np.float32), {"photometric": "rgb"}, "3 values per voxel"),
    ],
)
def test_other_kinds_are_refused_by_name(tmp_path: Path, pixels: np.ndarray, options: dict, said: str) -> None:
    path = save(tmp_path / "x.tif", pixels, **options)
    with pytest.raises(InputError, match=said) as caught:
        read_volume(path)
    assert caught.value.remedy and "\n" not in str(caught.value)
    if "python -c" in caught.value.remedy:
        follow(caught.value.remedy, tmp_path)
        (made,) = set(tmp_path.iterdir()) - {path}
        assert read_volume(made).shape == (1, 4, 4)


def test_damaged_and_hostile_files_end_in_a_message(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = save(tmp_path / "x.tif", np.random.default_rng(0).random((64, 64))).read_bytes()
    for length in (9, 60, len(whole) - 300):
        (tmp_path / "short.tif").write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"short.tif"):
            read_volume(tmp_path / "short.tif")
    offsets = whole.index(b"\x11\x01\x04\x00\x01\0\0\0")  # StripOffsets (273), one long number
    (tmp_path / "nowhere.tif").write_bytes(whole[: offsets + 8] + bytes(4) + whole[offsets + 12 :])
    with pytest.raises(InputError, match="pixels are missing"):
        read_volume(tmp_path / "nowhere.tif")
    assert not caplog.records
    tag = whole.index(bytes([0, 1, 4, 0]))  # ImageWidth (256), a long number
    large = bytearray(whole)
    for place in (tag, tag + 12):  # and ImageLength
        large[place + 2 : place + 12] = b"\x04\0\x01\0\0\0" + (60_000).to_bytes(4, "little")
    (tmp_path / "large.tif").write_bytes(large)
    with pytest.raises(InputError, match="too large"):
        read_volume(tmp_path / "large.tif")


@pytest.mark.parametrize("pages", [1, 3])
def test_colors_of_16_bits_need_no_package_for_their_compression(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    """What tifffile says of LZW where imagecodecs is not installed; where it cannot be done without, it is named."""
    colors = np.zeros((pages, 4, 5, 3), np.uint16)
    colors[:, 1, 2] = 65535, 257 * 100, 0

    def refuse(*_: object) -> None:
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    tifffile.imwrite(tmp_path / "colors.tif", colors, photometric="rgb", compression="zlib")
    tag = (274, "H", 1, 3, True)
    tifffile.imwrite(tmp_path / "turned.tif", colors[0], photometric="rgb", compression="zlib", extratags=[tag])
    monkeypatch.setattr(tifffile.TiffPage, "asarray", refuse)
    volume = read_volume(tmp_path / "colors.tif")
    assert volume.array.shape == (pages, 4, 5, 3) and volume.array[-1, 1, 2].tolist() == [255, 100, 0]
    with pytest.raises(InputError, match="not installed: imagecodecs") as raised:
        read_volume(tmp_path / "turned.tif")
    assert ": pip install imagecodecs." in raised.value.remedy


def test_pages_of_more_pixels_than_are_read_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)  # of which Pillow reads twice as many
    for kind in (np.uint16, np.float64):  # which Pillow opens, and does not
        path = save(tmp_path / "x.tif", np.ones((6, 10), kind))
        assert read_volume(path).shape == (1, 6, 10)
        path = save(tmp_path / "x.tif", np.ones((6, 11), kind))
        with pytest.raises(InputError, match="too large"):
            read_volume(path)


def test_pages_that_together_declare_far_more_than_the_file_has_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a file of many pages with the same bytes would: here 20 pages of 40,000 bytes, each in fewer than 1000."""
    monkeypatch.setattr("MedCLIPSAMLib.volumes.tiff.MAX_COMPRESSION", 10)
    pages = np.zeros((20, 100, 100), np.uint32)
    path = save(tmp_path / "x.tif", pages, compression="zlib", metadata=None)
    assert 10 * path.stat().st_size in range(40_000, 20 * 40_000)
    with pytest.raises(InputError, match="x.tif' is truncated: pixels are missing"):
        read_volume(path)
    monkeypatch.setattr("MedCLIPSAMLib.volumes.tiff.MAX_COMPRESSION", 1000)
    assert np.array_equal(read_volume(path).array, pages)


def test_pages_of_kinds_that_differ_are_left_out_with_a_note(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        for page in (np.full((2, 3), 7, np.uint8), np.full((2, 3), -1, np.int8), np.full((2, 3), 0.5)):
            file.write(page, photometric="minisblack", contiguous=False)
    volume = read_volume(tmp_path / "x.tif")
    assert volume.array.tolist() == [[[7] * 3] * 2] and "2 pages of another size or kind" in volume.notes[0]


STACK = np.arange(5 * 6 * 7, dtype=np.uint16).reshape(5, 6, 7) * 300
IMAGEJ = "ImageJ=1.54f\nimages=5\nslices=5\nloop=false\n"


@pytest.mark.parametrize("kind", ["uint8", ">u2", "float64"])
@pytest.mark.parametrize("description", [IMAGEJ, None])
def test_a_stack_behind_a_single_page_is_read_whole(tmp_path: Path, kind: str, description: str | None) -> None:
    """As ImageJ writes more than 4 GiB, and tifffile with `truncate`."""
    path, pixels = tmp_path / "x.tif", STACK.astype(kind)
    if description is None:
        save(path, pixels, truncate=True)
    else:
        save(path, pixels[0], description=description, metadata=None)
        path.write_bytes(path.read_bytes() + pixels[1:].tobytes())
    assert slice_count(path) == 5
    volume = read_volume(path)
    assert np.array_equal(volume.array, pixels) and volume.array.dtype.isnative and volume.notes == []
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="truncated: it describes 5 images but holds one page"):
        read_volume(path)


@pytest.mark.parametrize("kind", ["uint16", "float64"])
def test_thumbnails_are_no_slices(tmp_path: Path, kind: str) -> None:
    pixels = STACK.astype(kind)
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(pixels[0, :3, :3].copy(), subfiletype=1, metadata=None)
        for page in pixels:
            file.write(page, metadata=None)
    volume = read_volume(tmp_path / "x.tif")
    assert np.array_equal(volume.array, pixels)
    assert volume.notes == ["1 pages that are thumbnails or masks of others were left out."]


def test_the_pages_with_the_most_pixels_are_the_slices(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        for page in (STACK[0, :3, :3].copy(), *STACK):
            file.write(page, metadata=None)
    volume = read_volume(tmp_path / "x.tif")
    assert np.array_equal(volume.array, STACK) and slice_count(tmp_path / "x.tif") == 5
    assert volume.notes == ["1 pages of another size or kind were left out."]


@pytest.mark.parametrize(
    "ending, axes, said",
    [
        (".ome.tif", "CZYX", "4-D (2 channels x 5 slices)"),
        (".ome.tif", "ZTCYX", "5-D (5 slices x 2 time points x 3 channels)"),
        (".tif", "TZYX", "4-D (2 time points x 5 slices)"),
        (".tif", "TZCYX", "5-D (2 time points x 5 slices x 3 channels)"),
        ("", "TZYX", "4-D (2 time points x 5 slices)"),
        ("", "QQYX", "4-D (2 images x 5 images)"),
    ],
)
def test_times_and_channels_of_slices_are_refused_with_a_remedy_that_works(
    tmp_path: Path, ending: str, axes: str, said: str
) -> None:
    shape = [{"T": 2, "Z": 5, "C": 3, "Q": 5}[letter] for letter in axes[:-2]]
    if len(shape) == 2:
        shape[0] = 2
    pixels = np.random.default_rng(0).integers(0, 999, (*shape, 6, 7)).astype(np.uint16)
    options = {"imagej": True} if ending == ".tif" else {}
    path = save(tmp_path / f"x{ending}", pixels, metadata={"axes": axes} if "Q" not in axes else None, **options)
    if "Q" in axes:
        save(path, pixels)
    for read in (read_volume, read_segmentation):
        with pytest.raises(InputError) as caught:
            read(path)
        assert said in caught.value.problem
    assert slice_count(path) is None
    follow(caught.value.remedy, tmp_path)
    index = tuple(slice(None) if letter == "Z" else 0 for letter in axes[:-2]) if "Z" in axes else 0
    assert np.array_equal(read_volume(tmp_path / "one.tif").array, pixels[index])


@pytest.mark.parametrize(
    "axes, notes", [("Z", []), ("T", ["Its images are time points"]), ("C", ["Its images are channels"])]
)
@pytest.mark.parametrize("imagej", [True, False])
def test_images_that_are_no_slices_are_shown_as_such_with_a_note(
    tmp_path: Path, axes: str, notes: list[str], imagej: bool
) -> None:
    path = save(tmp_path / "x.tif", STACK, imagej=imagej, metadata={"axes": f"{axes}YX"})
    volume = read_volume(path)
    assert np.array_equal(volume.array, STACK) and slice_count(path) == 5
    assert [note.split(",")[0] for note in volume.notes] == notes


def test_colors_are_no_channels_of_ome(tmp_path: Path) -> None:
    colors = np.random.default_rng(0).integers(0, 255, (4, 6, 7, 3)).astype(np.uint8)
    path = save(tmp_path / "x.ome.tif", colors, photometric="rgb", metadata={"axes": "ZYXS"})
    volume = read_volume(path)
    assert np.array_equal(volume.array, colors) and volume.notes == []


def test_colors_of_16_bits_are_reduced_by_the_bits_that_they_have(tmp_path: Path) -> None:
    stored = np.array([[[0, 16, 4095], [4095, 2048, 1]]], np.uint16)
    by_hand = [[[[0, 1, 255], [255, 128, 0]]]]  # v * 255 / 4095
    volume = read_volume(save(tmp_path / "x.tif", stored, photometric="rgb"))
    assert volume.array.tolist() == by_hand and "of which it uses 12 bits" in volume.notes[0]
    rgba = np.dstack([stored, np.full((1, 2), 65535, np.uint16)])
    path = save(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    assert read_volume(path).array.tolist() == by_hand


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("color", [0, 255])
def test_what_may_be_a_mask_in_an_alpha_channel_is_refused_with_a_remedy_that_works(
    tmp_path: Path, mode: str, ending: str, color: int
) -> None:
    alpha = np.zeros((8, 8), np.uint8)
    alpha[2:5, 1:3] = 255
    colors = [np.full((8, 8), color, np.uint8)] * (len(mode) - 1)
    Image.fromarray(np.dstack([*colors, alpha]), mode).save(tmp_path / f"x{ending}")
    with pytest.raises(InputError, match="only its alpha channel varies") as caught:
        read_segmentation(tmp_path / f"x{ending}")
    follow(caught.value.remedy, tmp_path)
    (mask,) = read_segmentation(tmp_path / "mask.png")
    assert np.array_equal(mask.mask[0], alpha > 0)
    assert "alpha" in read_volume(tmp_path / f"x{ending}").notes[0]


def test_a_mask_beside_an_alpha_channel_is_read(tmp_path: Path) -> None:
    gray = np.zeros((8, 8), np.uint8)
    gray[2:5, 1:3] = 255
    for name, alpha in (("opaque", np.full_like(gray, 255)), ("both", gray)):
        Image.fromarray(np.dstack([gray, alpha]), "LA").save(tmp_path / f"{name}.png")
        (mask,) = read_segmentation(tmp_path / f"{name}.png")
        assert np.array_equal(mask.mask[0], gray > 0)


@pytest.mark.parametrize("ending", [".jp2", ".j2k", ".png"])
def test_jpeg_2000_is_refused_with_a_remedy_that_works(tmp_path: Path, ending: str) -> None:
    values = np.arange(256, dtype=np.uint16).reshape(16, 16) * 200
    Image.fromarray(values).save(tmp_path / f"x{ending}", format="JPEG2000", no_jp2=ending == ".j2k")
    for read in (read_volume, read_segmentation):
        with pytest.raises(InputError, match="is a JPEG 2000 image") as caught:
            read(tmp_path / f"x{ending}")
    follow(caught.value.remedy, tmp_path)
    assert np.array_equal(read_volume(tmp_path / "image.png").array[0], values)


@pytest.mark.parametrize("kind", ["int8", "int16", "int32"])
def test_gray_of_an_undefined_format_is_unsigned(tmp_path: Path, kind: str) -> None:
    """TIFF 6.0, section 19: read as if the field were absent."""
    stored = np.array([[0, 7, -1]], kind)
    path = save(tmp_path / "x.tif", stored)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["SampleFormat"].overwrite(4)
    assert np.array_equal(read_volume(path).array, stored[None].view(f"u{kind}"))
