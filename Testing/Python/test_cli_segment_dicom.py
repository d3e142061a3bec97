"""DICOM Segmentations and RT Structure Sets of `medclipsam segment`, read back by pydicom."""

import time

import numpy as np
import pytest
from dicom_made import image, save, slice_at, write_series
from hypothesis import given
from hypothesis.extra.numpy import arrays
from pydicom.dataelem import DataElement
from segmenting import models_stay_loaded, oblique, phantom_png, series
from skimage.measure import points_in_poly

from MedCLIPSAMLib.choices import MaskFormat
from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.export.cases import find_cases
from MedCLIPSAMLib.export.job import ExportSettings, read_case, segment_case
from MedCLIPSAMLib.run_context import RunContext
from MedCLIPSAMLib.segmentation import segmenter as segmenters
from MedCLIPSAMLib.tasks.rtstruct import outlines
from MedCLIPSAMLib.tasks.writing import check_form, write_masks
from MedCLIPSAMLib.volumes import Segment, read_volume

FIXTURES = (models_stay_loaded,)


@pytest.fixture()
def lesion_of(monkeypatch):
    """Outlines are a box of voxels, whatever is asked: what is written of it can be computed by hand."""

    def outlined(self, sam_prompts, *_, **__):
        x0, y0, x1, y1 = sam_prompts.boxes[0].round().astype(int)
        mask = np.zeros(self._shown[0].images[0].shape[:2], bool)
        mask[y0:y1, x0:x1] = True
        return mask, np.array([0.9], np.float32)

    monkeypatch.setattr(segmenters.TextSegmenter, "predict_mask", outlined)


@pytest.mark.parametrize("named", [True, False], ids=["patient known", "without birth date and sex"])
def test_dicom_seg_and_rtstruct_lie_where_the_series_does(run, tmp_path, lesion_of, named):
    """Of an oblique series of pixels of 0.5 x 1.5 mm, read back by pydicom, against points computed by hand."""
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    turn = oblique()
    identity = {"PatientBirthDate": "19700101", "PatientSex": "F", "PatientName": "Ä^B"} if named else {}
    for k in range(3):
        place = np.array([10.0, -20.0, 30.0]) + 4.0 * k * turn[:, 2]
        tags = {"ImagePositionPatient": [round(float(v), 5) for v in place], "InstanceNumber": str(k + 1)}
        tags |= {"ImageOrientationPatient": [float(v) for v in (*turn[:, 0], *turn[:, 1])], "PixelSpacing": [1.5, 0.5]}
        tags |= {"SpecificCharacterSet": "ISO_IR 192", **identity}
        save(image(np.full((24, 64), 50 * k, np.int16), **tags), tmp_path / "scan" / f"{3 - k}.dcm")
    ask = ("segment", tmp_path / "scan", "-p", "x: lung nodule", "--box", "40,6,1,44,9,1")
    code, _, err = run(*ask, "-o", tmp_path / "seg.dcm")
    assert code == 0, err
    code, _, err = run(*ask, "-o", tmp_path / "rt.dcm", "--format", "rtstruct")
    assert code == 0, err
    corner = lambda i, j: np.array([10, -20, 30]) + 4.0 * turn[:, 2] + 0.5 * i * turn[:, 0] + 1.5 * j * turn[:, 1]
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    (frame,) = seg.PerFrameFunctionalGroupsSequence
    assert np.allclose(frame.PlanePositionSequence[0].ImagePositionPatient, corner(0, 0), atol=1e-3)
    j, i = np.nonzero(seg.pixel_array)
    assert (i.min(), i.max(), j.min(), j.max()) == (40, 44, 6, 9) and seg.SegmentSequence[0].SegmentLabel == "x"
    rt = pydicom.dcmread(tmp_path / "rt.dcm")
    assert rt.Modality == "RTSTRUCT" and rt.StructureSetROISequence[0].ROIName == "x"
    (contour,) = rt.ROIContourSequence[0].ContourSequence
    points = np.array(contour.ContourData, float).reshape(-1, 3)
    assert contour.NumberOfContourPoints == len(points)
    # Half a voxel outside of the first row, at the column 42: a point of the contour.
    assert np.linalg.norm(points - corner(42, 5.5), axis=1).min() < 1e-3
    assert np.linalg.norm(points - corner(44.5, 7), axis=1).min() < 1e-3
    middle = pydicom.dcmread(tmp_path / "scan" / "2.dcm")
    assert contour.ContourImageSequence[0].ReferencedSOPInstanceUID == middle.SOPInstanceUID
    for made in (seg, rt):
        assert made.PatientID == "p1" and made.StudyInstanceUID == middle.StudyInstanceUID
        assert made.PatientSex == ("F" if named else "") and str(made.PatientName) == ("Ä^B" if named else "")


