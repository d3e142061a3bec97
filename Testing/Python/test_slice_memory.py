"""The memory of slices: it keeps all that SAM 2 itself goes by, and may be followed from any slice."""

from __future__ import annotations

import numpy as np
import pytest
import sam2.sam2_video_predictor
import torch

from MedCLIPSAMLib.models.sam import load_sam
from MedCLIPSAMLib.propagation.slice_memory import SliceMemory

pytestmark = pytest.mark.gpu

COUNT, SIZE = 20, 128
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE]


@pytest.fixture
def sam(device):
    return load_sam("demo", device)


def disc(k: int) -> np.ndarray:
    """A disc on slice k, which moves by a pixel a slice and grows and shrinks."""
    return np.hypot(ROWS - 60, COLUMNS - 48 - k) < 14 + 3 * np.sin(k / 3)


@pytest.fixture(scope="module")
def slices():
    noise = np.random.default_rng(0).normal(60, 8, (COUNT, SIZE, SIZE))
    gray = [np.where(disc(k), 190, noise[k]).clip(0, 255).astype(np.uint8) for k in range(COUNT)]
    return [np.repeat(pixels[..., None], 3, axis=2) for pixels in gray]


def test_it_gives_the_masks_of_sam2s_own_predictor_which_forgets_nothing(sam, slices, monkeypatch):
    frames = torch.cat([sam.preprocess(image[None]) for image in slices])
    monkeypatch.setattr(sam2.sam2_video_predictor, "load_video_frames", lambda **_: (frames, SIZE, SIZE))
    state = sam.init_state("")
    sam.add_new_mask(state, 0, "disc", torch.from_numpy(disc(0)))
    expected = {k: (logits[0, 0] > 0).cpu().numpy() for k, _, logits in sam.propagate_in_video(state)}
    memory = SliceMemory(sam, COUNT, slices.__getitem__, (SIZE, SIZE))
    memory.give("disc", 0, disc(0))
    found = {k: masks["disc"] for k, masks in memory.follow(0, COUNT - 1)}
    assert list(found) == list(range(1, COUNT))
    assert all(found[k].any() and np.array_equal(found[k], expected[k]) for k in found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("end", [0, COUNT - 1])
def test_it_is_followed_from_a_slice_without_a_mask(sam, slices, dtype, end, request):
    """On the way to the only mask there is no slice before it from which SAM 2 has a pointer to the object.

    A program may have float64 as its default.
    """
    sam.bfloat16 = dtype == torch.bfloat16
    request.addfinalizer(lambda: torch.set_default_dtype(torch.float32))
    torch.set_default_dtype(torch.float32 if sam.bfloat16 else dtype)
    memory = SliceMemory(sam, COUNT, slices.__getitem__, (SIZE, SIZE))
    memory.give("disc", 8, disc(8))
    start = COUNT - 1 - end
    found = {k: masks["disc"] for k, masks in memory.follow(start, end)}
    assert found.keys() == set(range(COUNT)) - {start}
    assert (found[8] & disc(8)).sum() > 0.99 * (found[8] | disc(8)).sum(), "what was given stays"
