"""A check whether VTK can draw here without a screen; `python offscreen.py` exits with 0 if it can."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PACKAGES = "libegl1 libgl1-mesa-dri"
"""Debian packages: OpenGL without a display, and Mesa's drivers, which need no graphics card."""


def choose() -> None:
    """Let VTK draw by EGL with Mesa's software renderer, so that images are the same with any display and card."""
    os.environ["VTK_DEFAULT_OPENGL_WINDOW"] = "vtkEGLRenderWindow"
    os.environ["LIBGL_ALWAYS_SOFTWARE"] = "1"


def missing() -> str | None:
    """Return why VTK cannot draw, or None. A separate process tries it, because VTK may crash without OpenGL."""
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
