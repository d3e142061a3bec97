"""From a saliency map to components: exact cuts, and nothing where nothing stands out."""

import importlib.util
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.segmentation.coarse import CoarseSettings, find_two_means_threshold, make_coarse_mask
from MedCLIPSAMLib.segmentation.components import ComponentSettings, components, label_map_components
from MedCLIPSAMLib.segmentation.crf import FAR
from MedCLIPSAMLib.segmentation.saliency import normalize, upsample
from MedCLIPSAMLib.segmentation.saliency_map import SaliencyMap
from MedCLIPSAMLib.segmentation.sam_prompts import SamPromptSettings, make_sam_prompts


def _hills(*centers, size=64, width=6.0, heights=None):
    rows, columns = np.mgrid[:size, :size]
    heights = heights or [1.0] * len(centers)
    squares = [(rows - row) ** 2 + (columns - column) ** 2 for row, column in centers]
    hills = [height * np.exp(-square / (2 * width**2)) for square, height in zip(squares, heights)]
    return np.max(hills, axis=0).astype(np.float32)


def _spread(values, threshold):
    parts = (values[values > threshold], values[values <= threshold])
    return sum(((part - part.mean()) ** 2).sum() for part in parts if len(part))


@given(some.lists(some.floats(0, 1, width=32), min_size=2, max_size=40).filter(lambda values: len(set(values)) > 1))
@settings(max_examples=60, deadline=None)
def test_otsu_is_the_best_of_all_cuts(values):
    values = np.array(values)
    levels = np.unique(values)
    best = min(_spread(values, (low + high) / 2) for low, high in pairwise(levels))
    assert _spread(values, find_two_means_threshold(values)) <= best + 1e-9


def test_levels_next_to_each_other_in_float32_are_told_apart():
    low = np.nextafter(np.float32(0.5), np.float32(1))
    saliency = np.full((8, 8), low, np.float32)
    saliency[2, 3] = np.nextafter(low, np.float32(1))
    assert np.argwhere(make_coarse_mask(saliency, CoarseSettings())).tolist() == [[2, 3]]


@pytest.mark.parametrize("method", ["otsu", "kmeans", "threshold"])
def test_a_hill_is_cut_out_where_it_is(method):
    mask = make_coarse_mask(_hills((20, 45)), CoarseSettings(method))
    assert mask[20, 45] and not mask[50, 10] and 0.005 < mask.mean() < 0.2
    assert abs(np.argwhere(mask).mean(0) - (20, 45)).max() < 1


@pytest.mark.parametrize("method", ["otsu", "kmeans", "threshold", "crf"])
def test_a_constant_map_gives_an_empty_mask(method):
    for level in (0.0, 0.4, 1.0):
        assert not make_coarse_mask(np.full((32, 32), level, np.float32), CoarseSettings(method)).any()


@pytest.mark.skipif(importlib.util.find_spec("pydensecrf") is not None, reason="the extra is installed")
def test_crf_names_its_extra_when_it_is_not_there():
    with pytest.raises(InputError, match=r"medclipsam\[crf\]"):
        make_coarse_mask(_hills((20, 45)), CoarseSettings("crf"), np.zeros((64, 64, 3), np.uint8))


@pytest.mark.skipif(importlib.util.find_spec("pydensecrf") is None, reason="the extra is not installed")
def test_crf_follows_the_edges_of_the_image():
    image = np.zeros((64, 64, 3), np.uint8)
    image[12:28, 36:54] = 200
    object_, hill = image[..., 0] > 0, _hills((20, 45))
    assert np.array_equal(make_coarse_mask(hill, CoarseSettings("crf", crf=FAR), image), object_)
    near = make_coarse_mask(hill, CoarseSettings("crf"), image)
    assert near[16:25, 41:50].all() and not (near & ~object_).any()


def test_components_by_confidence_drop_the_faint_ones():
    saliency = _hills((15, 15), (45, 45), (15, 50), heights=[1.0, 0.95, 0.4])
    mask = saliency > 0.2
    labels = components(mask, saliency, ComponentSettings("confidence", confidence=0.8))
    assert labels[15, 15] == 1 and labels[45, 45] == 2 and labels[15, 50] == 0
    assert set(np.unique(labels)) == {0, 1, 2}


def test_components_by_area_keep_the_largest():
    mask = np.zeros((64, 64), bool)
    mask[5:30, 5:30] = mask[40:60, 40:60] = mask[50:55, 5:10] = True
    labels = components(mask, mask.astype(np.float32), ComponentSettings("area", number=2))
    assert labels[10, 10] == 1 and labels[50, 50] == 2 and labels[52, 7] == 0


