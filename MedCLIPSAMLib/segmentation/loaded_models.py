"""The two models of a segmenter, with what is computed once for them, and the handling of running out of memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import DeviceError
from ..models.acceleration.captures import Captures
from ..models.acceleration.memory import release
from ..models.clip import ClipModel
from ..models.sam import Sam2
from .locators import Locator
from .prompts import RememberedTexts
from .saliency import forget_noises

log = logging.getLogger(__name__)

Models = tuple[ClipModel, Sam2]


@dataclass
class Loaded:
    """Two models on one device, and what was computed once for them.

    Args:
        encode_text: features of texts, each computed once.
        locator: computes the maps instead of M2IB; None for M2IB.
        captures: recordings of both models' computations; None on devices other than CUDA, and if memory is short.
    """

    clip: ClipModel
    sam: Sam2
    encode_text: RememberedTexts
    locator: Locator | None
    captures: Captures | None


class LoadedModels:
    """A text-image model and a SAM 2 model, shared by segmenters that differ only in settings.

    Args:
        clip: the text-image model.
        sam: the SAM 2 model.
        load_on_cpu: reloads both on the CPU if the memory of a GPU is too small; None if that is impossible.
        make_locator: makes the locator that computes the maps; None for M2IB.

    Attributes:
        frugal: whether images and noise samples are computed one by one because memory ran out.
        parameters: number of parameters of both models together.
    """

    def __init__(
        self,
        clip: ClipModel,
        sam: Sam2,
        load_on_cpu: Callable[[], Models] | None = None,
        make_locator: Callable[[ClipModel], Locator] | None = None,
    ) -> None:
        self._load_on_cpu, self._make_locator = load_on_cpu, make_locator
        self.frugal = False
        self._loaded: Loaded | None = self._with_all(clip, sam)
        self.parameters = sum(weight.numel() for model in (clip.model, sam) for weight in model.parameters())

    @property
    def usable(self) -> bool:
        """Whether the models are loaded; they are not if they were moved off a GPU and main memory was too small."""
        return self._loaded is not None

    @property
    def loaded(self) -> Loaded:
        """The models.

        Raises:
            DeviceError: the models are not `usable`.
        """
        if self._loaded is None:
            raise DeviceError("The models are not loaded, as memory ran out.", "Load smaller models.")
        return self._loaded

    def reduce_memory(self) -> str:
        """Use less memory from now on: first without recordings, then in smaller steps, then on the CPU.

        Returns:
            A sentence for the user on what was done.

        Raises:
            DeviceError: nothing is left to try. Errors of `load_on_cpu` are passed on.
        """
        loaded = self.loaded
        device = loaded.clip.device
        recordings, loaded.captures, loaded.sam.captures = loaded.captures, None, None
        if recordings and recordings.count:
            return "Memory ran out; working without recorded computations, which takes a little longer."
        if not self.frugal:
            self.frugal = True
            return "Memory ran out; working in smaller steps, which takes longer."
        if device.type == "cpu":
            raise DeviceError("This machine ran out of memory.", "Close other programs, or choose smaller models.")
        if self._load_on_cpu is None:
            raise DeviceError(f"The memory of {device} is too small for this image.", "Choose the CPU as the device.")
        log.warning("moving both models from %s to the CPU", device)
        self._loaded = None
        del loaded
        forget_noises()
        release()
        self._loaded = self._with_all(*self._load_on_cpu())
        return "The memory of the GPU is too small; working on the CPU, which is slower."

    def _with_all(self, clip: ClipModel, sam: Sam2) -> Loaded:
        locator = self._make_locator(clip) if self._make_locator else None
        captures = Captures() if clip.device.type == "cuda" else None
        return Loaded(clip, sam, RememberedTexts(clip), locator, captures)
