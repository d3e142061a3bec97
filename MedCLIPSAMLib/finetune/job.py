"""A whole fine-tuning: from a table of captions, or shards, to a model of the catalogue."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from pathlib import Path

from tokenizers import BertWordPieceTokenizer

from ..counted import counted
from ..errors import InputError, ModelError, require_extra
from ..files.atomic import atomic_path
from ..models.clip import load_tokenizer, unknown_words
from ..models.device import resolve_device
from ..models.store import find, find_model_folder
from ..models.trained import check_name, trained_folder
from ..run_context import RunContext
from .batches import PairSource, Source, readable
from .caption_text import MIN_CHARACTERS
from .captions import Captions, count_reasons, is_shards, read_captions, split_by_patient
from .owner import claim_run, is_first_process, owns
from .publish import publish
from .settings import FineTuneSettings
from .sides import checksum_pairs, checksum_shards, tell_shared_pairs, tell_shared_shards
from .train import FineTuned, fine_tune

DROPPED = "dropped.csv"
MOST_WORDS = 8
"""Maximum number of unknown words that are listed."""


@dataclass(frozen=True)
class CaptionData:
    """The image-caption pairs of a fine-tuning.

    Args:
        captions: a table, see `captions`, or a pattern of shards such as "train-{00..09}.tar", see `shards`.
        images: folder that a table's names are relative to; the table's own by default.
        validation: a table or shards of validation pairs; None takes a share of the table's patients.
        share: that share.
        min_characters: of a caption.
    """

    captions: str
    images: Path | None = None
    validation: str | None = None
    share: float = 0.15
    min_characters: int = MIN_CHARACTERS

    @property
    def shards(self) -> bool:
        """Whether the captions are in tar files."""
        return is_shards(self.captions)


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

    Args:
        name: of the new model.
        out: folder of the run; its dropped.csv lists the pairs that were dropped.
        context: notified about the data; see `train.fine_tune`.
        replace: replace a model of that name from another run.

    Returns:
        The result, and the model's folder, which the first of several processes writes.

    Raises:
        MedCLIPSAMError: see `train.fine_tune` and `captions.read_captions`; a missing model or device is reported
            before the images are read.
    """
    require_extra("finetune", "Fine-tuning")
    settings = settings.resolved()
    check_name(name)
    tokenizer = load_tokenizer(find_model_folder(find(settings.base, "clip", models_dir), models_dir))
    resolve_device(device)
    model = (models_dir or trained_folder()) / name
    _check_name_is_free(model, out, replace)
    if model.resolve() == out.resolve():
        raise InputError(f"'{out}' would hold both the run and the model.", "Choose another folder for the run.")
    with claim_run(out):
        training, validation, made_of = _sources(data, settings, out, workers, tokenizer, context)
        result = fine_tune(training, validation, settings, out, device, models_dir, made_of, context)
        if is_first_process():
            _check_name_is_free(model, out, replace)  # again: another run may have ended meanwhile
            publish(result, settings, name, Path(data.captions).name, models_dir)
    return result, model


def _check_name_is_free(model: Path, out: Path, replace: bool) -> None:
    """Refuse to replace the model of another run, unless that is wanted; ModelError."""
    if model.exists() and not replace and not owns(out, model):
        raise ModelError(
            f"There is a model '{model.name}' already, in '{model}'.",
            "Choose another name for the same folder of the run, or have it replaced.",
        )


