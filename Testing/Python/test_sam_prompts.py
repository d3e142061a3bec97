"""SAM 2 prompts from components: boxes on pixel edges, points inside, and none for nothing."""

import numpy as np
import pytest

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.segmentation.sam_prompts import SamPrompts, SamPromptSettings, make_sam_prompts


@pytest.fixture()
def two():
    labels = np.zeros((40, 60), int)
    labels[10:20, 5:15] = 1
    labels[25:30, 40:58] = 2
    return labels


def test_a_box_lies_on_the_outer_edges_of_its_component(two):
    sam_prompts = make_sam_prompts(two, SamPromptSettings())
    assert np.array_equal(sam_prompts.boxes, [[5, 10, 15, 20], [40, 25, 58, 30]])
    box, points, labels = sam_prompts.row(1)
    assert len(sam_prompts) == 2 and box.tolist() == [40, 25, 58, 30] and points is None and labels is None


def test_a_margin_widens_the_box_but_not_over_the_border(two):
    boxes = make_sam_prompts(two, SamPromptSettings(margin=0.4)).boxes
    assert np.allclose(boxes, [[3, 8, 17, 22], [36.4, 24, 60, 31]])


def test_points_lie_in_their_component_and_negative_ones_in_none(two):
    sam_prompts = make_sam_prompts(two, SamPromptSettings("points", positive=7, negative=4))
    assert sam_prompts.boxes.shape == (0, 4) and sam_prompts.points.shape == (2, 11, 2)
    for index in (0, 1):
        box, points, labels = sam_prompts.row(index)
        hit = two[points[:, 1].astype(int), points[:, 0].astype(int)]
        assert box is None and (labels == 1).sum() == 7
        assert (hit[labels == 1] == index + 1).all() and (hit[labels == 0] == 0).all()


def test_points_are_seeded(two):
    first, again, other = (make_sam_prompts(two, SamPromptSettings("both", seed=seed)).points for seed in (4, 4, 5))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("kind", ["boxes", "points", "both"])
def test_nothing_gives_no_prompt_and_never_the_whole_image(kind):
    sam_prompts = make_sam_prompts(np.zeros((20, 20), int), SamPromptSettings(kind))
    assert len(sam_prompts) == 0 and sam_prompts.boxes.shape == (0, 4) and sam_prompts.points.shape[0] == 0


def test_a_component_that_fills_the_image_has_no_room_for_negative_points():
    sam_prompts = make_sam_prompts(np.ones((20, 20), int), SamPromptSettings("both", positive=3, negative=2))
    assert sam_prompts.points.shape == (1, 3, 2)


def test_prompts_may_be_lists_and_lack_what_is_not_used():
    boxes, points = SamPrompts([[1, 2, 3, 4]]), SamPrompts(points=[[[5, 6], [7, 8]]], labels=[[1, 0]])
    assert (boxes.boxes.shape, boxes.points.shape, boxes.labels.shape) == ((1, 4), (1, 0, 2), (1, 0))
    assert (points.boxes.shape, points.points.shape, len(SamPrompts())) == ((0, 4), (1, 2, 2), 0)
    assert [array.dtype for array in (boxes.boxes, points.points, points.labels)] == [np.float32, np.float32, np.int32]


ONE_POINT, NO_BOXES = np.ones((1, 1, 2), np.float32), np.zeros((0, 4), np.float32)


@pytest.mark.parametrize(
    ("boxes", "points", "labels", "words"),
    [
        ([[9, 1, 2, 8]], np.zeros((1, 0, 2)), np.zeros((1, 0)), r"x0 < x1 and y0 < y1, got \[9, 1, 2, 8\]"),
        ([[1, 1, np.inf, 8]], np.zeros((1, 0, 2)), np.zeros((1, 0)), "got \\[1, 1, inf, 8"),
        (NO_BOXES, ONE_POINT * np.nan, [[1]], "finite"),
        (NO_BOXES, ONE_POINT, [[2]], "got 2"),
        (NO_BOXES, ONE_POINT, [1], r"labels \(1,\)"),
        (NO_BOXES, ONE_POINT, [[0.5]], "got 0.5"),
        (NO_BOXES, np.zeros((1, 0, 2)), np.zeros((1, 0)), "at least one object"),
        ([[1, 2, 3, 4]], [[[1, 2], [3]]], None, "arrays of numbers"),
        (None, ONE_POINT, None, r"labels \(0, 0\)"),
        ([1, 2, 3, 4], None, None, r"boxes \(4,\)"),
    ],
)
def test_prompts_that_mark_nothing_are_refused(boxes, points, labels, words):
    with pytest.raises(InputError, match=words):
        SamPrompts(boxes, points, labels)


def test_prompts_lie_within_the_image():
    """An image of 4 rows and 6 columns; the outermost edges are 0, 6 and 0, 4."""
    SamPrompts(np.array([[0, 0, 6, 4]])).require_within((4, 6))
    SamPrompts(NO_BOXES, ONE_POINT * 4, np.ones((1, 1), np.int32)).require_within((4, 6))
    for outside in ([0, 0, 4, 6], [-2, 0, 4, 4]):
        with pytest.raises(InputError, match="outside of the image of 6 x 4 pixels"):
            SamPrompts(np.array([outside])).require_within((4, 6))
    with pytest.raises(InputError, match=r"point \[5, 5\] lies outside"):
        SamPrompts(NO_BOXES, ONE_POINT * 5, np.ones((1, 1), np.int32)).require_within((4, 6))
