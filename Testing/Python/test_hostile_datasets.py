"""A dataset from elsewhere: whatever its files say, nothing outside its folder is touched."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from MedCLIPSAMLib.errors import InputError, MedCLIPSAMError
from MedCLIPSAMLib.export.manifest import MANIFEST, Manifest, read_records
from MedCLIPSAMLib.export.strike import strike
from MedCLIPSAMLib.nnunet.ranking import dataset_of, is_beside, rank_records
from MedCLIPSAMLib.nnunet.trust import trust, trust_file
from MedCLIPSAMLib.volumes import read_volume

REQUEST = {"export": {"form": "nnunet"}, "labels": ["tumor"]}
FILES = ["imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"]
RECORD = {"case": "a", "image": "a.png", "status": "found", "labels": {}, "files": FILES}


@pytest.fixture()
def dataset(tmp_path):
    """An export of one case, and beside it what is somebody else's."""
    folder = tmp_path / "Dataset101_Head"
    image = sitk.GetImageFromArray(np.ones((1, 4, 4), np.uint8))
    for file in FILES:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image, str(folder / file))
    about = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "tumor": 1}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(about))
    (folder / "export.json").write_text(json.dumps(REQUEST))
    (folder / MANIFEST).write_text(json.dumps(RECORD) + "\n")
    (tmp_path / "victim" / "struck").mkdir(parents=True)
    for name in ("x", "x.nii.gz", "struck/x.nii.gz"):
        (tmp_path / "victim" / name).write_text(name)
    return folder


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def write(dataset, **changes):
    (dataset / MANIFEST).write_text(json.dumps(RECORD | changes) + "\n")


def label(**changes):
    return {"labels": {"tumor": {"status": "found", "unit": "ml", "score": 1, "size": 1} | changes}}


