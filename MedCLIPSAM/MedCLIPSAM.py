"""MedCLIPSAM in 3D Slicer: a prompt becomes a segmentation in the scene.

Slicer makes the module, its panel, its logic and its self-test from the classes that it finds here. The module's class
must be defined in this file, because Slicer looks for the self-test where this class is. The other classes are in
MedCLIPSAMModule, the sections of the panel in MedCLIPSAMPanel, changes of the scene in MedCLIPSAMScene, and the
method in MedCLIPSAMLib, which does not depend on Slicer.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from pathlib import Path

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModule

if sys.version_info < (3, 11):  # noqa: UP036  # Slicer 5.8 reads this file with Python 3.9, and shows the message
    raise ImportError(
        f"MedCLIPSAM needs Slicer 5.10 or later; this is {slicer.app.applicationVersion} "
        f"with Python {sys.version_info[0]}.{sys.version_info[1]}."
    )

_HERE = Path(__file__).resolve().parent
if str(_HERE) not in sys.path:
    sys.path.insert(0, str(_HERE))


def _loadEngine() -> None:
    """Make MedCLIPSAMLib importable in a source checkout, where it is next to the module's folder.

    The package is loaded by its path. The checkout's folder is not added to sys.path, because its other folders would
    become importable, too.
    """
    package = _HERE.parent / "MedCLIPSAMLib"
    if importlib.util.find_spec("MedCLIPSAMLib") is None:
        spec = importlib.util.spec_from_file_location(
            "MedCLIPSAMLib", package / "__init__.py", submodule_search_locations=[str(package)]
        )
        if spec is None or spec.loader is None:
            raise ImportError(f"'{package}' is not a Python package: check out the whole repository.")
        sys.modules["MedCLIPSAMLib"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["MedCLIPSAMLib"])


_loadEngine()

from MedCLIPSAMModule.logic import MedCLIPSAMLogic  # noqa: E402
from MedCLIPSAMModule.selfTest import MedCLIPSAMTest  # noqa: E402
from MedCLIPSAMModule.widget import MedCLIPSAMWidget  # noqa: E402
from MedCLIPSAMScene.strings import _, translate  # noqa: E402

DOCUMENTATION = "https://github.com/MedCLIPSAM/SlicerMedCLIPSAM/blob/main/docs/slicer.md"

__all__ = ["MedCLIPSAM", "MedCLIPSAMLogic", "MedCLIPSAMTest", "MedCLIPSAMWidget"]


class MedCLIPSAM(ScriptedLoadableModule):
    """The module as Slicer lists it before it is opened: title, category and help."""

    def __init__(self, parent) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "MedCLIPSAM"
        # Translated in the context of Slicer's own modules, so that the module joins their category in every language.
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "SegmentEditor", "Markups"]
        parent.contributors = ["MedCLIPSAM contributors"]
        parent.helpText = _(
            "Type what to segment, such as 'brain tumor', and press Segment. BiomedCLIP finds where the image "
            "matches the words (M2IB saliency), SAM 2 outlines it, and the result is a segment that you can correct "
            "with points, boxes and the Segment Editor. For research only, not for diagnosis."
        )
        parent.helpText += f'<p><a href="{DOCUMENTATION}">{_("Documentation")}</a></p>'
        parent.acknowledgementText = _(
            "The method is that of MedCLIP-SAMv2 (Koleilat, Asgariandehkordi, Rivaz, Xiao; arXiv 2409.19483)."
        )
        slicer.app.connect("startupCompleted()", _registerSamples)
        slicer.app.connect("startupCompleted()", _registerEffect)


def _registerSamples() -> None:
    """Add the samples to the Sample Data module; an application without that module starts without them."""
    try:
        from MedCLIPSAMScene.samples import registerSampleData

        registerSampleData()
    except Exception:
        logging.exception("MedCLIPSAM: the samples could not be added to the Sample Data module")


def _registerEffect() -> None:
    """Add the text prompt to the Segment Editor; if that fails, the application starts without it."""
    try:
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        effect = effects.qSlicerSegmentEditorScriptedEffect(None)
        effect.setPythonSource((_HERE / "MedCLIPSAMEffects" / "SegmentEditorTextPromptEffect.py").as_posix())
        effect.self().register()
    except Exception:
        logging.exception("MedCLIPSAM: the text prompt could not be added to the Segment Editor")
