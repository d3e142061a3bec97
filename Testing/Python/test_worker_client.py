"""What the client sends a worker again, after cancellations and failures, with a worker that keeps images alone."""

import numpy as np
import pytest

from MedCLIPSAMLib.errors import Cancelled, InputError
from MedCLIPSAMLib.worker.client import WorkerClient
from MedCLIPSAMLib.worker.images import ReceivedImages
from MedCLIPSAMLib.worker.protocol import FrameParser, Message, ProtocolError, encode
from MedCLIPSAMLib.worker.request import WorkerError
from MedCLIPSAMLib.worker.request_kinds import check_request

IMAGE = np.zeros((8, 8, 3), np.uint8)
MASK = np.ones((8, 8), bool)
BOX = np.array([[1, 1, 4, 4]])


class ImageWorker:
    """A worker without models: "image" is stored, requests on images ask for them, and it works when it is told to."""

    def start(self, client):
        self.client, self.parser, self.images, self.queue = client, FrameParser(), ReceivedImages(), []
        self.refused, self.seen = set(), []

    def write(self, data):
        for message in self.parser.feed(data):
            if message.type == "cancel":
                number = message.fields["request"]
                self.queue = [queued for queued in self.queue if queued.id != number]
                self.answer(number, "error", {"kind": "Cancelled"})
            else:
                self.queue.append(message)

    def work(self):
        """Handle what was sent; return the types of the requests."""
        queue, self.queue = self.queue, []
        for message in queue:
            if message.type in self.refused:
                self.answer(message.id, "error", {"kind": "DeviceError", "problem": "Memory ran out."})
                continue
            try:
                if message.type == "image":
                    self.images.receive(message)
                elif "image" in message.fields:
                    self.images.find(message)
                self.answer(message.id, "result", {"protocol": 1})
            except InputError as error:
                self.answer(message.id, "error", {"kind": "InputError", "problem": error.problem})
        return [message.type for message in queue if message.type != "hello"]

    def answer(self, number, type, fields):
        self.client.feed(encode(Message(type, number, fields)))

    def stop(self):
        self.client = None


@pytest.fixture()
def client():
    return WorkerClient(ImageWorker())


@pytest.fixture()
def worker(client):
    return client._transport


ON_A_STACK = {
    "propagate_masks": lambda client, key: client.propagate_masks(key, {0: MASK}),
    "propagate": lambda client, key: client.propagate(key, ["tumor"]),
    "predict_mask": lambda client, key: client.predict_mask(key, 0, BOX),
    "segment": lambda client, key: client.segment(key, ["tumor"]),
}


@pytest.mark.parametrize("ask", ON_A_STACK.values(), ids=ON_A_STACK)
def test_every_request_on_images_starts_the_worker_and_counts_as_their_use(client, worker, ask):
    """Five stacks, of which four are kept: the one that was used last but one is not the one that goes."""
    client.load("demo", "demo", "cpu")
    for key in "abcd":
        client.set_image(key, IMAGE)
    worker.work()
    client.ended("exit code 1")
    request = ask(client, "a")
    assert worker.work() == ["load", "image", request.type] and request.value()
    for key in "bcd":
        client.set_image(key, IMAGE)
    ask(client, "a")
    client.set_image("e", IMAGE)
    assert not client.has_image("b")
    requests = [ask(client, key) for key in "acde"]
    assert worker.work() == ["image"] * 3 + [request.type] + ["image"] + [request.type] * 4
    assert all(request.value() for request in requests)


def test_a_request_without_a_worker_raises_and_is_not_waited_for(client):
    with pytest.raises(WorkerError, match="is not running"):
        client._request("propagate", {"image": "a"})
    assert not client.busy


def test_an_interrupted_message_ends_the_worker_which_would_read_on_in_the_next_one(client, worker):
    client.set_image("a", IMAGE)
    worker.work()
    write, parsers = worker.write, [worker.parser]

    def interrupted(data):
        write(data[:100])
        raise KeyboardInterrupt

    worker.write = interrupted
    with pytest.raises(KeyboardInterrupt):
        client.set_image("b", IMAGE)
    worker.write = write
    assert not client.running and not client.busy
    request = client.predict_mask("b", 0, BOX)
    assert worker.work() == ["image", "predict_mask"] and request.value() and worker.parser not in parsers


def test_a_start_that_was_interrupted_is_made_again_by_the_next_request(client, worker, monkeypatch):
    def interrupted(client):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(worker, "start", interrupted)
        client.load("demo", "demo", "cpu")
    assert not client.running
    client.set_image("a", IMAGE)
    request = client.segment("a", ["tumor"])
    assert worker.work() == ["image", "load", "segment"] and request.value()


