"""A model's folder from elsewhere: no file of it runs code, reads another file, or ends in a traceback."""

from __future__ import annotations

import json
import os
import re
import shutil
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from MedCLIPSAMLib.errors import InputError, ModelError
from MedCLIPSAMLib.models.clip import load_clip
from MedCLIPSAMLib.models.sam import load_sam
from MedCLIPSAMLib.models.trained import read_entry
from MedCLIPSAMLib.resources import resource_path
from MedCLIPSAMLib.segmentation.model_cache import ModelCache
from MedCLIPSAMLib.segmentation.model_choice import ModelChoice
from MedCLIPSAMLib.segmentation.settings import default_settings
from MedCLIPSAMLib.worker.catalogue import models_and_devices

DEEP = "[" * 100_000


@pytest.fixture()
def sam_folder(tmp_path):
    return shutil.copytree(resource_path("models") / "demo-sam", tmp_path / "demo-sam")


@pytest.fixture()
def clip_folder(tmp_path):
    return shutil.copytree(resource_path("models") / "demo-clip", tmp_path / "demo-clip")


def change(path, before, after):
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


@pytest.mark.parametrize(
    "before, after, message",
    [
        ("embed_dim: 32", "embed_dim: 32\n      weights_path: PICKLE", "'weights_path' is not a setting of 'Hiera'"),
        ("embed_dim: 32", "embed_dim: 32\n      drop_paths: 0", "'drop_paths' is not a setting"),
        ("scalp: 1", "scalp: 1\n    _args_: [1]", "'_args_' is not a setting"),
        ("scalp: 1", "scalp: 1\n    _partial_: true", "'_partial_' is not a setting"),
        ("scalp: 1", "scalp: ${oc.env:HOME}", "'scalp' cannot be"),
        ("scalp: 1", "scalp: !!python/object/apply:os.system ['touch PICKLE']", "could not determine a constructor"),
        ("scalp: 1", "scalp: {_target_: os.system, command: touch PICKLE}", "would run 'os.system'"),
        ("scalp: 1", "scalp: .nan", "'scalp' cannot be nan"),
        ("scalp: 1", "scalp: 1e999", "'scalp' cannot be"),
        ("scalp: 1", "scalp: [[1]]", "holds more than numbers"),
        ("scalp: 1", "scalp: &a 1", "anchors"),
        ("scalp: 1", "scalp: 1\n    scalp: 2", "duplicate key"),
        ("stages: [1, 2, 3, 1]", "stages: [1, 2, 999999999999, 1]", "'stages' cannot be"),
        ("sam2.modeling.sam2_base.SAM2Base", "os.system", "would run 'os.system'"),
        ("scalp: 1", "scalp: {_target_: sam2.build_sam.build_sam2}", "would run 'sam2.build_sam.build_sam2'"),
        ("stages: [1, 2, 3, 1]", "stages: [1, 2, 100000, 1]", "'stages' cannot be 100000"),
        ("image_size: 192", "image_size: 0", "expected a multiple of 32 up to 4096 as image_size, got 0"),
        ("image_size: 192", "image_size: 100", "expected a multiple of 32 up to 4096 as image_size, got 100"),
        ("model:", "other: 1\nmodel:", "one entry 'model'"),
        ("num_maskmem: 5", "sam_mask_decoder_extra_args: {transformer: 1, nonsense: 2}", "'nonsense' is not a setting"),
    ],
)
def test_a_sam_configuration_has_known_settings_only(sam_folder, before, after, message):
    evil = sam_folder.parent / "evil.pt"
    change(sam_folder / "sam2_demo.yaml", before, after.replace("PICKLE", str(evil)))
    with pytest.raises(ModelError, match=message):
        load_sam("demo", models_dir=sam_folder.parent)
    assert not evil.exists()


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize(
    "content",
    [
        *(BOMB, DEEP, "x" * 100_000, "[" * 30_000, "{a: " * 10_000, b"\xff\xfe".decode("latin-1")),
        *("? [a]\n: b\n", "- 1", "", "model: 3", "model: [", "a: b", "model: {image_size: 256}"),
    ],
    ids=lambda content: content[:12],
)
def test_sam_configurations_that_are_bombs_or_nothing_are_refused_in_no_time(sam_folder, content):
    (sam_folder / "sam2_demo.yaml").write_text(content, encoding="utf-8")
    started = time.monotonic()
    with pytest.raises(ModelError, match="No SAM 2 can be built"):
        load_sam("demo", models_dir=sam_folder.parent)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    "entry",
    [
        {"auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}},
        {"attn_implementation": "somebody/kernel"},
        {"_attn_implementation": "somebody/kernel"},
        {"quantization_config": {"quant_method": "gptq"}},
        {"custom_pipelines": {}},
    ],
    ids=lambda entry: next(iter(entry)),
)
def test_a_clip_configuration_asks_for_no_code(clip_folder, entry):
    path = clip_folder / "config.json"
    (clip_folder / "evil.py").write_text(f"open({str(clip_folder / 'ran')!r}, 'w')")
    path.write_text(json.dumps(json.loads(path.read_text()) | entry))
    with pytest.raises(ModelError, match="asks for custom code"):
        load_clip("demo", models_dir=clip_folder.parent)
    assert not (clip_folder / "ran").exists()


