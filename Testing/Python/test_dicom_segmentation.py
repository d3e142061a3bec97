"""DICOM Segmentations as masks: frames at their own places, against voxels worked out by hand."""

import itertools
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_made import SEG, image, item, save, sequence, slice_at
from pydicom.sequence import Sequence as DicomSequence
from pydicom.sr.coding import Code
from pydicom.uid import RLELossless
from scipy.spatial.transform import Rotation

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.evaluation.folders import evaluate
from MedCLIPSAMLib.evaluation.pairs import pairs_of_folders
from MedCLIPSAMLib.export.dicom_source import source_slices
from MedCLIPSAMLib.volumes import Geometry, Volume, read_segmentation, read_volume

LABELMAP = "1.2.840.10008.5.1.4.1.1.66.7"
OBLIQUE = Rotation.from_euler("zyx", [20, -35, 10], degrees=True).as_matrix()
GRID = Geometry((-31.0, 12.5, 40.25), (0.8, 1.5, 3.0), tuple(OBLIQUE.ravel().tolist()))
SIZE = (7, 6, 5)
LIVER, CYST = [(1, 2, 3), (2, 2, 3), (5, 4, 1)], [(2, 2, 3), (0, 5, 1)]
"""Voxels (i, j, k); one is of both."""
PLANES = [
    (rows, columns)
    for rows, columns in itertools.product(["+i", "-i", "+j", "-j", "+k", "-k"], repeat=2)
    if rows[1] != columns[1]
]
"""Where a row and a column of a frame run: all 24 orientations of a right-handed stack."""


def on(voxels: list[tuple[int, int, int]], size=SIZE) -> np.ndarray:
    mask = np.zeros(size[::-1], bool)
    for i, j, k in voxels:
        mask[k, j, i] = True
    return mask


def frames_of(voxels, plane=("+i", "+j"), size=SIZE) -> list[tuple[np.ndarray, np.ndarray]]:
    """Frames with a segment in them, and the voxel index (i, j, k) of the first pixel of each."""
    along, down = ("ijk".index(name[1]) for name in plane)
    normal = 3 - along - down
    made = []
    for level in sorted({voxel[normal] for voxel in voxels}, reverse=True):
        pixels = np.zeros((size[down], size[along]), np.uint8)
        first = np.zeros(3)
        first[normal] = level
        for axis, name in ((along, plane[0]), (down, plane[1])):
            first[axis] = size[axis] - 1 if name[0] == "-" else 0
        for voxel in voxels:
            if voxel[normal] == level:
                pixels[abs(voxel[down] - int(first[down])), abs(voxel[along] - int(first[along]))] = 1
        made.append((pixels, first))
    return made


