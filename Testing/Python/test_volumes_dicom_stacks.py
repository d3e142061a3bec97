"""Stacks of one series over the same stretch whose positions do not coincide, and those that cover a part of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dicom_made import save, slice_at

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes import read_volume

STACKS: dict[str, tuple[Callable[[int, int], dict[str, Any]], list[str]]] = {
    "echo time": (lambda p, k: {"EchoTime": (5.0, 90.0)[p]}, ["echo time 5 ms", "echo time 90 ms"]),
    "time point": (lambda p, k: {"TemporalPositionIdentifier": p + 1}, ["position 1", "position 2"]),
    "flip angle": (lambda p, k: {"FlipAngle": (20.0, 70.0)[p]}, ["flip angle 20 degrees", "flip angle 70 degrees"]),
    "overlapping acquisitions": (
        lambda p, k: {"AcquisitionNumber": p + 1, "SliceThickness": 2.0},
        ["acquisition 1", "acquisition 2"],
    ),
}
ONE_STACK: dict[str, Callable[[int, int], dict[str, Any]]] = {
    "odd slices first": lambda p, k: {"AcquisitionTime": f"1000{p:02d}", "ContentTime": f"1001{p:02d}"},
    "a time a slice": lambda p, k: {"AcquisitionTime": f"10{p:02d}{k:02d}", "TriggerTime": 700.0 * p},
    "acquisitions that fill the gaps": lambda p, k: {"AcquisitionNumber": p + 1, "SliceThickness": 1.0},
    "acquisitions of unknown thickness": lambda p, k: {"AcquisitionNumber": p + 1},
    "acquisitions of slices that overlap a little": lambda p, k: {"AcquisitionNumber": p + 1, "SliceThickness": 1.3},
    "time points that fill the gaps": lambda p, k: {"TemporalPositionIdentifier": p + 1, "SliceThickness": 1.0},
    "repetition times of respiratory triggers": lambda p, k: {"RepetitionTime": (3571.43, 4285.71)[p]},
    "adjusted echo times": lambda p, k: {"EchoTime": (2.34, 2.35)[p]},
    "adjusted flip angles": lambda p, k: {"FlipAngle": (150.0, 149.9)[p], "InversionTime": (150.0, 151.2)[p]},
    "normalized or not": lambda p, k: {"ImageType": ["ORIGINAL", "PRIMARY", "M", *(("ND",), ("NORM", "ND"))[p]]},
    "an acquisition a slice": lambda p, k: {"AcquisitionNumber": 2 * k + p, "EchoTime": 2.0 + 0.1 * (2 * k + p)},
    "blocks of acquisitions": lambda p, k: {"AcquisitionNumber": k // 5},
    "no pattern": lambda p, k: {"AcquisitionNumber": (1, 2, 2, 1, 2)[(2 * k + p) % 5]},
    "another step": lambda p, k: {"EchoTime": 5.0 if (2 * k + p) % 3 else 90.0},
}


def half_way(folder: Path, tags: Callable[[int, int], dict[str, Any]]) -> Path:
    """Ten slices at 0, 2, 4 .. mm of the values 0 to 9, and ten at 1, 3, 5 .. mm of the values 10 to 19."""
    for p in range(2):
        for k in range(10):
            save(slice_at((0, 0, 2.0 * k + p), 10 * p + k, Modality="MR", **tags(p, k)), folder / f"{p}{k}.dcm")
    return folder


@pytest.mark.parametrize("by", STACKS)
def test_stacks_half_a_slice_apart_are_told_apart(tmp_path: Path, by: str) -> None:
    tags, expected = STACKS[by]
    half_way(tmp_path, tags)
    with pytest.raises(InputError, match="2 stacks") as caught:
        read_volume(tmp_path)
    for p, what in enumerate(expected):
        assert what in caught.value.problem
        volume = read_volume(tmp_path, phase=what)
        assert volume.array[:, 0, 0].tolist() == [10 * p + k for k in range(10)]
        assert volume.geometry.origin[2] == p and volume.geometry.spacing[2] == 2


@pytest.mark.parametrize("by", ONE_STACK)
def test_slices_acquired_in_turns_are_one_stack(tmp_path: Path, by: str) -> None:
    volume = read_volume(half_way(tmp_path, ONE_STACK[by]))
    assert volume.array[:, 0, 0].tolist() == [10 * p + k for k in range(10) for p in range(2)]
    assert volume.geometry.spacing[2] == 1


def test_echoes_of_time_points_a_quarter_of_a_slice_apart_are_told_apart(tmp_path: Path) -> None:
    for n in range(20):
        tags = {"TemporalPositionIdentifier": 1 + n % 2, "EchoTime": 5.0 + 10 * (n % 4 // 2)}
        save(slice_at((0, 0, n), n, Modality="MR", **tags), tmp_path / f"{n}.dcm")
    volume = read_volume(tmp_path, phase="temporal position 2, echo time 15 ms")
    assert volume.array[:, 0, 0].tolist() == [3, 7, 11, 15, 19]


def test_slices_acquired_again_are_a_phase_of_their_own(tmp_path: Path) -> None:
    for k in range(20):
        save(slice_at((0, 0, 2.0 * k), k, AcquisitionNumber=1), tmp_path / f"{k}.dcm")
    for k in range(5, 11):
        save(slice_at((0, 0, 2.0 * k), 50 + k, AcquisitionNumber=2), tmp_path / f"again {k}.dcm")
    with pytest.raises(InputError, match="acquisition 1, 20 images\n  2  acquisition 2, 6 images"):
        read_volume(tmp_path)
    assert read_volume(tmp_path, phase="acquisition 1").array[:, 0, 0].tolist() == list(range(20))
    volume = read_volume(tmp_path, phase="2")
    assert volume.array[:, 0, 0].tolist() == list(range(55, 61)) and volume.geometry.origin[2] == 10


def test_slices_acquired_again_between_the_others_are_a_phase_of_their_own(tmp_path: Path) -> None:
    for k in range(20):
        save(slice_at((0, 0, 2.0 * k), k, AcquisitionNumber=1), tmp_path / f"{k}.dcm")
    for k in range(5, 11):
        save(slice_at((0, 0, 2.0 * k + 1), 50 + k, AcquisitionNumber=2), tmp_path / f"again {k}.dcm")
    volume = read_volume(tmp_path, phase="acquisition 2")
    assert volume.array[:, 0, 0].tolist() == list(range(55, 61)) and volume.geometry.origin[2] == 11
    assert volume.geometry.spacing[2] == 2 and volume.notes == ["Phase 2 of 2: acquisition 2."]


@pytest.mark.parametrize("stations", [2, 3])
@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_stations_that_overlap_a_little_are_told_apart(tmp_path: Path, stations: int, shift: float) -> None:
    for n in range(10 * stations):
        s, k = divmod(n, 10)
        place = (0, 0, 5 * (8 * s + k + shift * s))
        save(slice_at(place, n, AcquisitionNumber=s + 1, AcquisitionTime=f"12{s:02d}00"), tmp_path / f"{n}.dcm")
    with pytest.raises(InputError, match="acquisition 1.*\n.*acquisition 2"):
        read_volume(tmp_path)
    for s in range(stations):
        volume = read_volume(tmp_path, phase=f"acquisition {s + 1}")
        assert volume.array[:, 0, 0].tolist() == list(range(10 * s, 10 * s + 10)) and len(volume.notes) == 1


def test_stations_that_follow_one_another_are_one_stack(tmp_path: Path) -> None:
    for n in range(20):
        save(slice_at((0, 0, 5 * n + 2 * (n > 9)), n, AcquisitionNumber=1 + (n > 9)), tmp_path / f"{n}.dcm")
    volume = read_volume(tmp_path)
    assert volume.array[:, 0, 0].tolist() == list(range(20)) and "Uneven" in volume.notes[0]


def test_slices_acquired_two_at_a_time_are_one_stack_where_one_is_missing(tmp_path: Path) -> None:
    for n in set(range(12)) - {11}:
        save(slice_at((0, 0, 5 * n - 2 * (n > 8)), n, AcquisitionTime=f"12{n % 6:02d}00"), tmp_path / f"{n}.dcm")
    assert read_volume(tmp_path).array[:, 0, 0].tolist() == list(range(11))


def test_finer_slices_after_the_others_are_of_one_stack(tmp_path: Path) -> None:
    for k in range(10):
        height = 5.0 * k if k < 5 else 20 + 2.5 * (k - 4)
        save(slice_at((0, 0, height), k, AcquisitionNumber=1 + (k > 4)), tmp_path / f"{k}.dcm")
    volume = read_volume(tmp_path)
    assert volume.array[:, 0, 0].tolist() == list(range(10)) and "Uneven" in volume.notes[0]


def test_a_mosaic_is_said_to_be_one(tmp_path: Path) -> None:
    kind = ["ORIGINAL", "PRIMARY", "M", "NORM", "MOSAIC"]
    note = read_volume(save(slice_at((0, 0, 0), 3, Modality="MR", ImageType=kind), tmp_path / "x.dcm")).notes[0]
    assert "mosaic" in note and "dcm2niix" in note


def test_positions_in_tenths_of_a_millimeter_are_no_missing_slices(tmp_path: Path) -> None:
    for n in range(12):
        save(slice_at((0, 0, round(0.625 * n, 1)), n), tmp_path / f"{n}.dcm")
    (note,) = read_volume(tmp_path).notes
    assert "rounded positions?" in note and "missing" not in note
    (tmp_path / "5.dcm").unlink()
    (note,) = read_volume(tmp_path).notes
    assert "1 slice seems to be missing" in note


def test_slices_of_one_uid_are_told_of(tmp_path: Path) -> None:
    for n in range(4):
        save(slice_at((0, 0, n), n, SOPInstanceUID=f"1.2.7.{max(n, 1)}"), tmp_path / f"{n}.dcm")
    volume = read_volume(tmp_path)
    assert volume.array[:, 0, 0].tolist() == [0, 1, 2, 3] and "2 of 4 slices share a SOP" in volume.notes[0]
