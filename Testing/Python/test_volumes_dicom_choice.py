"""Which series is taken: by UID, number or description, from a folder, a DICOMDIR or a zip file."""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dicom_made import PET, SC, enhanced, image, save, sequence, slice_at, values, write_series
from PIL import Image
from pydicom.fileset import FileSet

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.export.cases import find_cases
from MedCLIPSAMLib.tasks.inputs import find_inputs
from MedCLIPSAMLib.volumes import read_volume
from MedCLIPSAMLib.volumes.dicom_list import list_series


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


def test_a_dose_report_is_no_image_of_a_study(tmp_path: Path) -> None:
    """It is a secondary capture without a position; where nothing else is there, it is taken."""
    page = {"SeriesInstanceUID": "1.9.9", "SeriesNumber": "501", "SeriesDescription": "Patient Protocol"}
    for number in range(2):
        save(image(np.eye(8, dtype=np.uint8), SC, **page), tmp_path / "S501" / f"{number}.dcm")
    assert len(find_inputs([tmp_path / "S501"])) == 1
    write_series(tmp_path / "S2", range(4))
    found = read_volume(tmp_path)
    assert found.shape[0] == 4 and any("screen capture series 501" in note for note in found.notes)
    assert [item.what for item in list_series(tmp_path)[0]] == ["volume", "screen capture"]
    assert [image.path for image in find_inputs([tmp_path])] == [tmp_path / "S2"]
    assert len(find_inputs([tmp_path], "501")) == 1
    of_another = image(np.eye(8, dtype=np.uint8), SC, PatientID="p2", SeriesInstanceUID="1.8")
    save(of_another, tmp_path / "converted" / "0.dcm")
    assert {image.path.name for image in find_inputs([tmp_path])} == {"S2", "converted"}
    shutil.rmtree(tmp_path / "converted")
    shutil.copytree(tmp_path / "S501", tmp_path / "S2", dirs_exist_ok=True)
    assert len(find_inputs([tmp_path / "S2"])) == len(find_inputs([tmp_path / "S2"], "501")) == 1


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


def test_pictures_on_a_disc_are_no_cases_but_by_a_pattern(tmp_path: Path) -> None:
    made, said = FileSet(), []
    for n in range(3):
        made.add(save(slice_at((0, 0, n), n, PatientName="x", StudyID="1", StudyTime="12"), tmp_path / "made" / f"{n}"))
    made.write(tmp_path / "disc")
    for path in (tmp_path / "disc" / "IHE_PDI" / "1.jpg", tmp_path / "disc" / "logo.png", tmp_path / "other" / "x.png"):
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (9, 9)).save(path)
    shutil.rmtree(tmp_path / "made")
    taken = [case.image for case in find_cases(tmp_path, {"a": "a"}, notify=said.append)]
    assert len(taken) == 2 and tmp_path / "other" / "x.png" in taken
    assert said == ["Left out as no images: 1 .jpg (beside a DICOMDIR), 1 .png (beside a DICOMDIR)."]
    assert len(find_cases(tmp_path / "disc", {"a": "a"}, include=["*.jpg"])) == 1


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


def test_files_that_a_dicomdir_lists_in_other_folders_are_told_of(tmp_path: Path) -> None:
    made = FileSet()
    for n in range(8):
        tags = {"PatientName": "x", "StudyID": "1", "StudyTime": "120000"}
        made.add(save(slice_at((0, 0, 2 * n), n, **tags), tmp_path / "source" / f"{n}"))
    made.write(tmp_path / "disc")
    first = sorted(path for path in (tmp_path / "disc").rglob("IM*") if path.is_file())
    more = first[0].parent.with_name("SE000009")
    more.mkdir()
    content = (tmp_path / "disc" / "DICOMDIR").read_bytes()
    for path in first[5:]:
        path.rename(more / path.name)
        old, new = (f"\\{folder.name}\\{path.name}".encode() for folder in (path.parent, more))
        content = content.replace(old, new)
    (tmp_path / "disc" / "DICOMDIR").write_bytes(content)
    (note,) = read_volume(first[0].parent).notes
    assert "lists 3 files of the series in other folders" in note and "Give the folder above" in note
    assert read_volume(tmp_path / "disc").notes == []


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
    assert "4 of the 5 slices" in read_volume(tmp_path).notes[0]
    assert "slices" not in str(read_volume(tmp_path / "0.dcm").notes)


def test_a_series_of_a_zip_file_is_chosen_for_a_folder_of_outputs(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for number in (2, 3):
            write_series(tmp_path / "a", range(number), SeriesInstanceUID=f"1.9.{number}", SeriesNumber=str(number))
        for file in (tmp_path / "a").iterdir():
            archive.write(file, file.name)
    (image,) = find_inputs([tmp_path / "study.zip"], "3")
    assert image.read().shape[0] == 3


def test_the_phases_of_one_file_are_listed(tmp_path: Path) -> None:
    frames = [{"MREchoSequence": sequence(EffectiveEchoTime=5.0 * (1 + n // 3))} for n in range(6)]
    made = enhanced([(0, 0, 2 * (n % 3)) for n in range(6)], frames, SeriesDescription="echoes")
    ((item,), notes) = list_series(save(made, tmp_path / "x.dcm"))
    assert (item.description, item.what, notes) == ("echoes", "2 phases", [])
    assert item.phases == ["echo time 5 ms, 3 images", "echo time 10 ms, 3 images"]
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="not DICOM"):
        list_series(tmp_path / "notes.txt")


def test_what_is_listed_reads_as_a_sentence(tmp_path: Path) -> None:
    for n in range(2):
        save(slice_at((0, 0, 0), n, InstanceNumber=None), tmp_path / f"{n}.dcm")
    ((item,), _) = list_series(tmp_path)
    assert item.what.endswith("has 2 images at 1 position, and no tag tells them apart")


def test_radial_planes_and_opposite_normals_have_labels_of_their_own(tmp_path: Path) -> None:
    for n in range(6):
        angle = np.pi * n / 6
        axes = [np.cos(angle), np.sin(angle), 0, 0, 0, -1]
        save(slice_at((0, 0, 0), n, ImageOrientationPatient=axes), tmp_path / "fan" / f"{n}.dcm")
        axes = [1, 0, 0, 0, 1 - 2 * (n // 3), 0]
        save(slice_at((0, 0, n), n, ImageOrientationPatient=axes), tmp_path / "turned" / f"{n}.dcm")
    for name, count, expected in (("fan", 6, "coronal, normal -0.50 0.87 0.00"), ("turned", 2, "axial, normal 0.00 ")):
        ((item,), _) = list_series(tmp_path / name)
        assert len(set(item.phases)) == count and any(phase.startswith(expected) for phase in item.phases)
    assert values(tmp_path / "fan", phase="coronal, normal -0.50 0.87 0.00") == [1]
