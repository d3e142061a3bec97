"""The images for the models are what the slice views show of a volume: window, inversion, colors."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from helpers.scene import PROMPT, TIMEOUT, add_volume, axial
from MedCLIPSAMScene import segmentTags
from MedCLIPSAMScene.sliceGeometry import SceneSlices
from vtk.util.numpy_support import vtk_to_numpy

GREY, INVERTED, RAINBOW = (f"vtkMRMLColorTableNode{name}" for name in ("Grey", "InvertedGrey", "Rainbow"))
SIZE = 20


@pytest.fixture
def ramp(scene):
    """One slice of 20 x 20 voxels, 0 to 399; black up to 50, white from 350 on."""
    volume = add_volume(np.arange(SIZE * SIZE).reshape(SIZE, SIZE), axial(), slices=1, at=0)
    volume.GetDisplayNode().SetWindowLevelMinMax(50, 350)
    return volume


def view(volume) -> np.ndarray:
    """The colors, (20, 20, 3), that Slicer's display node makes of the slice."""
    output = volume.GetDisplayNode().GetOutputImageDataConnection()
    output.GetProducer().Update()
    image = output.GetProducer().GetOutputDataObject(output.GetIndex())
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(SIZE, SIZE, -1)[..., :3].astype(int)


@pytest.mark.parametrize("inverted", [False, True], ids=["", "inverted"])
@pytest.mark.parametrize("table", [GREY, INVERTED])
def test_gray_values_are_those_of_the_view(ramp, table: str, inverted: bool) -> None:
    display = ramp.GetDisplayNode()
    display.SetAndObserveColorNodeID(table)
    display.SetInvertDisplayScalarRange(inverted)
    seen = SceneSlices(ramp).image(0)
    assert np.abs(seen - view(ramp)).max() <= 2  # the views round to 256 colors
    assert (seen[0, 0] == 255).all() == ((table == INVERTED) != inverted)
    assert (seen[-1, -1] == 0).all() == ((table == INVERTED) != inverted)


def test_a_table_of_colors_is_no_inversion(ramp) -> None:
    ramp.GetDisplayNode().SetAndObserveColorNodeID(RAINBOW)
    assert SceneSlices(ramp).image(0)[-1, -1].tolist() == [255, 255, 255]
    ramp.SetAndObserveDisplayNodeID(None)
    assert SceneSlices(ramp).image(0)[-1, -1].tolist() == [255, 255, 255]


COOL, COLD_TO_HOT = ((0.9, 1.0, 1.0), (0.0, 0.1, 0.4)), ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


@pytest.mark.parametrize("inverted", [False, True], ids=["", "inverted"])
@pytest.mark.parametrize(("ends", "falls"), [(COOL, False), (COLD_TO_HOT, True)], ids=["of colors", "gray at the ends"])
def test_only_a_table_that_is_gray_at_its_ends_has_a_direction(ramp, ends, falls: bool, inverted: bool) -> None:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", "table")
    node.SetTypeToUser()
    node.SetNumberOfColors(256)
    for index in range(256):
        part = index / 255
        # Through a color in any case.
        red, green, blue = np.multiply(ends[0], 1 - part) + np.multiply(ends[1], part)
        node.SetColor(index, str(index), red, green * (1 - part * (1 - part)), blue)
    ramp.GetDisplayNode().SetAndObserveColorNodeID(node.GetID())
    ramp.GetDisplayNode().SetInvertDisplayScalarRange(inverted)
    slices = SceneSlices(ramp)
    assert slices.inverted is (falls != inverted)
    assert slices.image(0)[-1, -1].tolist() == [0 if falls != inverted else 255] * 3


def test_an_inverted_image_is_told_and_kept_with_the_segment(operations, phantom) -> None:
    """This also holds if nothing is found, because inversion may be the cause."""
    volume = add_volume(phantom.image, axial())
    upright = operations.segment.run(volume, [PROMPT], timeout=TIMEOUT)
    volume.GetDisplayNode().SetInvertDisplayScalarRange(True)
    anyway = {"presence_threshold": 0.0}
    lost = operations.segment.run(volume, [PROMPT], timeout=TIMEOUT)
    found = operations.segment.run(volume, [PROMPT], settings=anyway, timeout=TIMEOUT)
    told = ["saw the image inverted" in " ".join(result.notes) for result in (upright, lost, found)]
    assert told == [False, True, True] and (upright.found, lost.found, found.found) == (1, 0, 1)
    for result, window in ((upright, "0 to 255"), (found, "0 to 255, inverted")):
        segment = result.segmentation.GetSegmentation().GetNthSegmentID(0)
        assert segmentTags.tag(result.segmentation, segment, "MedCLIPSAM.Window") == window
    assert any("inverted" in note for note in segmentTags.notesOf(found.segmentation, segment))


