"""The choices that the library, the command line and the panel offer. This module imports nothing heavy."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import TypeVar

from .errors import InputError

DEFAULT_MODEL = os.environ.get("MEDCLIPSAM_MODEL", "starter")
"""Default text-image model; a site with better models can change it by the environment variable."""
DEFAULT_SAM = os.environ.get("MEDCLIPSAM_SAM", "starter")
"""Default SAM 2 model; changed by its environment variable in the same way."""

Member = TypeVar("Member", bound=StrEnum)


class Plane(StrEnum):
    """Anatomical plane of the slices."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"


class Strategy(StrEnum):
    """How a prompt is segmented over many slices."""

    SLICES = "slices"
    """The full pipeline on every slice independently, as in the paper."""
    MEMORY = "memory"
    """The full pipeline on key slices; SAM 2's memory propagates their masks to the others."""
    BOXES = "boxes"
    """The full pipeline on key slices; their masks are propagated as boxes from slice to slice."""
    PLANES = "planes"
    """`MEMORY` along the three orthogonal planes; the mask has the voxels that at least two of them agree on."""


class PropagationMethod(StrEnum):
    """How a mask is propagated from slice to slice; see the strategies of the same names."""

    MEMORY = "memory"
    BOXES = "boxes"


class CoarseMethod(StrEnum):
    """How a saliency map is thresholded into a coarse mask."""

    OTSU = "otsu"
    KMEANS = "kmeans"
    THRESHOLD = "threshold"
    CRF = "crf"


class ComponentRule(StrEnum):
    """Which connected components of a coarse mask are kept."""

    CONFIDENCE = "confidence"
    AREA = "area"


class SamPromptKind(StrEnum):
    """Kind of SAM prompts."""

    BOXES = "boxes"
    POINTS = "points"
    BOTH = "both"


class VoteMethod(StrEnum):
    """How several masks from SAM 2 are combined by vote; see `segmentation.vote`."""

    NONE = "none"
    MEAN = "mean"
    STAPLE = "staple"
    MAP = "map"


def has_vote(method: VoteMethod, kind: SamPromptKind, several: bool = False) -> bool:
    """Tell whether several masks vote. Points alone prompt SAM 2 once, which gives one mask unless `several` is set."""
    return method != VoteMethod.NONE and (kind != SamPromptKind.POINTS or several)


class Precision(StrEnum):
    """Precision of matrix products; AUTO means bfloat16 for large models on devices where it is fast."""

    AUTO = "auto"
    F32 = "f32"
    BF16 = "bf16"


class ExportFormat(StrEnum):
    """What an export writes for each image; the value is the file suffix, except for nnU-Net's raw dataset."""

    NNUNET = "nnunet"
    SEG_NRRD = "seg.nrrd"
    NIFTI = "nii.gz"
    PNG = "png"
    DICOM_SEG = "dcm"


class MaskFormat(StrEnum):
    """File format of the masks that `segment` writes; the value is the file suffix, except for RTSTRUCT."""

    SEG_NRRD = "seg.nrrd"
    NIFTI = "nii.gz"
    NIFTI_PLAIN = "nii"
    NRRD = "nrrd"
    METAIMAGE = "mha"
    PNG = "png"
    DICOM_SEG = "dcm"
    RTSTRUCT = "rtstruct"

    @property
    def ending(self) -> str:
        """Suffix of a file of this format."""
        return ".dcm" if self == MaskFormat.RTSTRUCT else f".{self.value}"


class OutputLayout(StrEnum):
    """Whether all masks of an image go into one file."""

    ONE_FILE = "one-file"
    FILE_PER_LABEL = "one-file-per-label"


class TrainingPrecision(StrEnum):
    """Precision of fine-tuning, by Lightning's names."""

    AUTO = "auto"
    FULL = "32-true"
    BF16 = "bf16-mixed"
    HALF = "16-mixed"


class Loss(StrEnum):
    """Contrastive loss of fine-tuning; see `finetune.losses`."""

    DHN_NCE = "dhn-nce"
    INFO_NCE = "info-nce"
    HN_NCE = "hn-nce"
    DCL = "dcl"
    SIGLIP = "siglip"
    DHN_NCE_RELEASED = "dhn-nce-released"


class Freeze(StrEnum):
    """Parts of a text-image model that fine-tuning keeps frozen."""

    NOTHING = "nothing"
    IMAGE = "image"
    TEXT = "text"
    LOWER_HALF = "lower-half"
    ALL_BUT_HEADS = "all-but-heads"


class RateDecay(StrEnum):
    """The length over which the learning rate of a cycle decays; see `nnunet.schedule`."""

    CYCLE = "cycle"
    TRAINING = "training"


class EnsembleMean(StrEnum):
    """How the texts of a prompt ensemble are averaged; see `segmentation.prompts.encode_ensemble`."""

    UNIT = "unit"
    RELEASED = "released"


class Configuration(StrEnum):
    """Configuration of nnU-Net."""

    FLAT = "2d"
    FULL = "3d_fullres"


def parse_choice(kind: type[Member], value: str, name: str) -> Member:
    """Return the member of a choice with this value.

    Args:
        name: what is chosen, for the error message.

    Raises:
        InputError: there is no such member.
    """
    try:
        return kind(value)
    except ValueError:
        raise InputError(f"Expected a {name} of {', '.join(kind)}, got '{value}'.", "Choose one of them.") from None
