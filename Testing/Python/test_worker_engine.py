"""Memory that runs out, and what is kept between prompts, in the worker's engine with the demo models."""

import json
import shutil

import numpy as np
import pytest
import torch
from helpers.exhausted import exhaust
from hypothesis import given
from hypothesis import strategies as st
from recording_reply import RecordingReply
from safetensors.torch import load_file, save_file

from MedCLIPSAMLib.choices import Precision
from MedCLIPSAMLib.errors import Cancelled, DeviceError, InputError, ModelError
from MedCLIPSAMLib.experiments.phantom_benchmark import to_rgb
from MedCLIPSAMLib.models.catalogue import find
from MedCLIPSAMLib.models.store import find_model_folder, status
from MedCLIPSAMLib.models.trained import ENTRY
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.segmentation.model_choice import ModelChoice
from MedCLIPSAMLib.segmentation.saliency import M2IBSettings, m2ib
from MedCLIPSAMLib.segmentation.settings import Settings
from MedCLIPSAMLib.validated import with_changes
from MedCLIPSAMLib.worker.engine import Engine
from MedCLIPSAMLib.worker.images import MAX_IMAGES
from MedCLIPSAMLib.worker.protocol import Message

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not all(status(find("demo", kind)).usable for kind in ("clip", "sam")), reason="the demo models are not there"
    ),
]


@pytest.fixture()
def engine():
    engine = Engine()
    engine.handle(Message("load", 1, {"device": "cpu"}), RecordingReply())
    image = to_rgb(make_phantom("validation", 1, "MR", 1))
    engine.handle(Message("image", 1, {"key": "brain"}, {"images": image}), RecordingReply())
    return engine


SEGMENT = Message("segment", 1, {"image": "brain", "prompts": ["brain tumor"]})


def test_memory_that_runs_out_once_is_answered_with_smaller_steps(engine):
    plain, tight = RecordingReply(), RecordingReply()
    engine.handle(SEGMENT, plain)
    exhaust(engine.segmenter.clip.model.visual.trunk.norm, 1)
    engine.handle(SEGMENT, tight)
    (notice,) = tight.of("notice")
    assert "smaller steps" in notice.fields["message"] and engine.segmenter.frugal
    (before,), (after,) = plain.of("part"), tight.of("part")
    assert np.allclose(before.arrays["saliency"], after.arrays["saliency"], atol=1e-4)
    assert np.mean(before.arrays["mask"] != after.arrays["mask"]) < 0.001


def test_memory_that_stays_short_is_named_with_a_remedy_and_the_worker_goes_on(engine):
    exhaust(engine.segmenter.sam.image_encoder, 2)
    with pytest.raises(DeviceError, match="ran out") as caught:
        engine.handle(SEGMENT, RecordingReply())
    assert caught.value.remedy
    reply = RecordingReply()
    engine.handle(SEGMENT, reply)
    assert reply.of("part")


def test_models_whose_memory_ran_out_are_loaded_again_in_full_on_request(engine):
    load = Message("load", 1, {"device": "cpu"})
    clip = engine.segmenter.clip
    engine.handle(load, RecordingReply())
    assert engine.segmenter.clip is clip
    engine.segmenter.reduce_memory()
    engine.handle(load, RecordingReply())
    assert engine.segmenter.clip is not clip and not engine.segmenter.frugal


def test_models_too_large_for_the_gpu_stay_on_the_cpu_until_another_choice_or_other_files(monkeypatch):
    loads, load = [], ModelChoice.load

    def load_on_cpu_only(choice):
        loads.append(choice.device)
        if choice.device != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return load(choice)

    monkeypatch.setattr(ModelChoice, "load", load_on_cpu_only)
    for module in ("segmentation.model_cache", "worker.engine"):
        device = lambda name: torch.device("cpu" if name == "cpu" else "meta")
        monkeypatch.setattr(f"MedCLIPSAMLib.{module}.resolve_device", device)
    engine, reply = Engine(), RecordingReply()

    def loads_of(device):
        loads.clear()
        engine.handle(Message("load", 1, {"clip": "demo", "sam": "demo", "device": device}), reply)
        return loads

    assert loads_of("auto") == ["auto", "cpu"]
    assert loads_of("auto") == [] and len(reply.of("notice")) == 1
    assert loads_of("cpu") == []
    assert loads_of("auto") == ["auto", "cpu"] and len(reply.of("notice")) == 2
    monkeypatch.setattr("MedCLIPSAMLib.segmentation.model_cache._stamps", lambda choice: ("changed",))
    assert loads_of("auto") == ["auto", "cpu"] and len(reply.of("notice")) == 3


