"""Stacks of slices in the worker: propagation from key slices and of corrections."""

import numpy as np
import pytest
from recording_reply import RecordingReply

from MedCLIPSAMLib.errors import InputError, PromptError
from MedCLIPSAMLib.phantoms.volumes import make_volume
from MedCLIPSAMLib.propagation.propagate_masks import propagate_masks
from MedCLIPSAMLib.worker.engine import Engine
from MedCLIPSAMLib.worker.protocol import Message


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


def test_slices_that_were_not_sent_are_named():
    engine, reply = Engine(), RecordingReply()
    send = lambda number, of, edge=64: engine.handle(
        Message("image", 1, {"key": "v", "slice": number, "of": of}, {"images": np.zeros((edge, 64, 3), np.uint8)}),
        reply,
    )
    ask = lambda kind, arrays={}, **fields: engine.handle(Message(kind, 1, {"image": "v", **fields}, arrays), reply)
    engine.handle(Message("load", 1, {"device": "cpu"}), reply)
    send(0, 3)
    one, box = np.ones((1, 64, 64), np.uint8), np.array([[1, 1, 9, 9]], np.float32)
    for missing, request in (
        ("2", lambda: ask("segment", prompts=["brain tumor"], slices=[0, 2])),
        ("1, 2", lambda: ask("segment", prompts=["brain tumor"])),
        ("1, 2", lambda: ask("propagate", prompts=["brain tumor"])),
        ("1, 2", lambda: ask("propagate_masks", {"masks": one}, slices=[0])),
        ("1", lambda: ask("predict_mask", {"boxes": box}, slice=1)),
    ):
        with pytest.raises(InputError, match=f"Slices of 'v' were not sent: {missing}\\."):
            request()
    ask("predict_mask", {"boxes": box})
    with pytest.raises(InputError, match="each slice once, got 0, 0"):
        ask("propagate_masks", {"masks": np.repeat(one, 2, 0)}, slices=[0, 0])
    for other in ((1, 4), (1, 3, 32)):
        with pytest.raises(InputError, match="expected one of 3 slices of 64 x 64, got one of"):
            send(*other)
    with pytest.raises(InputError, match="Expected 1 to"):
        send(1, None)
    engine.handle(Message("image", 1, {"key": "v"}, {"images": np.zeros((8, 8, 3), np.uint8)}), reply)
    with pytest.raises(InputError, match="0 to 0"):  # it has replaced the stack
        ask("predict_mask", {"boxes": box}, slice=1)
