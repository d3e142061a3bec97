"""What the worker can do: models that stay loaded, pictures by key, requests on them. It reads and writes nothing."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from ..errors import Cancelled, DeviceError, InputError, MedCLIPSAMError, PromptError
from ..models.device import resolve_device
from ..zeroshot.mask_prompt import mask_logits
from ..zeroshot.sam_prompts import points_followed
from ..zeroshot.segmenter import Result, Settings, TextSegmenter, default_settings, load_segmenter
from ..zeroshot.volume import provenance
from .catalogue import download_model, models_and_devices
from .fields import models_folder, part_of, require_slice, sam_prompts_of, text_of
from .memory import is_out_of_memory, release
from .protocol import Message
from .settings import with_changes
from .stacks import carry_masks, propagate_prompts

T = TypeVar("T")

KEPT_IMAGES = 4
"""Stacks of pictures kept; the one not used for the longest time goes first."""

MAX_SLICES = 10_000
"""Of a stack that comes slice by slice."""

_BEGINS = {"saliency": 0.0, "embedding": 0.5, "mask": 0.9}
"""Where the stages begin in the work on one prompt and one picture, roughly."""


class Reply(Protocol):
    """What a request is told while it runs."""

    def send(self, type: str, fields: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> None: ...

    def cancelled(self) -> bool: ...


class Engine:
    """The state of a worker; one request at a time."""

    def __init__(self) -> None:
        self.segmenter: TextSegmenter | None = None
        self._choice: tuple[str, str, str, Path | None] | None = None
        self._failure: MedCLIPSAMError | None = None
        self._images: OrderedDict[str, np.ndarray] = OrderedDict()
        self._large: dict[str, np.ndarray] = {}
        self._shown: tuple[np.ndarray, list[int]] | None = None

    def handle(self, message: Message, reply: Reply) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Fields and arrays of the result of a request.

        Raises:
            MedCLIPSAMError: with a cause and a remedy.
        """
        handlers = {
            "models": self._models,
            "download": self._download,
            "load": self._load,
            "image": self._image,
            "segment": self._segment,
            "outline": self._outline,
            "carry": self._carry,
            "propagate": self._propagate,
            "finetune": self._finetune,
            "export": self._export,
        }
        if message.type not in handlers:
            raise InputError(f"There is no request '{message.type}'.", f"Use one of: {', '.join(handlers)}.")
        return handlers[message.type](message, reply)

    def _models(self, message: Message, reply: Reply):
        return models_and_devices(models_folder(message)), {}

    def _download(self, message: Message, reply: Reply):
        def tell(file: str, fraction: float) -> None:
            reply.send("progress", {"stage": "download", "fraction": fraction, "slice": None, "file": file})

        name, kind = text_of(message, "name"), text_of(message, "kind", "") or None
        return download_model(name, kind, tell, reply.cancelled), {}

    def _finetune(self, message: Message, reply: Reply):
        from .training import fine_tune_model

        return fine_tune_model(message, reply)

    def _export(self, message: Message, reply: Reply):
        from .exporting import export_dataset

        return export_dataset(message, reply)

    def _load(self, message: Message, reply: Reply):
        started = time.perf_counter()
        clip, sam, device = (text_of(message, name, default) for name, default in _LOAD.items())
        choice = clip, sam, device, models_folder(message)
        if choice != self._choice or self.segmenter is None:
            self.segmenter = self._choice = self._shown = None
            release()
            reply.send("progress", {"stage": "loading", "fraction": 0.0, "slice": None})
            try:
                self.segmenter = _loaded(choice, reply)
            except MedCLIPSAMError as error:
                self._failure = error
                raise
            self._choice, self._failure = choice, None
        return self._description() | {"seconds": time.perf_counter() - started}, {}

    def _description(self) -> dict[str, Any]:
        segmenter = self._require_segmenter()
        device = segmenter.clip.device
        return {
            "clip": segmenter.clip.name,
            "sam": segmenter.sam.name,
            "device": str(device),
            "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper(),
            "precision": segmenter.settings.precision,
            "torch": torch.__version__,
            "settings": asdict(self._default_settings()),
        }

    def _default_settings(self) -> Settings:
        return default_settings(self._require_segmenter().clip.name, self._choice[3])

    def _image(self, message: Message, reply: Reply):
        key, pictures = text_of(message, "key"), message.arrays.get("pictures")
        stack = pictures[None] if pictures is not None and pictures.ndim == 3 else pictures
        if stack is None or stack.ndim != 4 or stack.shape[3] != 3 or stack.dtype != np.uint8 or 0 in stack.shape:
            came = "nothing" if pictures is None else f"{pictures.shape} of {pictures.dtype}"
            raise InputError(
                f"As pictures '{key}', {came} came.", "Give 'pictures', (H, W, 3) or (N, H, W, 3) of uint8."
            )
        if message.fields.get("of") is not None:
            stack = self._with_slice(key, stack, message.fields.get("slice"), message.fields["of"])
            self._large = {key: stack}  # beside the pictures that the client counts on
            return {"slices": len(stack)}, {}
        self._images[key] = stack
        self._images.move_to_end(key)
        while len(self._images) > KEPT_IMAGES:
            self._images.popitem(last=False)
        return {"slices": len(stack)}, {}

    def _with_slice(self, key: str, picture: np.ndarray, number: Any, count: Any) -> np.ndarray:
        """The stack of that name with one of its slices put in: large stacks come slice by slice."""
        if type(count) is not int or not 0 < count <= MAX_SLICES or len(picture) != 1:
            raise InputError(f"A slice of {count!r} came.", f"Send one picture at a time, of {MAX_SLICES} at most.")
        if type(number) is not int or not 0 <= number < count:
            raise InputError(f"There is no slice {number!r}.", f"Slices are numbered 0 to {count - 1}.")
        stack = self._large.get(key)
        if stack is None or stack.shape != (count, *picture.shape[1:]):
            stack = np.zeros((count, *picture.shape[1:]), np.uint8)
        stack[number] = picture[0]
        if self._shown is not None and self._shown[0] is stack:
            self._shown = None
        return stack

    def _carry(self, message: Message, reply: Reply):
        return self._on_stack(message, reply, lambda stack: carry_masks(self.segmenter, stack, message, reply))

    def _propagate(self, message: Message, reply: Reply):
        prompts, negative, settings = self._prompts(message)

        def work(stack: np.ndarray):
            self.segmenter.settings = settings
            return propagate_prompts(self.segmenter, stack, prompts, negative, message, reply)

        return self._on_stack(message, reply, work)

    def _on_stack(self, message: Message, reply: Reply, work: Callable[[np.ndarray], T]) -> T:
        self._require_segmenter()
        stack = self._stack(message)

        def start() -> T:
            self._shown = None
            self.segmenter.cancelled, self.segmenter.stage = reply.cancelled, lambda name: None
            return work(stack)

        return self._within_memory(start, reply)

    def _prompts(self, message: Message) -> tuple[list[str], str | None, Settings]:
        """Prompts, negative prompt and settings of a message."""
        prompts = message.fields.get("prompts")
        if not isinstance(prompts, list) or not prompts or not all(isinstance(each, str) for each in prompts):
            raise PromptError("No prompt was given.", "Say what to segment, such as 'brain tumor'.")
        changes = message.fields.get("settings", {})
        if not isinstance(changes, dict):
            raise InputError(f"As settings {changes!r} came.", "Give an object of settings.")
        settings = with_changes(self._default_settings(), changes)
        given = changes.get("saliency", {})
        settings = settings.with_saliency(**{name: getattr(settings.saliency, name) for name in given})
        return prompts, text_of(message, "negative", "") or None, settings

    def _segment(self, message: Message, reply: Reply):
        started = time.perf_counter()
        self._require_segmenter()
        stack = self._stack(message)
        prompts, negative, settings = self._prompts(message)
        slices = message.fields.get("slices")
        slices = list(range(len(stack))) if slices is None else slices
        if not isinstance(slices, list) or not slices:
            raise InputError(f"As slices {slices!r} came.", "Give a list of numbers.")
        for number in slices:
            require_slice(number, stack)
        self.segmenter.settings = settings
        left, done, count = slices, 0, len(slices) * len(prompts)
        while left:
            at_once = self.segmenter.together_at_best  # fewer when memory has run out meanwhile
            numbers, left = left[:at_once], left[at_once:]
            for group in [prompts] if at_once > 1 else [[prompt] for prompt in prompts]:
                units = len(numbers) * len(group)

                def stage(name: str) -> None:
                    fraction = (done + units * _BEGINS[name]) / count
                    fields = {"stage": name, "fraction": fraction, "slice": numbers[0], "prompt": group[0]}
                    reply.send("progress", fields)

                def work() -> list[dict[str, Result]]:
                    self._prepare(stack, numbers, reply, stage)
                    self.segmenter.settings = settings
                    return self.segmenter.segment_each(group, negative)

                for number, results in zip(numbers, self._within_memory(work, reply)):
                    for result in results.values():
                        reply.send("part", *part_of(result, number, bool(message.fields.get("saliency", True))))
                done += units
        return {
            "device": str(self.segmenter.clip.device),
            "tags": provenance(self.segmenter, negative=negative),
            "seconds": time.perf_counter() - started,
        }, {}

    def _outline(self, message: Message, reply: Reply):
        started = time.perf_counter()
        self._require_segmenter()
        stack, number = self._stack(message), message.fields.get("slice", 0)
        require_slice(number, stack)
        prompts, masks = sam_prompts_of(message.arrays), message.arrays.get("masks")

        if masks is not None and masks.shape != (len(prompts), *stack.shape[1:3]):
            raise InputError(
                f"Masks of shape {masks.shape} came for {len(prompts)} objects.",
                f"They must be ({len(prompts)}, {stack.shape[1]}, {stack.shape[2]}), as the picture is.",
            )

        def stage(name: str) -> None:
            reply.send("progress", {"stage": name, "fraction": _BEGINS[name], "slice": number})

        def work() -> tuple[np.ndarray, np.ndarray]:
            self._prepare(stack, [number], reply, stage)
            side = self.segmenter.sam.image_size // 4
            logits = None if masks is None else np.stack([mask_logits(mask > 0, side) for mask in masks])
            return self.segmenter.outline(prompts, logits=logits)

        mask, quality = self._within_memory(work, reply)
        followed = points_followed(mask, prompts.points.reshape(-1, 2), prompts.labels.ravel())
        fields = {"slice": number, "device": str(self.segmenter.clip.device), "seconds": time.perf_counter() - started}
        fields["ignored_points"] = int((~followed).sum())
        return fields, {"mask": mask.astype(np.uint8), "predicted_iou": quality}

    def _prepare(self, stack: np.ndarray, numbers: list[int], reply: Reply, stage: Callable[[str], None]) -> None:
        """Tell the segmenter of this request and slices; what it knows of them is kept when they are the same."""
        if reply.cancelled():
            raise Cancelled
        self.segmenter.cancelled, self.segmenter.stage = reply.cancelled, stage
        if self._shown is None or self._shown[0] is not stack or self._shown[1] != numbers:
            self._shown = None
            self.segmenter.set_images([stack[number] for number in numbers])
            self._shown = stack, numbers

    def _within_memory(self, work: Callable[[], T], reply: Reply) -> T:
        """`work`, tried again with less at once and then on the CPU when memory runs out; the user is told."""
        while True:
            try:
                return work()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            release()
            if self.segmenter.together is None:
                self.segmenter.together = 1
                _notify(reply, "Memory ran out; working in smaller steps, which takes longer.")
            elif self.segmenter.clip.device.type != "cpu":
                _notify(reply, "The memory of the GPU is too small; working on the CPU, which is slower.")
                clip, sam, _, folder = self._choice
                self.segmenter = self._shown = None
                release()
                self.segmenter = _loaded((clip, sam, "cpu", folder), reply)
            else:
                raise DeviceError(
                    "The memory of this machine ran out.", "Close other programs, or choose smaller models."
                )

    def _require_segmenter(self) -> TextSegmenter:
        if self._failure:
            raise self._failure
        if self.segmenter is None:
            raise InputError("No models are loaded.", "Send 'load' first.")
        return self.segmenter

    def _stack(self, message: Message) -> np.ndarray:
        key = text_of(message, "image")
        if key in self._large:
            return self._large[key]
        if key not in self._images:
            raise InputError(f"The worker has no pictures '{key}'.", "Send them first.")
        self._images.move_to_end(key)
        return self._images[key]


def _loaded(choice: tuple[str, str, str, Path | None], reply: Reply) -> TextSegmenter:
    clip, sam, device, folder = choice
    try:
        return _interruptible(load_segmenter(clip, sam, device, folder))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    release()
    if resolve_device(device).type == "cpu":
        raise DeviceError("The models do not fit into this machine's memory.", "Choose smaller models.")
    _notify(reply, "The models do not fit into the memory of the GPU and run on the CPU, which is slower.")
    return _interruptible(load_segmenter(clip, sam, "cpu", folder))


def _interruptible(segmenter: TextSegmenter) -> TextSegmenter:
    """SAM 2's image encoder, whose larger ones take many seconds on a CPU, asks before every block whether to go on."""

    def stop_if_cancelled(*_: object) -> None:
        if segmenter.cancelled and segmenter.cancelled():
            raise Cancelled

    for block in segmenter.sam.image_encoder.trunk.blocks:
        block.register_forward_pre_hook(stop_if_cancelled)
    return segmenter


_LOAD = {"clip": "demo", "sam": "demo", "device": "auto"}


def _notify(reply: Reply, text: str) -> None:
    reply.send("notice", {"message": text})
