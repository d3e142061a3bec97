"""A real MRML scene from slicer-core with the logics that Slicer uses."""

from __future__ import annotations

import slicer

MODULES = {
    "Colors": "vtkSlicerColorLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
}
"""Name of the module -> class of its logic."""


def make_scene() -> dict[str, object]:
    """Set `slicer.mrmlScene`, and return its logics by name: "Application" and the names of the modules.

    The application logic is made before the module logics. Setting their scene registers the node classes.
    """
    scene = slicer.mrmlScene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    logics = {"Application": application}
    for name, cls in MODULES.items():
        logic = logics[name] = getattr(slicer, cls)()
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(scene)
    application.SetModuleLogic("Colors", logics["Colors"])
    remote = slicer.vtkMRMLRemoteIOLogic()  # .mrb files
    remote.SetMRMLScene(scene)
    remote.AddDataIOToScene()
    data = slicer.vtkDataIOManagerLogic()
    data.SetMRMLApplicationLogic(application)
    data.SetAndObserveDataIOManager(scene.GetDataIOManager())
    return logics | {"RemoteIO": remote, "DataIO": data}
