"""Predictions of many images: which are made again, and what keeps off a folder of them, with a network by hand."""

from __future__ import annotations

import errno
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from MedCLIPSAMLib.errors import DeviceError, InputError, OutputError, from_system
from MedCLIPSAMLib.export.cases import Case
from MedCLIPSAMLib.export.manifest import read_records
from MedCLIPSAMLib.nnunet.predict import find_images
from MedCLIPSAMLib.nnunet.predict import predict as predict_images
from MedCLIPSAMLib.volumes import read_segmentation


class Network:
    """In place of an ensemble: what is bright is the tumor. `done` are the images that it was given."""

    labels, device = {1: "tumor"}, "cpu"

    def __init__(self, name="network 1"):
        self.name, self.done = name, []

    def predict(self, volume, context=None):
        self.done.append(volume.name)
        labels = (volume.array > 100).astype(np.uint8)
        return SimpleNamespace(labels=labels, probabilities=np.stack([1 - labels, labels]).astype(np.float32))


def picture(path, columns):
    path.parent.mkdir(exist_ok=True)
    pixels = np.zeros((12, 12), np.uint8)
    pixels[:, :columns] = 200
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
    """Images a and b, 2 and 3 columns of which are bright."""
    for number, name in enumerate("ab", 2):
        picture(tmp_path / "in" / f"{name}.png", number)
    return tmp_path / "in"


def predict(folder, out):
    """The images that the network was given."""
    network = Network()
    predict_images(find_images(folder)[0], network, out)
    return network.done


def columns(out, case):
    (segment,) = read_segmentation(out / f"{case}.seg.nrrd")
    return segment.mask.sum() // 12


def test_an_image_that_was_exchanged_or_failed_is_predicted_again_and_no_other(folder, tmp_path):
    out = tmp_path / "out"
    assert predict(folder, out) == ["a", "b"] and predict(folder, out) == []
    picture(folder / "b.png", 5)
    assert predict(folder, out) == ["b"] and (columns(out, "a"), columns(out, "b")) == (2, 5)
    (folder / "b.png").write_bytes(b"no image")
    assert predict(folder, out) == [] and read_records(out)["b"]["status"] == "failed"
    assert not list(out.glob("b*.*")), "no mask of an image that is not there any more"
    picture(folder / "b.png", 6)
    assert predict(folder, out) == ["b"] and columns(out, "b") == 6


def test_an_image_of_another_folder_is_not_taken_for_the_one_of_its_name(folder, tmp_path):
    out = tmp_path / "out"
    predict(folder, out)
    picture(tmp_path / "more" / "b.png", 7)
    with pytest.raises(InputError, match="a case 'b' of another image, 'b.png'"):
        predict(tmp_path / "more", out)
    assert columns(out, "b") == 3
    picture(folder / "b_0000.png", 7)
    with pytest.raises(InputError, match="b.png' and .*b_0000.png' both have the name 'b'"):
        predict(folder, out)


def test_the_command_says_which_images_failed_and_why(folder, tmp_path, run, monkeypatch):
    monkeypatch.setattr("MedCLIPSAMLib.nnunet.ensemble.Ensemble", lambda *_, **__: Network())
    ask = ("weak", "predict", tmp_path, folder, "-o", tmp_path / "out")
    code, text, err = run(*ask)
    assert code == 0 and "2 images predicted, 0 failed. Least certain:\n  a: 0.000" in text, err
    for name in "ab":
        (folder / f"{name}.png").write_bytes(b"no image")
    code, text, err = run(*ask)
    assert code == 1 and "0 images predicted, 2 failed.\n" in text and "failed: a: 'a.png' has no known" in err


def test_where_the_memory_of_a_gpu_is_full_the_run_ends_and_on_the_cpu_the_other_images_go_on(folder, tmp_path):
    class Full(Network):
        def predict(self, volume, context=None):
            if volume.name == "a":
                raise RuntimeError(self.words)
            return super().predict(volume, context)

    images, network = find_images(folder)[0], Full()
    network.device, network.words = "mps", "MPS backend out of memory (MPS allocated: 8.00 GiB, max allowed: 9.07 GiB)."
    with pytest.raises(DeviceError, match="memory of mps is too small for 'a'"):
        predict_images(images, network, tmp_path / "mps")
    network.device, network.words = "cpu", "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."
    records = {record["case"]: record["status"] for record in predict_images(images, network, tmp_path / "cpu")}
    assert records == {"a": "failed", "b": "found"}


def test_a_full_disk_ends_the_run_and_no_image_is_lost_by_it(folder, tmp_path, monkeypatch):
    images, out = [Case("a", folder / "a.png", {})], tmp_path / "out"
    with monkeypatch.context() as patch:

        def full(*_arguments):
            raise from_system(OSError(errno.ENOSPC, "No space left on device")) from OSError(errno.ENOSPC)

        patch.setattr("MedCLIPSAMLib.nnunet.predict.write_segmentation", full)
        with pytest.raises(OutputError, match="No space left"):
            predict_images(images, Network(), out)
    assert read_records(out) == {}
    assert [record["status"] for record in predict_images(images, Network(), out)] == ["found"]
    with pytest.raises(OutputError, match="other model"):  # the other weights' predictions do not mix with these
        predict_images(images, Network("another"), out)
