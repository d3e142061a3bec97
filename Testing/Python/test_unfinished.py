"""The folder of a long run's steps: locked while it runs, and never somebody else's."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedCLIPSAMLib.errors import OutputError
from MedCLIPSAMLib.files.unfinished import discard_unfinished, hold_unfinished
from MedCLIPSAMLib.phantoms.volumes import make_volume
from MedCLIPSAMLib.volumes import Segment, read_segmentation
from MedCLIPSAMLib.volumes.segment import without_overlap


@pytest.fixture()
def head(tmp_path):
    """A head with a tumor, and the slices that it is on."""
    phantom = make_volume("validation", 1, "MR", 1)
    image = sitk.GetImageFromArray(phantom.slices)
    image.SetSpacing((1.4, 1.4, 4.0))
    sitk.WriteImage(image, str(tmp_path / "head.nii.gz"))
    return tmp_path / "head.nii.gz", np.flatnonzero(phantom.lesion_mask.any((1, 2)))


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_folder_of_the_users_in_its_place_is_left_alone(run, head, tmp_path):
    folder = tmp_path / "out.nii.gz.unfinished"
    folder.mkdir()
    (folder / "slice-3.npz").write_text("somebody's")
    before = files(tmp_path)
    command = ("segment", head[0], "-p", "x", "--model", "none", "-o", tmp_path / "out.nii.gz", "--all")
    code, _, output = run(*command)
    assert code == 2 and "holds something else" in output and files(tmp_path) == before
    (folder / "slice-3.npz").unlink()
    folder.rmdir()
    folder.write_text("somebody's")
    code, _, output = run(*command)
    assert code == 2 and "in the way" in output and folder.read_text() == "somebody's"


def test_what_the_user_put_into_a_runs_folder_stays(tmp_path):
    folder = tmp_path / "out.unfinished"
    folder.mkdir()
    for name in ("run.json", "a.npz", "notes.txt"):
        (folder / name).write_text("{}")
    discard_unfinished(folder)
    assert files(folder) == {"notes.txt"}
    with pytest.raises(OutputError, match="something else"):
        discard_unfinished(folder)


def test_a_folder_that_was_removed_during_the_run_hides_no_error_and_keeps_no_lock(tmp_path):
    folder = tmp_path / "out.unfinished"
    opened = lambda: [target for target in map(os.path.realpath, Path("/proc/self/fd").iterdir()) if ".lock" in target]
    with pytest.raises(ValueError, match="of the run"), hold_unfinished(folder):
        shutil.rmtree(folder)
        raise ValueError("of the run")
    assert not opened()


def test_two_runs_for_one_output_keep_off_each_other(run, head, tmp_path):
    folder = tmp_path / "out.nii.gz.unfinished"
    command = ("segment", head[0], "-p", "brain tumor", "-o", tmp_path / "out.nii.gz", "--slices", "3:4")
    with hold_unfinished(folder):
        code, _, output = run(*command)
        assert code == 2 and "Another run is writing" in output
    assert not folder.exists()
    assert run(*command)[0] == 0
    assert files(tmp_path) == {"head.nii.gz", "out.nii.gz"}


def test_a_run_that_is_refused_later_leaves_nothing(run, head, tmp_path):
    command = ("segment", head[0], "-p", "x" * 5000, "-o", tmp_path / "out.nii.gz", "--slices", "3:4")
    assert run(*command)[0] == 2
    assert files(tmp_path) == {"head.nii.gz"}


def test_messages_count_slices_as_the_volume_does(run, head, tmp_path):
    first = int(head[1][len(head[1]) // 2])
    span = f"{first}:{first + 2}"
    code, output, err = run(
        "segment",
        head[0],
        "-p",
        "brain tumor",
        "--slices",
        span,
        "--window",
        "0:255",
        "-o",
        tmp_path / "o.nii.gz",
        "--json",
    )
    assert code == 0, err
    rows = json.loads(output)["results"]
    looked = {row["slice"] for row in rows if row["presence"] is not None}
    named = {int(number) for row in rows for number in re.findall(r"from slice (\d+)", row["message"])}
    assert named and named <= looked <= {first, first + 1, first + 2}


def test_slices_go_into_no_image_and_this_is_said_at_once(run, head, tmp_path):
    code, _, output = run("segment", head[0], "-p", "x", "--model", "none", "-o", tmp_path / "o.png")
    assert code == 2 and "Cannot write 24 slices" in output
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(head[0], folder)
    code, _, output = run("segment", folder, "-p", "x", "--model", "none", "-o", tmp_path / "o", "--format", "png")
    assert code == 2 and "Cannot write 24 slices" in output and not (tmp_path / "o").exists()


def test_in_a_label_map_the_surer_one_has_the_voxel_and_a_note_says_so(run, head, tmp_path):
    command = ("segment", head[0], "-p", "brain tumor", "-p", "brain", "--slice", head[1][len(head[1]) // 2])
    command += ("--window", "0:255", "--presence", "0")
    code, _, output = run(*command, "-o", tmp_path / "o.nii.gz")
    assert code == 0 and "note: " in output and "overlaps" in output and "surer" in output, output
    code, text, output = run(*command, "-o", tmp_path / "o.seg.nrrd", "--json")
    assert code == 0 and "overlaps" not in output + text
    tumor, brain = (segment.mask for segment in read_segmentation(tmp_path / "o.seg.nrrd"))
    scores = [row["score"] for row in json.loads(text)["results"]]
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "o.nii.gz")))
    assert (tumor & brain).any() and set(labels[tumor & brain]) == {1 + int(np.argmax(scores))}
    assert np.array_equal(labels > 0, tumor | brain)


def test_overlaps_by_hand():
    masks = np.zeros((3, 1, 1, 6), bool)
    masks[0, ..., :3] = masks[1, ..., 2:5] = masks[2, ..., 4:] = True
    segments = [Segment(name, mask, tags={"MedCLIPSAM.Score": score}) for name, mask, score in zip("abc", masks, "312")]
    kept, notes = without_overlap(segments)
    assert [segment.name for segment in kept] == ["a", "b", "c"]
    assert [segment.mask.ravel().nonzero()[0].tolist() for segment in kept] == [[0, 1, 2], [3], [4, 5]]
    assert notes == ["'b' overlaps 'a' and 'c': the label map gives 2 of 3 voxels to the surer one."]
    assert without_overlap(segments[::2])[1] == []
