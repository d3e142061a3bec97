"""Views of an image whose maps make one: where each value lies, against a map whose values are their own places."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from MedCLIPSAMLib.models.clip import load_clip
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.segmentation.saliency import M2IBSettings, m2ib
from MedCLIPSAMLib.segmentation.views import Views

PATCH, SIDE = 8, 48


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("finer", [False, True])
def test_each_value_lies_at_the_center_of_its_place(mirror, finer):
    """The mean of a patch of an image whose pixels say their row or column is the patch's center."""
    places = torch.arange(SIDE, dtype=torch.float32) + 0.5
    rows, columns = torch.meshgrid(places, places, indexing="ij")
    pixels = torch.stack([rows, columns, rows])[None].repeat(2, 1, 1, 1)
    pixels[1] += 1000
    views = Views(mirror, finer, PATCH)
    seen = views.make(pixels)
    assert len(seen) == 2 * views.count and (finer or torch.equal(seen[:2], pixels))
    merged = views.merge(F.avg_pool2d(seen, PATCH))
    size = PATCH / (2 if finer else 1)
    centers = (torch.arange(merged.shape[-1]) + 0.5) * size
    assert merged.shape == (2, 3, SIDE / size, SIDE / size)
    inner = slice(1, -1)  # at the border there is nothing beyond to be seen
    for image, offset in enumerate((0, 1000)):
        for channel, expected in enumerate((centers[:, None] + 0 * centers, centers + 0 * centers[:, None])):
            assert torch.allclose(merged[image, channel, inner, inner], expected[inner, inner] + offset, atol=1e-3)


def test_a_finer_map_of_a_model_is_like_the_plain_one_and_its_features_are_the_plain_images():
    clip = load_clip("demo")
    phantom = make_phantom("validation", 41, "MR", 1)
    pixels = clip.preprocess(phantom.image[None, :, :, None].repeat(3, -1))
    text = clip.encode_text(["brain tumor"])
    plain, finer = (m2ib(clip, pixels, text, M2IBSettings(3, 0.3, 10, finer=on)) for on in (False, True))
    assert finer.maps.shape[-1] == 2 * plain.maps.shape[-1]
    assert torch.allclose(finer.image_features, plain.image_features, atol=1e-6)
    pooled = F.avg_pool2d(finer.maps[0], 2).flatten()
    assert torch.corrcoef(torch.stack([pooled, plain.maps[0].flatten()]))[0, 1] > 0.8
