"""The settings that determine how a prompt becomes a mask, and the defaults of the catalogue for a model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ..choices import EnsembleMean, Precision
from ..errors import InputError, ModelError
from ..models.catalogue_entry import Model
from ..models.store import Status, find
from ..validated import Choice, Share, settings_class, with_changes
from .affinity import AffinitySettings
from .agreement import AgreementSettings
from .coarse import CoarseSettings
from .components import ComponentSettings
from .prompts import ENSEMBLES
from .saliency import M2IBSettings
from .sam_prompts import SamPromptSettings
from .vote import VoteSettings

_SIDE = re.compile(r"\b(left|right)", re.IGNORECASE)


@settings_class
class Settings:
    """How a prompt becomes a mask.

    Args:
        saliency: M2IB; the catalogue has defaults for every model.
        by_word: changes to `saliency` for prompts that contain a word, as in {"nodule": {"steps": 10}}. The authors of
            MedCLIP-SAMv2 set M2IB by task too.
        coarse, components, prompts: saliency map -> coarse mask -> components -> SAM prompts.
        presence_threshold: minimum probability of the prompt among its rivals; below it the answer is "nothing found".
            With 0 the most salient object is outlined, by the coarse mask if SAM 2 sees no object.
        agreement: what follows from the overlap of SAM 2's mask and the coarse mask.
        affinity: whether and how far the map is spread among places that look alike to SAM 2.
        vote: whether several masks from SAM 2 vote on the answer.
        min_part: in the mask of a component, parts smaller than this share of it are removed and such holes are filled;
            0 keeps SAM 2's mask unchanged.
        precision: "f32"; "bf16" for bfloat16 matrix products in M2IB and in SAM 2's encoder and memory attention; or
            "auto", which a segmenter replaces by one of them, see `TextSegmenter.settings`.
        at_once: number of images processed together; 0 means one on a CPU and `segmenter.IMAGES_AT_ONCE` on a GPU.
        capture: on an NVIDIA GPU, record the networks as CUDA graphs; see `models.acceleration.captures`.
        style: None, or a style of the prompt sets ("P0" to "P5"). Its prompts replace a prompt that names the target of
            a set.
        kind: the class for P1, P3 and P5.
        modality: modality of the images as DICOM (0008,0060) names it, or None if unknown. It selects among the prompt
            sets of one target which texts the prompt is compared with.
        ensemble_mean: for P4 and P5: "unit" is the mean of normalized features; "released" follows the authors' code,
            where features are not normalized before the mean and M2IB uses one noise sample instead of
            `saliency.samples`.
    """

    saliency: Annotated[
        M2IBSettings,
        Field(description="Start from default_settings(model), and change values by dataclasses.replace."),
    ]
    coarse: CoarseSettings = CoarseSettings()
    components: ComponentSettings = ComponentSettings()
    prompts: SamPromptSettings = SamPromptSettings()
    presence_threshold: Share = 0.5
    agreement: AgreementSettings = AgreementSettings()
    affinity: AffinitySettings = AffinitySettings()
    vote: VoteSettings = VoteSettings()
    min_part: Share = 0.05
    precision: Choice[Precision] = Precision.AUTO
    at_once: Annotated[int, Field(ge=0, description="0 leaves it to the device.")] = 0
    capture: bool = True
    style: str | None = None
    kind: str = "*"
    modality: str | None = None
    ensemble_mean: Choice[EnsembleMean] = EnsembleMean.UNIT
    by_word: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for word, changes in self.by_word.items():
            with_changes(self.saliency, changes, f"by_word.{word}")

    def saliency_for(self, prompt: str) -> M2IBSettings:
        """Return the M2IB settings for a prompt, with the changes of the first word of `by_word` that it contains.

        Words match in the singular and the plural. A prompt that names a side is computed without mirroring, which
        swaps left and right.
        """
        holds = lambda word: re.search(rf"\b{re.escape(word)}(s|es)?\b", prompt, re.IGNORECASE)
        changes = (override for word, override in self.by_word.items() if holds(word))
        chosen = with_changes(self.saliency, next(changes, {}))
        if self.style in ENSEMBLES and self.ensemble_mean == EnsembleMean.RELEASED:
            chosen = replace(chosen, samples=1)
        return replace(chosen, mirror=False) if chosen.mirror and _SIDE.search(prompt) else chosen

    @property
    def by_sam(self) -> bool:
        """Whether the saliency map itself depends on SAM 2."""
        return self.affinity.steps > 0

    def with_saliency(self, **changes: Any) -> Settings:
        """Return a copy with changed M2IB settings, which apply to every prompt.

        If `steps` is given without `earliest`, the map of that step is taken.
        """
        if "steps" in changes:
            changes = {"earliest": 0} | changes
        by_word = {
            word: {name: value for name, value in override.items() if name not in changes}
            for word, override in self.by_word.items()
        }
        return replace(self, saliency=replace(self.saliency, **changes), by_word=by_word)

    def deciding(self) -> dict[str, Any]:
        """Return the settings that affect results beyond rounding, as JSON values.

        Runs that agree in them can be joined.
        """
        values = {name: value for name, value in asdict(self).items() if name not in ("at_once", "capture")}
        if self.modality is None:  # so that runs begun before this setting existed can be joined
            del values["modality"]
        return json.loads(json.dumps(values))


def default_settings(model: str, models_dir: Path | None = None) -> Settings:
    """Return the settings of the catalogue for a text-image model.

    Raises:
        ModelError: the model does not exist, or its entry, written by the user, has settings that do not exist.
    """
    return _settings_of(find(model, "clip", models_dir))


def _settings_of(entry: Model) -> Settings:
    by_word = {word: dict(changes) for word, changes in entry.by_word.items()}
    try:
        return with_changes(Settings(saliency=M2IBSettings(**entry.saliency), by_word=by_word), entry.answer)
    except InputError as error:
        raise ModelError(
            f"The entry of the model '{entry.name}' cannot be used. {error.problem}", error.remedy
        ) from error


def with_checked_settings(found: Iterable[Status]) -> list[Status]:
    """Return the statuses of models, with "damaged" and the reason for user entries with settings that do not exist."""
    checked = []
    for status in found:
        try:
            if status.usable and status.model.trained and status.model.kind == "clip":
                _settings_of(status.model)
        except ModelError as error:
            status = replace(status, state="damaged", detail=error.problem.rstrip("."))
        checked.append(status)
    return checked