def test_a_failed_load_is_told_until_the_next_one_and_no_longer(monkeypatch):
    engine = Engine()
    with pytest.raises(ModelError, match="nonsense"):
        engine.handle(Message("load", 1, {"clip": "nonsense", "device": "cpu"}), RecordingReply())
    with pytest.raises(ModelError, match="nonsense"):
        engine.handle(SEGMENT, RecordingReply())
    monkeypatch.setattr(ModelChoice, "load", lambda choice: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        engine.handle(Message("load", 2, {"device": "cpu"}), RecordingReply())
    with pytest.raises(InputError, match="No models are loaded"):
        engine.handle(SEGMENT, RecordingReply())


def test_weights_that_were_replaced_are_the_ones_used_after_the_next_load(tmp_path):
    """The weight of the first cell is 1 more in the new file."""
    folder = shutil.copytree(find_model_folder(find("demo", "clip")), tmp_path / "mine")
    about = dict.fromkeys(("title", "purpose", "license"), "mine") | {"name": "mine", "base": "demo", "by_word": {}}
    about |= {"image_size": 128, "saliency": {"layer": 3, "beta": 0.3, "steps": 10}}
    (folder / ENTRY).write_text(json.dumps(about))
    engine = Engine()
    load = Message("load", 1, {"clip": "mine", "sam": "demo", "device": "cpu", "models_dir": str(tmp_path)})
    cell = lambda: engine.segmenter.clip.model.visual.head.proj.weight[0, 0].item()
    engine.handle(load, RecordingReply())
    before, path = cell(), folder / "open_clip_model.safetensors"
    weights = load_file(path)
    weights["visual.head.proj.weight"] = weights["visual.head.proj.weight"] + 1
    save_file(weights, tmp_path / "new")
    (tmp_path / "new").rename(path)
    engine.handle(load, RecordingReply())
    assert cell() == pytest.approx(before + 1, abs=1e-3)  # float16


def test_a_propagation_that_is_begun_again_sends_each_slice_once_and_none_of_the_first_try(engine, monkeypatch):
    """Memory runs out after slices 1 and 2; in smaller steps the object ends at slice 1."""
    tries = []

    def propagate(*_, **__):
        tries.append(1)
        yield 1, {"": np.full((8, 8), len(tries) == 2)}
        if len(tries) == 1:
            yield 2, {"": np.ones((8, 8), bool)}
            raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("MedCLIPSAMLib.worker.segmenting.propagate_masks", propagate)
    images, reply = np.zeros((3, 8, 8, 3), np.uint8), RecordingReply()
    engine.handle(Message("image", 1, {"key": "stack"}, {"images": images}), reply)
    mask = {"masks": np.ones((1, 8, 8), np.uint8)}
    engine.handle(Message("propagate_masks", 1, {"image": "stack", "slices": [0]}, mask), reply)
    (part,) = reply.of("part")
    assert len(tries) == 2 and part.fields["slice"] == 1 and part.arrays["mask"].all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_without_memory_is_answered_with_the_cpu():
    engine, reply = Engine(), RecordingReply()
    engine.handle(Message("load", 1, {"device": "cuda"}), RecordingReply())
    engine.handle(Message("image", 1, {"key": "brain"}, {"images": np.zeros((64, 64, 3), np.uint8)}), RecordingReply())
    torch.cuda.set_per_process_memory_fraction(1e-4)
    try:
        fields, _ = engine.handle(SEGMENT, reply)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert fields["device"] == "cpu" and "CPU" in reply.of("notice")[-1].fields["message"]


def test_an_error_that_is_not_about_memory_is_not_retried(engine):
    def hook(*_):
        raise RuntimeError("shapes do not fit")

    engine.segmenter.sam.image_encoder.register_forward_pre_hook(hook)
    reply = RecordingReply()
    with pytest.raises(RuntimeError, match="shapes"):
        engine.handle(SEGMENT, reply)
    assert not reply.of("notice")


def test_a_cancel_stops_the_embedding_between_two_blocks_and_the_image_can_be_used_on(engine):
    class CancelledInEmbedding(RecordingReply):
        def cancelled(self):
            return any(message.fields.get("stage") == "embedding" for message in self.messages)

    blocks = []
    engine.segmenter.sam.image_encoder.trunk.blocks[0].register_forward_hook(lambda *_: blocks.append(1))
    with pytest.raises(Cancelled):
        engine.handle(SEGMENT, CancelledInEmbedding())
    assert not blocks
    reply = RecordingReply()
    engine.handle(SEGMENT, reply)
    assert reply.of("part")[0].arrays["mask"].any() and blocks


def test_the_vision_tower_before_the_bottleneck_runs_once_an_image(engine):
    calls = []
    engine.segmenter.clip.model.visual.trunk.patch_embed.register_forward_hook(lambda *_: calls.append(1))
    engine.handle(SEGMENT, RecordingReply())
    first = len(calls)
    engine.handle(Message("segment", 1, {"image": "brain", "prompts": ["a tumor", "skull"]}), RecordingReply())
    assert first == 1 == len(calls)


def test_noise_in_parts_and_kept_activations_change_nothing(engine):
    clip = engine.segmenter.clip
    pixels = clip.preprocess(to_rgb(make_phantom("validation", 3, "CT", 1))[None])
    text = clip.encode_text(["lung nodule", "left lung"])
    settings, early = M2IBSettings(layer=2, steps=5, samples=7), {}
    whole = m2ib(clip, pixels, text, settings)
    m2ib(clip, pixels, text[:1], settings, early=early)
    cached = m2ib(clip, pixels, text, settings, early=early)
    parts = m2ib(clip, pixels, text, settings, noise_batch=3)
    assert torch.equal(whole.maps, cached.maps) and len(early) == 1
    assert torch.allclose(whole.maps, parts.maps, rtol=1e-3, atol=1e-3 * float(whole.maps.max()))


def test_the_images_used_last_are_kept(engine):
    for index in range(MAX_IMAGES - 1):
        engine.handle(
            Message("image", 1, {"key": str(index)}, {"images": np.zeros((8, 8, 3), np.uint8)}), RecordingReply()
        )
    engine.handle(SEGMENT, RecordingReply())
    engine.handle(Message("image", 1, {"key": "more"}, {"images": np.zeros((8, 8, 3), np.uint8)}), RecordingReply())
    engine.handle(SEGMENT, RecordingReply())
    with pytest.raises(InputError, match="no images '0'"):
        engine.handle(Message("predict_mask", 1, {"image": "0"}), RecordingReply())


def test_a_request_that_does_not_exist_is_refused(engine):
    with pytest.raises(InputError, match="got 'delete'"):
        engine.handle(Message("delete", 1), RecordingReply())


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        ("segment", {"image": "brain", "prompts": "brain tumor"}, "a list of texts as 'prompts'.*got 'brain tumor'"),
        ("segment", {"image": "brain", "prompts": [1]}, "a list of texts as 'prompts'"),
        ("segment", {"image": "brain", "prompts": ["a"], "tresh": 1}, "known field of 'segment', got 'tresh'"),
        ("segment", {"image": "brain", "prompts": ["a"], "saliency": "no"}, "true or false as 'saliency'.*'no'"),
        ("segment", {"image": "brain", "prompts": ["a"], "slices": [0.0]}, "whole numbers as 'slices'"),
        ("segment", {"image": "brain", "prompts": ["a"], "slices": [True]}, "whole numbers as 'slices'"),
        ("segment", {"image": "brain", "prompts": ["a"], "settings": []}, "object of settings as 'settings'"),
        ("image", {}, "text as 'key' of 'image', got nothing"),
        ("load", {"clip": 5}, "text as 'clip' of 'load', got 5"),
        ("load", {"model": "demo"}, "known field of 'load', got 'model'.*clip, sam, device, models_dir"),
        ("models", {"models_dir": 0}, "text as 'models_dir'"),
        ("image", {"key": "x", "keep": "brain"}, "a list of texts as 'keep'"),
        ("finetune", {"captions": 5, "name": "mine"}, "text as 'captions' of 'finetune', got 5"),
        ("finetune", {"captions": "a.csv", "name": "mine", "replace": "no"}, "true or false as 'replace'"),
        ("export", {"inputs": "a", "out": "b", "prompts": ["tumor"]}, "an object of texts as 'prompts'"),
        ("hello", {"a": 1}, "known field of 'hello', got 'a'. Send none"),
    ],
)
def test_a_field_of_another_kind_or_name_is_refused(kind, fields, words):
    with pytest.raises(InputError, match=words):
        Engine().handle(Message(kind, 1, fields), RecordingReply())


