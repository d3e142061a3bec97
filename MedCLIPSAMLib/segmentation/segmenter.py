"""Segment what a text prompt names in an image: encode the image, locate the prompt, predict its mask.

    segmenter = load_segmenter("biomedclip", "sam2.1-large", device="cuda")
    segmenter.set_image(image)                      # uint8 (H, W, 3)
    where = segmenter.saliency("brain tumor")       # map, presence
    result = segmenter.segment("brain tumor")       # mask, score, sam_prompts.boxes, and a message for the user

    segmenter.set_images(images)                    # several of one size, which a GPU processes together
    results = segmenter.segment_each(["brain tumor", "ventricles"])    # for each image a dictionary by prompt

The SAM 2 embedding of an image, its features, and its activations before the bottleneck are computed once and reused
for further prompts and settings. For whole volumes see `pipeline`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from types import NoneType

import numpy as np
import torch

from ..choices import DEFAULT_MODEL, DEFAULT_SAM, Precision
from ..errors import PATH, InputError, PromptError, check_type
from ..models.acceleration.memory import refuse_too_large
from ..models.clip import ClipModel, load_clip
from ..models.device import fast_bfloat16, resolve_device, warn_of_slow_bfloat16
from ..models.sam import Sam2, load_sam
from ..models.sam_image_batch import SamImageBatch
from ..run_context import RunContext
from .answer import draft_results, finish_result
from .expected_dsc import choose_with_expected_dsc
from .image_batch import ImageBatch, check_images, make_image_batch
from .loaded_models import LoadedModels, Models
from .locate import locate, spread_by_sam
from .locators import Locator, find_locator
from .mask_prediction import predict_draft_masks, predict_prompted_mask
from .own_precision import in_own_precision
from .prompts import RememberedTexts, check_prompts, encode_prompt
from .result import Localization, PromptedResult
from .saliency import PAIRS
from .sam_prompts import SamPrompts
from .settings import Settings, default_settings
from .wording import notes

IMAGES_AT_ONCE = 8
"""Number of images processed together on a GPU, unless the settings say otherwise."""
STAGE_STARTS = {"saliency": 0.0, "embedding": 0.5, "mask": 0.9}
"""The stages of segmenting a prompt, and the approximate share of the work done when each begins."""
LARGE = 50_000_000
"""Minimum number of parameters of both models together at which the precision "auto" may mean bfloat16."""


class TextSegmenter:
    """Text-prompted segmentation of images with two models that stay loaded.

    Args:
        clip: the text-image model.
        sam: a SAM 2 model.
        settings: see `Settings`.
        load_on_cpu: loads the same models on the CPU, for `reduce_memory`.
        make_locator: makes the locator that computes the maps instead of M2IB, from the loaded text-image model.
    """

    def __init__(
        self,
        clip: ClipModel,
        sam: Sam2,
        settings: Settings,
        load_on_cpu: Callable[[], Models] | None = None,
        make_locator: Callable[[ClipModel], Locator] | None = None,
    ) -> None:
        self._models = LoadedModels(clip, sam, load_on_cpu, make_locator)
        self._settings = settings
        self._shown: list[ImageBatch] = []  # at most one; shared with the segmenters of `with_settings`
        self._warn_of_precision()

    def with_settings(self, settings: Settings) -> TextSegmenter:
        """Return a segmenter with other settings that shares the models, the images and everything computed so far."""
        check_type(settings, Settings, "Settings", "Start from segmenter.settings.")
        other = copy(self)
        other._settings = settings
        other._warn_of_precision()
        return other

    def without_images(self) -> TextSegmenter:
        """Return a segmenter with the same models and settings that has its own images, none at first."""
        other = copy(self)
        other._shown = []
        return other

    def with_modality(self, modality: str | None) -> TextSegmenter:
        """Return a segmenter for images of a modality; itself if that is None or the settings already name one."""
        if modality is None or self._settings.modality is not None:
            return self
        return self.with_settings(replace(self._settings, modality=modality))

    @property
    def clip(self) -> ClipModel:
        """Text-image model."""
        return self._models.loaded.clip

    @property
    def sam(self) -> Sam2:
        """SAM 2 model."""
        return self._models.loaded.sam

    @property
    def settings(self) -> Settings:
        """Settings, with "auto" replaced by the precision in use: bfloat16 for large models where that is fast."""
        if self._settings.precision != Precision.AUTO:
            return self._settings
        fast = self._models.parameters >= LARGE and fast_bfloat16(self.clip.device)
        return replace(self._settings, precision=Precision.BF16 if fast else Precision.F32)

    @property
    def batch_size(self) -> int:
        """Number of images to pass to `set_images` at once; 1 if memory is short."""
        if self._models.frugal:
            return 1
        return self._settings.at_once or (1 if self.clip.device.type == "cpu" else IMAGES_AT_ONCE)

    @property
    def frugal(self) -> bool:
        """Whether everything is computed in small steps, as memory ran out before."""
        return self._models.frugal

    @property
    def usable(self) -> bool:
        """Whether the models are loaded; see `LoadedModels.usable`."""
        return self._models.usable

    @property
    def encode_text(self) -> RememberedTexts:
        """Features of texts, see `ClipModel.encode_text`; each text is encoded once."""
        return self._models.loaded.encode_text

    def describe_device(self) -> str:
        """Describe the device, and the precision and batch size chosen for it, in a sentence for the user."""
        device, settings, size = self.clip.device, self.settings, self.batch_size
        own = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
        fast = "with" if fast_bfloat16(device) else "without"
        together = "one by one" if size == 1 else f"{size} at once"
        recorded = ", networks recorded as CUDA graphs" if device.type == "cuda" and settings.capture else ""
        return (
            f"{device} ({own}, {fast} bfloat16): {settings.precision} for '{self.clip.name}' and '{self.sam.name}', "
            f"images {together}{recorded}."
        )

    def reduce_memory(self) -> str:
        """Use less memory from now on; see `LoadedModels.reduce_memory` for the result and errors."""
        if self.frugal:  # the next step is another device
            self._shown.clear()
        done = self._models.reduce_memory()
        self._warn_of_precision()
        return done

    def set_up_sam(self) -> None:
        """Apply the precision and the recording of these settings to SAM 2, for callers that use it directly."""
        self.sam.bfloat16 = self.settings.precision == Precision.BF16
        self.sam.captures = self._models.loaded.captures if self._settings.capture else None

    def _warn_of_precision(self) -> None:
        if self.settings.precision == Precision.BF16:
            warn_of_slow_bfloat16(self.clip.device)

    def set_image(self, image: np.ndarray) -> None:
        """Set the image, uint8 (H, W, 3), upright and windowed; may be an RGB image of Pillow.

        Raises:
            InputError: wrong shape or type.
        """
        self.set_images([image])

    def set_images(self, images: Sequence[np.ndarray]) -> None:
        """Set several images of one size, for `segment_each`.

        Raises:
            InputError: there is no image, or one has a wrong shape or type or another size than the others.
        """
        images = check_images(images)
        self._shown.clear()  # before memory is taken for the new ones
        self._shown.append(make_image_batch(self.clip, self.sam, images))

    @property
    def images(self) -> Sequence[np.ndarray]:
        """The images set last, uint8 (H, W, 3) each; do not write to them."""
        return self._require_images().images

    def has_images(self, images: Sequence[np.ndarray]) -> bool:
        """Tell whether exactly these images were set last, so that they need not be set again."""
        shown = self._shown[0].images if self._shown else []
        return len(shown) == len(images) and all(map(np.array_equal, shown, images))

    def saliency(self, prompt: str, negative: str | None = None) -> Localization:
        """Locate `prompt` in the image, or in the first one of several: its saliency map and presence.

        Args:
            negative: a prompt for what to exclude. Its saliency is subtracted, and it competes for presence.

        Raises:
            PromptError: the prompt is empty or too long, or the model knows no word of it.
        """
        check_prompts([prompt])
        settings = self.settings
        if settings.by_sam or len(settings.saliency_for(prompt).candidates) > 1:  # SAM 2 decides between maps
            return self.segment(prompt, negative).where
        return self.locate([prompt], negative)[0][prompt][0]

    def segment(self, prompt: str, negative: str | None = None, context: RunContext = RunContext()) -> PromptedResult:
        """Segment what `prompt` names in the image, or in the first one of several; see `saliency` for arguments."""
        return self.segment_each([prompt], negative, context)[0][prompt]

    @in_own_precision
    def segment_each(
        self,
        prompts: Sequence[str],
        negative: str | None = None,
        context: RunContext = RunContext(),
        located: list[dict[str, list[Localization]]] | None = None,
    ) -> list[dict[str, PromptedResult]]:
        """Segment what each prompt names in each image, and return for every image the results by prompt.

        They equal the results of `segment` for each prompt and image alone, except for rounding. The time of steps done
        together is divided evenly among the results. See `saliency` for the other arguments and errors.

        Args:
            context: reports the stages of `STAGE_STARTS`, and is checked for cancellation within them.
            located: what `locate` returned for the same prompts; None calls it first.
        """
        prompts = list(dict.fromkeys(check_prompts(prompts)))
        check_type(context, RunContext, "a RunContext")
        context.raise_if_cancelled()
        started = time.perf_counter()
        images = self._require_images().images
        settings = self.settings
        where = self.locate(prompts, negative, context) if located is None else located
        if len(where) != len(images) or any(set(prompts) - seen.keys() for seen in where):
            raise InputError("Expected the results of locate for these images and prompts.", "Call locate again.")
        where = [{prompt: seen[prompt] for prompt in prompts} for seen in where]
        if settings.by_sam:
            self.set_up_sam()
            where = spread_by_sam(where, self._require_images().sam, settings, context)
        drafts = draft_results(images, where, settings)
        notes_of = {prompt: notes(self.clip, prompt, negative) for prompt in prompts}
        saliency_seconds = {"saliency": (time.perf_counter() - started) / (len(images) * len(prompts))}
        results, seconds = self._outline(drafts, settings, context)
        predictor = None if negative else self.clip.dsc_predictor
        chosen: list[dict[str, PromptedResult]] = [{} for _ in images]
        for (at, prompt), group in groupby(results, lambda item: (item[0], item[1].prompt)):
            steps = [result for _, result in group]
            best = choose_with_expected_dsc(steps, predictor, self.sam.name, settings)
            outlined = sum(result.predicted_iou.size > 0 for result in steps)
            spent = {stage: elapsed * outlined for stage, elapsed in seconds.items() if outlined}
            chosen[at][prompt] = replace(best, notes=(*best.notes, *notes_of[prompt]), seconds=saliency_seconds | spent)
        return chosen

    def _outline(
        self, drafts: list[tuple[int, PromptedResult]], settings: Settings, context: RunContext
    ) -> tuple[list[tuple[int, PromptedResult]], dict[str, float]]:
        """Complete by SAM 2 the drafts that have no message yet, each on the image of its number.

        Returns:
            All results, and the seconds of each stage per completed draft.
        """
        waiting = [(at, draft) for at, draft in drafts if not draft.message]
        if not waiting:
            return drafts, {}
        numbers = [at for at, _ in waiting]
        started = time.perf_counter()
        images = self._embed(numbers, context)
        embedded = time.perf_counter()
        context.report(STAGE_STARTS["mask"], stage="mask")
        masks = iter(predict_draft_masks(images, numbers, [draft for _, draft in waiting], settings))
        seconds = {"embedding": embedded - started, "mask": time.perf_counter() - embedded}
        finish = lambda draft: draft if draft.message else finish_result(draft, next(masks), settings)
        results = [(at, finish(draft)) for at, draft in drafts]
        return results, {stage: elapsed / len(waiting) for stage, elapsed in seconds.items()}

    @in_own_precision
    def predict_mask(
        self, sam_prompts: SamPrompts, logits: np.ndarray | None = None, context: RunContext = RunContext()
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predict SAM 2's masks for boxes and points, on the first image.

        Args:
            logits: a mask to start from, (B, h, w) float32, positive inside; h and w are a quarter of SAM 2's image
                size. Points outweigh the logits: if the mask misses a point inside or includes one outside, SAM 2 is
                prompted again without the logits, then without the box. The mask that follows most points is taken.

        Returns:
            The union of the masks, (H, W) bool, and the predicted IoU of each, (B,).

        Raises:
            InputError: no image is set, there is no object, boxes or points lie outside of the image, or logits have
                another shape or are not finite.
        """
        check_type(sam_prompts, SamPrompts, "SamPrompts", "Give SamPrompts([[x0, y0, x1, y1]]) in pixels.")
        sam_prompts.require_within(self._require_images().sam.shape)
        if not len(sam_prompts):
            raise InputError("No box and no point was given.", "Give a box or points of at least one object.")
        if logits is not None:
            logits, side = np.asarray(logits, np.float32).copy(), self.sam.image_size // 4
            if logits.shape != (len(sam_prompts), side, side):
                raise InputError(
                    f"Expected mask logits of shape {(len(sam_prompts), side, side)}, got {logits.shape}.",
                    "Give one array for each object.",
                )
            if not np.isfinite(logits).all():
                raise InputError("Expected finite mask logits, got NaN or infinity.", "Give numbers, positive inside.")
        images = self._embed([0], context)
        context.report(STAGE_STARTS["mask"], stage="mask")
        found = predict_prompted_mask(images, sam_prompts, logits, self._settings)
        return found.mask, found.quality

    @in_own_precision
    def locate(
        self, prompts: Sequence[str], negative: str | None = None, context: RunContext = RunContext()
    ) -> list[dict[str, list[Localization]]]:
        """Find what the text-image model sees in each image, by prompt, with the map of every candidate step.

        Pass the results to `segment_each`; settings of the later stages may differ. See `saliency` for the arguments.
        """
        prompts = check_prompts(prompts)
        check_type(negative, (str, NoneType), "a negative prompt as text, or None", error=PromptError)
        negative = (negative or "").strip() or None
        batch = 1 if self.batch_size == 1 else PAIRS
        return locate(
            self._models, self._require_images(), self.settings, prompts, negative, self.text_features, batch, context
        )

    def _embed(self, numbers: list[int], context: RunContext) -> SamImageBatch:
        """Return the images for SAM 2, set up for these settings, with the images of `numbers` embedded."""
        images = self._require_images().sam
        images.at_once = self.batch_size > 1
        self.set_up_sam()
        if not images.are_embedded(numbers):
            context.report(STAGE_STARTS["embedding"], stage="embedding")
            images.embed(numbers, context)
        return images

    @in_own_precision
    def text_features(self, prompt: str) -> torch.Tensor:
        """Encode a prompt, or the ensemble that replaces it: (D,) float32, L2-normalized.

        Raises:
            PromptError: the prompt is empty or too long, the model knows no word of it, or a style is set and the
                prompt has no ensemble.
        """
        return encode_prompt(prompt, self._settings, self.clip, self.encode_text)

    def _require_images(self) -> ImageBatch:
        if not self._shown:
            raise InputError("No image was given yet.", "Call set_image first.")
        return self._shown[0]


def load_segmenter(
    model: str = DEFAULT_MODEL,
    sam: str = DEFAULT_SAM,
    device: str = "auto",
    models_dir: Path | None = None,
    settings: Settings | None = None,
) -> TextSegmenter:
    """Load a `TextSegmenter` of catalogue models.

    Args:
        model, sam: names in the catalogue.
        settings: None uses the defaults of the model in the catalogue.

    Raises:
        ModelError: unknown, missing or damaged model. DeviceError: unavailable device, or too little memory.
    """
    check_type(models_dir, (*PATH, NoneType), "a folder of models, or None")
    check_type(settings, (Settings, NoneType), "Settings, or None", "Start from default_settings(model).")

    def load(where: torch.device) -> Models:
        with refuse_too_large(where):
            return load_clip(model, where, models_dir), load_sam(sam, where, models_dir)

    settings = settings or default_settings(model, models_dir)
    on_cpu = lambda: load(torch.device("cpu"))
    return TextSegmenter(*load(resolve_device(device)), settings, on_cpu, find_locator(model, models_dir))
