"""What the engine writes opens in 3D Slicer with its names, colors and terminology, and at the right place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import slicer.util
import vtk
from helpers.scene import load_segmentation, load_volume, mask_on_volume

from MedCLIPSAMLib.volumes import (
    Segment,
    SliceStack,
    Volume,
    read_segmentation,
    read_volume,
    write_saliency,
    write_segmentation,
)

PLANES = ("axial", "coronal", "sagittal")


def ijk_to_ras(volume_node: object) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def segment_ras(node: object, segment_id: str) -> np.ndarray:
    """Return (N, 3) RAS positions of the voxels of a segment, from Slicer's own geometry of its label map."""
    labels = slicer.vtkOrientedImageData()
    assert node.GetBinaryLabelmapRepresentation(segment_id, labels)
    matrix = vtk.vtkMatrix4x4()
    labels.GetImageToWorldMatrix(matrix)
    extent = labels.GetExtent()
    value = node.GetSegmentation().GetSegment(segment_id).GetLabelValue()
    array = slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, segment_id)
    kji = np.argwhere(array == value) + (extent[4], extent[2], extent[0])
    ijk1 = np.column_stack([kji[:, ::-1], np.ones(len(kji))])
    return (slicer.util.arrayFromVTKMatrix(matrix) @ ijk1.T).T[:, :3]


def test_a_marked_point_lies_at_its_hand_computed_ras_position(scene: object, tmp_path: Path) -> None:
    # Voxel axes I to superior, J to the right, K to posterior. Voxel (1, 2, 3) is at LPS
    # (10 - 2 * 2, 20 + 3 * 3, 30 + 1 * 1) = (6, 29, 31), which is RAS (-6, -29, 31).
    array = np.zeros((6, 5, 4), np.uint8)
    array[3, 2, 1] = 200
    image = sitk.GetImageFromArray(array)
    image.SetOrigin((10, 20, 30))
    image.SetSpacing((1, 2, 3))
    image.SetDirection((0, -1, 0, 0, 0, 1, 1, 0, 0))
    volume = Volume.from_sitk(image)
    for plane in PLANES:
        stack = SliceStack(volume, plane, window=(0, 200))
        masks = {k: stack.image(k)[..., 0] > 127 for k in range(len(stack))}
        path = tmp_path / f"{plane}.seg.nrrd"
        write_segmentation(path, [Segment("point", stack.to_grid(masks))], volume)
        np.testing.assert_allclose(segment_ras(load_segmentation(path), "Segment_1"), [[-6, -29, 31]], atol=1e-6)


