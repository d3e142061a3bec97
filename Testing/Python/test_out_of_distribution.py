"""Images unlike what a model has seen: the distance, the file that comes from elsewhere, and what the user is told."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from recording_reply import RecordingReply
from safetensors.torch import save_file

from MedCLIPSAMLib.choices import Strategy
from MedCLIPSAMLib.errors import InputError, ModelError
from MedCLIPSAMLib.experiments.out_of_distribution import measure_ood_notes
from MedCLIPSAMLib.export.cases import Case
from MedCLIPSAMLib.export.engines import LocalEngine
from MedCLIPSAMLib.export.export import export
from MedCLIPSAMLib.models.clip import load_clip
from MedCLIPSAMLib.models.feature_statistics import STATISTICS, FeatureStatistics, read_statistics
from MedCLIPSAMLib.models.store import find, find_model_folder
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.pipeline.request import SegmentationRequest
from MedCLIPSAMLib.pipeline.segment_volume import segment_volume
from MedCLIPSAMLib.starter.statistics import make_statistics
from MedCLIPSAMLib.volumes import read_volume
from MedCLIPSAMLib.volumes.write import write_png
from MedCLIPSAMLib.worker.engine import Engine
from MedCLIPSAMLib.worker.protocol import Message


def two_kinds(limits=(1.0, 2.0)) -> FeatureStatistics:
    """Two kinds of images in a space of two features, whose spread is 0.5 along x and 1 along y."""
    means = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    whitening = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    return FeatureStatistics(("MR", "CT"), means, whitening, torch.tensor(limits))


def test_the_nearest_kind_counts_in_units_of_its_limit():
    # (1, 0): 2 of the first kind. (13, 0): 6 of the second kind, whose limit is 2. (0, 3): 3 of the first kind
    found = two_kinds().ood_score(torch.tensor([[0.0, 0.0], [1.0, 0.0], [13.0, 0.0], [0.0, 3.0]]))
    assert found.tolist() == pytest.approx([0, 2, 3, 3])


def test_what_is_written_is_read(tmp_path):
    two_kinds().write(tmp_path / STATISTICS)
    read = read_statistics(tmp_path, 2)
    features = torch.tensor([[1.0, 2.0], [7.0, -1.0]])
    assert read.kinds == ("MR", "CT")
    assert torch.allclose(read.ood_score(features), two_kinds().ood_score(features))
    assert read_statistics(tmp_path / "elsewhere", 2) is None


GOOD = {"means": torch.zeros(1, 2), "whitening": torch.ones(2, 2), "limits": torch.ones(1)}


@pytest.mark.parametrize(
    ("tensors", "kinds"),
    [
        ({**GOOD, "means": torch.zeros(1, 3)}, '["MR"]'),
        ({**GOOD, "means": torch.full((1, 2), float("nan"))}, '["MR"]'),
        ({**GOOD, "whitening": torch.ones(2, 3)}, '["MR"]'),
        ({**GOOD, "whitening": torch.ones(1, 2, 2)}, '["MR"]'),
        ({**GOOD, "limits": torch.zeros(1)}, '["MR"]'),
        ({**GOOD, "limits": torch.ones(2)}, '["MR"]'),
        ({"means": GOOD["means"]}, '["MR"]'),
        (GOOD, '["MR", "CT"]'),
        (GOOD, "[]"),
        (GOOD, '["MR\\n\\u001b[2J"]'),
        (GOOD, "[" * 100_000),
        (GOOD, '{"MR": 1}'),
        (GOOD, json.dumps(["M" * 1000])),
    ],
)
def test_statistics_that_do_not_fit_are_refused(tmp_path, tensors, kinds):
    save_file(tensors, tmp_path / STATISTICS, {"kinds": kinds})
    with pytest.raises(ModelError, match=STATISTICS):
        read_statistics(tmp_path, 2)


@pytest.mark.parametrize("data", [b"", b"no statistics", b"\xff" * 64, b"\0" * (2 << 20)])
def test_a_damaged_file_is_refused(tmp_path, data):
    (tmp_path / STATISTICS).write_bytes(data)
    with pytest.raises(ModelError, match=STATISTICS):
        read_statistics(tmp_path, 2)


def test_a_model_is_loaded_with_its_statistics_and_refused_with_wrong_ones(tmp_path):
    folder = tmp_path / "demo-clip"
    shutil.copytree(find_model_folder(find("demo", "clip")), folder)
    assert load_clip("demo", models_dir=tmp_path).feature_statistics is None
    two_kinds().write(folder / STATISTICS)
    with pytest.raises(ModelError, match="Expected finite statistics of 2 kinds"):
        load_clip("demo", models_dir=tmp_path)


@pytest.fixture()
def strange(segmenter, monkeypatch):
    """A segmenter to which every image is strange, or none."""

    def make(value: float):
        known = FeatureStatistics(("MR", "CT"), torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1))
        monkeypatch.setattr(FeatureStatistics, "ood_score", lambda self, features: torch.full((len(features),), value))
        monkeypatch.setattr(segmenter.clip, "feature_statistics", known)
        return segmenter

    return make


@pytest.fixture()
def brain(tmp_path):
    phantom = make_phantom("validation", 1, "MR", 1)
    path = tmp_path / "images" / "brain.png"
    path.parent.mkdir()
    write_png(path, np.repeat(phantom.image[..., None], 3, 2))
    return path


SAID = "unlike what 'demo' has seen (MR, CT): check the mask with care."


def test_a_strange_image_is_told_once(strange, brain):
    request = SegmentationRequest(("brain tumor", "ventricles"))
    found = segment_volume(strange(1.01), read_volume(brain), request).collect()
    assert found.notes == (f"This image looks {SAID}",)
    assert segment_volume(strange(0.99), read_volume(brain), request).collect().notes == ()


def test_a_volume_is_strange_where_more_than_half_of_its_slices_are(strange, brain, monkeypatch):
    segmenter = strange(2.0)
    volume = read_volume(brain)
    volume = replace(volume, array=np.repeat(volume.array, 4, 0), natural=False)
    values = iter([2.0, 0.5, 3.0, 0.5, 2.0, 2.0, 2.0, 0.5])
    monkeypatch.setattr(FeatureStatistics, "ood_score", lambda self, features: torch.tensor([next(values)]))
    request = SegmentationRequest(("brain tumor",), slices="all", strategy=Strategy.SLICES)
    assert segment_volume(segmenter, volume, request).collect().notes == ()
    assert segment_volume(segmenter, volume, request).collect().notes == (f"3 of 4 segmented slices are {SAID}",)


def test_a_model_without_statistics_says_nothing(segmenter, brain):
    found = segment_volume(segmenter, read_volume(brain), SegmentationRequest(("brain tumor",))).collect()
    assert found.notes == ()
    (result,) = found.results["brain tumor"].values()
    assert result.where.ood_score is None


def test_the_manifest_of_an_export_holds_the_note(strange, brain, tmp_path):
    out = tmp_path / "Dataset101_Brain"
    export([Case("brain", brain, {"tumor": "brain tumor"})], LocalEngine(strange(1.5)), out)
    (line,) = (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines()[-1:]
    assert f"This image looks {SAID}" in json.loads(line)["notes"]


def test_the_worker_answers_it_once(strange, brain):
    engine, progress = Engine(), RecordingReply()
    engine.handle(Message("load", 1, {"device": "cpu", "sam": "demo"}), RecordingReply())
    engine.segmenter.clip.feature_statistics = strange(1.5).clip.feature_statistics
    images = np.ascontiguousarray(read_volume(brain).array[0])
    images = images if images.ndim == 3 else np.repeat(images[..., None], 3, 2)
    engine.handle(Message("image", 1, {"key": "brain"}, {"images": images}), RecordingReply())
    requested = Message("segment", 1, {"image": "brain", "prompts": ["brain tumor", "ventricles"]})
    answer, _ = engine.handle(requested, progress)
    assert len(progress.of("part")) == 2
    assert answer["notes"] == [f"This image looks {SAID}"]


def test_statistics_of_sets_know_their_like_and_warn_of_noise(tmp_path):
    rng = np.random.default_rng(1)
    for name, group, modality in (
        ("breast_us_busbra", "patient", "US"),
        ("brain_mr_cheng", "block", "MR"),
        ("brain_mr_tumour_free", "patient", "MR"),
        ("chest_xray_covid", "patient", "XR"),
        ("lung_ct_lidc_crops", "patient", "CT"),
        ("fetal_head_us_hc18", "patient", "US"),
    ):
        lines = [f"image,{group},split"]
        (tmp_path / name / "images").mkdir(parents=True)
        for split in ("train", "validation", "test"):
            for number in range(4):
                image = make_phantom(split, 50 + number, modality).image
                image = rng.integers(0, 256, image.shape, dtype=np.uint8) if name.startswith("fetal") else image
                Image.fromarray(image).save(tmp_path / name / "images" / f"{split}{number}.png")
                lines.append(f"{split}{number}.png,{split},{split}")
        (tmp_path / name / "index.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "breast_us_busbra" / "images" / "train0.png").write_bytes(b"no image")
    clip = load_clip("demo")
    with pytest.raises(InputError, match="has no statistics of its images"):
        measure_ood_notes(clip, tmp_path, 4)
    made = make_statistics(clip, tmp_path, 4)
    assert list(dict.fromkeys(made.kinds))[-1] == "phantoms"
    clip.feature_statistics = made
    found = measure_ood_notes(clip, tmp_path, 4)
    heads = found["unseen"]["fetal heads in ultrasound (HC18)"]
    assert (heads["images"], heads["warned"]) == (4, 1.0), "which are noise here"
    assert np.mean([row["median"] for row in found["seen"].values()]) < 1.5
    (tmp_path / "chest_xray_covid" / "index.csv").unlink()
    with pytest.raises(InputError, match="There is no file '.*index.csv'"):
        make_statistics(clip, tmp_path, 4)


def test_the_shipped_statistics_warn_of_noise_and_not_of_phantoms():
    clip = load_clip("starter")
    assert (find_model_folder(find("starter", "clip")) / STATISTICS).stat().st_size < 300_000
    noise = np.random.default_rng(3).integers(0, 256, (1, 200, 200, 3), dtype=np.uint8)
    phantoms = np.stack([make_phantom("test", number, "US").image for number in range(3)])
    ood_score = clip.feature_statistics.ood_score(
        clip.encode_image(clip.preprocess(np.concatenate([noise[:, :128, :128], np.repeat(phantoms[..., None], 3, 3)])))
    )
    assert ood_score[0] > 1
    assert ood_score[1:].median() < 1
