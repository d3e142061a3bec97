"""A real worker process with the demo models, over its pipes."""

import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.worker import Worker

from MedCLIPSAMLib.errors import Cancelled, InputError, ModelError, OutputError, PromptError
from MedCLIPSAMLib.experiments.phantom_benchmark import to_rgb
from MedCLIPSAMLib.models.catalogue import find
from MedCLIPSAMLib.models.store import status
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.segmentation.sam_prompts import SamPrompts
from MedCLIPSAMLib.volumes.write import write_png
from MedCLIPSAMLib.worker.client import WorkerClient
from MedCLIPSAMLib.worker.protocol import FrameParser, Message, encode
from MedCLIPSAMLib.worker.request import WorkerError
from MedCLIPSAMLib.worker.subprocess_transport import SubprocessTransport, worker_command

pytestmark = pytest.mark.skipif(
    not all(status(find("demo", kind)).usable for kind in ("clip", "sam")), reason="the demo models are not there"
)

SLOW = {"saliency": {"steps": 100_000}}
"""A run of an hour or so."""


def test_the_worker_gives_what_the_same_work_in_process_gives(worker, images, segmenter):
    prompts = ["brain tumor", "a dog in the park", "brain tumor without xylophone"]
    worker.client.set_image("brain", images)
    parts = worker.wait(worker.client.segment("brain", prompts, negative="skull")).parts
    assert [(part.fields["slice"], part.fields["prompt"]) for part in parts] == [
        (k, p) for k in (0, 1) for p in prompts
    ]
    for part in parts:
        if part.fields["prompt"] == prompts[0]:
            segmenter.set_image(images[part.fields["slice"]])
        expected = segmenter.segment(part.fields["prompt"], "skull")
        assert part.arrays["mask"].dtype == np.uint8 and np.array_equal(part.arrays["mask"] > 0, expected.mask)
        assert np.array_equal(part.arrays["saliency"], expected.where.saliency)
        assert np.array_equal(part.arrays["boxes"], expected.sam_prompts.boxes)
        assert part.fields["score"] == expected.score and part.fields["message"] == expected.message
        assert tuple(part.fields["notes"]) == expected.notes
        assert len(expected.notes) == (2 if "xylophone" in part.fields["prompt"] else 0)
    assert any(part.arrays["mask"].any() for part in parts)


def test_the_example_of_the_page_on_the_worker_runs(images, capsys):
    page = (Path(__file__).resolve().parents[2] / "docs" / "worker.md").read_text(encoding="utf-8")
    said = {"image": images[0]}
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], said)
    assert said["mask"].any() and said["mask"].shape[-2:] == images[0].shape[:2]
    assert not said["client"].running and "part {" in capsys.readouterr().out


def test_settings_and_slices_reach_the_models(worker, images, segmenter):
    worker.client.set_image("brain", images)
    changes = {"saliency": {"steps": 3}, "prompts": {"kind": "both"}, "presence_threshold": 0}
    (part,) = worker.wait(worker.client.segment("brain", ["brain tumor"], [1], settings=changes, saliency=False)).parts
    assert part.fields["slice"] == 1 and "saliency" not in part.arrays and part.arrays["points"].shape[1] == 10


def test_progress_tells_stage_fraction_and_slice(worker, images):
    worker.client.set_image("fresh", images)
    request = worker.client.segment("fresh", ["brain tumor"])
    worker.wait(request)
    messages = [message.fields for about, message in worker.events if about is request and message.type == "progress"]
    assert [(message["stage"], message["slice"]) for message in messages] == [
        (stage, number) for number in (0, 1) for stage in ("saliency", "embedding", "mask")
    ]
    fractions = [message["fraction"] for message in messages]
    assert fractions == sorted(fractions) and 0 <= fractions[0] and fractions[-1] < 1


def test_a_second_prompt_on_a_slice_embeds_nothing_again(worker, images):
    worker.client.set_image("again", images[0])
    worker.wait(worker.client.segment("again", ["brain tumor"]))
    worker.events.clear()
    worker.wait(worker.client.segment("again", ["tumor in the brain"]))
    assert "embedding" not in [message.fields.get("stage") for _, message in worker.events]


