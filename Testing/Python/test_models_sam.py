"""SAM 2 from Meta's files and from a folder with a configuration of its own."""

from __future__ import annotations

import copy
import pickle
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from safetensors.torch import save_file
from sam2.build_sam import build_sam2_video_predictor
from sam2.modeling.backbones.hieradet import Hiera as SamTrunk
from sam2.modeling.position_encoding import PositionEmbeddingSine as SamPositions
from sam2.modeling.sam2_base import SAM2Base
from sam2.sam2_image_predictor import SAM2ImagePredictor

from MedCLIPSAMLib.errors import ModelError
from MedCLIPSAMLib.models import weights as module
from MedCLIPSAMLib.models.acceleration.captures import Captures
from MedCLIPSAMLib.models.acceleration.linear import with_fast_linear
from MedCLIPSAMLib.models.catalogue import MODELS, find
from MedCLIPSAMLib.models.clip import build_clip
from MedCLIPSAMLib.models.sam import build_sam, load_sam
from MedCLIPSAMLib.models.sam_image_batch import SamImageBatch
from MedCLIPSAMLib.models.weights import read_weights
from MedCLIPSAMLib.resources import resource_path

pytestmark = pytest.mark.gpu

TINY = Path(str(files("sam2").joinpath(find("sam2.1-tiny").config)))


