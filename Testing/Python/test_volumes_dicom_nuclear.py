"""Nuclear medicine: what the frames of a file are of, by the vectors of PS3.3 C.8.4.8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_made import AXIAL, NM, image, item, save, slice_at, values
from pydicom.sequence import Sequence

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes import SliceStack, read_volume


def write(path: Path, count: int, kind: str, detectors: int = 1, placed: bool = True, **tags: Any) -> Path:
    """Frame n has the value n; the first frame of detector d lies at z = 100 d, slices are 5 mm apart."""
    pixels = np.repeat(np.arange(count, dtype=np.uint16), 24).reshape(count, 4, 6)
    place = lambda d: {"ImagePositionPatient": [0.0, 0.0, 100.0 * d]} if placed else {}
    items = [item(ImageOrientationPatient=[float(a) for a in AXIAL], **place(d + 1)) for d in range(detectors)]
    known = {"ImageType": ["ORIGINAL", "PRIMARY", kind, "EMISSION"], "PixelSpacing": [4.0, 4.0]}
    made = image(
        pixels, NM, "NM", SpacingBetweenSlices=5.0, DetectorInformationSequence=Sequence(items), **known, **tags
    )
    return save(made, path)


GATED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "time slots": ({"TimeSlotVector": [1] * 4 + [2] * 4, "SliceVector": [1, 2, 3, 4] * 2}, ["time slot 1", "slot 2"]),
    "energy windows": (
        {"EnergyWindowVector": [1] * 4 + [2] * 4, "SliceVector": [1, 2, 3, 4] * 2},
        ["energy window 1", "energy window 2"],
    ),
    "intervals, no numbers of slices": ({"RRIntervalVector": [1] * 4 + [2] * 4}, ["R-R interval 1", "interval 2"]),
    "time slices": (
        {"TimeSliceVector": [1] * 4 + [2] * 4, "SliceVector": [1, 2, 3, 4] * 2},
        ["time slice 1", "time slice 2"],
    ),
}


@pytest.mark.parametrize("by", GATED)
@pytest.mark.parametrize("placed", [True, False])
def test_times_and_energies_are_phases(tmp_path: Path, by: str, placed: bool) -> None:
    vectors, expected = GATED[by]
    path = write(tmp_path / "x.dcm", 8, "RECON GATED TOMO", placed=placed, **vectors)
    with pytest.raises(InputError, match="2 phases" if placed else "8 images in 2 stacks"):
        read_volume(path)
    for number, what in enumerate(expected):
        volume = read_volume(path, phase=what)
        assert volume.array[:, 0, 0].tolist() == [4 * number + k for k in range(4)]
        assert volume.geometry.spacing == (4, 4, 5) and not volume.natural
        assert volume.geometry.origin[2] == (100 if placed else 0)


def test_slots_of_energies_are_told_apart(tmp_path: Path) -> None:
    vectors = {"EnergyWindowVector": [1] * 4 + [2] * 4, "TimeSlotVector": [1, 1, 2, 2] * 2, "SliceVector": [1, 2] * 4}
    path = write(tmp_path / "x.dcm", 8, "RECON GATED TOMO", **vectors)
    assert values(path, phase="energy window 2, time slot 1") == [4, 5]


def test_slices_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "x.dcm", 4, "RECON TOMO", SliceVector=[4, 3, 2, 1])
    volume = read_volume(path)
    assert volume.array[:, 0, 0].tolist() == [3, 2, 1, 0] and volume.notes == []
    # The position is that of the first frame, which is slice 4: slice 1 lies 3 x 5 mm below
    assert volume.geometry.origin == (0, 0, 85) and volume.geometry.spacing[2] == 5
    assert values(write(tmp_path / "y.dcm", 4, "RECON TOMO", placed=False, SliceVector=[2, 1, 4, 3])) == [1, 0, 3, 2]


def test_views_of_two_detectors_are_flat_images_to_choose_from(tmp_path: Path) -> None:
    path = write(tmp_path / "x.dcm", 2, "STATIC", detectors=2, DetectorVector=[1, 2])
    with pytest.raises(InputError, match="2 images in 2 stacks.*\n.*detector 1.*\n.*detector 2"):
        read_volume(path)
    volume = read_volume(path, phase="detector 2")
    assert volume.array.shape == (1, 4, 6) and volume.array.max() == 1 and volume.natural
    assert volume.geometry.spacing[:2] == (4, 4) and volume.known_spacing
    assert SliceStack(volume, "sagittal").plane == "natural"


def test_a_loop_of_views_stays_one(tmp_path: Path) -> None:
    path = write(tmp_path / "x.dcm", 6, "DYNAMIC", 2, DetectorVector=[1, 1, 1, 2, 2, 2], TimeSliceVector=[1, 2, 3] * 2)
    volume = read_volume(path, phase="detector 2")
    assert volume.array[:, 0, 0].tolist() == [3, 4, 5] and volume.natural
    assert volume.notes == ["Phase 2 of 2: detector 2."]
    path = write(
        tmp_path / "y.dcm", 3, "TOMO", DetectorVector=[1] * 3, RotationVector=[1] * 3, AngularViewVector=[1, 2, 3]
    )
    assert values(path) == [0, 1, 2]


def test_slices_of_two_detectors_lie_where_each_says(tmp_path: Path) -> None:
    path = write(tmp_path / "x.dcm", 4, "RECON TOMO", 2, DetectorVector=[1, 1, 2, 2], SliceVector=[1, 2, 1, 2])
    assert read_volume(path, phase="detector 2").geometry.origin == (0, 0, 200)


@pytest.mark.parametrize("left_over", ["AngularViewVector", "RotationVector", "DetectorVector"])
def test_vectors_that_the_frame_increment_pointer_does_not_name_are_left_over(tmp_path: Path, left_over: str) -> None:
    vectors = {"FrameIncrementPointer": 0x00540080, "SliceVector": [3, 2, 1], left_over: [1, 2, 3]}
    volume = read_volume(write(tmp_path / "x.dcm", 3, "RECON TOMO", **vectors))
    assert volume.array[:, 0, 0].tolist() == [2, 1, 0] and volume.notes == []
    assert volume.geometry.origin == (0, 0, 90) and volume.geometry.spacing[2] == 5
    both = vectors | {"FrameIncrementPointer": [0x00540080, 0x00540050], "RotationVector": [1, 1, 2]}
    assert values(write(tmp_path / "y.dcm", 3, "RECON TOMO", **both), phase="rotation 1") == [1, 0]
    none = {"FrameIncrementPointer": 0x00181063, "DetectorVector": [1, 1, 2]}  # the frame time, of a loop
    assert values(write(tmp_path / "z.dcm", 3, "DYNAMIC", detectors=2, **none), phase="detector 1") == [0, 1]


def test_one_number_for_all_slices_tells_none_apart(tmp_path: Path) -> None:
    volume = read_volume(write(tmp_path / "x.dcm", 4, "RECON TOMO", SliceVector=[1] * 4))
    assert volume.array[:, 0, 0].tolist() == [0, 1, 2, 3] and volume.geometry.spacing[2] == 5
    slots = {"TimeSlotVector": [1, 1, 2, 2], "SliceVector": [1] * 4}
    assert values(write(tmp_path / "y.dcm", 4, "RECON GATED TOMO", **slots), phase="time slot 2") == [2, 3]


@pytest.mark.parametrize("kind", ["TOMO", "STATIC"])
def test_files_with_planes_of_their_own_are_slices(tmp_path: Path, kind: str) -> None:
    tags = {"kind": NM, "modality": "NM", "ImageType": ["DERIVED", "SECONDARY", kind], "NumberOfFrames": 1}
    for n in range(8):
        save(slice_at((0, 0, 28 - 4 * n), n, **tags), tmp_path / "slices" / f"{n}.dcm")
        save(slice_at((0, 0, 28), n, **tags), tmp_path / "views" / f"{n}.dcm")
    volume = read_volume(tmp_path / "slices")
    assert volume.array[:, 0, 0].tolist() == [7, 6, 5, 4, 3, 2, 1, 0] and volume.notes == []
    assert volume.geometry.spacing == (0.5, 0.7, 4) and volume.geometry.origin == (0, 0, 0) and not volume.natural
    with pytest.raises(InputError, match="8 separate images"):  # all at the place of the detector
        read_volume(tmp_path / "views")
