"""Fine-tune a text-image model on image-caption pairs with Lightning Fabric.

Fabric moves the model to the device, handles mixed precision with loss scaling, connects processes under torchrun and
writes TensorBoard's files. The training loop is custom, since cached contrastive gradients need the model twice per
step. Every step depends only on the seed and the number of the step, so that a stopped run resumes to the same result.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..errors import Cancelled, DeviceError, InputError, ModelError
from ..files.json_text import write_json
from ..models.acceleration.memory import is_out_of_memory
from ..models.clip import load_clip
from ..models.weights import write_weights
from ..run_context import RunContext
from .batches import Source
from .blend import Blend
from .checkpoint import read_checkpoint, write_checkpoint
from .chunks import Chunks, full_memory
from .fabric import launch_fabric
from .gradients import contrastive_backward
from .heads import encode_once
from .losses import make_loss
from .memory import make_memory_reader
from .optimizer import group_by_decay
from .retrieval import top1
from .settings import FineTuneSettings
from .step_log import StepFigures, StepLog
from .task import TrainingTask
from .trainable import merge_lora, prepare, select_trained
from .validation import validate

CHECKPOINT, BEST, LOG, DONE, FEATURES = "last.ckpt", "best.safetensors", "log.jsonl", "result.json", "features.ckpt"
SAVE_EVERY = 250
"""Steps between checkpoints within an epoch."""


@dataclass(frozen=True)
class FineTuned:
    """The result of a training.

    Args:
        weights: file of the best weights, in open_clip's layout, with LoRA merged.
        before, after: figures on the validation pairs of the base model and of the best weights; see `validation`.
        step: the step of the best weights.
        steps: number of steps done.
        peak_memory: peak memory in bytes, of the GPU or of this process; for a resumed run, since its last start.
    """

    weights: Path
    before: dict
    after: dict
    step: int
    steps: int
    peak_memory: int


def fine_tune(
    training: Callable[[int, int, int], Source],
    validation: Callable[[int], Source],
    settings: FineTuneSettings,
    out: Path,
    device: str = "auto",
    models_dir: Path | None = None,
    data: Mapping[str, str] | None = None,
    context: RunContext = RunContext(),
) -> FineTuned:
    """Train, or resume a stopped training, and keep the weights with the best retrieval on the validation pairs.

    A checkpoint is also written when training is cancelled or interrupted by Ctrl+C, or meets an image that can no
    longer be read.

    Args:
        training: (edge of the image, rank, number of processes) -> source of training batches.
        validation: edge of the image -> source of validation batches, with whole images.
        settings: settings of the training.
        out: folder of the run, with last.ckpt, best.safetensors, log.jsonl, result.json and tensorboard/, and with
            features.ckpt if only the heads are trained.
        device: see `models.device.resolve_device`.
        models_dir: a folder of models that is searched for the base first.
        data: checksums of the data, each under a name such as "training pairs". A checkpoint with other checksums is
            not resumed.
        context: reports every step in the first process, with `StepFigures` as details, and before them the stage
            "encoding" if only the heads are trained. It is checked at every step and every validation batch.

    Raises:
        InputError: the settings or data cannot work, or an epoch had fewer batches than its source announced.
        DeviceError: the device is not available, or its memory is full.
        ModelError: the base is missing, or the checkpoint in `out` does not belong to this training.
        OutputError: the disk is full.
        Cancelled: the context was cancelled.
    """
    fabric = launch_fabric(settings, device, out)
    clip = load_clip(settings.base, fabric.device, models_dir=models_dir)
    torch.manual_seed(settings.seed)
    model = prepare(clip.model, settings.freeze, settings.lora_rank)
    sources = training(clip.image_size, fabric.global_rank, fabric.world_size), validation(clip.image_size)
    inputs = lambda images, captions: (clip.preprocess(images.numpy()), clip.tokenize(captions, True))
    task = TrainingTask(model, model, *sources, inputs)
    checksums = {"files of the base": clip.checksum(), **(data or {})}
    if settings.heads_alone and fabric.world_size == 1:
        task = encode_once(task, clip, fabric, out / FEATURES, {"base": settings.base, **checksums}, context)
    return _Run(fabric, task, settings, out, settings.fingerprint() | checksums, context).train()


class _Run:
    def __init__(
        self,
        fabric: Any,
        task: TrainingTask,
        settings: FineTuneSettings,
        out: Path,
        fingerprint: dict[str, Any],
        context: RunContext,
    ) -> None:
        self._fabric, self._task, self._settings, self._out = fabric, task, settings, out
        self._context = context
        self._log = StepLog(fabric, out / LOG, context)
        self._fingerprint = fingerprint
        self._loss = make_loss(settings.loss, settings.temperature, settings.beta_image, settings.beta_text)
        self._plain = task.trained
        trained = [parameter for parameter in self._plain.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(group_by_decay(trained, settings.weight_decay), lr=settings.rate)
        self._model, self._optimizer = fabric.setup(self._plain, optimizer)
        self._blend = Blend(self._plain, settings.learned_share)
        self._memory = make_memory_reader(fabric.device)
        self._chunks = Chunks(settings.chunk, self._memory, context, fabric.world_size == 1)
        self._step = 0
        self._whole = True  # the weights and AdamW's means all belong to the same step
        self._ended: StepFigures | None = None  # figures of an epoch's last step, until its weights are validated
        self._best: dict[str, Any] = {}
        self._before: dict[str, Any] = {}

    def train(self) -> FineTuned:
        fabric = self._fabric
        if fabric.is_global_zero:
            self._out.mkdir(parents=True, exist_ok=True)
        fabric.barrier()
        self._go_on()
        if not self._before:
            self._before = self._validate()
            self._keep(self._before)
        try:
            self._train_epochs()
        except Cancelled:
            self._save()
            raise
        except (KeyboardInterrupt, InputError, DeviceError):
            if self._whole:
                self._write()
            raise
        return self._finish()

    def _train_epochs(self) -> None:
        settings, training = self._settings, self._task.training
        steps = settings.epochs * training.steps
        started, begun = time.monotonic(), self._step
        if self._ended:
            self._end_epoch(self._ended)
        while self._step < steps and not self._stale(training.steps):
            epoch, start = divmod(self._step, training.steps)
            for images, captions in training.batches(epoch, start):
                self._raise_if_cancelled()
                rate = self._rate(self._step, steps)
                try:
                    loss = self._one_step(images, captions, rate)
                except RuntimeError as error:
                    if not is_out_of_memory(error):
                        raise
                    raise full_memory(self._chunks.size) from error  # raised in AdamW's step, which cannot be repeated
                self._step += 1
                left = (steps - self._step) * (time.monotonic() - started) / (self._step - begun)
                figures = StepFigures(self._step, steps, epoch, loss, rate, left)
                self._ended = figures if self._step % training.steps == 0 else None
                self._whole = True
                if self._ended:
                    self._end_epoch(figures)
                    continue
                if self._step % SAVE_EVERY == 0:
                    self._save()
                self._log.report(figures)
            if self._step < (epoch + 1) * training.steps:
                raise InputError(
                    f"Expected {training.steps} batches in an epoch, got {self._step - epoch * training.steps}.",
                    "Give every pair its own key, and do not change the data during training.",
                )

    def _raise_if_cancelled(self) -> None:
        if self._fabric.broadcast(self._context.is_cancelled()):
            raise Cancelled

    def _end_epoch(self, figures: StepFigures) -> None:
        """Validate the weights, keep them if they are the best so far, write a checkpoint, and report the step."""
        with self._blend.applied():
            found = self._validate()
            best = self._best["figures"]
            if (top1(found), -found["loss"]) > (top1(best), -best["loss"]):
                self._keep(found)
        self._ended = None
        self._save()
        validation = {"loss": found["loss"], "top1": top1(found), "best": top1(self._best["figures"])}
        self._log.report(replace(figures, validation=validation))

    def _one_step(self, images: torch.Tensor, captions: list[str], rate: float) -> float:
        settings, fabric = self._settings, self._fabric
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._model.train(not settings.heads_alone)  # frozen towers must give the same features in every epoch
        try_pairs = lambda pairs: self._try_pairs(images, captions, pairs)
        self._chunks.choose(len(captions), try_pairs, lambda: self._beside(images))
        loss = self._chunks.run(len(captions), lambda size: self._backward(images, captions, size))
        self._check_loss("loss", loss)
        self._whole = False
        fabric.clip_gradients(self._model, self._optimizer, max_norm=settings.clip_norm, error_if_nonfinite=False)
        self._optimizer.step()
        return loss

    def _check_loss(self, name: str, loss: float) -> None:
        if not math.isfinite(loss):
            raise InputError(
                f"The {name} is {loss} at step {self._step}.", "Use a higher temperature or a lower learning rate."
            )

    def _beside(self, images: torch.Tensor) -> int:
        """Return the bytes of a batch's images and, if they are not allocated yet, of AdamW's two means."""
        inputs = images.numel() * torch.float32.itemsize
        means = 2 * sum(parameter.nbytes for parameter in self._plain.parameters() if parameter.requires_grad)
        return inputs if self._optimizer.state_dict()["state"] else inputs + means

    def _try_pairs(self, images: torch.Tensor, captions: list[str], pairs: int) -> None:
        """Run the pairs with the longest captions forward and backward as a chunk, to measure the memory it takes."""
        longest = sorted(range(len(captions)), key=lambda index: len(captions[index]))[-pairs:]
        inputs = self._task.inputs(images[longest], [captions[index] for index in longest])
        with self._fabric.no_backward_sync(self._model):
            image, text = self._model(*inputs)[:2]
            self._fabric.backward(image.sum() + text.sum())

    def _backward(self, images: torch.Tensor, captions: list[str], size: int) -> float:
        """Compute the gradients of a batch in chunks of `size` pairs, starting from zero; return the loss."""
        settings, fabric = self._settings, self._fabric
        torch.manual_seed((settings.seed * 1_000_003 + self._step) * 1009 + fabric.global_rank)
        self._optimizer.zero_grad(set_to_none=True)
        chunks = [
            self._task.inputs(images[at : at + size], captions[at : at + size]) for at in range(0, len(captions), size)
        ]
        unsynced = lambda: fabric.no_backward_sync(self._model)
        place = fabric.global_rank, fabric.world_size
        loss = contrastive_backward(self._model, chunks, self._loss, fabric.backward, *place, unsynced)
        return loss.item()

    def _rate(self, step: int, steps: int) -> float:
        """Compute the learning rate, which rises linearly in the warm-up and then falls to 0 along a cosine."""
        warm = round(self._settings.warm_up * steps)
        share = (step + 1) / warm if step < warm else 0.5 + 0.5 * math.cos(math.pi * (step - warm) / (steps - warm))
        return self._settings.rate * share

    def _validate(self) -> dict:
        self._plain.eval()
        figures = validate(self._model, self._task, self._loss, self._raise_if_cancelled)
        self._check_loss("loss of the validation pairs", figures["loss"])
        return figures

    def _keep(self, figures: dict) -> None:
        """Write the weights as the best so far."""
        if self._fabric.is_global_zero:
            weights = merge_lora(self._task.model)
            # The scale turns cosines into probabilities. If cosines spread more, it is lowered accordingly, so that the
            # presence stays as sharp as before.
            weights["logit_scale"] += math.log(self._before["spread"] / figures["spread"])
            write_weights(self._out / BEST, weights)
        self._best = {"step": self._step, "figures": figures}

    def _stale(self, epoch_steps: int) -> bool:
        patience = self._settings.patience
        return bool(patience) and self._step - self._best["step"] >= patience * epoch_steps

    def _save(self) -> None:
        self._write()
        self._fabric.barrier()

    def _write(self) -> None:
        if self._fabric.is_global_zero:
            state = {
                "fingerprint": self._fingerprint,
                "step": self._step,
                "chunk": self._chunks.size,
                "best": json.dumps(self._best),
                "before": json.dumps(self._before),
                "ended": json.dumps(self._ended and asdict(self._ended)),
                "model": select_trained(self._plain),
                "optimizer": self._optimizer.state_dict(),
                "precision": self._fabric.strategy.precision.state_dict(),
            }
            write_checkpoint(self._out / CHECKPOINT, state)

    def _go_on(self) -> None:
        """Resume from the checkpoint of an earlier run, if there is one."""
        path = self._out / CHECKPOINT
        if not path.is_file():
            self._log.drop_after(0)
            return
        if not (self._out / BEST).is_file():
            raise ModelError(
                f"There is no '{self._out / BEST}' with the best weights for the checkpoint beside it.",
                "Put the file back, or choose another run folder.",
            )
        shapes = {name: tensor.shape for name, tensor in select_trained(self._plain).items()}
        state = read_checkpoint(path, self._fingerprint, shapes)
        self._plain.load_state_dict(state["model"], strict=False)
        self._optimizer.load_state_dict(state["optimizer"])
        if state["precision"]:  # empty if the earlier run did not scale the loss, as on a CPU
            self._fabric.strategy.precision.load_state_dict(state["precision"])
        self._chunks.go_on(state.get("chunk", 0))  # so that rounding and dropout match an uninterrupted run
        self._step, self._best, self._before = state["step"], json.loads(state["best"]), json.loads(state["before"])
        ended = json.loads(state.get("ended", "null"))
        self._ended = ended and StepFigures(**ended)
        self._log.drop_after(self._step)

    def _finish(self) -> FineTuned:
        best = self._best
        peak = self._memory.peak()
        result = FineTuned(self._out / BEST, self._before, best["figures"], best["step"], self._step, peak)
        if self._fabric.is_global_zero:
            written = {
                **asdict(result),
                "weights": BEST,
                "chunk": self._chunks.size,
                "settings": asdict(self._settings.resolved()),
            }
            write_json(self._out / DONE, written)
        self._fabric.barrier()
        return result
