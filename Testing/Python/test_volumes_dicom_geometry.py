"""Where the voxels of DICOM series lie, against points worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_made import AXIAL, CORONAL, CR, NM, SAGITTAL, enhanced, image, item, save, slice_at, write_series
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.export.dicom_source import source_slices
from MedCLIPSAMLib.volumes import Segment, SliceStack, read_segmentation, read_volume, write_segmentation
from MedCLIPSAMLib.volumes.statistics import measure

ANGLE = np.radians(30)
OBLIQUE = (np.cos(ANGLE), np.sin(ANGLE), 0.0, 0.0, 0.0, -1.0)
FLIPPED = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def point(volume: Any, index: tuple[int, int, int]) -> np.ndarray:
    return (volume.geometry.affine @ (*index, 1))[:3]


@pytest.mark.parametrize("axes", [AXIAL, CORONAL, SAGITTAL, OBLIQUE, FLIPPED])
@pytest.mark.parametrize("multi", [False, True])
def test_the_place_of_a_voxel_is_the_one_the_headers_give(tmp_path: Path, axes: tuple[float, ...], multi: bool) -> None:
    row, column = np.array(axes[:3]), np.array(axes[3:])
    normal = np.cross(row, column)
    first = np.array([-11.0, 7.0, 30.0])
    order = np.random.default_rng(0).permutation(6)
    places = [first + 3.2 * n * normal for n in order]
    if multi:
        path = save(enhanced(places, orientations=[axes] * 6), tmp_path / "x.dcm")
    else:
        path = tmp_path
        for name, (n, place) in enumerate(zip(order, places)):
            save(slice_at(place, name, ImageOrientationPatient=list(axes)), tmp_path / f"{name}.dcm")
    volume = read_volume(path)
    assert volume.notes == [] and volume.geometry.spacing == pytest.approx((0.5, 0.7, 3.2))
    # PS3.3 C.7.6.2.1.1: position + column number * column spacing * row cosines + row number * row spacing * ...
    by_hand = first + 4 * 0.5 * row + 3 * 0.7 * column + 5 * 3.2 * normal
    np.testing.assert_allclose(point(volume, (4, 3, 5)), by_hand, atol=1e-9)
    assert [order[value] for value in volume.array[:, 0, 0]] == list(range(6))
    mask = np.zeros(volume.shape, bool)
    mask[5, 3, 4] = True  # (i, j, k) = (4, 3, 5)
    for ending in (".seg.nrrd", ".nii.gz", ".mha"):
        write_segmentation(tmp_path / f"out{ending}", [Segment("spot", mask)], volume)
        (back,) = read_segmentation(tmp_path / f"out{ending}", volume)
        assert np.array_equal(back.mask, mask)
        written = sitk.ReadImage(str(tmp_path / f"out{ending}"))
        np.testing.assert_allclose(written.TransformIndexToPhysicalPoint((4, 3, 5)), by_hand, atol=1e-4)


def test_missing_slices_and_tilt_are_noted(tmp_path: Path) -> None:
    write_series(tmp_path / "gap", (0, 1, 2, 4, 5, 8))
    (note,) = read_volume(tmp_path / "gap").notes
    assert "Uneven slice spacing (1.00 to 3.00 mm)" in note and "3 slices seem to be missing" in note
    write_series(tmp_path / "three", (0, 3, 9))
    assert "1 slice seems to be missing" in read_volume(tmp_path / "three").notes[0]
    save(enhanced([(0, 0, z) for z in (0, 2.5, 7.5, 10)]), tmp_path / "gap.dcm")
    volume = read_volume(tmp_path / "gap.dcm")
    assert "1 slice seems to be missing" in volume.notes[0] and volume.geometry.spacing[2] > 2.4
    for n in range(5):
        save(slice_at((0, 0.4 * n, 2 * n), n), tmp_path / "tilt" / f"{n}.dcm")
    (note,) = read_volume(tmp_path / "tilt").notes
    assert "sideways by 1.6 mm" in note


def test_several_frames_of_reference_are_noted(tmp_path: Path) -> None:
    for number in range(4):
        frame = {"FrameOfReferenceUID": f"1.2.{number // 2}"}
        save(slice_at((0, 0, 2 * number), number, **frame), tmp_path / f"{number}.dcm")
    (note,) = read_volume(tmp_path).notes
    assert "2 frames of reference" in note


def test_rounded_positions_are_even(tmp_path: Path) -> None:
    write_series(tmp_path, [round(0.625 * n, 2) for n in range(20)])
    volume = read_volume(tmp_path)
    assert volume.notes == [] and volume.geometry.spacing[2] == pytest.approx(0.625, abs=1e-3)


def test_pixels_of_several_sizes_are_noted(tmp_path: Path) -> None:
    write_series(tmp_path, range(3))
    save(slice_at((0, 0, 3), 3, PixelSpacing=[0.9, 0.8]), tmp_path / "other.dcm")
    volume = read_volume(tmp_path)
    assert "differ in size (0.5 to 0.9 mm)" in volume.notes[0] and volume.geometry.spacing[:2] == (0.5, 0.7)


SPACINGS: dict[str, dict[str, Any]] = {
    "PS": {"PixelSpacing": [0.3, 0.4]},
    "IPS": {"ImagerPixelSpacing": [0.5, 0.6]},
    "NSPS": {"NominalScannedPixelSpacing": [0.7, 0.8]},
    "IPPS": {"ImagePlanePixelSpacing": [0.9, 0.95]},
    "PAR": {"PixelAspectRatio": [2, 1]},
    "PS 0": {"PixelSpacing": [0, 0]},
}
OBJECTS = {"1": "CR", "1.1": "DX", "1.2": "MG", "1.3": "IO", "12.1": "XA", "12.2": "RF", "6.1": "US", "3.1": "US"}
OBJECTS |= {"7": "OT", "7.3": "OT", "481.1": "RTIMAGE", "77.1.1": "ES", "77.1.5.1": "OP", "20": "NM", "2": "CT"}
OBJECTS |= {"4": "MR", "128": "PT"}


@pytest.mark.parametrize("kind", OBJECTS)
def test_where_3d_slicer_takes_pixels_of_another_size_a_note_says_so(tmp_path: Path, kind: str) -> None:
    alone = [(name,) for name in SPACINGS]
    for names in ((), *alone, ("PS", "IPS"), ("IPS", "NSPS"), ("PS", "NSPS"), ("PS 0", "IPS")):
        if "PS 0" in names and OBJECTS[kind] == "US":  # which ITK refuses
            continue
        tags = {keyword: value for name in names for keyword, value in SPACINGS[name].items()}
        made = image(np.zeros((4, 6), np.uint8), f"1.2.840.10008.5.1.4.1.1.{kind}", OBJECTS[kind], **tags)
        path = save(made, tmp_path / "x.dcm")
        volume, other = read_volume(path), sitk.ReadImage(str(path))
        told = [note for note in volume.notes if "3D Slicer reads this kind of file with pixels" in note]
        assert bool(told) == (not np.allclose(volume.geometry.spacing[:2], other.GetSpacing()[:2])), names
        if told:
            assert "of {1:.3g} x {0:.3g} mm".format(*other.GetSpacing()[1::-1]) in told[0]


@pytest.mark.parametrize("kind", ["", "1.3.46.670589.11.0.0.12.1"])
def test_of_a_class_that_is_none_of_dicom_it_is_not_said_what_3d_slicer_takes(tmp_path: Path, kind: str) -> None:
    """Of none GDCM takes the tag; a private class it refuses."""
    path, made = tmp_path / "x.dcm", slice_at((0, 0, 0), 0, SOPClassUID=kind)
    if kind:
        save(made, path)
        with pytest.raises(RuntimeError):
            sitk.ReadImage(str(path))
    else:
        made.preamble, made.file_meta = bytes(128), FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.save_as(path, enforce_file_format=False)
        assert sitk.ReadImage(str(path)).GetSpacing()[:2] == (0.5, 0.7)
    assert not any("3D Slicer" in note for note in read_volume(path).notes)


def test_the_size_of_a_pixel_is_that_of_the_image_plane_of_radiotherapy(tmp_path: Path) -> None:
    tags = {"ImagePlanePixelSpacing": [0.4, 0.3]}
    path = save(image(np.zeros((4, 6), np.uint16), "1.2.840.10008.5.1.4.1.1.481.1", "RTIMAGE", **tags), tmp_path / "x")
    volume = read_volume(path)
    assert volume.geometry.spacing[:2] == (0.3, 0.4) and volume.known_spacing
    assert not any("3D Slicer" in note for note in volume.notes)


def test_a_pixel_spacing_of_0_is_unknown(tmp_path: Path) -> None:
    tags = {"PixelSpacing": [0, 0], "kind": CR, "modality": "CR", "EstimatedRadiographicMagnificationFactor": 1.5}
    made = image(np.zeros((4, 6), np.uint16), ImagerPixelSpacing=[0.2, 0.1], **tags)
    volume = read_volume(save(made, tmp_path / "a.dcm"))
    assert volume.geometry.spacing[:2] == (0.1, 0.2) and volume.magnification == 1.5
    assert volume.notes[0] == "PixelSpacing is 0.0\\0.0, not a pixel size: 0.1 x 0.2 mm was used."
    volume = read_volume(save(image(np.zeros((4, 6), np.uint16), **tags), tmp_path / "b.dcm"))
    assert volume.geometry.spacing[:2] == (1, 1) and not volume.known_spacing and "is 0.0\\0.0" in volume.notes[0]


def test_a_decimal_comma_is_read_and_told_of(tmp_path: Path) -> None:
    path = save(slice_at((0, 0, 0), 1, PixelSpacing=[0.7, 0.5]), tmp_path / "x.dcm")
    path.write_bytes(path.read_bytes().replace(b"0.7\\0.5", b"0,7\\0,5"))
    volume = read_volume(path)
    assert volume.geometry.spacing[:2] == (0.5, 0.7)
    assert volume.notes[0] == "PixelSpacing is written with a decimal comma (0,7\\0,5), and was read as such."


@pytest.mark.parametrize("spacing", [[0.0, 0.5], [-1.0, 1.0], [1e9, 1e9]])
def test_impossible_pixel_spacing_is_refused(tmp_path: Path, spacing: list[float]) -> None:
    path = save(slice_at((0, 0, 0), 0, PixelSpacing=spacing), tmp_path / "x.dcm")
    with pytest.raises(InputError, match="voxel spacing") as caught:
        read_volume(path)
    assert caught.value.remedy and "\n" not in str(caught.value)


def test_the_thickness_of_a_single_slice_is_the_one_it_tells(tmp_path: Path) -> None:
    for number, (tags, thickness) in enumerate(
        (({"SpacingBetweenSlices": -3.0, "SliceThickness": 5.0}, 3), ({"SliceThickness": 5.0}, 5), ({}, 1))
    ):
        path = save(slice_at((1, 2, 3), 0, **tags), tmp_path / f"{number}.dcm")
        volume = read_volume(path)
        assert volume.geometry.spacing[2] == thickness and volume.geometry.origin == (1, 2, 3)


@pytest.mark.parametrize("step", [4.0, -4.0])
def test_frames_of_nuclear_medicine_step_along_their_normal(tmp_path: Path, step: float) -> None:
    pixels = np.repeat(np.arange(5, dtype=np.int16), 24).reshape(5, 4, 6)
    detector = item(ImagePositionPatient=[10.0, 20.0, 30.0], ImageOrientationPatient=[float(a) for a in AXIAL])
    tags = {"ImageType": ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"], "SpacingBetweenSlices": step}
    made = image(pixels, NM, "NM", PixelSpacing=[3.0, 3.0], DetectorInformationSequence=Sequence([detector]), **tags)
    volume = read_volume(save(made, tmp_path / "nm.dcm"))
    assert volume.geometry.spacing == (3, 3, 4) and not volume.natural
    for frame in range(5):
        k = volume.array[:, 0, 0].tolist().index(frame)
        assert point(volume, (0, 0, k)) == pytest.approx((10, 20, 30 + frame * step))


def test_slices_without_positions_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name, number in (("a", 3), ("b", 1), ("c", 2)):
        tags = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "SpacingBetweenSlices": 4.0}
        save(slice_at((0, 0, 0), number, InstanceNumber=number, **tags), tmp_path / name)
    volume = read_volume(tmp_path)
    assert volume.array[:, 0, 0].tolist() == [1, 2, 3] and volume.geometry.spacing[2] == 4
    assert "no patient positions" in volume.notes[0]


def test_slices_without_positions_and_numbers_are_in_the_order_of_their_locations(tmp_path: Path) -> None:
    tags = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "SliceThickness": 9.0}
    for n in range(4):
        save(slice_at((0, 0, 0), n, SliceLocation=2.5 * n - 50, InstanceNumber=9 - n, **tags), tmp_path / f"{9 - n}")
    volume = read_volume(tmp_path)
    assert volume.array[:, 0, 0].tolist() == [0, 1, 2, 3] and volume.geometry.spacing[2] == 2.5
    (note,) = volume.notes
    assert "no patient positions" in note and "slice locations" in note
    for n in range(3):
        save(slice_at((0, 0, 0), n, InstanceNumber=None, **tags), tmp_path / "names" / f"{n}")
    volume = read_volume(tmp_path / "names")
    assert volume.array[:, 0, 0].tolist() == [0, 1, 2] and "names of their files" in volume.notes[0]


@pytest.mark.parametrize(
    ("along", "plane", "row", "column", "normal"),
    [
        ((0, 0, 1), "axial", (1, 0, 0), (0, 1, 0), (0, 0, 1)),
        ((0, 1, 0), "coronal", (1, 0, 0), (0, 0, -1), (0, 1, 0)),
        ((1, 0, 0), "sagittal", (0, 1, 0), (0, 0, -1), (-1, 0, 0)),
        ((0, -0.6, 0.8), "axial", (1, 0, 0), (0, 0.8, 0.6), (0, -0.6, 0.8)),
    ],
)
def test_positions_without_orientation_give_order_and_distance(
    tmp_path: Path, along: Any, plane: str, row: Any, column: Any, normal: Any
) -> None:
    for n in range(4):  # numbered against the line
        place = np.array([5.0, 6.0, 7.0]) + 3.0 * n * np.array(along)
        save(slice_at(place, n, ImageOrientationPatient=None, InstanceNumber=9 - n), tmp_path / f"{n}")
    volume = read_volume(tmp_path)
    forward = np.dot(along, normal) > 0
    assert volume.array[:, 0, 0].tolist() == ([0, 1, 2, 3] if forward else [3, 2, 1, 0])
    assert volume.geometry.spacing == pytest.approx((0.5, 0.7, 3.0)) and not volume.natural
    first = np.array([5.0, 6.0, 7.0]) + (0 if forward else 9.0) * np.array(along)
    np.testing.assert_allclose(volume.geometry.origin, first, atol=1e-9)
    np.testing.assert_allclose(volume.geometry.cosines, np.transpose([row, column, normal]), atol=1e-9)
    (note,) = volume.notes
    assert "positions but no orientation" in note and plane in note
    with pytest.raises(InputError, match="not a DICOM series with positions and an orientation"):
        source_slices(volume)  # of which DICOM objects are made


def test_positions_on_no_line_give_no_order(tmp_path: Path) -> None:
    for n, place in enumerate(((0, 0, 0), (0, 5, 3), (9, 0, 6))):
        save(slice_at(place, n, ImageOrientationPatient=None), tmp_path / f"{n}")
    volume = read_volume(tmp_path)
    assert volume.array[:, 0, 0].tolist() == [0, 1, 2]
    assert "no orientation that fits" in volume.notes[0] and "their numbers" in volume.notes[0]


def test_slices_of_which_some_only_carry_positions_are_all_kept(tmp_path: Path) -> None:
    for n in range(10):
        place = None if n in (4, 7) else [0.0, 0.0, -3.0 * n]
        save(slice_at((0, 0, 0), n, ImageOrientationPatient=None, ImagePositionPatient=place), tmp_path / f"{n}")
    volume = read_volume(tmp_path)
    assert volume.array[:, 0, 0].tolist() == list(range(10))
    assert len(volume.notes) == 1 and "order of their numbers" in volume.notes[0]


def test_radiographs_are_natural_and_know_their_pixels(tmp_path: Path) -> None:
    pixels = np.zeros((4, 6), np.uint16)
    path = save(image(pixels, CR, "CR", ImagerPixelSpacing=[0.2, 0.1]), tmp_path / "a.dcm")
    volume = read_volume(path)
    assert volume.natural and volume.geometry.spacing[:2] == (0.1, 0.2)
    path = save(image(pixels, CR, "CR", PixelAspectRatio=[2, 1]), tmp_path / "b.dcm")
    assert SliceStack(read_volume(path)).image_shape == (8, 6)  # a pixel is twice as high as wide


LOOPS: dict[str, dict[str, Any]] = {
    "pointer": {"FrameIncrementPointer": 0x00181063, "FrameTime": 40},
    "vector": {"FrameIncrementPointer": 0x00181065, "FrameTimeVector": [0, 40, 40]},
    "no pointer": {"FrameTime": 40},
}


@pytest.mark.parametrize("by", LOOPS)
@pytest.mark.parametrize("modality", ["MR", "XA"])
def test_frames_in_time_are_no_body_whatever_else_they_kept(tmp_path: Path, by: str, modality: str) -> None:
    kept = {"ImagePositionPatient": [1, 2, 3], "ImageOrientationPatient": list(AXIAL), "SpacingBetweenSlices": 8}
    pixels = np.repeat(np.array([5, 3, 9], np.uint8), 24).reshape(3, 4, 6)
    made = image(pixels, "1.2.840.10008.5.1.4.1.1.7.2", modality, PixelSpacing=[1, 1], **kept, **LOOPS[by])
    volume = read_volume(save(made, tmp_path / "x.dcm"))
    assert volume.natural and volume.array[:, 0, 0].tolist() == [5, 3, 9]
    assert any("follow one another in time" in note for note in volume.notes)
    size = measure(Segment("all", np.ones((3, 4, 6), bool)), volume)
    assert size.ml is None and size.mm2 == 24


def test_frames_without_places_are_a_loop_as_stored(tmp_path: Path) -> None:
    pixels = np.repeat(np.array([5, 3, 9], np.uint8), 24).reshape(3, 4, 6)
    volume = read_volume(save(image(pixels, "1.2.840.10008.5.1.4.1.1.3.1", "US"), tmp_path / "us.dcm"))
    assert volume.natural and volume.array[:, 0, 0].tolist() == [5, 3, 9]


def test_axes_that_are_skew_are_refused_and_rounded_ones_noted(tmp_path: Path) -> None:
    skew = save(slice_at((0, 0, 0), 0, ImageOrientationPatient=[1, 0, 0, 0.3, 0.95, 0]), tmp_path / "skew.dcm")
    with pytest.raises(InputError, match="degrees from right angles"):
        read_volume(skew)
    rounded = save(slice_at((0, 0, 0), 0, ImageOrientationPatient=[1, 0, 0, 0.02, 0.9998, 0]), tmp_path / "r.dcm")
    volume = read_volume(rounded)
    assert "nearest orthogonal axes are used" in volume.notes[0]
    np.testing.assert_allclose(volume.geometry.cosines.T @ volume.geometry.cosines, np.eye(3), atol=1e-12)


def regions(*units: int, kind: int = 1) -> Sequence:
    return Sequence(
        [
            item(
                RegionSpatialFormat=1,
                RegionDataType=kind,
                PhysicalUnitsXDirection=unit,
                PhysicalUnitsYDirection=unit,
                PhysicalDeltaX=0.02,
                PhysicalDeltaY=0.03,
            )
            for unit in units
        ]
    )


@pytest.mark.parametrize("kind, classes", [("US", ("3.1", "6.1", "7", "7.2")), ("OT", ("6.1",)), ("US", ("6",))])
@pytest.mark.parametrize("tags", [{}, {"PixelSpacing": [0.5, 0.6]}])
@pytest.mark.parametrize("stated", [regions(3), regions(3, kind=2), regions(4), regions(3, 4), regions(3, kind=3)])
def test_ultrasound_has_the_pixels_of_its_region_where_3d_slicer_takes_them(
    tmp_path: Path, kind: str, classes: tuple[str, ...], tags: dict[str, Any], stated: Sequence
) -> None:
    """By DICOMImageSequencePlugin: of the only region, 2-D, of tissue or flow, in cm."""
    is_taken = kind == "US" and classes != ("6",) and stated in (regions(3), regions(3, kind=2))
    for ending in classes:
        pixels = np.zeros((2, 4, 6) if ending in ("3.1", "7.2") else (4, 6), np.uint8)
        uid = f"1.2.840.10008.5.1.4.1.1.{ending}"
        volume = read_volume(save(image(pixels, uid, kind, SequenceOfUltrasoundRegions=stated, **tags), tmp_path / "x"))
        rows, columns = (0.3, 0.2) if is_taken else tags.get("PixelSpacing", (1.0, 1.0))
        assert volume.geometry.spacing[:2] == pytest.approx((columns, rows))
        assert volume.known_spacing == (is_taken or bool(tags))
        assert any("ultrasound region" in note for note in volume.notes) == (is_taken or not tags)
        scalar = sitk.ReadImage(str(tmp_path / "x")).GetSpacing()
        said = f"A scalar volume has pixels of {scalar[0]:g} x {scalar[1]:g} mm there, so masks do not fit it"
        assert any(said in note for note in volume.notes) == is_taken


@pytest.mark.parametrize("tags, step", [({}, 1.0), ({"SliceThickness": 0.3}, 0.3)])
def test_frames_of_which_the_first_alone_has_a_position_begin_there(
    tmp_path: Path, tags: dict[str, Any], step: float
) -> None:
    """As in ITK, which takes 1 mm between them; cone beam CT writes such files."""
    frames = np.arange(4, dtype=np.int16).repeat(24).reshape(4, 4, 6)
    place = {"ImagePositionPatient": [-10.0, -20.0, 30.0], "ImageOrientationPatient": list(map(float, CORONAL))}
    path = save(image(frames, PixelSpacing=[0.7, 0.5], **place, **tags), tmp_path / "x.dcm")
    volume, other = read_volume(path), sitk.ReadImage(str(path))
    np.testing.assert_allclose(point(volume, (2, 3, 0)), other.TransformIndexToPhysicalPoint((2, 3, 0)), atol=1e-4)
    np.testing.assert_allclose(point(volume, (0, 0, 2)), (-10, -20 + 2 * step, 30), atol=1e-4)
    assert f"{step:g} mm apart (1 mm in 3D Slicer)" in volume.notes[0]
