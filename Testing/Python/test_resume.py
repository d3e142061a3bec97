"""A run over many slices that is stopped goes on from there, and gives what an undisturbed one gives."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from MedCLIPSAMLib.errors import Cancelled
from MedCLIPSAMLib.phantoms.volume_benchmark import WINDOW, volume_of
from MedCLIPSAMLib.phantoms.volumes import make_volume
from MedCLIPSAMLib.volumes import SliceStack
from MedCLIPSAMLib.zeroshot.resume import ResumeFolder, fingerprint
from MedCLIPSAMLib.zeroshot.segmenter import load_segmenter
from MedCLIPSAMLib.zeroshot.volume import segment_volume

PROMPTS = ["brain tumor", "brain"]


@pytest.fixture(scope="module")
def segmenter():
    return load_segmenter("demo", "demo", "cpu")


@pytest.fixture(scope="module")
def volume():
    phantom = make_volume("validation", 1, "MR", 1)
    image = sitk.GetImageFromArray(phantom.slices[8:14])
    return volume_of(phantom).from_sitk(image, "head")


def run(segmenter, volume, kept=None, stop_after: int | None = None, strategy: str = "slices"):
    """A run that is stopped when so many slices have been looked at; its result, and how many were."""
    looked: list[int] = []
    owner, name = (segmenter, "set_images") if strategy == "slices" else (segmenter.sam, "forward_image")
    before = getattr(owner, name)
    setattr(owner, name, lambda pixels: (looked.append(1), before(pixels))[1])
    segmenter.cancelled = (lambda: len(looked) >= stop_after) if stop_after else None
    every = range(len(SliceStack(volume, "axial")))
    try:
        result = segment_volume(segmenter, volume, PROMPTS, every, window=WINDOW, strategy=strategy, kept=kept)
        return result, len(looked)
    finally:
        segmenter.cancelled = None
        delattr(owner, name)


def test_a_stopped_run_goes_on_and_ends_as_an_undisturbed_one(segmenter, volume, tmp_path):
    folder, request = tmp_path / "out.unfinished", fingerprint(volume.array, prompts=PROMPTS)
    with pytest.raises(Cancelled):
        run(segmenter, volume, ResumeFolder(folder, request), stop_after=3)
    kept = ResumeFolder(folder, request)
    assert kept.count == 2  # the third was looked at and not finished
    resumed, looked = run(segmenter, volume, kept)
    assert looked == 4
    plain, _looked = run(segmenter, volume)
    for prompt in PROMPTS:
        for k in range(6):
            one, other = resumed.results[prompt][k], plain.results[prompt][k]
            assert np.array_equal(one.mask, other.mask) and one.message == other.message
            assert (
                np.array_equal(one.where.saliency, other.where.saliency) and one.where.presence == other.where.presence
            )
            assert np.array_equal(one.sam_prompts.boxes, other.sam_prompts.boxes) and one.score == other.score
    kept.remove()
    assert not folder.exists()


def test_another_request_begins_anew_and_a_damaged_slice_is_done_again(segmenter, volume, tmp_path):
    folder, request = tmp_path / "out.unfinished", fingerprint(volume.array, prompts=PROMPTS)
    run(segmenter, volume, ResumeFolder(folder, request))
    (folder / "slice-3.npz").write_bytes(b"PK\x03\x04 half a file")
    _result, looked = run(segmenter, volume, ResumeFolder(folder, request))
    assert looked == 1
    assert ResumeFolder(folder, fingerprint(volume.array, prompts=["brain"])).count == 0
    assert not folder.exists()


@pytest.mark.parametrize("strategy", ["memory", "boxes"])
def test_a_propagated_run_goes_on_from_any_slice_and_ends_the_same(segmenter, strategy, tmp_path):
    """It is stopped again and again, a few slices later each time, until it is done."""
    phantom = make_volume("validation", 1, "MR", 1)
    volume = volume_of(phantom)
    plain, all_looked = run(segmenter, volume, strategy=strategy)
    folder, request = tmp_path / "out.unfinished", fingerprint(volume.array, prompts=PROMPTS)
    counts, resumed = [], None
    while resumed is None:
        kept = ResumeFolder(folder, request)
        counts.append(kept.count)
        try:
            resumed, _looked = run(segmenter, volume, kept, 9, strategy)
        except Cancelled:
            continue
    assert len(counts) > 3 and counts == sorted(counts)
    for prompt in PROMPTS:
        assert list(plain.results[prompt]) == list(resumed.results[prompt]) and len(plain.results[prompt]) > 3
        for k, each in plain.results[prompt].items():
            assert np.array_equal(each.mask, resumed.results[prompt][k].mask)
            assert each.message == resumed.results[prompt][k].message
    _again, looked = run(segmenter, volume, ResumeFolder(folder, request), strategy=strategy)
    assert looked < all_looked / 4
    memories = list(folder.glob("*-memory.npz"))
    assert len(memories) <= 4 * 2 * (segmenter.sam.num_maskmem + 9), "what lies far back is forgotten on the disk too"


def test_a_damaged_memory_is_made_again(segmenter, tmp_path):
    phantom = make_volume("validation", 1, "MR", 1)
    volume = volume_of(phantom)
    folder, request = tmp_path / "out.unfinished", fingerprint(volume.array, prompts=PROMPTS)
    plain, _looked = run(segmenter, volume, ResumeFolder(folder, request), strategy="memory")
    for path in folder.glob("*-up-*-memory.npz"):
        path.write_bytes(b"PK\x03\x04 half a file")
    (folder / "profiles.npz").write_bytes(b"")
    resumed, looked = run(segmenter, volume, ResumeFolder(folder, request), strategy="memory")
    assert looked > 4
    for prompt in PROMPTS:
        masks = [{k: each.mask for k, each in run_.results[prompt].items()} for run_ in (plain, resumed)]
        assert masks[0].keys() == masks[1].keys()
        assert all(np.array_equal(masks[0][k], masks[1][k]) for k in masks[0])