def test_an_array_that_a_request_does_not_have_is_refused(engine):
    points = {"points": np.ones((1, 1, 2), np.float32), "labels": np.ones((1, 1), np.int32), "box": np.ones(4)}
    with pytest.raises(InputError, match="known array of 'predict_mask', got 'box'.*boxes"):
        engine.handle(Message("predict_mask", 1, {"image": "brain"}, points), RecordingReply())


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"boxes": [[np.nan, 1, 20, 30]]}, "x0 < x1"),
        ({"boxes": [[-500, -500, -400, -400]]}, "outside of the image of 128 x 128"),
        ({"boxes": [[10, 10, 1e30, 60]]}, "outside of the image"),
        ({"boxes": [[60, 60, 10, 10]]}, r"got \[60, 60, 10, 10\]"),
        ({"points": [[[30, 30]]], "labels": [[7]]}, "point labels 1 or 0, got 7"),
        ({"points": [[[30, 30]]], "labels": [[0.5]]}, "point labels 1 or 0, got 0.5"),
        ({"points": [[[3000, 30]]], "labels": [[1]]}, r"point \[3000, 30\] lies outside"),
        ({"points": [[[np.inf, 30]]], "labels": [[1]]}, "finite"),
        ({"points": [[[30, 30]]]}, "labels"),
        ({"boxes": [[1, 1, 9, 9]], "masks": np.ones((1, 128, 128), np.float32)}, "uint8 .*got float32"),
    ],
)
def test_marks_that_mark_nothing_are_refused(engine, arrays, words):
    sent = {name: np.asarray(array, getattr(array, "dtype", np.float32)) for name, array in arrays.items()}
    with pytest.raises(InputError, match=words):
        engine.handle(Message("predict_mask", 1, {"image": "brain"}, sent), RecordingReply())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
