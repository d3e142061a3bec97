"""Which files of a folder make an image: by what their headers say, not by their names or their order."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from dicom_made import (
    CORONAL,
    CR,
    CT,
    ENHANCED_CT,
    KO,
    MR,
    PDF,
    PR,
    RTDOSE,
    RTSTRUCT,
    SEG,
    SR,
    enhanced,
    image,
    save,
    sequence,
    slice_at,
    values,
    write_series,
)
from pydicom.uid import ImplicitVRLittleEndian

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.export.cases import find_cases
from MedCLIPSAMLib.volumes import read_volume
from MedCLIPSAMLib.volumes.dicom_list import list_series
from MedCLIPSAMLib.volumes.dicom_series import find_series

PIXELS = np.zeros((4, 6), np.int16)


def test_slices_are_sorted_by_position_whatever_the_names_and_numbers_say(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(9)
    for name, number in enumerate(order):
        dataset = slice_at((0, 0, 2.5 * number), int(number), InstanceNumber=str(100 - name))
        save(dataset, tmp_path / f"1.2.840.{name}.9")
    volume = read_volume(tmp_path)
    assert volume.array[:, 0, 0].tolist() == list(range(9)) and volume.notes == []
    assert volume.geometry.spacing == pytest.approx((0.5, 0.7, 2.5))
    assert (volume.name, volume.modality, volume.natural) == ("made", "CT", False)


def test_a_series_in_sub_folders_is_one(tmp_path: Path) -> None:
    for number in range(6):
        save(slice_at((0, 0, number), number), tmp_path / f"part {number % 2}" / f"IM{number}")
    assert values(tmp_path) == list(range(6))


def test_files_without_preamble_are_understood(tmp_path: Path) -> None:
    for number in range(3):
        save(slice_at((0, 0, number), number), tmp_path / f"old{number}", ImplicitVRLittleEndian, whole=False)
    assert values(tmp_path) == [0, 1, 2]


def test_two_studies_and_two_patients_are_told_apart(tmp_path: Path) -> None:
    write_series(tmp_path / "a", range(3), StudyInstanceUID="1.1", SeriesInstanceUID="1.1.1", StudyDate="20250101")
    write_series(tmp_path / "b", range(4), StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1", StudyDate="20260101")
    with pytest.raises(InputError, match="2 DICOM series") as caught:
        read_volume(tmp_path)
    assert "2025-01-01" in str(caught.value) and "2026-01-01" in str(caught.value)
    assert len(values(tmp_path, series="1.2.1")) == 4
    write_series(tmp_path / "c", range(3), PatientID="p2", StudyInstanceUID="1.1", SeriesInstanceUID="1.1.1")
    with pytest.raises(InputError, match="2 DICOM series in .* fit"):
        read_volume(tmp_path, series="1.1.1")


@pytest.mark.parametrize("uid", ["", "1.2.9"])
def test_series_of_two_modalities_are_told_apart_under_one_uid_or_none(tmp_path: Path, uid: str) -> None:
    for number, kind, modality in ((3, CT, "CT"), (4, MR, "MR")):
        for n in range(4):
            tags = {"Modality": modality, "SeriesNumber": str(number), "SeriesInstanceUID": uid or None}
            save(slice_at((0, 0, 2 * n), 10 * number + n, SOPClassUID=kind, **tags), tmp_path / f"{modality}{n}")
    with pytest.raises(InputError, match="2 DICOM series") as caught:
        read_volume(tmp_path)
    lines = [line.strip() for line in str(caught.value).splitlines() if line.strip().startswith("number")]
    for number, line in zip((3, 4), lines):
        for which in (str(number), line.split()[-1]):
            assert values(tmp_path, series=which) == [10 * number + n for n in range(4)]


def test_series_of_two_numbers_are_told_apart_without_a_uid(tmp_path: Path) -> None:
    for number in (3, 4):
        for n in range(4):
            tags = {"SeriesNumber": str(number), "SeriesInstanceUID": None}
            save(slice_at((0, 0, 2 * (n + 4 * number)), 10 * number + n, **tags), tmp_path / f"{number}{n}")
    assert values(tmp_path, series="4") == [40, 41, 42, 43]


@pytest.mark.parametrize("begin", [0, 1, 500])
@pytest.mark.parametrize("tag, first, second", [("SeriesNumber", "3", "4"), ("SeriesDescription", "chest", "head")])
def test_series_of_two_numbers_or_descriptions_are_told_apart_under_one_uid(
    tmp_path: Path, begin: float, tag: str, first: str, second: str
) -> None:
    write_series(tmp_path / "a", range(4), **{tag: first})
    for n in range(3):
        save(slice_at((0, 0, begin + 2 * n), 40 + n, **{tag: second}), tmp_path / f"{n}")
    with pytest.raises(InputError, match=f"2 DICOM series:\n.*{first}.* 4 files.*\n.*{second}.* 3 files"):
        read_volume(tmp_path)
    assert (values(tmp_path, series=first), values(tmp_path, series=second)) == ([0, 1, 2, 3], [40, 41, 42])


def test_one_image_of_another_description_is_of_the_series_by_its_uid(tmp_path: Path) -> None:
    for uid in ("1.2.3.4", None):
        write_series(tmp_path / f"{uid}" / "a", range(4), SeriesInstanceUID=uid)
        save(slice_at((0, 0, 9), 4, SeriesInstanceUID=uid, SeriesDescription="other"), tmp_path / f"{uid}" / "b")
    assert values(tmp_path / "1.2.3.4") == [0, 1, 2, 3, 4]
    with pytest.raises(InputError, match="2 DICOM series"):
        read_volume(tmp_path / "None")


@pytest.mark.parametrize("uid", ["1.2.3.4", None])
@pytest.mark.parametrize("lost", [(), (5,), (3, 8), (5, 6)])
def test_a_description_alone_splits_no_stack_of_which_slices_are_missing(
    tmp_path: Path, lost: tuple[int, ...], uid: str | None
) -> None:
    there = [n for n in range(12) if n not in lost]
    for n in there:
        tags = {"SeriesInstanceUID": uid, "SeriesDescription": "thorax" if n < 6 else "abdomen"}
        save(slice_at((0, 0, 3 * n), n, **tags), tmp_path / f"{n}")
    volume = read_volume(tmp_path)
    assert volume.array[:, 0, 0].tolist() == there
    assert [f"{len(lost)} slice" in note for note in volume.notes] == [True] * bool(lost)


@pytest.mark.parametrize("tag", ["PatientID", "StudyInstanceUID", "Modality"])
def test_images_that_do_not_say_what_the_others_do_are_of_their_stack(tmp_path: Path, tag: str) -> None:
    for n in range(8):
        save(slice_at((0, 0, 3 * n), n, **({tag: None} if n % 3 else {})), tmp_path / "whole" / f"{n}")
        save(slice_at((0, 0, 3 * (n // 2)), n, **({tag: None} if n % 2 else {})), tmp_path / "two" / f"{n}")
    assert values(tmp_path / "whole") == list(range(8))
    with pytest.raises(InputError, match="2 DICOM series"):
        read_volume(tmp_path / "two")


@pytest.mark.parametrize("count, others", [(4, (0.5, 2.5, 4.5)), (10, np.arange(10) + 0.4)])
def test_a_description_alone_splits_stacks_that_lie_in_one_another(
    tmp_path: Path, count: int, others: Sequence[float]
) -> None:
    for name, places in (("fine", range(count)), ("other", others)):
        for n, place in enumerate(places):
            save(slice_at((0, 0, place), n, SeriesDescription=name), tmp_path / f"{name}{n}")
    assert values(tmp_path, series="fine") == list(range(count))


@pytest.mark.parametrize("numbers", [(3, 3, 3, 1003, 1003), (3, 3, None, 3, 3), (1, 2, 3, 4, 5), ("3", "03", 3, 3, 3)])
def test_one_even_stack_stays_one_series_whatever_its_numbers(tmp_path: Path, numbers: tuple) -> None:
    for n, number in enumerate(numbers):
        save(slice_at((0, 0, n), n, SeriesNumber=number), tmp_path / f"{n}")
    assert values(tmp_path) == [0, 1, 2, 3, 4]


def test_few_images_of_another_modality_under_the_same_uid_are_left_out_with_a_note(tmp_path: Path) -> None:
    write_series(tmp_path, range(5))
    save(slice_at((0, 0, 9), 99, Modality="OT"), tmp_path / "odd.dcm")
    volume = read_volume(tmp_path)
    assert volume.array[:, 0, 0].tolist() == list(range(5)) and "1 image of another modality (OT)" in volume.notes[0]
    assert values(tmp_path, series=volume.notes[0].split()[-3]) == [99]
    assert values(tmp_path, series="1.2.3.4") == list(range(5))
    assert len(find_cases(tmp_path, {"lungs": "lungs"})) == 1


def test_two_patients_under_one_uid_are_two_cases_each_of_which_can_be_chosen(tmp_path: Path) -> None:
    for patient in (1, 2):
        for n in range(3):
            path = tmp_path / "both" / f"of {patient}, {n}"
            save(slice_at((0, 0, n), 10 * patient + n, PatientID=f"p{patient}", SeriesDescription="t1"), path)
    with pytest.raises(InputError, match="such as 'of 1, 0'.*\n.*such as 'of 2, 0'"):
        read_volume(tmp_path)
    cases = find_cases(tmp_path, {"tumor": "tumor"})
    assert len({case.name for case in cases}) == 2
    found = [values(case.image, **case.choice()) for case in cases]
    assert sorted(found) == [[10, 11, 12], [20, 21, 22]]


@pytest.mark.parametrize(
    ("kind", "modality", "what"),
    [
        (SEG, "SEG", "segmentation"),
        (RTDOSE, "RTDOSE", "radiotherapy dose"),
        (RTSTRUCT, "RTSTRUCT", "radiotherapy structures"),
        (SR, "SR", "structured report"),
        (PR, "PR", "presentation state"),
        (KO, "KO", "key object selection"),
        (PDF, "DOC", "encapsulated document"),
    ],
)
def test_objects_that_hold_no_image_are_left_out_and_refused_alone(
    tmp_path: Path, kind: str, modality: str, what: str
) -> None:
    other = image(PIXELS, kind, modality, SeriesInstanceUID="1.2.9")
    if modality not in ("SEG", "RTDOSE"):
        del other.Rows, other.Columns, other.PixelData
    path = save(other, tmp_path / "alone" / "x.dcm")
    for place in (path, path.parent):
        with pytest.raises(InputError, match=f"holds no image.*{what}.*{modality}"):
            read_volume(place)
    for uid in ("1.2.9", "1.2.3.4"):  # even where it says that it is of the very series
        folder = tmp_path / uid
        write_series(folder, range(3))
        other.SeriesInstanceUID = uid
        save(other, folder / "x.dcm")
        volume = read_volume(folder)
        assert volume.shape == (3, 4, 6) and what in volume.notes[0]
    with pytest.raises(InputError, match=f"'1.2.9' .* holds no image: {what}"):
        read_volume(tmp_path / "1.2.9", series="1.2.9")


def test_localizers_and_odd_images_are_left_out_with_a_note(tmp_path: Path) -> None:
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ImageOrientationPatient": list(CORONAL)}
    write_series(tmp_path / "own", range(5))
    save(slice_at((0, -9, 9), 99, SeriesInstanceUID="1.2.8", SeriesNumber="0", **scout), tmp_path / "own" / "scout.dcm")
    volume = read_volume(tmp_path / "own")
    assert volume.shape == (5, 4, 6) and "localizer series 0" in volume.notes[0]
    assert read_volume(tmp_path / "own", series="0").array.max() == 99
    write_series(tmp_path / "same", range(5))
    save(slice_at((0, -9, 9), 99, **scout), tmp_path / "same" / "scout.dcm")
    volume = read_volume(tmp_path / "same")
    assert volume.shape == (5, 4, 6) and "1 image of the series marked as localizer" in volume.notes[0]
    write_series(tmp_path / "size", range(5))
    odd = image(np.zeros((9, 8), np.int16), ImagePositionPatient=[0, 0, 9], ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    save(odd, tmp_path / "size" / "odd.dcm")
    volume = read_volume(tmp_path / "size")
    assert volume.shape == (5, 4, 6) and "1 image of another size" in volume.notes[0]
    write_series(tmp_path / "turned", range(5))
    turned = slice_at((0, 0, 9), 99, ImageOrientationPatient=list(CORONAL))
    save(turned, tmp_path / "turned" / "odd.dcm")
    volume = read_volume(tmp_path / "turned")
    assert volume.shape == (5, 4, 6) and "1 image of another orientation" in volume.notes[0]
    write_series(tmp_path / "unplaced", range(5))
    save(slice_at((0, 0, 9), 99, ImagePositionPatient=None), tmp_path / "unplaced" / "odd.dcm")
    assert "1 image without a position" in read_volume(tmp_path / "unplaced").notes[0]


def test_two_sizes_or_orientations_of_like_number_are_chosen_from(tmp_path: Path) -> None:
    write_series(tmp_path, range(4))
    for number in range(3):
        save(slice_at((0, number, 0), 50 + number, ImageOrientationPatient=list(CORONAL)), tmp_path / f"c{number}.dcm")
    with pytest.raises(InputError, match="axial, 4 images\n  2  coronal, 3 images"):
        read_volume(tmp_path)
    assert values(tmp_path, phase="coronal") == [50, 51, 52]
    assert values(tmp_path, phase="1") == [0, 1, 2, 3]


def test_gray_and_color_of_like_number_are_chosen_from(tmp_path: Path) -> None:
    write_series(tmp_path, range(3))
    for n in range(2):
        tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "BitsStored": 8}
        tags |= {"BitsAllocated": 8, "HighBit": 7, "PixelRepresentation": 0, "PixelData": bytes([n + 1] * 72)}
        save(slice_at((0, 0, n), n, **tags), tmp_path / f"c{n}.dcm")
    with pytest.raises(InputError, match="1  6 x 4 pixels, 3 images\n  2  6 x 4 pixels in color, 2 images"):
        read_volume(tmp_path)
    assert read_volume(tmp_path, phase="in color").array.max() == 2


def test_copies_are_dropped_but_not_slices_that_share_a_uid(tmp_path: Path) -> None:
    write_series(tmp_path / "twice", range(4))
    shutil.copy(tmp_path / "twice" / "s-002.dcm", tmp_path / "twice" / "s-002 (1).dcm")
    shutil.copytree(tmp_path / "twice", tmp_path / "twice" / "again")
    volume = read_volume(tmp_path / "twice")
    assert volume.array[:, 0, 0].tolist() == [0, 1, 2, 3] and "6 files with images that occur twice" in volume.notes[0]
    write_series(tmp_path / "one uid", range(4), SOPInstanceUID="1.2.3.4.5")
    assert values(tmp_path / "one uid") == [0, 1, 2, 3]


def test_separate_images_are_no_stack(tmp_path: Path) -> None:
    for number in range(2):
        save(image(PIXELS + number, CR, "CR", InstanceNumber=number), tmp_path / f"view{number}.dcm")
    with pytest.raises(InputError, match="2 separate images.*view0.dcm"):
        read_volume(tmp_path)
    assert read_volume(tmp_path / "view1.dcm").natural


def test_damaged_files_are_left_out_with_a_note(tmp_path: Path) -> None:
    write_series(tmp_path, range(4))
    (tmp_path / "bad.dcm").write_bytes(bytes(128) + b"DICM" + b"\x08\x00\x05\x00XX\xff\xff" + bytes(40))
    (tmp_path / "notes.txt").write_text("hello")
    volume = read_volume(tmp_path)
    assert volume.shape == (4, 4, 6) and "1 file of DICOM could not be read" in volume.notes[0]
    path = tmp_path / "s-001.dcm"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="s-001.dcm"):
        read_volume(tmp_path)
    for path in tmp_path.glob("s-*.dcm"):
        path.unlink()
    with pytest.raises(InputError, match="only damaged DICOM files.*: 'bad.dcm'"):
        read_volume(tmp_path)


# What commands make of it


def test_the_series_command_lists_what_there_is(tmp_path: Path, run: Callable) -> None:
    write_series(tmp_path / "a", [0, 2.5, 5], SeriesInstanceUID="1.9.1", SeriesNumber="1", SeriesDescription="thorax")
    write_series(tmp_path / "b", [0, 0, 2, 2], SeriesInstanceUID="1.9.2", SeriesNumber="2", AcquisitionNumber="1")
    save(image(PIXELS, SEG, "SEG", SeriesInstanceUID="1.9.3", SeriesNumber="3"), tmp_path / "seg.dcm")
    _, shown, _ = run("series", tmp_path)
    for expected in ("thorax", "CT, volume, 6 x 4 x 3 voxels, 0.5 x 0.7 x 2.5 mm, 2026-01-02", "1.9.1", "2 phases"):
        assert expected in shown
    assert "SEG, segmentation (no image)" in shown and "p1" not in shown
    listed = json.loads(run("series", tmp_path, "--json")[1])
    first, second, third = listed["series"]
    assert (first["number"], first["size"], first["spacing"]) == ("1", [6, 4, 3], pytest.approx([0.5, 0.7, 2.5]))
    assert len(second["phases"]) == 2 and third["what"] == "segmentation (no image)"


def test_an_export_takes_each_radiograph_and_each_series(tmp_path: Path) -> None:
    for number in range(3):
        save(image(PIXELS, CR, "CR", SeriesInstanceUID=f"1.5.{number}"), tmp_path / "xrays" / f"1.2.840.{number}")
    write_series(tmp_path / "ct", range(3))
    write_series(tmp_path / "study", range(3), SeriesInstanceUID="1.6.1", SeriesNumber="1", SeriesDescription="lung")
    write_series(tmp_path / "study", range(3), SeriesInstanceUID="1.6.2", SeriesNumber="2", SeriesDescription="bone")
    save(image(PIXELS, SEG, "SEG", SeriesInstanceUID="1.6.3"), tmp_path / "study" / "seg")
    cases = find_cases(tmp_path, {"lungs": "lungs"})
    assert [case.name for case in cases] == [
        "ct",
        "study_1_lung",
        "study_2_bone",
        "xrays_1.2.840.0",
        "xrays_1.2.840.1",
        "xrays_1.2.840.2",
    ]
    for case in cases:
        assert read_volume(case.image, case.series).shape[0] == (1 if "xrays" in case.name else 3)
    assert [case.name for case in find_cases(tmp_path, {"lungs": "lungs"}, series="bone")] == ["study_2_bone"]


def test_an_enhanced_file_among_slices_of_another_series_is_chosen_by_number(tmp_path: Path) -> None:
    write_series(tmp_path, range(3))
    save(image(np.zeros((2, 4, 6), np.int16), ENHANCED_CT, SeriesInstanceUID="1.7", SeriesNumber="7"), tmp_path / "e")
    assert read_volume(tmp_path, series="7").shape == (2, 4, 6)


def test_words_of_a_file_cannot_command_a_terminal(tmp_path: Path) -> None:
    write_series(tmp_path, range(3), SeriesDescription="head\x1b[2J", SOPInstanceUID="1.2\x1b[2J")
    assert all("\x1b" not in series.line() for series in find_series(tmp_path)[0])
    assert not any("\x1b" in note for note in read_volume(tmp_path).notes)


def test_a_damaged_frame_spoils_no_series_beside_it(tmp_path: Path) -> None:
    write_series(tmp_path, range(3))
    times = [{"FrameContentSequence": sequence(TemporalPositionIndex=number)} for number in (1, 2)]
    path = save(enhanced([(0, 0, 0), (0, 0, 1)], times, SeriesInstanceUID="1.9"), tmp_path / "frames.dcm")
    path.write_bytes(path.read_bytes().replace(b"\x20\0\x28\x91UL", b"\x20\0\x28\x91FD"))  # of 8 bytes, which has 4
    volume = read_volume(tmp_path)
    assert volume.shape[0] == 3 and "could not be read and were left out: 'frames.dcm'" in volume.notes[0]
    assert list_series(path)[0][0].what.startswith("not readable: ")


@pytest.mark.parametrize("tag", [b"\x20\0\x37\0DS", b"\x08\0\x08\0CS", b"\x20\0\x11\0IS", b"\x28\0\x10\0US"])
def test_a_slice_whose_header_is_damaged_is_left_out_with_a_note(tmp_path: Path, tag: bytes) -> None:
    write_series(tmp_path, range(4), ImageType=["ORIGINAL", "PRIMARY"])
    path = tmp_path / "s-003.dcm"
    path.write_bytes(path.read_bytes().replace(tag, tag[:4] + b"Q\xff"))  # of a type that there is not
    volume = read_volume(tmp_path)
    assert volume.shape[0] == 3 and "could not be read and were left out: 's-003.dcm'" in volume.notes[0]
    assert [item.what for item in list_series(tmp_path)[0]] == ["volume"]
    assert len(find_cases(tmp_path, {"lungs": "lungs"})) == 1


def test_a_damaged_class_of_objects_is_not_shown(tmp_path: Path) -> None:
    path = save(image(PIXELS, CT, Rows=None), tmp_path / "x.dcm")
    path.write_bytes(path.read_bytes().replace(CT.encode(), b"Patient^Name".ljust(len(CT))))
    with pytest.raises(InputError, match="holds no image") as caught:
        read_volume(path)
    assert "Patient^Name" not in str(caught.value)
