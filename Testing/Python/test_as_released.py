"""Where the authors' released code is repeated, values worked out from what it does, in a few lines of their own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from MedCLIPSAMLib.choices import EnsembleMean, RateDecay
from MedCLIPSAMLib.models.clip import load_clip
from MedCLIPSAMLib.nnunet.ensemble import label_foreground
from MedCLIPSAMLib.nnunet.schedule import RELEASED as RELEASED_SCHEDULE
from MedCLIPSAMLib.nnunet.schedule import Schedule
from MedCLIPSAMLib.segmentation.coarse import CoarseSettings, make_coarse_mask
from MedCLIPSAMLib.segmentation.crf import CrfSettings, compute_unary_energy
from MedCLIPSAMLib.segmentation.prompts import encode_ensemble
from MedCLIPSAMLib.segmentation.saliency import M2IBSettings
from MedCLIPSAMLib.segmentation.settings import Settings
from MedCLIPSAMLib.segmentation.tidy import keep_largest_parts


def bumps(seed: int, shape: tuple[int, int]) -> np.ndarray:
    """A smooth map with two hills that overlap, 0 to 1."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]] / np.array(shape).reshape(2, 1, 1)
    hill = lambda row, column, width: np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / width)
    found = hill(*rng.uniform(0.2, 0.8, 2), 0.02) + 0.6 * hill(*rng.uniform(0.2, 0.8, 2), 0.05)
    return ((found - found.min()) / np.ptp(found)).astype(np.float32)


@pytest.mark.parametrize("shape", [(98, 186), (300, 413), (256, 256), (500, 206)])
def test_k_means_takes_the_samples_the_seed_and_the_values_of_the_released_code(shape):
    """The rule is floor(i * (1 / (wanted / given))), whose rounding takes row 127 of 256, not 128, for row 49 of 98."""
    nearest = lambda wanted, given: [min(math.floor(i * (1 / (wanted / given))), given - 1) for i in range(wanted)]
    assert nearest(98, 256)[49] == 127
    for seed in range(2):
        saliency = bumps(seed, shape)
        small = np.array(
            [[round(float(saliency[r, c]) * 255) / 255 for c in nearest(256, shape[1])] for r in nearest(256, shape[0])]
        )
        found = KMeans(n_clusters=2, random_state=10).fit(small.reshape(-1, 1))
        bright = found.labels_.reshape(256, 256) != found.cluster_centers_.argmin()
        expected = np.array([[bright[r, c] for c in nearest(shape[1], 256)] for r in nearest(shape[0], 256)])
        assert np.array_equal(make_coarse_mask(saliency, CoarseSettings("kmeans")), expected)


def test_the_energies_of_the_released_crf_by_hand():
    """-log(p + 1e-8) / (1.05 / (1 + e^-p)); for p = 1/2 of 255, that is 128: 0.50196."""
    p = 128 / 255
    by_hand = [-math.log(q + 1e-8) / (1.05 / (1 + math.exp(-q))) for q in (1 - p, p)]
    found = compute_unary_energy(np.array([[0.5, 0.0]]), CrfSettings().tau)
    assert found[:, 0, 0] == pytest.approx(by_hand, rel=1e-6)
    assert found[:, 0, 1] == pytest.approx([0, -math.log(1e-8) / (1.05 / 2)], rel=1e-6, abs=1e-6)
    assert compute_unary_energy(np.array([[0.25]]), 0.0).ravel() == pytest.approx(
        [-math.log(0.75), -math.log(0.25)], rel=1e-6
    )
    released = CoarseSettings("crf").crf
    assert (released.gaussian_sxy, released.bilateral_sxy, released.bilateral_srgb) == (5, 5, 3)
    assert (released.gaussian_compat, released.bilateral_compat, released.iterations) == (3, 5, 1)


def test_as_many_parts_are_kept_as_asked_for_with_their_holes():
    mask = np.zeros((20, 30), bool)
    mask[1:8, 1:8], mask[1:5, 12:16], mask[1:5, 20:24], mask[15, 3:6] = True, True, True, True
    mask[4, 4] = False  # a hole
    mask[8, 8] = True  # touches at a corner: the same part
    largest = np.zeros_like(mask)
    largest[1:8, 1:8], largest[4, 4], largest[8, 8] = True, False, True
    assert np.array_equal(keep_largest_parts(mask, 1), largest)
    equal = mask.copy()
    equal[15, 3:6] = False
    assert np.array_equal(keep_largest_parts(mask, 2), equal), "two of one size both stay, as released"
    assert np.array_equal(keep_largest_parts(mask, 9), mask)
    assert not keep_largest_parts(mask, 0).any() and not keep_largest_parts(np.zeros((4, 4), bool), 2).any()


def test_both_schedules_end_where_they_are_said_to():
    """0.01 (1 - 160/200)^0.9 = .00235; released: 0.01 (1 - 100/600)^0.9 = .00849."""
    assert Schedule().rate(199) == pytest.approx(0.01 * (1 - 160 / 200) ** 0.9) == pytest.approx(0.00235, abs=5e-6)
    assert (
        RELEASED_SCHEDULE.rate(599) == pytest.approx(0.01 * (1 - 100 / 600) ** 0.9) == pytest.approx(0.00849, abs=5e-6)
    )
    assert RELEASED_SCHEDULE.rate(400) == 0.01 and RELEASED_SCHEDULE.rate(450) == pytest.approx(
        0.01 * (550 / 600) ** 0.9
    )
    assert Schedule(cycles=1, decay=RateDecay.TRAINING) != Schedule(cycles=1)
    assert Schedule(cycles=1, decay=RateDecay.TRAINING).rate(150) == Schedule(cycles=1).rate(150)


def test_the_foreground_is_cut_at_a_probability_of_its_own():
    background = np.array([0.85, 0.79, 0.5, 0.1])
    first = np.array([0.15, 0.11, 0.2, 0.9])
    probabilities = np.stack([background, first, 1 - background - first]).reshape(3, 1, 1, 4).astype(np.float32)
    assert label_foreground(probabilities, 0.2).ravel().tolist() == [0, 1, 2, 1]
    two = np.array([[0.81, 0.79], [0.19, 0.21]], np.float32).reshape(2, 1, 1, 2)
    assert label_foreground(two, 0.2).ravel().tolist() == [0, 1], "p > 0.2 where argmax finds nothing"


def test_prompt_ensembles_in_the_released_way():
    clip = load_clip("demo")
    texts = ["brain tumor", "an image of a large tumor in the brain"]
    raw = torch.cat([clip.model.encode_text(clip.tokenize([text])) for text in texts])
    lengths = raw.norm(dim=-1)
    expected = raw.sum(0) / raw.sum(0).norm()
    found = encode_ensemble(clip.encode_text, texts, EnsembleMean.RELEASED)
    assert torch.allclose(found, expected, atol=1e-6)
    assert (lengths[0] / lengths[1] - 1).abs() > 1e-3, "else both means are the same"
    assert not torch.allclose(found, encode_ensemble(clip.encode_text, texts), atol=1e-6)
    settings = Settings(saliency=M2IBSettings(samples=10), style="P4", ensemble_mean="released")
    assert settings.saliency_for("brain tumor").samples == 1
    for other in (Settings(M2IBSettings(), style="P2", ensemble_mean="released"), Settings(M2IBSettings(), style="P4")):
        assert other.saliency_for("brain tumor").samples == 10
