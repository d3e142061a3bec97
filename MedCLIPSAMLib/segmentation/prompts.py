"""Prompt sets for the four tasks of the paper in the styles P0 to P5, and prompt ensembles.

P0 is short and generic, P1 short with the class, P2 a generic descriptive sentence, P3 a descriptive sentence with the
class; P4 and P5 are ensembles of P2 and P3 (MedCLIP-SAMv2, arXiv 2409.19483, section 4.3). P1, P3 and P5 tell the model
the diagnosis. If it is unknown, use P0, P2 or P4.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from ..choices import EnsembleMean
from ..errors import PromptError, check_type
from ..resources import resource_path
from .wording import meant

if TYPE_CHECKING:
    import torch

    from ..models.clip import ClipModel
    from .settings import Settings

ENSEMBLES = ("P4", "P5")
X_RAYS = ("CR", "DX", "RG", "RF", "XA")
"""The values of DICOM (0008,0060) for the images that prompt sets call "XR"."""
ANY_CLASS = "*"


def check_prompts(prompts: Sequence[str]) -> tuple[str, ...]:
    """Return the prompts as a tuple.

    Raises:
        PromptError: there is no prompt, or one is not text.
    """
    if isinstance(prompts, str):
        raise PromptError(f"Expected a tuple of prompts, got '{prompts}'.", f"Give ('{prompts}',).")
    if isinstance(prompts, Mapping):  # its keys, which are labels elsewhere, would be taken as prompts
        raise PromptError("Expected a tuple of prompts, got a dictionary.", "Give its values; labels are for writing.")
    check_type(prompts, Iterable, "a tuple of prompts", error=PromptError)
    given = tuple(prompts)
    for prompt in given:
        check_type(prompt, str, "a prompt as text", "Say what to segment, such as 'brain tumor'.", PromptError)
    if not given:
        raise PromptError("No prompt was given.", "Say what to segment, such as 'brain tumor'.")
    return given


@dataclass(frozen=True)
class PromptSet:
    """The prompts of one task.

    Args:
        task: name of the task, such as "mri_tumour".
        title: title for people.
        modality: "US", "MR", "XR" or "CT".
        target: short name of what is segmented, the same as the P0 prompt.
        styles: style -> class (`ANY_CLASS` if the style names none) -> prompts.
        negatives: sentences that describe images of the same kind without the target.
    """

    task: str
    title: str
    modality: str
    target: str
    styles: dict[str, dict[str, list[str]]]
    negatives: list[str]

    @property
    def texts(self) -> set[str]:
        """The target and the prompts of all styles, in lowercase."""
        prompts = [prompt for style in self.styles.values() for prompts in style.values() for prompt in prompts]
        return {prompt.lower() for prompt in (self.target, *prompts)}

    def shows(self, modality: str | None) -> bool:
        """Tell whether the set is for images of this modality, named as in DICOM (0008,0060)."""
        return self.modality == ("XR" if modality in X_RAYS else modality)

    def prompts(self, style: str, kind: str = ANY_CLASS) -> list[str]:
        """Return the prompts of a style; `kind` is the class for P1, P3 and P5.

        Raises:
            PromptError: the style does not exist, or it does not have this class.
        """
        if style not in self.styles:
            raise PromptError(f"Expected a style of {', '.join(self.styles)}, got '{style}'.", "Choose one of them.")
        by_class = self.styles[style]
        if kind not in by_class:
            raise PromptError(
                f"Style {style} of '{self.title}' has no class '{kind}'.", f"Choose one of: {', '.join(by_class)}."
            )
        return by_class[kind]


@cache
def load_prompt_sets() -> dict[str, PromptSet]:
    """Load the shipped prompt sets by task."""
    paths = sorted(resource_path("prompts").glob("*.json"))
    sets = [PromptSet(**json.loads(path.read_text(encoding="utf-8"))) for path in paths]
    return {prompt_set.task: prompt_set for prompt_set in sets}


def find_prompt_set(prompt: str, modality: str | None = None) -> PromptSet | None:
    """Find the set that has `prompt` as its target or among its prompts; None if there is none.

    Args:
        modality: modality of the image as DICOM (0008,0060) names it, if known. It selects among several such sets; if
            none of them is for this modality, the first one is returned.
    """
    wanted = " ".join(prompt.lower().split())
    fitting = [prompt_set for prompt_set in load_prompt_sets().values() if wanted in prompt_set.texts]
    return next((prompt_set for prompt_set in fitting if prompt_set.shows(modality)), next(iter(fitting), None))


def encode_ensemble(
    encode_text: Callable[..., torch.Tensor], prompts: list[str], mean: EnsembleMean = EnsembleMean.UNIT
) -> torch.Tensor:
    """Average the text features of `prompts` and L2-normalize the mean: (D,) float32.

    Args:
        mean: "unit" averages normalized features, as CLIP's authors do; "released" averages the features as the model
            gives them, as the authors of MedCLIP-SAMv2 do.
    """
    from torch.nn.functional import normalize  # imported here, as programs without torch read the sets

    return normalize(encode_text(prompts, mean == EnsembleMean.UNIT).mean(0), dim=-1)


class RememberedTexts:
    """A cached `ClipModel.encode_text` that encodes each text once, for a model whose weights do not change.

    It saves time, as the texts that a prompt is compared with are the same on every slice of a volume.
    """

    def __init__(self, clip: ClipModel) -> None:
        self._clip = clip
        self._features: dict[tuple[str, bool], torch.Tensor] = {}

    def __call__(self, texts: list[str], normalized: bool = True) -> torch.Tensor:
        """Return the features of N texts, float32 (N, D); see `ClipModel.encode_text`, also for errors."""
        import torch

        new = [text for text in dict.fromkeys(texts) if (text, normalized) not in self._features]
        if new:
            keys = [(text, normalized) for text in new]
            self._features.update(zip(keys, self._clip.encode_text(new, normalized)))
        return torch.stack([self._features[text, normalized] for text in texts])


def encode_prompt(
    prompt: str, settings: Settings, clip: ClipModel, encode_text: Callable[..., torch.Tensor]
) -> torch.Tensor:
    """Encode a prompt, or the ensemble that replaces it: (D,) float32, L2-normalized.

    Args:
        settings: provides the style, kind, modality and ensemble mean.
        encode_text: `clip.encode_text`, or `RememberedTexts`.

    Raises:
        PromptError: the prompt is empty or too long, the model knows no word of it, or a style is set and the prompt
            has no ensemble.
    """
    if not prompt.strip():
        raise PromptError("The prompt is empty.", "Say what to segment, such as 'brain tumor'.")
    prompts, style, kind = [prompt], settings.style, settings.kind
    if style:
        sets = [prompt_set for prompt_set in load_prompt_sets().values() if prompt_set.target == prompt.strip().lower()]
        if not sets:
            raise PromptError(
                f"No prompt set has the target '{prompt}', so style {style} cannot be used.",
                "Leave the style out, or use one of: "
                + ", ".join(sorted({prompt_set.target for prompt_set in load_prompt_sets().values()}))
                + ".",
            )
        sets = [prompt_set for prompt_set in sets if prompt_set.shows(settings.modality)] or sets
        fitting = [prompt_set for prompt_set in sets if kind in prompt_set.styles.get(style, {})] or sets
        prompts = [text for prompt_set in fitting for text in prompt_set.prompts(style, kind)]
    unknown = clip.unknown_words(prompt)
    if unknown and len(unknown) == len(prompt.split()):
        raise PromptError(
            f"The model '{clip.name}' knows no word of the prompt '{prompt}'.",
            f"{meant(clip, unknown)} Use other words, or a model with a larger vocabulary.".strip(),
        )
    return encode_ensemble(encode_text, prompts, settings.ensemble_mean)