names = st.sampled_from(
    ["saliency", "coarse", "components", "prompts", "presence_threshold", "style", "kind", "layer", "by_word"]
)
groups = st.dictionaries(st.sampled_from(["layer", "beta", "method"]), json_values)


@given(st.dictionaries(names, json_values | groups | st.dictionaries(st.text(), groups | json_values)) | json_values)
def test_settings_of_any_kind_are_taken_or_refused(changes):
    try:
        changed = with_changes(Settings(M2IBSettings()), changes)
    except InputError:
        return
    assert all(isinstance(changed.saliency_for(word), M2IBSettings) for word in ("lung", *changed.by_word))
    assert isinstance(changed.saliency, M2IBSettings) and type(changed.presence_threshold) is float


@pytest.mark.parametrize(
    "changes, words",
    [
        *((changes, "Expected an object of settings") for changes in ([], ["saliency"], "saliency", 3, True)),
        *(({"by_word": {"brain": changes}}, "by_word.brain") for changes in (3, ["beta"], {"bta": 1.0}, {"beta": "x"})),
        ({"saliency": 1}, "an object"),
        ({"saliency": {"stps": 5}}, "saliency.stps.*layer, beta, steps"),
        ({"saliency": {"steps": 5.5}}, "'saliency.steps': expected a valid integer, got 5.5"),
        ({"presence_threshold": float("nan")}, "presence_threshold"),
        ({"coarse": {"method": "magic"}}, "coarse.method.*'otsu'.*got 'magic'"),
        ({"at_once": -1}, "got -1. 0 leaves it to the device"),
    ],
)
def test_a_refused_setting_is_named_with_what_was_expected(changes, words):
    with pytest.raises(InputError, match=words):
        with_changes(Settings(M2IBSettings()), changes)


def test_settings_from_json_keep_what_they_do_not_name():
    changed = with_changes(
        Settings(M2IBSettings(beta=0.3)), {"saliency": {"steps": 5}, "presence_threshold": 0, "coarse": None}
    )
    assert (changed.saliency.steps, changed.saliency.beta, changed.presence_threshold) == (5, 0.3, 0.0)
    assert with_changes(changed, {"precision": "bf16"}).precision is Precision.BF16
