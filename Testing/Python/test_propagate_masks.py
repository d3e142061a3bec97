"""Masks propagated through a stack, key slices, and a prompt for a whole volume, with the shipped demo models."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import sam2.sam2_video_predictor
import torch
import tqdm
from run_volume import run_volume

from MedCLIPSAMLib import volumes
from MedCLIPSAMLib.errors import Cancelled, InputError
from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.experiments.volume_benchmark import WINDOW, volume_of
from MedCLIPSAMLib.phantoms.volumes import make_volume
from MedCLIPSAMLib.propagation.key_slices import candidates, compute_presence_profile, smooth
from MedCLIPSAMLib.propagation.propagate import PropagateSettings, _limits, _parts, propagate
from MedCLIPSAMLib.propagation.propagate_masks import MaskPropagationSettings, propagate_masks
from MedCLIPSAMLib.run_context import RunContext
from MedCLIPSAMLib.segmentation.segmenter import load_segmenter
from MedCLIPSAMLib.volumes import Geometry, SliceStack, Volume

pytestmark = pytest.mark.gpu

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def segmenter(device):
    return load_segmenter("demo", "demo", device)


@pytest.fixture(scope="module")
def tumour():
    """A brain with one tumour in the middle of the stack."""
    return make_volume("validation", 1, "MR", 1)


def images(phantom):
    return lambda k: np.repeat(phantom.slices[k][..., None], 3, axis=2)


def widest(phantom) -> int:
    return int(phantom.lesion_mask.sum((1, 2)).argmax())


@pytest.mark.parametrize("method", ["memory", "boxes"])
def test_a_mask_of_one_slice_outlines_the_object_on_all(segmenter, tumour, method):
    truth, key = tumour.lesion_mask, widest(tumour)
    mask = np.zeros_like(truth)
    mask[key] = truth[key]
    for k, found in propagate_masks(
        segmenter, len(truth), images(tumour), {"t": {key: truth[key]}}, MaskPropagationSettings(method)
    ):
        assert k != key and set(found) == {"t"} and found["t"].any()
        mask[k] = found["t"]
    assert dsc(mask, truth) > 0.75
    ends = np.flatnonzero(truth.any((1, 2)))
    assert not mask[: max(0, ends[0] - 3)].any() and not mask[ends[-1] + 4 :].any()


def test_bfloat16_propagates_the_same_masks(segmenter, tumour):
    truth, key = tumour.lesion_mask, widest(tumour)
    propagated = lambda precision: {
        k: masks["t"]
        for k, masks in propagate_masks(
            segmenter.with_settings(replace(segmenter.settings, precision=precision)),
            len(truth),
            images(tumour),
            {"t": {key: truth[key]}},
            reach=6,
        )
    }
    exact, rounded = propagated("f32"), propagated("bf16")
    assert exact.keys() == rounded.keys()
    assert min(dsc(exact[k], rounded[k]) for k in exact) > 0.95


def test_reach_and_given_slices_are_kept_to(segmenter, tumour):
    truth, key = tumour.lesion_mask, widest(tumour)
    given = {key - 1: truth[key - 1], key + 2: truth[key + 2]}
    seen = [k for k, _ in propagate_masks(segmenter, len(truth), images(tumour), {"t": given}, reach=1)]
    assert set(seen) <= {key - 2, key, key + 1, key + 3} and {key, key + 1} <= set(seen)


@pytest.mark.parametrize("method", ["memory", "boxes"])
def test_between_two_masks_an_object_is_followed_from_both(segmenter, method):
    """It is not seen on three slices in between, on which what came from below ends."""
    phantom = make_volume("validation", 1, "MR", 1, count=40)
    shown = np.flatnonzero(phantom.lesion_mask.any((1, 2)))
    slices, (low, high) = phantom.slices.copy(), (shown[1], shown[-3])
    slices[shown[3] : shown[3] + 3] = slices[shown[0] - 4]
    image = lambda k: np.repeat(slices[k][..., None], 3, axis=2)
    given = {k: phantom.lesion_mask[k] for k in (low, high)}
    found = propagate_masks(segmenter, len(slices), image, {"t": given}, MaskPropagationSettings(method))
    between = [k for k, _ in found if low < k < high]
    assert between == [low + 1, high - 1, high - 2]


@pytest.mark.parametrize("method", ["memory", "boxes"])
def test_an_empty_mask_tells_where_an_object_ends(segmenter, tumour, method):
    """The user erased the mask on a slice: it is given as empty, and is nothing to start from alone."""
    truth, key = tumour.lesion_mask, widest(tumour)
    nothing, settings = np.zeros_like(truth[key]), MaskPropagationSettings(method)
    given = {key - 2: nothing, key: truth[key], key + 2: nothing}
    found = propagate_masks(segmenter, len(truth), images(tumour), {"t": given, "u": {key: truth[key]}}, settings)
    reached = {"t": set(), "u": set()}
    for k, masks in found:
        for name in masks:
            reached[name].add(k)
    assert reached["t"] == {key - 1, key + 1} and reached["u"] >= {key - 3, key - 2, key - 1, key + 1, key + 2}
    with pytest.raises(InputError, match="empty"):
        list(propagate_masks(segmenter, len(truth), images(tumour), {"t": {key: nothing}}))


def test_a_cancelled_run_ends_between_two_slices(segmenter, tumour):
    key, propagated = widest(tumour), []
    context = RunContext(is_cancelled=lambda: len(propagated) == 2)
    with pytest.raises(Cancelled):
        for k, _ in propagate_masks(
            segmenter, 24, images(tumour), {"t": {key: tumour.lesion_mask[key]}}, context=context
        ):
            propagated.append(k)
    assert len(propagated) == 2


def test_the_memory_of_a_long_stack_does_not_grow(segmenter, tumour):
    """Slices are read once, in order, and what lies far back is forgotten."""
    key, read, alive = widest(tumour), [], {}

    def image(k):
        read.append(k)
        return images(tumour)(key)

    given, settings = {"t": {0: tumour.lesion_mask[key]}}, MaskPropagationSettings("memory")
    for k, _masks in propagate_masks(segmenter, 60, image, given, settings, limits=(0, 59)):
        if k in (20, 40, 58):
            gc.collect()
            storages = [tensor.untyped_storage() for tensor in gc.get_objects() if type(tensor) is torch.Tensor]
            alive[k] = sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
    assert alive[20] == alive[40] == alive[58]
    assert [k for k in read if k] == list(range(1, 60))


def test_following_draws_nothing_on_the_error_stream(segmenter, tumour, capfd):
    """The error stream of the worker is its log; SAM 2's own predictor, which others may use, still draws its bar."""
    key = widest(tumour)
    list(
        propagate_masks(
            segmenter, 3, images(tumour), {"t": {1: tumour.lesion_mask[key]}}, MaskPropagationSettings("memory")
        )
    )
    assert capfd.readouterr().err == ""
    assert sam2.sam2_video_predictor.tqdm is tqdm.tqdm


