"""A real MRML scene with Slicer's logics, slice views, and the nodes of mouse mode and selection."""

from __future__ import annotations

import slicer
import slicer.util
from helpers.mrml import MODULES, make_scene

VIEWS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}
_shown = set(VIEWS)
_logics: dict[str, object] = {}


def make() -> tuple[object, dict[str, object]]:
    """Set `slicer.mrmlScene`, and return the application logic and the module logics by name."""
    _logics.update(make_scene())
    add_singletons()
    scene = slicer.mrmlScene
    scene.AddObserver(scene.EndCloseEvent, lambda _caller, _event: add_singletons(), 100.0)  # before the panel's own
    return _logics["Application"], {name: _logics[name] for name in MODULES}


def add_singletons() -> None:
    """Add the nodes that Slicer's scene always has, and mark the slice views of the layout."""
    scene = slicer.mrmlScene
    if scene.GetDefaultNodeByClass("vtkMRMLSliceNode") is None:
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    for name in _shown:
        if scene.GetNodeByID(f"vtkMRMLSliceNode{name}") is None:
            node = scene.CreateNodeByClass("vtkMRMLSliceNode")
            node.UnRegister(None)
            node.SetName(name)
            node.SetLayoutName(name)
            node.SetSingletonTag(name)
            node.SetOrientation(VIEWS[name.rstrip("+")])
            scene.AddNode(node)
        if scene.GetNodeByID(f"vtkMRMLSliceCompositeNode{name}") is None:
            composite = slicer.vtkMRMLSliceCompositeNode()
            composite.SetLayoutName(name)
            composite.SetSingletonTag(name)
            scene.AddNode(composite)
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        node.SetMappedInLayout(node.GetLayoutName() in _shown)
    for cls in ("vtkMRMLSelectionNode", "vtkMRMLInteractionNode"):
        if scene.GetNodeByID(f"{cls}Singleton") is None:
            node = getattr(slicer, cls)()
            node.SetSingletonTag("Singleton")
            scene.AddNode(node)


def show_layout(names: tuple[str, ...]) -> None:
    """Show these views in the layout; the nodes of other views stay in the scene."""
    _shown.clear()
    _shown.update(names)
    add_singletons()


def show_views(shown: bool) -> None:
    """Add the nodes of the slice views to the scene, or remove them, because there are none without a main window."""
    if shown:
        show_layout(tuple(VIEWS))
        return
    _shown.clear()
    for name in VIEWS:
        for cls in ("vtkMRMLSliceCompositeNode", "vtkMRMLSliceNode"):
            slicer.mrmlScene.RemoveNode(slicer.mrmlScene.GetNodeByID(f"{cls}{name}"))