def test_dicom_objects_are_refused_for_other_images_before_the_models_load(run, tmp_path):
    head = phantom_png(tmp_path / "head.png")
    for options in (["-o", tmp_path / "x.dcm"], ["-o", tmp_path / "x.dcm", "--format", "rtstruct"]):
        code, _, err = run("segment", head, "-p", "x", "--sam", "none", *options)
        assert code == 2 and "not a DICOM series" in err
    code, _, err = run("segment", head, "-p", "x", "--sam", "none", "-o", tmp_path / "x.png", "--format", "rtstruct")
    assert code == 2 and ".dcm" in err


def test_nothing_found_is_written_as_dicom_too(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    volume = read_volume(series(tmp_path / "scan"))
    nothing = [Segment("tumor", np.zeros(volume.shape, bool))]
    for form in (MaskFormat.DICOM_SEG, MaskFormat.RTSTRUCT):
        write_masks(tmp_path / f"{form}.dcm", form, nothing, volume)
    assert not pydicom.dcmread(tmp_path / "dcm.dcm").pixel_array.any()
    rt = pydicom.dcmread(tmp_path / "rtstruct.dcm")
    assert rt.StructureSetROISequence[0].ROIName == "tumor" and "ContourSequence" not in rt.ROIContourSequence[0]


def test_a_label_that_dicom_cannot_hold_is_written_as_far_as_it_can(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    volume = read_volume(series(tmp_path / "scan"))
    segment = Segment("left\\right " + "x" * 70, np.ones(volume.shape, bool))
    for form in (MaskFormat.DICOM_SEG, MaskFormat.RTSTRUCT):
        write_masks(tmp_path / f"{form}.dcm", form, [segment], volume)
    name = "left/right " + "x" * 53
    assert pydicom.dcmread(tmp_path / "dcm.dcm").SegmentSequence[0].SegmentLabel == name
    assert pydicom.dcmread(tmp_path / "rtstruct.dcm").StructureSetROISequence[0].ROIName == name


CHARACTERS = {
    r"\ISO 2022 IR 87": "Yamada^Tarou=山田^太郎",
    r"ISO_IR 13\ISO 2022 IR 87": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎",
    r"\ISO 2022 IR 149": "Hong^Gildong=洪^吉洞=홍^길동",
    "ISO 2022 IR 100": "Buc^Jérôme",
    "ISO_IR 100": "Buc^Jérôme",
    "": "Doe^Jane",
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("characters", "name"), CHARACTERS.items())
def test_labels_and_the_patients_name_are_kept_whatever_the_character_set_of_the_series(tmp_path, characters, name):
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    tags = {"SpecificCharacterSet": characters.split("\\"), "PatientName": name}
    write_series(tmp_path / "scan", [0, 3], **tags)
    volume = read_volume(tmp_path / "scan")
    labels = ["肿瘤", "Größe", "x" * 70, "x" * 66]
    for form, items, keyword in (
        (MaskFormat.DICOM_SEG, "SegmentSequence", "SegmentLabel"),
        (MaskFormat.RTSTRUCT, "StructureSetROISequence", "ROIName"),
    ):
        path = tmp_path / f"{form}.dcm"
        write_masks(path, form, [Segment(label, np.ones(volume.shape, bool)) for label in labels], volume)
        made = pydicom.dcmread(path)
        assert made.PatientName == name
        written = [item[keyword].value for item in made[items].value]
        assert written == ["肿瘤", "Größe", "x" * 64, "x" * 60 + " (2)"]  # 64 letters are all that DICOM holds


HEADERS = {
    "sex": ({"PatientSex": "female"}, []),
    "dates": ({"PatientBirthDate": "unknown", "StudyDate": "01-JAN-24", "StudyTime": "12:30:00"}, []),
    "two names": ({"PatientName": ["A^B", "C^D"]}, []),
    "no modality": ({"Modality": None}, []),
    "detector": ({"PixelSpacing": None, "ImagerPixelSpacing": [0.7, 0.5]}, []),
    "decimal comma": ({}, [DataElement("PixelSpacing", "LO", ["0,7", "0,5"])]),
    "weight": ({}, [DataElement("PatientWeight", "LO", "70 kg")]),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("tags", "odd"), HEADERS.values(), ids=HEADERS)
def test_headers_of_hospitals_become_dicom_objects_in_the_same_place(tmp_path, monkeypatch, tags, odd):
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.IGNORE)
    monkeypatch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.IGNORE)
    turned = [(1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 1, 1e-5)]  # as other programs round
    for number, orientation in enumerate(turned):
        own = {"ImageOrientationPatient": list(orientation), "FrameOfReferenceUID": f"1.2.{number}"} | tags
        made = slice_at((5, 6, 3 * number), number, **own)
        for element in odd:
            made.add(element)
        save(made, tmp_path / "scan" / f"{number}.dcm")
    monkeypatch.undo()
    volume = read_volume(tmp_path / "scan")
    mask = np.zeros(volume.shape, bool)
    mask[1, 2, 3:5] = True
    for form in (MaskFormat.DICOM_SEG, MaskFormat.RTSTRUCT):
        check_form(form, tmp_path / "x.dcm", volume)
        write_masks(tmp_path / f"{form}.dcm", form, [Segment("x", mask)], volume)
    seg, rt = pydicom.dcmread(tmp_path / "dcm.dcm"), pydicom.dcmread(tmp_path / "rtstruct.dcm")
    (frame,), shared = seg.PerFrameFunctionalGroupsSequence, seg.SharedFunctionalGroupsSequence[0]
    assert np.array_equal(seg.pixel_array, mask[1]) and shared.PixelMeasuresSequence[0].PixelSpacing == [0.7, 0.5]
    assert frame.PlanePositionSequence[0].ImagePositionPatient == [5, 6, 3]
    points = np.reshape(rt.ROIContourSequence[0].ContourSequence[0].ContourData, (-1, 3)).astype(float)
    assert np.allclose(points.min(0), (5 + 0.5 * 2.5, 6 + 0.7 * 1.5, 3), atol=1e-3)
    assert np.allclose(points.max(0), (5 + 0.5 * 4.5, 6 + 0.7 * 2.5, 3), atol=1e-3)
    for made in (seg, rt):
        assert made.PatientID == "p1" and made.PatientSex == "" and made.PatientBirthDate == ""
        assert made.PatientName == "" and made.StudyDate == ("" if "StudyDate" in tags else "20260102")


