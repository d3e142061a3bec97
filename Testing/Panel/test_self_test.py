"""The module's own self-test, as "Reload and Test" runs it in Slicer."""

from __future__ import annotations


def test_the_self_test_passes(scene) -> None:
    import MedCLIPSAM

    MedCLIPSAM.MedCLIPSAMTest().runTest()
