"""What the user chose, kept in the scene. What belongs to the machine (device, folders, history) is kept by Slicer."""

from __future__ import annotations

import qt
from slicer import vtkMRMLSegmentationNode, vtkMRMLVolumeNode
from slicer.parameterNodeWrapper import parameterNodeWrapper

SETTINGS = {
    "presence": 0.5,
    "coarse": "otsu",
    "coarseThreshold": 0.3,
    "samPrompts": "boxes",
    "layer": 0,
    "beta": 0.0,
    "steps": 0,
    "seed": 12,
}
"""Settings of the method and their defaults."""


@parameterNodeWrapper
class MedCLIPSAMParameters:
    """The parameter node.

    extent is "slice", "range" or "volume"; view a name such as "Red"; strategy "slices", or how masks are carried from
    key slices; reach 0 goes as far as an object is seen; 0 of a layer, beta and steps is the model's default. What
    begins with train is of fine-tuning: a chunk of 0 takes the whole batch, a LoRA rank of 0 trains all weights.
    """

    inputVolume: vtkMRMLVolumeNode
    segmentation: vtkMRMLSegmentationNode
    extent: str = "slice"
    view: str = "Red"
    plane: str = "axial"
    strategy: str = "memory"
    firstSlice: int = 0
    lastSlice: int = 0
    prompts: str = ""
    negative: str = ""
    showSaliency: bool = True
    saliencyFrom: float = 30.0
    reach: int = 0
    presence: float = SETTINGS["presence"]
    coarse: str = SETTINGS["coarse"]
    coarseThreshold: float = SETTINGS["coarseThreshold"]
    samPrompts: str = SETTINGS["samPrompts"]
    layer: int = SETTINGS["layer"]
    beta: float = SETTINGS["beta"]
    steps: int = SETTINGS["steps"]
    seed: int = SETTINGS["seed"]
    clip: str = "demo"
    sam: str = "demo"
    exportInputs: str = ""
    exportOut: str = ""
    exportFormat: str = "nnunet"
    exportScore: float = 0.0
    exportEmpty: bool = False
    reviewFolder: str = ""
    reviewDataset: str = ""
    showUncertainty: bool = True
    trainCaptions: str = ""
    trainImages: str = ""
    trainName: str = ""
    trainLoss: str = "dhn-nce"
    trainEpochs: int = 32
    trainBatch: int = 64
    trainChunk: int = 0
    trainLora: int = 0


CHOICES = (
    "extent",
    "view",
    "plane",
    "strategy",
    "prompts",
    "negative",
    "showSaliency",
    "saliencyFrom",
    "clip",
    "sam",
    "exportInputs",
    "exportOut",
    "exportFormat",
    "exportScore",
    "exportEmpty",
    "reviewFolder",
    "reviewDataset",
    "showUncertainty",
    "trainCaptions",
    "trainImages",
    "trainName",
    "trainLoss",
    "trainEpochs",
    "trainBatch",
    "trainChunk",
    "trainLora",
    *SETTINGS,
)
"""Parameters that outlive a scene that is closed: all but the nodes and the slices of a volume."""


def engineSettings(parameters: MedCLIPSAMParameters) -> dict:
    """The parameters as changes to the defaults of the model, by the names in `zeroshot.segmenter.Settings`."""
    saliency = {"seed": parameters.seed}
    saliency |= {name: value for name in ("layer", "beta", "steps") if (value := getattr(parameters, name))}
    return {
        "saliency": saliency,
        "presence_threshold": parameters.presence,
        "coarse": {"method": parameters.coarse, "threshold": parameters.coarseThreshold},
        "prompts": {"kind": parameters.samPrompts, "seed": parameters.seed},
    }


class MachineSettings:
    """What belongs to this machine and user, in Slicer's settings."""

    HISTORY = 30

    def __init__(self) -> None:
        self._settings = qt.QSettings()

    def get(self, name: str, default: str = "") -> str:
        """A text kept before."""
        return str(self._settings.value(f"MedCLIPSAM/{name}", default) or default)

    def set(self, name: str, value: str) -> None:
        """Keep a text."""
        self._settings.setValue(f"MedCLIPSAM/{name}", value)

    def history(self) -> list[str]:
        """Prompts used before, the latest first; lines of several prompts are separated by " | "."""
        return [line for line in self.get("History").split("\n") if line]

    def remember(self, prompts: list[str]) -> None:
        """Put prompts at the top of the history."""
        line = " | ".join(prompts)
        self.set("History", "\n".join([line, *(each for each in self.history() if each != line)][: self.HISTORY]))
