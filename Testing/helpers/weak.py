"""A data set of lungs for nnU-Net."""

from __future__ import annotations

import json

import numpy as np
import SimpleITK as sitk

from MedCLIPSAMLib.phantoms.dataset import make_phantom


def lungs(split, index):
    phantom = make_phantom(split, index, "CT", 0)
    return phantom.image, phantom.lungs_mask


def write_dataset(folder, count=24):
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for index in range(count):
        image, mask = lungs("train", index)
        sitk.WriteImage(sitk.GetImageFromArray(image[None]), str(folder / "imagesTr" / f"ct{index:02d}_0000.nii.gz"))
        label = sitk.GetImageFromArray(mask[None].astype(np.uint8))
        sitk.WriteImage(label, str(folder / "labelsTr" / f"ct{index:02d}.nii.gz"))
    about = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "lungs": 1}, "numTraining": count}
    (folder / "dataset.json").write_text(json.dumps(about | {"file_ending": ".nii.gz"}))
    return folder
