"""A real MRML scene with the logics that Slicer has, its slice views, and the nodes of mouse and selection."""

from __future__ import annotations

import slicer

VIEWS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}
LOGICS = {
    "colors": "vtkSlicerColorLogic",
    "volumes": "vtkSlicerVolumesLogic",
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "markups": "vtkSlicerMarkupsLogic",
    "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "terminologies": "vtkSlicerTerminologiesModuleLogic",
}
"""Name in `slicer.modules` -> class of the logic."""


def make() -> tuple[object, dict[str, object]]:
    """Set `slicer.mrmlScene`.

    Returns:
        The application logic and the module logics by name. The application logic comes first; that the others are
        given the scene registers the classes of their nodes.
    """
    scene = slicer.mrmlScene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    logics = {}
    for name, cls in LOGICS.items():
        logic = logics[name] = getattr(slicer, cls)()
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(scene)
    application.SetModuleLogic("Colors", logics["colors"])
    remote = logics["remoteio"] = slicer.vtkMRMLRemoteIOLogic()  # .mrb files
    remote.SetMRMLScene(scene)
    remote.AddDataIOToScene()
    data = logics["dataio"] = slicer.vtkDataIOManagerLogic()
    data.SetMRMLApplicationLogic(application)
    data.SetAndObserveDataIOManager(scene.GetDataIOManager())
    add_singletons()
    scene.AddObserver(scene.EndCloseEvent, lambda _caller, _event: add_singletons(), 100.0)  # before the panel's own
    return application, logics


def add_singletons() -> None:
    """The nodes that Slicer's scene is never without."""
    scene = slicer.mrmlScene
    if scene.GetDefaultNodeByClass("vtkMRMLSliceNode") is None:
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    for name, orientation in VIEWS.items():
        if scene.GetNodeByID(f"vtkMRMLSliceNode{name}") is None:
            node = scene.CreateNodeByClass("vtkMRMLSliceNode")
            node.UnRegister(None)
            node.SetName(name)
            node.SetLayoutName(name)
            node.SetSingletonTag(name)
            node.SetOrientation(orientation)
            scene.AddNode(node)
        if scene.GetNodeByID(f"vtkMRMLSliceCompositeNode{name}") is None:
            composite = slicer.vtkMRMLSliceCompositeNode()
            composite.SetLayoutName(name)
            composite.SetSingletonTag(name)
            scene.AddNode(composite)
    for cls in ("vtkMRMLSelectionNode", "vtkMRMLInteractionNode"):
        if scene.GetNodeByID(f"{cls}Singleton") is None:
            node = getattr(slicer, cls)()
            node.SetSingletonTag("Singleton")
            scene.AddNode(node)
