"""The panel with the parameters of another version of the module, some of which are unknown."""

from __future__ import annotations

import slicer
import standin

OF_A_LATER_VERSION = {
    "extent": "CUBE",
    "strategy": "",
    "saliencyFrom": "4000",
    "firstSlice": "one",
    "method.coarse": "MAGIC",
    "method.seed": "7",
    "fineTune.loss": "NONE",
}


def check_defaults(made) -> None:
    parameters = made.parameters
    assert (str(parameters.extent), str(parameters.strategy)) == ("slice", "memory")
    assert (parameters.saliencyFrom, parameters.firstSlice) == (30, 0)
    assert (str(parameters.method.coarse), parameters.method.seed) == ("otsu", 7)
    assert parameters.method.vote.name == "NONE" and str(parameters.fineTune.loss) == "dhn-nce"
    assert made.ui.extentBox.currentIndex == 0


def test_the_panel_opens_with_choices_that_only_another_version_has(fresh) -> None:
    """The parameter node has choices that are unknown here, and lacks a member of a pack."""
    from MedCLIPSAM import MedCLIPSAMLogic

    node = MedCLIPSAMLogic().getParameterNode()
    for name, value in OF_A_LATER_VERSION.items():
        node.SetParameter(name, value)
    node.UnsetParameter("method.vote")
    made = fresh.widgetRepresentation().self()
    try:
        check_defaults(made)
    finally:
        made.cleanup()


def test_paths_in_a_scene_of_an_earlier_version_are_forgotten(panel) -> None:
    node = panel.parameters.parameterNode
    for name in ("export.inputs", "review.folder"):
        node.SetParameter(name, "/data/DOE_JOHN")
    assert not any("DOE_JOHN" in node.GetParameter(name) for name in node.GetParameterNames())


def test_a_scene_with_such_choices_is_loaded_into_the_open_panel(panel, tmp_path) -> None:
    node = panel.parameters.parameterNode
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    assert slicer.mrmlScene.Commit() == 1
    text = (tmp_path / "scene.mrml").read_text()
    for name, value in OF_A_LATER_VERSION.items():
        pair = f"{name} {node.GetParameter(name)}"
        assert text.count(pair) == 1, pair
        text = text.replace(pair, f"{name} {value}")
    (tmp_path / "scene.mrml").write_text(text)
    panel.parameters.firstSlice = 5
    assert slicer.mrmlScene.Import() == 1
    standin.check()
    check_defaults(panel)