def _sources(
    data: CaptionData,
    settings: FineTuneSettings,
    out: Path,
    workers: int,
    tokenizer: BertWordPieceTokenizer,
    context: RunContext,
) -> tuple[Callable[[int, int, int], Source], Callable[[int], Source], dict[str, str]]:
    """Open the sources of batches, see `train.fine_tune`, and compute checksums of their data."""
    if data.shards and data.validation is None:
        raise InputError("Shards have no patients to split by.", "Give separate validation pairs.")
    dropped: list[tuple[str, str]] = []
    patterns = data.captions, data.validation or ""
    shards = [_expand(pattern) if is_shards(pattern) else [] for pattern in patterns]
    found = [
        _read(table, data, out, dropped, context) if table and not paths else None
        for table, paths in zip(patterns, shards)
    ]
    sides = [side.pairs if side else [] for side in found]
    if found[0] and data.validation is None:
        sides = list(split_by_patient(found[0].pairs, data.share, settings.seed))
        context.notify(
            f"{counted(len(sides[0]), 'pair')} for training and {len(sides[1])} for validation, split by patient."
        )
    elif found[0] and found[1]:
        tell_shared_pairs(found[0], found[1], context)
    elif all(shards):
        tell_shared_shards(shards[0], shards[1], context)
    _write_dropped(out, dropped)
    if sides[0]:
        _tell_unknown_words([pair.caption for pair in sides[0]], settings.base, tokenizer, context)
    if sides[1] and len({pair.caption for pair in sides[1]}) < 2:
        raise InputError(
            f"{len(sides[1])} validation pairs are too few to measure retrieval.",
            "Give more pairs, a larger validation share, or validation pairs in a separate table.",
        )

    def source(side: int, size: int, crop: float = 1.0, rank: int = 0, world: int = 1) -> Source:
        order = (size, settings.batch, crop, settings.seed, rank, world)
        if not shards[side]:
            return PairSource(sides[side], *order, workers, keep_rest=side == 1)
        from .shards import ShardSource

        record, least = out / f"shards-{side}.json", data.min_characters
        made = ShardSource(shards[side], *order, record, min_characters=least, keep_rest=side == 1)
        dropped.extend(made.dropped)
        _write_dropped(out, dropped)
        context.notify(f"{counted(made.count, 'pair')} in '{patterns[side]}'{count_reasons(made.dropped)}.")
        return made

    made_of: dict[str, str] = {}
    for name, paths, pairs in zip(("training", "validation"), shards, sides):
        made_of |= checksum_shards(name, paths, data.min_characters) if paths else checksum_pairs(name, pairs)
    training = lambda size, rank, world: source(0, size, settings.min_crop, rank, world)
    return training, lambda size: source(1, size), made_of


def _expand(pattern: str) -> list[Path]:
    from .shards import expand_shards  # it imports webdataset

    return expand_shards(pattern)


def _read(table: str, data: CaptionData, out: Path, dropped: list[tuple[str, str]], context: RunContext) -> Captions:
    found = read_captions(Path(table), data.images, data.min_characters)
    context.notify(f"{Path(table).name}: {found.summary()}.")
    if not found.patients:
        context.notify("The table has no patients: every image counts as a separate patient.")
    elif found.unknown:
        context.notify(
            f"Without a patient: {counted(found.unknown, 'pair')}. Each of their images counts as a separate patient."
        )
    if found.contradicting:
        context.notify(
            f"With several patients, who count as one: {counted(len(found.contradicting), 'image')}, such as "
            f"'{found.contradicting[0].name}'."
        )
    pairs, unreadable = readable(found.pairs, out / "images.json", context.without_progress())
    if unreadable:
        context.notify(f"Left out as unreadable: {counted(len(unreadable), 'image')}; see {out / DROPPED}.")
    dropped += found.dropped + unreadable
    if len({pair.caption for pair in pairs}) < 2:
        all_same = ", which all say the same" if len(pairs) > 1 else ""
        raise InputError(
            f"Expected at least two captions in '{table}', got {counted(len(pairs), 'usable pair')}{all_same}.",
            "Captions must differ: the model learns to tell them apart.",
        )
    return replace_fields(found, pairs=pairs)


def _tell_unknown_words(captions: list[str], base: str, tokenizer: BertWordPieceTokenizer, context: RunContext) -> None:
    """Notify which words of the captions the model cannot tell apart, the most frequent first."""
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
