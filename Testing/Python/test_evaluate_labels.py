"""`medclipsam evaluate`: which values and names are the same segment, and files that are no masks."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_made import SC, image, save
from PIL import Image

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.evaluation.folders import evaluate
from MedCLIPSAMLib.evaluation.pairs import pairs_of_files, pairs_of_folders
from MedCLIPSAMLib.volumes import Geometry, Segment, Volume, write_segmentation

FIRST = (slice(0, 1), slice(1, 4), slice(1, 5))
SECOND = (slice(1, 2), slice(5, 8), slice(0, 8))


def labels(path: Path, first: int, second: int, names: dict[str, int] | None = None, beside: str = "labels.json"):
    """Two boxes with those values, and the names of values beside the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.zeros((2, 8, 8), np.uint8)
    voxels[FIRST], voxels[SECOND] = first, second
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path))
    if names is not None:
        content = {"labels": names} if beside == "dataset.json" else names
        (path.parent / beside).write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("beside", ["labels.json", "dataset.json"])
@pytest.mark.parametrize("truth", [{"tumor": 1, "liver": 2}, {"1": "tumor", "2": "liver"}], ids=["nnU-Net", "MSD"])
def test_values_that_both_sides_name_go_by_their_names(tmp_path, beside, truth):
    """The first box is the liver on both sides, with other values."""
    labels(tmp_path / "p" / "a.nii.gz", 1, 2, {"liver": 1, "tumor": 2}, beside)
    labels(tmp_path / "t" / "a.nii.gz", 2, 1, truth, beside)
    found = evaluate(pairs_of_folders(tmp_path / "p", tmp_path / "t"))
    assert {score.segment: score.dsc for score in found.scores} == {"liver": 1.0, "tumor": 1.0}


def test_equal_values_of_other_names_are_other_segments(tmp_path):
    labels(tmp_path / "p" / "a.nii.gz", 1, 2, {"liver": 1, "tumor": 2})
    labels(tmp_path / "t" / "a.nii.gz", 1, 2, {"spleen": 1, "cyst": 2})
    with pytest.raises(InputError, match=r"\('liver', 'tumor'\) and of the truth \('cyst', 'spleen'\)"):
        evaluate(pairs_of_folders(tmp_path / "p", tmp_path / "t"))
    labels(tmp_path / "p" / "a.nii.gz", 1, 0, {"liver": 1, "tumor": 2})
    labels(tmp_path / "t" / "a.nii.gz", 1, 0, {"tumor": 1, "liver": 2})
    with pytest.raises(InputError, match=r"\('liver'\) and of the truth \('tumor'\)"):
        evaluate(pairs_of_folders(tmp_path / "p", tmp_path / "t"))


def test_names_on_one_side_leave_common_values_as_they_are(tmp_path):
    labels(tmp_path / "p" / "a.nii.gz", 1, 2)
    labels(tmp_path / "t" / "a.nii.gz", 1, 2, {"liver": 1, "tumor": 2})
    found = evaluate(pairs_of_folders(tmp_path / "p", tmp_path / "t"))
    assert {score.segment: score.dsc for score in found.scores} == {"1": 1.0, "2": 1.0}


def test_labels_that_differ_in_case_only_are_refused(tmp_path):
    labels(tmp_path / "p" / "a.nii.gz", 1, 2)
    labels(tmp_path / "t" / "a.nii.gz", 1, 2, {"liver": 1, "Liver": 2})
    with pytest.raises(InputError, match="labels.json' differ only in case"):
        evaluate(pairs_of_folders(tmp_path / "p", tmp_path / "t"))


