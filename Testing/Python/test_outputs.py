"""No command writes to its input, to another of its outputs, or over a file that it did not make."""

import os
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_made import save, slice_at
from PIL import Image
from pydicom.fileset import FileSet

from MedCLIPSAMLib.demo_models.train import _time_training
from MedCLIPSAMLib.demo_models.train_clip import train_clip
from MedCLIPSAMLib.errors import OutputError
from MedCLIPSAMLib.files.outputs import check_outputs, claim_outputs
from MedCLIPSAMLib.resources import resource_path


@pytest.fixture()
def run(run):
    """Run the command line in this process: (exit code, error output)."""
    return lambda *arguments: run(*arguments)[::2]


@pytest.fixture()
def scan(tmp_path):
    path = tmp_path / "scan.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(3 * 20 * 20, dtype=np.int16).reshape(3, 20, 20)), str(path))
    return path


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


WAYS_TO_THE_INPUT = {
    "its name": lambda scan: scan,
    "another way to it": lambda scan: scan.parent / "sub" / ".." / scan.name,
    "a symbolic link": lambda scan: _linked(os.symlink, scan),
    "a hard link": lambda scan: _linked(os.link, scan),
    "a linked folder": lambda scan: _linked(os.symlink, scan.parent) / scan.name,
}


def _linked(link, target):
    folder = target if target.is_dir() else target.parent
    path = folder / "sub" / "link.nii.gz"
    link(target, path)
    return path


@pytest.mark.parametrize("option", ["-o", "--saliency"])
@pytest.mark.parametrize("way", WAYS_TO_THE_INPUT)
def test_segment_never_writes_to_its_input(run, scan, way, option):
    (scan.parent / "sub").mkdir()
    output = WAYS_TO_THE_INPUT[way](scan)
    before = contents(scan.parent)
    options = [option, output] if option == "-o" else ["-o", scan.parent / "new.seg.nrrd", option, output]
    # The model is unknown: the refusal comes before models are loaded, and --overwrite changes nothing.
    for more in ([], ["--overwrite"]):
        code, message = run("segment", scan, "-p", "brain", "--model", "none", *options, *more)
        assert code == 2 and "never written to" in message and len(message.splitlines()) == 2
    assert contents(scan.parent) == before