def write_seg(
    path: Path, segments, plane=("+i", "+j"), kind="BINARY", grid=GRID, size=SIZE, syntax=None, **tags
) -> Path:
    """Segments by label, voxels (i, j, k) each; a frame a slice and segment, nothing said of the step of slices."""
    axes = [grid.cosines[:, "ijk".index(name[1])] * (-1 if name[0] == "-" else 1) for name in plane]
    steps = [grid.spacing["ijk".index(name[1])] for name in plane]
    drawn, groups = [], []
    for number, voxels in enumerate(segments.values(), 1):
        for pixels, first in frames_of(voxels, plane, size):
            drawn.append(pixels)
            place = (grid.affine @ (*first, 1))[:3].tolist()
            groups.append(
                item(
                    PlanePositionSequence=sequence(ImagePositionPatient=place),
                    SegmentIdentificationSequence=sequence(ReferencedSegmentNumber=number),
                )
            )
    pixels = np.stack(drawn)
    data = np.packbits(pixels.ravel(), bitorder="little").tobytes() if kind == "BINARY" else pixels.tobytes()
    bits = 1 if kind == "BINARY" else 8
    known = {
        "SegmentationType": kind,
        "SegmentSequence": DicomSequence(
            item(SegmentNumber=number, SegmentLabel=name) for number, name in enumerate(segments, 1)
        ),
        "SharedFunctionalGroupsSequence": sequence(
            PixelMeasuresSequence=sequence(PixelSpacing=steps[::-1], SliceThickness=5.0),
            PlaneOrientationSequence=sequence(ImageOrientationPatient=np.concatenate(axes).tolist()),
        ),
        "PerFrameFunctionalGroupsSequence": DicomSequence(groups),
        **{"BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1, "PixelData": data + bytes(len(data) % 2)},
    }
    made = image(pixels, SEG, "SEG", **(known | tags))
    return save(made, path, **({"syntax": syntax} if syntax else {}))


def write_map(path: Path, values: np.ndarray, grid: Geometry = GRID) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(Volume(values.astype(np.uint8), grid).to_sitk(), str(path))
    return path


@pytest.mark.parametrize("plane", PLANES, ids="".join)
def test_frames_lie_where_they_say_in_every_orientation(tmp_path, plane):
    path = write_seg(tmp_path / "a.dcm", {"Liver": LIVER, "Cyst": CYST}, plane)
    volume = Volume(np.zeros(SIZE[::-1], np.int16), GRID)
    liver, cyst = read_segmentation(path, volume)
    assert (liver.name, cyst.name) == ("Liver", "Cyst")
    assert (liver.mask == on(LIVER)).all() and (cyst.mask == on(CYST)).all()


@pytest.mark.parametrize("plane", [("+i", "+j"), ("-j", "+k"), ("-k", "-i")], ids="".join)
def test_segments_are_scored_by_name_on_the_voxels_of_the_other_side(tmp_path, plane):
    write_seg(tmp_path / "t" / "a.dcm", {"Liver": LIVER, "Cyst": CYST}, plane)
    write_map(tmp_path / "p" / "a.nii.gz", on(LIVER) * 1 + on([(0, 5, 1), (6, 0, 0)]) * 2)
    (tmp_path / "p" / "labels.json").write_text('{"liver": 1, "cyst": 2}')
    write_seg(tmp_path / "d" / "a", {"cyst": [(0, 5, 1), (6, 0, 0)], "liver": LIVER})  # without an ending, cropped
    for made in ("p", "d"):
        found = evaluate(pairs_of_folders(tmp_path / made, tmp_path / "t"))
        assert {score.segment: score.dsc for score in found.scores} == {"liver": 1.0, "cyst": 0.5}
        assert not found.notes and found.scores[0].difference_ml == 0


def test_a_mask_of_dicom_becomes_a_trusted_label(run, tmp_path):
    dataset = tmp_path / "Dataset001_Made"
    for folder, name, values in (("imagesTr", "a_0000", np.arange(210)), ("labelsTr", "a", np.zeros(210))):
        write_map(dataset / folder / f"{name}.nii.gz", values.reshape(SIZE[::-1]))
    about = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "Cyst": 1, "Liver": 2}, "numTraining": 1}
    (dataset / "dataset.json").write_text(json.dumps(about | {"file_ending": ".nii.gz"}))
    (dataset / "export.json").write_text(json.dumps({"export": {"form": "nnunet"}}))
    mask = write_seg(tmp_path / "a.dcm", {"Liver": LIVER, "Cyst": [(0, 5, 1)]}, ("-j", "+k"))
    code, text, err = run("weak", "trust", dataset, "a", mask)
    assert code == 0, err
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(dataset / "labelsTr" / "a.nii.gz")))
    assert (values == on(LIVER) * 2 + on([(0, 5, 1)])).all()


def test_a_single_slice_of_thick_slices_that_overlap_is_one_slice(run, tmp_path):
    """Slices are 5 mm thick and 3 mm apart: what the file does not say, the grid beside it does."""
    truth = write_seg(tmp_path / "t.dcm", {"x": [(1, 2, 3), (2, 2, 3)]})
    volume = Volume(np.zeros(SIZE[::-1], np.int16), GRID)
    assert (read_segmentation(truth, volume)[0].mask == on([(1, 2, 3), (2, 2, 3)])).all()
    made = write_map(tmp_path / "p.nii.gz", on([(1, 2, 3)]))
    for pair in ((made, truth), (truth, made)):
        code, text, err = run("evaluate", *pair, "--json")
        assert code == 0 and json.loads(text)["cases"][0]["dsc"] == pytest.approx(2 / 3), err


def test_slices_left_out_unevenly_lie_on_those_of_the_other_side(run, tmp_path):
    size, grid = (7, 6, 9), Geometry(GRID.origin, (0.8, 1.5, 0.7), GRID.direction)
    truth = write_seg(tmp_path / "t.dcm", {"x": [(1, 2, 0), (1, 2, 2), (1, 2, 5)]}, grid=grid, size=size)
    made = write_map(tmp_path / "p.nii.gz", on([(1, 2, 0), (1, 2, 2)], size), grid)
    for pair in ((made, truth), (truth, made)):
        code, text, err = run("evaluate", *pair, "--json")
        assert code == 0 and json.loads(text)["cases"][0]["dsc"] == pytest.approx(0.8), err


def test_thick_slices_are_not_thin_ones_with_gaps(run, tmp_path):
    thick = Geometry(GRID.origin, (0.8, 1.5, 5.0), GRID.direction)  # as thick as the file says
    truth = write_seg(tmp_path / "t.dcm", {"x": [(1, 2, 0), (1, 2, 1)]}, grid=thick)
    thin = Geometry(GRID.origin, (0.8, 1.5, 2.5), GRID.direction)
    code, _, err = run("evaluate", write_map(tmp_path / "p.nii.gz", on([(1, 2, n) for n in range(4)]), thin), truth)
    assert code == 2 and "different grids" in err
    volume = Volume(np.zeros((4, 6, 7), np.int16), thin)
    assert read_segmentation(truth, volume)[0].mask[:3, 2, 1].all()