@pytest.mark.parametrize(
    "file, content",
    [
        *((file, DEEP) for file in ("config.json", "open_clip_config.json", "tokenizer_config.json")),
        *((file, " " * 2_000_000) for file in ("config.json", "open_clip_config.json", "tokenizer_config.json")),
        *((file, "[]") for file in ("config.json", "open_clip_config.json", "tokenizer_config.json")),
        *((file, "\ud800") for file in ("config.json", "open_clip_config.json", "vocab.txt")),
        ("open_clip_config.json", "{"),
        ("open_clip_config.json", "{}"),
        ("config.json", "{}"),
        ("open_clip_config.json", '{"model_cfg": 1}'),
        ("open_clip_config.json", '{"model_cfg": {"embed_dim": 1e999}}'),
        ("vocab.txt", ""),
        ("vocab.txt", "one\ntwo\n"),
    ],
    ids=lambda value: str(value)[:20].encode("ascii", "replace").decode(),
)
def test_broken_small_files_of_a_clip_model_are_named(clip_folder, file, content):
    (clip_folder / file).write_text(content, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(ModelError, match=file):
        load_clip("demo", models_dir=clip_folder.parent)


@pytest.mark.parametrize(
    "changes",
    [
        {"image_size": 0},
        {"image_size": "large"},
        {"image_size": 10**9},
        {"mean": [1, 2]},
        {"mean": "abc"},
        {"mean": ["a", "b", "c"]},
        {"std": [0, 1, 1]},
        {"std": 7},
        {"context_length": -1},
        {"context_length": None},
    ],
    ids=str,
)
def test_sizes_and_colors_that_cannot_be_are_named(clip_folder, changes):
    path = clip_folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    for name, value in changes.items():
        part = {"image_size": ("model_cfg", "vision_cfg"), "context_length": ("model_cfg", "text_cfg")}.get(name)
        place = config[part[0]][part[1]] if part else config.setdefault("preprocess_cfg", {})
        place[name] = value
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match="open_clip_config.json"):
        load_clip("demo", models_dir=clip_folder.parent)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("share", ["all", "one"])