def test_values_that_disagree_are_said_to(run, tmp_path):
    """One case agrees; in the other the truth has 127 and 254 for 1 and 2, and one prediction has no truth."""
    labels(tmp_path / "p" / "a.nii.gz", 1, 0), labels(tmp_path / "t" / "a.nii.gz", 1, 0)
    labels(tmp_path / "p" / "b.nii.gz", 1, 2), labels(tmp_path / "t" / "b.nii.gz", 127, 254)
    labels(tmp_path / "p" / "c.nii.gz", 1, 0)
    code, text, err = run("evaluate", tmp_path / "p", tmp_path / "t")
    assert code == 0, err
    assert "No truth (not scored): c\n" in text and "Segments without truth (not scored): b: 2\n" in text
    assert (
        "The truth has '127', '254', which no prediction has, and the predictions have '2', which no truth has" in err
    )


def segments(path: Path, *names: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    masks = [np.zeros((2, 8, 8), bool), np.zeros((2, 8, 8), bool)]
    masks[0][FIRST], masks[1][SECOND] = True, True
    drawn = [Segment(name, mask) for name, mask in zip(names, masks)]
    write_segmentation(path, drawn, Volume(np.zeros((2, 8, 8), np.int16)))


def test_predictions_of_several_labels_are_said_to_be_compared_with_the_only_mask(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "labels.json").write_text('{"tumor": 1, "lungs": 2}')
    for case, value in (("a", 1), ("b", 2)):
        labels(tmp_path / "p" / f"{case}.nii.gz", value, value)
        labels(tmp_path / "t" / f"{case}.nii.gz", 1, 1)
    found = evaluate(pairs_of_folders(tmp_path / "p", tmp_path / "t"))
    assert [score.dsc for score in found.scores] == [1.0, 1.0]
    (note,) = found.notes
    assert "'lungs', 'tumor'" in note and "whatever its label" in note


def test_segments_of_one_name_are_one_mask(run, tmp_path):
    """The truth is both boxes."""
    segments(tmp_path / "p" / "a.seg.nrrd", "lesion", "lesion")
    labels(tmp_path / "t" / "a.nii.gz", 1, 1)
    code, text, err = run("evaluate", tmp_path / "p", tmp_path / "t", "--json")
    assert code == 0, err
    report = json.loads(text)
    assert [row["dsc"] for row in report["cases"]] == [1.0]
    (note,) = report["notes"]
    assert "2 segments 'lesion'" in note and f"note: {note}" in err


def test_segments_whose_names_differ_in_case_only_are_refused(tmp_path):
    segments(tmp_path / "p" / "a.seg.nrrd", "Lesion", "lesion")
    labels(tmp_path / "t" / "a.nii.gz", 1, 1)
    with pytest.raises(InputError, match="'Lesion' and 'lesion', which differ only in case"):
        evaluate(pairs_of_folders(tmp_path / "p", tmp_path / "t"))


def test_large_and_negative_values_are_labels_in_every_file(tmp_path):
    """As of an atlas; case b has a single one of them."""
    for folder in ("p", "t"):
        for name, first, second in (("a", 1_000_000, -1), ("b", 1_000_000, 0), ("c", 0, -1)):
            voxels = np.zeros((2, 8, 8), np.int32)
            voxels[FIRST], voxels[SECOND] = first, second
            (tmp_path / folder).mkdir(exist_ok=True)
            sitk.WriteImage(sitk.GetImageFromArray(voxels), str(tmp_path / folder / f"{name}.nii.gz"))
    scores = evaluate(pairs_of_folders(tmp_path / "p", tmp_path / "t")).scores
    drawn = {(score.case, score.segment): score.dsc for score in scores if not score.note}
    assert drawn == {("a", "-1"): 1, ("a", "1000000"): 1, ("b", "1000000"): 1, ("c", "-1"): 1}


@pytest.mark.parametrize("side", ["p", "t"])
@pytest.mark.parametrize(
    "name, what", [("b.dcm", "DICOM"), ("b", "DICOM"), ("b.mat", "a file '.mat'"), ("b/", "a folder without masks")]
)
def test_a_file_of_another_format_is_not_absent(run, tmp_path, side, name, what):
    other = "t" if side == "p" else "p"
    for folder in ("p", "t"):
        labels(tmp_path / folder / "a.nii.gz", 1, 1)
    labels(tmp_path / other / "b.nii.gz", 1, 1)
    path = tmp_path / side / name
    path.mkdir() if name.endswith("/") else path.write_bytes(bytes(128) + (b"DICM" if what == "DICOM" else b""))
    code, text, err = run("evaluate", tmp_path / "p", tmp_path / "t", "--json")
    report = json.loads(text)
    assert code == 1 and not report["missing"] and not report["extra"], err
    assert f"got {what}, which cannot be scored" in report["failed"]["b"]
    assert [row["case"] for row in report["cases"]] == ["a"]


def test_what_stands_beside_a_mask_is_no_prediction(tmp_path):
    for folder, name in (("p", "a"), ("t", "a"), ("t", "b")):
        labels(tmp_path / folder / f"{name}.nii.gz", 1, 1)
    (tmp_path / "p" / "b.json").write_text("{}", encoding="utf-8")
    assert evaluate(pairs_of_folders(tmp_path / "p", tmp_path / "t")).missing == ["b"]


def picture(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def square(value: int, border: tuple[int, ...] = (), kind: type = np.uint8) -> np.ndarray:
    pixels = np.zeros((20, 20), kind)
    pixels[5:10, 5:10] = value
    for row, level in enumerate(border):
        pixels[row, 0] = level
    return pixels


@pytest.mark.parametrize("border", [range(10, 200, 10), (64, 128)], ids=["many", "few"])
@pytest.mark.parametrize("gray", ["p", "t"])
def test_smoothed_borders_are_no_labels(tmp_path, border, gray):
    for folder in ("p", "t"):
        picture(tmp_path / folder / "a.png", square(255))
        picture(tmp_path / folder / "b.png", square(255, tuple(border) if folder == gray else ()))
    found = evaluate(pairs_of_folders(tmp_path / "p", tmp_path / "t"))
    assert [(score.case, score.segment, score.dsc) for score in found.scores] == [("a", "mask", 1.0)]
    assert "gray levels. Threshold it" in found.failed["b"]


def test_labels_of_an_image_stay_labels(tmp_path):
    """Up to white where both sides have it, and many that are dark."""
    for folder in ("p", "t"):
        picture(tmp_path / folder / "a.png", square(255, (128,)))
        picture(tmp_path / folder / "b.png", square(40, tuple(range(1, 19))))
    found = evaluate(pairs_of_folders(tmp_path / "p", tmp_path / "t"))
    drawn = [score.case for score in found.scores if not score.note]
    assert not found.failed and drawn == ["a"] * 2 + ["b"] * 19 and {score.dsc for score in found.scores} == {1.0}


def test_white_of_16_bits_is_white(tmp_path):
    for name, kind, white in (("a", np.uint8, 255), ("b", np.uint16, 65535)):
        picture(tmp_path / "p" / f"{name}.png", square(255))
        picture(tmp_path / "t" / f"{name}.png", square(white, kind=kind))
    assert [score.dsc for score in evaluate(pairs_of_folders(tmp_path / "p", tmp_path / "t")).scores] == [1.0, 1.0]


def test_a_dicom_image_of_few_values_is_a_mask(run, tmp_path):
    """As the ROI masks of CBIS-DDSM, which do not say how large a pixel is; a scan is none."""
    mask = np.zeros((20, 30), np.uint8)
    mask[4:14, 6:16] = 255
    truth = save(image(mask, SC, "MG"), tmp_path / "t" / "1-2.dcm")
    half = np.where(np.arange(30) < 11, mask, 0).astype(np.uint8)
    (tmp_path / "p").mkdir()
    Image.fromarray(half).save(tmp_path / "p" / "1-2.png")
    code, out, err = run("evaluate", tmp_path / "p", tmp_path / "t", "--json")
    assert code == 0, err
    (score,) = evaluate(pairs_of_files(save(image(half, SC, "MG"), tmp_path / "half.dcm"), truth)).scores
    assert score.dsc == pytest.approx(2 / 3) and score.unit == "pixels"
    for n in range(3):  # a series, as of 3D-IRCADb
        made = image(mask, ImagePositionPatient=[0.0, 0.0, 2.0 * n], ImageOrientationPatient=[1.0, 0, 0, 0, 1, 0])
        made.PixelSpacing = [0.7, 0.5]
        save(made, tmp_path / "liver" / f"image_{n}")
    grid = Volume(np.zeros((3, 20, 30), np.uint8), Geometry((0, 0, 0), (0.5, 0.7, 2)))
    sitk.WriteImage(grid.to_sitk(np.stack([half // 255] * 3)), str(tmp_path / "half.nii.gz"))
    code, out, err = run("evaluate", tmp_path / "half.nii.gz", tmp_path / "liver", "--json")
    (row,) = json.loads(out)["cases"]
    assert code == 0 and row["dsc"] == pytest.approx(2 / 3) and row["unit"] == "mm", err
    scan = save(image(np.arange(600, dtype=np.int16).reshape(20, 30)), tmp_path / "ct.dcm")
    code, _, err = run("evaluate", scan, truth)
    assert code == 2 and "got DICOM, which cannot be scored" in err


def test_the_masks_of_an_image_may_lie_in_files_of_a_folder(run, tmp_path):
    """As of TotalSegmentator, and of DICOM SEG with a file a segment: by the name of the segment, else of the file."""
    voxels = {name: np.zeros((4, 8, 8), np.uint8) for name in ("liver", "spleen")}
    voxels["liver"][1:3, 1:5, 1:5] = voxels["spleen"][2, 6, 2:6] = 1
    grid = Volume(voxels["liver"], Geometry((1, 2, 3), (0.5, 2, 4), (0, 1, 0, 1, 0, 0, 0, 0, -1)))
    for name, mask in voxels.items():
        (tmp_path / "t" / "a").mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(grid.to_sitk(mask), str(tmp_path / "t" / "a" / f"{name}.nii.gz"))
    (tmp_path / "p").mkdir()
    half = voxels["liver"] * (np.arange(8) < 3)
    segments = [Segment("Liver", half > 0), Segment("Spleen", voxels["spleen"] > 0)]
    write_segmentation(tmp_path / "p" / "a.seg.nrrd", segments, grid)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "a").symlink_to(tmp_path / "t" / "a")
    code, out, err = run("evaluate", tmp_path / "c", tmp_path / "t", "--json")  # folders on both sides
    assert code == 0 and [row["dsc"] for row in json.loads(out)["cases"]] == [1, 1], err
    for pair in (("p", "t"), ("p/a.seg.nrrd", "t/a"), ("t/a", "p/a.seg.nrrd")):
        code, out, err = run("evaluate", *(tmp_path / side for side in pair), "--json")
        assert code == 0, err
        assert {row["segment"]: row["dsc"] for row in json.loads(out)["cases"]} == pytest.approx(
            {"liver": 2 / 3, "spleen": 1}
        )
        assert {row["unit"] for row in json.loads(out)["cases"]} == {"mm"}
    for segment in segments:  # cropped to their content, each on a grid of its own
        low, high = (edge(np.argwhere(segment.mask), axis=0) for edge in (np.min, np.max))
        part = tuple(slice(a, b + 1) for a, b in zip(low, high))
        origin = tuple((grid.geometry.affine @ [*low[::-1], 1])[:3].tolist())
        cropped = Volume(segment.mask[part].astype(np.uint8), replace(grid.geometry, origin=origin))
        (tmp_path / "s" / "a").mkdir(parents=True, exist_ok=True)
        path = tmp_path / "s" / "a" / f"{segment.name}.seg.nrrd"
        write_segmentation(path, [replace(segment, mask=segment.mask[part])], cropped)
    code, out, err = run("evaluate", tmp_path / "s" / "a", tmp_path / "p" / "a.seg.nrrd", "--json")
    assert code == 0 and [row["dsc"] for row in json.loads(out)["cases"]] == [1, 1], err
