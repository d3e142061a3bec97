"""Input: the volume, the segmentation, and which slices."""

from __future__ import annotations

import slicer
import slicer.util
from MedCLIPSAMScene.sliceGeometry import SceneSlices, shownSlice
from MedCLIPSAMScene.strings import _

from MedCLIPSAMLib.errors import InputError, MedCLIPSAMError

EXTENTS = ("slice", "range", "volume")
PLANES = ("axial", "coronal", "sagittal")
STRATEGIES = ("memory", "boxes", "slices")


class InputSection:
    """The first section of the panel."""

    def __init__(self, panel) -> None:
        self._panel, ui = panel, panel.ui
        ui.extentBox.addItems([_("the slice shown in a view"), _("a range of slices"), _("the whole volume")])
        self._views = list(slicer.app.layoutManager().sliceViewNames())
        ui.viewBox.addItems(self._views)
        ui.planeBox.addItems([_("axial"), _("coronal"), _("sagittal")])
        ui.strategyBox.addItems(
            [
                _("from key slices, by SAM's memory"),
                _("from key slices, handing a box over"),
                _("each slice on its own (the paper)"),
            ]
        )
        bindings = panel.bindings
        bindings.choice(ui.strategyBox, STRATEGIES, "strategy")
        bindings.node(ui.inputVolumeSelector, "inputVolume")
        bindings.node(ui.segmentationSelector, "segmentation")
        bindings.choice(ui.extentBox, EXTENTS, "extent")
        bindings.choice(ui.viewBox, self._views, "view")
        bindings.choice(ui.planeBox, PLANES, "plane")
        for box in (ui.firstSliceBox, ui.lastSliceBox):
            box.setRange(0, 99999)
        bindings.property(ui.firstSliceBox, "value", "valueChanged(int)", "firstSlice")
        bindings.property(ui.lastSliceBox, "value", "valueChanged(int)", "lastSlice")

    def update(self) -> None:
        """Show what belongs to the chosen extent."""
        ui, parameters = self._panel.ui, self._panel.parameters
        extent = parameters.extent
        for widget in (ui.viewBox, ui.viewBoxLabel):
            widget.setVisible(extent == "slice")
        for widget in (ui.planeBox, ui.planeBoxLabel, ui.strategyBox, ui.strategyBoxLabel):
            widget.setVisible(extent != "slice")
        for widget in (ui.firstSliceBox, ui.lastSliceBox, ui.sliceCountLabel, ui.rangeLayoutLabel):
            widget.setVisible(extent == "range")
        if extent == "range" and parameters.inputVolume is not None:
            try:
                last = len(SceneSlices(parameters.inputVolume, parameters.plane)) - 1
                ui.sliceCountLabel.text = _("of 0 to {last}").format(last=last)
            except MedCLIPSAMError as error:
                ui.sliceCountLabel.text = error.problem

    def slices(self) -> tuple[str, list[int]]:
        """The plane and the slices that the user chose.

        Raises:
            InputError: they are not in the volume.
        """
        parameters = self._panel.parameters
        if parameters.extent == "slice":
            plane, number = self.shown()
            return plane, [number]
        count = len(SceneSlices(parameters.inputVolume, parameters.plane))
        if parameters.extent == "volume":
            return parameters.plane, list(range(count))
        first, last = parameters.firstSlice, parameters.lastSlice
        if first > last or last >= count:
            raise InputError(
                _("Slices {first} to {last} were asked for.").format(first=first, last=last),
                _("The volume has slices 0 to {last}, the first one first.").format(last=count - 1),
            )
        return parameters.plane, list(range(first, last + 1))

    def shown(self, view: str | None = None) -> tuple[str, int]:
        """The plane and number of the slice in the chosen view."""
        name = view or self._panel.parameters.view
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            if node.GetLayoutName() == name:
                return shownSlice(self._panel.parameters.inputVolume, node)
        raise InputError(_("There is no slice view '{name}'.").format(name=name), _("Choose another view."))
