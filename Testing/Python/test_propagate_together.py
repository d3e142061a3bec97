"""Several objects that are propagated at once, where they end, and other work with the same models meanwhile."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from MedCLIPSAMLib.errors import Cancelled, InputError
from MedCLIPSAMLib.propagation.propagate_masks import MaskPropagationSettings, propagate_masks
from MedCLIPSAMLib.run_context import RunContext
from MedCLIPSAMLib.segmentation.sam_prompts import SamPrompts
from MedCLIPSAMLib.segmentation.segmenter import load_segmenter

pytestmark = pytest.mark.gpu

COUNT, SIZE = 12, 128
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE]
LEFT, RIGHT = (np.hypot(ROWS - center, COLUMNS - center) < 14 for center in (40, 90))
METHODS = pytest.mark.parametrize("method", ["memory", "boxes"])


@pytest.fixture(scope="module")
def segmenter(device):
    return load_segmenter("demo", "demo", device)


@pytest.fixture(scope="module")
def image():
    """A stack that shows two cylinders."""
    noise = np.random.default_rng(0).normal(60, 4, (COUNT, SIZE, SIZE))
    gray = np.where(LEFT | RIGHT, 180, noise).clip(0, 255).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=3).__getitem__


def propagated(segmenter, image, given, method="memory", **options):
    """Propagate masks, and return them by object and slice."""
    found = {name: {} for name in given}
    settings = MaskPropagationSettings(method)
    for k, masks in propagate_masks(segmenter, COUNT, image, given, settings, **options):
        for name, mask in masks.items():
            assert k not in found[name], "each slice once"
            found[name][k] = mask
    return found


@METHODS
@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_objects_given_on_different_slices_reach_what_each_reaches_alone(segmenter, image, method, precision):
    segmenter = segmenter.with_settings(replace(segmenter.settings, precision=precision))
    given = {"low": {4: RIGHT}, "high": {8: RIGHT}, "both": {4: LEFT, 8: LEFT}, "beside": {4: LEFT}}
    together = propagated(segmenter, image, given, method, reach=4)
    for name, masks in given.items():
        alone = propagated(segmenter, image, {name: masks}, method, reach=4)[name]
        assert together[name].keys() == alone.keys()
        assert all(np.array_equal(together[name][k], mask) for k, mask in alone.items())
    assert sorted(together["low"]) == [0, 1, 2, 3, 5, 6, 7, 8]
    assert sorted(together["high"]) == [4, 5, 6, 7, 9, 10, 11]


@METHODS
def test_masks_of_two_shapes_are_refused(segmenter, image, method):
    with pytest.raises(InputError, match="Expected masks of one shape"):
        propagated(segmenter, image, {"a": {4: RIGHT}, "b": {5: LEFT[:64]}}, method)


def test_an_object_ends_where_its_mask_is_so_much_larger_than_the_given_one(segmenter):
    """A disc that grows from slice to slice; by boxes SAM 2 follows it to the last one."""
    disc = lambda k: np.hypot(ROWS - 64, COLUMNS - 64) < 10 + 1.5 * k
    noise = np.random.default_rng(0).normal(60, 4, (COUNT, SIZE, SIZE))
    gray = [np.where(disc(k), 180, noise[k]).clip(0, 255).astype(np.uint8) for k in range(COUNT)]
    image = [np.repeat(pixels[..., None], 3, axis=2) for pixels in gray].__getitem__
    reached = {}
    for growth in (3.0, 50.0):
        settings = MaskPropagationSettings("boxes", growth=growth)
        found = propagate_masks(segmenter, COUNT, image, {"disc": {0: disc(0)}}, settings)
        reached[growth] = {k: int(masks["disc"].sum()) for k, masks in found}
    assert MaskPropagationSettings().growth == 3 and sorted(reached[50]) == list(range(1, COUNT))
    within = {k: size for k, size in reached[50].items() if size <= 3 * disc(0).sum()}
    assert reached[3] == within and 0 < len(within) < COUNT - 1


@METHODS
def test_the_image_of_the_caller_stays(segmenter, image, method):
    shown, box = image(0), SamPrompts(np.array([[20, 20, 60, 60]], np.float32))
    segmenter.set_image(shown)
    expected = segmenter.predict_mask(box)[0]
    steps = propagate_masks(segmenter, COUNT, lambda k: 0 * image(k), {"a": {4: LEFT}}, MaskPropagationSettings(method))
    for _ in (1, 2):
        next(steps, None)
        assert segmenter.has_images([shown]) and np.array_equal(segmenter.predict_mask(box)[0], expected)


@METHODS
def test_other_work_between_two_slices_is_neither_cancelled_nor_changed(segmenter, image, method):
    rounded, exact = (
        segmenter.with_settings(replace(segmenter.settings, precision=precision)) for precision in ("bf16", "f32")
    )
    given, cancelled = {"a": {4: LEFT}}, []
    box = SamPrompts(np.array([[20, 20, 60, 60]], np.float32))

    def work():
        exact.set_image(image(0))
        exact.predict_mask(box)

    expected = propagated(rounded, image, given, method)["a"]
    context = RunContext(is_cancelled=lambda: bool(cancelled))
    steps = propagate_masks(rounded, COUNT, image, given, MaskPropagationSettings(method), context=context)
    found = {}
    for k, masks in steps:
        found[k] = masks["a"]
        work()
    assert found.keys() == expected.keys() and all(np.array_equal(found[k], expected[k]) for k in found)

    steps = propagate_masks(rounded, COUNT, image, given, MaskPropagationSettings(method), context=context)
    next(steps)
    cancelled.append(True)
    work()
    with pytest.raises(Cancelled):
        next(steps)
