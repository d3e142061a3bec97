"""`medclipsam evaluate`: which files belong together, what is not scored, and grids whose axes run otherwise."""

import itertools
import json
from itertools import chain, repeat
from pathlib import Path
from unittest.mock import DEFAULT, Mock

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.evaluation import folders
from MedCLIPSAMLib.evaluation.folders import evaluate
from MedCLIPSAMLib.evaluation.pairs import pairs_of_folders
from MedCLIPSAMLib.volumes import Segment, Volume, read_volume, write_saliency, write_segmentation


def mask(path: Path, columns: slice = slice(2, 6), quality: int | None = None) -> Path:
    """An image of 8 x 8 pixels in which rows 2 to 5 of some columns are white."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((8, 8), np.uint8)
    pixels[2:6, columns] = 255
    Image.fromarray(pixels).save(path, **({"quality": quality} if quality else {}))
    return path


def volume_of(path: Path, voxels: np.ndarray, spacing=(0.5, 1.0, 2.0), direction=None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(voxels.astype(np.uint8))
    image.SetSpacing(spacing)
    image.SetOrigin((3.0, -7.0, 11.0))
    if direction is not None:
        image.SetDirection(np.asarray(direction).ravel().tolist())
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize(
    "prediction, truth",
    [
        *(("a.png", "a_mask.png"), ("a_seg.png", "a_gt.png"), ("a.png", "a-Truth.bmp"), ("a_pred.png", "a_label.png")),
        ("a_0000.png", "a.png"),
    ],
)
def test_words_at_the_end_of_names_do_not_count(tmp_path, prediction, truth):
    mask(tmp_path / "p" / prediction), mask(tmp_path / "t" / truth)
    mask(tmp_path / "p" / "b.png", slice(2, 4)), mask(tmp_path / "t" / "b.png")
    found = evaluate(pairs_of_folders(tmp_path / "p", tmp_path / "t"))
    assert sorted(score.dsc for score in found.scores) == pytest.approx([2 / 3, 1.0]) and not found.missing


def test_a_mask_in_a_folder_of_its_name_is_that_of_the_case(tmp_path):
    for name in ("a", "b"):
        mask(tmp_path / "p" / name / f"{name}_seg.png"), mask(tmp_path / "t" / f"{name}.png")
        mask(tmp_path / "p" / name / f"{name}_seg_overlay.png")  # as this program writes it beside
    found = evaluate(pairs_of_folders(tmp_path / "p", tmp_path / "t"))
    assert [(score.case, score.dsc) for score in found.scores] == [("a", 1.0), ("b", 1.0)] and not found.extra


@pytest.mark.parametrize("ending", [".hdr", ".mhd", ".nhdr"])
def test_masks_whose_voxels_lie_in_a_file_beside_are_compared(tmp_path, ending):
    truth = np.zeros((4, 5, 6))
    truth[1:3, 1:3, 1:5] = 1
    volume_of(tmp_path / "p" / "a.nii.gz", truth), volume_of(tmp_path / "t" / f"a{ending}", truth)
    (score,) = evaluate(pairs_of_folders(tmp_path / "p", tmp_path / "t")).scores
    assert score.dsc == 1 and score.difference_ml == 0


def test_a_suffix_chooses_among_several_masks_of_an_image(run, tmp_path):
    """As the phantoms' truth is written: NAME_lesion.png, NAME_lungs.png."""
    for name in ("a", "b"):
        mask(tmp_path / "p" / f"{name}.png"), mask(tmp_path / "t" / f"{name}_lesion.png", slice(2, 4))
        mask(tmp_path / "t" / f"{name}_lungs.png", slice(2, 6))
    code, text, err = run("evaluate", tmp_path / "p", tmp_path / "t", "--suffix", "_lesion", "--json")
    assert code == 0, err
    assert [row["dsc"] for row in json.loads(text)["cases"]] == pytest.approx([2 / 3, 2 / 3])
    code, _, err = run("evaluate", tmp_path / "p", tmp_path / "t", "--suffix", "_liver")
    assert code == 2 and "_liver" in err


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_jpeg_masks_are_their_brighter_half_whatever_their_names(tmp_path, ending):
    for name, quality in (("a", 40), ("b", 20)):
        mask(tmp_path / "p" / f"{name}.png")
        path = mask(tmp_path / "t" / f"{name}.jpg", quality=quality).rename(tmp_path / "t" / f"{name}_mask.{ending}")
        assert len(np.unique(np.asarray(Image.open(path)))) > 2  # JPEG changed them
    assert [score.dsc for score in evaluate(pairs_of_folders(tmp_path / "p", tmp_path / "t")).scores] == [1.0, 1.0]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_names_the_pairs(run, tmp_path, delimiter):
    mask(tmp_path / "x" / "one.png"), mask(tmp_path / "y" / "other.png", slice(2, 4)), mask(tmp_path / "z.png")
    table = tmp_path / "pairs.csv"
    content = "case,Prediction,truth\nfirst,x/one.png,y/other.png\n,nan,z.png\n"
    table.write_text(content.replace(",", delimiter), encoding="utf-8")
    code, text, err = run("evaluate", table, "--json")
    assert code == 0, err
    report = json.loads(text)
    assert {row["case"]: row["dsc"] for row in report["cases"]} == {"first": pytest.approx(2 / 3), "z": 0.0}
    assert report["missing"] == ["z"]
    for content in (
        "prediction\nx\n",
        "prediction,truth\nx,\n",
        "prediction,truth\na,z.png\nb,z.png\n",
        "prediction,truth\n",
    ):
        table.write_text(content, encoding="utf-8")
        code, _, err = run("evaluate", table)
        assert code == 2 and "pairs.csv" in err and len(err.strip().splitlines()) == 2


