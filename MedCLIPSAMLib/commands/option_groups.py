"""Groups of options, each as one parameter of a command."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..choices import (
    DEFAULT_MODEL,
    DEFAULT_SAM,
    CoarseMethod,
    Plane,
    Precision,
    SamPromptKind,
    Strategy,
    VoteMethod,
)
from .options import (
    AtOnce,
    Capture,
    DeviceName,
    ModelName,
    ModelsDir,
    Negative,
    Phase,
    PrecisionName,
    Presence,
    Prompts,
    SamName,
    SeriesName,
    SlicePlane,
    WindowRange,
)
from .parsing import parse_slices, parse_window

if TYPE_CHECKING:
    from ..models.clip import ClipModel
    from ..pipeline.request import SegmentationRequest
    from ..segmentation.model_cache import ModelCache
    from ..segmentation.model_choice import ModelChoice
    from ..segmentation.segmenter import TextSegmenter
    from ..segmentation.settings import Settings


def option_groups(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the fields of a command's dataclass parameters into options.

    The help shows the options of a dataclass under the first line of its docstring. Typer reads the resulting
    signature; the command receives the dataclasses.
    """
    hints = typing.get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if dataclasses.is_dataclass(kind)}
    parameters, headings = list[inspect.Parameter](), dict[str, str]()
    for parameter in inspect.signature(command).parameters.values():
        group = groups.get(parameter.name)
        if group is None:
            parameters.append(parameter.replace(annotation=hints[parameter.name]))
            continue
        kinds = typing.get_type_hints(group, include_extras=True)
        for field in dataclasses.fields(group):
            default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            named = inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kinds[field.name]
            )
            parameters.append(named)
            headings[field.name] = (group.__doc__ or "").partition("\n")[0].rstrip(".")

    @functools.wraps(command)
    def run(**values: Any) -> Any:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in dataclasses.fields(group)})
        return command(**values)

    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.option_headings = headings  # type: ignore[attr-defined]
    del run.__wrapped__
    return run


@dataclass(frozen=True)
class ModelOptions:
    """The models and their device."""

    model: ModelName = DEFAULT_MODEL
    sam: SamName = DEFAULT_SAM
    models_dir: ModelsDir = None
    device: DeviceName = "auto"

    def default_settings(self) -> Settings:
        """Return the catalogue's settings for the text-image model."""
        from ..segmentation.settings import default_settings

        return default_settings(self.model, self.models_dir)

    def choice(self, settings: Settings | None = None) -> ModelChoice:
        """Return the models as a choice, with these settings or those of the catalogue."""
        from ..segmentation.model_choice import ModelChoice

        return ModelChoice(self.model, self.sam, self.device, self.models_dir, settings)

    def load(self, settings: Settings | None = None, cache: ModelCache | None = None) -> TextSegmenter:
        """Load the models, from the cache if there is one; raises the same errors as `load_segmenter`."""
        choice = self.choice(settings)
        return cache.load(choice) if cache else choice.load()


@dataclass(frozen=True)
class MeasuredModels(ModelOptions):
    """The models of a benchmark, and their precision."""

    precision: PrecisionName = Precision.AUTO

    def load_measured(self) -> TextSegmenter:
        """Load the models with the settings of the catalogue; raises the same errors as `load_segmenter`."""
        return self.load(ComputeOptions(self.precision).apply(self.default_settings()))


@dataclass(frozen=True)
class DemoModels:
    """The models that a benchmark on phantoms measures: those trained on phantoms, unless others are named."""

    model: ModelName = "demo"
    sam: SamName = "demo"
    device: DeviceName = "auto"
    precision: PrecisionName = Precision.AUTO

    def load_measured(self) -> TextSegmenter:
        """Load the models; see `MeasuredModels.load_measured`."""
        return MeasuredModels(self.model, self.sam, None, self.device, self.precision).load_measured()


@dataclass(frozen=True)
class ClipOptions:
    """The text-image model and its device."""

    model: ModelName = DEFAULT_MODEL
    models_dir: ModelsDir = None
    device: DeviceName = "auto"

    def load(self) -> ClipModel:
        """Load the model; raises the same errors as `load_clip`."""
        from ..models.clip import load_clip
        from ..models.device import resolve_device

        return load_clip(self.model, resolve_device(self.device), models_dir=self.models_dir)


@dataclass(frozen=True)
class ComputeOptions:
    """How the models compute; the masks are the same except for rounding."""

    precision: PrecisionName = Precision.AUTO
    at_once: AtOnce = 0
    capture: Capture = True

    def apply(self, settings: Settings) -> Settings:
        """Return the settings with these options; 'auto' keeps a precision that the model sets itself."""
        precision = settings.precision if self.precision == Precision.AUTO else self.precision
        return replace(settings, precision=precision, at_once=self.at_once, capture=self.capture)


