"""Series that one or a few slices spoil: missing in one time point, there again, or lacking a tag or frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom_made import MR, image, save, slice_at
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless, generate_uid

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes import read_volume

US = "1.2.840.10008.5.1.4.1.1.6.1"
PHASES, SLICES = 3, 6
IN_TURNS = [0, 2, 4, 1, 3, 5]
SECONDS: dict[str, Callable[[int, int], int]] = {
    "phase by phase": lambda p, k: SLICES * p + k,
    "downwards": lambda p, k: SLICES * p + SLICES - 1 - k,
    "in turns": lambda p, k: SLICES * p + IN_TURNS.index(k),
    "slice by slice": lambda p, k: PHASES * k + p,
}


def write(folder: Path, second: Callable[[int, int], int], by_time: bool, lost: tuple[int, int]) -> None:
    for p in range(PHASES):
        for k in range(SLICES):
            n = second(p, k)
            told = {"AcquisitionTime": f"1000{n:02d}.5"} if by_time else {"InstanceNumber": str(n + 1)}
            tags = {"SOPClassUID": MR, "Modality": "MR", "InstanceNumber": None} | told
            if (p, k) != lost:
                save(slice_at((0, 0, 2 * k), 10 * p + k, **tags), folder / f"{n:02d}.dcm")


@pytest.mark.parametrize("lost", [(1, 2), (0, 5), (2, 3)])
@pytest.mark.parametrize("by_time", [True, False])
@pytest.mark.parametrize("order", SECONDS)
def test_a_slice_that_is_missing_leaves_the_other_phases_whole(
    tmp_path: Path, order: str, by_time: bool, lost: tuple[int, int]
) -> None:
    write(tmp_path, SECONDS[order], by_time, lost)
    with pytest.raises(InputError, match="17 images at 6 positions in 3 phases"):
        read_volume(tmp_path)
    for p in range(PHASES):
        volume = read_volume(tmp_path, phase=str(p + 1))
        assert volume.array[:, 0, 0].tolist() == [10 * p + k for k in range(SLICES) if (p, k) != lost]
        assert any("at 5 of 6 positions" in note for note in volume.notes) == (p == lost[0])


def test_a_series_with_many_gaps_is_refused(tmp_path: Path) -> None:
    write(tmp_path, SECONDS["in turns"], True, (0, 0))
    (tmp_path / "14.dcm").unlink()
    with pytest.raises(InputError, match="no tag tells them apart"):
        read_volume(tmp_path)


@pytest.mark.parametrize("count", [1, 4])
def test_slices_that_are_there_again_under_another_uid_are_left_out(tmp_path: Path, count: int) -> None:
    for name in ("a", "b"):
        for k in range(4 if name == "a" else count):
            save(slice_at((0, 0, 2 * k), k, SOPInstanceUID=generate_uid()), tmp_path / f"{name}{k}.dcm")
    volume = read_volume(tmp_path)
    assert volume.array[:, 0, 0].tolist() == [0, 1, 2, 3]
    images = "1 image" if count == 1 else f"{count} images"
    assert volume.notes == [f"Left out: {images} with the same pixels as another at the same position."]
    made = slice_at((0, 0, 2), 1)
    made.PixelData = np.full((4, 6), 9, np.int16).tobytes()
    save(made, tmp_path / "other.dcm")
    with pytest.raises(InputError, match="no tag tells them apart"):
        read_volume(tmp_path)


def test_a_stack_that_was_sent_twice_is_one_whatever_its_numbers(tmp_path: Path) -> None:
    for n in range(8):
        save(slice_at((0, 0, 2 * (n % 4)), n % 4, InstanceNumber=str(n + 99 * (n > 3))), tmp_path / f"{n}.dcm")
    volume = read_volume(tmp_path)
    assert (
        volume.array[:, 0, 0].tolist() == [0, 1, 2, 3] and "Left out: 4 images with the same pixels" in volume.notes[0]
    )


def test_phases_by_number_keep_slices_of_the_same_pixels(tmp_path: Path) -> None:
    for n in range(8):
        value = 0 if n in (0, 4) else n  # nothing is seen on the first slice
        save(slice_at((0, 0, 2 * (n % 4)), value, InstanceNumber=str(n)), tmp_path / f"{n}.dcm")
    with pytest.raises(InputError, match="8 images at 4 positions in 2 phases"):
        read_volume(tmp_path)
    assert read_volume(tmp_path, phase="2").array[:, 0, 0].tolist() == [0, 5, 6, 7]


def test_a_damaged_slice_of_one_phase_leaves_the_others_readable(tmp_path: Path) -> None:
    for n in range(8):
        save(slice_at((0, 0, 2 * (n % 4)), n, InstanceNumber=str(n)), tmp_path / f"{n}.dcm")
    path = tmp_path / "6.dcm"
    path.write_bytes(path.read_bytes()[:-20])
    assert read_volume(tmp_path, phase="1").array[:, 0, 0].tolist() == [0, 1, 2, 3]
    with pytest.raises(InputError, match="6.dcm"):
        read_volume(tmp_path, phase="2")


def test_one_position_for_all_is_none_where_slice_locations_differ(tmp_path: Path) -> None:
    for n in range(4):
        save(slice_at((0, 0, 0), n, SliceLocation=str(5 * n)), tmp_path / f"{9 - n}.dcm")
    volume = read_volume(tmp_path)
    assert volume.array[:, 0, 0].tolist() == [0, 1, 2, 3] and volume.geometry.spacing[2] == 5
    assert "same position" in volume.notes[0] and "slice locations" in volume.notes[1]


def test_a_secondary_capture_among_slices_is_told_apart(tmp_path: Path) -> None:
    for n in range(5):
        save(slice_at((0, 0, n), n, InstanceNumber=None), tmp_path / f"{n}.dcm")
    other = slice_at((0, 0, 2), 9, SOPClassUID="1.2.840.10008.5.1.4.1.1.7", InstanceNumber=None)
    save(other, tmp_path / "other.dcm")
    with pytest.raises(InputError, match="1  class CT Image Storage, 5 images\n  2  class Secondary Capture"):
        read_volume(tmp_path)
    assert read_volume(tmp_path, phase="CT image").array[:, 0, 0].tolist() == [0, 1, 2, 3, 4]


def test_time_points_of_one_slice_are_no_stack(tmp_path: Path) -> None:
    for n in range(4):
        save(slice_at((0, 0, 0), n, SliceLocation="0"), tmp_path / f"{n}.dcm")
    with pytest.raises(InputError, match="4 images at 1 position in 4 phases"):
        read_volume(tmp_path)


MISSING = {
    "SamplesPerPixel": "1",
    "PhotometricInterpretation": "MONOCHROME2",
    "PixelRepresentation": "0",
    "BitsAllocated": "16",
    "BitsStored": "16",
    "HighBit": "15",
}


@pytest.mark.parametrize("keyword", MISSING)
def test_gray_images_that_lack_a_tag_of_their_pixels_are_read_with_a_note(tmp_path: Path, keyword: str) -> None:
    for n in range(3):
        save(slice_at((0, 0, n), n, **{keyword: None}), tmp_path / f"{n}.dcm")
    volume = read_volume(tmp_path)
    assert volume.array[:, 0, 0].tolist() == [0, 1, 2]
    assert volume.notes == [f"{keyword} is missing: {MISSING[keyword]} was taken."]


def test_an_unknown_kind_of_gray_is_taken_for_the_usual_one(tmp_path: Path) -> None:
    volume = read_volume(save(slice_at((0, 0, 0), 5, PhotometricInterpretation="MONOCHROME3"), tmp_path / "x.dcm"))
    assert volume.array[0, 0, 0] == 5 and "'MONOCHROME3': MONOCHROME2 was taken" in volume.notes[0]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("declared", [None, 2])
def test_frames_beyond_those_that_are_declared_are_left_out_with_a_note(
    tmp_path: Path, packed: bool, declared: int | None
) -> None:
    frames = np.stack([np.full((4, 6), n, np.uint8) for n in range(3)])
    made = image(frames, US, "US")
    path = save(made, tmp_path / "x.dcm")
    if packed:
        made.compress(RLELossless)
    made.NumberOfFrames = declared
    made.save_as(path)
    volume = read_volume(path)
    assert volume.array[:, 0, 0].tolist() == list(range(declared or 1))
    assert f"'x.dcm' has 3 frames but declares {declared or 1}" in volume.notes[0]


def test_fewer_frames_than_declared_are_refused(tmp_path: Path) -> None:
    made = image(np.zeros((3, 4, 6), np.uint8), US, "US")
    path = save(made, tmp_path / "x.dcm")
    made.compress(RLELossless)
    made.NumberOfFrames = 4
    made.save_as(path)
    with pytest.raises(InputError, match=r"x.dcm' cannot be read .*fewer than the 4 frames that it declares\. Copy"):
        read_volume(path)


@pytest.mark.parametrize(
    "kind, samples", [("YBR_PARTIAL_422", 3), ("HSV", 3), ("ARGB", 4), ("CMYK", 4), ("RGB", 4), ("RGB", 2)]
)
def test_colors_that_are_not_read_are_named(tmp_path: Path, kind: str, samples: int) -> None:
    made = image(np.zeros((4, 6), np.uint8), US, "US", SamplesPerPixel=samples, PlanarConfiguration=0)
    made.PhotometricInterpretation, made.PixelData = kind, bytes(24 * samples)
    with pytest.raises(
        InputError, match=f"kind {kind}, which are not supported with {samples} samples per pixel. Save it as"
    ):
        read_volume(save(made, tmp_path / "x.dcm"))


@pytest.mark.parametrize(
    "written, syntax, said",
    [
        ("1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.102", "MPEG-4 AVC/H.264 High Profile"),
        ("1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.110"),  # JPEG XL
        ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.94", "JPIP Referenced"),
    ],
)
def test_transfer_syntaxes_that_are_not_read_are_named(tmp_path: Path, written: str, syntax: str, said: str) -> None:
    made = image(np.zeros((4, 6), np.uint8), US, "US")
    made.PixelData = encapsulate([bytes(64)])
    made["PixelData"].is_undefined_length = True
    path = save(made, tmp_path / "x.dcm", written)
    path.write_bytes(path.read_bytes().replace(written.encode(), syntax.encode()))
    with pytest.raises(
        InputError, match=f"transfer syntax {said}.*, which is not supported. Export it without compression"
    ):
        read_volume(path)


def test_an_empty_transfer_syntax_is_the_one_that_the_file_was_read_by(tmp_path: Path) -> None:
    path = save(image(np.full((4, 6), 7, np.uint8), US, "US"), tmp_path / "x.dcm")
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", bytes(20)))
    assert read_volume(path).array.min() == 7
