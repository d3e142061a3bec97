"""Pseudo-labels that the trained network disagrees with, listed to be struck out."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from MedCLIPSAMLib.errors import Cancelled, InputError
from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.export.cases import find_cases
from MedCLIPSAMLib.export.engines import LocalEngine
from MedCLIPSAMLib.export.export import export
from MedCLIPSAMLib.export.manifest import read_records
from MedCLIPSAMLib.export.strike import strike
from MedCLIPSAMLib.nnunet.disagreement import choose_struck, lowest, measure_agreement
from MedCLIPSAMLib.nnunet.predict import find_images, predict
from MedCLIPSAMLib.nnunet.raw_dataset import check_voxels, read_dataset
from MedCLIPSAMLib.nnunet.trust import trust
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.run_context import RunContext
from MedCLIPSAMLib.volumes import read_volume

COUNT = 4


def network(dataset):
    """In place of an ensemble: case n is predicted as its label less n of 4 equal parts of it."""

    def made(volume, context=None):
        case = volume.path.name.removesuffix("_0000.nii.gz")
        label = sitk.GetArrayFromImage(sitk.ReadImage(str(dataset / "labelsTr" / f"{case}.nii.gz"))).astype(bool)
        voxels = np.flatnonzero(label)
        label.flat[voxels[: int(case) * len(voxels) // COUNT]] = False
        labels = label.astype(np.uint8)
        return SimpleNamespace(labels=labels, probabilities=np.stack([1 - labels, labels]).astype(np.float32))

    return SimpleNamespace(name="network 1", labels={1: "tumor"}, predict=made, device="cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory, segmenter):
    """A folder of an exported dataset of heads, and the predictions of them."""
    folder = tmp_path_factory.mktemp("disagree")
    (folder / "images").mkdir()
    for number in range(COUNT):
        image = make_phantom("validation", number, "MR", 1).image
        sitk.WriteImage(sitk.GetImageFromArray(image), str(folder / "images" / f"{number}.png"))
    dataset = folder / "Dataset003_Heads"
    assert export(find_cases(folder / "images", {"tumor": "brain tumor"}), LocalEngine(segmenter), dataset) == {
        "found": COUNT
    }
    images, own = find_images(dataset)
    predict(images, network(dataset), folder / "predictions", own)
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A copy, to be changed."""
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def struck(path):
    return path.read_text(encoding="utf-8").split()


def test_what_the_network_disagrees_with_is_listed_struck_and_trained_without(folder, run):
    dataset, predictions, out = folder / "Dataset003_Heads", folder / "predictions", folder / "struck.txt"
    words = "weak", "disagree", predictions, dataset, "-o", out
    made = json.loads(run(*words, "--share", 0.5, "--csv", folder / "table.csv", "--json")[1])
    expected = {f"{n}": 2 * (1 - n / COUNT) / (2 - n / COUNT) for n in range(COUNT)}
    assert {about["case"]: about["dsc"] for about in made["cases"]} == pytest.approx(expected, abs=0.02)
    assert made["struck"] == ["3", "2"] == struck(out) and made["struck_before"] == []
    rows = [line.split(",") for line in (folder / "table.csv").read_text().splitlines()]
    assert rows[0] == ["case", "dsc", "struck", "trusted", "tumor"]
    assert [row[0] for row in rows[1:]] == ["3", "2", "1", "0"] and [row[2] for row in rows[1:]] == list("1100")
    assert float(rows[1][1]) == float(rows[1][4]) == pytest.approx(0.4, abs=0.02)

    assert run("strike", dataset, out)[0] == 0
    assert read_dataset(dataset).cases == ("0", "1")
    # A second list keeps what was struck out before, which the same command would put back.
    again = run(*words, "--below", 0.9, "--overwrite", "--json")[1]
    assert json.loads(again)["struck_before"] == ["2", "3"]
    assert struck(out) == ["1", "2", "3"]
    strike(dataset, struck(out))
    assert read_dataset(dataset).cases == ("0",)


def test_a_label_that_a_person_set_is_never_listed(folder):
    dataset = folder / "Dataset003_Heads"
    volume = read_volume(dataset / "imagesTr" / "3_0000.nii.gz")
    trust(dataset, "3", {"tumor": np.ones(volume.shape, bool)}, volume)
    agreements = measure_agreement(folder / "predictions", dataset)
    assert [about.case for about in agreements if about.trusted] == ["3"]
    assert choose_struck(agreements, share=0.34) == ["2"] and choose_struck(agreements, below=1) == ["2", "1"]
    assert choose_struck(agreements, share=1) == ["2", "1", "0"]  # the trusted one is left to train on


def test_a_case_counts_the_labels_that_either_has(folder):
    dataset = folder / "Dataset003_Heads"
    about = json.loads((dataset / "dataset.json").read_text())
    (dataset / "dataset.json").write_text(json.dumps(about | {"labels": {"background": 0, "tumor": 1, "cyst": 2}}))
    request = json.loads((folder / "predictions" / "export.json").read_text())
    (folder / "predictions" / "export.json").write_text(json.dumps(request | {"labels": ["tumor", "cyst"]}))
    label = dataset / "labelsTr" / "0.nii.gz"
    image = sitk.ReadImage(str(label))
    array = sitk.GetArrayFromImage(image)
    predicted, array[0, :2, :] = array == 1, 2
    changed = sitk.GetImageFromArray(array)
    changed.CopyInformation(image)
    sitk.WriteImage(changed, str(label))
    first, second, *_ = measure_agreement(folder / "predictions", dataset)
    assert first.labels == {"tumor": dsc(predicted, array == 1), "cyst": 0} and first.dsc == first.labels["tumor"] / 2
    assert second.labels.keys() == {"tumor"}


