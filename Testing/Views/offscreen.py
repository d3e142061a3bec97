"""Whether VTK can draw here without a screen; `python offscreen.py` ends with 0 where it can."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PACKAGES = "libegl1 libgl1-mesa-dri"
"""Of Debian: OpenGL without a display, and Mesa's drivers, which need no graphics card."""


def choose() -> None:
    """Let VTK draw by EGL in Mesa's software, whatever display and card there are: images are the same everywhere."""
    os.environ["VTK_DEFAULT_OPENGL_WINDOW"] = "vtkEGLRenderWindow"
    os.environ["LIBGL_ALWAYS_SOFTWARE"] = "1"


def missing() -> str | None:
    """What stands against drawing, or None. It is tried in a process of its own: without OpenGL, VTK may crash."""
    try:
        done = subprocess.run([sys.executable, str(Path(__file__))], capture_output=True, timeout=60)
    except subprocess.TimeoutExpired:
        return f"OpenGL without a display does not answer. On Debian: apt-get install {PACKAGES}"
    return f"OpenGL without a display is not there. On Debian: apt-get install {PACKAGES}" if done.returncode else None


def _draw() -> bool:
    """Draw a red image and look at it."""
    import vtk

    vtk.vtkObject.GlobalWarningDisplayOff()
    window, renderer, pixels = vtk.vtkRenderWindow(), vtk.vtkRenderer(), vtk.vtkUnsignedCharArray()
    window.SetOffScreenRendering(1)
    renderer.SetBackground(1, 0, 0)
    window.AddRenderer(renderer)
    window.Render()
    window.GetRGBACharPixelData(0, 0, 0, 0, 0, pixels)
    return pixels.GetTuple(0)[:3] == (255, 0, 0)


if __name__ == "__main__":
    choose()
    sys.exit(0 if _draw() else 1)
