"""RT Structure Sets as masks, on the voxels of an image, against voxels worked out by hand."""

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_made import RTSTRUCT, image, item, save
from pydicom.sequence import Sequence as DicomSequence
from scipy.spatial.transform import Rotation
from segmenting import series

from MedCLIPSAMLib.choices import MaskFormat
from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.tasks.writing import write_masks
from MedCLIPSAMLib.volumes import Geometry, Segment, Volume, read_segmentation, read_volume, write_segmentation

OBLIQUE = Rotation.from_euler("zyx", [20, -35, 10], degrees=True).as_matrix()
GRID = Geometry((-31.0, 12.5, 40.25), (0.8, 1.5, 3.0), tuple(OBLIQUE.ravel().tolist()))
SIZE = (12, 10, 5)
BOX = [(1.5, 2.5), (6.5, 2.5), (6.5, 7.5), (1.5, 7.5)]
"""Corners (i, j) around the voxels 2 to 6 and 3 to 7."""
HOLE = [(3.5, 4.5), (4.5, 4.5), (4.5, 5.5), (3.5, 5.5)]
"""Around the voxel (4, 5)."""


def write_structures(path: Path, regions, grid=GRID, kind="CLOSED_PLANAR", frames=("1.2.3",)) -> Path:
    """Regions by name, each of slices k and the corners (i, j) of contours on them."""
    place = lambda i, j, k: (grid.affine @ (i, j, k, 1))[:3]
    rois, drawn = [], []
    for number, (name, contours) in enumerate(regions.items(), 4):
        frame = frames[(number - 4) % len(frames)]
        rois.append(item(ROINumber=number, ROIName=name, ReferencedFrameOfReferenceUID=frame))
        made = [
            item(ContourGeometricType=kind, ContourData=[f"{v:.4f}" for i, j in corners for v in place(i, j, k)])
            for k, corners in contours
        ]
        drawn.append(item(ReferencedROINumber=number, **({"ContourSequence": DicomSequence(made)} if made else {})))
    tags = {"StructureSetROISequence": DicomSequence(rois), "ROIContourSequence": DicomSequence(drawn)}
    dataset = image(np.zeros((2, 2), np.uint8), RTSTRUCT, "RTSTRUCT", **tags)
    del dataset.PixelData
    return save(dataset, path)


def volume_of(grid=GRID, size=SIZE) -> Volume:
    return Volume(np.zeros(size[::-1], np.int16), grid)


def boxed(*levels: int, hole: bool = False) -> np.ndarray:
    mask = np.zeros(SIZE[::-1], bool)
    mask[list(levels), 3:8, 2:7] = True
    if hole:
        mask[list(levels), 5, 4] = False
    return mask


def write_map(path: Path, mask: np.ndarray, grid=GRID) -> Path:
    sitk.WriteImage(Volume(mask.astype(np.uint8), grid).to_sitk(), str(path))
    return path


def test_voxels_whose_centers_contours_enclose_are_the_mask(tmp_path):
    """Of an oblique grid; a contour within another is a hole, whichever comes first, and one that is there twice counts
    once."""
    holed = [(3, HOLE), (3, BOX), (2, BOX), (2, BOX), (2, BOX[::-1])]
    path = write_structures(tmp_path / "rt.dcm", {"GTV": [(1, BOX)], "Body": [*holed, (1, HOLE)], "Nothing": []})
    gtv, body, nothing = read_segmentation(path, volume_of())
    assert (gtv.name, body.name, nothing.name) == ("GTV", "Body", "Nothing")
    assert (gtv.mask == boxed(1)).all() and not nothing.mask.any()
    expected = boxed(2) | boxed(3, hole=True)
    expected[1, 5, 4] = True
    assert (body.mask == expected).all()


def test_what_is_drawn_through_centers_of_voxels_has_the_area_of_the_contour(tmp_path):
    """A square from voxel 2 to 6 has 4 x 4: of the centers on it, those of the first rows and columns."""
    flat = Geometry()
    path = write_structures(tmp_path / "rt.dcm", {"x": [(0, [(2, 2), (6, 2), (6, 6), (2, 6)])]}, flat)
    (square,) = read_segmentation(path, volume_of(flat))
    assert square.mask.sum() == 16 and square.mask[0, 2:6, 2:6].all()


