"""Only the user's own choice of a volume changes what the slice views show."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util
import standin
from MedCLIPSAMScene import markups, overlay
from MedCLIPSAMScene.sliceGeometry import SceneSlices
from parts import shown_volume

VIEWS = "Red", "Green", "Yellow"


def composite(view: str):
    return slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceCompositeNode{view}")


def shown() -> list[tuple[str, ...]]:
    """Return the names of the images in each view."""
    layers = "Background", "Foreground", "Label"
    nodes = [[getattr(composite(view), f"Get{layer}VolumeID")() for layer in layers] for view in VIEWS]
    return [tuple(slicer.mrmlScene.GetNodeByID(node).GetName() if node else "" for node in view) for view in nodes]


def three_volumes() -> list[tuple[str, ...]]:
    """A in Green, B in Red with C over it and labels, C in Yellow; A is the first of the scene."""
    a, b, c = (shown_volume(name) for name in "ABC")
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    composite("Green").SetBackgroundVolumeID(a.GetID())
    composite("Red").SetBackgroundVolumeID(b.GetID())
    composite("Red").SetForegroundVolumeID(c.GetID())
    composite("Red").SetLabelVolumeID(labels.GetID())
    composite("Yellow").SetBackgroundVolumeID(c.GetID())
    return [("B", "C", "labels"), ("A", "", ""), ("C", "", "")]


def test_the_panel_begins_with_the_volume_of_its_view_and_changes_no_view(fresh) -> None:
    views = three_volumes()
    made = fresh.widgetRepresentation().self()
    try:
        assert made.parameters.inputVolume.GetName() == "B"
        assert shown() == views
        fresh.widgetRepresentation().enter()
        assert shown() == views
        fresh.widgetRepresentation().exit()
    finally:
        made.cleanup()


def test_a_segmentation_leaves_the_images_in_the_views(panel) -> None:
    three_volumes()
    panel.ui.inputVolumeSelector.setCurrentNode(slicer.util.getNode("B"))
    composite("Green").SetBackgroundVolumeID(slicer.util.getNode("A").GetID())
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "by hand")
    node.SetReferenceImageGeometryParameterFromVolumeNode(slicer.util.getNode("B"))
    panel.ui.segmentationSelector.setCurrentNode(node)
    assert panel.ui.segmentEditor.sourceVolumeNode().GetName() == "B"
    assert [view[0] for view in shown()] == ["B", "A", "C"]


def test_a_volume_that_is_chosen_elsewhere_in_space_is_brought_into_view(panel) -> None:
    """The Red view is in the middle of `near`, which ends at x = 15.5, y = 11.5, z = 7."""
    shown_volume("near")
    panel.ui.inputVolumeSelector.setCurrentNode(slicer.util.getNode("near"))
    red = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    for row, value in enumerate((8, 6, 2)):
        red.GetSliceToRAS().SetElement(row, 3, value)
    red.UpdateMatrices()
    middle = lambda: [red.GetSliceToRAS().GetElement(row, 3) for row in range(3)]
    twin = add_twin("twin", 0)
    panel.ui.inputVolumeSelector.setCurrentNode(twin)
    assert [view[0] for view in shown()] == ["twin"] * 3
    assert middle() == [8, 6, 2], "a volume in the same place is compared on the same slice"
    panel.ui.inputVolumeSelector.setCurrentNode(add_twin("far", 500))
    x, y, z = middle()
    assert [view[0] for view in shown()] == ["far"] * 3
    assert 499 < x < 516 and 499 < y < 512 and 498 < z < 508


def test_a_volume_that_a_view_shows_over_another_one_is_chosen_and_the_views_stay(panel) -> None:
    ct, pet = shown_volume("CT"), add_twin("PET", 0)
    panel.ui.inputVolumeSelector.setCurrentNode(ct)
    composite("Red").SetForegroundVolumeID(pet.GetID())
    for opacity, background in ((0.5, "CT"), (0, "PET")):
        panel.ui.inputVolumeSelector.setCurrentNode(ct)
        composite("Red").SetForegroundOpacity(opacity)
        panel.ui.inputVolumeSelector.setCurrentNode(pet)
        assert shown()[0] == (background, "PET", "")


def add_twin(name: str, at: float):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, np.zeros((4, 12, 16), np.int16))
    node.SetSpacing(1, 1, 2)
    node.SetOrigin(at, at, at)
    return node


def stored(folder) -> str:
    """A scene in which Red shows B, and the panel's volume is A."""
    path = str(folder / "scene.mrml")
    slicer.mrmlScene.SetURL(path)
    assert slicer.mrmlScene.Commit() == 1
    return path


