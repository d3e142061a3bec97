"""Placing control points by clicks in the views, with a callback when the user ends it by other means."""

from __future__ import annotations

from collections.abc import Callable

import slicer


class Placing:
    """Persistent placement of the points of one markups list.

    Placing ends with a right click, Esc, another mouse mode, the placing of another markup, or the removal of the list.
    The mouse then adjusts the views again, unless the user has chosen another mode, which is kept. The previous
    persistence is restored unless another markup is being placed.

    Args:
        onEnded: called once when placing ends, by any means.
    """

    def __init__(self, onEnded: Callable[[], None]) -> None:
        self._onEnded = onEnded
        self._nodeId: str | None = None
        self._persistence = 0
        self._observed: list[tuple] = []

    @property
    def active(self) -> bool:
        """Whether clicks place points of the list now."""
        return self._nodeId is not None

    def start(self, markupsNode) -> None:
        """Start placing control points of a list, one by each click."""
        if self._nodeId == markupsNode.GetID():
            return
        self._forget()
        interaction, selection = _interactionNode(), _selectionNode()
        if not self._isPlaceMode(interaction):
            self._persistence = interaction.GetPlaceModePersistence()
        selection.SetReferenceActivePlaceNodeClassName(markupsNode.GetClassName())
        selection.SetActivePlaceNodeID(markupsNode.GetID())
        interaction.SwitchToPersistentPlaceMode()
        self._nodeId = markupsNode.GetID()
        for node, event in (
            (interaction, slicer.vtkMRMLInteractionNode.InteractionModeChangedEvent),
            (selection, slicer.vtkMRMLSelectionNode.ActivePlaceNodeIDChangedEvent),
            (slicer.mrmlScene, slicer.vtkMRMLScene.NodeRemovedEvent),
        ):
            self._observed.append((node, node.AddObserver(event, self._changed)))

    def stop(self) -> None:
        """End placing, if it is active, and release the mouse."""
        if not self.active:
            return
        interaction = _interactionNode()
        placing = self._isPlaceMode(interaction) and _selectionNode().GetActivePlaceNodeID() == self._nodeId
        self._forget()
        if placing:
            interaction.SwitchToViewTransformMode()
        if placing or not self._isPlaceMode(interaction):
            interaction.SetPlaceModePersistence(self._persistence)
        self._onEnded()

    def _changed(self, _caller, _event) -> None:
        if self.active and not (
            self._isPlaceMode(_interactionNode())
            and _selectionNode().GetActivePlaceNodeID() == self._nodeId
            and slicer.mrmlScene.GetNodeByID(self._nodeId)
        ):
            self.stop()

    def _forget(self) -> None:
        self._nodeId = None
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed = []

    @staticmethod
    def _isPlaceMode(interaction) -> bool:
        return interaction.GetCurrentInteractionMode() == slicer.vtkMRMLInteractionNode.Place


def _interactionNode():
    return slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")


def _selectionNode():
    return slicer.mrmlScene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