def test_presence_is_looked_for_on_all_slices_or_every_second(segmenter, tumour):
    shown = np.flatnonzero(tumour.lesion_mask.sum((1, 2)) > 60)
    profile = compute_presence_profile(segmenter, images(tumour), 24, ["brain tumor"])[0]
    assert profile.shape == (24,) and smooth(profile).argmax() in range(shown[0] - 1, shown[-1] + 2)
    read = []
    long = lambda k: read.append(k) or images(tumour)(0)
    compute_presence_profile(segmenter, long, 70, ["brain tumor"])
    assert len(read) == 36  # every second, and the last one


def test_a_small_object_in_a_long_stack_is_not_passed_over(segmenter, tumour):
    """Seven slices of 320: a nodule of 7 mm in a CT of thin slices."""
    truth = tumour.lesion_mask
    shown, empty = np.flatnonzero(truth.any((1, 2))), np.flatnonzero(~truth.any((1, 2)))
    order = np.resize(empty, 320)
    order[101 : 101 + len(shown)] = shown
    profile = compute_presence_profile(segmenter, lambda k: images(tumour)(order[k]), 320, ["brain tumor"])[0]
    assert 101 <= profile.argmax() < 101 + len(shown) and profile.max() > 0.5


def test_masks_are_not_propagated_past_where_the_prompt_is_present(segmenter, tumour):
    truth, key = tumour.lesion_mask, widest(tumour)
    given = {"t": {key: truth[key]}}
    propagated = propagate_masks(segmenter, len(truth), images(tumour), given, limits=(key - 1, key + 2))
    assert sorted(k for k, _ in propagated) == [key - 1, key + 1, key + 2]
    profile = np.array([0, 0.9, 0, 0, 0, 0.2, 0.9, 0.9, 0, 0.9, 0, 0, 0])
    assert _limits(profile, 7, 0.1, 0) == (5, 7)
    assert _limits(profile, 7, 0.1, 1) == (4, 10)
    assert _limits(profile, 7, 0.1, 2) == (0, 11)
    assert _limits(np.zeros(5), 3, 0.1, 0) == (3, 3)
    assert _limits(np.zeros(5), 3, 0.0, 2) == (0, 4)  # without a presence check there is no limit