def test_a_scene_that_is_loaded_shows_what_it_showed(panel, tmp_path) -> None:
    views = three_volumes()
    panel.ui.inputVolumeSelector.setCurrentNode(slicer.util.getNode("A"))
    composite("Red").SetBackgroundVolumeID(slicer.util.getNode("B").GetID())
    composite("Red").SetForegroundVolumeID(slicer.util.getNode("C").GetID())
    composite("Yellow").SetBackgroundVolumeID(slicer.util.getNode("C").GetID())
    composite("Red").SetLabelVolumeID(slicer.util.getNode("labels").GetID())
    assert shown() == views
    path = stored(tmp_path)
    for module in ("MedCLIPSAM", "Data"):
        slicer.util.selectModule(module)
        slicer.mrmlScene.Clear(0)
        shown_volume("other")  # its ID is that of A in the file
        panel.ui.inputVolumeSelector.setCurrentNode(slicer.util.getNode("other"))
        slicer.mrmlScene.SetURL(path)
        assert slicer.mrmlScene.Import() == 1
        assert shown() == views, module
        slicer.util.selectModule("MedCLIPSAM")
        assert shown() == views, module
        assert panel.parameters.inputVolume.GetName() == "A"


def test_the_selector_shows_the_volume_of_a_scene_that_was_loaded(panel, tmp_path) -> None:
    shown_volume("of the scene")
    panel.ui.inputVolumeSelector.setCurrentNode(slicer.util.getNode("of the scene"))
    slicer.mrmlScene.SetURL(stored(tmp_path))
    for load in (slicer.mrmlScene.Import, slicer.mrmlScene.Connect):  # beside the present one, and in its place
        slicer.util.getNode("of the scene").SetName("of before")
        assert load() == 1
        assert panel.ui.inputVolumeSelector.currentNode() is slicer.util.getNode("of the scene")


def test_what_is_chosen_stays_when_a_scene_is_added(panel, tmp_path) -> None:
    ui, volume, node = panel.ui, shown_volume(), slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    ui.inputVolumeSelector.setCurrentNode(volume)
    ui.segmentationSelector.setCurrentNode(node)
    (tmp_path / "other.mrml").write_text('<MRML version="Slicer4.4.0" userTags=""></MRML>')
    slicer.mrmlScene.SetURL(str(tmp_path / "other.mrml"))
    for module in ("MedCLIPSAM", "Data"):
        slicer.util.selectModule(module)
        assert slicer.mrmlScene.Import() == 1
        slicer.util.selectModule("MedCLIPSAM")
        assert (panel.parameters.inputVolume, panel.parameters.segmentation) == (volume, node), module
        assert (ui.inputVolumeSelector.currentNode(), ui.segmentationSelector.currentNode()) == (volume, node), module


def test_the_foreground_of_the_user_comes_back_in_a_scene_that_was_loaded_into_another(panel, tmp_path) -> None:
    head, pet = shown_volume("head"), add_twin("pet", 0)
    composite("Red").SetForegroundVolumeID(pet.GetID())
    overlay.writeSaliency(SceneSlices(head), "tumor", {1: np.ones((12, 16), np.float32)})
    overlay.showMap(head, overlay.SALIENCY, True)
    assert shown()[0][1] == "Saliency of 'tumor' in 'head'"
    path, identifier = stored(tmp_path), pet.GetID()
    slicer.mrmlScene.Clear(0)
    taken = [add_twin(name, 0).GetID() for name in ("first", "second", "third")]
    assert identifier in taken, "the PET gets another ID when it is loaded"
    slicer.mrmlScene.SetURL(path)
    assert slicer.mrmlScene.Import() == 1
    head = slicer.util.getNode("head")
    overlay.showMap(head, overlay.SALIENCY, False)
    assert shown()[0][:2] == ("head", "pet")
    overlay.showMap(head, overlay.SALIENCY, True)
    overlay.removeMaps(head)
    assert shown()[0][:2] == ("head", "pet")