def test_bad_cases_are_lines_and_the_others_are_scored(run, tmp_path):
    for name in ("good", "other", "broken", "gone"):
        mask(tmp_path / "t" / f"{name}.png")
    mask(tmp_path / "p" / "good.png")
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(tmp_path / "p" / "other.png")
    (tmp_path / "p" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    code, text, err = run("evaluate", tmp_path / "p", tmp_path / "t", "--json")
    report = json.loads(text)
    assert code == 1 and set(report["failed"]) == {"other", "broken"}
    assert {row["case"]: row["dsc"] for row in report["cases"]} == {"good": 1.0, "gone": 0.0}
    lines = [line for line in err.splitlines() if line.startswith("failed: ")]
    assert len(lines) == 2 and "8 x 9 x 1 pixels ('other.png') and 8 x 8 x 1 pixels" in "".join(lines)


@pytest.mark.parametrize("step", ["read_masks", "hd95"])
def test_an_error_that_nobody_foresaw_is_that_of_its_case(tmp_path, monkeypatch, step):
    for name in ("a", "b"):
        mask(tmp_path / "p" / f"{name}.png"), mask(tmp_path / "t" / f"{name}.png")
    once = chain([MemoryError("too large")], repeat(DEFAULT))
    real = getattr(folders, step)
    monkeypatch.setattr(folders, step, Mock(wraps=real, side_effect=once))
    found = evaluate(pairs_of_folders(tmp_path / "p", tmp_path / "t"))
    assert [score.case for score in found.scores] == ["b"] and "MemoryError: too large" in found.failed["a"]


SIGNED = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]


def test_every_order_and_direction_of_the_axes_of_one_grid_is_scored_exactly(tmp_path):
    """48 ways to store the same voxels; the point (4, 3, 2) of the file is at the same place of the patient in each."""
    rng = np.random.default_rng(0)
    a = np.radians(20)
    oblique = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    voxels = rng.random((5, 6, 7)) > 0.5
    truth = volume_of(tmp_path / "t" / "case.nii.gz", voxels, direction=oblique)
    reference = sitk.ReadImage(str(truth))
    for number, (order, signs) in enumerate(SIGNED):
        turned = sitk.PermuteAxes(reference, order)
        turned = sitk.Flip(turned, [sign < 0 for sign in signs])
        folder = tmp_path / f"p{number}"
        folder.mkdir()
        sitk.WriteImage(turned, str(folder / "case.nrrd"))
        place = reference.TransformIndexToPhysicalPoint((4, 3, 2))
        assert turned[turned.TransformPhysicalPointToIndex(place)] == int(voxels[2, 3, 4])
        (score,) = evaluate(pairs_of_folders(folder, tmp_path / "t")).scores
        assert score.dsc == 1.0 and score.hd95 == 0.0 and score.difference_ml == 0.0


