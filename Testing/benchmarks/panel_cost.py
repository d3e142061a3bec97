"""Measure what the panel costs: a second prompt compared to the first, blocking of the interface, and Slicer's memory.

    python Testing/benchmarks/panel_cost.py [--slices 400] [--size 512]

The real module runs on the stand-in for Slicer's widgets (Testing/Panel/standin), with the demo models on the CPU.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
import psutil

HERE = Path(__file__).resolve().parent
os.environ["QT_QPA_PLATFORM"] = "offscreen"
sys.path[:0] = [str(HERE.parent / "Panel"), str(HERE.parents[1] / "MedCLIPSAM"), str(HERE.parents[1])]

import standin  # noqa: E402

standin.install()

import slicer  # noqa: E402
import slicer.util  # noqa: E402
from MedCLIPSAMPanel.parameters import Extent  # noqa: E402
from PySide6 import QtCore  # noqa: E402

import MedCLIPSAM  # noqa: E402
from MedCLIPSAMLib.phantoms.dataset import make_phantom  # noqa: E402

TICK_MS = 2


class Watch:
    """Times between the ticks of a timer: the longest is how long the interface did not respond."""

    def __init__(self) -> None:
        self.gaps: list[float] = []
        self._last = time.perf_counter()
        self._timer = QtCore.QTimer()
        self._timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(TICK_MS)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.gaps.append(1000 * (now - self._last))
        self._last = now

    def stop(self) -> np.ndarray:
        self._timer.stop()
        return np.array(self.gaps[1:])


def resident() -> float:
    """Return the memory of this process in MiB."""
    return psutil.Process().memory_info().rss / 2**20


def add_volume(array: np.ndarray):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "volume")
    slicer.util.updateVolumeFromArray(node, array)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevelMinMax(0, 255)
    return node


def run(panel) -> float:
    """Press Segment and return the seconds until the result; the loop sleeps like Qt's own, not like the tests'."""
    started = time.perf_counter()
    panel.ui.segmentButton.click()
    loop = QtCore.QEventLoop()
    check = QtCore.QTimer()
    check.timeout.connect(lambda: loop.quit() if not panel.busy else None)
    check.start(1)
    loop.exec()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--slices", type=int, default=400)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    panel = MedCLIPSAM.MedCLIPSAMWidget(standin.parent())
    panel.setup()
    panel.enter()
    panel.machine.set("Device", "cpu")
    phantom = make_phantom("validation", 2, "MR", 1)
    image = np.kron(phantom.image, np.ones((options.size // 128,) * 2, np.uint8))
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {options.size} px")

    first, second, gaps = [], [], []
    rng = np.random.default_rng(0)
    for _ in range(options.rounds + 1):
        noisy = np.clip(image[None] + rng.integers(0, 3, image.shape), 0, 255).astype(np.int16)
        panel.parameters.inputVolume = add_volume(noisy)
        panel.parameters.extent = Extent.VOLUME
        for prompt, times in (("brain tumor", first), ("tumor in the brain", second)):
            panel.parameters.prompts = prompt
            watch = Watch()
            times.append(run(panel))
            gaps.append(watch.stop())
        slicer.mrmlScene.Clear(0)
    first, second = np.array(first[1:]), np.array(second[1:])
    ratios = second / first
    print(
        f"one slice: first prompt {np.median(first):.3f} s, second {np.median(second):.3f} s; "
        f"second / first {np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f}, {len(ratios)} pairs)"
    )
    blocked = np.array([gap.max() for gap in gaps[2:]])
    print(
        f"interface blocked while a slice is segmented: longest {np.median(blocked):.0f} ms (median of the runs), "
        f"{blocked.max():.0f} ms at worst"
    )

    before = resident()
    panel.parameters.inputVolume = add_volume(np.broadcast_to(image.astype(np.int16), (options.slices, *image.shape)))
    loaded = resident()
    panel.parameters.extent, panel.parameters.prompts = Extent.VOLUME, "brain tumor"
    peak = [loaded]
    timer = QtCore.QTimer()
    timer.timeout.connect(lambda: peak.append(resident()))
    timer.start(100)
    watch = Watch()
    seconds = run(panel)
    gaps = watch.stop()
    timer.stop()
    peak.append(resident())
    voxels = options.slices * image.size * 2 / 2**20
    print(f"{options.slices} slices: {seconds:.0f} s; {panel.ui.resultLabel.text.splitlines()[0]}")
    print(
        f"memory of Slicer's side: {before:.0f} MiB before, {loaded:.0f} with the volume ({voxels:.0f} MiB of voxels), "
        f"{max(peak):.0f} at most, {peak[-1]:.0f} after"
    )
    longest = np.sort(gaps)[::-1]
    print(
        f"interface blocked: {longest[0]:.0f} ms at most, then {longest[1]:.0f} and {longest[2]:.0f}; "
        f"99.9 % of ticks within {np.percentile(gaps, 99.9):.0f} ms"
    )
    panel.exit()
    panel.cleanup()


if __name__ == "__main__":
    main()
