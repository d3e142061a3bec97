"""Images are read by their content, upright, and hostile ones end in a message."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes import Segment, SliceStack, read_segmentation, read_volume, write_segmentation
from MedCLIPSAMLib.volumes.read import read_image

GREY = np.random.default_rng(0).integers(0, 255, (8, 12), np.uint8)
COLORS = np.random.default_rng(1).integers(0, 255, (8, 12, 3), np.uint8)


def shown(path: Path) -> np.ndarray:
    return SliceStack(read_volume(path)).image(0)


def test_masks_fit_a_turned_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GREY).save(tmp_path / "x.jpg", exif=exif, dpi=(254, 127))
    volume = read_volume(tmp_path / "x.jpg")
    assert volume.shape == (1, 12, 8) and volume.geometry.spacing[:2] == pytest.approx((0.2, 0.1))
    mask = np.zeros(volume.shape, bool)
    mask[0, 10, 3] = True
    write_segmentation(tmp_path / "mask.png", [Segment("x", mask)], volume)
    assert np.array_equal(read_segmentation(tmp_path / "mask.png", volume)[0].mask, mask)


@pytest.mark.parametrize("real", ["png", "jpeg", "bmp", "tiff"])
@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp", ".tif", "", ".nii.gz", ".dcm"])
def test_endings_may_lie(tmp_path: Path, real: str, ending: str) -> None:
    flat = np.full((8, 12), 90, np.uint8)
    Image.fromarray(flat).save(tmp_path / f"x{ending}", format=real)
    volume = read_volume(tmp_path / f"x{ending}")
    assert np.abs(volume.array[0].astype(int) - 90).max() <= 1
    suffix_is_wrong = ending and ending[1:3] != real[:2]
    said = f"The file is a {real.upper()} image, despite its suffix {ending}."
    assert (said in volume.notes) == bool(suffix_is_wrong)


def one_bit_bmp(path: Path, bits: np.ndarray) -> None:
    rows = [np.packbits(row).tobytes().ljust(4, b"\0") for row in bits[::-1]]
    data, palette = b"".join(rows), b"\0\0\0\0\xff\xff\xff\0"
    header = struct.pack("<IiiHHIIiiII", 40, bits.shape[1], bits.shape[0], 1, 1, 0, len(data), 0, 0, 2, 2)
    start = 14 + len(header) + len(palette)
    path.write_bytes(b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + header + palette + data)


def test_one_bit_images_are_black_and_white(tmp_path: Path) -> None:
    bits = GREY > 127
    one_bit_bmp(tmp_path / "x.bmp", bits)
    for ending in ("png", "tif"):
        Image.fromarray(bits).save(tmp_path / f"x.{ending}")
    for ending in ("bmp", "png", "tif"):
        assert np.array_equal(read_volume(tmp_path / f"x.{ending}").array[0], bits * 255), ending
        (mask,) = read_segmentation(tmp_path / f"x.{ending}")
        assert np.array_equal(mask.mask[0], bits)


def test_palettes_are_colors_in_images_and_numbers_in_masks(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1, 2], [2, 1, 0]], np.uint8), "P")
    image.putpalette([10, 20, 30, 200, 0, 0, 0, 200, 0])
    for ending in ("png", "bmp", "tif"):
        image.save(tmp_path / f"x.{ending}")
        assert shown(tmp_path / f"x.{ending}")[0].tolist() == [[10, 20, 30], [200, 0, 0], [0, 200, 0]]
        assert sitk.GetArrayFromImage(read_image(tmp_path / f"x.{ending}"))[0].tolist() == [[0, 1, 2], [2, 1, 0]]


def test_cmyk_and_transparency(tmp_path: Path) -> None:
    for ending in ("jpg", "tif"):
        Image.fromarray(np.full((4, 4, 3), (255, 0, 0), np.uint8)).convert("CMYK").save(tmp_path / f"x.{ending}")
        assert np.abs(shown(tmp_path / f"x.{ending}")[0, 0].astype(int) - (255, 0, 0)).max() < 12
    Image.fromarray(np.dstack([COLORS, GREY])).save(tmp_path / "rgba.png")
    volume = read_volume(tmp_path / "rgba.png")
    assert np.array_equal(volume.array[0], COLORS) and "alpha" in volume.notes[0]


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_deep_grey_keeps_its_values(tmp_path: Path, kind: type) -> None:
    values = np.linspace(0, 60000, 96).reshape(8, 12).astype(kind)
    Image.fromarray(values).save(tmp_path / "x.tif")
    assert np.array_equal(read_volume(tmp_path / "x.tif").array[0], values)
    if kind is np.uint16:
        Image.fromarray(values).save(tmp_path / "x.png")
        assert np.array_equal(read_volume(tmp_path / "x.png").array[0], values)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *extra: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + b"".join(extra)
        + chunk(b"IDAT", zlib.compress(bytes(100)))
        + chunk(b"IEND", b"")
    )


def deep_png(pixels: np.ndarray, kind: int, *extra: bytes) -> bytes:
    """PNG of 16 bits; rows in turn as they are, as differences from the left pixel, and from the row above."""
    data = pixels.astype(">u2").view(np.uint8).reshape(*pixels.shape[:2], -1)
    rows = []
    for number, row in enumerate(data):
        left = np.vstack([row[:1] * 0, row[:-1]])
        rows.append(bytes([number % 3]) + [row, row - left, row - data[number - 1]][number % 3].tobytes())
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, kind, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + b"".join(extra) + chunk(b"IDAT", zlib.compress(b"".join(rows)))
    return b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IEND", b"")


DEEP = np.random.default_rng(2).integers(0, 4071, (6, 5, 4)).astype(np.uint16)


def test_gray_of_16_bits_beside_alpha_keeps_its_values(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(deep_png(DEEP[..., :2], 4))
    volume = read_volume(tmp_path / "x.png")
    assert np.array_equal(volume.array, DEEP[None, ..., 0]) and volume.array.dtype == np.uint16
    assert volume.notes == ["The alpha channel was left out."]
    assert np.array_equal(sitk.GetArrayFromImage(read_image(tmp_path / "x.png")), DEEP[None, ..., 0])
    turned = chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0")  # orientation 6
    (tmp_path / "x.png").write_bytes(deep_png(DEEP[..., :2], 4, turned))
    assert np.array_equal(read_volume(tmp_path / "x.png").array[0], np.rot90(DEEP[..., 0], -1))
    (tmp_path / "mask.png").write_bytes(deep_png(DEEP[..., :2] * (0, 1), 4))
    with pytest.raises(InputError, match="only its alpha channel varies"):
        read_segmentation(tmp_path / "mask.png")


@pytest.mark.parametrize("channels, kind", [(3, 2), (4, 6)])
@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x"])
def test_colors_of_16_bits_are_reduced_by_the_bits_that_they_have(
    tmp_path: Path, channels: int, kind: int, name: str
) -> None:
    pixels = DEEP[..., :channels].copy()
    pixels[0, 0, :3] = 4095, 2048, 16  # 12 bits: v * 255 / 4095
    (tmp_path / name).write_bytes(deep_png(pixels, kind))
    volume = read_volume(tmp_path / name)
    assert volume.array[0, 0, 0].tolist() == [255, 128, 1] and volume.array.dtype == np.uint8
    assert np.abs(volume.array[0] * (4095 / 255) - pixels[..., :3]).max() <= 4095 / 255 / 2
    assert any("of which it uses 12 bits, so that 4095 is white," in note for note in volume.notes)
    (tmp_path / name).write_bytes(deep_png(pixels * 16, kind))
    assert any("16-bit RGB was reduced to 8-bit." in note for note in read_volume(tmp_path / name).notes)


@pytest.mark.parametrize("channels, kind", [(2, 4), (3, 2), (4, 6)])
def test_damaged_colors_of_16_bits_are_refused(tmp_path: Path, channels: int, kind: int) -> None:
    whole = deep_png(DEEP[..., :channels], kind)
    for made in (whole[:60], whole[: len(whole) // 2], whole[:80] + bytes([whole[80] ^ 255]) + whole[81:]):
        (tmp_path / "x.png").write_bytes(made)
        with pytest.raises(InputError):
            read_volume(tmp_path / "x.png")


def test_bombs_are_refused_with_a_message(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(png(50_000, 50_000))
    with pytest.raises(InputError, match="too large"):
        read_volume(tmp_path / "large.png")
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(64 << 20)))
    (tmp_path / "text.png").write_bytes(png(9, 9, text))
    with pytest.raises(InputError, match="text.png"):
        read_volume(tmp_path / "text.png")


@pytest.mark.parametrize(
    "content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", b"GIF89a", b"\0" * 64]
)
def test_only_the_formats_that_are_promised_are_opened(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(InputError, match="x.png"):
        read_volume(tmp_path / "x.png")


def test_images_are_where_itk_and_slicer_have_them(tmp_path: Path) -> None:
    for ending in ("png", "jpg", "tif", "bmp"):
        Image.fromarray(GREY).save(tmp_path / f"x.{ending}", dpi=(254, 127))
        image = sitk.ReadImage(str(tmp_path / f"x.{ending}"))
        volume = read_volume(tmp_path / f"x.{ending}")
        assert volume.geometry.spacing[:2] == pytest.approx(image.GetSpacing()[:2])
        if ending in ("png", "tif"):
            assert np.array_equal(volume.array[0], sitk.GetArrayFromImage(image))


@pytest.mark.parametrize("marker, bits, said", [(0xC3, 12, "lossless"), (0xC3, 8, "lossless"), (0xC1, 12, "12-bit")])
def test_jpeg_that_pillow_does_not_read_is_not_called_damaged(
    tmp_path: Path, marker: int, bits: int, said: str
) -> None:
    Image.fromarray(GREY).save(tmp_path / "x.jpg")
    content = bytearray((tmp_path / "x.jpg").read_bytes())
    frame = content.index(b"\xff\xc0")
    content[frame + 1], content[frame + 4] = marker, bits
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(InputError, match=f"is {said}.* JPEG, which is not supported"):
        read_volume(tmp_path / "x.jpg")
