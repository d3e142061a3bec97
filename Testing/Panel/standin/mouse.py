"""What the mouse does in slice views, on the real vtkMRMLInteractionNode, in the list of segments and in selectors.

As in Slicer's Modules/Loadable/Markups/VTKWidgets/vtkSlicerMarkupsWidget.cxx and
Base/QTGUI/qSlicerMouseModeToolBar.cxx.
"""

from __future__ import annotations

from typing import Any

import slicer
import slicer.util

from .proxy import unwrap


def stop_placing() -> None:
    """A right click or a double click in a view while markups are placed, or the arrow of the toolbar at any time.

    Whether placing goes on after a point, the node's persistence, stays as it was.
    """
    slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton").SwitchToViewTransformMode()


def pick_segment(editor: Any, identifier: str) -> None:
    """A click on a segment in the list of a Segment Editor."""
    unwrap(slicer.util.findChild(editor, "SegmentsTableView")).pick(identifier)


def pick(selector: Any, text: str) -> None:
    """A click on a row of a selector: the name of a node, "None", or an action such as "Create new"."""
    unwrap(selector).pick(text)
