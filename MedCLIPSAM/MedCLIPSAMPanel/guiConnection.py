"""Connect the parameter node to the widgets that name their parameter in the .ui file."""

from __future__ import annotations

from MedCLIPSAMScene.strings import _
from slicer.parameterNodeWrapper import SlicerParameterNamePropertyName

from .connectors import ItemConnector
from .parameters import MedCLIPSAMParameters

LABELS = {
    "extentBox": (_("the slice shown in a view"), _("a range of slices"), _("the whole volume")),
    "planeBox": (_("axial"), _("coronal"), _("sagittal")),
    "strategyBox": (
        _("from key slices, by SAM's memory"),
        _("from key slices, handing a box over"),
        _("each slice on its own (the paper)"),
    ),
    "coarseBox": (_("two classes (Otsu, the paper)"), _("k-means (the authors' code)"), _("threshold")),
    "samPromptsBox": (_("boxes"), _("points"), _("boxes and points")),
    "exportFormatBox": (_("nnU-Net dataset"), ".seg.nrrd", ".nii.gz", ".png", "DICOM SEG"),
    "trainLossBox": (_("DHN-NCE (the paper)"), "InfoNCE", "HN-NCE", "DCL", "SigLIP"),
}
"""Combo box of an enum -> what is shown for its members, in their order."""
ITEM_BOXES = {"view": "viewBox", "clip": "clipBox", "sam": "samBox"}
"""Parameter -> combo box whose items are known only at run time."""


class GuiConnection:
    """Keep the widgets and one parameter node equal, in both directions.

    Args:
        ui: the named widgets of the panel.
    """

    def __init__(self, ui) -> None:
        self._ui = ui
        self._parameters: MedCLIPSAMParameters | None = None
        self._tag = None

    def connect(self, parameters: MedCLIPSAMParameters | None) -> None:
        """Connect a parameter node in place of the one before; None only disconnects."""
        if self._parameters is not None:
            self._parameters.disconnectGui(self._tag)
        self._parameters, self._tag = parameters, None
        if parameters is None:
            return
        mapping = {
            str(name): widget
            for widget in vars(self._ui).values()
            if (name := widget.property(SlicerParameterNamePropertyName))
        }
        mapping |= {name: ItemConnector(getattr(self._ui, box)) for name, box in ITEM_BOXES.items()}
        # connectGui() of Slicer 5.8 and 5.10 does not return the tag that disconnectGui() needs; this does.
        self._tag = parameters.connectParametersToGui(mapping)
        for box, labels in LABELS.items():
            for index, label in enumerate(labels):
                getattr(self._ui, box).setItemText(index, label)
