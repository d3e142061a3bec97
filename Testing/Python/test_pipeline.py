"""`segment_volume` from Python: the masks of the command line and of the worker, resumed runs, too little memory."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from helpers.exhausted import exhaust
from recording_reply import RecordingReply

from MedCLIPSAMLib.choices import Strategy
from MedCLIPSAMLib.errors import DeviceError, InputError, PromptError
from MedCLIPSAMLib.experiments.volume_benchmark import WINDOW
from MedCLIPSAMLib.models.acceleration.memory import is_out_of_memory
from MedCLIPSAMLib.phantoms.volumes import make_volume
from MedCLIPSAMLib.pipeline.request import SegmentationRequest
from MedCLIPSAMLib.pipeline.segment_volume import segment_volume
from MedCLIPSAMLib.run_context import RunContext
from MedCLIPSAMLib.segmentation import segmenter as segmenters
from MedCLIPSAMLib.segmentation.result import PromptedResult, PropagatedResult
from MedCLIPSAMLib.segmentation.segmenter import load_segmenter
from MedCLIPSAMLib.volumes import SliceStack, read_segmentation, read_volume
from MedCLIPSAMLib.worker.engine import Engine
from MedCLIPSAMLib.worker.protocol import Message

PROMPTS = ("brain tumor", "brain")
SLICES = tuple(range(8, 14))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A head as a file whose grid is oblique, anisotropic and flipped."""
    phantom = make_volume("validation", 1, "MR", 1)
    image = sitk.GetImageFromArray(phantom.slices[:, ::-1, ::-1].copy())
    image.SetSpacing(phantom.spacing[::-1])
    image.SetDirection((-0.995, -0.0998, 0, 0.0998, -0.995, 0, 0, 0, 1))
    path = tmp_path_factory.mktemp("head") / "head.nrrd"
    sitk.WriteImage(image, str(path))
    return path


def masks_of_worker(stack, strategy):
    """Masks on the grid of the volume by prompt, from the slices that a client would send."""
    engine, reply = Engine(), RecordingReply()
    engine.handle(Message("load", 1, {"device": "cpu"}), RecordingReply())
    images = np.stack([stack.image(k) for k in SLICES])
    engine.handle(Message("image", 1, {"key": "head"}, {"images": images}), RecordingReply())
    fields = {"image": "head", "prompts": list(PROMPTS)}
    if strategy == Strategy.SLICES:
        engine.handle(Message("segment", 1, fields), reply)
    else:
        engine.handle(Message("propagate", 1, fields | {"method": strategy.value}), reply)
    by_prompt = {prompt: {} for prompt in PROMPTS}
    for part in reply.of("part"):
        by_prompt[part.fields["prompt"]][SLICES[part.fields["slice"]]] = part.arrays["mask"] > 0
    return {prompt: stack.to_grid(masks) for prompt, masks in by_prompt.items()}


@pytest.mark.parametrize("strategy", [Strategy.SLICES, Strategy.MEMORY, Strategy.BOXES])
def test_python_command_line_and_worker_give_the_same_masks(segmenter, path, strategy, tmp_path, run):
    volume = read_volume(path)
    request = SegmentationRequest(PROMPTS, slices=SLICES, strategy=strategy, window=WINDOW)
    masks = {segment.name: segment.mask for segment in segment_volume(segmenter, volume, request).collect().segments()}
    assert masks["brain tumor"].any() and masks["brain tumor"].shape == volume.shape
    options = ["-p", PROMPTS[0], "-p", PROMPTS[1], "-o", tmp_path / "out.seg.nrrd", "--device", "cpu"]
    options += ["--slices", f"{SLICES[0]}:{SLICES[-1]}", "--propagate", strategy.value, "--window", "0:255"]
    code, _, err = run("segment", path, *options)
    assert code == 0, err
    written = {segment.name: segment.mask for segment in read_segmentation(tmp_path / "out.seg.nrrd", volume)}
    of_worker = masks_of_worker(SliceStack(volume, "axial", WINDOW), strategy)
    for prompt in PROMPTS:
        assert np.array_equal(masks[prompt], written[prompt])
        assert np.array_equal(masks[prompt], of_worker[prompt])


def test_a_carried_mask_names_the_slice_of_the_volume_that_it_comes_from(segmenter, path):
    request = SegmentationRequest(PROMPTS[:1], slices=SLICES, strategy=Strategy.BOXES, window=WINDOW)
    results = segment_volume(segmenter, read_volume(path), request).collect().results[PROMPTS[0]]
    carried = [result for result in results.values() if isinstance(result, PropagatedResult)]
    assert carried
    for result in carried:
        assert isinstance(results[result.source], PromptedResult) and f"slice {result.source} " in result.message


