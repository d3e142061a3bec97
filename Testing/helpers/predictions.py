"""Predictions as a network leaves them; only the probabilities are made up."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from MedCLIPSAMLib.export.cases import Case
from MedCLIPSAMLib.export.dataset import write_case, write_description
from MedCLIPSAMLib.export.manifest import Manifest
from MedCLIPSAMLib.nnunet.predict import predict
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.volumes import Segment, read_volume
from MedCLIPSAMLib.volumes.write import write_png


def predicted(folder: Path, count: int) -> tuple[Path, Path, dict[str, np.ndarray]]:
    """Write a dataset of heads, and predictions for it with made-up probabilities.

    Returns:
        Both folders, and the tumor mask of each case.
    """
    dataset, out = folder / "Dataset031_Heads", folder / "predictions"
    manifest = Manifest(dataset, {"labels": ["tumor"], "export": {"form": "nnunet"}})
    truths: dict[str, np.ndarray] = {}
    for number in range(count):
        made, case = make_phantom("validation", number, "MR", 1), f"head{number}"
        write_png(folder / f"{case}.png", np.repeat(made.image[..., None], 3, 2))
        truths[case] = made.lesion_mask[None]
        files = write_case(
            dataset,
            case,
            "nnunet",
            read_volume(folder / f"{case}.png"),
            [Segment("tumor", np.zeros((1, 128, 128), bool))],
        )
        manifest.write({"case": case, "image": "", "status": "found", "labels": {}, "files": files})
    manifest.close()
    write_description(dataset, "nnunet", ["tumor"], list(truths), "MR")

    def fixed(volume, context):
        case = volume.name.removesuffix("_0000")
        tumor = truths[case].astype(np.float32) * (0.99 - 0.2 * int(case[-1]))
        return SimpleNamespace(labels=(tumor > 0.5).astype(np.uint8), probabilities=np.stack([1 - tumor, tumor]))

    ensemble = SimpleNamespace(name="fixed", labels={1: "tumor"}, predict=fixed)
    predict(
        [Case(case, dataset / "imagesTr" / f"{case}_0000.nii.gz", {}) for case in truths],
        ensemble,
        out,
        dataset=dataset,
    )
    return dataset, out, truths
