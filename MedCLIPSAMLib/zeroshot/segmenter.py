"""From a text prompt to a mask of one picture: look at it, ask where something is, outline it.

    segmenter = load_segmenter("biomedclip", "sam2.1-large", device="cuda")
    segmenter.set_image(picture)                    # uint8 (H, W, 3)
    where = segmenter.saliency("brain tumor")       # map, presence
    result = segmenter.segment("brain tumor")       # mask, score, boxes, and the message for the user

    segmenter.set_images(pictures)                  # several of one size, which a GPU takes together
    results = segmenter.segment_each(["brain tumor", "ventricles"])    # a dictionary by prompt for each of them

The image embedding of SAM 2, the features of the picture and its activations before the bottleneck are computed once
and serve every further prompt on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError, PromptError
from ..models.captures import Captures
from ..models.clip import ClipModel, load_clip
from ..models.device import fast_bfloat16, resolve_device
from ..models.sam import load_sam
from ..models.sam_pictures import SamPictures
from .coarse import coarse_mask
from .components import components
from .outline import obedient_outline, outlines
from .presence import Presence, presence
from .prompts import RememberedTexts, ensemble_features, load_prompt_sets
from .saliency import PAIRS, M2IBSettings, m2ib, normalise, upsample
from .sam_prompts import SamPrompts, make_prompts
from .settings import Settings, default_settings

LARGE = 50_000_000
"""Parameters of both models together."""
TOGETHER = 8
"""Pictures taken together on a GPU, unless the settings say otherwise."""


@dataclass(frozen=True)
class Where:
    """What the text-image model sees in a picture for a prompt.

    Args:
        saliency: (H, W) float32, 0 to 1 within the picture: where, never whether.
        presence: whether.
    """

    saliency: np.ndarray
    presence: Presence


@dataclass(frozen=True)
class Result:
    """The answer to one prompt on one picture, with all that led to it.

    Args:
        prompt: as the user typed it.
        mask: (H, W) bool; empty when nothing was found.
        score: presence times the mean mask quality (IoU) that SAM 2 predicts, 0 to 1; 0 when nothing was found.
        message: one sentence for the user.
        where: saliency map and presence; None on a slice that the mask was carried to from another one.
        coarse: (H, W) bool, the saliency map cut in two, kept components only.
        sam_prompts: boxes and points given to SAM 2.
        predicted_iou: (B,) float32, the quality that SAM 2 predicts for each component's mask.
        seconds: by stage: "saliency", "embedding", "mask".
    """

    prompt: str
    mask: np.ndarray
    score: float
    message: str
    where: Where | None = None
    coarse: np.ndarray | None = None
    sam_prompts: SamPrompts | None = None
    predicted_iou: np.ndarray | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def found(self) -> bool:
        return bool(self.mask.any())


class TextSegmenter:
    """Text-prompted segmentation of pictures with two models that stay loaded.

    Args:
        clip: the text-image model.
        sam: a SAM 2 model.
        settings: see `Settings`.
        cancelled: asked between steps; when it says True the work ends with `errors.Cancelled`.

    Attributes:
        stage: called with "saliency", "embedding" or "mask" when that begins.
        together: noise samples of M2IB computed together, all of them when None; see `saliency.m2ib`.
    """

    def __init__(
        self, clip: ClipModel, sam: torch.nn.Module, settings: Settings, cancelled: Callable[[], bool] | None = None
    ) -> None:
        self.clip, self.sam = clip, sam
        self.settings = settings
        self.cancelled = cancelled
        self.stage: Callable[[str], None] = lambda name: None
        self.together: int | None = None
        self._encode_text = RememberedTexts(clip)
        self._captures = Captures()
        self._asked = SamPictures(sam)
        self._pictures: list[np.ndarray] = []

    @property
    def settings(self) -> Settings:
        """With the precision that is in use in place of "auto"."""
        return self._settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        if settings.precision == "auto":
            settings = replace(settings, precision=choose_precision(self.clip, self.sam))
        self._settings = settings
        self.sam.bfloat16 = settings.precision == "bf16"

    @property
    def together_at_best(self) -> int:
        """How many pictures to give to `set_images` where there are many; 1 where memory is short."""
        return 1 if self.together else self.settings.at_once or (1 if self.clip.device.type == "cpu" else TOGETHER)

    def set_image(self, picture: np.ndarray) -> None:
        """Take a picture, uint8 (H, W, 3), upright and windowed.

        Raises:
            InputError: another shape or type.
        """
        self.set_images([picture])

    def set_images(self, pictures: Sequence[np.ndarray]) -> None:
        """Take several pictures of one size, for `segment_each`.

        Raises:
            InputError: none, another shape or type than `set_image` takes, or another size than the first one's.
        """
        for picture in pictures:
            if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
                raise InputError(
                    f"A picture of shape {picture.shape} and type {picture.dtype} came.",
                    "It must be (H, W, 3) of uint8.",
                )
        sizes = sorted({picture.shape[:2] for picture in pictures})
        if len(sizes) != 1:
            raise InputError(f"Pictures of the sizes {sizes} came together.", "Give at least one, and all of one size.")
        self._pictures = list(pictures)
        self._pixels = self.clip.preprocess(np.stack(self._pictures))
        self._early: dict[int, torch.Tensor] = {}
        self._asked.set(self._pictures)

    def saliency(self, prompt: str, negative: str | None = None) -> Where:
        """Where the picture, the first one of several, answers to `prompt`, and whether it does.

        Args:
            negative: what not to take: its saliency is subtracted, and it competes with the prompt for presence.

        Raises:
            PromptError: empty, too long, or no word of it known to the model.
        """
        return self._where([prompt], negative)[0][prompt]

    def segment(self, prompt: str, negative: str | None = None) -> Result:
        """Outline what `prompt` names in the picture, the first one of several; see `saliency` for the arguments."""
        return self.segment_each([prompt], negative)[0][prompt]

    def segment_each(self, prompts: Sequence[str], negative: str | None = None) -> list[dict[str, Result]]:
        """Outline what each prompt names in each picture: for every picture the results by prompt.

        They are those that `segment` gives for each alone, but for rounding. The seconds of what was done together are
        shared out evenly. See `saliency` for the arguments and errors.
        """
        started = time.perf_counter()
        prompts = list(dict.fromkeys(prompts))
        if not prompts:
            raise PromptError("No prompt was given.", "Say what to segment, such as 'brain tumor'.")
        where = self._where(prompts, negative)
        of_picture = lambda picture, seen: {prompt: self._draft(picture, prompt, seen[prompt]) for prompt in prompts}
        with ThreadPoolExecutor(len(where)) as pool:
            found = list(pool.map(of_picture, self._pictures, where))
        seconds = {"saliency": (time.perf_counter() - started) / (len(found) * len(prompts))}
        asked = [
            (number, prompt) for number, each in enumerate(found) for prompt in prompts if not each[prompt].message
        ]
        made = self._outlines([(number, found[number][prompt].sam_prompts) for number, prompt in asked], seconds)
        for (number, prompt), (mask, quality) in zip(asked, made):
            found[number][prompt] = self._finished(found[number][prompt], mask, quality)
        parts = lambda *of: seconds if of in asked else {"saliency": seconds["saliency"]}
        return [
            {prompt: replace(result, seconds=dict(parts(number, prompt))) for prompt, result in each.items()}
            for number, each in enumerate(found)
        ]

    def outline(
        self, sam_prompts: SamPrompts, seconds: dict[str, float] | None = None, logits: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The union of SAM 2's masks for prompts in pixels, (H, W) bool, and the predicted IoU of each, (B,).

        Args:
            logits: a mask to start from, (B, h, w) float32, positive inside, h and w a quarter of SAM 2's image size.
                Where the answer leaves out a point inside or takes in one outside, the points outweigh the mask: SAM 2
                is asked again without it, and then without the box, and the answer that follows most points is taken.

        Raises:
            InputError: no picture yet, or logits of another shape.
        """
        self._require_pictures()
        side = self.sam.image_size // 4
        if logits is not None and logits.shape != (len(sam_prompts), side, side):
            raise InputError(
                f"Mask logits of shape {logits.shape} came for {len(sam_prompts)} objects.",
                f"They must be ({len(sam_prompts)}, {side}, {side}).",
            )
        return self._outlines([(0, sam_prompts)], {} if seconds is None else seconds, logits)[0]

    def _where(self, prompts: list[str], negative: str | None) -> list[dict[str, Where]]:
        """What the text-image model sees in each picture, by prompt."""
        pictures = self._require_pictures()
        self.stage("saliency")
        texts = {prompt: self.text_features(prompt) for prompt in [*prompts, *([negative] if negative else [])]}
        alike: dict[M2IBSettings, list[str]] = {}
        for prompt in prompts:
            alike.setdefault(self.settings.saliency_for(prompt), []).append(prompt)
        where: list[dict[str, Where]] = [{} for _ in pictures]
        for settings, some in alike.items():
            found = m2ib(
                self.clip,
                self._pixels,
                torch.stack([texts[prompt] for prompt in [*some, *([negative] if negative else [])]]),
                settings,
                self.cancelled,
                batch=1 if self.together_at_best == 1 else PAIRS,
                together=self.together,
                early=self._early,
                bfloat16=self.settings.precision == "bf16",
                captures=self._captures if self.settings.capture and self._pixels.is_cuda else None,
            )
            maps = normalise(upsample(found.maps, pictures[0].shape[:2]))
            if negative:
                maps = normalise((maps[:, :-1] - maps[:, -1:]).clamp(min=0))
            maps = maps.cpu().numpy()
            for column, prompt in enumerate(some):
                present = presence(self.clip, found.image_features, texts[prompt], prompt, negative, self._encode_text)
                for number, each in enumerate(present):
                    where[number][prompt] = Where(maps[number, column], each)
        return where

    def _draft(self, picture: np.ndarray, prompt: str, where: Where) -> Result:
        """All before SAM 2: a result that says why nothing was found, or one without a message that waits for it."""
        coarse = coarse_mask(where.saliency, self.settings.coarse, picture)
        labels = components(coarse, where.saliency, self.settings.components)
        kept = labels > 0
        nothing = _why_nothing(prompt, where.presence, kept, self.settings.presence_threshold)
        empty, prompts = np.zeros(picture.shape[:2], bool), make_prompts(labels, self.settings.prompts)
        return Result(prompt, empty, 0.0, nothing, where, kept, prompts, np.zeros(0, np.float32))

    def _outlines(
        self, asked: list[tuple[int, SamPrompts]], seconds: dict[str, float], logits: np.ndarray | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The outline for each of some prompts on pictures, given by their number; `seconds` gets those of each."""
        if not asked:
            return []
        numbers, prompts = map(list, zip(*asked))
        self._asked.at_once = self.together_at_best > 1
        started = time.perf_counter()
        if not self._asked.embedded(numbers):
            self.stage("embedding")
            self._asked.embed(numbers)
        embedded = time.perf_counter()
        self.stage("mask")
        least = self.settings.least_part
        if logits is None:
            made = outlines(self._asked, numbers, prompts, least)
        else:
            made = [obedient_outline(self._asked, numbers[0], prompts[0], logits, least)]
        seconds["embedding"] = (embedded - started) / len(asked)
        seconds["mask"] = (time.perf_counter() - embedded) / len(asked)
        return made

    def _finished(self, draft: Result, mask: np.ndarray, quality: np.ndarray) -> Result:
        """A draft with what SAM 2 made of it."""
        prompt, present = draft.prompt, draft.where.presence.probability
        draft = replace(draft, mask=mask, predicted_iou=quality)
        if mask.any():
            score = present * float(quality.mean())
            message = (
                f"Found '{prompt}': score {score:.2f} "
                f"(presence {present:.2f} x predicted mask quality {quality.mean():.2f})."
            )
            return replace(draft, score=score, message=message)
        if self.settings.presence_threshold > 0:
            return replace(draft, message=f"Nothing found for '{prompt}': SAM 2 sees no object where the saliency is.")
        message = f"SAM 2 sees no object for '{prompt}': this is the coarse mask, where the saliency is."
        return replace(draft, mask=draft.coarse, message=message)

    def text_features(self, prompt: str) -> torch.Tensor:
        """(D,) float32, L2-normalised, of a prompt or of the ensemble that stands for it.

        Raises:
            PromptError: empty, too long, no word of it known to the model, or no ensemble where a style is set.
        """
        if not prompt.strip():
            raise PromptError("The prompt is empty.", "Say what to segment, such as 'brain tumor'.")
        prompts = [prompt]
        if self.settings.style:
            sets = [each for each in load_prompt_sets().values() if each.target == prompt.strip().lower()]
            if not sets:
                raise PromptError(
                    f"No prompt set has the target '{prompt}', so style {self.settings.style} cannot be used.",
                    "Leave the style out, or use one of: "
                    + ", ".join(sorted({each.target for each in load_prompt_sets().values()}))
                    + ".",
                )
            fitting = [each for each in sets if self.settings.kind in each.styles.get(self.settings.style, {})] or sets
            prompts = [text for each in fitting for text in each.prompts(self.settings.style, self.settings.kind)]
        unknown = self.clip.unknown_words(prompt)
        if unknown and len(unknown) == len(prompt.split()):
            raise PromptError(
                f"The model '{self.clip.name}' knows no word of the prompt '{prompt}'.",
                "Use other words, or a model with a larger vocabulary.",
            )
        return ensemble_features(self._encode_text, prompts)

    def _require_pictures(self) -> list[np.ndarray]:
        if not self._pictures:
            raise InputError("No picture was given yet.", "Call set_image first.")
        return self._pictures


def choose_precision(clip: ClipModel, sam: torch.nn.Module) -> str:
    """ "bf16" where the device has instructions for it and the models are large enough for products of matrices to be
    what takes the time; else "f32"."""
    size = sum(parameter.numel() for model in (clip.model, sam) for parameter in model.parameters())
    return "bf16" if size >= LARGE and fast_bfloat16(clip.device) else "f32"


def choices(segmenter: TextSegmenter) -> str:
    """What was chosen for the device, in a sentence for the user."""
    clip, device = segmenter.clip, segmenter.clip.device
    own = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    fast = "with" if fast_bfloat16(device) else "without"
    together = "one by one" if segmenter.together_at_best == 1 else f"{segmenter.together_at_best} at once"
    recorded = ", saliency recorded as a CUDA graph" if device.type == "cuda" and segmenter.settings.capture else ""
    return (
        f"{device} ({own}, {fast} bfloat16 of its own): {segmenter.settings.precision} for '{clip.name}' and "
        f"'{segmenter.sam.name}', pictures {together}{recorded}."
    )


def _why_nothing(prompt: str, present: Presence, kept: np.ndarray, threshold: float) -> str:
    """The sentence that says why nothing was found; empty when something was."""
    if present.probability < threshold:
        if not present.meaningful:
            why = f"it describes the picture no better than unrelated texts do (presence {present.probability:.2f})"
        else:
            why = f'presence {present.probability:.2f}, below {threshold:.2f}; "{present.denial}" fits better'
        return f"Nothing found for '{prompt}': {why}."
    if not kept.any():
        return f"Nothing found for '{prompt}': the saliency map has no region that stands out."
    return ""


def load_segmenter(
    model: str = "demo",
    sam: str = "demo",
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
    where = resolve_device(device)
    settings = settings or default_settings(model, models_dir)
    return TextSegmenter(
        load_clip(model, where, models_dir=models_dir), load_sam(sam, where, models_dir=models_dir), settings
    )