HOSTILE = {
    "a file above": {"files": ["../victim/x.nii.gz"]},
    "a file of the root": {"files": ["/etc/passwd"]},
    "a file above by a folder of its own": {"files": ["imagesTr/../../victim/x.nii.gz"]},
    "a file of Windows above": {"files": ["..\\victim\\x.nii.gz"]},
    "the manifest": {"files": ["manifest.jsonl"]},
    "the request": {"case": "export", "files": ["export.json"]},
    "a file of another case": {"files": ["imagesTr/b_0000.nii.gz"]},
    "a case above": {"case": "../victim/x", "files": ["../victim/x.nii.gz"]},
    "no text": {"files": [1]},
    "no list": {"files": "imagesTr/a_0000.nii.gz"},
    "no files": {"files": None},
    "no labels": {"labels": None},
    "no label": {"labels": {"tumor": 1}},
    "an expected DSC in words": label(expected_dsc="high"),
    "no score": label(score="high"),
    "notes that are a number": {"notes": 7},
    "notes that are no sentences": {"notes": [7]},
    "prompts in a list": {"prompts": ["a tumor"]},
    "a prompt in a list": {"prompts": {"tumor": ["a tumor"]}},
    "a prompt of a label in a list": label(prompt=["a tumor"]),
    "a negative prompt in a list": {"negative": []},
    "a modality in an object": {"modality": {"CT": 1}},
    "a source in words": {"source": "a.png"},
    "a checksum in a list": {"source": {"sha256": [1]}},
    "a folder in an object": {"folder": {}},
    "a series in a list": {"series": []},
    "an uncertainty in words": {"uncertainty": "high"},
    "no name": {"case": 7},
    "no status": {"status": None},
    "no image": {"image": []},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_records_that_lead_out_or_lack_something_are_refused(dataset, what):
    write(dataset, **HOSTILE[what])
    before = contents(dataset.parent)
    case = HOSTILE[what].get("case", "a")
    for read in (
        lambda: strike(dataset, [str(case)]),
        lambda: trust_file(dataset, "a", dataset / "labelsTr" / "a.nii.gz"),
        lambda: read_records(dataset),
        lambda: rank_records(dataset),
        lambda: Manifest(dataset, REQUEST),
    ):
        with pytest.raises(InputError, match="Line 1 of"):
            read()
    assert contents(dataset.parent) == before


@pytest.mark.parametrize(
    "line",
    ["[" * 100_000, '{"case": ' * 50_000, "7", "[]", '{"case": "a", "case": "b"}', '{"case": 1e999}', "{}"],
    ids=["deep", "deep objects", "a number", "a list", "a key twice", "a number too large", "nothing"],
)
def test_lines_that_are_no_records_are_refused_with_a_message(dataset, line, run):
    (dataset / MANIFEST).write_text(line + "\n")
    (dataset.parent / "struck.txt").write_text("a\n")
    code, _, err = run("strike", dataset, dataset.parent / "struck.txt")
    assert code == 2 and "Line 1 of" in err and len(err.splitlines()) == 2


@pytest.mark.parametrize("name", ["struck", "imagesTr", "labelsTr", "report", "replaced", "manifest.jsonl", ".lock"])
def test_parts_of_a_dataset_that_lie_elsewhere_are_refused(dataset, name):
    if (dataset / name).exists():
        (dataset / name).rename(dataset.parent / "moved")
        (dataset / name).symlink_to(dataset.parent / "moved")
    else:
        (dataset / name).symlink_to(dataset.parent / "victim")
    before = contents(dataset.parent)
    for change in (
        lambda: strike(dataset, ["a"]),
        lambda: trust_file(dataset, "a", dataset / "labelsTr" / "a.nii.gz"),
        lambda: Manifest(dataset, REQUEST),
    ):
        with pytest.raises(InputError, match="link to another place"):
            change()
    assert contents(dataset.parent) == before


@pytest.mark.parametrize(
    "named",
    ["/etc", "..", "../victim", "../Dataset7_link", "../loop", "a\0b", "x" * 5000, 7, ["../victim"], {"a": 1}],
    ids=lambda named: str(named)[:20].replace("\0", "0"),
)
def test_predictions_cannot_name_anything_but_a_dataset_to_write_into(dataset, named):
    predictions = dataset.parent / "predictions"
    predictions.mkdir()
    (predictions / "export.json").write_text(json.dumps({"model": "", "dataset": named}))
    (dataset.parent / "Dataset7_link").symlink_to(dataset.parent / "victim")
    (dataset.parent / "loop").symlink_to(dataset.parent / "loop")
    volume = read_volume(dataset / "imagesTr" / "a_0000.nii.gz")
    before = contents(dataset.parent)
    with pytest.raises(InputError):
        trust(dataset_of(predictions), "a", {"tumor": np.ones(volume.shape, bool)}, volume)
    assert contents(dataset.parent) == before


@pytest.mark.parametrize("request_file", [["model"], "model", 7, None])
def test_a_request_that_is_no_object_holds_no_predictions(tmp_path, request_file):
    (tmp_path / "export.json").write_text(json.dumps(request_file), encoding="utf-8")
    with pytest.raises(InputError, match="holds no predictions"):
        dataset_of(tmp_path)


def test_a_dataset_is_beside_predictions_where_it_lies_and_not_where_a_link_to_it_lies(dataset):
    for folder in (dataset.parent / "predictions", dataset / "predictions", dataset.parent / "away" / "predictions"):
        folder.mkdir(parents=True)
    away = dataset.parent / "away"
    (away / dataset.name).symlink_to(dataset)
    name = lambda folder, named: (folder / "export.json").write_text(json.dumps({"model": "", "dataset": named}))
    for folder, named, beside in (
        (dataset.parent / "predictions", f"../{dataset.name}", True),
        (dataset.parent / "predictions", str(dataset), True),
        (dataset / "predictions", "..", True),
        (away / "predictions", f"../{dataset.name}", False),
        (away / "predictions", f"../../{dataset.name}", False),
    ):
        name(folder, named)
        assert dataset_of(folder) == dataset.resolve() and is_beside(dataset_of(folder), folder) == beside


@pytest.mark.parametrize("ending", ["/../../../victim/x.nii.gz", "/etc/passwd", "", ".nii/../x"])
def test_the_ending_of_files_does_not_lead_out(dataset, ending):
    about = json.loads((dataset / "dataset.json").read_text()) | {"file_ending": ending}
    (dataset / "dataset.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match="not a suffix of a file"):
        trust_file(dataset, "a", dataset / "labelsTr" / "a.nii.gz")


@pytest.mark.parametrize("name", ["export.json", "dataset.json"])
@pytest.mark.parametrize("content", ["[" * 100_000, "{}", "[]", '{"labels": 1e999}', "\ud800", ""], ids=range(6))
def test_descriptions_that_are_something_else_are_refused(dataset, name, content):
    (dataset / name).write_text(content, encoding="utf-8", errors="surrogatepass")
    before = contents(dataset.parent)
    with pytest.raises(MedCLIPSAMError):
        trust_file(dataset, "a", dataset / "labelsTr" / "a.nii.gz")
    if name == "export.json":
        with pytest.raises(InputError, match="holds no export"):
            strike(dataset, ["a"])
        with pytest.raises(InputError, match="holds no predictions"):
            dataset_of(dataset)
    assert contents(dataset.parent) == before


def test_a_whole_dataset_is_struck_and_put_back_and_a_half_line_left_out(dataset):
    with open(dataset / MANIFEST, "a", encoding="utf-8") as file:
        file.write('{"case": "b", "labels": {"x": {"status": "found"}')
    assert strike(dataset, ["a"]) == (1, 0) and (dataset / "struck" / FILES[0]).is_file()
    assert strike(dataset, []) == (0, 1) and (dataset / FILES[1]).is_file()


@pytest.mark.parametrize("name", ["a_0000", "a_uncertainty", "a.nii", "a b é\u2028"])
def test_every_case_that_is_written_can_be_read(tmp_path, name):
    manifest = Manifest(tmp_path / "out", REQUEST)
    files = [f"imagesTr/{name}_0000.nii.gz", f"labelsTr/{name}.nii.gz", f"{name}.seg.nrrd"]
    record = RECORD | {"case": name, "files": [*files, f"{name}_uncertainty.nii.gz"], "image": "caf\udce9.png"}
    manifest.write(record)
    manifest.close()
    assert read_records(tmp_path / "out") == {name: record}


DEEP = "[" * 100_000


def test_deep_json_of_any_kind_is_an_error_with_a_message(tmp_path):
    from MedCLIPSAMLib.experiments.paper import read_prompts
    from MedCLIPSAMLib.finetune.captions import read_captions
    from MedCLIPSAMLib.nnunet.raw_dataset import read_dataset

    folder = tmp_path / "Dataset101_Head"
    folder.mkdir()
    for name in ("a.json", "a.jsonl", "Dataset101_Head/dataset.json"):
        (tmp_path / name).write_text(DEEP)
    for read in (
        lambda: read_prompts(tmp_path / "a.json", None),
        lambda: read_captions(tmp_path / "a.json"),
        lambda: read_captions(tmp_path / "a.jsonl"),
        lambda: read_dataset(folder),
    ):
        with pytest.raises(InputError, match="deep"):
            read()
