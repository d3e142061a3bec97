"""A slice view as Slicer draws it: real displayable managers and mouse handling, without a screen or Qt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import slicer
import standin
import vtk
from PIL import Image
from vtk.util.numpy_support import vtk_to_numpy

SCREENSHOTS = Path(__file__).resolve().parents[2] / "test-output" / "views"
"""Folder for the images that the tests have seen."""
MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
)
"""The displayable managers that qMRMLSliceView and the Segmentations and Markups modules add to a slice view."""
MODULES = ("Volumes", "Segmentations", "Markups", "SubjectHierarchy", "Terminologies")
"""Modules whose logic is requested by name from the application, where Slicer's module factory registers it."""


class SliceView:
    """A square slice view of the layout, in axial orientation: to the right is the patient's left, up is anterior.

    Pixels are (column, row), counted from the upper left corner of the image.
    """

    def __init__(self, name: str, size: int = 400) -> None:
        self.size = size
        self._widget = slicer.app.layoutManager().sliceWidget(name)
        self._at, self._pixel = (0.0, 0.0, 0.0), 1.0
        self._window, self._renderer = vtk.vtkRenderWindow(), vtk.vtkRenderer()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)
        self._window.SetSize(size, size)
        self._window.AddRenderer(self._renderer)
        self._renderer.GetActiveCamera()
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        self._interactor.SetRenderWindow(self._window)
        self._slices = self._add_slices()
        self._window.Render()  # the managers want an OpenGL context
        self._managers = _factory().InstantiateDisplayableManagers(self._renderer)
        self._stale = True
        self._managers.AddObserver("UpdateEvent", lambda _caller, _event: setattr(self, "_stale", True))
        self._style = slicer.vtkMRMLSliceViewInteractorStyle()
        self._style.SetDisplayableManagers(self._managers)
        self._style.SetSliceLogic(self._logic())
        self._style.SetInteractor(self._interactor)
        self._interactor.Initialize()

    def look(self, at: Sequence[float], width: float = 100.0) -> None:
        """Show an axial slice of the given width in mm, centered on a point in world RAS, mm."""
        logic = self._logic()
        node = logic.GetSliceNode()
        if self._managers.GetMRMLDisplayableNode() is not node:
            self._managers.SetMRMLDisplayableNode(node)
        self._at, self._pixel = tuple(at), width / self.size
        node.SetOrientation("Axial")
        logic.ResizeSliceNode(self.size, self.size)
        logic.FitSliceToAll()
        node.SetFieldOfView(width, width, node.GetFieldOfView()[2])
        node.JumpSliceByCentering(*at)

    def pixel(self, world: Sequence[float]) -> tuple[int, int]:
        """Return the pixel of a point in the world, computed from the arguments of `look` and not by Slicer."""
        column = self.size / 2 - (world[0] - self._at[0]) / self._pixel
        row = self.size / 2 - 1 - (world[1] - self._at[1]) / self._pixel
        return round(column), round(row)

    def image(self) -> np.ndarray:
        """Return the current image, (H, W, 3) uint8."""
        self._stale = True
        self._draw()
        pixels = vtk.vtkUnsignedCharArray()
        self._window.GetRGBACharPixelData(0, 0, self.size - 1, self.size - 1, 0, pixels)
        return vtk_to_numpy(pixels).reshape(self.size, self.size, 4)[::-1, :, :3].copy()

    def save(self, path: Path) -> None:
        """Write the current image as a PNG file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(self.image()).save(path)

    # The mouse and the keys, as Qt hands them on

    def move(self, pixel: Sequence[int]) -> None:
        """Move the mouse to a pixel."""
        self._event(pixel, "MouseMoveEvent")

    def click(self, pixel: Sequence[int], button: str = "Left") -> None:
        """Move the mouse to a pixel and press and release a button there."""
        self.move(pixel)
        self._event(pixel, f"{button}ButtonPressEvent")
        self._event(pixel, f"{button}ButtonReleaseEvent")

    def double_click(self, pixel: Sequence[int]) -> None:
        """Double-click; the second press is a separate event."""
        self.click(pixel)
        self._event(pixel, "LeftButtonDoubleClickEvent")
        self._event(pixel, "LeftButtonReleaseEvent")

    def drag(self, start: Sequence[int], end: Sequence[int], steps: int = 5) -> None:
        """Press at a pixel, move to another one and release there."""
        self.move(start)
        self._event(start, "LeftButtonPressEvent")
        for pixel in np.linspace(start, end, steps + 1)[1:]:
            self.move(pixel)
        self._event(end, "LeftButtonReleaseEvent")

    def key(self, name: str, code: str = "\0") -> None:
        """Press and release a key over the view."""
        x, y = self._interactor.GetEventPosition()
        self._interactor.SetEventInformation(x, y, 0, 0, code, 1, name)
        for event in ("KeyPressEvent", "CharEvent", "KeyReleaseEvent"):
            self._interactor.InvokeEvent(event)

    def _draw(self) -> None:
        """Render if the managers have requested it since the last time."""
        self._slices.SetInputConnection(self._logic().GetImageDataConnection())  # another one with other volumes
        if self._stale:
            self._stale = False
            self._window.Render()

    def _event(self, pixel: Sequence[float], name: str) -> None:
        self._draw()
        x, y = round(pixel[0]), self.size - 1 - round(pixel[1])
        self._interactor.SetEventInformation(x, y, 0, 0, "\0", 0, None)
        self._interactor.InvokeEvent(name)

    def _logic(self):
        return standin.unwrap(self._widget.sliceLogic())

    def _add_slices(self) -> vtk.vtkImageMapper:
        """Add an actor for the blended volumes of the slice logic, behind everything else, and return its mapper."""
        mapper, actor = vtk.vtkImageMapper(), vtk.vtkActor2D()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        actor.SetMapper(mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        self._renderer.AddViewProp(actor)
        return mapper


def _factory():
    """Return the factory of displayable managers of slice views, with Slicer's managers."""
    factory, application = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance(), slicer.app.applicationLogic()
    for module in MODULES:
        application.SetModuleLogic(module, getattr(slicer.modules, module.lower()).logic())
    factory.SetMRMLApplicationLogic(application)
    for manager in MANAGERS:
        if not factory.IsDisplayableManagerRegistered(manager):
            factory.RegisterDisplayableManager(manager)
    return factory
