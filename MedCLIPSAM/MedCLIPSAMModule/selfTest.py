"""The self-test of the module: "Reload and Test" in developer mode, and ctest."""

from __future__ import annotations

import unittest
from pathlib import Path

import slicer
import slicer.util
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from .logic import MedCLIPSAMLogic


class MedCLIPSAMTest(ScriptedLoadableModuleTest):
    """The self-test of the module: the demo models on the shipped images."""

    TIMEOUT = 300

    def setUp(self) -> None:
        """Begin with an empty scene and the demo models on the CPU; skip the test if these cannot run."""
        from MedCLIPSAMScene import dependencies

        absent = ", ".join(dependency.name for dependency in dependencies.missing())
        if absent:
            self.skipTest(f"not installed: {absent}")
        slicer.mrmlScene.Clear(0)
        self.logic = MedCLIPSAMLogic()
        self.logic.models = ("demo", "demo", "cpu", None)

    def tearDown(self) -> None:
        """End the worker."""
        self.logic.close()

    def runTest(self) -> None:
        """Run every case."""
        for name in sorted(name for name in dir(self) if name.startswith("test_")):
            try:
                self.setUp()
            except unittest.SkipTest as reason:
                self.delayDisplay(f"{name}: skipped, {reason}", 50)
                continue
            try:
                getattr(self, name)()
            finally:
                self.tearDown()
            self.delayDisplay(f"{name}: passed", 50)

    def test_everySampleIsSegmented(self) -> None:
        """Segment each sample with its prompt, and compare the segment with the shipped reference mask."""
        from MedCLIPSAMScene.samples import SAMPLES, loadSample

        for sample, (file, _name, prompt) in SAMPLES.items():
            volume = loadSample(sample)
            result = self.logic.segment(volume, [prompt], timeout=self.TIMEOUT)
            self.assertTrue(result.found, f"{file}: {result.text()}")
            mask = slicer.util.arrayFromSegmentBinaryLabelmap(result.segmentation, result.prompts[0].segmentId, volume)
            truth = _truth(file).reshape(mask.shape)
            dsc = 2 * (truth & (mask > 0)).sum() / (truth.sum() + (mask > 0).sum())
            self.assertGreater(dsc, 0.5, file)
            self.assertTrue(self.logic.undo(result.segmentation))
            self.assertEqual(result.segmentation.GetSegmentation().GetNumberOfSegments(), 0)

    def test_nothingIsFoundWhereNothingIs(self) -> None:
        """Segment with a prompt that has nothing to do with the image, and find nothing."""
        from MedCLIPSAMScene.samples import loadSample

        result = self.logic.segment(loadSample("MedCLIPSAMChestXray"), ["brain tumor"], timeout=self.TIMEOUT)
        self.assertFalse(result.found)
        self.assertIsNone(result.segmentation)

    def test_aMaskIsRefinedFromAPoint(self) -> None:
        """Outline the lesion from a point inside, and undo it."""
        import numpy as np
        from MedCLIPSAMScene import segments
        from MedCLIPSAMScene.samples import loadSample
        from MedCLIPSAMScene.sliceGeometry import SceneSlices

        volume = loadSample("MedCLIPSAMBreastUS")
        segmentation = segments.newSegmentation(volume)
        segment = self.logic.addSegment(segmentation, "lesion")
        truth = _truth("breast_us.png")
        row, column = np.argwhere(truth).mean(0)
        inside = SceneSlices(volume).toWorld(0, column + 0.5, row + 0.5)
        result = self.logic.refine(segmentation, segment, volume, 0, points=[inside], labels=[1], timeout=self.TIMEOUT)
        self.assertTrue(result.found)
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment, volume)[0] > 0
        self.assertGreater(2 * (truth & mask).sum() / (truth.sum() + mask.sum()), 0.5)
        self.logic.undo(segmentation)
        self.assertFalse(segments.readSlice(segmentation, segment, SceneSlices(volume), 0).any())


def _truth(file: str):
    """Read the shipped reference mask of a sample, bool, with the sample's slices in the same order."""
    import SimpleITK as sitk

    from MedCLIPSAMLib.resources import resource_path

    suffix = ".png" if file.endswith(".png") else ".nii.gz"
    path = resource_path(f"samples/{Path(file).name.split('.')[0]}_truth{suffix}")
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path))) > 0