def add_map(of, write=overlay.writeSaliency):
    """Add a map over the second slice of a volume."""
    return write(SceneSlices(of), "tumor", {1: np.ones((12, 16), np.float32)})


def test_a_map_is_shown_over_its_own_volume_only(panel) -> None:
    """T2 has no map; the check box also hides the map of T1 in Green, which still shows T1."""
    ui, t1, t2, pet = panel.ui, shown_volume("T1"), add_twin("T2", 0), add_twin("PET", 0)
    ui.inputVolumeSelector.setCurrentNode(t1)
    for view in VIEWS:
        composite(view).SetBackgroundVolumeID(t1.GetID())
    composite("Red").SetForegroundVolumeID(pet.GetID())
    name = add_map(t1).GetName()
    panel.update()
    assert shown() == [("T1", name, "")] * 3
    ui.inputVolumeSelector.setCurrentNode(t2)
    assert shown() == [("T2", "PET", ""), ("T2", "", ""), ("T2", "", "")]
    ui.inputVolumeSelector.setCurrentNode(t1)
    assert shown() == [("T1", name, "")] * 3
    composite("Red").SetBackgroundVolumeID(t2.GetID())
    ui.inputVolumeSelector.setCurrentNode(t2)
    assert shown() == [("T2", "PET", ""), ("T1", name, ""), ("T1", name, "")], "the views show T2 already"
    ui.saliencyCheckBox.click()
    assert shown() == [("T2", "PET", ""), ("T1", "", ""), ("T1", "", "")]
    ui.saliencyCheckBox.click()
    ui.inputVolumeSelector.setCurrentNode(None)
    composite("Green").SetForegroundVolumeID(overlay.mapOf(t1, overlay.SALIENCY).GetID())
    ui.saliencyCheckBox.click()
    assert shown()[1] == ("T1", "", "")


def test_a_map_that_the_user_lays_over_another_volume_stays(panel) -> None:
    t1, t2, pet = shown_volume("T1"), add_twin("registered", 0), add_twin("PET", 0)
    panel.ui.inputVolumeSelector.setCurrentNode(t1)
    made = overlay.writeUncertainty(t1, np.ones((4, 12, 16), np.float32))
    for view in VIEWS:
        composite(view).SetBackgroundVolumeID(t1.GetID())
    composite("Red").SetForegroundVolumeID(pet.GetID())
    overlay.showMap(t1, overlay.UNCERTAINTY, True)
    composite("Green").SetForegroundVolumeID(None)
    overlay.showMap(t1, overlay.UNCERTAINTY, False)
    assert shown() == [("T1", "PET", ""), ("T1", "", ""), ("T1", "", "")]
    overlay.showMap(t1, overlay.UNCERTAINTY, True)
    for view in ("Red", "Green"):
        composite(view).SetBackgroundVolumeID(t2.GetID())
    overlay.hideStrayMaps()
    assert shown() == [("registered", "PET", ""), ("registered", "", ""), ("T1", made.GetName(), "")]
    composite("Green").SetForegroundVolumeID(made.GetID())
    composite("Green").SetForegroundOpacity(0.3)
    panel.ui.inputVolumeSelector.setCurrentNode(t2)
    assert shown() == [("registered", "PET", ""), ("registered", made.GetName(), ""), ("T1", made.GetName(), "")]
    assert composite("Green").GetForegroundOpacity() == 0.3


def test_what_was_made_for_a_volume_is_removed_with_it(panel) -> None:
    t1, t2 = shown_volume("T1"), shown_volume("T2")
    for volume in (t1, t2):
        slices = SceneSlices(volume)
        add_map(volume), add_map(volume, overlay.writeVote)
        overlay.writeUncertainty(volume, np.ones((4, 12, 16), np.float32))
        markups.showBoxes(slices, 1, np.array([[2, 2, 6, 6], [7, 2, 9, 6]], np.float32), "x")
        markups.pointList(volume, markups.POSITIVE)
        markups.pointList(volume, markups.NEGATIVE)
    mine = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "mine")
    panel.ui.inputVolumeSelector.setCurrentNode(t1)
    assert shown()[0][0] == "T1" and shown()[0][1].startswith("Saliency")
    slicer.mrmlScene.RemoveNode(t1)
    assert shown() == [("", "", "")] * 3
    count = slicer.mrmlScene.GetNumberOfNodesByClass
    assert count("vtkMRMLScalarVolumeNode") == 4 and overlay.mapOf(t2, overlay.UNCERTAINTY) is not None
    assert count("vtkMRMLMarkupsROINode") == 3 and slicer.mrmlScene.IsNodePresent(mine)
    assert count("vtkMRMLMarkupsFiducialNode") == 2
    panel.ui.inputVolumeSelector.setCurrentNode(t2)
    assert [view[0] for view in shown()] == ["T2"] * 3 and "'T2'" in shown()[0][1]


