"""Input: the volume, the segmentation, and which slices."""

from __future__ import annotations

from typing import Any

import slicer
import slicer.util
import vtk
from MedCLIPSAMScene.sliceGeometry import SceneSlices, ijkToRAS, shownSlice, transformToWorld, voxelsOf
from MedCLIPSAMScene.strings import _

from MedCLIPSAMLib.errors import InputError, MedCLIPSAMError

from .observed import Observed
from .parameters import Extent

DEFAULT_VIEWS = ("Red", "Green", "Yellow")


class InputSection:
    """The first section of the panel."""

    def __init__(self, panel) -> None:
        self._panel = panel
        self._volume: Any = None
        self._grid: tuple | None = None
        self._left: dict[str, str] = {}  # ID of a volume -> ID of the segmentation that was chosen with it
        events = slicer.vtkMRMLTransformableNode.TransformModifiedEvent, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent
        self._followed = Observed((vtk.vtkCommand.ModifiedEvent, *events), self._volumeModified)
        self._layoutManager = slicer.app.layoutManager()
        if self._layoutManager is not None:
            self._layoutManager.connect("layoutChanged(int)", self._offerViews)
        self._offerViews()

    def close(self) -> None:
        """Stop observing the layout and the volume before the panel is removed."""
        self._followed.follow([])
        if self._layoutManager is not None:
            self._layoutManager.disconnect("layoutChanged(int)", self._offerViews)

    def forget(self) -> None:
        """Forget the nodes of a scene before it is closed, because nodes of the next scene get the same IDs."""
        self._volume = None
        self._followed.follow([])
        self._left.clear()

    def begin(self) -> None:
        """Use the volume that the scene names, or choose one; the views are left as they are."""
        parameters = self._panel.parameters
        self._volume = parameters.inputVolume
        if self._volume is None:
            self._volume = parameters.inputVolume = _volumeToBeginWith(parameters.view)
            self._takeUpSegmentation()

    def update(self) -> None:
        """Show the widgets of the chosen extent, and follow another volume that is chosen."""
        ui, parameters = self._panel.ui, self._panel.parameters
        if parameters.inputVolume is not self._volume:
            self._volume = parameters.inputVolume
            if self._volume is not None and self._panel.isShown:
                self._showVolume()
            self._takeUpSegmentation()
        for selector in (ui.inputVolumeSelector, ui.segmentationSelector):
            node = selector.currentNode()  # its name may be too long for the width of the panel
            selector.toolTip = node.GetName() if node is not None else ""
        extent = parameters.extent
        for widget in (ui.planeBox, ui.planeBoxLabel, ui.strategyBox, ui.strategyBoxLabel):
            widget.setVisible(extent != Extent.SLICE)
        for widget in (ui.firstSliceBox, ui.lastSliceBox, ui.sliceCountLabel, ui.rangeLayoutLabel):
            widget.setVisible(extent == Extent.RANGE)
        self._followed.follow([parameters.inputVolume] if parameters.inputVolume is not None else [])
        self._grid = None  # the volume may be another one, or have changed while another one was followed
        self._countSlices()

    def _volumeModified(self, volume, _event) -> None:
        """Show what depends on the voxel grid if it has changed; the items of a sequence have the same grid."""
        voxels = voxelsOf(volume)
        try:
            matrix = (transformToWorld(volume) @ ijkToRAS(volume)).tobytes()
        except InputError:  # not linear
            matrix = b""
        grid = matrix, volume.GetTransformNodeID(), voxels.shape if voxels is not None else None
        if grid != self._grid and self._panel.parameters is not None and not slicer.mrmlScene.IsBatchProcessing():
            self._grid = grid
            self._countSlices()
            self._panel.corrections.showLocks()

    def _countSlices(self) -> None:
        parameters, label = self._panel.parameters, self._panel.ui.sliceCountLabel
        if parameters.extent == Extent.RANGE and parameters.inputVolume is not None:
            try:
                last = len(SceneSlices(parameters.inputVolume, parameters.plane)) - 1
                label.text = _("of 0 to {last}").format(last=last)
            except MedCLIPSAMError as error:
                label.text = error.problem

    def _showVolume(self) -> None:
        """Show a volume that the user has chosen in the views, and fit them to it if they show another place.

        If the chosen view already shows it, such as a PET over a CT, all views stay as they are.
        """
        volume, view = self._volume, self._panel.parameters.view
        if volume in _layersOf(view):
            return
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            composite.SetBackgroundVolumeID(volume.GetID())
        if slicer.app.layoutManager() is not None and not _isInView(volume, view):
            slicer.util.resetSliceViews()

    def _takeUpSegmentation(self) -> None:
        """Choose the segmentation that was last chosen together with the volume."""
        volume, parameters = self._volume, self._panel.parameters
        if volume is None:
            return
        segmentation = parameters.segmentation
        of = segmentationVolume(segmentation) if segmentation is not None else None
        if of is not None and of is not volume:
            self._left[of.GetID()] = segmentation.GetID()
            segmentation = None
        if segmentation is None:
            left = slicer.mrmlScene.GetNodeByID(self._left.pop(volume.GetID(), ""))
            parameters.segmentation = left

    def _offerViews(self, *_arguments) -> None:
        """Offer the views of the layout, and choose the first one if the chosen view is gone."""
        box, parameters = self._panel.ui.viewBox, self._panel.parameters
        names = sliceViewNames()
        blocked = box.blockSignals(True)
        box.clear()
        for name in names:
            box.addItem(name, name)
        if parameters is not None:
            box.setCurrentIndex(box.findData(parameters.view))
        box.blockSignals(blocked)
        if parameters is not None and parameters.view not in names:
            parameters.view = names[0]

    def slices(self) -> tuple[str, list[int]]:
        """Return the plane and the numbers of the slices that the user chose.

        Raises:
            InputError: the volume does not have these slices.
        """
        parameters = self._panel.parameters
        if parameters.extent == Extent.SLICE:
            plane, number = self.shown()
            return plane, [number]
        count = len(SceneSlices(parameters.inputVolume, parameters.plane))
        if parameters.extent == Extent.VOLUME:
            return parameters.plane, list(range(count))
        first, last = parameters.firstSlice, parameters.lastSlice
        if first > last or last >= count:
            raise InputError(
                _("Slices {first} to {last} were requested.").format(first=first, last=last),
                _("Choose slices from 0 to {last}, the lower number first.").format(last=count - 1),
            )
        return parameters.plane, list(range(first, last + 1))

    def shown(self, view: str | None = None) -> tuple[str, int]:
        """Return the plane and the number of the slice in a view, by default the chosen view.

        Raises:
            InputError: the view shows no slice of the volume.
        """
        return shownInView(self._panel.parameters.inputVolume, view or self._panel.parameters.view)