def test_a_slice_reached_from_two_keys_has_the_better_score_with_its_source_and_both_masks(monkeypatch):
    """Key 1 with score 0.9 reaches slices 2 and 3, then key 5 with 0.4 slices 3 and 4: 0.9 of slice 1 on slice 3."""
    module = "MedCLIPSAMLib.propagation.propagate"
    row = lambda *columns: np.isin(np.arange(4), columns)[None]
    where = SimpleNamespace(saliency=row(0).astype(float))
    keys = {
        k: SimpleNamespace(found=True, score=score, mask=row(0), notes=(), where=where)
        for k, score in ((1, 0.9), (5, 0.4))
    }
    reached = {1: {2: row(0), 3: row(0)}, 5: {4: row(1), 3: row(1)}}
    waiting: list[list[int]] = []
    monkeypatch.setattr(f"{module}.candidates", lambda *_: waiting.pop(0))
    monkeypatch.setattr(f"{module}._segment_slices", lambda s, i, numbers, *_: {k: keys[k] for k in numbers})
    given = lambda objects: next(iter(objects["0"]))
    propagated = lambda s, c, i, objects, *_, **__: ((k, {"0": m}) for k, m in reached[given(objects)].items())
    monkeypatch.setattr(f"{module}.propagate_masks", propagated)
    segmenter = SimpleNamespace(settings=SimpleNamespace(presence_threshold=0.5), batch_size=1)
    for order in ([[1], [5], []], [[5], [1], []]):
        waiting[:] = order
        results = propagate(segmenter, 7, None, "tumor", np.zeros(7))
        sources = {k: (results[k].score, results[k].source) for k in (2, 3, 4)}
        assert sources == {2: (0.9, 1), 3: (0.9, 1), 4: (0.4, 5)}
        assert np.array_equal(results[3].mask, row(0, 1)) and "slice 1 (score 0.90 there)" in results[3].message


def test_finds_that_were_not_followed_are_told(segmenter, tumour, monkeypatch):
    """Nothing is propagated from the first key slice; from the second one slice is."""
    key = widest(tumour)
    stack = [tumour.slices[key - 2 + k] for k in range(5)]
    image = lambda k: np.repeat(stack[k][..., None], 3, axis=2)
    bold = segmenter.with_settings(replace(segmenter.settings, presence_threshold=0.0))
    propagated = iter([(), [(0, {"0": np.ones((4, 4), bool)})]])
    monkeypatch.setattr("MedCLIPSAMLib.propagation.propagate.propagate_masks", lambda *_, **__: next(propagated))
    settings = PropagateSettings(keys=1, looks=1, first=10)
    results = propagate(bold, 5, image, "brain tumor", np.array([0, 0, 1, 0, 0.0]), settings=settings)
    said = "On slice 12 the object was not followed to the next slices"
    assert [k for k, result in results.items() if result.found] == [2] and said in results[2].text
    results = propagate(bold, 5, image, "brain tumor", np.array([0, 0, 1, 0, 0.0]), settings=settings)
    assert sorted(results) == [0, 2] and not any("not followed" in result.text for result in results.values())


def test_candidates_are_the_middles_of_runs_apart_from_what_is_taken():
    profile = np.zeros(40, np.float32)
    profile[10:17], profile[30:33] = 1.0, 0.9
    assert candidates(profile, 0.5, np.zeros(40, bool), 2) == [13, 31]
    taken = np.zeros(40, bool)
    taken[8:19] = True
    assert candidates(profile, 0.5, taken, 2) == [31]
    alone = np.zeros(40, np.float32)
    alone[5] = 1.0
    assert candidates(alone, 0.5, np.zeros(40, bool), 2) == []  # one slice of many
    assert candidates(alone[:8], 0.5, np.zeros(8, bool), 2) == [5]  # one of few, which are thick


def test_parts_of_a_mask_become_objects_and_specks_stay_with_the_largest():
    mask = np.zeros((40, 40), bool)
    mask[2:12, 2:12] = mask[20:30, 20:28] = mask[35, 35] = True
    parts = _parts(mask, 0.2)
    assert len(parts) == 2 and np.array_equal(np.any(parts, axis=0), mask)
    assert not (parts[0] & parts[1]).any()


def test_one_prompt_segments_a_volume_on_its_own_voxels(segmenter):
    """An anisotropic volume stored from superior to inferior: its mask lies on its own grid all the same."""
    phantom = make_volume("validation", 4, "MR", 1)
    plain = volume_of(phantom)
    top, down = (0.0, 0.0, 3.0 * (len(phantom.slices) - 1)), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
    turned = Volume(phantom.slices[::-1], Geometry(top, plain.geometry.spacing, down))
    both = [
        run_volume(segmenter, volume, ["brain tumor"], window=WINDOW, strategy="memory").segments()[0].mask
        for volume in (plain, turned)
    ]
    assert np.array_equal(both[0], both[1][::-1])
    assert dsc(both[0], phantom.lesion_mask) > 0.6