def test_regions_that_are_drawn_twice_in_parts_or_by_turns_are_whole(tmp_path):
    """Twice with other digits; as two items of one number; XOR is empty where contours cross."""
    moved = lambda by: [(i + by, j) for i, j in BOX]
    path = write_structures(tmp_path / "rt.dcm", {"x": [(1, BOX), (1, moved(1e-3))], "y": [(2, BOX)]})
    parts = pydicom.dcmread(path)
    parts.ROIContourSequence[1].ReferencedROINumber = parts.ROIContourSequence[0].ReferencedROINumber
    parts.save_as(path)
    assert (read_segmentation(path, volume_of())[0].mask == boxed(1, 2)).all()
    path = write_structures(tmp_path / "xor.dcm", {"x": [(1, BOX), (1, moved(2)), (1, HOLE)]}, kind="CLOSEDPLANAR_XOR")
    expected = np.zeros(SIZE[::-1], bool)
    expected[1, 3:8, [2, 3, 7, 8]] = True
    expected[1, 5, 4] = True
    assert (read_segmentation(path, volume_of())[0].mask == expected).all()


def test_what_this_program_writes_is_read_voxel_by_voxel(tmp_path):
    """Holes are joined to the contour around them there, and lines run through the centers of voxels.

    The contours are longer than the 64 kB of an explicit transfer syntax, in which they lose their type.
    """
    pytest.importorskip("highdicom")
    volume = read_volume(series(tmp_path / "scan"))
    mask = np.random.default_rng(3).random(volume.shape) < 0.6
    mask[0] = False
    write_masks(tmp_path / "rt.dcm", MaskFormat.RTSTRUCT, [Segment("x", mask)], volume)
    (found,) = read_segmentation(tmp_path / "rt.dcm", volume)
    assert (found.mask == mask).all()
    made = pydicom.dcmread(tmp_path / "rt.dcm")
    assert made.ROIContourSequence[0].ContourSequence[0]["ContourData"].VR == "DS"
    made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    with pytest.warns(match="64 kByte"):
        made.save_as(tmp_path / "explicit.dcm", implicit_vr=False, little_endian=True)
    assert (read_segmentation(tmp_path / "explicit.dcm", volume)[0].mask == mask).all()


def test_structures_are_evaluated_on_either_side(run, tmp_path):
    path = write_structures(tmp_path / "rt.dcm", {"Liver": [(1, BOX), (2, BOX)]})
    same = write_map(tmp_path / "same.nii.gz", boxed(1, 2))
    flipped = tmp_path / "flipped.nii.gz"
    sitk.WriteImage(sitk.Flip(sitk.ReadImage(str(same)), (True, False, True)), str(flipped))
    half = write_map(tmp_path / "half.nii.gz", boxed(2))
    for pred, truth, dsc in ((same, path, 1), (path, same, 1), (path, flipped, 1), (half, path, 2 / 3)):
        code, out, err = run("evaluate", pred, truth, "--json")
        assert code == 0, err
        assert f'"dsc": {dsc:.3f}'[:10] in out.replace("\n", "")
    write_structures(tmp_path / "t" / "same" / "RS.1.dcm", {"Liver": [(1, BOX), (2, BOX)]})
    code, out, err = run("evaluate", same, tmp_path / "t" / "same", "--json")  # a folder of the case
    assert code == 0 and json.loads(out)["cases"][0]["dsc"] == 1, err
    code, _, err = run("evaluate", path, path)
    assert code == 2 and "no voxels of their own" in err


def test_a_region_outside_of_a_cropped_image_leaves_the_others(tmp_path):
    path = write_structures(tmp_path / "rt.dcm", {"Couch": [(90, BOX)], "Liver": [(2, BOX)]})
    couch, liver = read_segmentation(path, volume_of())
    assert not couch.mask.any() and (liver.mask == boxed(2)).all()
    with pytest.raises(InputError, match="wholly outside"):
        read_segmentation(write_structures(tmp_path / "couch.dcm", {"Couch": [(90, BOX)]}), volume_of())


def test_structures_without_a_prediction_are_missing_and_score_zero(run, tmp_path):
    """Their volume is unknown, as there is no grid that they were drawn on."""
    for case in ("a", "b"):
        write_structures(tmp_path / "t" / f"{case}.dcm", {"Liver": [(1, BOX)], "Cord": [(1, HOLE)]})
    volume = volume_of()
    (tmp_path / "p").mkdir()
    write_segmentation(tmp_path / "p" / "a.seg.nrrd", [Segment("Liver", boxed(1))], volume)
    code, out, err = run("evaluate", tmp_path / "p", tmp_path / "t", "--json", "--csv", tmp_path / "s.csv")
    assert code == 0 and json.loads(out)["missing"] == ["b"] and not json.loads(out)["failed"], err
    rows = (tmp_path / "s.csv").read_text().splitlines()
    assert "b,liver,0,0,inf,nan,mm,2,no prediction" in rows and rows[2].startswith("a,liver,1,1,0,0,mm")


