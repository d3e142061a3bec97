"""Several images at one position are never stacked: they are told apart by their tags, and one is chosen."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_made import AXIAL, CORONAL, ENHANCED_MR, MR, enhanced, image, item, save, sequence, slice_at
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes import read_volume

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
HEIGHTS = [2.5 * k for k in range(5)]


def write(folder: Path, phases: int, tags: Callable[[int, int], dict[str, Any]], seed: int = 0) -> None:
    """Phases of five slices in files of shuffled names; voxels are 10 * phase + k; tags(phase, k)."""
    numbers = np.random.default_rng(seed).permutation(phases * len(HEIGHTS))
    for phase in range(phases):
        for k, height in enumerate(HEIGHTS):
            name = numbers[phase * len(HEIGHTS) + k]
            made = slice_at((0, 0, height), 10 * phase + k, SOPClassUID=MR, Modality="MR", InstanceNumber=None)
            for keyword, value in tags(phase, k).items():
                setattr(made, keyword, value)
            save(made, folder / f"{name:03d}.dcm")


def check(folder: Path, expected: list[str]) -> None:
    """Each phase is one stack in order, and the list says these things."""
    with pytest.raises(
        InputError, match=f"{5 * len(expected)} images at 5 positions in {len(expected)} phases"
    ) as caught:
        read_volume(folder)
    assert "--phase" in caught.value.remedy
    for number, what in enumerate(expected, 1):
        assert f"{number}  " in caught.value.problem and what in caught.value.problem
        for which in (str(number), what):
            volume = read_volume(folder, phase=which)
            assert volume.array[:, 0, 0].tolist() == [10 * (number - 1) + k for k in range(len(HEIGHTS))]
            assert volume.geometry.spacing == pytest.approx((0.5, 0.7, 2.5))
            assert any(f"Phase {number} of {len(expected)}" in note for note in volume.notes)
    with pytest.raises(InputError, match="no phase 'venous'"):
        read_volume(folder, phase="venous")


TAGS: dict[str, tuple[Callable[[int, int], dict[str, Any]], list[str]]] = {
    "temporal position": (
        lambda p, k: {"TemporalPositionIdentifier": p + 1},
        ["position 1", "position 2", "position 3"],
    ),
    "echo time": (lambda p, k: {"EchoTime": 2.3 * (p + 1)}, ["time 2.3 ms", "time 4.6 ms", "time 6.9 ms"]),
    "echo number": (lambda p, k: {"EchoNumbers": p + 1}, ["echo 1", "echo 2", "echo 3"]),
    "standard b-value": (lambda p, k: {"DiffusionBValue": 400.0 * p}, ["b-value 0", "b-value 400", "b-value 800"]),
    "b-values that differ a little": (
        lambda p, k: {"DiffusionBValue": 500.0 * p + (3 * k if p else 0)},
        ["b-value 0", "b-value 500", "b-value 1000"],
    ),
    "name of a sequence": (lambda p, k: {"SequenceName": f"*ep_b{500 * p}#1"}, ["value 0", "value 500", "value 1000"]),
    "trigger time": (lambda p, k: {"TriggerTime": 300.0 * p}, ["time 0 ms", "time 300 ms", "time 600 ms"]),
    "acquisition": (lambda p, k: {"AcquisitionNumber": p + 4}, ["acquisition 4", "acquisition 5", "acquisition 6"]),
    "acquisition time": (lambda p, k: {"AcquisitionTime": f"1000{p:02d}.5"}, ["100000.5", "100001.5", "100002.5"]),
    "content time": (lambda p, k: {"ContentTime": f"12{p:02d}00"}, ["120000", "120100", "120200"]),
    "cardiac phase": (lambda p, k: {"NominalPercentageOfCardiacPhase": 30.0 * p}, ["phase 0 %", "30 %", "60 %"]),
    "kind of image": (
        lambda p, k: {"ImageType": ["ORIGINAL", "PRIMARY", "M", ("IP", "OP", "WATER")[p]]},
        ["M IP", "M OP", "M WATER"],
    ),
    "flip angle": (lambda p, k: {"FlipAngle": 5.0 + p}, ["angle 5 degrees", "angle 6 degrees", "angle 7 degrees"]),
    "voltage": (lambda p, k: {"KVP": 80 + 20 * p}, ["80 kV", "100 kV", "120 kV"]),
    "respiration": (lambda p, k: {"NominalPercentageOfRespiratoryPhase": 30.0 * p}, ["phase 0 %", "30 %", "60 %"]),
    "any other words": (lambda p, k: {"ProtocolName": f"T={30 * p}%", "InstanceNumber": k}, ["T=0%", "T=30%", "T=60%"]),
    "any other number": (lambda p, k: {"PixelBandwidth": 100 + p}, ["bandwidth 100", "bandwidth 101", "bandwidth 102"]),
    "frames of reference": (lambda p, k: {"FrameOfReferenceUID": f"1.2.{p}"}, ["uid 1.2.0", "uid 1.2.1", "uid 1.2.2"]),
    # Values that differ from slice to slice: the order at each position counts
    "times of slices": (lambda p, k: {"ContentTime": f"10{p:02d}{k:02d}"}, ["1 by", "2 by", "3 by"]),
    "trigger times of slices": (lambda p, k: {"TriggerTime": 31.0 * p + 2 * k}, ["1 by", "2 by", "3 by"]),
    "acquisitions of slices": (lambda p, k: {"AcquisitionNumber": 5 * p + k}, ["1 by", "2 by", "3 by"]),
    "slice by slice": (lambda p, k: {"InstanceNumber": 3 * k + p}, ["1 by", "2 by", "3 by"]),
    "phase by phase": (lambda p, k: {"InstanceNumber": 5 * p + k}, ["1 by", "2 by", "3 by"]),
}


@pytest.mark.parametrize("by", TAGS)
def test_phases_are_told_apart_by_their_tags(tmp_path: Path, by: str) -> None:
    tags, expected = TAGS[by]
    write(tmp_path, 3, tags)
    check(tmp_path, expected)


def test_overlays_do_not_hide_what_tells_phases_apart(tmp_path: Path) -> None:
    write(tmp_path, 3, lambda p, k: {"PixelBandwidth": 100 + p})
    for path in tmp_path.iterdir():
        made = pydicom.dcmread(path)
        made.add_new(0x60000010, "US", 4)  # of a group that repeats, whose tags have no keyword of their own
        save(made, path)
    check(tmp_path, ["bandwidth 100", "bandwidth 101", "bandwidth 102"])


@pytest.mark.parametrize("of", ["Acquisition", "Content"])
@pytest.mark.parametrize("by", ["date", "number", "nothing"])
def test_times_over_midnight_are_ordered_by_their_dates_or_by_numbers_alone(tmp_path: Path, of: str, by: str) -> None:
    begin = datetime(2025, 12, 31, 23, 59, 55)

    def tags(p: int, k: int) -> dict[str, Any]:
        at = begin + timedelta(seconds=7 * p + k)
        says = {"date": {f"{of}Date": f"{at:%Y%m%d}"}, "number": {"InstanceNumber": 3 * k + p + 1}, "nothing": {}}
        return {f"{of}Time": f"{at:%H%M%S.%f}"} | says[by]

    write(tmp_path, 3, tags)
    if by == "nothing":
        with pytest.raises(InputError, match="no tag tells them apart"):
            read_volume(tmp_path)
    else:
        check(tmp_path, ["1 by", "2 by", "3 by"])


def test_a_morning_and_an_evening_are_called_by_the_clock(tmp_path: Path) -> None:
    write(tmp_path, 2, lambda p, k: {"AcquisitionTime": ("080000", "230000")[p], "InstanceNumber": 5 * p + 5 - k})
    check(tmp_path, ["acquisition time 080000", "acquisition time 230000"])


@pytest.mark.parametrize("numbers", [lambda p, k: 5 * p + k, lambda p, k: 3 * k + p, lambda p, k: k, lambda p, k: None])
@pytest.mark.parametrize("of", ["AcquisitionTime", "ContentTime"])
def test_phases_with_a_time_each_go_on_after_midnight(
    tmp_path: Path, of: str, numbers: Callable[[int, int], int | None]
) -> None:
    times = ("235950", "000010.5", "000031")
    write(tmp_path, 3, lambda p, k: {of: times[p], "InstanceNumber": numbers(p, k)})
    check(tmp_path, [f"{'acquisition' if of[0] == 'A' else 'content'} time {time}" for time in times])


def test_a_date_without_a_time_is_no_time(tmp_path: Path) -> None:
    write(tmp_path, 2, lambda p, k: {"AcquisitionDate": f"2026010{p + 1}", "InstanceNumber": 5 * p + k + 1})
    check(tmp_path, ["1 by instance number", "2 by instance number"])


def private(group: int, element: int, creator: str, kind: str, value: Any) -> Callable[[Dataset], None]:
    def add(dataset: Dataset) -> None:
        dataset.private_block(group, creator, create=True).add_new(element, kind, value)

    return add


@pytest.mark.parametrize(
    ("maker", "tag"),
    [
        ("SIEMENS", lambda b: private(0x0019, 0x0C, "SIEMENS MR HEADER", "IS", str(b))),
        (
            "GE MEDICAL SYSTEMS",
            lambda b: private(0x0043, 0x39, "GEMS_PARM_01", "IS", [str(1_000_000_000 + b), "8", "0"]),
        ),
        ("Philips", lambda b: private(0x2001, 0x03, "Philips Imaging DD 001", "FL", float(b))),
        ("Philips", lambda b: private(0x2001, 0x03, "Philips Imaging DD 001", "UN", struct.pack("<f", b))),
        ("SIEMENS", lambda b: private(0x0019, 0x0C, "SIEMENS MR HEADER", "UN", f"{b} ".encode())),
        ("UIH", lambda b: private(0x0065, 0x09, "Image Private Header", "FD", float(b))),
    ],
)
def test_b_values_of_vendors_are_read(
    tmp_path: Path, maker: str, tag: Callable[[int], Callable[[Dataset], None]]
) -> None:
    for number, b in enumerate((1000, 0, 500)):
        for k, height in enumerate(HEIGHTS):
            made = slice_at(
                (0, 0, height), b + k, SOPClassUID=MR, Modality="MR", InstanceNumber=None, Manufacturer=maker
            )
            tag(b)(made)
            save(made, tmp_path / f"{number}{k}.dcm")
    for b in (0, 500, 1000):
        volume = read_volume(tmp_path, phase=f"b-value {b}")
        assert volume.array[:, 0, 0].tolist() == [b + k for k in range(5)]


def test_two_tags_together_tell_apart(tmp_path: Path) -> None:
    def tags(p: int, k: int) -> dict[str, Any]:
        direction = {} if p == 0 else {"DiffusionGradientOrientation": [float(p == 1), float(p == 2), 0.0]}
        return {"DiffusionBValue": 0.0 if p == 0 else 1000.0, **direction}

    write(tmp_path, 3, tags)
    with pytest.raises(InputError, match="3 phases") as caught:
        read_volume(tmp_path)
    assert "b-value 1000, diffusion direction 1.0 0.0 0.0" in caught.value.problem
    volume = read_volume(tmp_path, phase="direction 1.0 0.0")
    assert volume.array[:, 0, 0].tolist() == [10, 11, 12, 13, 14]


def test_a_number_within_a_number_is_no_word_of_a_label(tmp_path: Path) -> None:
    write(tmp_path, 3, lambda p, k: {"EchoTime": (5.0, 12.5, 50.0)[p]})
    assert read_volume(tmp_path, phase="echo time 5").array[0, 0, 0] == 0
    assert read_volume(tmp_path, phase="50").array[0, 0, 0] == 20
    for which in ("25", "0", "12", "2.5", "echo time 1", "ech"):
        with pytest.raises(InputError, match="no phase"):
            read_volume(tmp_path, phase=which)


def test_echoes_of_time_points_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path, 4, lambda p, k: {"TemporalPositionIdentifier": 1 + p // 2, "EchoTime": 5.0 * (1 + p % 2)})
    volume = read_volume(tmp_path, phase="temporal position 2, echo time 10 ms")
    assert volume.array[:, 0, 0].tolist() == [30, 31, 32, 33, 34]
    with pytest.raises(InputError, match="2 phases 'temporal position 2'"):
        read_volume(tmp_path, phase="temporal position 2")


def test_a_phase_with_a_missing_slice_is_told_apart(tmp_path: Path) -> None:
    write(tmp_path, 3, lambda p, k: {"TemporalPositionIdentifier": p + 1})
    next(path for path in sorted(tmp_path.iterdir()) if read_volume(path).array.max() == 12).unlink()
    volume = read_volume(tmp_path, phase="2")
    assert volume.array[:, 0, 0].tolist() == [10, 11, 13, 14]
    assert any("1 slice seems to be missing" in note for note in volume.notes)
    assert read_volume(tmp_path, phase="3").shape[0] == 5


def test_images_that_no_tag_tells_apart_are_refused(tmp_path: Path) -> None:
    write(tmp_path, 2, lambda p, k: {})
    with pytest.raises(InputError, match="10 images at 5 positions, and no tag"):
        read_volume(tmp_path)


@pytest.mark.parametrize("jitter", [0.0, 0.004, 0.03])
@pytest.mark.parametrize("by", ["acquisition", "time of the slice"])
def test_positions_of_phases_may_differ_a_little_along_an_oblique_normal(
    tmp_path: Path, jitter: float, by: str
) -> None:
    angle = np.radians(25)
    row, column = np.array([np.cos(angle), np.sin(angle), 0.0]), np.array([0.0, 0.0, -1.0])
    normal = np.cross(row, column)
    rng = np.random.default_rng(1)
    for phase in range(2):
        for k in range(5):
            place = np.array([7.0, -3.0, 11.0]) + 3.0 * k * normal + rng.uniform(-jitter, jitter) * normal
            tags = {"AcquisitionNumber": phase + 1} if by == "acquisition" else {"ContentTime": f"10{phase:02d}{k:02d}"}
            tags |= {"ImageOrientationPatient": [*row, *column], "InstanceNumber": None}
            save(slice_at(place, 10 * phase + k, **tags), tmp_path / f"{rng.integers(1 << 30)}.dcm")
    volume = read_volume(tmp_path, phase="2")
    assert volume.array[:, 0, 0].tolist() == [10, 11, 12, 13, 14]
    np.testing.assert_allclose(volume.geometry.spacing, (0.5, 0.7, 3.0), atol=0.03)


def test_one_stack_has_no_phases(tmp_path: Path) -> None:
    write(tmp_path, 1, lambda p, k: {"AcquisitionNumber": k, "ContentTime": f"1000{k:02d}", "EchoTime": 2.0})
    assert read_volume(tmp_path).array[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(InputError, match="single stack"):
        read_volume(tmp_path, phase="2")


# Multi-frame


def multi(
    tmp_path: Path, groups: list[dict[str, Any]], positions: list[tuple[float, float, float]], **more: Any
) -> Path:
    made = enhanced(positions, groups, kind=ENHANCED_MR, modality="MR", **more)
    return save(made, tmp_path / "enhanced.dcm")


def test_time_points_of_an_enhanced_file(tmp_path: Path) -> None:
    order = np.random.default_rng(2).permutation(10)
    groups = [{"FrameContentSequence": sequence(TemporalPositionIndex=int(n // 5) + 1)} for n in order]
    path = multi(tmp_path, groups, [(0, 0, 2.5 * (n % 5)) for n in order])
    with pytest.raises(InputError, match="temporal position 1, 5 images"):
        read_volume(path)
    volume = read_volume(path, phase="2")
    assert [order[value] for value in volume.array[:, 0, 0]] == [5, 6, 7, 8, 9]


def test_echoes_and_b_values_of_an_enhanced_file(tmp_path: Path) -> None:
    echoes = [{"MREchoSequence": sequence(EffectiveEchoTime=5.0 + 5 * (n // 4))} for n in range(8)]
    path = multi(tmp_path, echoes, [(0, 0, n % 4) for n in range(8)])
    assert read_volume(path, phase="echo time 10").array[:, 0, 0].tolist() == [4, 5, 6, 7]
    diffusion = [{"MRDiffusionSequence": sequence(DiffusionBValue=800.0 * (n % 2))} for n in range(8)]
    path = multi(tmp_path, diffusion, [(0, 0, n // 2) for n in range(8)])
    assert read_volume(path, phase="b-value 800").array[:, 0, 0].tolist() == [1, 3, 5, 7]


DIMENSIONS: dict[str, tuple[Callable[[int], dict[str, Any]], list[str]]] = {
    "time": (
        lambda p: {"TemporalPositionSequence": sequence(TemporalPositionTimeOffset=1.5 * p)},
        ["time offset 0 s", "time offset 1.5 s"],
    ),
    "labeling": (
        lambda p: {"MRArterialSpinLabelingSequence": sequence(ASLContext=("CONTROL", "LABEL")[p])},
        ["labeling CONTROL", "labeling LABEL"],
    ),
    "velocity": (
        lambda p: {"MRVelocityEncodingSequence": sequence(VelocityEncodingDirection=[float(p), 1.0 - p, 0.0])},
        ["velocity direction 0.0 1.0 0.0", "velocity direction 1.0 0.0 0.0"],
    ),
    "energy": (
        lambda p: {"MultienergyCTProcessingSequence": sequence(MonoenergeticEnergyEquivalent=40.0 + 30 * p)},
        ["energy 40 keV", "energy 70 keV"],
    ),
}


@pytest.mark.parametrize("by", DIMENSIONS)
def test_what_only_functional_groups_tell_apart(tmp_path: Path, by: str) -> None:
    tags, labels = DIMENSIONS[by]
    path = multi(tmp_path, [tags(n // 4) for n in range(8)], [(0, 0, n % 4) for n in range(8)])
    for number, label in enumerate(labels):
        assert read_volume(path, phase=label).array[:, 0, 0].tolist() == [4 * number + k for k in range(4)]


@pytest.mark.parametrize("named", [True, False])
def test_the_dimensions_that_a_file_states_tell_apart_at_last(tmp_path: Path, named: bool) -> None:
    groups = [
        {"FrameContentSequence": sequence(DimensionIndexValues=[1, 1 + n % 4, 1 + n // 4 % 2, 1 + n // 8])}
        for n in range(16)
    ]
    pointers = (0x00209056, 0x00209057, 0x00189074, 0x00181060)  # stack, in-stack position, date, trigger time
    items = Sequence([item(DimensionIndexPointer=pointer) for pointer in pointers])
    more = {"DimensionIndexSequence": items} if named else {}
    path = multi(tmp_path, groups, [(0, 0, n % 4) for n in range(16)], **more)
    first, second = ("frame acquisition datetime", "trigger time") if named else ("dimension 3 =", "dimension 4 =")
    volume = read_volume(path, phase=f"{first} 2, {second} 1")
    assert volume.array[:, 0, 0].tolist() == [4, 5, 6, 7] and len(volume.notes) == 1


def test_one_file_that_nothing_tells_apart_is_to_be_split(tmp_path: Path) -> None:
    path = multi(tmp_path, [{} for _ in range(8)], [(0, 0, n % 4) for n in range(8)])
    with pytest.raises(InputError, match="no tag tells them apart") as caught:
        read_volume(path)
    assert "folder" not in caught.value.remedy


@pytest.mark.parametrize("times", [1, 2])
def test_an_ultrasound_volume_is_in_the_order_of_its_own_positions(tmp_path: Path, times: int) -> None:
    order = [2, 0, 1, 3]
    groups = [
        {
            "PlanePositionSequence": None,
            "PlaneOrientationSequence": None,
            "PlanePositionVolumeSequence": sequence(ImagePositionVolume=[0.0, 0.0, 0.5 * k]),
            "PlaneOrientationVolumeSequence": sequence(ImageOrientationVolume=[float(value) for value in AXIAL]),
            "TemporalPositionSequence": sequence(TemporalPositionTimeOffset=float(time)),
        }
        for time in range(times)
        for k in order
    ]
    made = enhanced([(0, 0, 0)] * len(groups), groups, kind="1.2.840.10008.5.1.4.1.1.6.2", modality="US")
    volume = read_volume(save(made, tmp_path / "x.dcm"), phase=None if times == 1 else "time offset 1 s")
    begin = 4 * (times - 1)
    assert volume.array[:, 0, 0].tolist() == [begin + place for place in (1, 2, 0, 3)]
    assert volume.geometry.spacing == pytest.approx((0.5, 0.7, 0.5)) and "ultrasound volume" in volume.notes[-1]


@pytest.mark.parametrize("tags", [{"DimensionOrganizationType": "TILED_FULL"}, {"kind": WHOLE_SLIDE}])
def test_tiles_of_a_whole_slide_image_are_no_slices(tmp_path: Path, tags: dict[str, str]) -> None:
    path = save(image(np.zeros((6, 4, 6), np.uint8), modality="SM", **tags), tmp_path / "tiles.dcm")
    with pytest.raises(InputError, match="tiles of a whole-slide image") as caught:
        read_volume(path)
    assert "QuPath" in caught.value.remedy
    one = image(np.zeros((4, 6), np.uint8), modality="SM", NumberOfFrames=1, **tags)
    assert read_volume(save(one, tmp_path / "overview.dcm")).shape == (1, 4, 6)


def test_stacks_of_an_enhanced_file(tmp_path: Path) -> None:
    groups = [
        {"FrameContentSequence": sequence(StackID=str(1 + n // 4), InStackPositionNumber=1 + n % 4)} for n in range(8)
    ]
    positions = [(0, 0, n) if n < 4 else (0, n, 0) for n in range(8)]
    path = multi(tmp_path, groups, positions, orientations=[AXIAL] * 4 + [CORONAL] * 4)
    assert read_volume(path, phase="coronal").array[:, 0, 0].tolist() == [4, 5, 6, 7]
    path = multi(tmp_path, groups, [(0, 0, n % 4 + 100 * (n // 4)) for n in range(8)])  # cervical and lumbar
    with pytest.raises(InputError, match="stack 1, 4 images\n  2  stack 2"):
        read_volume(path)
    volume = read_volume(path, phase="stack 2")
    assert volume.geometry.origin == pytest.approx((0, 0, 100)) and volume.notes == ["Phase 2 of 2: stack 2."]


def test_several_enhanced_files_of_one_series(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(enhanced([(0, 0, z) for z in (0, 2, 4)]), tmp_path / f"{name}.dcm")
    assert read_volume(tmp_path, phase="file b.dcm").shape == (3, 4, 6)
    for part in range(2):  # one volume in two files
        positions = [(0, 0, 3 * part + z) for z in range(3)]
        save(enhanced(positions, SeriesInstanceUID="1.8"), tmp_path / "parts" / f"{part}.dcm")
    volume = read_volume(tmp_path / "parts")
    assert volume.array[:, 0, 0].tolist() == [0, 1, 2, 0, 1, 2] and volume.geometry.spacing[2] == 1
