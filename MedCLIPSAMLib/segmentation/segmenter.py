"""From a text prompt to a mask of one image: embed it, locate the prompt, outline what is there.

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
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..choices import DEFAULT_MODEL, DEFAULT_SAM, CoarseMethod, Precision, VoteMethod
from ..errors import InputError, PromptError
from ..models.clip import ClipModel, load_clip
from ..models.device import fast_bfloat16, resolve_device, warn_of_slow_bfloat16
from ..models.sam import Sam2, load_sam
from ..models.sam_image_batch import SamImageBatch
from ..models.threads import on_threads
from ..run_context import RunContext
from .agreement import choose_result
from .answer import draft_result, finish_result
from .loaded_models import LoadedModels, Models
from .locate import ShownImages, locate, spread_by_sam
from .locators import Locator, locator_of
from .outline import Outline, outlines, predict_mask_respecting_clicks, voted_outline
from .prompts import RememberedTexts, prompt_features
from .result import Localization, PromptedResult
from .saliency import PAIRS
from .sam_prompts import SamPrompts
from .settings import Settings, default_settings
from .wording import absence_message, notes, says_absent

LARGE = 50_000_000
"""Parameters of both models together."""
TOGETHER = 8
"""Images taken together on a GPU, unless the settings say otherwise."""

STAGE_STARTS = {"saliency": 0.0, "embedding": 0.5, "mask": 0.9}
"""The stages of the work on a prompt, and the share of it that is done when they begin, roughly."""


class TextSegmenter:
    """Text-prompted segmentation of images with two models that stay loaded.

    Args:
        clip: the text-image model.
        sam: a SAM 2 model.
        settings: see `Settings`.
        load_on_cpu: loads the same models on the CPU, for `reduce_memory`.
        make_locator: makes what gives the maps in place of M2IB, of the text-image model where it is now.
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
        self._shown: list[ShownImages] = []  # one at most; shared with the segmenters of `with_settings`
        self._warn_of_precision()

    def with_settings(self, settings: Settings) -> TextSegmenter:
        """A segmenter of other settings that shares the models, the images and all that was computed of them."""
        other = copy(self)
        other._settings = settings
        other._warn_of_precision()
        return other

    def with_modality(self, modality: str | None) -> TextSegmenter:
        """The same for images of a modality; where it is not known, or the settings name one, that stays."""
        if modality is None or self._settings.modality is not None:
            return self
        return self.with_settings(replace(self._settings, modality=modality))

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

    @property
    def encode_text(self) -> RememberedTexts:
        """Features of texts, see `ClipModel.encode_text`; each text is encoded once."""
        return self._models.encode_text

    def reduce_memory(self) -> str:
        """Need less memory from now on; see `LoadedModels.reduce_memory`, also for errors."""
        if self.frugal:  # what comes next is another device
            self._shown.clear()
        done = self._models.reduce_memory()
        self._warn_of_precision()
        return done

    def apply_precision(self) -> None:
        """Set SAM 2 to the precision of these settings; for whoever calls it directly."""
        self.sam.bfloat16 = self.settings.precision == Precision.BF16

    def _warn_of_precision(self) -> None:
        if self.settings.precision == Precision.BF16:
            warn_of_slow_bfloat16(self.clip.device)

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
        self._shown.append(ShownImages(copies, pixels, {}, sam))

    @property
    def images(self) -> Sequence[np.ndarray]:
        """The images that were taken last, uint8 (H, W, 3) each; not to be written to."""
        return self._require_images().images

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
        settings = self.settings
        if settings.by_sam or len(settings.saliency_for(prompt).candidates) > 1:  # SAM 2 has a say in which map it is
            return self.segment(prompt, negative).where
        return self.locate([prompt], negative)[0][prompt][0]

    def segment(self, prompt: str, negative: str | None = None, context: RunContext = RunContext()) -> PromptedResult:
        """Outline what `prompt` names in the image, the first one of several; see `saliency` for the arguments."""
        return self.segment_each([prompt], negative, context)[0][prompt]

    def segment_each(
        self,
        prompts: Sequence[str],
        negative: str | None = None,
        context: RunContext = RunContext(),
        located: list[dict[str, list[Localization]]] | None = None,
    ) -> list[dict[str, PromptedResult]]:
        """Outline what each prompt names in each image: for every image the results by prompt.

        They are those that `segment` gives for each alone, but for rounding. The seconds of what was done together are
        shared out evenly. See `saliency` for the arguments and errors.

        Args:
            context: told of each of the stages `STAGE_STARTS`, and asked within them.
            located: what `locate` gave for the same prompts; None, and it is asked for first.
        """
        context.raise_if_cancelled()
        started = time.perf_counter()
        prompts = list(dict.fromkeys(prompts))
        if not prompts:
            raise PromptError("No prompt was given.", "Say what to segment, such as 'brain tumor'.")
        images = self._require_images().images
        settings = self.settings
        where = located or self.locate(prompts, negative, context)
        if settings.by_sam:
            self.apply_precision()
            where = spread_by_sam(where, self._require_images().sam, settings, context)
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
        drafts_to_ask = [results[at][prompt][step] for at, prompt, step in present]
        numbers = [at for at, _, _ in present]
        seconds: dict[str, float] = {}
        ask = lambda images: self._answers(images, numbers, drafts_to_ask)
        for (at, prompt, step), found in zip(present, self._outlines(numbers, ask, seconds, context)):
            draft = results[at][prompt][step]
            results[at][prompt][step] = finish_result(draft, found.mask, found.quality, settings, found.uncertainty)
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
        min_part = self._settings.min_part
        if logits is None:
            ask = lambda images: outlines(images, [0], [sam_prompts], min_part, self._enlarged)
        else:
            ask = lambda images: [predict_mask_respecting_clicks(images, 0, sam_prompts, logits, min_part)]
        found = self._outlines([0], ask, {} if seconds is None else seconds, context)[0]
        return found.mask, found.quality

    def locate(
        self, prompts: Sequence[str], negative: str | None = None, context: RunContext = RunContext()
    ) -> list[dict[str, list[Localization]]]:
        """Find what the text-image model sees in each image, by prompt, with the map of each of the candidate steps.

        `segment_each` goes on from there, with other settings of what follows too. See `saliency` for the arguments.
        """
        batch = 1 if self.batch_size == 1 else PAIRS
        return locate(
            self._models, self._require_images(), self.settings, prompts, negative, self.text_features, batch, context
        )

    def _drafts(
        self, images: list[np.ndarray], where: list[dict[str, list[Localization]]], settings: Settings
    ) -> list[dict[str, list[PromptedResult]]]:
        """All before SAM 2 for each image by prompt and step; several images on threads of their own."""
        draft = lambda image, seen: {
            prompt: [draft_result(image, prompt, localization, settings) for localization in maps]
            for prompt, maps in seen.items()
        }
        return on_threads(draft, images, where)

    def _answers(
        self, images: SamImageBatch, numbers: list[int], drafts: Sequence[PromptedResult]
    ) -> Sequence[Outline]:
        """The outline for each draft on the image of its number, by one mask or by the vote of several."""
        settings = self._settings
        if settings.vote.method != VoteMethod.NONE:
            return [voted_outline(images, number, draft, settings) for number, draft in zip(numbers, drafts)]
        prompts = [draft.sam_prompts for draft in drafts]
        return outlines(images, numbers, prompts, settings.min_part, self._enlarged)

    @property
    def _enlarged(self) -> bool:
        return self._settings.coarse.method == CoarseMethod.KMEANS  # as it was for the paper's figures

    def _outlines(
        self,
        numbers: list[int],
        ask: Callable[[SamImageBatch], Sequence[Outline]],
        seconds: dict[str, float],
        context: RunContext,
    ) -> Sequence[Outline]:
        """What is answered about images of some numbers once they are embedded; `seconds` gets those of each."""
        if not numbers:
            return []
        images = self._require_images().sam
        images.at_once = self.batch_size > 1
        self.apply_precision()
        started = time.perf_counter()
        if not images.are_embedded(numbers):
            context.report(STAGE_STARTS["embedding"], stage="embedding")
            images.embed(numbers, context)
        embedded = time.perf_counter()
        context.report(STAGE_STARTS["mask"], stage="mask")
        found = ask(images)
        seconds["embedding"] = (embedded - started) / len(numbers)
        seconds["mask"] = (time.perf_counter() - embedded) / len(numbers)
        return found

    def text_features(self, prompt: str) -> torch.Tensor:
        """(D,) float32, L2-normalized, of a prompt or of the ensemble that stands for it.

        Raises:
            PromptError: empty, too long, no word of it known to the model, or no ensemble where a style is set.
        """
        settings, models = self._settings, self._models
        return prompt_features(
            prompt, settings.style, settings.kind, models.clip, models.encode_text, settings.ensemble_mean
        )

    def _require_images(self) -> ShownImages:
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
    on_cpu = lambda: load(torch.device("cpu"))
    return TextSegmenter(*load(resolve_device(device)), settings, on_cpu, locator_of(model, models_dir))