def test_boxes_points_and_a_mask_are_outlined_as_in_process(worker, images, segmenter):
    worker.client.set_image("brain", images)
    side = segmenter.sam.image_size // 4
    segmenter.set_image(images[1])
    box = np.array([[40, 40, 90, 90]], np.float32)
    points, labels = np.array([[[60, 60], [20, 20]]], np.float32), np.array([[1, 0]], np.int32)
    mask = np.zeros(images[1].shape[:2], np.uint8)
    edge = len(mask)
    mask[edge // 4 : edge // 2, edge // 4 : edge // 2] = 1
    logits = np.full((1, side, side), -8, np.float32)
    logits[:, side // 4 : side // 2, side // 4 : side // 2] = 8
    for given, start in ((SamPrompts(box), None), (SamPrompts(box, points, labels), mask[None])):
        expected, quality = segmenter.predict_mask(given, logits=None if start is None else logits)
        with_points = {"points": given.points, "labels": given.labels} if start is not None else {}
        arrays = worker.wait(
            worker.client.predict_mask("brain", 1, given.boxes, **with_points, masks=start)
        ).result.arrays
        assert np.array_equal(arrays["mask"] > 0, expected) and np.array_equal(arrays["predicted_iou"], quality)


@pytest.mark.parametrize(
    ("ask", "kind", "words"),
    [
        (lambda client: client.segment("brain", ["   "]), PromptError, "empty"),
        (lambda client: client.segment("brain", []), PromptError, "No prompt"),
        (lambda client: client.segment("elsewhere", ["tumor"]), InputError, "elsewhere"),
        (lambda client: client.segment("brain", ["tumor"], [7]), InputError, "got 7"),
        (lambda client: client.segment("brain", ["t"], settings={"saliency": {"steps": 0}}), InputError, "got 0"),
        (lambda client: client.models("x" * 5000), OutputError, "too long"),
        (lambda client: client.predict_mask("brain"), InputError, "No box"),
        (lambda client: client.predict_mask("brain", boxes=np.zeros(4)), InputError, "(4,)"),
        (
            lambda client: client.predict_mask("brain", boxes=np.array([[1, 1, 3, 3]]), masks=np.ones((1, 3, 3))),
            InputError,
            "Masks",
        ),
        (lambda client: client.set_image("flat", np.zeros((4, 4), np.uint8)), InputError, "(4, 4)"),
    ],
)
def test_a_bad_request_is_answered_with_problem_and_remedy(worker, images, ask, kind, words):
    worker.client.set_image("brain", images)
    with pytest.raises(kind) as caught:
        worker.wait(ask(worker.client))
    assert words in str(caught.value) and caught.value.problem and caught.value.remedy
    assert worker.client.running


def test_a_cancelled_run_ends_within_a_second_and_the_worker_goes_on(worker, images):
    worker.client.set_image("brain", images)
    request = worker.client.segment("brain", ["brain tumor"], settings=SLOW)
    worker.wait_until_it_computes()
    process, started = worker.transport.process, time.perf_counter()
    worker.client.cancel(request)
    with pytest.raises(Cancelled):
        worker.wait(request, 1)
    worker.wait(worker.client.segment("brain", ["brain tumor"], [0]), 10)
    assert worker.transport.process is process and time.perf_counter() - started < 10


def test_a_request_that_waits_can_be_cancelled(worker, images):
    worker.client.set_image("brain", images)
    running = worker.client.segment("brain", ["brain tumor"], settings=SLOW)
    waiting = worker.client.segment("brain", ["brain tumor"])
    worker.wait_until_it_computes()
    worker.client.cancel(waiting)
    with pytest.raises(Cancelled):
        worker.wait(waiting, 1)
    assert not running.done
    worker.client.cancel(running)


def test_a_killed_worker_is_noticed_and_the_next_request_starts_a_fresh_one(worker, images):
    worker.client.set_image("brain", images)
    before = worker.wait(worker.client.segment("brain", ["brain tumor"], [0])).parts[0].arrays
    worker.events.clear()
    request = worker.client.segment("brain", ["brain tumor"], settings=SLOW)
    worker.wait_until_it_computes()
    os.kill(worker.transport.process.pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match="has ended") as caught:
        worker.wait(request, 10)
    assert caught.value.remedy and not worker.client.running
    after = worker.wait(worker.client.segment("brain", ["brain tumor"], [0])).parts[0].arrays
    assert np.array_equal(before["mask"], after["mask"]) and np.array_equal(before["saliency"], after["saliency"])


def test_models_that_are_not_there_are_named_and_stay_the_reason():
    worker = Worker()
    try:
        with pytest.raises(ModelError, match="no-such-model") as caught:
            worker.wait(worker.client.load("no-such-model", "demo", "cpu"))
        assert caught.value.remedy
        worker.client.set_image("a", np.zeros((8, 8, 3), np.uint8))
        with pytest.raises(ModelError, match="no-such-model"):
            worker.wait(worker.client.segment("a", ["tumor"]))
    finally:
        worker.client.shutdown()


@pytest.mark.parametrize("seconds", ["0", "inf", "1e12"])
def test_a_worker_may_wait_forever(seconds):
    command = worker_command("--idle-seconds", seconds)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        running.stdin.write(encode(Message("hello", 1)))
        running.stdin.flush()  # and left open: with its end the worker ends, answered or not
        assert [message.type for message in FrameParser().feed(running.stdout.read1())] == ["result"]


def test_an_idle_worker_ends_and_is_started_again_when_needed():
    worker = Worker("--idle-seconds", "0.5")
    try:
        worker.wait(worker.client.set_image("a", np.zeros((8, 8, 3), np.uint8)))
        worker.transport.run_until(lambda: not worker.client.running, 10)
        assert "No request for 0.5 s" in worker.client.log
        assert worker.wait(worker.client.set_image("a", np.zeros((8, 8, 3), np.uint8))).result.fields["slices"] == 1
    finally:
        worker.client.shutdown()


@pytest.mark.parametrize(
    "command",
    [
        ["/no/such/program"],
        f"{sys.executable} -c \"print('Welcome to gpuhost')\"",
        f"{sys.executable} -m no_such_module",
    ],
    ids=["absent", "prints", "fails"],
)
def test_a_command_that_is_no_worker_gives_a_clear_error(command):
    transport = SubprocessTransport(command)
    client = WorkerClient(transport)
    with pytest.raises(WorkerError, match="cannot be started|Welcome to gpuhost|No module named") as caught:
        transport.wait(client.load("demo", "demo"), 20)
    assert caught.value.remedy


def talk(data, close):
    """What a worker answers to raw bytes, and its exit code."""
    process = subprocess.Popen(worker_command(), stdin=-1, stdout=-1, stderr=-1)
    process.stdin.write(data)
    process.stdin.flush()
    if close:
        process.stdin.close()
    answer = process.stdout.read()
    code = process.wait(20)
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()
    return FrameParser().feed(answer), code


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", struct.pack(">4sIQ", b"MCS1", 2, 1 << 50), encode(Message("hello"))]
)
def test_bytes_that_are_no_request_are_answered_and_end_the_worker(data):
    (answer,), code = talk(data, close=False)
    assert (answer.type, answer.id, code) == ("error", 0, 2)
    assert answer.fields["kind"] == "ProtocolError" and answer.fields["problem"]


def test_a_frame_that_the_end_of_input_cuts_off_is_an_error():
    (answer,), code = talk(
        encode(Message("image", 1, {"key": "a"}, {"images": np.zeros((9, 9, 3), np.uint8)}))[:-5], True
    )
    assert (answer.type, answer.id, code) == ("error", 0, 2) and "ended within a message" in answer.fields["problem"]


def test_a_number_that_was_used_is_refused():
    """The first of the two may be answered before the worker ends, or not."""
    (*_, answer), code = talk(encode(Message("hello", 1)) + encode(Message("hello", 1)), False)
    assert (answer.type, answer.id, code) == ("error", 0, 2)
    assert "new number" in answer.fields["problem"]


def test_the_end_of_input_ends_the_worker_in_the_middle_of_a_run(worker, images):
    own = Worker()
    own.client.load("demo", "demo", "cpu")
    own.client.set_image("brain", images)
    own.client.segment("brain", ["brain tumor"], settings=SLOW)
    own.wait_until_it_computes()
    process = own.transport.process
    process.stdin.close()
    assert process.wait(2) == 0


def test_a_fine_tuning_tells_how_it_goes_and_is_refused_or_cancelled(worker, tmp_path):
    rows = []
    for number in range(30):
        image = to_rgb(make_phantom("train", number))
        write_png(tmp_path / f"{number}.png", image)
        rows.append(json.dumps({"image": f"{number}.png", "caption": f"the image with the number {number}"}))
    (tmp_path / "captions.jsonl").write_text("\n".join(rows))
    settings = {"base": "demo", "batch": 4, "epochs": 500, "patience": 0}
    ask = lambda **changes: worker.client.finetune(
        str(tmp_path / "captions.jsonl"),
        "mine",
        settings=settings | changes,
        device="cpu",
        models_dir=str(tmp_path),
        out=str(tmp_path / "run"),
    )
    for changes, words in (
        ({"batch": 1}, "no negatives"),
        ({"epoch": 3}, "epochs"),
        ({"epochs": "3"}, "valid integer"),
        ({"batch": "x"}, "valid integer, got 'x'. Choose another value"),
    ):
        with pytest.raises(InputError, match=words):
            worker.wait(ask(**changes)).value()
    running = ask()
    messages = lambda: [m.fields for request, m in worker.events if request is running and m.type == "progress"]
    worker.transport.run_until(lambda: len(messages()) > 2 or running.done, 60)
    assert running.error is None
    assert messages()[1]["step"] == 2 and messages()[1]["steps"] > 1000 and messages()[0]["loss"] > 0
    assert any("split by patient" in str(message.fields) for _, message in worker.events)
    worker.client.cancel(running)
    with pytest.raises(Cancelled):
        worker.wait(running).value()
    worker.wait(worker.client.models())  # the worker has ended the training and answers
    assert (tmp_path / "run" / "last.ckpt").is_file() and not (tmp_path / "mine").exists()


def test_log_lines_in_any_encoding_are_kept():
    client = WorkerClient(SubprocessTransport("none"))
    client.feed_log(b"caf\xe9\r\nhal")
    client.feed_log("lö\n".encode() + b"x\n" * 300)
    lines = client.log.splitlines()
    assert len(lines) == 200 and lines[-1] == "x"
    client.feed_log(b"caf\xe9\n")
    assert client.log.splitlines()[-1] == "caf\ufffd"


def test_the_log_file_of_a_worker_names_time_level_and_module(tmp_path, images):
    """What a person on another machine sends when something is wrong."""
    file = tmp_path / "worker.log"
    own = Worker("--log-level", "debug", "--log-file", str(file))
    try:
        own.client.load("demo", "demo", "cpu")
        own.client.set_image("brain", images)
        own.wait(own.client.segment("brain", ["brain tumor"], [0]))
        with pytest.raises(InputError):
            own.wait(own.client.predict_mask("nowhere", boxes=np.zeros((1, 4))))
        # Standard error too; it is a pipe of its own, which may be read after the answer.
        own.transport.run_until(lambda: "no images 'nowhere'" in own.client.log, timeout=60)
    finally:
        own.client.shutdown()
    assert own.client.log.count("no images 'nowhere'") == 1
    lines = file.read_text().splitlines()
    form = re.compile(r"\d{4}-\d\d-\d\d [\d:,]+ (DEBUG|INFO|WARNING|ERROR) (MedCLIPSAMLib(?:\.\w+)+): .+")
    assert all(form.fullmatch(line) for line in lines)
    output = {(found[1], found[2], line.partition(": ")[2]) for line in lines if (found := form.fullmatch(line))}
    for level, module, words in (
        ("INFO", "worker.engine", "'device': 'cpu'"),
        ("INFO", "pipeline.segment_volume", "'brain tumor' on 1 of"),
        ("DEBUG", "worker.server", "images (2, "),
        ("WARNING", "worker.server", "no images 'nowhere'"),
    ):
        assert any(record[:2] == (level, f"MedCLIPSAMLib.{module}") and words in record[2] for record in output), words


def test_a_log_file_that_cannot_be_written_is_named(tmp_path):
    own = Worker("--log-file", str(tmp_path / "absent" / "worker.log"))
    with pytest.raises(WorkerError, match="cannot be written"):
        own.wait(own.client.models())


def test_the_worker_tells_of_the_models_and_devices_of_its_machine(worker, tmp_path):
    fields = worker.wait(worker.client.models()).result.fields
    states = {(model["kind"], model["name"]): model["state"] for model in fields["models"]}
    assert states["clip", "demo"] == states["sam", "demo"] == "shipped"
    assert fields["devices"][-1]["name"] == "cpu"
    with pytest.raises(ModelError, match="does not exist"):
        worker.wait(worker.client.models(tmp_path / "nowhere"))


def test_a_download_that_makes_no_sense_is_refused(worker):
    with pytest.raises(ModelError, match="comes with the program"):
        worker.wait(worker.client.download("demo", "clip"))
    with pytest.raises(ModelError, match="no model"):
        worker.wait(worker.client.download("no-such-model"))