@dataclass(frozen=True)
class MaskOptions:
    """How the saliency map becomes a mask, and when nothing is found."""

    layer: Annotated[
        int | None,
        typer.Option(
            help="M2IB: transformer block, counted from 0. This and the next four default to the model's own."
        ),
    ] = None
    beta: Annotated[float | None, typer.Option(help="M2IB: weight of compression.")] = None
    steps: Annotated[int | None, typer.Option(help="M2IB: optimization steps.")] = None
    samples: Annotated[int | None, typer.Option(help="M2IB: noise samples per step.")] = None
    seed: Annotated[int | None, typer.Option(help="M2IB: seed of the noise.")] = None
    coarse: Annotated[
        CoarseMethod | None,
        typer.Option(help="How the saliency map is thresholded. 'otsu' unless the model has its own."),
    ] = None
    prompts: Annotated[
        SamPromptKind | None, typer.Option(help="Prompts of SAM 2. 'boxes' unless the model has its own.")
    ] = None
    presence: Presence = None
    min_part: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Remove parts and fill holes below this share of a mask; 0 leaves them. 0.05 unless the model has its "
            "own.",
        ),
    ] = None
    style: Annotated[
        str | None, typer.Option(help="Prompt style P0 to P5, for prompts that name the target of a prompt set.")
    ] = None
    kind: Annotated[
        str | None,
        typer.Option("--class", help="With --style P1, P3 or P5: the class, such as 'malignant'; '*' means all."),
    ] = None

    def apply(self, settings: Settings) -> Settings:
        """Return the settings of a model, overridden by the options that were given.

        Raises:
            InputError: a class was given without a style; or see `Settings`.
        """
        from ..errors import InputError

        if self.kind is not None and (self.style or settings.style) is None:
            raise InputError("--class needs a prompt style, but none was given.", "Add --style, such as P3.")
        saliency = _given(layer=self.layer, beta=self.beta, steps=self.steps, samples=self.samples, seed=self.seed)
        return replace(
            settings.with_saliency(**saliency),
            coarse=replace(settings.coarse, **_given(method=self.coarse)),
            prompts=replace(settings.prompts, **_given(kind=self.prompts)),
            **_given(presence_threshold=self.presence, min_part=self.min_part, style=self.style, kind=self.kind),
        )


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


@dataclass(frozen=True)
class OptionalStages:
    """Parts of the method that are off by default.

    docs/results/method.md lists what each gains and costs.
    """

    vote: Annotated[
        VoteMethod,
        typer.Option(
            help="Prompt SAM 2 for each object in three ways and combine the masks: mean, staple, or map (weighted by "
            "the saliency). Gives an uncertainty; 'mean' changed the DSC by -.040 to +.001, for a quarter more time."
        ),
    ] = VoteMethod.NONE
    vote_masks: Annotated[
        bool,
        typer.Option(
            "--vote-masks",
            help="Combine all three masks of each prompt. Not for the shipped SAM 2s, trained on one mask per object: "
            "'mean' then changed the DSC by -.372 to +.011.",
        ),
    ] = False
    affinity: Annotated[
        bool,
        typer.Option(
            "--affinity",
            help="Spread the saliency map among places that look alike to SAM 2. The DSC of the coarse mask changed by "
            "+.000 to +.038, of the final mask by -.003 to +.023.",
        ),
    ] = False
    mirror: Annotated[
        bool,
        typer.Option(
            "--mirror", help="Average the map with that of the mirror image: twice the work, hardly any gain."
        ),
    ] = False
    finer: Annotated[
        bool, typer.Option("--finer", help="A map with twice the rows and columns: four times the work, no gain shown.")
    ] = False

    def apply(self, settings: Settings) -> Settings:
        """Return the settings with the requested parts turned on.

        Raises:
            InputError: three masks of each prompt were requested without a vote.
        """
        from ..errors import InputError
        from ..segmentation.affinity import SHARP

        if self.vote_masks and self.vote == VoteMethod.NONE:
            raise InputError("--vote-masks was given without a vote.", "Add --vote mean, or leave out --vote-masks.")
        wanted: dict[str, Any] = {"affinity": SHARP} if self.affinity else {}
        if self.vote != VoteMethod.NONE:
            wanted["vote"] = replace(settings.vote, method=self.vote, several=self.vote_masks)
        views = {name: True for name in ("mirror", "finer") if getattr(self, name)}
        return replace(settings.with_saliency(**views), **wanted)


@dataclass(frozen=True)
class TextOptions:
    """The prompts."""

    prompt: Prompts = dataclasses.field(default_factory=list)
    negative: Negative = None


@dataclass(frozen=True)
class SeriesOptions:
    """The choice of images in DICOM folders."""

    series: SeriesName = None
    phase: Phase = None


@dataclass(frozen=True)
class SliceOptions:
    """The slices of volumes, their display window, and how masks are propagated."""

    plane: SlicePlane = Plane.AXIAL
    number: Annotated[
        int | None, typer.Option("--slice", help="One slice, counted from 0; the middle one by default.")
    ] = None
    slices: Annotated[str | None, typer.Option(help="Slices A:B, counted from 0, both included.")] = None
    all_slices: Annotated[bool, typer.Option("--all", help="Every slice.")] = False
    propagate: Annotated[
        Strategy | None,
        typer.Option(
            help="'memory' segments key slices and propagates their masks by SAM 2's memory, 'boxes' by boxes, "
            "'planes' lets three planes vote, 'slices' segments each slice on its own (as in the paper). Default "
            "with --all or --slices: 'memory'. Without these two, takes all slices.",
            show_default=False,
        ),
    ] = None
    window: WindowRange = None

    def request(self, prompts: tuple[str, ...], negative: str | None) -> SegmentationRequest:
        """Return a request for these prompts on these slices."""
        from ..pipeline.request import SegmentationRequest

        slices = parse_slices(self.number, self.slices, self.all_slices)
        window = parse_window(self.window)
        return SegmentationRequest(prompts, negative, self.plane, slices, self.propagate, window=window)
