"""The catalogue, and where its models are looked for."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
import torch

from MedCLIPSAMLib.errors import DeviceError, ModelError
from MedCLIPSAMLib.files.checksums import record
from MedCLIPSAMLib.models.catalogue import MODELS, find
from MedCLIPSAMLib.models.device import resolve_device
from MedCLIPSAMLib.models.store import (
    ENVIRONMENT,
    Status,
    cache_folder,
    find_model_folder,
    own_folder,
    status,
    statuses,
)
from MedCLIPSAMLib.models.store import find as find_any
from MedCLIPSAMLib.models.trained import Training, trained_models, write_trained
from MedCLIPSAMLib.resources import resource_path


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(ENVIRONMENT, raising=False)


def put(folder, *names, content=b"weights"):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(content)
    return folder


CLIP = [file.name for file in find("medclip-samv2").files]


def test_every_entry_says_where_it_is_from_and_under_which_license():
    assert (
        len({(model.name, model.kind) for model in MODELS})
        == len({model.folder for model in MODELS})
        == len(MODELS)
        == 10
    )
    for model in MODELS:
        assert model.license and model.source and model.purpose and model.files
        for file in model.files:
            assert not model.downloadable or urlsplit(file.url).scheme == "https"
            assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
            if model.downloadable and not file.name.endswith(".json"):
                assert file.size or not file.sha256, "weights have their size too"
            assert file.sha256 or not model.shipped


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ModelError, match="no SAM model 'sam2.1-tinny'.*Did you mean 'sam2.1-tiny'.*sam2.1-large"):
        find("sam2.1-tinny", "sam")
    with pytest.raises(ModelError, match="no text-image model 'sam2.1-tiny'"):
        find("sam2.1-tiny", "clip")
    assert find("demo", "clip").kind == "clip" and find("demo", "sam").kind == "sam"


def test_the_shipped_models_are_there():
    for model in (find(name, kind) for name in ("demo", "starter") for kind in ("clip", "sam")):
        assert status(model, checksums=True) == Status(model, "shipped", status(model).folder), model.name
        assert find_model_folder(model) == resource_path("models") / model.folder


def test_folders_are_searched_in_order(tmp_path, monkeypatch):
    model = find("medclip-samv2")
    with pytest.raises(ModelError, match="not on this machine.*medclipsam models download medclip-samv2"):
        find_model_folder(model)
    cached = put(cache_folder() / model.folder, *CLIP)
    assert find_model_folder(model) == cached and status(model).state == "downloaded"
    by_environment = put(tmp_path / "environment" / model.folder, *CLIP)
    monkeypatch.setenv(ENVIRONMENT, str(by_environment.parent))
    assert find_model_folder(model) == by_environment and status(model).state == "offline"
    by_option = put(tmp_path / "option" / model.folder, *CLIP)
    assert find_model_folder(model, by_option.parent) == by_option
    assert find_model_folder(model, put(tmp_path / "empty")) == by_environment


@pytest.mark.parametrize("kind", ["clip", "sam"])
def test_a_model_that_nobody_offers_is_found_in_a_named_folder_only(tmp_path, kind):
    model = replace(find("starter", kind), shipped=False)
    assert not status(model).as_dict()["downloadable"]
    with pytest.raises(ModelError, match=f"not offered for download.*'{model.folder}'.*--models-dir") as error:
        find_model_folder(model)
    assert "models download" not in str(error.value)
    put(tmp_path / model.folder, *(file.name for file in model.files))
    assert find_model_folder(model, tmp_path) == tmp_path / model.folder


def test_a_named_folder_must_exist(tmp_path):
    with pytest.raises(ModelError, match="does not exist.*--models-dir"):
        find_model_folder(find("biomedclip"), tmp_path / "nowhere")
    for look in (
        lambda: find_any("my-clip", models_dir=tmp_path / "nowhere"),
        lambda: own_folder("x", tmp_path / "nowhere"),
    ):
        with pytest.raises(ModelError, match="does not exist.*--models-dir"):  # not that there is no such model
            look()


def test_a_half_copied_or_truncated_model_is_not_used(tmp_path):
    put(tmp_path / "biomedclip", "open_clip_pytorch_model.bin", "vocab.txt")
    with pytest.raises(ModelError, match="incomplete: it lacks open_clip_config.json"):
        find_model_folder(find("biomedclip"), tmp_path)
    put(tmp_path / "sam2.1-tiny", "sam2.1_hiera_tiny.pt")
    with pytest.raises(
        ModelError, match="damaged: 'sam2.1_hiera_tiny.pt' has 7 bytes, not 156008466.*Put the right files there"
    ):
        find_model_folder(find("sam2.1-tiny"), tmp_path)


def test_an_unfinished_download_is_incomplete():
    put(cache_folder() / "sam2.1-tiny", "sam2.1_hiera_tiny.pt.partial")
    assert status(find("sam2.1-tiny")).state == "incomplete"
    with pytest.raises(ModelError, match="did not finish.*models download sam2.1-tiny"):
        find_model_folder(find("sam2.1-tiny"))


def test_a_changed_file_is_found_by_its_checksum(tmp_path):
    model = find("medclip-samv2")
    folder = put(tmp_path / model.folder, *CLIP)
    known = status(model, tmp_path, checksums=True)
    assert known.state == "damaged" and known.detail == "the checksum of 'open_clip_config.json' is wrong"
    model = replace(model, files=tuple(replace(file, sha256=None) for file in model.files))
    for name in CLIP:
        record(folder, name, hashlib.sha256(b"weights").hexdigest(), 7, "https://example.org")
    assert status(model, tmp_path, checksums=True) == Status(model, "offline", folder)
    put(folder, "pytorch_model.bin", content=b"weighty")
    assert status(model, tmp_path).state == "offline"
    assert status(model, tmp_path, checksums=True).detail == "the checksum of 'pytorch_model.bin' is wrong"
    (folder / "manifest.json").write_text(json.dumps(["not", "a", "table"]))
    known = status(model, tmp_path, checksums=True)
    assert known.usable and known.detail == f"no checksum of {', '.join(CLIP)}"


def test_a_flipped_bit_of_a_trained_model_is_found(tmp_path):
    def write_model(folder):
        shutil.copytree(find_model_folder(find("demo", "clip")), folder, dirs_exist_ok=True)

    folder = write_trained(tmp_path, find("demo", "clip"), "mine", Training("demo", "10 pairs", {}, {}), write_model)
    ((model,), _) = trained_models([tmp_path])
    assert status(model, tmp_path, checksums=True) == Status(model, "trained", folder)
    path = folder / "open_clip_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    assert status(model, tmp_path) == Status(model, "trained", folder)
    found = status(model, tmp_path, checksums=True)
    assert (found.state, found.detail) == ("damaged", f"the checksum of '{path.name}' is wrong")


def test_the_list_covers_the_catalogue():
    assert [found.model for found in statuses()] == list(MODELS)


def test_devices():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == (
        "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    )
    for name in ("gpu", "cpu:1", "cpu:", "auto:", "mps:0", "cuda:x", "cuda:", "cuda:0:", "cuda:\u0663", ""):
        with pytest.raises(DeviceError, match="Expected a device"):
            resolve_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA GPU")
def test_cuda_that_is_not_there_is_refused_with_the_cause():
    cause = "built for the CPU only" if torch.version.cuda is None else "no NVIDIA GPU"
    with pytest.raises(DeviceError, match=cause):
        resolve_device("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_cuda_by_number():
    assert resolve_device("cuda:0") == torch.device("cuda", 0)
    with pytest.raises(DeviceError, match="there are"):
        resolve_device("cuda:99")


def test_a_model_of_ones_own_is_removed_and_nothing_else(run, tmp_path):
    entry = json.dumps(dict.fromkeys(("name", "title"), "mine"))  # it lacks the rest: a damaged one can be removed too
    for name in ("mine", "other", "demo-clip", "."):
        put(tmp_path / "models" / name, "medclipsam.json", content=entry.encode())
    plain = put(tmp_path / "models" / "plain", "notes.txt")
    linked = put(tmp_path / "linked", "medclipsam.json", content=entry.encode())
    (tmp_path / "models" / "link").symlink_to(linked)
    remove = lambda name, *options: run("models", "remove", name, "--models-dir", tmp_path / "models", *options)
    code, _, err = remove("mine")
    assert code == 2 and "would be removed" in err and "--yes" in err and (tmp_path / "models" / "mine").is_dir()
    for name in ("demo", "demo-clip", "biomedclip", "plain", "../linked", "..", ".", "", str(linked)):
        code, _, err = remove(name, "--yes")
        assert code == 2 and ("of the catalogue" in err or "no model of your own" in err), name
    for name in ("mine", "link"):
        code, text, err = remove(name, "--yes")
        assert code == 0 and f"Removed {tmp_path / 'models' / name}" in text, err
    assert (linked / "medclipsam.json").is_file() and plain.is_dir()
    left = {path.name for path in (tmp_path / "models").iterdir() if not path.name.endswith(".lock")}
    assert left == {"other", "demo-clip", "plain", "medclipsam.json"}
