"""GradCAM and gScoreCAM on a model so small that their maps can be worked out by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
import torch

from MedCLIPSAMLib.experiments.attribution import g_score_cam, grad_cam
from MedCLIPSAMLib.models.clip import load_clip
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.segmentation.vision_tower import VisionTower

PIXELS = torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[0.0, 4.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 3.0]]])[None]
TEXT = torch.tensor([2.0, -1.0, 0.5])


@dataclass
class MeanTower:
    """A patch a pixel and a channel a color; the features are the mean of the tokens."""

    grid: tuple[int, int] = (2, 2)
    prefix: int = 0
    seen: list = field(default_factory=list)

    def tokens_at(self, pixels, layer):
        self.seen += list(pixels)
        return pixels.flatten(2).transpose(1, 2)

    def features_from(self, tokens, layer):
        return tokens.mean(1)


def test_grad_cam_by_hand():
    """The gradient of mean(x) . t by any token is t / 4; the map is the positive part of x . t / 4."""
    expected = [[2.5 / 4, 0], [0.5 / 4, 5.5 / 4]]  # at the upper right -4 + .5
    assert torch.allclose(grad_cam(MeanTower(), PIXELS, TEXT, 0), torch.tensor(expected))


def test_g_score_cam_by_hand():
    """Two of three channels are taken, red and blue, whose mean gradients 2/4 and .5/4 are the largest.

    Scaled to 0..1 they are the masks [[.5, 0], [0, 1]] and [[0, 0], [0, 1]]. Through red the mean is (2.5, 0, 3.5)
    / 4, its similarity (5 + 1.75) / 4; through blue (2, 0, 3) / 4 and (4 + 1.5) / 4.
    """
    tower = MeanTower()
    found = g_score_cam(tower, PIXELS, TEXT, 0, scale=2.0, channels=2 / 3)
    scores = [2 * 6.75 / 4, 2 * 5.5 / 4]
    red, blue = (math.exp(score) / sum(map(math.exp, scores)) for score in scores)
    expected = [[red + blue, blue], [blue, 2 * red + 3 * blue]]
    assert torch.allclose(found, torch.tensor(expected), atol=1e-6)
    assert len(tower.seen) == 3 and tower.seen[1][0].tolist() == [[0.5, 0], [0, 2]]


@pytest.mark.parametrize("method", [grad_cam, g_score_cam])
def test_both_work_on_a_vision_transformer(method):
    clip = load_clip("demo")
    phantom = make_phantom("validation", 41, "MR", 1)
    pixels = clip.preprocess(phantom.image[None, :, :, None].repeat(3, -1))
    more = {"scale": 10.0} if method is g_score_cam else {}
    found = method(VisionTower(clip.model.visual), pixels, clip.encode_text(["brain tumor"])[0].clone(), 2, **more)
    assert found.shape == (16, 16) and found.min() >= 0 and found.max() > found.min() and not found.requires_grad