def test_structures_become_a_trusted_label(run, tmp_path):
    dataset = tmp_path / "Dataset001_Made"
    for folder, name in (("imagesTr", "a_0000"), ("labelsTr", "a")):
        (dataset / folder).mkdir(parents=True)
        write_map(dataset / folder / f"{name}.nii.gz", boxed())
    about = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "GTV": 1}, "numTraining": 1}
    (dataset / "dataset.json").write_text(json.dumps(about | {"file_ending": ".nii.gz"}))
    (dataset / "export.json").write_text(json.dumps({"export": {"form": "nnunet"}}))
    path = write_structures(tmp_path / "rt.dcm", {"GTV": [(1, BOX), (1, HOLE)]})
    code, _, err = run("weak", "trust", dataset, "a", path)
    assert code == 0 and "taken to be holes" in err, err
    label = sitk.GetArrayFromImage(sitk.ReadImage(str(dataset / "labelsTr" / "a.nii.gz")))
    assert (label == boxed(1, hole=True)).all()


def test_points_are_left_out_and_gaps_between_contours_told(run, tmp_path):
    path = write_structures(tmp_path / "rt.dcm", {"x": [(1, BOX), (3, BOX)]})
    code, _, err = run("evaluate", write_map(tmp_path / "a.nii.gz", boxed(1, 3)), path)
    assert code == 0 and "'x'" in err and "no contours on adjacent slices" in err
    points = write_structures(tmp_path / "points.dcm", {"Isocenter": [(1, BOX[:1])]}, kind="POINT")
    both, other = pydicom.dcmread(path), pydicom.dcmread(points)
    other.StructureSetROISequence[0].ROINumber = other.ROIContourSequence[0].ReferencedROINumber = 9
    both.StructureSetROISequence.append(other.StructureSetROISequence[0])
    both.ROIContourSequence.append(other.ROIContourSequence[0])
    for empty in ({}, {"ContourData": ""}):
        both.ROIContourSequence[0].ContourSequence.append(item(ContourGeometricType="CLOSED_PLANAR", **empty))
    both.save_as(path)
    (found,) = read_segmentation(path, volume_of())
    assert found.name == "x" and (found.mask == boxed(1, 3)).all()
    first = both.ROIContourSequence[0]  # a contour of one point, as some planning systems write it
    first.ContourSequence.append(other.ROIContourSequence[0].ContourSequence[0])
    first.ReferencedROINumber = 77  # of a region that was deleted
    del both.StructureSetROISequence[0]
    both.save_as(tmp_path / "both.dcm")
    (left,) = read_segmentation(tmp_path / "both.dcm", volume_of())
    assert left.name == "Segment 77" and (left.mask == boxed(1, 3)).all()
    code, _, err = run("evaluate", write_map(tmp_path / "a.nii.gz", boxed(1, 3)), tmp_path / "both.dcm")
    assert code == 0 and "Left out of 'Segment 77'" in err and "1 point or open line." in err
    with pytest.raises(InputError, match="no region of closed contours"):
        read_segmentation(points, volume_of())


REFUSED = {
    "between": ({"x": [(1.5, BOX)]}, {}, "do not lie on the slices"),
    "tilted": ({"x": [(1, BOX)]}, {"grid": Geometry(GRID.origin, GRID.spacing)}, "do not lie on the slices"),
    "frames": ({"x": [(1, BOX)], "y": [(1, BOX)]}, {"frames": ("1.2.3", "1.2.4")}, "several frames of reference"),
    "large": ({"x": [(0, BOX), (4000, [(0, 0), (900, 900), (0, 900)])]}, {}, "far from"),
    "far": ({"x": [(1e6, BOX)]}, {}, "far from"),
}


@pytest.mark.parametrize("regions, how, said", REFUSED.values(), ids=REFUSED)
def test_contours_that_are_on_no_slices_of_the_image_are_refused(tmp_path, regions, how, said):
    path = write_structures(tmp_path / "rt.dcm", regions, **how)
    with pytest.raises(InputError, match=said):
        read_segmentation(path, volume_of())
