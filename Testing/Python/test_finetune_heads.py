"""Training of the heads alone: the towers run once, and the weights are those of a training that runs them always."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from unittest.mock import ANY

import pytest
import torch
from finetuning import QUICK, captions, pairs
from helpers.clip_layouts import write_architecture
from safetensors.torch import load_file, save_file

from MedCLIPSAMLib.errors import Cancelled, InputError, ModelError
from MedCLIPSAMLib.finetune import heads
from MedCLIPSAMLib.finetune import train as fine_tuning
from MedCLIPSAMLib.finetune.batches import PairSource, read_slice
from MedCLIPSAMLib.finetune.blend import Blend
from MedCLIPSAMLib.finetune.evaluate import features
from MedCLIPSAMLib.finetune.retrieval import retrieval
from MedCLIPSAMLib.finetune.settings import FineTuneSettings
from MedCLIPSAMLib.finetune.train import fine_tune
from MedCLIPSAMLib.finetune.trainable import merge_lora, prepare
from MedCLIPSAMLib.models.clip import build_clip, load_clip
from MedCLIPSAMLib.run_context import RunContext
from MedCLIPSAMLib.segmentation.presence import EVERYDAY

FIXTURES = (captions, pairs)
HEADS = replace(QUICK, freeze="all-but-heads", crop=None, learning_rate=None, epochs=3)


def train(pairs, out, settings=HEADS, wrapped=lambda source: source, read=read_slice, **options):
    """Train on 20 pairs and validate on 12; `wrapped` hides what kind of source it is."""

    def source(part, crop):
        return lambda size, rank=0, world=1: wrapped(PairSource(part, size, settings.batch, crop, read=read))

    training, validation = source(pairs[:20], settings.min_crop), source(pairs[20:], 1.0)
    return fine_tune(training, validation, settings, out, "cpu", **options)


class Streamed:
    """A source that yields batches and tells nothing else of its pairs, as shards do."""

    def __init__(self, source):
        self._source, self.steps, self.batch = source, source.steps, source.batch

    def batches(self, epoch, start=0):
        return self._source.batches(epoch, start)

    def image_names(self, epoch):
        return self._source.image_names(epoch)


def test_every_image_is_read_once_and_the_weights_are_those_of_running_the_towers_always(pairs, tmp_path, monkeypatch):
    """Also of a model with dropout, which does not change what a frozen tower gives."""
    read = Counter()

    def load_with_dropout(*arguments, **options):
        clip = load_clip(*arguments, **options)
        clip.model.text.transformer.embeddings.dropout.p = 0.3
        return clip

    monkeypatch.setattr(fine_tuning, "load_clip", load_with_dropout)

    def counted(path):
        read[path] += 1
        return read_slice(path)

    once = train(pairs, tmp_path / "once", read=counted)
    always = train(pairs, tmp_path / "always", wrapped=Streamed)
    assert set(read) == {pair.image for pair in pairs} and set(read.values()) == {1}
    assert once.before["image_to_text"] == always.before["image_to_text"]
    assert once.step == always.step > 0
    weights, other = load_file(once.weights), load_file(always.weights)
    base = load_clip("demo").model.state_dict()
    assert weights.keys() == other.keys() == base.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-3, atol=2e-5)
        if name.startswith(("visual.head.", "text.proj.")):
            assert not torch.equal(tensor, base[name].float())
        elif name != "logit_scale":
            torch.testing.assert_close(tensor, base[name].float(), rtol=0, atol=0)


def test_the_heads_of_biomedclips_architecture_are_trained_the_same_way(pairs, tmp_path):
    """Of open_clip: a class token, BERT with dropout, and an MLP as the projection of texts."""
    folder = tmp_path / "models" / "biomedclip"
    write_architecture(folder)
    torch.manual_seed(0)
    state = {name: tensor.contiguous() for name, tensor in build_clip(folder).state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    settings = replace(HEADS, base="biomedclip", epochs=1, learning_rate=1e-2)
    texts = ["brain tumor in the mri", "lungs of a chest", "a brain", "the chest", "tumor in the lungs"]
    some = [replace(pair, caption=texts[number % 5]) for number, pair in enumerate(pairs)]
    learned = []
    for name, wrapped in (("once", lambda source: source), ("always", Streamed)):
        train(some, tmp_path / name, settings, wrapped=wrapped, models_dir=tmp_path / "models")
        learned.append(torch.load(tmp_path / name / "last.ckpt", weights_only=True)["model"])
    assert (
        learned[0].keys()
        == learned[1].keys()
        == {"visual.head.proj.weight", "text.proj.0.weight", "text.proj.2.weight"}
    )
    for name, tensor in learned[0].items():
        assert not torch.equal(tensor, state[name])
        torch.testing.assert_close(tensor, learned[1][name], rtol=1e-3, atol=1e-4)


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(pairs, tmp_path):
    steps = []
    stop = RunContext(lambda progress: steps.append(progress.details.get("step")), is_cancelled=lambda: 7 in steps)
    with pytest.raises(Cancelled):
        train(pairs, tmp_path / "stopped", context=stop)
    resumed, whole = train(pairs, tmp_path / "stopped"), train(pairs, tmp_path / "whole")
    weights, other = load_file(resumed.weights), load_file(whole.weights)
    assert all(torch.equal(weights[name], other[name]) for name in other)


def test_encoding_reports_progress_and_goes_on_where_it_was_cancelled(pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(heads, "ENCODED_AT_ONCE", 8)
    seen, read = [], Counter()

    def counted(path):
        read[path] += 1
        return read_slice(path)

    with pytest.raises(Cancelled):
        train(pairs, tmp_path, read=counted, context=RunContext(seen.append, is_cancelled=lambda: len(seen) == 2))
    assert [(progress.done, progress.total, progress.stage) for progress in seen] == [
        (8, 32, "encoding"),
        (16, 32, "encoding"),
    ]
    read.clear()
    result = train(pairs, tmp_path, read=counted)
    assert result.steps == 15 and not read.keys() & {pair.image for pair in pairs[:16]}
    read.clear()
    assert train(pairs, tmp_path, read=counted) == replace(result, peak_memory=ANY) and not read


def test_features_of_other_data_are_refused_and_serve_other_settings(pairs, tmp_path):
    train(pairs, tmp_path, replace(HEADS, epochs=1))
    (tmp_path / "last.ckpt").unlink()
    with pytest.raises(ModelError, match=r"features.ckpt.*the training pairs differ"):
        train(pairs, tmp_path, data={"training pairs": "a" * 64})
    read = Counter()
    train(pairs, tmp_path, replace(HEADS, epochs=2), read=lambda path: read.update([path]))
    assert not read


@pytest.mark.parametrize(
    "content",
    [{"others": torch.zeros(3, 4)}, {"images": torch.zeros(99, 4)}, {"images": torch.full((3, 4), torch.nan)}],
)
def test_damaged_features_are_refused(pairs, tmp_path, content):
    train(pairs, tmp_path, replace(HEADS, epochs=1))
    store = tmp_path / "features.ckpt"
    torch.save(torch.load(store, weights_only=True) | {"model": content}, store)
    with pytest.raises(ModelError, match=r"features.ckpt' are damaged"):
        train(pairs, tmp_path, replace(HEADS, epochs=1))


def test_crops_are_made_where_they_are_asked_for(pairs, tmp_path):
    read = Counter()

    def counted(path):
        read[path] += 1
        return read_slice(path)

    train(pairs, tmp_path, replace(HEADS, crop=0.8), read=counted)
    assert {read[pair.image] for pair in pairs[:20]} == {HEADS.epochs}


def test_the_defaults_follow_what_is_trained():
    rates = [FineTuneSettings(**options).rate for options in ({}, {"lora_rank": 8}, {"freeze": "all-but-heads"})]
    assert rates == [1e-6, 1e-4, 3e-4]
    assert FineTuneSettings().min_crop == 0.9 and FineTuneSettings(freeze="all-but-heads").min_crop == 1
    assert FineTuneSettings(freeze="all-but-heads", crop=0.8).min_crop == 0.8
    assert FineTuneSettings().fingerprint() == FineTuneSettings(crop=0.9, temperature=0.6, patience=1).fingerprint()
    softmax, sharper = (FineTuneSettings(loss="info-nce", beta_text=beta) for beta in (0.15, 0.3))
    assert softmax.fingerprint() == sharper.fingerprint() and softmax.resolved().temperature == 0.07


def test_lora_and_the_heads_alone_exclude_each_other():
    with pytest.raises(InputError, match="LoRA"):
        replace(HEADS, lora_rank=4)


def test_a_blend_lies_between_the_base_and_what_was_learned(pairs, tmp_path):
    settings = replace(HEADS, epochs=1)
    learned = load_file(train(pairs, tmp_path / "whole", replace(settings, blend=1.0)).weights)
    blended = load_file(train(pairs, tmp_path / "part", replace(settings, blend=0.25)).weights)
    base = {name: weight.float() for name, weight in load_clip("demo").model.state_dict().items()}
    for name in ("visual.head.proj.weight", "text.proj.weight"):
        assert not torch.equal(learned[name], base[name])
        torch.testing.assert_close(blended[name], 0.75 * base[name] + 0.25 * learned[name])
    checkpoints = [torch.load(tmp_path / out / "last.ckpt", weights_only=True)["model"] for out in ("whole", "part")]
    assert all(torch.equal(checkpoints[0][name], checkpoints[1][name]) for name in checkpoints[0])
    assert settings.learned_share == 0.5 and FineTuneSettings().learned_share == 1


def test_a_blend_of_lora_has_its_share_of_what_was_learned():
    model = prepare(load_clip("demo").model, lora_rank=2)
    base, blend = merge_lora(model), Blend(model, 0.25)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.requires_grad:
                weight += 0.1 * torch.randn_like(weight)
    learned = merge_lora(model)
    with blend.applied():
        blended = merge_lora(model)
    name = "visual.trunk.blocks.0.attn.qkv.weight"
    assert (learned[name] - base[name]).abs().max() > 1e-3
    torch.testing.assert_close(blended[name] - base[name], 0.25 * (learned[name] - base[name]), rtol=1e-3, atol=1e-6)
    assert torch.equal(merge_lora(model)[name], learned[name])


def test_the_written_model_is_the_blend_whose_figures_are_given_and_as_sharp_as_the_base(pairs, tmp_path):
    """Training moves texts apart; the probabilities of the presence are no surer for that."""
    result = train(pairs, tmp_path)
    assert result.step > 0
    clips = load_clip("demo"), load_clip("demo")
    clips[1].model.load_state_dict(load_file(result.weights))
    sharpness = []
    for clip, figures in zip(clips, (result.before, result.after)):
        images, texts = features(clip, pairs[20:])
        assert (
            retrieval(images, texts, [pair.caption for pair in pairs[20:]])["image_to_text"] == figures["image_to_text"]
        )
        every = torch.cat([texts, clip.encode_text(list(EVERYDAY))])
        sharpness.append((clip.model.logit_scale.exp() * images @ every.T).std(1).mean())
    torch.testing.assert_close(sharpness[0], sharpness[1], rtol=1e-3, atol=0)


def test_what_is_kept_of_an_image_is_its_features_alone():
    """A class token is a view of all tokens, which would stay in memory with it."""
    head, tokens = torch.nn.Linear(8, 4), torch.rand(2, 50, 8)
    kept = heads._input_of(head, lambda inputs: head(inputs[:, 0]), tokens)
    assert torch.equal(kept, tokens[:, 0]) and kept.untyped_storage().nbytes() == kept.nbytes
