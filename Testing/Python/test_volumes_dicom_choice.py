"""Which series is taken: by UID, number or description, from a folder, a DICOMDIR or a zip file."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest
from dicom_made import PET, enhanced, save, slice_at, write_series
from pydicom.fileset import FileSet

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.tasks.inputs import find_inputs
from MedCLIPSAMLib.volumes import read_volume
from MedCLIPSAMLib.volumes.dicom_list import list_series


def values(folder: Path, **which: str) -> list[int]:
    """The value of each slice: n where the slices are in order."""
    return read_volume(folder, **which).array[:, 0, 0].tolist()


def test_a_dicomdir_leads_to_the_series_beside_it(tmp_path: Path) -> None:
    made = FileSet()
    for number in range(3):
        dataset = slice_at((0, 0, number), number, PatientName="x", StudyID="1", StudyTime="120000")
        made.add(save(dataset, tmp_path / "source" / str(number)))
    made.write(tmp_path / "disc")
    assert (tmp_path / "disc" / "DICOMDIR").is_file()
    assert values(tmp_path / "disc") == values(tmp_path / "disc" / "DICOMDIR") == [0, 1, 2]


def test_a_series_is_chosen_by_uid_number_or_description(tmp_path: Path) -> None:
    write_series(tmp_path, range(3), SeriesInstanceUID="1.9.1", SeriesNumber="3", SeriesDescription="T1 native")
    write_series(tmp_path, range(5), SeriesInstanceUID="1.9.2", SeriesNumber="12", SeriesDescription="T1 venous")
    for which, count in (("1.9.1", 3), ("1.9.2", 5), ("3", 3), ("12", 5), ("NATIVE", 3), ("t1 venous", 5)):
        assert len(values(tmp_path, series=which)) == count
    with pytest.raises(InputError, match="2 DICOM series") as caught:
        read_volume(tmp_path)
    for expected in ("number 3", "T1 native", "3 files", "1.9.1", "number 12", "1.9.2", "2026-01-02", "--series"):
        assert expected in str(caught.value)
    with pytest.raises(InputError, match="2 DICOM series in .* fit 'T1'"):
        read_volume(tmp_path, series="T1")
    with pytest.raises(InputError, match="no DICOM series 'T2'"):
        read_volume(tmp_path, series="T2")


def test_a_number_is_a_series_number_and_words_are_whole_ones(tmp_path: Path) -> None:
    write_series(tmp_path, range(3), SeriesInstanceUID="1.9.1", SeriesNumber="2", SeriesDescription="CT soft 12")
    write_series(tmp_path, range(5), SeriesInstanceUID="1.9.2", SeriesNumber="7", SeriesDescription="T1 3D")
    write_series(tmp_path, range(4), SeriesInstanceUID="1.9.3", SeriesNumber="8", SeriesDescription="44")
    for which in ("3", "12", "T", "sof", "D", ""):
        with pytest.raises(InputError, match="no DICOM series"):
            read_volume(tmp_path, series=which)
    for which, count in (("7", 5), ("44", 4), ("T1 3D", 5)):
        volume = read_volume(tmp_path, series=which)
        assert volume.shape[0] == count and volume.notes == []
    for which, count, said in (("3d", 5, "series 7 .*'T1 3D'"), ("soft", 3, "series 2"), ("02", 3, "series 2")):
        volume = read_volume(tmp_path, series=which)
        assert volume.shape[0] == count
        assert re.search(f"For '{which}' the {said}", volume.notes[0])


def test_underscores_end_words(tmp_path: Path) -> None:
    write_series(tmp_path, range(3), SeriesInstanceUID="1.9.1", SeriesNumber="2", SeriesDescription="t1_mprage_sag_p2")
    write_series(tmp_path, range(5), SeriesInstanceUID="1.9.2", SeriesNumber="7", SeriesDescription="ep2d_diff_ADC 1.5")
    for which, count in (("mprage", 3), ("T1", 3), ("t1_mprage", 3), ("adc", 5), ("diff", 5), ("1.5", 5)):
        assert read_volume(tmp_path, series=which).shape[0] == count
    with pytest.raises(InputError, match="no DICOM series"):
        read_volume(tmp_path, series="ep2")


def test_a_dicomdir_with_several_series_is_its_folder(tmp_path: Path) -> None:
    made = FileSet()
    for number in (2, 7):
        for n in range(number):
            tags = {"SeriesInstanceUID": f"1.9.{number}", "SeriesNumber": str(number)}
            dataset = slice_at((0, 0, n), n, PatientName="x", StudyID="1", StudyTime="120000", **tags)
            made.add(save(dataset, tmp_path / "source" / f"{number}{n}"))
    made.write(tmp_path / "disc")
    index = tmp_path / "disc" / "DICOMDIR"
    with pytest.raises(InputError, match="2 DICOM series"):
        read_volume(index)
    assert values(index, series="7") == list(range(7))
    assert [item.number for item in list_series(index)[0]] == ["2", "7"]
    assert sorted(image.read().shape[0] for image in find_inputs([index])) == [2, 7]
    assert [image.read().shape[0] for image in find_inputs([index], "7")] == [7]
    with pytest.raises(InputError, match="single file"):
        read_volume(tmp_path / "source" / "20", series="2")


def test_files_that_a_dicomdir_lists_and_that_are_not_there_are_told_of(tmp_path: Path) -> None:
    made = FileSet()
    for series, count in (("1.9.1", 8), ("1.9.2", 2)):
        for n in range(count):
            tags = {"SeriesInstanceUID": series, "PatientName": "x", "StudyID": "1", "StudyTime": "120000"}
            made.add(save(slice_at((0, 0, 2 * n), n, **tags), tmp_path / "source" / f"{series}.{n}"))
    disc = tmp_path / "disc"
    made.write(disc)
    places = {Path(instance.path): instance for instance in FileSet(disc / "DICOMDIR")}
    first = [path for path, instance in places.items() if instance.SeriesInstanceUID == "1.9.1"]
    assert read_volume(disc, series="1.9.1").notes == []
    for path in first:
        path.rename(path.with_name(path.name.lower()))  # as some drives show the names of a disc
    assert read_volume(disc, series="1.9.1").notes == []
    lost = [path for path in first if places[path].InstanceNumber > 5]
    for path in lost:
        path.with_name(path.name.lower()).unlink()
    for folder in (disc / "DICOMDIR", first[0].parent):
        (note,) = read_volume(folder, series="1.9.1").notes
        assert "lists 3 files" in note and lost[0].relative_to(disc).as_posix() in note
    assert read_volume(disc, series="1.9.2").notes == []
    assert [len(item.notes) for item in list_series(disc)[0]] == [1, 0]


def test_missing_parts_of_a_concatenation_are_told_of(tmp_path: Path) -> None:
    for part in range(3):
        places = [(0, 0, 2 * (4 * part + n)) for n in range(4)]
        tags = {"ConcatenationUID": "1.2.77", "InConcatenationNumber": part + 1, "InConcatenationTotalNumber": 3}
        save(enhanced(places, InstanceNumber=part + 1, **tags), tmp_path / f"{part}.dcm")
    assert read_volume(tmp_path).notes == []
    (tmp_path / "2.dcm").unlink()
    assert "2 of 3 files" in read_volume(tmp_path).notes[0] and "part 3" in read_volume(tmp_path).notes[0]
    assert "part 2, 3" in read_volume(tmp_path / "0.dcm").notes[0]


def test_slices_that_pet_states_and_that_are_not_there_are_told_of(tmp_path: Path) -> None:
    for number in range(5):
        slice_ = slice_at((0, 0, 3 * number), number, SOPClassUID=PET, Modality="PT", NumberOfSlices=5)
        save(slice_, tmp_path / f"{number}.dcm")
    assert read_volume(tmp_path).notes == []
    (tmp_path / "4.dcm").unlink()
    assert "4 of 5 slices" in read_volume(tmp_path).notes[0]
    assert "slices" not in str(read_volume(tmp_path / "0.dcm").notes)


def test_a_series_of_a_zip_file_is_chosen_for_a_folder_of_outputs(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for number in (2, 3):
            write_series(tmp_path / "a", range(number), SeriesInstanceUID=f"1.9.{number}", SeriesNumber=str(number))
        for file in (tmp_path / "a").iterdir():
            archive.write(file, file.name)
    (image,) = find_inputs([tmp_path / "study.zip"], "3")
    assert image.read().shape[0] == 3