def test_parts_that_touch_at_a_corner_are_one():
    mask = np.zeros((64, 64), bool)
    mask[10:20, 10:20] = mask[20:30, 20:30] = True
    assert set(np.unique(components(mask, mask.astype(np.float32), ComponentSettings()))) == {0, 1}


def test_specks_are_dropped_and_nothing_stays_nothing():
    mask = np.zeros((64, 64), bool)
    mask[3, 3] = True
    assert not components(mask, mask.astype(np.float32), ComponentSettings(min_area=0.01)).any()
    assert not components(np.zeros((64, 64), bool), np.zeros((64, 64)), ComponentSettings()).any()


def _values(seed, size=14):
    """A map of patches with one hill and some rubble."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    row, column = rng.uniform(3, size - 4, 2)
    hill = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 6)
    return (20 * hill + 6 * rng.random((size, size)) + 3).astype(np.float32)


@pytest.mark.parametrize("shape", [(1024, 1024), (512, 512), (700, 300), (300, 257), (128, 128), (9, 20)])
def test_a_map_by_patch_is_the_enlarged_one_where_it_is_looked_at(shape):
    """Its least and most pixel are 0 and 1, as of the map that is enlarged first and scaled then."""
    for seed in range(4):
        values = _values(seed)
        enlarged = normalize(upsample(torch.from_numpy(values)[None, None], shape))[0, 0].numpy()
        saliency = SaliencyMap(values, shape)
        assert np.array_equal(saliency.pixels, enlarged)
        assert np.abs(saliency.at(slice(None), slice(None)) - enlarged).max() < 2e-6
        assert np.abs(saliency.at(slice(2, 8), slice(3, None)) - enlarged[2:8, 3:]).max() < 2e-6
        by_pixel = SaliencyMap(enlarged, shape)
        assert np.array_equal(by_pixel.pixels, enlarged) and np.array_equal(
            by_pixel.at(slice(2, 8), slice(3)), enlarged[2:8, :3]
        )


@pytest.mark.parametrize("method", ["otsu", "threshold"])
@pytest.mark.parametrize("shape", [(1024, 1024), (512, 512), (700, 300), (128, 128)])
def test_components_from_a_sample_are_those_of_all_pixels(method, shape):
    settings, cut = ComponentSettings("confidence", confidence=0.6), CoarseSettings(method, 0.55)
    for seed in range(12):
        saliency = SaliencyMap(_values(seed), shape)
        plain = components(make_coarse_mask(saliency.pixels, cut), saliency.pixels, settings)
        found = label_map_components(saliency, cut, settings)
        assert found.shape == shape and found.max() == plain.max() > 0
        assert dsc(found > 0, plain > 0) > 0.998
        for first, second in ((found, plain), (plain, found)):
            assert set(np.unique(second[first == 1])) <= {0, 1}, "the best is the best"
        boxes = [make_sam_prompts(labels, SamPromptSettings()).boxes for labels in (found, plain)]
        assert np.abs(boxes[0] - boxes[1]).max() <= 1


def test_parts_of_a_map_that_nearly_touch_stay_apart():
    values = np.zeros((16, 16), np.float32)
    values[4:12, 2:7] = values[4:12, 8:14] = 1
    saliency = SaliencyMap(values, (1024, 1024))
    found = label_map_components(saliency, CoarseSettings("threshold", 0.97), ComponentSettings("area", number=1))
    plain = components(saliency.pixels > 0.97, saliency.pixels, ComponentSettings("area", number=1))
    assert dsc(found > 0, plain > 0) > 0.999 and not found[:, : 1024 // 2 - 20].any()


def test_a_peak_between_pixels_is_no_component():
    """The middle of a patch lies between pixels here: there the second peak reaches .94, on no pixel more than .9."""
    values = np.zeros((14, 14), np.float32)
    values[2, 2], values[8, 8], values[10:13, 2:5] = 1, 0.9, 0.88
    saliency, settings = SaliencyMap(values, (280, 280)), ComponentSettings(min_area=0.0)
    found = label_map_components(saliency, CoarseSettings("threshold", 0.92), settings)
    assert np.array_equal(found > 0, saliency.pixels > 0.92) and np.unique(found).tolist() == [0, 1, 2]
    assert len(make_sam_prompts(found, SamPromptSettings())) == 2


def test_a_map_in_which_nothing_stands_out_has_no_component():
    for values in (np.full((14, 14), 3.0, np.float32), np.zeros((64, 64), np.float32)):
        saliency = SaliencyMap(values, (64, 64))
        assert (
            not saliency.pixels.any()
            and not label_map_components(saliency, CoarseSettings(), ComponentSettings()).any()
        )
