"""From a text prompt to a mask of one image: look at it, ask where something is, outline it.

    segmenter = load_segmenter("biomedclip", "sam2.1-large", device="cuda")
    segmenter.set_image(image)                      # uint8 (H, W, 3)
    where = segmenter.saliency("brain tumor")       # map, presence
    result = segmenter.segment("brain tumor")       # mask, score, boxes, and the message for the user

    segmenter.set_images(images)                    # several of one size, which a GPU takes together
    results = segmenter.segment_each(["brain tumor", "ventricles"])    # a dictionary by prompt for each of them

The image embedding of SAM 2, the features of the image and its activations before the bottleneck are computed once
and serve every further prompt on it, with other settings too. Whole volumes: `pipeline`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..choices import DEFAULT_MODEL, DEFAULT_SAM, CoarseMethod, Precision
from ..errors import InputError, PromptError
from ..models.clip import ClipModel, load_clip
from ..models.device import fast_bfloat16, resolve_device
from ..models.sam import Sam2, load_sam
from ..models.sam_image_batch import SamImageBatch
from ..models.threads import on_threads
from ..run_context import RunContext
from .agreement import choose_result
from .answer import draft_result, finish_result
from .loaded_models import LoadedModels, Models
from .outline import outlines, predict_mask_respecting_clicks
from .presence import presence
from .prompts import prompt_features
from .result import Localization, PromptedResult
from .saliency import PAIRS, M2IBSettings, m2ib, normalise, upsample
from .saliency_map import SaliencyMap
from .sam_prompts import SamPrompts
from .settings import Settings, default_settings
from .wording import absence_message, notes, says_absent

LARGE = 50_000_000
"""Parameters of both models together."""
TOGETHER = 8
"""Images taken together on a GPU, unless the settings say otherwise."""

STAGE_STARTS = {"saliency": 0.0, "embedding": 0.5, "mask": 0.9}
"""The stages of the work on a prompt, and the share of it that is done when they begin, roughly."""


@dataclass
class _Images:
    """The images that prompts are about, and what was computed of them.

    Args:
        images: uint8 (H, W, 3) each.
        pixels: (N, 3, S, S) for the text-image model.
        early: its activations before the bottleneck, see `saliency.m2ib`.
        sam: the images before SAM 2, with their embeddings.
    """

    images: list[np.ndarray]
    pixels: torch.Tensor
    early: dict[tuple[int, bool], torch.Tensor]
    sam: SamImageBatch


class TextSegmenter:
    """Text-prompted segmentation of images with two models that stay loaded.

    Args:
        clip: the text-image model.
        sam: a SAM 2 model.
        settings: see `Settings`.
        load_on_cpu: loads the same models on the CPU, for `reduce_memory`.
    """

    def __init__(
        self, clip: ClipModel, sam: Sam2, settings: Settings, load_on_cpu: Callable[[], Models] | None = None
    ) -> None:
        self._models = LoadedModels(clip, sam, load_on_cpu)
        self._settings = settings
        self._shown: list[_Images] = []  # one at most; shared with the segmenters of `with_settings`

    def with_settings(self, settings: Settings) -> TextSegmenter:
        """A segmenter of other settings that shares the models, the images and all that was computed of them."""
        other = copy(self)
        other._settings = settings
        return other

    @property
    def clip(self) -> ClipModel:
        return self._models.clip

    @property
    def sam(self) -> Sam2:
        return self._models.sam

    @property
    def settings(self) -> Settings:
        """With the precision that is in use in place of "auto"."""
        if self._settings.precision != Precision.AUTO:
            return self._settings
        fast = self._models.parameters >= LARGE and fast_bfloat16(self.clip.device)
        return replace(self._settings, precision=Precision.BF16 if fast else Precision.F32)

    @property
    def batch_size(self) -> int:
        """How many images to give to `set_images` where there are many; 1 where memory is short."""
        if self._models.frugal:
            return 1
        return self._settings.at_once or (1 if self.clip.device.type == "cpu" else TOGETHER)

    @property
    def frugal(self) -> bool:
        """Whether memory ran out before, so that everything is computed in small steps."""
        return self._models.frugal

    @property
    def usable(self) -> bool:
        """Whether the models are there; see `LoadedModels.usable`."""
        return self._models.usable

    def reduce_memory(self) -> str:
        """Need less memory from now on; see `LoadedModels.reduce_memory`, also for errors."""
        if self.frugal:  # what comes next is another device
            self._shown.clear()
        return self._models.reduce_memory()

    def apply_precision(self) -> None:
        """Set SAM 2 to the precision of these settings; for whoever calls it directly."""
        self.sam.bfloat16 = self.settings.precision == Precision.BF16

    def set_image(self, image: np.ndarray) -> None:
        """Take an image, uint8 (H, W, 3), upright and windowed.

        Raises:
            InputError: another shape or type.
        """
        self.set_images([image])

    def set_images(self, images: Sequence[np.ndarray]) -> None:
        """Take several images of one size, for `segment_each`.

        Raises:
            InputError: none, another shape or type than `set_image` takes, or another size than the first one's.
        """
        for image in images:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
                raise InputError(
                    f"Expected an image of uint8 (H, W, 3), got {image.dtype} {image.shape}.", "Give an RGB image."
                )
        sizes = sorted({image.shape[:2] for image in images})
        if len(sizes) != 1:
            raise InputError(
                f"Expected at least one image, and all of one size, got the sizes {sizes}.", "Give them one by one."
            )
        self._shown.clear()
        copies = [image.copy() for image in images]
        pixels = self.clip.preprocess(np.stack(copies))
        sam = SamImageBatch(self.sam)
        sam.set(copies)
        self._shown.append(_Images(copies, pixels, {}, sam))

    def has_images(self, images: Sequence[np.ndarray]) -> bool:
        """Whether these very images were taken last, so that they need not be given again."""
        shown = self._shown[0].images if self._shown else []
        return len(shown) == len(images) and all(map(np.array_equal, shown, images))

    def saliency(self, prompt: str, negative: str | None = None) -> Localization:
        """Where the image, the first one of several, answers to `prompt`, and whether it does.

        Args:
            negative: what not to take: its saliency is subtracted, and it competes with the prompt for presence.

        Raises:
            PromptError: empty, too long, or no word of it known to the model.
        """
        if len(self.settings.saliency_for(prompt).candidates) > 1:  # which map it is, SAM 2 has a say in
            return self.segment(prompt, negative).where
        return self._where([prompt], negative, RunContext())[0][prompt][0]

    def segment(self, prompt: str, negative: str | None = None, context: RunContext = RunContext()) -> PromptedResult:
        """Outline what `prompt` names in the image, the first one of several; see `saliency` for the arguments."""
        return self.segment_each([prompt], negative, context)[0][prompt]

    def segment_each(
        self, prompts: Sequence[str], negative: str | None = None, context: RunContext = RunContext()
    ) -> list[dict[str, PromptedResult]]:
        """Outline what each prompt names in each image: for every image the results by prompt.

        They are those that `segment` gives for each alone, but for rounding. The seconds of what was done together are
        shared out evenly. See `saliency` for the arguments and errors.

        Args:
            context: told of each of the stages `STAGE_STARTS`, and asked within them.
        """
        context.raise_if_cancelled()
        started = time.perf_counter()
        prompts = list(dict.fromkeys(prompts))
        if not prompts:
            raise PromptError("No prompt was given.", "Say what to segment, such as 'brain tumor'.")
        images = self._require_images().images
        where = self._where(prompts, negative, context)
        settings = self.settings
        results = self._drafts(images, where, settings)
        for drafts in results:
            for prompt in filter(says_absent, prompts):
                drafts[prompt] = [replace(draft, message=absence_message(prompt)) for draft in drafts[prompt]]
        notes_of = {prompt: notes(self.clip, prompt, negative) for prompt in prompts}
        with_notes = lambda result: replace(result, notes=(*result.notes, *notes_of[result.prompt]))
        saliency_seconds = (time.perf_counter() - started) / (len(results) * len(prompts))
        present = [
            (at, prompt, step)
            for at, drafts in enumerate(results)
            for prompt, maps in drafts.items()
            for step, result in enumerate(maps)
            if not result.message
        ]
        sam_prompts = [(at, results[at][prompt][step].sam_prompts) for at, prompt, step in present]
        seconds: dict[str, float] = {}
        for (at, prompt, step), outline in zip(present, self._outlines(sam_prompts, seconds, context)):
            results[at][prompt][step] = finish_result(results[at][prompt][step], *outline, settings)
        counts = Counter((at, prompt) for at, prompt, _ in present)
        spent = lambda *of: {stage: elapsed * counts[of] for stage, elapsed in seconds.items() if of in counts}
        return [
            {
                prompt: replace(
                    with_notes(choose_result(maps)), seconds={"saliency": saliency_seconds} | spent(at, prompt)
                )
                for prompt, maps in drafts.items()
            }
            for at, drafts in enumerate(results)
        ]

    def outline(
        self,
        sam_prompts: SamPrompts,
        seconds: dict[str, float] | None = None,
        logits: np.ndarray | None = None,
        context: RunContext = RunContext(),
    ) -> tuple[np.ndarray, np.ndarray]:
        """The union of SAM 2's masks for prompts in pixels, (H, W) bool, and the predicted IoU of each, (B,).

        Args:
            logits: a mask to start from, (B, h, w) float32, positive inside, h and w a quarter of SAM 2's image size.
                Where the answer leaves out a point inside or takes in one outside, the points outweigh the mask: SAM 2
                is asked again without it, and then without the box, and the answer that follows most points is taken.

        Raises:
            InputError: no image yet, or logits of another shape.
        """
        self._require_images()
        side = self.sam.image_size // 4
        if logits is not None and logits.shape != (len(sam_prompts), side, side):
            raise InputError(
                f"Expected mask logits of shape {(len(sam_prompts), side, side)}, got {logits.shape}.",
                "Give one array for each object.",
            )
        return self._outlines([(0, sam_prompts)], {} if seconds is None else seconds, context, logits)[0]

    def _where(
        self, prompts: list[str], negative: str | None, context: RunContext
    ) -> list[dict[str, list[Localization]]]:
        """What the text-image model sees in each image, by prompt, with the map of each of the candidate steps."""
        shown = self._require_images()
        settings, frugal = self.settings, self._models.frugal
        context.report(STAGE_STARTS["saliency"], stage="saliency")
        negatives = [negative] if negative else []
        text_features = {prompt: self.text_features(prompt) for prompt in [*prompts, *negatives]}
        prompts_by_settings: dict[M2IBSettings, list[str]] = {}
        for prompt in prompts:
            prompts_by_settings.setdefault(settings.saliency_for(prompt), []).append(prompt)
        where: list[dict[str, list[Localization]]] = [{} for _ in shown.images]
        for m2ib_settings, same_settings in prompts_by_settings.items():
            found = m2ib(
                self.clip,
                shown.pixels,
                torch.stack([text_features[prompt] for prompt in [*same_settings, *negatives]]),
                m2ib_settings,
                context,
                batch=1 if self.batch_size == 1 else PAIRS,
                noise_batch=1 if frugal else None,
                early=shown.early,
                bfloat16=settings.precision == Precision.BF16,
                captures=self._models.captures if settings.capture and shown.pixels.is_cuda else None,
            )
            shape = shown.images[0].shape[:2]
            maps = found.by_step.cpu()
            if negative:
                maps = normalise(upsample(maps.flatten(1, 2), shape)).unflatten(1, maps.shape[1:3])
                maps = normalise((maps[:, :-1] - maps[:, -1:]).clamp(min=0))
            for column, prompt in enumerate(same_settings):
                present = presence(
                    self.clip, found.image_features, text_features[prompt], prompt, negative, self._models.encode_text
                )
                for at, image_presence in enumerate(present):
                    steps = maps[at, column].numpy()
                    where[at][prompt] = [Localization(SaliencyMap(values, shape), image_presence) for values in steps]
        return where

    def _drafts(
        self, images: list[np.ndarray], where: list[dict[str, list[Localization]]], settings: Settings
    ) -> list[dict[str, list[PromptedResult]]]:
        """All before SAM 2 for each image by prompt and step; several images on threads of their own."""
        draft = lambda image, seen: {
            prompt: [draft_result(image, prompt, location, settings) for location in maps]
            for prompt, maps in seen.items()
        }
        return on_threads(draft, images, where)

    def _outlines(
        self,
        sam_prompts: list[tuple[int, SamPrompts]],
        seconds: dict[str, float],
        context: RunContext,
        logits: np.ndarray | None = None,
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The outline for each of some prompts on images, given by their number; `seconds` gets those of each."""
        if not sam_prompts:
            return []
        numbers, objects = [number for number, _ in sam_prompts], [own for _, own in sam_prompts]
        images = self._require_images().sam
        images.at_once = self.batch_size > 1
        self.apply_precision()
        started = time.perf_counter()
        if not images.are_embedded(numbers):
            context.report(STAGE_STARTS["embedding"], stage="embedding")
            images.embed(numbers, context)
        embedded = time.perf_counter()
        context.report(STAGE_STARTS["mask"], stage="mask")
        min_part = self._settings.min_part
        if logits is None:
            enlarged = self._settings.coarse.method == CoarseMethod.KMEANS  # as it was for the paper's figures
            found = outlines(images, numbers, objects, min_part, enlarged)
        else:
            found = [predict_mask_respecting_clicks(images, numbers[0], objects[0], logits, min_part)]
        seconds["embedding"] = (embedded - started) / len(sam_prompts)
        seconds["mask"] = (time.perf_counter() - embedded) / len(sam_prompts)
        return found

    def text_features(self, prompt: str) -> torch.Tensor:
        """(D,) float32, L2-normalised, of a prompt or of the ensemble that stands for it.

        Raises:
            PromptError: empty, too long, no word of it known to the model, or no ensemble where a style is set.
        """
        settings, models = self._settings, self._models
        return prompt_features(prompt, settings.style, settings.kind, models.clip, models.encode_text)

    def _require_images(self) -> _Images:
        if not self._shown:
            raise InputError("No image was given yet.", "Call set_image first.")
        return self._shown[0]