def test_a_volume_without_a_tumour_comes_out_empty(segmenter):
    phantom = make_volume("validation", 20_000, "MR", 0)
    result = run_volume(segmenter, volume_of(phantom), ["brain tumor"], window=WINDOW, strategy="memory")
    assert not result.segments()[0].mask.any()
    ((answer,),) = [by_slice.values() for by_slice in result.results.values()]
    assert "Nothing found" in answer.message


def test_strategies_refuse_what_they_cannot_do(segmenter, tumour):
    volume = volume_of(tumour)
    with pytest.raises(InputError, match="follow one another"):
        run_volume(segmenter, volume, ["brain tumor"], [1, 5], strategy="memory")
    with pytest.raises(InputError, match="whole volume"):
        run_volume(segmenter, volume, ["brain tumor"], [1, 2], strategy="planes")


def test_a_volume_of_one_slice_is_segmented_by_every_strategy(segmenter, tumour):
    volume = Volume(tumour.slices[widest(tumour)][None])
    for strategy in ("slices", "memory", "boxes"):
        result = run_volume(segmenter, volume, ["brain tumor"], window=WINDOW, strategy=strategy)
        assert list(result.results["brain tumor"]) == [0]


def test_three_planes_vote_on_the_grid_of_the_volume(segmenter, tumour):
    volume = volume_of(replace(tumour, slices=tumour.slices[:, 40:88, 40:88]))
    settings = replace(segmenter.settings, presence_threshold=0.0)
    result = run_volume(segmenter, volume, ["brain tumor"], window=WINDOW, strategy="planes", settings=settings)
    assert isinstance(result.stack, SliceStack) and result.segments()[0].mask.shape == volume.shape


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real images of ../shared/data are not here")
@pytest.mark.parametrize("name", ["MR_Gd.nii.gz", "CT_pitch.nii.gz"])
def test_what_is_found_in_a_real_oblique_grid_lies_where_it_was_put(segmenter, name):
    """A phantom's head in a cut-out of a real volume's grid: the tumour's place in millimeters is computed by hand."""
    sitk = pytest.importorskip("SimpleITK")
    phantom, image = make_volume("validation", 8, "MR", 1), volumes.read_volume(SHARED / name).to_sitk()
    cut = image[20 : 20 + 128, 30 : 30 + 128, 10 : 10 + len(phantom.slices)]
    stack = SliceStack(Volume.from_sitk(cut), "axial")
    assert stack.image_shape == (128, 128) and len(stack) == len(phantom.slices)
    shown = sitk.GetImageFromArray(
        stack.to_grid({k: pixels.astype(np.float32) for k, pixels in enumerate(phantom.slices)})
    )
    shown.CopyInformation(cut)
    result = run_volume(segmenter, Volume.from_sitk(shown), ["brain tumor"], window=WINDOW, strategy="memory")
    mask = result.segments()[0].mask

    direction, spacing, size = np.array(cut.GetDirection()).reshape(3, 3), cut.GetSpacing(), np.array(cut.GetSize())
    place = np.array(cut.GetOrigin()) + direction @ (spacing * (size - 1) / 2)
    offsets = np.argwhere(phantom.lesion_mask).mean(0) - (np.array(phantom.lesion_mask.shape) - 1) / 2
    for patient, offset in ((0, offsets[2]), (1, offsets[1]), (2, offsets[0])):  # left, posterior, superior
        axis = int(np.abs(direction[patient]).argmax())
        place = place + offset * spacing[axis] * direction[:, axis] * np.sign(direction[patient, axis])
    found = shown.TransformContinuousIndexToPhysicalPoint(np.argwhere(mask).mean(0)[::-1].tolist())
    assert np.linalg.norm(np.array(found) - place) < 2 * max(spacing)
    assert np.linalg.norm(offsets[1:]) > 8, "a mirrored or turned mask would lie elsewhere"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real images of ../shared/data are not here")
@pytest.mark.parametrize("name, plane", [("MR_Gd.nii.gz", "sagittal"), ("CT_pitch.nii.gz", "coronal")])
def test_real_volumes_are_propagated_on_their_own_grid(segmenter, name, plane):
    """The demo models know nothing of real images: what counts is that something is propagated, and on which grid."""
    pytest.importorskip("SimpleITK")
    volume = volumes.read_volume(SHARED / name)
    settings, slices = replace(segmenter.settings, presence_threshold=0.0), range(60, 72)
    result = run_volume(segmenter, volume, ["brain tumor"], slices, plane=plane, strategy="memory", settings=settings)
    mask = result.segments()[0].mask
    assert mask.shape == volume.shape and mask.any()
    along = "KJI".index(result.stack.source_axis)
    used = np.flatnonzero(mask.any(tuple({0, 1, 2} - {along})))
    assert set(used) <= {result.stack.source_index(k) for k in range(60, 72)}
