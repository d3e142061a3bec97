"""The shipped sample images with truth masks: one of each modality, in common file formats."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..files.atomic import atomic_path
from ..resources import resource_path
from .dataset import make_phantom


@dataclass(frozen=True)
class Sample:
    """A sample image: phantom `index` of the split `samples`, and the prompt of the demo."""

    name: str
    modality: str
    index: int
    prompt: str
    suffix: str
    spacing: float
    lesions: int | None = None

    @property
    def image(self) -> Path:
        """Path of the image."""
        return resource_path("samples") / f"{self.name}{self.suffix}"

    @property
    def truth(self) -> Path:
        """Path of its truth mask."""
        return resource_path("samples") / f"{self.name}_truth{'.nii.gz' if self.suffix == '.dcm' else self.suffix}"


SAMPLES = (
    Sample("breast_us", "US", 1, "breast tumor", ".png", 1.0, 1),
    Sample("brain_mri", "MR", 2, "brain tumor", ".dcm", 1.6, 1),
    Sample("chest_xray", "XR", 3, "lungs", ".png", 1.0),
    Sample("lung_ct", "CT", 4, "lung nodule", ".nii.gz", 2.5, 1),
)

TILT = math.radians(12)
"""The MR and CT samples are oblique: rotated about the left-right axis."""


def write_samples() -> None:
    """Write the sample images and their truth masks into Resources/samples."""
    resource_path("samples").mkdir(parents=True, exist_ok=True)
    for sample in SAMPLES:
        phantom = make_phantom("samples", sample.index, sample.modality, sample.lesions)
        truth = phantom.lungs_mask if sample.prompt == "lungs" else phantom.lesion_mask
        _write(sample.image, phantom.image, sample)
        _write(sample.truth, truth.astype(np.uint8) * (255 if sample.suffix == ".png" else 1), sample)


def _write(path: Path, pixels: np.ndarray, sample: Sample) -> None:
    image = sitk.GetImageFromArray(pixels if path.suffix == ".png" else pixels[None])
    if path.suffix != ".png":
        cosine, sine = math.cos(TILT), math.sin(TILT)
        image.SetSpacing((sample.spacing, sample.spacing, 5.0))
        image.SetDirection((1, 0, 0, 0, cosine, -sine, 0, sine, cosine))
        image.SetOrigin((-0.5 * sample.spacing * pixels.shape[1], -0.5 * sample.spacing * pixels.shape[0], 30.0))
    if path.suffix == ".dcm":
        _set_dicom_tags(image, sample)
    with atomic_path(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=path.suffix != ".dcm")


def _set_dicom_tags(image: sitk.Image, sample: Sample) -> None:
    """Set the modality, the position in the patient, and a display window of the whole range."""
    direction = image.GetDirection()
    axes = [direction[index] for index in (0, 3, 6, 1, 4, 7)]
    tags = {
        "0008|0060": sample.modality,
        "0008|103e": "Synthetic brain with a tumor",
        "0010|0010": "Phantom",
        "0020|0032": "\\".join(f"{value:.6f}" for value in image.GetOrigin()),
        "0020|0037": "\\".join(f"{value:.6f}" for value in axes),
        "0028|1050": "127.5",
        "0028|1051": "255",
    }
    for tag, value in tags.items():
        image.SetMetaData(tag, value)