@pytest.mark.parametrize("name", ["MR_Gd.nii.gz", "CT_pitch.nii.gz", "ct-3slice"])
@pytest.mark.parametrize("plane", PLANES)
def test_a_mask_drawn_on_images_covers_the_same_voxels_in_slicer(
    logics: dict[str, object], scene: object, shared_data: Path, tmp_path: Path, name: str, plane: str
) -> None:
    source = shared_data / name
    volume = read_volume(source)
    node = load_volume(logics, source / "03.dcm" if source.is_dir() else source)
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    image = volume.to_sitk()
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    np.testing.assert_allclose(ijk_to_ras(node), to_ras @ affine, atol=1e-4)

    stack = SliceStack(volume, plane)
    k = len(stack) // 3
    height, width = stack.image_shape
    mask = np.zeros(stack.image_shape, bool)
    mask[height // 4 : height // 2 + 1, width // 5 : width // 2] = True
    grid = stack.to_grid({k: mask})
    assert grid.any()
    path = tmp_path / "mask.seg.nrrd"
    write_segmentation(path, [Segment("mask", grid)], volume)
    np.testing.assert_array_equal(mask_on_volume(logics, load_segmentation(path), node), grid)


def test_overlapping_segments_keep_names_colors_terminology_and_tags(scene: object, tmp_path: Path) -> None:
    volume = Volume.from_sitk(sitk.Image(20, 16, 12, sitk.sitkInt16))
    masks = np.zeros((3, *volume.shape), bool)
    masks[0, 2:8, 2:8, 2:8] = True
    masks[1, 4:10, 4:10, 4:10] = True
    masks[2, 10:12, 10:12, 12:14] = True
    segments = [
        Segment("left lung", masks[0], tags={"MedCLIPSAM.Prompt": "left lung: the|whole\nof it"}),
        Segment("Größe ≥ 3 mm", masks[1], color=(0.25, 0.5, 0.75)),
        Segment("brain tumour", masks[2]),
    ]
    path = tmp_path / "überlappend.seg.nrrd"
    write_segmentation(path, segments, volume)
    node = load_segmentation(path)
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 3
    assert segmentation.GetNumberOfLayers() == 2
    for number, segment in enumerate(segments):
        loaded = segmentation.GetNthSegment(number)
        assert loaded.GetName() == segment.name
        np.testing.assert_allclose(loaded.GetColor(), segment.color, atol=1e-5)
        identifier = segmentation.GetNthSegmentID(number)
        expected = {tuple(point) for point in np.argwhere(segment.mask)[:, ::-1] * (-1, -1, 1)}
        assert {tuple(point) for point in segment_ras(node, identifier).round().astype(int)} == expected
    tag = vtk.mutable("")
    assert segmentation.GetNthSegment(0).GetTag("TerminologyEntry", tag)
    assert "~SCT^123037004^Anatomical Structure~SCT^39607008^Lung~SCT^7771000^Left~" in str(tag)
    assert segmentation.GetNthSegment(0).GetTag("MedCLIPSAM.Prompt", tag)
    assert str(tag) == "left lung: the whole of it"


def test_terminology_is_understood_by_slicers_own_parser(scene: object) -> None:
    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    entry = slicer.vtkSlicerTerminologyEntry()
    text = Segment("lung nodule", np.zeros((1, 1, 1), bool)).terminology.entry()
    assert logic.DeserializeTerminologyEntry(text, entry)
    assert entry.GetTypeObject().GetCodeMeaning() == "Mass"
    assert entry.GetRegionObject().GetCodeValue() == "39607008"


def test_an_empty_segment_opens(scene: object, tmp_path: Path) -> None:
    volume = Volume.from_sitk(sitk.Image(6, 5, 4, sitk.sitkUInt8))
    path = tmp_path / "empty.seg.nrrd"
    write_segmentation(path, [Segment("nothing found", np.zeros(volume.shape, bool))], volume)
    segmentation = load_segmentation(path).GetSegmentation()
    assert segmentation.GetNthSegment(0).GetName() == "nothing found"


def test_a_segmentation_that_slicer_wrote_is_read_back_on_the_grid_of_its_volume(
    logics: dict[str, object], scene: object, shared_data: Path, tmp_path: Path
) -> None:
    volume = read_volume(shared_data / "CT_pitch.nii.gz")
    masks = np.zeros((2, *volume.shape), bool)
    masks[0, 10:20, 100:150, 50:100] = True
    masks[1, 15:25, 120:160, 60:90] = True
    write_segmentation(tmp_path / "ours.seg.nrrd", [Segment("a", masks[0]), Segment("b", masks[1])], volume)
    node = load_segmentation(tmp_path / "ours.seg.nrrd")
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "slicers.seg.nrrd"))
    assert storage.WriteData(node) == 1  # cropped to the content, layers on a "list" axis
    assert sitk.ReadImage(str(tmp_path / "slicers.seg.nrrd")).GetSize() != volume.to_sitk().GetSize()
    for segment, name, mask in zip(read_segmentation(tmp_path / "slicers.seg.nrrd", volume), "ab", masks, strict=True):
        assert segment.name == name
        np.testing.assert_array_equal(segment.mask, mask)


def test_the_drawn_liver_lies_right_of_the_spine_in_slicer(
    logics: dict[str, object], scene: object, shared_data: Path, tmp_path: Path
) -> None:
    volume = read_volume(shared_data / "ct-3slice")
    (liver,) = read_segmentation(shared_data / "liver_seg.nrrd", volume)
    write_segmentation(tmp_path / "liver.seg.nrrd", [liver], volume)
    node = load_segmentation(tmp_path / "liver.seg.nrrd")
    right, anterior, _ = segment_ras(node, "Segment_1").mean(axis=0)
    spine = volume.to_sitk().TransformIndexToPhysicalPoint((257, 375, 1))  # the vertebral body on the image
    assert right > -spine[0] + 40  # more than 40 mm to the patient's right: R is the sign of RAS x
    assert anterior > -spine[1]
    volume_node = load_volume(logics, shared_data / "ct-3slice" / "03.dcm")
    hounsfield = slicer.util.arrayFromVolume(volume_node)[mask_on_volume(logics, node, volume_node)]
    assert 30 < np.median(hounsfield) < 150  # parenchyma, neither lung nor bone


def test_saliency_opens_as_a_volume_at_the_place_of_its_image(
    logics: dict[str, object], scene: object, shared_data: Path, tmp_path: Path
) -> None:
    source = shared_data / "CT_pitch.nii.gz"
    volume = read_volume(source)
    saliency = np.random.default_rng(0).random(volume.shape)
    write_saliency(tmp_path / "saliency.nrrd", saliency, volume)
    node = load_volume(logics, tmp_path / "saliency.nrrd")
    np.testing.assert_allclose(ijk_to_ras(node), ijk_to_ras(load_volume(logics, source)), atol=1e-4)
    np.testing.assert_allclose(slicer.util.arrayFromVolume(node), saliency, atol=1e-6)


def test_an_image_mask_has_the_geometry_slicer_gives_the_image(
    scene: object, shared_data: Path, tmp_path: Path
) -> None:
    volume = read_volume(shared_data / "us_femur.png")
    mask = np.zeros(volume.shape, bool)
    mask[0, 210, 240] = True  # Slicer puts pixel (column, row) of a PNG at RAS (-column, -row, 0)
    write_segmentation(tmp_path / "us.seg.nrrd", [Segment("bone", mask)], volume)
    np.testing.assert_allclose(segment_ras(load_segmentation(tmp_path / "us.seg.nrrd"), "Segment_1"), [[-240, -210, 0]])
