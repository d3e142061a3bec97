"""Corrections of pseudo-labels as trusted labels."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from helpers.weak import command, write_dataset

from MedCLIPSAMLib.errors import InputError, OutputError
from MedCLIPSAMLib.export.cases import find_cases
from MedCLIPSAMLib.export.engines import LocalEngine
from MedCLIPSAMLib.export.export import export
from MedCLIPSAMLib.export.manifest import read_records
from MedCLIPSAMLib.export.strike import strike
from MedCLIPSAMLib.files.claim import lock_folder
from MedCLIPSAMLib.nnunet.raw_dataset import read_dataset
from MedCLIPSAMLib.nnunet.trust import trust, trust_file, trusted_cases
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.segmentation.segmenter import load_segmenter
from MedCLIPSAMLib.volumes import Segment, read_segmentation, read_volume, write_segmentation


@pytest.fixture
def exported(tmp_path):
    """A dataset of two heads by the export."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(2):
        image = make_phantom("validation", number, "MR", 1).image
        sitk.WriteImage(sitk.GetImageFromArray(image), str(folder / f"{number}.png"))
    out = tmp_path / "Dataset003_Heads"
    cases = find_cases(folder, {"tumor": "brain tumor"})
    engine = LocalEngine(load_segmenter("demo", "demo", "cpu"))
    assert export(cases, engine, out) == {"found": 2}
    return out, cases, engine


def test_a_correction_becomes_a_trusted_label_and_the_guess_is_kept(exported, monkeypatch, capsys):
    out, cases, engine = exported
    guess = (out / "labelsTr" / "0.nii.gz").read_bytes()
    volume = read_volume(out / "imagesTr" / "0_0000.nii.gz")
    mask = np.zeros(volume.shape, bool)
    mask[0, 20:40, 50:70] = True
    assert trust(out, "0", {"tumor": mask}, volume) == 1 and trusted_cases(out) == {"0"}
    written = sitk.ReadImage(str(out / "labelsTr" / "0.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(written) == 1, mask)
    assert (out / "replaced" / "0.nii.gz").read_bytes() == guess
    assert export(cases, engine, out, retry=True) == {"found": 2}  # no export does it again
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(out / "labelsTr" / "0.nii.gz"))) == 1, mask)
    record = read_records(out)["0"]
    assert record["trusted"] and record["labels"]["tumor"]["prompt"] == "brain tumor"

    # By the command, of a case that was struck out: it comes back.
    strike(out, ["1"])
    corrected = out.parent / "mine.seg.nrrd"
    write_segmentation(corrected, [Segment("tumor", mask)], read_volume(cases[1].image))
    assert command(monkeypatch, capsys, "weak", "trust", out, "1", corrected, "--image", cases[1].image) == 0
    assert trusted_cases(out) == {"0", "1"} and read_dataset(out).cases == ("0", "1")
    assert json.loads((out / "dataset.json").read_text())["numTraining"] == 2
    assert strike(out, []) == (0, 0)  # and no strike brings the old label back
    assert np.array_equal(read_segmentation(out / "labelsTr" / "1.nii.gz")[0].mask, mask)

    # A case that the export could not do is whole now, and nothing says any more that it failed.
    failed = {"case": "2", "image": "2.png", "status": "failed", "labels": {}, "files": []}
    with (out / "manifest.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(failed | {"problem": "It is broken.", "remedy": "Mend it."}) + "\n")
    assert trust(out, "2", {"tumor": mask}, volume) == 3
    assert not {"problem", "remedy"} & read_records(out)["2"].keys()


def test_a_correction_that_does_not_fit_changes_nothing(exported, tmp_path):
    out, *_ = exported
    volume = read_volume(out / "imagesTr" / "0_0000.nii.gz")
    mask = np.ones(volume.shape, bool)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="no label 'liver'"):
        trust(out, "0", {"liver": mask}, volume)
    moved = sitk.Image(volume.to_sitk())
    moved.SetOrigin((5.0, 0.0, 0.0))
    sitk.WriteImage(moved, str(tmp_path / "moved.nii.gz"))
    with pytest.raises(InputError, match="another grid"):
        trust(out, "0", {"tumor": mask}, read_volume(tmp_path / "moved.nii.gz"))
    with pytest.raises(InputError, match="no name for a case"):
        trust(out, "../outside", {"tumor": mask}, volume)
    with pytest.raises(InputError, match="--image"):
        trust_file(out, "unknown", out / "labelsTr" / "0.nii.gz")
    with pytest.raises(InputError, match="medclipsam export"):
        trust(write_dataset(tmp_path / "Dataset004_Other", 1), "ct00", {"lungs": mask}, volume)
    lock = lock_folder(out)
    with pytest.raises(OutputError, match="Another run"):
        trust(out, "0", {"tumor": mask}, volume)
    lock.close()
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