def test_series_that_cannot_be_referred_to_are_refused_before_the_work(tmp_path):
    pytest.importorskip("highdicom")
    write_series(tmp_path / "alone", [0, 3], SeriesInstanceUID=None)
    write_series(tmp_path / "private", [0, 3], SOPClassUID="1.3.12.2.1107.5.9.1")
    for form in (MaskFormat.DICOM_SEG, MaskFormat.RTSTRUCT):
        with pytest.raises(InputError, match="slices without SeriesInstanceUID"):
            check_form(form, tmp_path / "x.dcm", read_volume(tmp_path / "alone"))
    with pytest.raises(InputError, match=r"does not know its SOP class 1\.3\.12\.2\.1107\.5\.9\.1"):
        check_form(MaskFormat.DICOM_SEG, tmp_path / "x.dcm", read_volume(tmp_path / "private"))
    (case,) = find_cases(tmp_path / "private", {"x": "tumor"})
    failed = segment_case(None, case, read_case(case), ExportSettings("dcm"), RunContext())
    assert "SOP class" in failed.result.problem


def test_contours_of_a_very_ragged_mask_take_seconds():
    started = time.perf_counter()
    lines = outlines(np.random.default_rng(0).random((512, 512)) < 0.7)
    assert sum(map(len, lines)) > 200_000 and time.perf_counter() - started < 30  # by search for each hole, minutes


@given(arrays(bool, (9, 11)))
def test_contours_enclose_the_centers_of_the_mask_and_no_others(mask):
    """Holes and corners too: the centers inside of an odd number of turns are the mask."""
    centers = np.stack(np.nonzero(np.ones_like(mask)), 1)
    inside = np.zeros(len(centers), bool)
    for line in outlines(mask):
        inside ^= points_in_poly(centers, line)
    assert np.array_equal(inside.reshape(mask.shape), mask)
