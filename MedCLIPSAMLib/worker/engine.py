"""The worker's request handlers, with models that stay loaded and images by key; the server does input and output."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, cast

import torch

from ..errors import DeviceError, InputError, MedCLIPSAMError
from ..models.acceleration.memory import is_out_of_memory, release
from ..models.catalogue_entry import Kind
from ..models.device import resolve_device
from ..segmentation.model_cache import ModelCache
from ..segmentation.model_choice import ModelChoice
from ..segmentation.segmenter import TextSegmenter
from ..segmentation.settings import Settings, default_settings
from .catalogue import download_model, models_and_devices
from .exporting import export_dataset
from .fields import read_models_folder, read_text_field
from .images import ImageStack, ReceivedImages
from .protocol import Message
from .reply import Answer, Reply, run_context
from .request_kinds import check_request
from .segmenting import answer_predict_mask, answer_propagate_masks, propagate, segment
from .training import fine_tune_model

log = logging.getLogger(__name__)


class Engine:
    """The state of a worker, which handles one request at a time."""

    def __init__(self) -> None:
        self._models = ModelCache()
        self._too_large: tuple[Any, ...] = ()
        self._segmenter: TextSegmenter | None = None
        self._choice = ModelChoice()
        self._failure: MedCLIPSAMError | None = None
        self._images = ReceivedImages()
        self._handlers: dict[str, Callable[[Message, Reply], Answer]] = {
            "models": lambda message, reply: (models_and_devices(read_models_folder(message)), {}),
            "download": self._download,
            "load": self._load,
            "image": lambda message, reply: ({"slices": self._images.receive(message)}, {}),
            "segment": lambda message, reply: segment(*self._ready(message), message, reply),
            "propagate": lambda message, reply: propagate(*self._ready(message), message, reply),
            "predict_mask": lambda message, reply: answer_predict_mask(
                self.segmenter, self._images.find(message), message, reply
            ),
            "propagate_masks": lambda message, reply: answer_propagate_masks(
                self.segmenter, self._images.find(message), message, reply
            ),
            "finetune": fine_tune_model,
            "export": export_dataset,
        }

    @property
    def segmenter(self) -> TextSegmenter:
        """Segmenter with the loaded models.

        Raises:
            MedCLIPSAMError: the models could not be loaded. InputError: no models have been loaded yet.
        """
        if self._failure:
            raise self._failure
        if self._segmenter is None:
            raise InputError("No models are loaded.", "Send 'load' first.")
        return self._segmenter

    def handle(self, message: Message, reply: Reply) -> Answer:
        """Handle a request, and return the fields and arrays of its result.

        Raises:
            MedCLIPSAMError: the request is invalid or failed.
        """
        check_request(message)
        return self._handlers[message.type](message, reply)

    def _ready(self, message: Message) -> tuple[TextSegmenter, Settings, ImageStack]:
        segmenter = self.segmenter
        return segmenter, self._default_settings(), self._images.find(message)

    def _download(self, message: Message, reply: Reply) -> Answer:
        name, kind = read_text_field(message, "name"), read_text_field(message, "kind", "")
        if kind not in ("", "clip", "sam"):
            raise InputError(f"Expected 'clip' or 'sam' as the kind of model, got '{kind}'.", "Choose one of them.")
        return download_model(name, cast(Kind, kind) or None, run_context(reply, "download")), {}

    def _load(self, message: Message, reply: Reply) -> Answer:
        started = time.perf_counter()
        clip, sam, device = (
            read_text_field(message, name, getattr(ModelChoice, name)) for name in ("clip", "sam", "device")
        )
        choice = ModelChoice(clip, sam, device, read_models_folder(message))
        self._segmenter, self._failure = None, None  # lets the cache free the models, and forgets an earlier failure
        run_context(reply).report(0.0, stage="loading")
        try:
            self._segmenter = self._load_models(choice, reply)
        except MedCLIPSAMError as error:
            self._failure = error
            raise
        self._choice = choice
        return self._description() | {"seconds": time.perf_counter() - started}, {}

    def _load_models(self, choice: ModelChoice, reply: Reply) -> TextSegmenter:
        """Load models on their device, or on the CPU if that has too little memory, and notify the user once."""
        on_cpu, key = replace(choice, device="cpu"), self._models.key(choice)
        if key == self._too_large:
            return self._models.load(on_cpu)
        self._too_large = ()
        try:
            return self._models.load(choice)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        release()  # outside of the except block, whose traceback holds tensors
        if resolve_device(choice.device).type == "cpu":
            raise DeviceError("The models do not fit into this machine's memory.", "Choose smaller models.")
        run_context(reply).notify(
            "The models do not fit into the memory of the GPU and run on the CPU, which is slower."
        )
        segmenter = self._models.load(on_cpu)
        self._too_large = key
        return segmenter

    def _description(self) -> dict[str, Any]:
        segmenter = self.segmenter
        device = segmenter.clip.device
        described = {
            "clip": segmenter.clip.name,
            "sam": segmenter.sam.name,
            "device": str(device),
            "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper(),
            "precision": segmenter.settings.precision,
            "torch": torch.__version__,
        }
        log.info("loaded %s", described)
        return described | {"settings": asdict(self._default_settings())}

    def _default_settings(self) -> Settings:
        return default_settings(self.segmenter.clip.name, self._choice.models_dir)
