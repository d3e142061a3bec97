"""Connect the parameter node to the widgets that name their parameter in the .ui file."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

from MedCLIPSAMScene.strings import _
from slicer.parameterNodeWrapper import SlicerParameterNamePropertyName

from .connectors import ItemConnector, connectorOf
from .parameters import (
    CoarseMethod,
    ExportFormat,
    Extent,
    Freeze,
    Loss,
    MedCLIPSAMParameters,
    Plane,
    SamPromptKind,
    Strategy,
    VoteMethod,
)

LABELS: dict[str, Mapping[Any, str]] = {
    "extentBox": {
        Extent.SLICE: _("the slice shown in a view"),
        Extent.RANGE: _("a range of slices"),
        Extent.VOLUME: _("the whole volume"),
    },
    "planeBox": {Plane.AXIAL: _("axial"), Plane.CORONAL: _("coronal"), Plane.SAGITTAL: _("sagittal")},
    "strategyBox": {
        Strategy.MEMORY: _("from key slices, by SAM's memory"),
        Strategy.BOXES: _("from key slices, handing a box over"),
        Strategy.SLICES: _("each slice on its own (the paper)"),
    },
    "coarseBox": {
        CoarseMethod.OTSU: _("two classes (Otsu, the paper)"),
        CoarseMethod.KMEANS: _("k-means (the authors' code)"),
        CoarseMethod.THRESHOLD: _("threshold"),
    },
    "samPromptsBox": {
        SamPromptKind.BOXES: _("boxes"),
        SamPromptKind.POINTS: _("points"),
        SamPromptKind.BOTH: _("boxes and points"),
    },
    "voteBox": {
        VoteMethod.NONE: _("none (the paper)"),
        VoteMethod.MEAN: _("mean of the masks"),
        VoteMethod.STAPLE: "STAPLE",
        VoteMethod.MAP: _("weighed by the saliency map"),
    },
    "exportFormatBox": {
        ExportFormat.NNUNET: _("nnU-Net dataset"),
        ExportFormat.SEG_NRRD: ".seg.nrrd",
        ExportFormat.NIFTI: ".nii.gz",
        ExportFormat.PNG: ".png",
        ExportFormat.DICOM_SEG: "DICOM SEG",
    },
    "fineTuneLossBox": {
        Loss.DHN_NCE: _("DHN-NCE (the paper)"),
        Loss.INFO_NCE: "InfoNCE",
        Loss.HN_NCE: "HN-NCE",
        Loss.DCL: "DCL",
        Loss.SIGLIP: "SigLIP",
    },
    "fineTuneFreezeBox": {
        Freeze.NOTHING: _("all weights (the paper)"),
        Freeze.IMAGE: _("the text encoder"),
        Freeze.TEXT: _("the image encoder"),
        Freeze.LOWER_HALF: _("the upper half of both encoders"),
        Freeze.ALL_BUT_HEADS: _("the projections alone (fast)"),
    },
}
"""Combo box of an enum -> text of each of its members."""
ITEM_BOXES = {"view": "viewBox", "clip": "clipBox", "sam": "samBox"}
"""Parameter -> combo box whose items are known only at run time."""


def namedWidgets(panel, path: str) -> SimpleNamespace:
    """Return the widgets of a panel by their names in its .ui file.

    Children that such a widget creates itself are not returned, because the options of an effect in the editor may have
    any name.
    """
    elements = {element.get("name"): element for element in ElementTree.parse(path).iter("widget")}
    found, parents = SimpleNamespace(), [panel]
    while parents:
        for child in parents.pop().children():
            name = str(child.objectName)
            if name in elements:
                setattr(found, name, child)
            if name not in elements or elements[name].find(".//widget") is not None:
                parents.append(child)
    for name, label in vars(found).items():  # screen readers and mnemonics lead from a label to its buddy
        named = getattr(found, name.removesuffix("Label"), label)
        if named is not label:
            label.setBuddy(named)
            label.toolTip = named.toolTip
    return found


class GuiConnection:
    """Synchronizes the widgets and one parameter node, in both directions.

    Args:
        ui: the named widgets of the panel.
    """

    def __init__(self, ui) -> None:
        self._ui = ui
        self._parameters: MedCLIPSAMParameters | None = None
        self._tag: int | None = None

    def connect(self, parameters: MedCLIPSAMParameters | None) -> None:
        """Connect a parameter node and disconnect the previous one; None only disconnects."""
        if self._parameters is not None:
            self._parameters.disconnectGui(self._tag)
        self._parameters, self._tag = parameters, None
        if parameters is None:
            return
        mapping = {
            str(name): connectorOf(widget)
            for widget in vars(self._ui).values()
            if (name := widget.property(SlicerParameterNamePropertyName))
        }
        mapping |= {name: ItemConnector(getattr(self._ui, box)) for name, box in ITEM_BOXES.items()}
        # connectGui() of Slicer 5.8 and 5.10 does not return the tag that disconnectGui() needs; this does.
        self._tag = parameters.connectParametersToGui(mapping)
        for box, labels in LABELS.items():
            members: type[enum.Enum] = type(next(iter(labels)))
            for index, member in enumerate(members):
                getattr(self._ui, box).setItemText(index, labels[member])