def test_grids_that_only_seem_turned_are_refused(run, tmp_path):
    voxels = np.zeros((5, 6, 7), bool)
    voxels[2, 2:4, 2:4] = True
    volume_of(tmp_path / "t" / "case.nii.gz", voxels)
    image = sitk.Flip(sitk.ReadImage(str(tmp_path / "t" / "case.nii.gz")), [True, False, False])
    image.SetOrigin((image.GetOrigin()[0] + 0.2, *image.GetOrigin()[1:]))
    (tmp_path / "p").mkdir()
    sitk.WriteImage(image, str(tmp_path / "p" / "case.nrrd"))
    code, _, err = run("evaluate", tmp_path / "p", tmp_path / "t")
    assert code == 2 and "different grids" in err


def test_volumes_differ_in_ml(run, tmp_path):
    """Four voxels more of 0.5 x 1 x 2 mm are 0.004 ml more; a missing prediction lacks all."""
    voxels = np.zeros((5, 6, 7), bool)
    voxels[2, 2:4, 2:4] = True
    volume_of(tmp_path / "t" / "a.nii.gz", voxels), volume_of(tmp_path / "t" / "b.nii.gz", voxels)
    voxels[3, 2:4, 2:4] = True
    volume_of(tmp_path / "p" / "a.nii.gz", voxels)
    code, text, err = run("evaluate", tmp_path / "p", tmp_path / "t", "--json", "--csv", tmp_path / "s.csv")
    assert code == 0, err
    assert [row["difference_ml"] for row in json.loads(text)["cases"]] == pytest.approx([0.004, -0.004])
    assert "difference_ml" in (tmp_path / "s.csv").read_text(encoding="utf-8").splitlines()[0]
    code, _, err = run("compare", tmp_path / "s.csv", tmp_path / "s.csv")
    assert code == 0, err
    code, text, _ = run("evaluate", tmp_path / "p", tmp_path / "t")
    assert "volume difference, ml" in text


def test_predictions_without_a_mask_of_any_case_are_refused(run, tmp_path):
    mask(tmp_path / "t" / "a.png"), (tmp_path / "p").mkdir()
    code, _, err = run("evaluate", tmp_path / "p", tmp_path / "t")
    assert code == 2 and f"'{tmp_path / 'p'}' holds no mask." in err and "Readable formats" in err
    code, _, err = run("evaluate", tmp_path, tmp_path / "t")
    assert code == 2 and "Its subfolders are not searched" in err
    for side in ("above1", "above2"):  # the folder above the masks of all images is not a case
        mask(tmp_path / side / "masks" / "a.png"), mask(tmp_path / side / "masks" / "b.png")
    code, _, err = run("evaluate", tmp_path / "above1", tmp_path / "above2")
    assert code == 2 and "Its subfolders are not searched" in err
    mask(tmp_path / "p" / "patient1.png")
    code, _, err = run("evaluate", tmp_path / "p", tmp_path / "t")
    assert code == 2 and "'patient1' and 'a'" in err


@pytest.mark.parametrize("form", [".seg.nrrd", ".nii.gz", ".nrrd", ".mha"])
def test_pixels_of_unknown_size_have_no_mm(run, tmp_path, form):
    """Ten by four pixels of a PNG, and one column more: 1 pixel apart, whatever file the mask was written to."""
    mask(tmp_path / "image.png")
    image = read_volume(tmp_path / "image.png")
    one, two = np.zeros((2, *image.shape), bool)
    one[0, 2:6, 2:6], two[0, 2:6, 2:7] = True, True
    for folder, lesion in (("p", one), ("t", two)):
        (tmp_path / folder).mkdir()
        write_segmentation(tmp_path / folder / f"a{form}", [Segment("tumor", lesion)], image)
    (tmp_path / "raster").mkdir()
    write_segmentation(tmp_path / "raster" / "a.png", [Segment("tumor", two)], image)
    for truth in ("t", "raster"):
        (score,) = evaluate(pairs_of_folders(tmp_path / "p", tmp_path / truth)).scores
        assert (score.unit, score.hd95) == ("pixels", 1.0) and np.isnan(score.difference_ml)
    code, text, err = run("evaluate", tmp_path / "p", tmp_path / "t", "--tolerance", 1)
    assert code == 0, err
    assert "HD95, pixels" in text and "tolerance of 1 (pixels)" in text and "ml" not in text
    assert not read_volume(tmp_path / "p" / f"a{form}").known_spacing


