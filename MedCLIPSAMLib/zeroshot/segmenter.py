"""From a text prompt to a mask of one picture: look at it, ask where something is, outline it.

    segmenter = load_segmenter("biomedclip", "sam2.1-large", device="cuda")
    segmenter.set_image(picture)                    # uint8 (H, W, 3)
    where = segmenter.saliency("brain tumor")       # map, presence
    result = segmenter.segment("brain tumor")       # mask, score, boxes, and the message for the user

The image embedding of SAM 2, the features of the picture and its activations before the bottleneck are computed once
and serve every further prompt on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError, PromptError
from ..models.clip import ClipModel, load_clip
from ..models.device import fast_bfloat16, resolve_device
from ..models.sam import image_predictor, load_sam
from .coarse import coarse_mask
from .components import components
from .presence import Presence, presence
from .prompts import RememberedTexts, ensemble_features, load_prompt_sets
from .saliency import PAIRS, m2ib, normalise, upsample
from .sam_prompts import SamPrompts, make_prompts, points_followed
from .settings import Settings, default_settings
from .tidy import tidy

LARGE = 50_000_000
"""Parameters of both models together."""


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
        self._predictor = image_predictor(sam)
        self._picture: np.ndarray | None = None

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

    def set_image(self, picture: np.ndarray) -> None:
        """Take a picture, uint8 (H, W, 3), upright and windowed.

        Raises:
            InputError: another shape or type.
        """
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
            raise InputError(
                f"A picture of shape {picture.shape} and type {picture.dtype} came.", "It must be (H, W, 3) of uint8."
            )
        self._picture = picture
        self._pixels = self.clip.preprocess(picture[None])
        self._early: dict[int, torch.Tensor] = {}
        self._embedded = False

    def saliency(self, prompt: str, negative: str | None = None) -> Where:
        """Where the picture answers to `prompt`, and whether it does.

        Args:
            negative: what not to take: its saliency is subtracted, and it competes with the prompt for presence.

        Raises:
            PromptError: empty, too long, or no word of it known to the model.
        """
        picture = self._require_picture()
        self.stage("saliency")
        text = self.text_features(prompt)
        texts = [text] + ([self.text_features(negative)] if negative else [])
        found = m2ib(
            self.clip,
            self._pixels,
            torch.stack(texts),
            self.settings.saliency_for(prompt),
            self.cancelled,
            batch=1 if self.together else None,
            together=self.together,
            early=self._early,
            bfloat16=self.settings.precision == "bf16",
        )
        present = presence(self.clip, found.image_features, text, prompt, negative, self._encode_text)[0]
        maps = normalise(upsample(found.maps, picture.shape[:2]))[0].cpu().numpy()
        shown = maps[0]
        if negative:
            difference = torch.from_numpy(np.clip(maps[0] - maps[1], 0, None))
            shown = normalise(difference).numpy()
        return Where(shown.astype(np.float32), present)

    def segment(self, prompt: str, negative: str | None = None) -> Result:
        """Outline what `prompt` names; see `saliency` for the arguments and errors."""
        picture = self._require_picture()
        started = time.perf_counter()
        where = self.saliency(prompt, negative)
        coarse = coarse_mask(where.saliency, self.settings.coarse, picture)
        labels = components(coarse, where.saliency, self.settings.components)
        kept = labels > 0
        sam_prompts = make_prompts(labels, self.settings.prompts)
        seconds = {"saliency": time.perf_counter() - started}
        nothing = _why_nothing(prompt, where.presence, kept, self.settings.presence_threshold)
        if nothing:
            empty = np.zeros(picture.shape[:2], bool)
            return Result(prompt, empty, 0.0, nothing, where, kept, sam_prompts, np.zeros(0, np.float32), seconds)
        mask, quality = self.outline(sam_prompts, seconds)
        if not mask.any():
            if self.settings.presence_threshold > 0:
                message = f"Nothing found for '{prompt}': SAM 2 sees no object where the saliency is."
                return Result(prompt, mask, 0.0, message, where, kept, sam_prompts, quality, seconds)
            message = f"SAM 2 sees no object for '{prompt}': this is the coarse mask, where the saliency is."
            return Result(prompt, kept, 0.0, message, where, kept, sam_prompts, quality, seconds)
        score = where.presence.probability * float(quality.mean())
        message = (
            f"Found '{prompt}': score {score:.2f} "
            f"(presence {where.presence.probability:.2f} x predicted mask quality {quality.mean():.2f})."
        )
        return Result(prompt, mask, score, message, where, kept, sam_prompts, quality, seconds)

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
        picture = self._require_picture()
        seconds = {} if seconds is None else seconds
        side = self.sam.image_size // 4
        if logits is not None and logits.shape != (len(sam_prompts), side, side):
            raise InputError(
                f"Mask logits of shape {logits.shape} came for {len(sam_prompts)} objects.",
                f"They must be ({len(sam_prompts)}, {side}, {side}).",
            )
        started = time.perf_counter()
        if not self._embedded:
            self.stage("embedding")
            self._predictor.set_image(picture)
            self._embedded = True
        seconds["embedding"] = time.perf_counter() - started
        self.stage("mask")
        union, qualities = np.zeros(picture.shape[:2], bool), []
        for index in range(len(sam_prompts)):
            box, points, labels = sam_prompts.row(index)
            ways = [(box, None)] if logits is None else [(box, logits[index : index + 1]), (box, None), (None, None)]
            mask, quality = self._obedient(ways, points, labels)
            union |= mask
            qualities.append(quality)
        seconds["mask"] = time.perf_counter() - started - seconds["embedding"]
        return union, np.clip(np.array(qualities, np.float32), 0, 1)

    def _obedient(self, ways, points: np.ndarray | None, labels: np.ndarray | None) -> tuple[np.ndarray, float]:
        """The mask (H, W) bool and predicted IoU of the first of some (box, logits) whose answer follows all points, or
        else the most."""
        best, most = None, -1
        for box, start in ways:
            if box is None and points is None:
                break
            masks, quality, _ = self._predictor.predict(
                point_coords=points, point_labels=labels, box=box, mask_input=start, multimask_output=False
            )
            mask = tidy(masks[0] > 0, self.settings.least_part, points, labels)
            followed = 0 if points is None else int(points_followed(mask, points, labels).sum())
            if followed > most:
                best, most = (mask, float(quality[0])), followed
            if points is None or followed == len(points):
                break
        return best

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

    def _require_picture(self) -> np.ndarray:
        if self._picture is None:
            raise InputError("No picture was given yet.", "Call set_image first.")
        return self._picture


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
    together = "one by one" if device.type == "cpu" else f"{PAIRS} at once"
    return (
        f"{device} ({own}, {fast} bfloat16 of its own): {segmenter.settings.precision} for '{clip.name}' and "
        f"'{segmenter.sam.name}', pictures and prompts {together}."
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
