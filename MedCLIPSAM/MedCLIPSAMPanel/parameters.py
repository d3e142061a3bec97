"""The user's choices, stored in the scene as typed parameters of the module's parameter node."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated, Any

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper, parameterPack

import MedCLIPSAMLib.choices as choices
from MedCLIPSAMLib.choices import ExportFormat, Freeze, Plane, SamPromptKind, VoteMethod


class Extent(enum.StrEnum):
    """Which slices are segmented."""

    SLICE = "slice"
    RANGE = "range"
    VOLUME = "volume"


class Strategy(enum.StrEnum):
    """The library's strategies for many slices that the panel offers, in the order of its combo box."""

    MEMORY = choices.Strategy.MEMORY
    BOXES = choices.Strategy.BOXES
    SLICES = choices.Strategy.SLICES


class CoarseMethod(enum.StrEnum):
    """The library's methods for a coarse mask that the panel offers: those that need no further package."""

    OTSU = choices.CoarseMethod.OTSU
    KMEANS = choices.CoarseMethod.KMEANS
    THRESHOLD = choices.CoarseMethod.THRESHOLD


class Loss(enum.StrEnum):
    """The losses of the library that the panel offers."""

    DHN_NCE = choices.Loss.DHN_NCE
    INFO_NCE = choices.Loss.INFO_NCE
    HN_NCE = choices.Loss.HN_NCE
    DCL = choices.Loss.DCL
    SIGLIP = choices.Loss.SIGLIP


@parameterPack
class MethodSettings:
    """Settings of the method. A layer, beta or steps of 0 means the model's default."""

    presence: Annotated[float, WithinRange(0, 1)] = 0.5
    coarse: CoarseMethod = CoarseMethod.OTSU
    coarseThreshold: Annotated[float, WithinRange(0, 1)] = 0.3
    samPrompts: SamPromptKind = SamPromptKind.BOXES
    vote: VoteMethod = VoteMethod.NONE
    layer: Annotated[int, WithinRange(0, 24)] = 0
    beta: Annotated[float, WithinRange(0, 10)] = 0.0
    steps: Annotated[int, WithinRange(0, 100)] = 0
    seed: Annotated[int, WithinRange(0, 999999)] = 12


@parameterPack
class ExportSettings:
    """Settings of an export of pseudo-labels."""

    format: ExportFormat = ExportFormat.NNUNET
    minScore: Annotated[float, WithinRange(0, 1)] = 0.0
    minExpectedDsc: Annotated[float, WithinRange(0, 1)] = 0.0
    keepEmpty: bool = False
    anonymous: bool = False


@parameterPack
class ReviewSettings:
    """Settings of the review of predictions."""

    showUncertainty: bool = True


@parameterPack
class FineTuneSettings:
    """Settings of a fine-tuning.

    A chunkSize of 0 means as many pairs as fit in memory; a loraRank of 0 trains the weights themselves.
    """

    name: str = ""
    loss: Loss = Loss.DHN_NCE
    epochs: Annotated[int, WithinRange(1, 1000)] = 32
    batchSize: Annotated[int, WithinRange(2, 4096)] = 64
    chunkSize: Annotated[int, WithinRange(0, 4096)] = 0
    freeze: Freeze = Freeze.NOTHING
    loraRank: Annotated[int, WithinRange(0, 256)] = 0


if TYPE_CHECKING:

    class _Wrapper:
        """Members that `parameterNodeWrapper` adds to the class that it decorates."""

        parameterNode: Any

        def __init__(self, parameterNode: Any) -> None: ...
        def connectParametersToGui(self, mapping: dict[str, Any]) -> int: ...
        def disconnectGui(self, tag: int | None) -> None: ...
else:
    _Wrapper = object


@parameterNodeWrapper
class MedCLIPSAMParameters(_Wrapper):
    """The parameter node. A reach of 0 means as far as the object is seen; saliencyFrom is in percent."""

    inputVolume: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    extent: Extent = Extent.SLICE
    view: str = "Red"
    plane: Plane = Plane.AXIAL
    strategy: Strategy = Strategy.MEMORY
    firstSlice: Annotated[int, WithinRange(0, 99999)] = 0
    lastSlice: Annotated[int, WithinRange(0, 99999)] = 0
    prompts: str = ""
    negative: str = ""
    showSaliency: bool = True
    showUncertainty: bool = False
    saliencyFrom: Annotated[float, WithinRange(1, 100)] = 30.0
    reach: Annotated[int, WithinRange(0, 500)] = 0
    clip: str = choices.DEFAULT_MODEL
    sam: str = choices.DEFAULT_SAM
    method: MethodSettings
    export: ExportSettings
    review: ReviewSettings
    fineTune: FineTuneSettings


ENGINE_NAMES = {
    "presence_threshold": "presence",
    "coarse.method": "coarse",
    "coarse.threshold": "coarseThreshold",
    "prompts.kind": "samPrompts",
    "prompts.seed": "seed",
    "vote.method": "vote",
    "saliency.layer": "layer",
    "saliency.beta": "beta",
    "saliency.steps": "steps",
    "saliency.seed": "seed",
}
"""Name in the engine's settings -> name in `MethodSettings`."""
OF_ONE_SCENE = ("inputVolume", "segmentation", "firstSlice", "lastSlice")
"""Parameters that are dropped when a scene is closed."""


def promptLines(text: str) -> list[str]:
    """Return the prompts of a text, one structure per line, without blank lines."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def engineSettings(method: MethodSettings) -> dict:
    """Return the settings that differ from the panel's defaults, by their names in `segmentation.settings.Settings`.

    A setting at its default is omitted, because the model may have its own default.
    """
    usual = MethodSettings()
    settings: dict[str, Any] = {}
    for path, name in ENGINE_NAMES.items():
        value = getattr(method, name)
        if value != getattr(usual, name):
            group, _dot, key = path.rpartition(".")
            inner = settings.setdefault(group, {}) if group else settings
            inner[key] = str(value) if isinstance(value, enum.StrEnum) else value
    if not choices.has_vote(method.vote, method.samPrompts):
        settings.pop("vote", None)
    return settings
