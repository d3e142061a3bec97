"""Stacks of slices in the worker: propagation from key slices and of corrections."""

import numpy as np
import pytest

from MedCLIPSAMLib.errors import InputError, PromptError
from MedCLIPSAMLib.phantoms.volumes import make_volume
from MedCLIPSAMLib.propagation.propagate_masks import propagate_masks


@pytest.fixture(scope="module")
def stack():
    return make_volume("validation", 8, "MR", 1)


def give_slices(worker, key: str, phantom) -> None:
    for k, image in enumerate(phantom.slices):
        worker.client.set_slice(key, np.repeat(image[..., None], 3, axis=2), k, len(phantom.slices))


def test_a_stack_given_slice_by_slice_is_carried_as_in_process(worker, stack, segmenter):
    key = int(stack.lesion_mask.sum((1, 2)).argmax())
    mask = stack.lesion_mask[key]
    give_slices(worker, "stack", stack)
    request = worker.client.propagate_masks("stack", {key: mask}, reach=4)
    worker.wait(request)
    image = lambda k: np.repeat(stack.slices[k][..., None], 3, axis=2)
    expected = {k: found[""] for k, found in propagate_masks(segmenter, 24, image, {"": {key: mask}}, reach=4)}
    found = {part.fields["slice"]: part.arrays["mask"] > 0 for part in request.parts}
    assert found.keys() == expected.keys() and all(np.array_equal(found[k], expected[k]) for k in found)
    messages = [m.fields for about, m in worker.events if about is request and m.type == "progress"]
    assert all(message["stage"] == "propagation" and 0 < message["fraction"] <= 1 for message in messages) and messages


def test_a_prompt_for_a_stack_comes_as_parts_with_tags(worker, stack):
    give_slices(worker, "stack", stack)
    request = worker.client.propagate("stack", ["brain tumor", "a dog in the park"])
    worker.wait(request)
    by_prompt = {
        prompt: [p for p in request.parts if p.fields["prompt"] == prompt] for prompt in request_prompts(request)
    }
    assert any(part.arrays["mask"].any() for part in by_prompt["brain tumor"])
    (absent,) = by_prompt["a dog in the park"]
    assert not absent.fields["found"] and "Nothing found" in absent.fields["message"]
    assert request.result.fields["tags"]["MedCLIPSAM.Strategy"] == "memory"


def request_prompts(request) -> list[str]:
    return list(dict.fromkeys(part.fields["prompt"] for part in request.parts))


def test_wrong_stacks_and_masks_are_refused(worker, stack):
    give_slices(worker, "stack", stack)
    mask = np.ones((128, 128), bool)
    for wrong in (
        lambda client: client.propagate_masks("stack", {99: mask}),
        lambda client: client.propagate_masks("stack", {1: mask[:50]}),
        lambda client: client.propagate_masks("stack", {1: np.zeros_like(mask)}),
        lambda client: client.propagate_masks("stack", {1: mask}, reach=0),
        lambda client: client.propagate_masks("stack", {1: mask}, method="telepathy"),
        lambda client: client.propagate_masks("nowhere", {1: mask}),
        lambda client: client.propagate("stack", []),
        lambda client: client.set_slice("stack", np.zeros((8, 8, 3), np.uint8), 5, 3),
        lambda client: client.set_slice("stack", np.zeros((8, 8, 3), np.uint8), 0, 10**9),
    ):
        with pytest.raises((InputError, PromptError)):
            worker.wait(wrong(worker.client))