@pytest.mark.parametrize("shared", [None, []])
def test_frames_may_say_all_by_themselves(tmp_path, shared):
    made = pydicom.dcmread(write_seg(tmp_path / "t.dcm", {"x": LIVER}))
    for groups in made.PerFrameFunctionalGroupsSequence:
        groups.update(made.SharedFunctionalGroupsSequence[0])
    del made.SharedFunctionalGroupsSequence
    if shared is not None:
        made.SharedFunctionalGroupsSequence = DicomSequence(shared)
    made.save_as(tmp_path / "t.dcm")
    volume = Volume(np.zeros(SIZE[::-1], np.int16), GRID)
    assert (read_segmentation(tmp_path / "t.dcm", volume)[0].mask == on(LIVER)).all()


@pytest.mark.parametrize("syntax", [None, RLELossless])
def test_fractions_count_from_one_half_on_and_the_user_is_told(run, tmp_path, syntax):
    from pydicom.encaps import encapsulate
    from pydicom.pixels.encoders import RLELosslessEncoder

    values = np.zeros((1, 6, 7), np.uint8)
    values[0, 2, 1:5] = 200, 100, 99, 1
    data = values.tobytes()
    if syntax:
        about = {"rows": 6, "columns": 7, "samples_per_pixel": 1, "bits_allocated": 8, "bits_stored": 8}
        about |= {"pixel_representation": 0, "photometric_interpretation": "MONOCHROME2", "number_of_frames": 1}
        data = encapsulate([RLELosslessEncoder.encode(data, **about)])
    path = write_seg(
        tmp_path / "t.dcm",
        {"x": [(1, 2, 3)]},
        kind="FRACTIONAL",
        syntax=syntax,
        SegmentationFractionalType="PROBABILITY",
        MaximumFractionalValue=200,
        PixelData=data,
    )
    code, text, err = run("evaluate", write_map(tmp_path / "p.nii.gz", on([(1, 2, 3), (2, 2, 3)])), path, "--json")
    assert code == 0 and json.loads(text)["cases"][0]["dsc"] == 1.0, err
    assert "from one half on" in err


def test_a_label_map_of_dicom_has_the_values_of_its_segments(tmp_path):
    pixels = np.zeros((2, 6, 7), np.uint8)
    pixels[0, 2, 1], pixels[1, 4, 5] = 2, 1
    path = write_seg(
        tmp_path / "t.dcm",
        {"Liver": [(0, 0, 3), (0, 0, 1)]},
        kind="LABELMAP",
        SOPClassUID=LABELMAP,
        PhotometricInterpretation="PALETTE COLOR",
        SegmentSequence=DicomSequence([item(SegmentNumber=n, SegmentLabel=f"s{n}") for n in (0, 1, 2)]),
        PixelData=pixels.tobytes(),
    )
    first, second = read_segmentation(path, Volume(np.zeros(SIZE[::-1], np.int16), GRID))
    assert (first.name, second.name) == ("s1", "s2")
    assert (first.mask == on([(5, 4, 1)])).all() and (second.mask == on([(1, 2, 3)])).all()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_what_highdicom_writes_of_a_tilted_series_lies_on_its_voxels(tmp_path, kind):
    """Stored in reverse order, with slices without a segment, which highdicom leaves out."""
    highdicom = pytest.importorskip("highdicom")
    orientation = [*OBLIQUE[:, 0], *OBLIQUE[:, 1]]
    patient = {name: "" for name in ("PatientBirthDate", "PatientSex", "StudyTime", "AccessionNumber", "StudyID")}
    patient |= {"PatientName": "A^B", "ReferringPhysicianName": "", "FrameOfReferenceUID": "1.2.9"}
    for level in range(6):
        place = (np.array([3, -7, 11]) + 2.2 * level * OBLIQUE[:, 2]).tolist()
        save(
            slice_at(place, level, ImageOrientationPatient=orientation, **patient), tmp_path / "s" / f"{6 - level}.dcm"
        )
    volume = read_volume(tmp_path / "s")
    drawn = np.random.default_rng(0).random(volume.shape) < 0.3
    drawn[[0, 3, 5]] = False
    masks = [drawn & (np.arange(6) < 2), drawn & (np.arange(6) > 3)]
    tissue = Code("85756007", "SCT", "Tissue")
    made = highdicom.seg.Segmentation(
        source_images=source_slices(volume),
        pixel_array=(masks[0] + 2 * masks[1]).astype(np.uint8) if kind == "LABELMAP" else np.stack(masks, -1),
        segmentation_type=kind,
        segment_descriptions=[
            highdicom.seg.SegmentDescription(number, label, tissue, tissue, "MANUAL")
            for number, label in enumerate(("Liver", "Liver tumor"), 1)
        ],
        **{name: highdicom.UID() for name in ("series_instance_uid", "sop_instance_uid")},
        **{name: "x" for name in ("manufacturer", "manufacturer_model_name", "software_versions")},
        **{"device_serial_number": "0", "series_number": 1, "instance_number": 1},
    )
    made.save_as(tmp_path / "x.dcm")
    found = read_segmentation(tmp_path / "x.dcm", volume)
    assert [segment.name for segment in found] == ["Liver", "Liver tumor"]
    assert all(np.array_equal(segment.mask, mask) for segment, mask in zip(found, masks))