def test_a_map_goes_where_its_volume_goes(panel) -> None:
    volume, bounds, moved = shown_volume(), [0.0] * 6, [0.0] * 6
    node = add_map(volume)
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    node.GetRASBounds(bounds)
    transform, matrix = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode"), np.eye(4)
    matrix[:3, 3] = 10, 20, 30
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    node.GetRASBounds(moved)
    assert np.allclose(np.subtract(moved, bounds), (10, 10, 20, 20, 30, 30))
    volume.HardenTransform()
    slicer.mrmlScene.RemoveNode(transform)
    node.GetRASBounds(moved)
    assert np.allclose(np.subtract(moved, bounds), (10, 10, 20, 20, 30, 30))


def test_a_map_is_hidden_while_its_volume_holds_another_image(panel) -> None:
    volume = shown_volume()
    add_map(volume)
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    image = slicer.util.arrayFromVolume(volume).copy()
    assert shown()[0][1].startswith("Saliency")
    for array, seen in ((image[::-1], False), (image, True), (image[:, :6], False), (image, True)):
        slicer.util.updateVolumeFromArray(volume, array)
        assert bool(shown()[0][1]) == seen
    overlay.removeMaps(volume)
    overlay.writeUncertainty(volume, np.ones(image.shape, np.float32))  # of an ensemble, as Review shows it
    panel.update()
    overlay.showMap(volume, overlay.UNCERTAINTY, True)
    slicer.util.updateVolumeFromArray(volume, image[::-1])
    assert shown()[0][1] == ""


def test_an_edit_of_few_voxels_is_another_image(panel) -> None:
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "head")
    slicer.util.updateVolumeFromArray(volume, np.zeros((9, 101, 103), np.float32))
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    overlay.writeSaliency(SceneSlices(volume), "tumor", {1: np.ones((101, 103), np.float32)})
    panel.update()
    voxels = slicer.util.arrayFromVolume(volume)
    for value, seen in ((0, True), (np.nan, False), (1e-3, False), (0, True)):
        voxels[4, 50, 57:59] = value
        slicer.util.arrayFromVolumeModified(volume)
        assert bool(shown()[0][1]) == seen, value


def test_a_volume_of_another_scene_is_given_no_segmentation_of_one_before(panel) -> None:
    """Nodes of the next scene have the IDs of those before."""

    def fill(number: int) -> list:
        """Add two volumes, and a segmentation of the one with this number."""
        volumes = [shown_volume(name) for name in ("T1", "T2")]
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"of {volumes[number].GetName()}")
        node.SetReferenceImageGeometryParameterFromVolumeNode(volumes[number])
        return [*volumes, node]

    t1, t2, node = fill(0)
    panel.ui.inputVolumeSelector.setCurrentNode(t1)
    panel.ui.segmentationSelector.setCurrentNode(node)
    panel.ui.inputVolumeSelector.setCurrentNode(t2)
    assert panel.parameters.segmentation is None
    before = t1.GetID(), node.GetID()
    slicer.mrmlScene.Clear(0)
    t1, t2, node = fill(1)
    assert (t1.GetID(), node.GetID()) == before
    panel.ui.inputVolumeSelector.setCurrentNode(t1)
    assert panel.parameters.segmentation is None


def test_a_layout_without_slice_views_is_no_error(panel, phantom, monkeypatch) -> None:
    layouts = standin.unwrap(slicer.app.layoutManager())
    with monkeypatch.context() as patch:
        patch.setattr(layouts, "sliceViewNames", lambda: ())
        layouts.layoutChanged.emit(0)
        assert panel.ui.viewBox.count and panel.parameters.view
    layouts.layoutChanged.emit(0)
    assert panel.parameters.view == "Red"