def test_weights_that_are_no_numbers_are_refused(sam_folder, clip_folder, value, share):
    for folder, load in ((sam_folder, load_sam), (clip_folder, load_clip)):
        path = next(folder.glob("*.safetensors"))
        state = load_file(path)
        for name in list(state) if share == "all" else list(state)[3:4]:
            state[name].view(-1)[slice(None) if share == "all" else slice(1)] = value
        save_file(state, path)
        with pytest.raises(ModelError, match="finite weights"):
            load("demo", models_dir=folder.parent)
        torch.save(state, path.with_suffix(".pt"))
        path.unlink()
        (folder / "pytorch_model.bin" if load is load_clip else path.with_suffix(".pt")).write_bytes(
            path.with_suffix(".pt").read_bytes()
        )
        with pytest.raises(ModelError, match="finite weights"):
            load("demo", models_dir=folder.parent)


@pytest.mark.parametrize(
    "file, change",
    [
        ("config.json", {"num_hidden_layers": 10**6}),
        ("open_clip_config.json", {"model_cfg": {"vision_cfg": {"layers": [2, 10**6]}}}),
    ],
    ids=["texts", "images"],
)
def test_a_model_of_a_million_layers_is_not_built(clip_folder, file, change):
    path = clip_folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match=f"{file}' asks for more than 1000 layers"):
        load_clip("demo", models_dir=clip_folder.parent)


def test_a_tensor_of_more_values_than_its_file_has_is_refused(clip_folder):
    state = load_file(clip_folder / "open_clip_model.safetensors")
    (clip_folder / "open_clip_model.safetensors").unlink()
    torch.save(state | {"logit_scale": torch.ones(1).expand(1 << 20, 1 << 20)}, clip_folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="Expected a table of weights"):
        load_clip("demo", models_dir=clip_folder.parent)


def test_weights_in_8_bits_are_looked_at_too(clip_folder):
    path = clip_folder / "open_clip_model.safetensors"
    save_file(load_file(path) | {"logit_scale": torch.tensor(float("nan")).to(torch.float8_e4m3fn)}, path)
    with pytest.raises(ModelError, match="finite weights .* in 'logit_scale'"):
        load_clip("demo", models_dir=clip_folder.parent)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(sam_folder, clip_folder):
    (sam_folder / "model.safetensors").unlink()
    for path in (sam_folder / "mine.safetensors", clip_folder / "statistics.safetensors"):
        os.mkfifo(path)
    for load in (load_sam, load_clip):
        with pytest.raises(InputError, match="Expected a file, got the pipe"):
            load("demo", models_dir=sam_folder.parent)


def test_what_macos_and_links_leave_in_a_models_folder_is_no_file_of_the_model(sam_folder, clip_folder):
    """A copy by a Mac has a `._NAME` beside each file; a link may point to what was not copied."""
    (sam_folder / "model.safetensors").rename(sam_folder / "MedSAM2.safetensors")
    (sam_folder / "._MedSAM2.safetensors").write_bytes(b"\0\5\x16\7")
    (clip_folder / "README.md").symlink_to("/nowhere/README.md")
    choice = ModelChoice("demo", "demo", "cpu", sam_folder.parent)
    assert ModelCache().load(choice).sam.name == "demo"


ENTRY = {"name": "mine", "title": "t", "purpose": "p", "license": "l", "base": "b", "image_size": 224}


@pytest.mark.parametrize(
    "content",
    [
        DEEP,
        '{"name": "mine", "image_size": 1e999}',
        json.dumps(ENTRY | {"saliency": {"steps": "STEPS"}, "by_word": {}}).replace('"STEPS"', "1e999"),
        json.dumps(ENTRY | {"saliency": {"beta": "BETA"}, "by_word": {}}).replace('"BETA"', "NaN"),
        json.dumps(ENTRY | {"saliency": [], "by_word": {}}),
        json.dumps(ENTRY | {"saliency": {}, "by_word": {}, "name": "\ud800"}),
    ],
    ids=["deep", "infinite size", "infinite steps", "NaN", "a list", "half a character"],
)
def test_an_entry_that_cannot_be_read_ends_no_list_of_models(run, tmp_path, content):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "medclipsam.json").write_text(content)
    with pytest.raises(ModelError, match=r"medclipsam\.json' cannot be used"):
        read_entry(tmp_path / "mine")
    code, text, _ = run("models", "list", "--models-dir", tmp_path)
    assert code == 0 and "damaged" in text


