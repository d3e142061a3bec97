"""Scans in folders, and the cases that are found there."""

import numpy as np
import SimpleITK as sitk
from PIL import Image

from MedCLIPSAMLib.export.cases import find_cases
from MedCLIPSAMLib.phantoms.dataset import make_phantom

PROMPTS = {"tumor": "brain tumor"}


def scan(path, slices: int = 1):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = make_phantom("validation", 1, "MR", 1).image
    if path.suffix == ".png":
        Image.fromarray(image).save(path)
    else:
        gray = image if image.ndim == 2 else image[..., 0]
        sitk.WriteImage(sitk.GetImageFromArray(np.stack([gray] * slices)), str(path))
    return path


def names(folder, **choice):
    return [case.name for case in find_cases(folder, PROMPTS, **choice)]