def test_what_was_cancelled_before_the_worker_had_it_is_sent_again(client, worker):
    client.cancel(client.load("demo", "demo", "cpu"))
    client.cancel(client.set_image("a", IMAGE))
    assert worker.work() == []
    request = client.segment("a", ["tumor"])
    assert worker.work() == ["load", "image", "segment"] and request.value()
    client.segment("a", ["tumor"])
    assert worker.work() == ["segment"]


def test_models_that_were_refused_are_sent_again_with_the_next_request(client, worker):
    client.load("demo", "demo", "cuda")
    client.set_image("a", IMAGE)
    worker.refused = {"load"}
    worker.work()
    worker.refused = set()
    client.segment("a", ["tumor"])
    assert worker.work() == ["load", "segment"]


def test_a_cancelled_use_of_images_leaves_both_sides_with_the_same_ones(client, worker):
    """The client used "a" last, the worker did not: it drops what the client dropped."""
    for key in "abcd":
        client.set_image(key, IMAGE)
    worker.work()
    cancelled = client.predict_mask("a", 0, BOX)
    client.cancel(cancelled)
    with pytest.raises(Cancelled):
        cancelled.value()
    client.set_image("e", IMAGE)
    requests = [client.predict_mask(key, 0, BOX) for key in "acde"]
    worker.work()
    assert all(request.value() for request in requests) and not client.has_image("b")


def test_images_of_a_type_that_cannot_be_sent_are_not_kept(client, worker):
    for key in "abcd":
        client.set_image(key, IMAGE)
    for key in "ae":  # in place of others, and beside them
        with pytest.raises(ProtocolError, match="has type float16"):
            client.set_image(key, IMAGE.astype(np.float16))
    assert [client.has_image(key) for key in "abcde"] == [True] * 4 + [False]
    worker.work()
    asked = [client.segment(key, ["tumor"]) for key in "abcd"]
    worker.work()
    assert all(request.result for request in asked)


def test_images_that_another_client_sends_without_a_list_are_the_four_used_last():
    images = ReceivedImages()
    for key in "abcd":
        images.receive(Message("image", 1, {"key": key}, {"images": IMAGE}))
    images.find(Message("predict_mask", 1, {"image": "a"}))
    images.receive(Message("image", 1, {"key": "e"}, {"images": IMAGE}))
    with pytest.raises(InputError, match="no images 'b'"):
        images.find(Message("predict_mask", 1, {"image": "b"}))
    for keep in (["a", {}], ["a", 1]):
        images.receive(Message("image", 1, {"key": "e", "keep": keep}, {"images": IMAGE}))
    assert len(images.find(Message("predict_mask", 1, {"image": "a"}))) == 1
    with pytest.raises(InputError, match="no images 'c'"):
        images.find(Message("predict_mask", 1, {"image": "c"}))


def test_numbers_of_numpy_are_sent_and_halves_are_not_rounded(client, worker):
    client.set_image("a", IMAGE)
    zero, one = np.arange(2)
    client.segment("a", ["tumor"], np.arange(1), settings={"saliency": {"steps": np.int32(3)}})
    client.propagate_masks("a", {zero: MASK}, reach=one)
    client.predict_mask("a", zero, BOX)
    client.set_slice("b", IMAGE, zero, one)
    for message in worker.queue:
        check_request(message)
    client.segment("a", ["tumor"], [0.5])
    with pytest.raises(InputError, match=r"whole numbers as 'slices' of 'segment', got \[0.5\]"):
        check_request(worker.queue[-1])


@pytest.mark.parametrize("masks", [{}, {0: MASK, 1: MASK[:4]}])
def test_masks_that_make_no_stack_are_refused(client, masks):
    with pytest.raises(InputError, match=r"Masks: .*arrays?"):
        client.propagate_masks("a", masks)


def test_masks_and_labels_of_any_type_keep_what_they_say(client, worker):
    """A share of .5 is inside, 256 is no 0 of 8 bits, and a label of .5 is no 0."""
    sent = {}
    client.set_image("a", IMAGE)
    client.predict_mask("a", 0, BOX, np.ones((1, 1, 2)), np.full((1, 1), 0.5), 0.5 * MASK[None])
    client.propagate_masks("a", {0: 256 * MASK.astype(int)})
    for message in worker.queue:
        sent |= {(message.type, name): array for name, array in message.arrays.items()}
    assert sent["predict_mask", "labels"].item() == 0.5
    for kind in ("predict_mask", "propagate_masks"):
        masks = sent[kind, "masks"]
        assert masks.dtype == np.uint8 and masks.all()