def choices(segmenter: TextSegmenter) -> str:
    """What was chosen for the device, in a sentence for the user."""
    clip, device = segmenter.clip, segmenter.clip.device
    own = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    fast = "with" if fast_bfloat16(device) else "without"
    together = "one by one" if segmenter.batch_size == 1 else f"{segmenter.batch_size} at once"
    recorded = ", saliency recorded as a CUDA graph" if device.type == "cuda" and segmenter.settings.capture else ""
    return (
        f"{device} ({own}, {fast} bfloat16 of its own): {segmenter.settings.precision} for '{clip.name}' and "
        f"'{segmenter.sam.name}', images {together}{recorded}."
    )


def load_segmenter(
    model: str = DEFAULT_MODEL,
    sam: str = DEFAULT_SAM,
    device: str = "auto",
    models_dir: Path | None = None,
    settings: Settings | None = None,
) -> TextSegmenter:
    """A `TextSegmenter` of catalogue models.

    Args:
        model, sam: names in the catalogue.
        settings: the model's defaults of the catalogue when None.

    Raises:
        ModelError: unknown, absent or damaged model. DeviceError: a device that is not there.
    """
    load = lambda where: (load_clip(model, where, models_dir=models_dir), load_sam(sam, where, models_dir=models_dir))
    settings = settings or default_settings(model, models_dir)
    return TextSegmenter(*load(resolve_device(device)), settings, lambda: load(torch.device("cpu")))
