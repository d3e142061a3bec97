"""Actions of the mouse in slice views, on the real vtkMRMLInteractionNode, in the list of segments and in selectors.

They imitate Slicer's Modules/Loadable/Markups/VTKWidgets/vtkSlicerMarkupsWidget.cxx and
Base/QTGUI/qSlicerMouseModeToolBar.cxx.
"""

from __future__ import annotations

from typing import Any

import slicer
import slicer.util

from .proxy import unwrap


def stop_placing() -> None:
    """End placing, as a right click or a double click in a view does, or the arrow of the toolbar at any time.

    The node's persistence, which says whether placing continues after a point, is not changed.
    """
    slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton").SwitchToViewTransformMode()


def pick_segment(editor: Any, identifier: str) -> None:
    """Click on a segment in the list of a Segment Editor."""
    unwrap(slicer.util.findChild(editor, "SegmentsTableView")).pick(identifier)


def pick(selector: Any, text: str) -> None:
    """Click on a row of a selector: the name of a node, "None", or an action such as "Create new"."""
    unwrap(selector).pick(text)