def test_labels_that_a_scale_has_moved_a_little_are_whole_numbers(tmp_path):
    """As of a file of 16 bits with a slope; fractions stay refused."""
    voxels = np.zeros((3, 4, 5))
    voxels[1, 1:3], voxels[2, 0] = 1, 2
    truth = volume_of(tmp_path / "t" / "a.nii.gz", voxels)
    for slope, values in ((0.9999998, ["1", "2"]), (1.0000004, ["1", "2"]), (0.7, None)):
        image = sitk.ReadImage(str(truth), sitk.sitkFloat32) * slope
        (tmp_path / "p").mkdir(exist_ok=True)
        sitk.WriteImage(image, str(tmp_path / "p" / "a.nii.gz"))
        if values is None:
            with pytest.raises(InputError, match=r"different values, such as 0\.7"):
                evaluate(pairs_of_folders(tmp_path / "p", tmp_path / "t"))
        else:
            found = evaluate(pairs_of_folders(tmp_path / "p", tmp_path / "t"))
            assert [(score.segment, score.dsc) for score in found.scores] == [(value, 1.0) for value in values]


def test_distances_in_mm_and_in_pixels_have_means_of_their_own(run, tmp_path):
    mask(tmp_path / "t" / "flat.png"), mask(tmp_path / "p" / "flat.png", slice(2, 7))
    for folder, rows in (("t", slice(1, 3)), ("p", slice(1, 4))):
        voxels = np.zeros((5, 6, 7), bool)
        voxels[1:3, rows, 2:4] = True
        volume_of(tmp_path / folder / "deep.nii.gz", voxels, spacing=(1.0, 3.0, 1.0))
    code, text, err = run("evaluate", tmp_path / "p", tmp_path / "t", "--json")
    assert code == 0, err
    report = json.loads(text)
    assert [row["unit"] for row in report["cases"]] == ["mm", "pixels"]
    summary = report["summary"]["mask"]
    assert "hd95" not in summary and (summary["hd95_mm"]["mean"], summary["hd95_pixels"]["mean"]) == (3.0, 1.0)


def test_maps_and_overlays_beside_masks_are_no_predictions(tmp_path):
    volume = Volume(np.zeros((3, 8, 8), np.int16))
    (tmp_path / "p").mkdir(), (tmp_path / "t").mkdir()
    lesion = np.zeros(volume.shape, bool)
    lesion[1, 2:5, 2:5] = True
    write_segmentation(tmp_path / "p" / "a.seg.nrrd", [Segment("tumor", lesion)], volume)
    write_segmentation(tmp_path / "t" / "a.nii.gz", [Segment("tumor", lesion)], volume)
    for name in ("a_uncertainty.nii.gz", "a_saliency.nii.gz"):
        write_saliency(tmp_path / "p" / name, lesion * 0.5, volume)
    mask(tmp_path / "p" / "a_overlay.png"), mask(tmp_path / "p" / "a_montage.png")
    found = pairs_of_folders(tmp_path / "p", tmp_path / "t")
    assert list(found.cases) == ["a"] and not found.extra
    assert evaluate(found).scores[0].dsc == 1.0


def test_labels_of_a_dataset_name_the_values_of_its_masks(tmp_path):
    """Predictions with names, as `weak predict` writes them, against labels with numbers, as nnU-Net has them."""
    volume = Volume(np.zeros((3, 8, 8), np.int16))
    one, two = np.zeros(volume.shape, bool), np.zeros(volume.shape, bool)
    one[1, 2:5, 2:5], two[1, 6:, 6:] = True, True
    labels = tmp_path / "Dataset001_X" / "labelsTr"
    labels.mkdir(parents=True), (tmp_path / "p").mkdir()
    write_segmentation(labels / "a.nii.gz", [Segment("lesion", one), Segment("Vessel", two)], volume)
    described = {"labels": {"background": 0, "lesion": 1, "Vessel": 2}}
    (labels.parent / "dataset.json").write_text(json.dumps(described), encoding="utf-8")
    write_segmentation(tmp_path / "p" / "a.seg.nrrd", [Segment("Vessel", two), Segment("lesion", one)], volume)
    found = evaluate(pairs_of_folders(tmp_path / "p", labels))
    assert {score.segment: score.dsc for score in found.scores} == {"lesion": 1.0, "vessel": 1.0}