@pytest.fixture(scope="module")
def meta_folder(tmp_path_factory):
    """Random weights of the real SAM 2.1 tiny, in Meta's layout."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "sam2.1-tiny").mkdir()
    torch.manual_seed(5)
    torch.save({"model": build_sam(TINY).state_dict()}, folder / "sam2.1-tiny" / "random.pt")
    return folder


@pytest.fixture
def small_folder(tmp_path):
    """A SAM 2 of 256 px with its own configuration, as the shipped one has it."""
    config = OmegaConf.load(TINY)
    config.model.image_size = 256
    config.model.image_encoder.trunk.merge_with({"embed_dim": 16, "stages": [1, 1, 2, 1], "global_att_blocks": [3]})
    config.model.image_encoder.neck.backbone_channel_list = [128, 64, 32, 16]
    config.model.memory_attention.num_layers = 1
    folder = tmp_path / "demo-sam"
    folder.mkdir()
    (folder / "sam2_demo.yaml").write_text("# @package _global_\n" + OmegaConf.to_yaml(config), encoding="utf-8")
    torch.manual_seed(6)
    save_file(build_sam(folder / "sam2_demo.yaml").state_dict(), folder / "model.safetensors")
    return folder


def test_metas_file_loads_into_the_packaged_configuration(meta_folder):
    sam = load_sam("sam2.1-tiny", models_dir=meta_folder)
    saved = torch.load(meta_folder / "sam2.1-tiny" / "random.pt", weights_only=True)["model"]
    assert sam.name == "sam2.1-tiny" and sam.image_size == find("sam2.1-tiny").image_size == 1024
    assert all(torch.equal(tensor, saved[name]) for name, tensor in sam.state_dict().items())
    assert not sam.training and not any(parameter.requires_grad for parameter in sam.parameters())
    assert sam.sam_mask_decoder.dynamic_multimask_via_stability


def test_the_model_is_the_one_that_sam2_itself_builds(meta_folder):
    ours = load_sam("sam2.1-tiny", models_dir=meta_folder)
    theirs = build_sam2_video_predictor(
        find("sam2.1-tiny").config, str(meta_folder / "sam2.1-tiny" / "random.pt"), device="cpu"
    )
    theirs = with_fast_linear(theirs)
    assert isinstance(ours, type(theirs)) and repr(list(ours.children())) == repr(list(theirs.children()))
    assert ours.binarize_mask_from_pts_for_mem_enc == theirs.binarize_mask_from_pts_for_mem_enc
    for name in ("stability", "stability_delta", "stability_thresh"):
        attribute = f"dynamic_multimask_{name}" if name != "stability" else "dynamic_multimask_via_stability"
        assert getattr(ours.sam_mask_decoder, attribute) == getattr(theirs.sam_mask_decoder, attribute)


@pytest.mark.parametrize("model", [model for model in MODELS if model.config], ids=lambda model: model.name)
def test_every_configuration_is_in_the_installed_package(model):
    config = OmegaConf.load(str(files("sam2").joinpath(model.config)))
    assert config.model.image_size == model.image_size


def test_another_programs_hydra_is_left_alone(small_folder):
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        assert load_sam("demo", models_dir=small_folder.parent).image_size == 256
        assert not GlobalHydra.instance().is_initialized()
    finally:
        GlobalHydra.instance().initialize(before)


@pytest.mark.parametrize("name", ["demo", "sam2.1-tiny"], ids=["256 px", "1024 px"])
def test_boxes_points_and_masks_are_answered_as_sam2s_own_predictor_does(small_folder, meta_folder, name):
    """It is given our input, which differs from its own by rounding, and at 256 px the sizes that it knows for 1024."""
    sam = load_sam(name, models_dir=small_folder.parent if name == "demo" else meta_folder)
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (90, 140, 3), dtype=np.uint8)
    theirs = SAM2ImagePredictor(sam)
    theirs._transforms.forward_batch = lambda images: sam.preprocess(np.stack(images))
    theirs._bb_feat_sizes = [(sam.image_size // stride,) * 2 for stride in (4, 8, 16)]
    theirs.set_image_batch([image])
    ours = SamImageBatch(sam)
    ours.set(image[None])
    boxes = np.array([[10, 10, 60, 50], [70, 5, 139, 89]], np.float32)
    points, labels = np.array([[[30, 20], [100, 80]]] * 2, np.float32), np.array([[1, 0]] * 2, np.int32)
    side = sam.image_size // 4
    logits = generator.normal(size=(2, side, side)).astype(np.float32)
    for given in ((boxes, None, None, None), (None, points, labels, None), (boxes, points, labels, logits)):
        masks, quality = ours.masks([0, 0], *given)
        for row in range(2):
            box, place, kind, start = (None if values is None else values[row] for values in given)
            expected, iou, _ = theirs.predict_batch(
                *([None if value is None else value] for value in (place, kind, box)),
                [start[None]] if start is not None else None,
                multimask_output=False,
            )
            assert np.array_equal(masks[row], expected[0][0] > 0) and quality[row] == pytest.approx(iou[0][0], abs=1e-5)
        assert masks.shape == (2, 90, 140) and masks.any() and not masks.all()


def test_an_absent_model_is_answered_with_the_command_that_gets_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(ModelError, match="medclipsam models download sam2.1-small"):
        load_sam("sam2.1-small", models_dir=tmp_path)


def test_weights_of_another_size_and_truncated_ones_are_refused(meta_folder, tmp_path):
    (tmp_path / "sam2.1-small").mkdir()
    (tmp_path / "sam2.1-small" / "random.pt").write_bytes((meta_folder / "sam2.1-tiny" / "random.pt").read_bytes())
    with pytest.raises(ModelError, match="does not fit its configuration: it lacks 'image_encoder.trunk.blocks.12"):
        load_sam("sam2.1-small", models_dir=tmp_path)
    (tmp_path / "sam2.1-tiny").mkdir()
    (tmp_path / "sam2.1-tiny" / "random.pt").write_bytes(
        (meta_folder / "sam2.1-tiny" / "random.pt").read_bytes()[:1_000_000]
    )
    with pytest.raises(ModelError, match="damaged"):
        load_sam("sam2.1-tiny", models_dir=tmp_path)


def test_of_several_files_the_catalogues_is_taken(small_folder):
    expected = load_sam("demo", models_dir=small_folder.parent).state_dict()
    save_file({"other.layout": torch.zeros(1)}, small_folder / "a.safetensors")
    (small_folder / "a.yaml").write_text("model: 3")
    found = load_sam("demo", models_dir=small_folder.parent).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_several_files_of_which_none_is_the_catalogues_are_refused(meta_folder, tmp_path):
    (tmp_path / "sam2.1-tiny").mkdir()
    for name in ("latest.pt", "older.pt"):
        (tmp_path / "sam2.1-tiny" / name).write_bytes((meta_folder / "sam2.1-tiny" / "random.pt").read_bytes())
    with pytest.raises(ModelError, match="Expected one .pt file in .*, got 'latest.pt', 'older.pt'"):
        load_sam("sam2.1-tiny", models_dir=tmp_path)


def test_kept_positions_are_those_of_sam2_and_follow_the_weights(small_folder):
    ours = load_sam("demo", models_dir=small_folder.parent)
    neck, trunk = ours.image_encoder.neck.position_encoding, ours.image_encoder.trunk
    images = torch.rand(2, 3, ours.image_size, ours.image_size)
    for _ in range(2):
        with torch.no_grad():
            found = ours.forward_image(images)
            trunk_out = SAM2Base.forward_image(ours, images)
        for kept, feature, plain in zip(found["vision_pos_enc"], found["backbone_fpn"], trunk_out["backbone_fpn"]):
            neck.cache.clear()
            assert torch.equal(kept, SamPositions.forward(neck, feature)) and torch.equal(feature, plain)
        before = SamTrunk._get_pos_embed(trunk, (8, 8))
        with torch.no_grad():
            assert torch.equal(trunk._get_pos_embed((8, 8)), before)
            trunk.pos_embed.add_(1.0)
            assert torch.equal(trunk._get_pos_embed((8, 8)), SamTrunk._get_pos_embed(trunk, (8, 8)))
            assert not torch.equal(trunk._get_pos_embed((8, 8)), before)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda sam: pickle.loads(pickle.dumps(sam))])
def test_a_copy_computes_with_its_own_weights(small_folder, copied):
    first = load_sam("demo", models_dir=small_folder.parent)
    images = torch.rand(1, 3, first.image_size, first.image_size)
    features = lambda sam: sam.forward_image(images)["vision_features"]
    with torch.no_grad():
        before = features(first)
        first.captures = captures = Captures(lambda function, inputs: function)
        other = copied(first)
        assert captures and other.captures is None, "a recording replays the weights of the first"
        first.captures = None
        other.image_encoder.trunk.pos_embed.add_(torch.randn_like(first.image_encoder.trunk.pos_embed))
        changed = features(other)
        assert torch.equal(features(first), before) and not torch.equal(changed, before)
        first.image_encoder.trunk.pos_embed.sub_(torch.randn_like(first.image_encoder.trunk.pos_embed))
        assert torch.equal(features(other), changed) and not torch.equal(features(first), before)


def test_a_model_may_change_its_type_after_a_first_image(small_folder):
    used, fresh = (load_sam("demo", models_dir=small_folder.parent) for _ in range(2))
    images = torch.rand(1, 3, used.image_size, used.image_size)
    with torch.no_grad():
        used.forward_image(images)
        found, expected = (sam.to(torch.bfloat16).forward_image(images.bfloat16()) for sam in (used, fresh))
    assert torch.equal(found["vision_features"], expected["vision_features"])


@pytest.mark.parametrize("new", [True, False])
def test_both_formats_of_pytorch_are_read(tmp_path, new):
    weights = {"model": {"weight": torch.arange(6.0).reshape(2, 3)}}
    torch.save(weights, tmp_path / "weights.pt", _use_new_zipfile_serialization=new)
    assert torch.equal(read_weights(tmp_path / "weights.pt")["weight"], weights["model"]["weight"])


def test_building_for_another_device_takes_no_memory_of_a_gpu(small_folder, monkeypatch):
    """Whoever has left a full GPU for the CPU needs the model there. Torch says that there is a GPU; any use fails."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    sam = load_sam("demo", "cpu", small_folder.parent)
    assert {layer.self_attn.freqs_cis.device.type for layer in sam.memory_attention.layers} == {"cpu"}
    with torch.no_grad():
        found = sam.forward_image(torch.rand(1, 3, sam.image_size, sam.image_size))
    assert all(encoding.device.type == "cpu" for encoding in found["vision_pos_enc"])


def test_memory_that_runs_out_while_loading_is_not_blamed_on_the_configuration(small_folder, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with monkeypatch.context() as patched, pytest.raises(torch.OutOfMemoryError):
        patched.setattr(torch, "arange", full)
        build_sam(small_folder / "sam2_demo.yaml")
    with monkeypatch.context() as patched, pytest.raises(torch.OutOfMemoryError):
        patched.setattr(torch.nn.Linear, "reset_parameters", full)
        build_clip(resource_path("models/demo-clip"))
    with monkeypatch.context() as patched, pytest.raises(torch.OutOfMemoryError):
        patched.setattr(module, "load_file", full)
        read_weights(small_folder / "model.safetensors")