@pytest.mark.parametrize("known", ["modality", "quantity"])
def test_a_pet_is_seen_upright(ramp, known: str) -> None:
    """A PET is usually read with an inverted table; the models know uptake as light, as in the overlay of a PET."""
    ramp.GetDisplayNode().SetAndObserveColorNodeID(INVERTED)
    assert SceneSlices(ramp).image(0)[-1, -1].tolist() == [0] * 3
    if known == "modality":
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        item = hierarchy.GetItemByDataNode(ramp) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), ramp)
        hierarchy.SetItemAttribute(item, "DICOM.Modality", "PT")
    else:
        quantity = slicer.vtkCodedEntry()
        quantity.SetValueSchemeMeaning("126400", "DCM", "Standardized Uptake Value")
        ramp.SetVoxelValueQuantity(quantity)
    slices = SceneSlices(ramp)
    assert slices.image(0)[-1, -1].tolist() == [255] * 3 and not any("inverted" in note for note in slices.notes)


@pytest.mark.parametrize("components", [3, 4])
def test_the_window_of_a_color_image_is_that_of_the_view(scene, components: int) -> None:
    colors = np.random.default_rng(1).integers(0, 256, (1, SIZE, SIZE, components)).astype(np.uint8)
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "ultrasound")
    slicer.util.updateVolumeFromArray(volume, colors)
    assert np.array_equal(np.unique(SceneSlices(volume).image(0)), np.unique(colors[..., :3])), "without a display"
    volume.CreateDefaultDisplayNodes()
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevelMinMax(30, 70)
    shown = view(volume)
    assert shown[colors[0, ..., :3] == 40] == pytest.approx(63, abs=1) and (shown[colors[0, ..., :3] > 70] == 255).all()
    seen = SceneSlices(volume).image(0).astype(int)
    assert np.abs(seen - np.flip(shown, (0, 1))).max() <= 1  # I and J run to the right and to anterior
    volume.GetDisplayNode().SetInvertDisplayScalarRange(True)
    assert np.array_equal(view(volume), shown) and np.array_equal(SceneSlices(volume).image(0), seen)


def test_a_window_of_a_color_image_that_shows_nothing_is_told(scene) -> None:
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "ultrasound")
    colors = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    colors[0, 5:9, 5:9] = 20
    slicer.util.updateVolumeFromArray(volume, colors)
    volume.CreateDefaultDisplayNodes()
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevelMinMax(100, 200)
    slices = SceneSlices(volume)
    slices.image(0)
    assert any("window (100 to 200) shows nothing" in note for note in slices.notes)


@pytest.mark.skipif(
    not hasattr(slicer.vtkMRMLScalarVolumeDisplayNode, "GetWindowMappingMethod"), reason="of Slicer 5.12 and later"
)
def test_a_logarithmic_window_is_told(ramp) -> None:
    slices = SceneSlices(ramp)
    assert not any("mapped linearly" in note for note in slices.notes)
    ramp.GetDisplayNode().SetWindowMappingMethod(1)
    assert any("by 'Logarithmic', but the models saw it mapped linearly" in note for note in slices.notes)


def test_a_streamed_image_is_segmented(operations, phantom) -> None:
    """As of an ultrasound machine; slicer.util.arrayFromVolume takes some classes of volumes only."""
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLStreamingVolumeNode", "stream")
    rows, columns = phantom.image.shape
    image = vtk.vtkImageData()
    image.SetDimensions(columns, rows, 1)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = phantom.image.reshape(-1, 1)
    volume.SetAndObserveImageData(image)
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(axial()))
    assert np.array_equal(SceneSlices(volume).image(0), np.repeat(phantom.image[..., None], 3, 2))
    result = operations.segment.run(volume, [PROMPT], timeout=TIMEOUT)
    assert result.found and result.segmentation.GetSegmentation().GetNumberOfSegments() == 1
    assert not [note for note in result.notes if "has changed" in note]
    ended: list = []
    operations.segment.start(volume, [PROMPT], finished=lambda *end: ended.append(end))
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = phantom.image[::-1].reshape(-1, 1)
    operations.session.transport.run_until(lambda: bool(ended), TIMEOUT)
    assert ended[0][0].found and "The image of 'stream' has changed during the run" in ended[0][0].notes[-1]
