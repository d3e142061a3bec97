"""A run over many slices that is stopped goes on from there, and gives what an undisturbed one gives."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from MedCLIPSAMLib.errors import Cancelled
from MedCLIPSAMLib.phantoms.volume_benchmark import WINDOW, volume_of
from MedCLIPSAMLib.phantoms.volumes import make_volume
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
    return volume_of(phantom).__class__(image, "head")


def run(segmenter, volume, kept=None, stop_after: int | None = None):
    """A run that is stopped when so many slices have been looked at."""
    looked: list[int] = []
    before = segmenter.set_image
    segmenter.set_image = lambda picture: (looked.append(1), before(picture))[1]
    segmenter.cancelled = (lambda: len(looked) >= stop_after) if stop_after else None
    try:
        return segment_volume(segmenter, volume, PROMPTS, range(6), window=WINDOW, kept=kept), len(looked)
    finally:
        segmenter.cancelled = None
        del segmenter.set_image


def test_a_stopped_run_goes_on_and_ends_as_an_undisturbed_one(segmenter, volume, tmp_path):
    folder, request = tmp_path / "out.unfinished", fingerprint(volume.array, prompts=PROMPTS)
    with pytest.raises(Cancelled):
        run(segmenter, volume, ResumeFolder(folder, request), stop_after=3)
    kept = ResumeFolder(folder, request)
    assert kept.done == {0, 1}  # the third was looked at and not finished
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
    (folder / "00003.npz").write_bytes(b"PK\x03\x04 half a file")
    _result, looked = run(segmenter, volume, ResumeFolder(folder, request))
    assert looked == 1
    assert ResumeFolder(folder, fingerprint(volume.array, prompts=["brain"])).done == set()
    assert not folder.exists()
