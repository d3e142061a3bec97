"""Add trained weights to the catalogue as a model, and export models in the layouts of open_clip and Hugging Face."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

from ..errors import InputError, OutputError
from ..files.folder import atomic_folder
from ..files.json_text import write_json
from ..models.catalogue import CLIP_FILES
from ..models.clip import build_clip, load_weights
from ..models.clip_config import read_preprocessing
from ..models.layouts import to_hugging_face
from ..models.store import find, find_model_folder
from ..models.trained import ENTRY, MAPS_BY, WEIGHTS_FILE, Training, trained_folder, write_trained
from ..models.weights import load_strictly, read_weights, write_weights
from .owner import sign
from .retrieval import top1
from .settings import FineTuneSettings
from .train import FineTuned

LAYOUTS = ("open-clip", "hugging-face")


def publish(
    result: FineTuned, settings: FineTuneSettings, name: str, data: str, models_dir: Path | None = None
) -> Path:
    """Add the best weights of a training to the catalogue, where the pipeline and the panel find them.

    Args:
        result: the result of the training.
        settings: its settings.
        name: name of the new model.
        data: one line about the captions.
        models_dir: a folder of models; by default the user's folder of trained models.

    Returns:
        The model's folder.
    """
    base = find(settings.base, "clip", models_dir)
    source = find_model_folder(base, models_dir)

    def write_model(folder: Path) -> None:
        _copy_files(source, folder, base.map_by)
        shutil.copyfile(result.weights, folder / WEIGHTS_FILE)
        load_strictly(build_clip(folder), read_weights(folder / WEIGHTS_FILE), folder / WEIGHTS_FILE)
        sign(result.weights.parent, folder)

    figures = {"before": top1(result.before), "after": top1(result.after), "step": result.step, "steps": result.steps}
    training = Training(settings.base, data, asdict(settings), figures)
    return write_trained(models_dir or trained_folder(), base, name, training, write_model)


def export_model(name: str, layout: str, out: Path, models_dir: Path | None = None) -> Path:
    """Write a text-image model into a new folder for other programs, in one of two layouts.

    "open-clip": open_clip.create_model("local-dir:OUT", pretrained_text=False, pretrained_image=False) loads it.
        A shipped model's image tower needs `register_image_towers()` first, and OUT as the working directory.
    "hugging-face": the layout of `chuhac/BiomedCLIP-vit-bert-hf`, for models of BiomedCLIP's architecture.

    Raises:
        InputError: there is no such layout.
        ModelError: there is no such model, or its architecture does not fit the layout.
        OutputError: the folder already exists, or cannot be written.
    """
    if layout not in LAYOUTS:
        raise InputError(f"Expected one of the layouts {', '.join(LAYOUTS)}, got '{layout}'.", "Choose one of them.")
    if out.exists():
        raise OutputError(f"'{out}' already exists.", "Give the name of a new folder.")
    entry = find(name, "clip", models_dir)
    folder = find_model_folder(entry, models_dir)
    model = build_clip(folder)
    load_weights(model, folder)
    state = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
    weights = to_hugging_face(state) if layout == "hugging-face" else state
    with atomic_folder(out) as temporary:
        _copy_files(folder, temporary, entry.map_by)
        if (folder / ENTRY).is_file():
            shutil.copyfile(folder / ENTRY, temporary / ENTRY)
        file = "model.safetensors" if layout == "hugging-face" else WEIGHTS_FILE
        write_weights(temporary / file, weights, {"format": "pt"})
        if layout == "hugging-face":
            _write_hugging_face_config(temporary)
    return out


def _copy_files(source: Path, folder: Path, map_by: str) -> None:
    """Copy the files that a text-image model needs beside its weights, and the folders of its locator, if any."""
    for file in CLIP_FILES:
        shutil.copyfile(source / file, folder / file)
    for part in {Path(file).parent for file in MAPS_BY[map_by]}:
        shutil.copytree(source / part, folder / part)


def _write_hugging_face_config(folder: Path) -> None:
    """Write preprocessor_config.json for Hugging Face's image processors; config.json remains that of the BERT."""
    preprocess = read_preprocessing(folder)
    config = {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"height": preprocess.image_size, "width": preprocess.image_size},
        "do_center_crop": False,
        "do_normalize": True,
        "image_mean": preprocess.mean,
        "image_std": preprocess.std,
    }
    write_json(folder / "preprocessor_config.json", config)