@pytest.mark.parametrize(
    "change, told",
    [
        ({"saliency": {"mirror": "false"}}, 'expected true or false as mirror, got "false"'),
        ({"saliency": {"layer": 7.9}}, "expected a whole number as layer, got 7.9"),
        ({"saliency": {"steps": True}}, "expected a whole number as steps, got true"),
        ({"by_word": {"tumor": {"beta": "2"}}}, 'expected a number as beta, got "2"'),
        ({"image_size": 224.5}, "expected a whole number as image_size, got 224.5"),
        ({"image_size": "512", "kind": "sam", "base": "sam2.1-tiny"}, 'as image_size, got "512"'),
        ({"image_size": 512, "kind": "sam2", "base": "sam2.1-tiny"}, 'expected a kind of clip, sam, got "sam2"'),
        *(
            ({"image_size": size, "kind": "sam", "base": "sam2.1-tiny"}, f"up to 4096 as image_size, got {size}")
            for size in (0, 500, 1 << 30)
        ),
    ],
)
def test_values_of_another_type_are_refused_not_converted(tmp_path, change, told):
    (tmp_path / "medclipsam.json").write_text(json.dumps(ENTRY | {"saliency": {}, "by_word": {}} | change))
    with pytest.raises(ModelError, match=re.escape(told)):
        read_entry(tmp_path)
    good = {"saliency": {"mirror": False, "layer": 7, "beta": 2}, "by_word": {"tumor": {"beta": 0.5}}}
    (tmp_path / "medclipsam.json").write_text(json.dumps(ENTRY | good))
    entry = read_entry(tmp_path)
    assert entry.saliency == good["saliency"] and entry.by_word == good["by_word"]


def test_what_an_entry_says_is_no_markup(run, tmp_path):
    (tmp_path / "mine").mkdir()
    entry = ENTRY | {"saliency": {}, "by_word": {}, "purpose": "[/b] [red]x[/red]", "title": "[/b]", "license": "[/]"}
    (tmp_path / "mine" / "medclipsam.json").write_text(json.dumps(entry))
    code, text, _ = run("models", "list", "--models-dir", tmp_path)
    assert code == 0 and "mine" in text and "[/b]" in text


def test_more_words_or_places_than_embeddings_are_refused_before_a_prompt_meets_them(clip_folder):
    vocabulary, config = clip_folder / "vocab.txt", clip_folder / "open_clip_config.json"
    words, plain = vocabulary.read_text(encoding="utf-8"), json.loads(config.read_text(encoding="utf-8"))
    vocabulary.write_text(words.rstrip("\n") + "\nzyzzyva\n", encoding="utf-8")
    with pytest.raises(ModelError, match="expected a vocabulary of"):
        load_clip("demo", models_dir=clip_folder.parent)
    vocabulary.write_text(words, encoding="utf-8")
    plain["model_cfg"]["text_cfg"]["context_length"] = 4096
    config.write_text(json.dumps(plain), encoding="utf-8")
    with pytest.raises(ModelError, match="expected a context length of"):
        load_clip("demo", models_dir=clip_folder.parent)


@pytest.mark.parametrize("kind", ["clip", "sam"])
def test_what_an_entry_says_is_one_printable_line(tmp_path, kind):
    """A terminal would obey an escape sequence in the list of models."""
    said = "Mine\x1b[2J\nand more\x07"
    entry = {"kind": kind, "name": "mine", "base": "demo", "image_size": 128, "saliency": {}, "by_word": {}}
    entry |= dict.fromkeys(("title", "purpose", "license"), said)
    (tmp_path / "medclipsam.json").write_text(json.dumps(entry), encoding="utf-8")
    model = read_entry(tmp_path)
    assert {model.title, model.purpose, model.license, model.seen} == {"Mine [2J and more "}


