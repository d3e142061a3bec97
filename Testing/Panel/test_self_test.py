"""The module's own self-test, as "Reload and Test" runs it in Slicer."""

from __future__ import annotations

import unittest


def test_the_self_test_passes(scene) -> None:
    import MedCLIPSAM

    MedCLIPSAM.MedCLIPSAMTest().runTest()


def test_the_self_test_is_skipped_where_the_models_cannot_run(scene, monkeypatch) -> None:
    """This is as on a machine that builds extensions: ctest calls the methods, "Reload and Test" calls runTest()."""
    from MedCLIPSAMScene import dependencies

    import MedCLIPSAM

    absent = [dependency for dependency in dependencies.check() if dependency.name in ("torch", "timm")]
    monkeypatch.setattr(dependencies, "missing", lambda: absent)
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(MedCLIPSAM.MedCLIPSAMTest).run(result)
    assert result.wasSuccessful() and len(result.skipped) == result.testsRun >= 3
    assert {reason for _, reason in result.skipped} == {"not installed: torch, timm"}
    said = []
    monkeypatch.setattr(MedCLIPSAM.MedCLIPSAMTest, "delayDisplay", lambda self, text, *_arguments: said.append(text))
    MedCLIPSAM.MedCLIPSAMTest().runTest()
    assert len(said) >= 3 and all(text.endswith("skipped, not installed: torch, timm") for text in said)
