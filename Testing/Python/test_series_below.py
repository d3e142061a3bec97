"""The DICOM series in a tree of folders: which of them are one image."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from dicom_made import save, slice_at, values, write_series

from MedCLIPSAMLib.export.cases import find_cases
from MedCLIPSAMLib.export.known import Sources


@pytest.mark.parametrize("folders", [("DIR0", "DIR1"), ("a/DIR0", "b/c/DIR1"), ("", "more")])
@pytest.mark.parametrize("lost", [None, 5])
def test_a_series_cut_into_several_folders_is_one_case(
    tmp_path: Path, caplog, folders: tuple[str, str], lost: int | None
) -> None:
    there = [n for n in range(8) if n != lost]
    for n in there:
        save(slice_at((0, 0, n), n), tmp_path / "disc" / folders[n // 4] / f"{n}")
        save(slice_at((0, 0, n), 20 + n, SeriesInstanceUID="1.9"), tmp_path / "disc" / folders[0] / f"other {n}")
    cases = find_cases(tmp_path, {"lungs": "lungs"})
    assert sorted(values(case.image, **case.choice()) for case in cases) == [there, [20 + n for n in there]]
    assert "1 DICOM series lie in several folders each" in caplog.text and "Each series is one image" in caplog.text
    assert len(find_cases(tmp_path, {"lungs": "lungs"}, series="1.9")) == 1
    source = Sources().describe(cases[0].image)
    save(slice_at((0, 0, 7), 99), tmp_path / "disc" / folders[-1] / "7")
    assert folders[0] == "" or not Sources().is_same(cases[0].image, source)


def test_phases_cut_into_folders_amid_one_are_one_case(tmp_path: Path) -> None:
    for n in range(18):
        save(slice_at((0, 0, n % 6), n, AcquisitionNumber=n // 6), tmp_path / f"DIR{n // 8}" / f"{n}")
    (case,) = find_cases(tmp_path, {"lungs": "lungs"}, phase="2")
    assert values(case.image, **case.choice()) == list(range(6, 12))


@pytest.mark.parametrize(
    "first, second",
    [
        (range(0, 30, 3), np.arange(0, 30, 3) + 1.3),  # another time
        (range(0, 30, 3), np.arange(0, 30, 3) + 1.5),
        (range(0, 30, 3), (0, 3, 15, 18, 24, 27)),
        (range(10), (0.5, 5.5)),  # another slice distance
        (range(0, 30, 3), range(20, 50, 3)),  # another station
        ([*range(5)] * 2, [*range(5)] * 2),  # two phases each
    ],
)
def test_images_in_folders_that_lie_over_one_another_are_cases_of_their_own(
    tmp_path: Path, first: Iterable[float], second: Iterable[float]
) -> None:
    for name, depths in (("a", first), ("b", second)):
        for n, depth in enumerate(depths):
            save(slice_at((0, 0, depth), n, AcquisitionNumber=n // 5), tmp_path / name / f"{n}")
    assert [case.name for case in find_cases(tmp_path, {"lungs": "lungs"})] == ["a", "b"]


@pytest.mark.parametrize("names", ["ab", "ba"])
@pytest.mark.parametrize("first, cases", [(range(10), [10, 5]), (range(7), [10])])
def test_copies_of_a_part_of_a_series_are_of_one_image_where_no_folder_has_it_whole(
    tmp_path: Path, names: str, first: range, cases: list[int]
) -> None:
    for n in range(10):
        made = slice_at((0, 0, n), n)
        for name in [name for name, part in zip(names, (first, range(5, 10))) if n in part]:
            save(made, tmp_path / name / f"{n}")
    found = [len(values(case.image, **case.choice())) for case in find_cases(tmp_path, {"lungs": "lungs"})]
    assert sorted(found) == sorted(cases)


def test_localizers_beside_a_part_of_a_series_are_left_out(tmp_path: Path) -> None:
    for n in range(8):
        scout = {"SeriesInstanceUID": "1.9", "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
        save(slice_at((0, 0, n), n, **scout), tmp_path / f"DIR{n // 3}" / f"scout {n}")
        save(slice_at((0, 0, n), n), tmp_path / f"DIR{n // 5}" / f"{n}")
    (case,) = find_cases(tmp_path, {"lungs": "lungs"})
    assert values(case.image, **case.choice()) == list(range(8))


@pytest.mark.parametrize("others", [0, 3])
def test_localizers_in_a_folder_of_their_own_are_left_out_beside_others(tmp_path: Path, others: int) -> None:
    write_series(tmp_path / "scout", range(2), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_series(tmp_path / "thorax", range(others), SeriesInstanceUID="1.9")
    said: list[str] = []
    (case,) = find_cases(tmp_path, {"lungs": "lungs"}, notify=said.append)
    assert case.image.name == ("thorax" if others else "scout")
    assert said == (["Left out as no images: 2 DICOM (localizer)."] if others else [])
    assert find_cases(tmp_path, {"lungs": "lungs"}, series="1.2.3.4")[0].image.name == "scout"


def test_slices_in_a_folder_each_are_one_case(tmp_path: Path) -> None:
    for n in range(6):
        save(slice_at((0, 0, n), n), tmp_path / f"IMG{n}" / "I0")
    (case,) = find_cases(tmp_path, {"lungs": "lungs"})
    assert values(case.image, **case.choice()) == list(range(6))


def test_a_series_beside_a_folder_of_another_one_is_read_without_that(tmp_path: Path) -> None:
    write_series(tmp_path / "study", range(3))
    write_series(tmp_path / "study" / "post", range(5), SeriesInstanceUID="1.9")
    cases = find_cases(tmp_path, {"lungs": "lungs"})
    assert [len(values(case.image, **case.choice())) for case in cases] == [3, 5]


def test_time_points_and_copies_in_folders_of_their_own_are_cases_of_their_own(tmp_path: Path, caplog) -> None:
    for name, add in (("a", 0), ("b", 10)):
        for n in range(4):
            save(slice_at((0, 0, n), add + n), tmp_path / "phases" / name / f"{n}")
    shutil.copytree(tmp_path / "phases" / "a", tmp_path / "copied" / "a")
    cases = find_cases(tmp_path, {"lungs": "lungs"})
    assert [case.name for case in cases] == ["copied_a", "phases_a", "phases_b"]
    assert values(cases[2].image, **cases[2].choice()) == [10, 11, 12, 13]
    assert (
        "'a' and 'a'" in caplog.text and "several folders" in caplog.text and "Each folder is one image" in caplog.text
    )