class Code:
    def __reduce__(self):
        return print, ("This ran.",)


def own_clip(parent, name, weights=None, file="pytorch_model.bin"):
    folder = shutil.copytree(resource_path("models") / "demo-clip", parent / name)
    entry = ENTRY | {"name": name, "image_size": 128, "saliency": {}, "by_word": {}}
    (folder / "medclipsam.json").write_text(json.dumps(entry))
    if weights is not None:
        (folder / "open_clip_model.safetensors").unlink()
        torch.save(weights, folder / file)
    return folder


@pytest.mark.parametrize(
    "change, told",
    [
        ({"answer": {"presence_treshold": 0.3}}, "got 'presence_treshold'"),
        ({"saliency": {"steps": 0}}, "Setting 'steps': expected a value greater than or equal to 1, got 0"),
    ],
)
def test_settings_of_an_entry_that_there_are_not_are_told_with_its_model(run, tmp_path, change, told):
    path = own_clip(tmp_path, "mine") / "medclipsam.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match=f"The entry of the model 'mine' cannot be used. .*{told}"):
        default_settings("mine", tmp_path)
    code, text, _ = run("models", "list", "--models-dir", tmp_path, "--json")
    (listed,) = [model for model in json.loads(text) if model["name"] == "mine"]
    assert code == 0 and listed["state"] == "damaged" and not listed["usable"] and told in listed["detail"]
    assert listed in models_and_devices(tmp_path)["models"]  # as the panel lists them


def test_weights_without_a_checksum_are_loaded_by_the_check(run, tmp_path, monkeypatch):
    """The catalogue is left out: its own models are loaded in other tests."""
    monkeypatch.setattr("MedCLIPSAMLib.models.store.MODELS", ())
    weights = load_file(resource_path("models") / "demo-clip" / "open_clip_model.safetensors")
    own_clip(tmp_path, "good", weights)
    broken = {
        "code": ({**weights, "code": Code()}, "more than weights"),
        "missing": ({name: weights[name] for name in list(weights)[1:]}, "lacks"),
        "shape": ({name: tensor[None] for name, tensor in weights.items()}, "another shape"),
        "whole": (weights | {"logit_scale": torch.tensor(3)}, "floating-point weights"),
    }
    if hasattr(os, "mkfifo"):
        broken["pipe"] = weights, "got the pipe"
    for name, (content, _) in broken.items():
        folder = own_clip(tmp_path, name, content)
        if name == "pipe":
            os.mkfifo(folder / "statistics.safetensors")

    def states(*options):
        code, text, _ = run("models", "list", "--models-dir", tmp_path, "--json", *options)
        assert code == 0
        return {model["name"]: (model["state"], model["detail"]) for model in json.loads(text)}

    assert set(states().values()) == {("trained", "")}
    checked = states("--checksums")
    state, detail = checked.pop("good")
    assert state == "trained" and detail.startswith("no checksum of ") and "pytorch_model.bin" in detail
    assert checked.keys() == broken.keys()
    assert all(state == "damaged" and broken[name][1] in detail for name, (state, detail) in checked.items())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_checkpoint_of_a_training_by_open_clip_is_taken(tmp_path, prefix):
    """As open_clip_train writes it: {"epoch", "name", "state_dict", "optimizer"}."""
    weights = load_file(resource_path("models") / "demo-clip" / "open_clip_model.safetensors")
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))]).state_dict()
    state = {prefix + name: tensor for name, tensor in weights.items()}
    checkpoint = {"epoch": 3, "name": "run", "state_dict": state, "optimizer": optimizer}
    own_clip(tmp_path, "mine", checkpoint, "open_clip_pytorch_model.bin")
    taken, shipped = load_clip("mine", models_dir=tmp_path), load_clip("demo")
    assert torch.equal(taken.encode_text(["brain tumor"]), shipped.encode_text(["brain tumor"]))