def test_results_come_one_by_one_and_memory_is_the_default_for_several_slices(segmenter, path):
    volume = read_volume(path)
    run = segment_volume(segmenter, volume, SegmentationRequest(PROMPTS[:1], slices=SLICES, strategy="slices"))
    first = next(run)
    assert first.number == SLICES[0] and first.result.prompt == PROMPTS[0]
    with pytest.raises(InputError, match="were taken already"):  # the first would be missing in the masks
        run.collect()
    assert [found.number for found in run] == list(SLICES[1:])
    for slices, strategy, numbers in (
        (SLICES, Strategy.MEMORY, SLICES),
        ("all", Strategy.MEMORY, tuple(range(24))),
        (None, Strategy.SLICES, (12,)),
        ((3,), Strategy.SLICES, (3,)),
    ):
        resolved = segment_volume(segmenter, volume, SegmentationRequest(PROMPTS, slices=slices)).request
        assert (resolved.strategy, resolved.slices) == (strategy, numbers)


@pytest.mark.parametrize("strategy", [Strategy.SLICES, Strategy.MEMORY])
def test_a_run_that_runs_out_of_memory_falls_back_and_gives_the_same(path, strategy):
    volume, notices = read_volume(path), []
    request = SegmentationRequest(PROMPTS[:1], slices=SLICES, strategy=strategy, window=WINDOW)
    plain, tight = load_segmenter("demo", "demo", "cpu"), load_segmenter("demo", "demo", "cpu")
    expected = segment_volume(plain, volume, request).collect().segments()[0].mask
    exhaust(tight.sam.image_encoder, 1)
    found = segment_volume(tight, volume, request, RunContext(on_notice=notices.append)).collect().segments()[0].mask
    assert len(notices) == 1 and "smaller steps" in notices[0] and tight.frugal
    assert expected.any() and (found != expected).mean() < 1e-3
    exhaust(tight.sam.image_encoder, 1)
    with pytest.raises(DeviceError, match="ran out"):
        segment_volume(tight, volume, request).collect()


def test_slices_may_be_given_downwards_and_a_blank_negative_prompt_is_none():
    request = SegmentationRequest(("brain",), negative=" ", slices=range(9, 5, -1), strategy="memory")
    assert request.negative is None and request.resolve(24, "head", "axial").slices == (6, 7, 8, 9)


def test_models_that_do_not_fit_into_memory_are_refused_with_a_remedy(run, path, tmp_path, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(segmenters, "load_sam", full)
    monkeypatch.setattr(segmenters, "resolve_device", lambda name: torch.device(name))
    with pytest.raises(DeviceError, match="the memory of meta.*Choose the CPU") as refused:
        load_segmenter("demo", "demo", "meta")
    assert is_out_of_memory(refused.value), "so that the worker goes on with the CPU"
    code, _, error = run("segment", path, "-p", "brain", "-o", tmp_path / "o.nii.gz", "--device", "cpu")
    assert code == 2 and "do not fit into this machine's memory" in error and "Choose smaller models" in error


def test_models_that_do_not_fit_a_gpu_are_loaded_on_the_cpu(path, monkeypatch):
    """The text-image model says that it is on another device; in truth there is no GPU here."""
    segmenter = load_segmenter("demo", "demo", "cpu")
    other = segmenter.with_settings(segmenter.settings)
    monkeypatch.setattr(segmenter.clip, "device", torch.device("meta"))
    assert "smaller steps" in segmenter.reduce_memory() and "on the CPU" in segmenter.reduce_memory()
    assert other.clip is segmenter.clip and other.clip.device.type == "cpu"
    assert segment_volume(other, read_volume(path), SegmentationRequest(PROMPTS[:1], slices=(10,))).collect().results


@pytest.mark.parametrize(
    "wrong, error, words",
    [
        ({"prompts": ()}, PromptError, "No prompt"),
        ({"prompts": ("a", "a")}, PromptError, "twice"),
        ({"plane": "axail"}, InputError, "got 'axail'"),
        ({"strategy": "magic"}, InputError, "got 'magic'"),
    ],
)
def test_requests_that_cannot_work_are_refused_before_models_are_loaded(wrong, error, words):
    with pytest.raises(error, match=words):
        SegmentationRequest(**{"prompts": ("brain",), **wrong})
