"""The commands that are tortured, on small inputs with the demo models."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from helpers.datasets import write_caption_set

from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.volumes.write import write_png

from .forks import forked, run_main
from .server import patched_catalogue, serve

ROOT = Path(__file__).resolve().parents[2]
DEVICE = ("--device", "cpu")


@dataclass(frozen=True)
class Scene:
    """A command under torture.

    Args:
        name: name in the table.
        arguments: arguments of the command, which runs in a folder of its own and writes to `out` there.
        before: a folder to copy to `out` at the start; None starts with an empty `out`.
        share: factor of the number of tries; quick commands are tried more often.
        main: the function to run; by default the command line.
        warm: whether to import what it needs before the forks; not possible if that leaves threads behind, as with
            nnU-Net.
    """

    name: str
    arguments: Sequence[str]
    before: Path | None = None
    share: float = 1.0
    main: Callable[[], None] = run_main
    warm: bool = True

    def begin(self, folder: Path) -> Path:
        """Make a folder to run in; return its `out`."""
        folder.mkdir(parents=True)
        if self.before is None:
            (folder / "out").mkdir()
        else:
            shutil.copytree(self.before, folder / "out")
        return folder / "out"


def make_inputs(folder: Path) -> None:
    """Write images, a volume, a DICOM file, and captions."""
    images = folder / "heads"
    images.mkdir(parents=True)
    for number in range(4):
        phantom = make_phantom("validation", number, "MR", int(number != 3))
        write_png(images / f"head{number}.png", np.repeat(phantom.image[..., None], 3, 2))
    volume = np.stack([make_phantom("validation", 1, "MR", 1).image] * 3)
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing((0.9, 1.1, 4.0))
    image.SetDirection((0, 0, 1, 1, 0, 0, 0, 1, 0))
    sitk.WriteImage(image, str(folder / "head.nrrd"))
    sitk.WriteImage(image, str(folder / "head.nii.gz"))
    shutil.copyfile(ROOT / "Resources" / "samples" / "brain_mri.dcm", folder / "brain.dcm")
    write_caption_set(folder, 16)


def segment_scenes(inputs: Path) -> list[Scene]:
    """Make scenes of `segment` with a file, a folder that can be resumed, and volumes."""
    prompt = ("-p", "tumor: brain tumor", *DEVICE)
    volume = ("segment", str(inputs / "head.nrrd"), *prompt, "--all")
    drawn = ("-o", "out/head.nii.gz", "--overlay", "out/head.png")
    return [
        Scene("segment, a file", ("segment", str(inputs / "brain.dcm"), *prompt, "-o", "out/brain.seg.nrrd")),
        Scene(
            "segment, a folder", ("segment", str(inputs / "heads"), *prompt, "-o", "out/masks", "--format", "nii.gz")
        ),
        Scene("segment --all", (*volume, "-o", "out/head.seg.nrrd")),
        Scene("segment --all, mask and overlay", (*volume, *drawn)),
    ]


def export_scene(inputs: Path) -> Scene:
    """Make a scene of `export` of a folder to nnU-Net's layout."""
    prompts = ("-p", "tumor: brain tumor", "-p", "ventricles", *DEVICE)
    return Scene("export", ("export", str(inputs / "heads"), *prompts, "-o", "out/Dataset001_Head"))


def review_scenes(inputs: Path, work: Path) -> list[Scene]:
    """Make scenes of `strike` and `weak trust` on an exported dataset."""
    made = work / "dataset"
    out = export_scene(inputs)
    out.begin(made)
    done = forked(out.arguments, made)
    if done.fault():
        raise RuntimeError(f"Expected a dataset, got: {done.err}")
    dataset = made / "out" / "Dataset001_Head"
    (inputs / "struck.txt").write_text("head0\nhead1\n", encoding="utf-8")
    label = sitk.ReadImage(str(dataset / "labelsTr" / "head1.nii.gz"))
    label[:9, 0, 0], label[:9, 1, 0] = 1, 2
    sitk.WriteImage(label, str(inputs / "corrected.nii.gz"))
    strike = ("strike", "out/Dataset001_Head", str(inputs / "struck.txt"))
    trust = ("weak", "trust", "out/Dataset001_Head", "head1", str(inputs / "corrected.nii.gz"))
    return [Scene("strike", strike, made / "out", 2), Scene("weak trust", trust, made / "out", 1.5)]


def finetune_scene(inputs: Path) -> Scene:
    """Make a scene of `finetune` of the demo model, with two epochs of three steps."""
    options = "--name mine -o out/run --base demo --batch 4 --epochs 2 --patience 0 --lr 1e-4 --workers 0"
    options += " --validation-share 0.3 --models-dir out"
    return Scene("finetune", ("finetune", str(inputs / "captions.jsonl"), *options.split(), *DEVICE))


def model_scenes(work: Path) -> list[Scene]:
    """Make scenes of `models export`, and of `models download` from a server in a process of its own."""
    url = serve(work)
    return [
        Scene("models export", ("models", "export", "demo", "-o", "out/demo"), share=1.5),
        Scene("models download", ("models", "download", "torture"), share=2, main=patched_catalogue(url)),
    ]


def weak_scene(inputs: Path, work: Path) -> Scene:
    """Make a scene of `weak predict` with a briefly trained network."""
    from helpers.weak import write_dataset

    write_dataset(work / "Dataset012_Lungs", 8)
    options = ["-o", "run", "--short", "--cycles", "1", "--epochs", "2", "--keep", "1", "--iterations", "2"]
    done = forked(["weak", "train", "Dataset012_Lungs", *options, *DEVICE], work)
    if done.fault():
        raise RuntimeError(f"Expected a trained network, got: {done.err}")
    arguments = ("weak", "predict", str(work / "run"), str(inputs / "heads"), "-o", "out/predicted")
    return Scene("weak predict", (*arguments, *DEVICE), share=0.5, warm=False)
