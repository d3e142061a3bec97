"""A run over many slices that is stopped goes on from there, and gives what an undisturbed one gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from run_volume import run_volume

from MedCLIPSAMLib.checkpoints import CheckpointFolder
from MedCLIPSAMLib.errors import Cancelled, OutputError
from MedCLIPSAMLib.experiments.volume_benchmark import WINDOW, volume_of
from MedCLIPSAMLib.phantoms.volumes import make_volume
from MedCLIPSAMLib.run_context import RunContext

PROMPTS = ["brain tumor", "brain"]


@pytest.fixture(scope="module")
def volume():
    phantom = make_volume("validation", 1, "MR", 1)
    image = sitk.GetImageFromArray(phantom.slices[8:14])
    return volume_of(phantom).from_sitk(image, "head")


def run(segmenter, volume, checkpoints=None, stop_after: int | None = None, strategy: str = "slices", prompts=PROMPTS):
    """A run that is stopped when so many slices have been looked at; its result, and how many were."""
    looked: list[int] = []
    owner, name = (segmenter, "set_images") if strategy == "slices" else (segmenter.sam, "forward_image")
    before = getattr(owner, name)
    setattr(owner, name, lambda pixels: (looked.append(1), before(pixels))[1])
    context = RunContext(is_cancelled=lambda: bool(stop_after) and len(looked) >= stop_after, checkpoints=checkpoints)
    try:
        result = run_volume(segmenter, volume, prompts, "all", context, window=WINDOW, strategy=strategy)
        return result, len(looked)
    finally:
        delattr(owner, name)


def test_a_stopped_run_goes_on_and_ends_as_an_undisturbed_one(segmenter, volume, tmp_path):
    folder = tmp_path / "out.unfinished"
    stopped, checkpoints = CheckpointFolder(folder), CheckpointFolder(folder)
    with pytest.raises(Cancelled):
        run(segmenter, volume, stopped, stop_after=3)
    assert stopped.count == 2  # the third was looked at and not finished
    resumed, looked = run(segmenter, volume, checkpoints)
    assert looked == 3  # the third is embedded still
    plain, _looked = run(segmenter, volume)
    for prompt in PROMPTS:
        for k in range(6):
            first, second = resumed.results[prompt][k], plain.results[prompt][k]
            assert np.array_equal(first.mask, second.mask) and first.text == second.text
            assert (
                np.array_equal(first.where.saliency, second.where.saliency)
                and first.where.presence == second.where.presence
            )
            assert np.array_equal(first.sam_prompts.boxes, second.sam_prompts.boxes) and first.score == second.score
            assert (first.agreement, first.consistency) == (second.agreement, second.consistency)
    checkpoints.remove()
    assert not folder.exists()


def test_another_request_begins_anew_and_a_damaged_slice_is_done_again(segmenter, volume, tmp_path):
    folder = tmp_path / "out.unfinished"
    run(segmenter, volume, CheckpointFolder(folder))
    (folder / "slice-3.npz").write_bytes(b"PK\x03\x04 half a file")
    _result, looked = run(segmenter, volume, CheckpointFolder(folder))
    assert looked == 1
    with pytest.raises(Cancelled):
        run(segmenter, volume, CheckpointFolder(folder), stop_after=1, prompts=["brain"])
    assert not folder.exists()


def test_the_same_voxels_that_lie_in_another_way_begin_anew(segmenter, volume, tmp_path):
    """As where the header was put right after the run was stopped: patients lie the other way round in it."""
    turned = replace(volume, geometry=replace(volume.geometry, direction=(-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)))
    run(segmenter, volume, CheckpointFolder(tmp_path / "out.unfinished"))
    resumed, looked = run(segmenter, turned, CheckpointFolder(tmp_path / "out.unfinished"))
    plain, _looked = run(segmenter, turned)
    assert looked == 6
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(resumed.segments(), plain.segments()))


def test_a_window_of_numpys_numbers_can_be_resumed(segmenter, volume, tmp_path):
    volume = replace(volume, window=(np.float32(128), np.float32(255)))
    context = lambda: RunContext(on_notice=notices.append, checkpoints=CheckpointFolder(tmp_path / "out.unfinished"))
    for window in ((np.float32(0), np.int64(255)), (0, 255)):
        notices = []
        run_volume(segmenter, volume, ["brain"], "all", context(), window=window, strategy="slices")
    assert notices == ["Resuming a run that was stopped: 6 steps are done."]


@pytest.mark.parametrize("strategy", ["memory", "boxes"])
def test_a_propagated_run_goes_on_from_any_slice_and_ends_the_same(segmenter, strategy, tmp_path):
    """It is stopped again and again, a few slices later each time, until it is done."""
    phantom = make_volume("validation", 1, "MR", 1)
    volume = volume_of(phantom)
    plain, all_looked = run(segmenter, volume, strategy=strategy)
    folder = tmp_path / "out.unfinished"
    counts, resumed = [], None
    while resumed is None:
        try:
            resumed, _looked = run(segmenter, volume, checkpoints := CheckpointFolder(folder), 9, strategy)
        except Cancelled:
            counts.append(checkpoints.count)
    assert len(counts) > 3 and counts == sorted(counts)
    for prompt in PROMPTS:
        assert list(plain.results[prompt]) == list(resumed.results[prompt]) and len(plain.results[prompt]) > 3
        for k, result in plain.results[prompt].items():
            assert np.array_equal(result.mask, resumed.results[prompt][k].mask)
            assert result.message == resumed.results[prompt][k].message
    _again, looked = run(segmenter, volume, CheckpointFolder(folder), strategy=strategy)
    assert looked < all_looked / 4
    memories = list(folder.glob("*-memory.npz"))
    assert len(memories) <= 4 * 2 * (segmenter.sam.num_maskmem + 9), "what lies far back is forgotten on the disk too"


def test_a_damaged_memory_is_made_again(segmenter, tmp_path):
    phantom = make_volume("validation", 1, "MR", 1)
    volume = volume_of(phantom)
    folder = tmp_path / "out.unfinished"
    plain, _looked = run(segmenter, volume, CheckpointFolder(folder), strategy="memory")
    for path in folder.glob("*-up-*-memory.npz"):
        path.write_bytes(b"PK\x03\x04 half a file")
    (folder / "profiles.npz").write_bytes(b"")
    resumed, looked = run(segmenter, volume, CheckpointFolder(folder), strategy="memory")
    assert looked > 4
    for prompt in PROMPTS:
        masks = [{k: result.mask for k, result in run_.results[prompt].items()} for run_ in (plain, resumed)]
        assert masks[0].keys() == masks[1].keys()
        assert all(np.array_equal(masks[0][k], masks[1][k]) for k in masks[0])


def test_a_folder_that_holds_something_else_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "slice-3.npz").write_text("somebody's")
    with pytest.raises(OutputError, match="something else"):
        CheckpointFolder(tmp_path).open({"prompts": PROMPTS})
    assert [path.read_text() for path in tmp_path.iterdir()] == ["somebody's"]
