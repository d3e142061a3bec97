"""Average the predictions of a training's checkpoints, on the grid of the image."""

from __future__ import annotations

import hashlib
import re
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_model

from ..errors import InputError, ModelError, require_extra
from ..export.dataset import gray
from ..files.json_text import read_json
from ..models.device import resolve_device
from ..models.weights import read_weights
from ..run_context import RunContext
from ..volumes import Volume
from .raw_dataset import read_labels
from .schedule import BEST, read_schedule
from .train import FOLD, model_folder

NETWORK = re.compile(r"dynamic_network_architectures\.architectures\.\w+\.\w+")
LAYER = re.compile(r"torch\.nn\.(modules\.\w+\.)?[A-Z]\w*")
"""Patterns of the class names that plans may use for the network and its layers."""


@dataclass(frozen=True)
class Prediction:
    """The prediction of an ensemble for one image.

    Args:
        labels: (K, J, I) uint8, the label of each voxel on the grid of the image; 0 is background.
        probabilities: (C, K, J, I) float32, which sum to 1 over the C classes; class 0 is background.
    """

    labels: np.ndarray
    probabilities: np.ndarray


class Ensemble:
    """All stored checkpoints of a training, loaded into memory.

    Args:
        path: folder of a run or a model.
        device: see `models.device.resolve_device`.
        mirroring: whether to predict mirrored images too, as nnU-Net does, at four times the cost in 2-D.
        last: number of checkpoints to use, counted from the end; None uses all.
        best: whether to add the best checkpoint by nnU-Net's progress curve, as the authors' code does.
        foreground: probability of all labels together above which a voxel gets the most probable of them; None assigns
            the most probable of all classes, background included. The authors' code has 0.2.

    Attributes:
        labels: names of the labels by number; see `raw_dataset.read_labels`.
        name: name of the model, composed of its dataset, a checksum of its last weights, and its options.

    Raises:
        InputError: nnunetv2 is not installed.
        ModelError: there is no model, its training is unfinished, or a checkpoint is damaged.
        DeviceError: the device is not available.
    """

    def __init__(
        self,
        path: Path,
        device: str = "auto",
        mirroring: bool = True,
        last: int | None = None,
        best: bool = False,
        foreground: float | None = None,
    ) -> None:
        require_extra("weak", "nnU-Net")
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
        from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        folder = model_folder(path)
        try:
            plans = read_json(folder / "plans.json")
            about = read_json(folder / "dataset.json")
            self.labels = read_labels(about)
            chosen = folder.name.rpartition("__")[2]
            _check_network(plans["configurations"][chosen]["architecture"], folder)
            files = read_schedule(plans).files()
            manager = PlansManager(plans)
            configuration = manager.get_configuration(chosen)
            channels = determine_num_input_channels(manager, configuration, about)
            heads = manager.get_label_manager(about).num_segmentation_heads
            network = nnUNetTrainer.build_network_architecture(
                manager, configuration, channels, heads, enable_deep_supervision=False
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise ModelError(
                f"The model in '{folder}' cannot be built: {type(error).__name__}: {error}.", "Train it again."
            ) from error
        lacking = [name for name in files if not (folder / FOLD / name).is_file()]
        if lacking:
            raise ModelError(
                f"The training in '{folder}' is not finished: {len(lacking)} of {len(files)} checkpoints are missing.",
                "Run the same medclipsam weak train command again; it resumes.",
            )
        if best and not (folder / FOLD / BEST).is_file():
            raise ModelError(f"The training in '{folder}' kept no '{BEST}'.", "Leave out --best, or train again.")
        chosen_files = (files[-last:] if last else files) + ([BEST] if best else [])
        self._states = [_weights(network, folder / FOLD / name) for name in chosen_files]
        self._foreground = foreground
        digest = compute_digest(folder / FOLD / files[-1])
        how = "mirrored" if mirroring else "not mirrored"
        how += f", the best one among them, {compute_digest(folder / FOLD / BEST)}" if best else ""
        how += "" if foreground is None else f", foreground above {foreground:g}"
        self.name = f"{folder.parent.name} {digest} ({len(self._states)} checkpoints, {how})"
        self.device = resolve_device(device)
        axes = tuple(range(len(configuration.patch_size))) if mirroring else None
        with redirect_stdout(StringIO()):  # nnU-Net prints its choices
            self._predictor = nnUNetPredictor(use_mirroring=mirroring, device=self.device, allow_tqdm=False)
        self._predictor.manual_initialization(network, manager, configuration, self._states[:1], about, "", axes)

    @torch.inference_mode()
    def predict(self, volume: Volume, context: RunContext = RunContext()) -> Prediction:
        """Predict one image with every checkpoint, and average their probabilities.

        The mean is computed on nnU-Net's grid. Its logarithm, whose softmax is the mean again, is then resampled to the
        image's grid in the way nnU-Net resamples logits.

        Raises:
            InputError: the image has voxels that are not finite.
            Cancelled: the context was cancelled.
        """
        from nnunetv2.inference.export_prediction import (
            convert_predicted_logits_to_segmentation_with_correct_shape as back_to_image,
        )

        predictor = self._predictor
        manager, configuration = predictor.plans_manager, predictor.configuration_manager
        image = gray(volume).astype(np.float32)[None]
        if not np.isfinite(image).all():
            raise InputError(f"'{volume.name}' has voxels that are NaN or infinite.", "Replace their values first.")
        spacing = list(volume.geometry.spacing[::-1])
        if volume.natural and not volume.known_spacing:  # no resampling: the resolution is that of a print or screen
            target = [1.0, *configuration.spacing][-3:]
            spacing = [target[axis] for axis in manager.transpose_backward]
        about = {"spacing": spacing}
        preprocessor = configuration.preprocessor_class(verbose=False)
        data, _, about = preprocessor.run_case_npy(image, None, about, manager, configuration, predictor.dataset_json)
        data = torch.from_numpy(np.ascontiguousarray(data))
        total = torch.zeros(())
        for state in self._states:
            context.raise_if_cancelled()
            predictor.network.load_state_dict(state, strict=False)  # shared weights are stored under one name only
            with redirect_stdout(StringIO()):
                logits = predictor.predict_sliding_window_return_logits(data)
            total = total + torch.softmax(logits.float().cpu(), dim=0)
        mean = (total / len(self._states)).clamp_min(torch.finfo(torch.float32).tiny)
        labels, by_class = back_to_image(
            mean.log(), manager, configuration, predictor.label_manager, about, True, torch.get_num_threads()
        )
        by_class = np.asarray(by_class, np.float32)
        if self._foreground is not None:
            labels = label_foreground(by_class, self._foreground)
        return Prediction(labels.astype(np.uint8), by_class)


def label_foreground(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """Label voxels whose foreground probability exceeds `threshold`: (C, K, J, I) float to (K, J, I) uint8."""
    labels = probabilities[1:].argmax(0) + 1
    return np.where(1 - probabilities[0] > threshold, labels, 0).astype(np.uint8)


def compute_digest(path: Path) -> str:
    """Return the first eight digits of a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]


def _check_network(architecture: dict, folder: Path) -> None:
    """Refuse plans that make nnU-Net call Python objects other than parts of its networks."""
    kwargs = architecture["arch_kwargs"]
    imported = [kwargs[name] for name in architecture["_kw_requires_import"] if kwargs.get(name) is not None]
    for name, allowed in ((architecture["network_class_name"], NETWORK), *((module, LAYER) for module in imported)):
        if not (isinstance(name, str) and allowed.fullmatch(name)):
            raise ModelError(
                f"The plans in '{folder}' name '{name}', which is not part of a network.", "Train the model again."
            )


def _weights(network: torch.nn.Module, path: Path) -> dict[str, torch.Tensor]:
    """Read the weights in a file, which must fit the network exactly."""
    try:
        load_model(network, path)
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"'{path}' is damaged or belongs to another network: {reason}", "Train the model again."
        ) from error
    return read_weights(path)
