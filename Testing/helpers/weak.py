"""A data set of lungs for nnU-Net, and a training on it to interrupt."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import psutil
import SimpleITK as sitk

from MedCLIPSAMLib.phantoms.dataset import make_phantom

OPTIONS = "--short --cycles 2 --epochs 3 --keep 2 --iterations 10 --batch 4 --device cpu"


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


@contextmanager
def in_an_epoch(dataset, out):
    """Run the command line until it reports an epoch; yield its process and the processes that it started."""
    command = [sys.executable, "-m", "MedCLIPSAMLib", "weak", "train", str(dataset), "-o", str(out), *OPTIONS.split()]
    output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    with subprocess.Popen(command, **output) as running:
        assert any(re.search(r"epoch \d+ of 6: loss .* left", line) for line in running.stderr)
        started = psutil.Process(running.pid).children(recursive=True)
        assert started
        yield running, started