def sliceViewNames() -> list[str]:
    """Return the names of the slice views in the layout.

    If the layout has none, return those of earlier layouts; without any, return Slicer's default views.
    """
    layoutManager = slicer.app.layoutManager()  # None without a main window
    if layoutManager is None:
        return list(DEFAULT_VIEWS)
    names = list(layoutManager.sliceViewNames())  # these include the views of earlier layouts
    mapped = [name for name in names if (node := sliceNodeOf(name)) is not None and node.IsMappedInLayout()]
    return mapped or names or list(DEFAULT_VIEWS)


def sliceNodeOf(name: str):
    """Return the vtkMRMLSliceNode of a view, or None."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSliceNode") if name else []
    return next((node for node in nodes if node.GetLayoutName() == name), None)


def segmentationVolume(segmentationNode):
    """Return the volume that a segmentation was made for, or None."""
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    return segmentationNode.GetNodeReference(role)


def volumeShownIn(view: str):
    """Return the volume in the background of a slice view, or None."""
    return next(iter(_layersOf(view)), None)


def _layersOf(view: str) -> list[Any]:
    """Return the background volume and the visible foreground volume of a slice view, None for an empty layer.

    The list is empty if there is no such view.
    """
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    composite = next((node for node in composites if node.GetLayoutName() == view), None)
    if composite is None:
        return []
    shown = [composite.GetBackgroundVolumeID()]
    if composite.GetForegroundOpacity() > 0:
        shown.append(composite.GetForegroundVolumeID())
    return [slicer.mrmlScene.GetNodeByID(identifier) if identifier else None for identifier in shown]


def _volumeToBeginWith(view: str):
    """Return the volume that a view shows, else that of another view, else the first of the scene, or None."""
    volumes = [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        if not node.GetHideFromEditors() and not node.IsA("vtkMRMLLabelMapVolumeNode")
    ]
    shown = [volumeShownIn(name) for name in (view, *sliceViewNames())]
    return next((node for node in (*shown, *volumes) if node in volumes), None)


def _isInView(volumeNode, view: str) -> bool:
    """Return whether the center of a slice view is in the bounding box of a volume."""
    node, bounds = sliceNodeOf(view), [0.0] * 6
    if node is None:
        return False
    volumeNode.GetRASBounds(bounds)
    middle = [node.GetSliceToRAS().GetElement(row, 3) for row in range(3)]
    return all(low <= at <= high for low, at, high in zip(bounds[::2], middle, bounds[1::2]))


def shownInView(volumeNode, name: str) -> tuple[str, int]:
    """Return the plane and the number of the slice of a volume that a view shows.

    Raises:
        InputError: there is no such view, or it shows other volumes or no slice of this one.
    """
    node = sliceNodeOf(name)
    if node is None:
        raise InputError(_("There is no slice view '{name}'.").format(name=name), _("Choose another view."))
    shown = volumeShownIn(name)
    if shown is not None and volumeNode is not None and volumeNode not in _layersOf(name):
        raise InputError(
            _("The view '{view}' shows '{shown}', not '{name}'.").format(
                view=name, shown=shown.GetName(), name=volumeNode.GetName()
            ),
            _("Show the volume in the view, or choose another view or volume."),
        )
    return shownSlice(volumeNode, node)