def test_what_labels_ignore_counts_on_neither_side(folder):
    """nnU-Net learns nothing there: of case 3 the mask has the label's last quarter, of which half is ignored too."""
    dataset = folder / "Dataset003_Heads"
    about = json.loads((dataset / "dataset.json").read_text())
    (dataset / "dataset.json").write_text(json.dumps(about | {"labels": {"background": 0, "tumor": 1, "ignore": 2}}))
    label = dataset / "labelsTr" / "3.nii.gz"
    image = sitk.ReadImage(str(label))
    array = sitk.GetArrayFromImage(image)
    voxels = np.flatnonzero(array)
    array.flat[voxels[: 7 * len(voxels) // 8]] = 2
    changed = sitk.GetImageFromArray(array)
    changed.CopyInformation(image)
    sitk.WriteImage(changed, str(label))
    check_voxels(read_dataset(dataset))
    *_, last = measure_agreement(folder / "predictions", dataset)
    assert (last.case, last.labels) == ("3", {"tumor": 1.0})


def unread(folder):
    (folder / "predictions" / "2.seg.nrrd").write_bytes(b"no more")


def lacking(folder):
    manifest = folder / "predictions" / "manifest.jsonl"
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:-1]))


def failed(folder):
    line = json.dumps(read_records(folder / "predictions")["2"] | {"status": "failed", "files": []})
    with (folder / "predictions" / "manifest.jsonl").open("a") as file:
        file.write(line + "\n")


def of_another(folder):
    (folder / "Dataset003_Heads").rename(folder / "Dataset004_Others")
    (folder / "Dataset003_Heads").mkdir()


def other_labels(folder):
    request = json.loads((folder / "predictions" / "export.json").read_text())
    (folder / "predictions" / "export.json").write_text(json.dumps(request | {"labels": ["liver"]}))


def one_more(folder):
    for part in ("imagesTr/3_0000.nii.gz", "labelsTr/3.nii.gz"):
        (folder / "Dataset003_Heads" / part).unlink()


def other_grid(folder):
    label = folder / "Dataset003_Heads" / "labelsTr" / "1.nii.gz"
    sitk.WriteImage(sitk.Shrink(sitk.ReadImage(str(label)), [2, 2, 1]), str(label))


@pytest.mark.parametrize(
    ("change", "output"),
    [
        (unread, "2.seg.nrrd"),
        (lacking, "1 of 4 cases .* no prediction .* such as '3'.*it resumes"),
        (failed, "1 of 4 cases .* no prediction .* such as '2'"),
        (of_another, "Dataset003_Heads', not of .*Dataset004_Others"),
        (other_labels, "labels .*liver.*tumor"),
        (one_more, "1 case not of 'Dataset003_Heads', such as '3'"),
        (other_grid, "'1' lie on different grids"),
        (lambda folder: shutil.rmtree(folder / "predictions"), "holds no predictions"),
    ],
)
def test_predictions_that_do_not_fit_the_dataset_are_refused(folder, change, output):
    change(folder)
    (dataset,) = (path.parent for path in folder.glob("*/dataset.json"))
    with pytest.raises(InputError, match=output):
        measure_agreement(folder / "predictions", dataset)


def test_nothing_that_is_listed_is_nothing_to_take_out(made, tmp_path, run):
    words = "weak", "disagree", made / "predictions", made / "Dataset003_Heads", "-o", tmp_path / "struck.txt"
    code, out, _ = run(*words, "--below", "0.01")
    assert code == 0 and "listed: 0" in out and "strike" not in out
    code, out, _ = run(*words, "--below", "0.99", "--overwrite")
    assert code == 0 and "medclipsam strike" in out


def test_what_cannot_be_listed_is_refused_and_nothing_is_written(made, tmp_path, run):
    words = "weak", "disagree", made / "predictions", made / "Dataset003_Heads", "--json", "-o"
    for options, output in (
        (("--share", 1), "All cases (4)"),
        (("--below", 1.5), "Expected a DSC from 0 to 1, got 1.5"),
        (("--share", "nan"), "Expected a share from 0 to 1, got nan"),
        (("--share", 0.2, "--below", 0.5), "both"),
    ):
        status, _, error = run(*words, tmp_path / "struck.txt", *options)
        assert status == 2 and output in error
    status, _, error = run(*words, made / "Dataset003_Heads" / "struck.txt")
    assert status == 2 and "outside of the dataset" in error
    assert not list(tmp_path.iterdir()) and not (made / "Dataset003_Heads" / "struck.txt").exists()
    with pytest.raises(Cancelled):
        measure_agreement(made / "predictions", made / "Dataset003_Heads", RunContext(is_cancelled=lambda: True))


def test_of_equal_cases_the_first_by_name_comes_first_and_shares_are_whole_cases():
    scores = {"b": 0.5, "a": 0.5, "c": 0.1, "d": 0.9}
    assert lowest(scores, 0.5) == ["c", "a"] and lowest(scores, 0) == [] and lowest({}, 1.0) == []
