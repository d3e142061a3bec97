"""A complete fine-tuning, from captions or shards to a model in the catalogue."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tokenizers import BertWordPieceTokenizer

from ..counted import counted
from ..errors import InputError, ModelError, require_extra
from ..files.atomic import atomic_path
from ..files.folder import check_folder
from ..models.clip import load_tokenizer, unknown_words
from ..models.device import resolve_device
from ..models.store import find, find_model_folder
from ..models.trained import check_name, trained_folder
from ..run_context import RunContext
from .batches import PairSource, Source, readable
from .captions import count_reasons
from .deal import count_batches
from .owner import claim_run, is_first_process, owns
from .publish import publish
from .settings import FineTuneSettings
from .sides import CaptionData, Side, open_sides
from .train import FineTuned, fine_tune

DROPPED = "dropped.csv"
MOST_WORDS = 8
"""Maximum number of unknown words that are listed."""


def run(
    data: CaptionData,
    settings: FineTuneSettings,
    name: str,
    out: Path,
    device: str = "auto",
    models_dir: Path | None = None,
    workers: int = 0,
    context: RunContext = RunContext(),
    replace: bool = False,
) -> tuple[FineTuned, Path]:
    """Fine-tune, or resume a stopped run in `out`, and add the model to the catalogue.

    Everything that can be checked without reading images is checked first, before `out` is created.

    Args:
        data: the image-caption pairs.
        settings: settings of the training.
        name: name of the new model.
        out: folder of the run; its dropped.csv lists the pairs that were dropped.
        device: see `models.device.resolve_device`.
        models_dir: a folder of models, searched for the base first, into which the new model is written; None takes
            the user's folder of trained models.
        workers: number of processes that read images.
        context: notified about the data; see also `train.fine_tune`.
        replace: whether to replace a model of the same name from another run.

    Returns:
        The result, and the model's folder, which the first of several processes writes.

    Raises:
        InputError, DeviceError, ModelError, OutputError, Cancelled: see `train.fine_tune`, `sides.open_sides` and
            `owner.claim_run`. ModelError also if the model's name is not allowed, or taken by another run.
    """
    require_extra("finetune", "Fine-tuning")
    settings = settings.resolved()
    check_name(name)
    tokenizer = load_tokenizer(find_model_folder(find(settings.base, "clip", models_dir), models_dir))
    resolve_device(device)
    model = (models_dir or trained_folder()) / name
    _check_name_is_free(model, out, replace)
    if model.resolve() == out.resolve():
        raise InputError(f"'{out}' would contain both the run and the model.", "Choose another folder for the run.")
    if is_first_process():
        check_folder(model)
    training, validation, dropped = open_sides(data, settings.seed, context)
    if not training.shards:
        count_batches(training.pairs, settings.batch)
        _tell_unknown_words([pair.caption for pair in training.pairs], settings.base, tokenizer, context)

    def source(side: Side, size: int, crop: float = 1.0, rank: int = 0, world: int = 1) -> Source:
        order = (size, settings.batch, crop, settings.seed, rank, world)
        keep_rest = side is validation
        if not side.shards:
            return PairSource(side.pairs, *order, workers, keep_rest=keep_rest)
        from .shards import ShardSource  # it imports webdataset

        record, silent = out / f"shards-{side.name}.json", context.without_progress()  # progress counts steps only
        made = ShardSource(side.shards, *order, record, silent, data.min_characters, keep_rest)
        dropped.extend(made.dropped)
        _write_dropped(out, dropped)
        context.notify(f"{counted(made.count, 'pair')} in '{side.source}'{count_reasons(made.dropped)}.")
        return made

    with claim_run(out):
        _leave_out_unreadable((training, validation), out, dropped, context)
        checksums = training.checksums(data.min_characters) | validation.checksums(data.min_characters)
        sources = (
            lambda size, rank, world: source(training, size, settings.min_crop, rank, world),
            lambda size: source(validation, size),
        )
        result = fine_tune(*sources, settings, out, device, models_dir, checksums, context)
        if is_first_process():
            _check_name_is_free(model, out, replace)  # again: another run may have ended meanwhile
            publish(result, settings, name, Path(data.captions).absolute().name, models_dir)
    return result, model


def _check_name_is_free(model: Path, out: Path, replace: bool) -> None:
    """Raise ModelError if a model of another run would be replaced and `replace` is false."""
    if model.exists() and not replace and not owns(out, model):
        raise ModelError(
            f"There is already a model '{model.name}', in '{model}'.",
            "Choose another name for the model with the same folder of the run, or have the model replaced.",
        )


def _leave_out_unreadable(
    sides: Sequence[Side], out: Path, dropped: list[tuple[str, str]], context: RunContext
) -> None:
    """Read all images once, drop the pairs whose image cannot be read, and list the pairs dropped so far."""
    every = [pair for side in sides for pair in side.pairs]
    good, unreadable = readable(every, out / "images.json", context.without_progress())
    dropped += unreadable
    _write_dropped(out, dropped)
    if unreadable:
        context.notify(f"Left out as unreadable: {counted(len(unreadable), 'image')}; see {out / DROPPED}.")
    images = {pair.image for pair in good}
    for side in sides:
        side.pairs = [pair for pair in side.pairs if pair.image in images]
        side.check_captions()


def _tell_unknown_words(captions: list[str], base: str, tokenizer: BertWordPieceTokenizer, context: RunContext) -> None:
    """Notify which words of the captions the model does not know, the most frequent first."""
    counts = Counter(word.strip(".,;:()?").lower() for caption in captions for word in caption.split())
    unknown = [word for word, _ in counts.most_common() if word and unknown_words(tokenizer, word)]
    if unknown:
        more = f" and {len(unknown) - MOST_WORDS} more" if len(unknown) > MOST_WORDS else ""
        context.notify(
            f"The model '{base}' does not know {len(unknown)} of the {len(counts)} words of the captions, and cannot "
            f"tell them apart: {', '.join(unknown[:MOST_WORDS])}{more}."
        )


def _write_dropped(out: Path, dropped: list[tuple[str, str]]) -> None:
    with (
        atomic_path(out / DROPPED) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        csv.writer(file).writerows([("reason", "what"), *dropped])