def test_segment_never_writes_to_an_image_that_it_reads_or_to_a_slice_of_its_series(run, tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    before = contents(tmp_path)
    for options in (["-o", tmp_path / "a.png"], ["-o", tmp_path / "m.nrrd", "--overlay", tmp_path / "a.png"]):
        code, message = run("segment", tmp_path / "a.png", "-p", "x", "--model", "none", "--overwrite", *options)
        assert code == 2 and "never written to" in message
    code, message = run("segment", tmp_path, "-p", "x", "--model", "none", "--overwrite", "-o", tmp_path / "a.png")
    assert code == 2 and "never written to" in message
    assert contents(tmp_path) == before


def test_segment_never_writes_to_an_image_of_a_dicomdir(run, tmp_path):
    made = FileSet()
    for n in range(2):
        made.add(save(slice_at((0, 0, n), n, PatientName="x", StudyID="1", StudyTime="12"), tmp_path / f"{n}.dcm"))
    made.write(tmp_path / "disc")
    slices = [path for path in (tmp_path / "disc").rglob("*") if path.is_file() and path.name != "DICOMDIR"]
    slices[0].rename(slices[0].with_suffix(".dcm"))
    before = contents(tmp_path)
    asked = ("-p", "x", "-o", slices[0].with_suffix(".dcm"), "--overwrite")
    code, err = run("segment", tmp_path / "disc" / "DICOMDIR", *asked)
    assert code == 2 and "belongs to the input" in err, err
    assert contents(tmp_path) == before


def test_two_outputs_are_two_files(run, scan):
    out = scan.parent / "out.nii.gz"
    for options in (["--saliency", out], ["--saliency", scan.parent / "." / "out.nii.gz"]):
        code, message = run("segment", scan, "-p", "x", "--model", "none", "-o", out, *options)
        assert code == 2 and "same file" in message and not out.exists()


@pytest.mark.parametrize("option", ["-o", "--saliency"])
def test_a_file_that_is_there_is_replaced_with_overwrite_only(run, scan, option):
    there = scan.parent / "there.nii.gz"
    there.write_bytes(b"somebody's")
    options = ["-o", there] if option == "-o" else ["-o", scan.parent / "new.nii.gz", option, there]
    code, message = run("segment", scan, "-p", "x", "--model", "none", *options)
    assert code == 2 and "already exists" in message and "--overwrite" in message
    code, message = run("segment", scan, "-p", "x", "--model", "none", *options, "--overwrite")
    assert code == 2 and "'none'" in message  # it came as far as the model
    assert there.read_bytes() == b"somebody's"


def test_the_voxels_of_a_detached_header_are_an_input(tmp_path):
    header, voxels = tmp_path / "scan.nhdr", tmp_path / "scan.nii.gz"
    header.write_text("NRRD0004\ntype: short\ndata file: scan.nii.gz\n")
    voxels.write_bytes(b"voxels")
    with pytest.raises(OutputError, match="never written to"):
        check_outputs([header], [voxels], overwrite=True)
    other = tmp_path / "other.nii.gz"
    other.write_bytes(b"")
    check_outputs([header], [other], overwrite=True)


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "{0}", "{0}", "--csv"],
        ["compare", "{0}/a.csv", "{0}/a.csv", "--plot"],
        ["reproduce", "finetune", "--json"],
        ["reproduce", "weak", "--json"],
        ["benchmark", "phantoms", "--json"],
        ["benchmark", "volumes", "--json"],
        ["benchmark", "speed", "--json"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_every_command_leaves_a_file_that_is_there(run, tmp_path, command):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("case,segment,dsc,nsd,hd95\n")
    there = tmp_path / "there.png"
    there.write_bytes(b"somebody's")
    code, message = run(*(part.format(tmp_path / "in") for part in command), there)
    assert code == 2 and "already exists" in message and there.read_bytes() == b"somebody's"


def test_scores_are_not_written_among_the_masks_that_they_are_of(run, tmp_path):
    (tmp_path / "pred").mkdir()
    (tmp_path / "pred" / "a.csv").write_bytes(b"somebody's")
    code, message = run("evaluate", tmp_path / "pred", tmp_path, "--csv", tmp_path / "pred" / "a.csv", "--overwrite")
    assert code == 2 and "never written to" in message and (tmp_path / "pred" / "a.csv").read_bytes() == b"somebody's"


@pytest.mark.parametrize(
    "command",
    [
        ["demo", "-o"],
        ["phantoms", "make", "--count", "1", "-o"],
        ["reproduce", "weak", "--work"],
        ["demo-models", "train", "-o"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_folders_of_outputs_are_new_or_made_by_the_same_command(run, tmp_path, command):
    (tmp_path / "demo-clip").mkdir()
    (tmp_path / "demo-clip" / "precious.txt").write_text("somebody's")
    before = contents(tmp_path)
    code, message = run(*command, tmp_path)
    assert code == 2 and ("not empty" in message or "already exists" in message)
    assert contents(tmp_path) == before


def test_a_training_that_fails_leaves_the_demo_model_as_it_was(run, tmp_path, monkeypatch):
    code, message = run("demo-models", "train", "--no-sam")
    assert code == 2 and "demo-clip' already exists" in message
    shutil.copytree(resource_path("models") / "demo-clip", tmp_path / "demo-clip")
    before = contents(tmp_path)
    monkeypatch.setattr("MedCLIPSAMLib.demo_models.train_clip.make_many", lambda *_: 1 / 0)  # after the vocabulary
    with pytest.raises(ZeroDivisionError):
        _time_training("clip", train_clip, tmp_path)
    assert contents(tmp_path) == before


def test_a_folder_is_taken_again_by_the_command_that_made_it_and_by_no_other(tmp_path):
    claim_outputs(tmp_path / "out", "demo").close()
    claim_outputs(tmp_path / "out", "demo").close()
    with pytest.raises(OutputError, match="holds results of 'medclipsam demo'"):
        claim_outputs(tmp_path / "out", "phantoms make")
