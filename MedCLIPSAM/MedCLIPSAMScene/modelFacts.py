"""Facts about models from the catalogue, without a worker, and a warning about models trained on phantoms only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import slicer

from MedCLIPSAMLib.choices import DEFAULT_MODEL, DEFAULT_SAM
from MedCLIPSAMLib.models.catalogue import MODELS

from .samples import isSample
from .strings import _

KNOWN = ("name", "kind", "seen", "tested", "synthetic")
MODULE = "MedCLIPSAM"


def catalogueFacts() -> dict[tuple[str, str], dict[str, Any]]:
    """Return the facts about each model of the catalogue, by its kind and name."""
    return {(model.kind, model.name): {name: getattr(model, name) for name in KNOWN} for model in MODELS}


def factsInScene() -> list[dict[str, Any]]:
    """Return the facts about the models that the scene names, or about the default ones; no panel is needed."""
    node = slicer.mrmlScene.GetSingletonNode(MODULE, "vtkMRMLScriptedModuleNode")
    facts = catalogueFacts()
    stored = lambda name: node.GetParameter(name) if node is not None else ""
    keys = ("clip", stored("clip") or DEFAULT_MODEL), ("sam", stored("sam") or DEFAULT_SAM)
    return [facts[key] for key in keys if key in facts]


def syntheticWarning(volumeNode, facts: Iterable[Mapping[str, Any]]) -> str:
    """Return why models should not be used on a volume; empty if there is no reason.

    Models that were trained on phantoms only get a warning on every volume except the module's samples.
    """
    if volumeNode is None or isSample(volumeNode) or not any(model.get("synthetic") for model in facts):
        return ""
    return _(
        "The demo models were trained on synthetic phantoms only: what they find in '{volume}' means nothing. Choose "
        "other models under Models and device."
    ).format(volume=volumeNode.GetName())