def test_segments_go_by_their_numbers_where_the_other_side_has_no_names(run, tmp_path):
    truth = write_seg(tmp_path / "t.dcm", {"Liver": LIVER, "Cyst": [(0, 5, 1)]})
    made = write_map(tmp_path / "p.nii.gz", on(LIVER) * 1 + on([(0, 5, 1), (6, 0, 0)]) * 2)
    code, text, err = run("evaluate", made, truth, "--json")
    assert {row["segment"]: row["dsc"] for row in json.loads(text)["cases"]} == {"1": 1.0, "2": pytest.approx(2 / 3)}
    assert code == 0 and "matched by their numbers" in err and "1 is 'liver', 2 is 'cyst'" in err


def test_a_radiograph_needs_no_position(run, tmp_path):
    frames = {
        "PerFrameFunctionalGroupsSequence": sequence(SegmentIdentificationSequence=sequence(ReferencedSegmentNumber=1))
    }
    truth = write_seg(tmp_path / "t.dcm", {"x": [(1, 2, 0), (5, 4, 0)]}, **frames)
    values = on([(1, 2, 0)], (7, 6, 1))
    sitk.WriteImage(sitk.GetImageFromArray(values[0].astype(np.uint8) * 255), str(tmp_path / "p.png"))
    for made in (tmp_path / "p.png", write_map(tmp_path / "p.nii.gz", values, Geometry(spacing=(0.8, 1.5, 1.0)))):
        code, text, err = run("evaluate", made, truth, "--json")
        assert code == 0 and json.loads(text)["cases"][0]["dsc"] == pytest.approx(2 / 3), err


@pytest.mark.parametrize(
    "fault, said",
    [
        ("turned", "turned or shifted"),
        ("twice", "several frames of segment 1"),
        ("uneven", "unevenly spaced"),
        ("another", "segment 7"),
        ("short", "cannot be read"),
        ("part", "one of several files"),
        ("grid", "different grids"),
    ],
)
def test_what_cannot_be_placed_is_refused(run, tmp_path, fault, said):
    def spoil(made):
        groups = made.PerFrameFunctionalGroupsSequence
        place = groups[1].PlanePositionSequence[0]
        if fault == "turned":
            groups[1].PlaneOrientationSequence = sequence(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
        elif fault == "twice":
            place.ImagePositionPatient = groups[0].PlanePositionSequence[0].ImagePositionPatient
        elif fault == "uneven":
            place.ImagePositionPatient = (np.array(place.ImagePositionPatient) + 0.45 * 3 * OBLIQUE[:, 2]).tolist()
        elif fault == "another":
            groups[1].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 7
        elif fault == "short":
            made.PixelData = made.PixelData[:-4]
        elif fault == "part":
            made.InConcatenationTotalNumber = 2
        return made

    path = write_seg(tmp_path / "t.dcm", {"x": [(1, 2, 4), (1, 2, 3), (5, 4, 1)]})
    spoil(made := pydicom.dcmread(path)).save_as(path)
    shifted = Geometry((-31.0, 12.5, 40.75), GRID.spacing, GRID.direction) if fault == "grid" else GRID
    code, _, err = run("evaluate", write_map(tmp_path / "p.nii.gz", on(LIVER), shifted), path)
    assert code == 2 and said in err and "Traceback" not in err and made
    if fault != "grid":
        with pytest.raises(InputError, match=said):
            read_segmentation(path)


def test_a_header_of_more_pixels_than_the_file_can_hold_is_refused_before_memory_is_taken(tmp_path):
    from pydicom.encaps import encapsulate

    about = {"kind": "FRACTIONAL", "syntax": RLELossless, "Rows": 65535, "Columns": 65535}
    path = write_seg(tmp_path / "t.dcm", {"x": [(1, 2, 3)]}, PixelData=encapsulate([bytes(400)]), **about)
    with pytest.raises(InputError, match="bytes cannot hold 4294836225 bytes of pixels"):
        read_segmentation(path)
