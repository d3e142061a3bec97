"""What the public names refuse: values of another type, with an error that says what was expected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import MedCLIPSAMLib as medclipsam
from MedCLIPSAMLib import MedCLIPSAMError, RunContext, Segment, SegmentationRequest, Volume

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "Resources" / "samples" / "breast_us.png"


@pytest.fixture(scope="module")
def loaded() -> medclipsam.TextSegmenter:
    segmenter = medclipsam.load_segmenter("demo", "demo", "cpu")
    segmenter.set_image(np.asarray(Image.open(SAMPLE).convert("RGB")))
    return segmenter


VOLUME = Volume(np.zeros((2, 8, 8), np.int16))
MASK = np.zeros((2, 8, 8), bool)
REQUEST = SegmentationRequest(("tumor",))
CALLS = {
    "path as image": (lambda s: s.set_image("head.png"), "image as an array of uint8"),
    "list as image": (lambda s: s.set_image([[0, 1], [2, 3]]), "image as an array of uint8"),
    "gray image": (lambda s: s.set_image(Image.new("L", (8, 8))), r"uint8 \(H, W, 3\), got uint8 \(8, 8\)"),
    "float image": (
        lambda s: s.set_image(np.zeros((8, 8, 3), np.float32)),
        r"uint8 \(H, W, 3\), got float32 \(8, 8, 3\)",
    ),
    "empty image": (lambda s: s.set_image(np.zeros((0, 8, 3), np.uint8)), r"uint8 \(H, W, 3\), got uint8 \(0, 8, 3\)"),
    "no images": (lambda s: s.set_images(3), "list of images"),
    "list as prompt": (lambda s: s.segment(["breast tumor"]), "prompt as text"),
    "no prompt": (lambda s: s.segment(None), "prompt as text"),
    "no prompt of a map": (lambda s: s.saliency(None), "prompt as text"),
    "text as prompts": (lambda s: s.segment_each("breast tumor"), "tuple of prompts"),
    "text as prompts to locate": (lambda s: s.locate("breast tumor"), "tuple of prompts"),
    "maps of others": (lambda s: s.segment_each(("lungs",), located=s.locate(["breast tumor"])), "results of locate"),
    "list as boxes": (lambda s: s.predict_mask([[1, 2, 3, 4]]), "Expected SamPrompts"),
    "number as negative": (lambda s: s.segment("tumor", 3), "negative prompt"),
    "number as context": (lambda s: s.segment("tumor", None, 3), "RunContext"),
    "number as settings": (lambda s: s.with_settings(3), "Settings"),
    "no model": (lambda s: medclipsam.load_segmenter(None, "demo"), "name of a text-image model"),
    "no SAM": (lambda s: medclipsam.load_segmenter("demo", None), "name of a SAM model"),
    "number as device": (lambda s: medclipsam.load_segmenter("demo", "demo", 0), "Expected a device of .* got '0'"),
    "number as folder": (lambda s: medclipsam.load_segmenter("demo", "demo", "cpu", 3), "folder of models"),
    "no model's settings": (lambda s: medclipsam.default_settings(None), "name of a text-image model"),
    "path as volume": (lambda s: medclipsam.segment_volume(s, "head.nii.gz", REQUEST), "a Volume"),
    "text as request": (lambda s: medclipsam.segment_volume(s, VOLUME, "brain tumor"), "a SegmentationRequest"),
    "name as segmenter": (lambda s: medclipsam.segment_volume("demo", VOLUME, REQUEST), "a TextSegmenter"),
    "number as name": (lambda s: Segment(3, MASK), "name of a segment"),
    "list as mask": (lambda s: Segment("tumor", [[1]]), "mask of 'tumor'"),
    "numbers as mask": (lambda s: Segment("tumor", MASK.astype(np.uint8)), "as bool, got uint8"),
    "mask elsewhere": (lambda s: write([Segment("tumor", MASK[:1])]), r"shape \(2, 8, 8\), got \(1, 8, 8\)"),
    "arrays as segments": (lambda s: write([MASK]), "list of segments"),
    "one segment": (lambda s: write(Segment("tumor", MASK)), "list of segments"),
    "no path to write": (lambda s: medclipsam.write_segmentation(None, [], VOLUME), "path to write to"),
    "no path to read": (lambda s: medclipsam.read_volume(None), "path of an image"),
    "no path of masks": (lambda s: medclipsam.read_segmentation(3), "path of a mask"),
    "path as volume of masks": (lambda s: medclipsam.read_segmentation(SAMPLE, "head.nii.gz"), "volume that the masks"),
    "list as voxels": (lambda s: Volume([[[0]]]), "voxels as an array"),
    "complex voxels": (lambda s: Volume(np.zeros((2, 8, 8), np.complex64)), "voxels of real numbers, got complex64"),
    "float colors": (lambda s: Volume(np.zeros((2, 8, 8, 3), np.float32)), "RGB voxels of uint8, got float32"),
    "image as voxels": (lambda s: Volume(np.zeros((8, 8))), r"Expected voxels \(K, J, I\)"),
    "number as progress": (lambda s: RunContext(on_progress=3), "a function as on_progress"),
    "folder as checkpoints": (lambda s: RunContext(checkpoints="folder"), "a CheckpointFolder"),
    "no folder": (lambda s: medclipsam.CheckpointFolder(None), "a folder"),
    "number as prompts": (lambda s: SegmentationRequest(3), "tuple of prompts"),
    "labels as prompts": (lambda s: SegmentationRequest({"a": "tumor"}), "got a dictionary"),
    "number as prompt": (lambda s: SegmentationRequest((3,)), "prompt as text"),
    "number as window": (lambda s: SegmentationRequest(("tumor",), window=5), r"window as \(low, high\)"),
    "settings by name": (lambda s: SegmentationRequest(("tumor",), settings="fast"), "Settings"),
    "settings without M2IB": (
        lambda s: medclipsam.Settings(presence_threshold=0.3),
        "Settings needs 'saliency'.*Start",
    ),
    "letters": (lambda s: medclipsam.WorkerClient(None).segment("key", "tumor"), "tuple of prompts"),
}


def write(segments: object) -> None:
    medclipsam.write_segmentation("never.nii.gz", segments, VOLUME)


@pytest.mark.parametrize("name", CALLS)
def test_another_type_is_refused_with_what_was_expected(loaded, name: str) -> None:
    call, message = CALLS[name]
    with pytest.raises(MedCLIPSAMError, match=message):
        call(loaded)


@pytest.mark.parametrize("slices", ["every", 1.5, (1.5,), True, (True,), ("1",), (None,), {"a": 1}])
def test_slices_that_are_no_integers_are_refused(slices: object) -> None:
    with pytest.raises(medclipsam.InputError, match="Expected integers or 'all' as slices"):
        SegmentationRequest(("tumor",), slices=slices)


def test_slices_may_be_one_number_or_any_integers() -> None:
    for slices, numbers in ((70, (70,)), (np.int64(3), (3,)), (np.arange(2), (0, 1)), (range(4, 6), (4, 5))):
        assert SegmentationRequest(("tumor",), slices=slices).slices == numbers
    assert SegmentationRequest(("tumor",), slices="all").slices == "all"


def test_a_mask_may_be_a_volume() -> None:
    mask = np.zeros((2, 8, 8), bool)
    mask[1, 2:4] = True
    shown = medclipsam.SliceStack(Volume(mask)).image(1)
    assert np.array_equal(shown[..., 0], 255 * mask[1])


def test_an_image_of_pillow_is_an_image(loaded) -> None:
    image = Image.open(SAMPLE).convert("RGB")
    loaded.set_image(np.asarray(image))
    mask = loaded.segment("breast tumor").mask
    loaded.set_image(image)
    assert mask.any() and np.array_equal(loaded.segment("breast tumor").mask, mask)
