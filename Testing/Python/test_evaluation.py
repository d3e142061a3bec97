"""Metrics against cases worked out by hand, folders of masks, and images of results."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from monai.metrics.utils import get_code_to_measure_table
from PIL import Image
from scipy.ndimage import binary_erosion
from scipy.signal import correlate
from scipy.spatial.distance import cdist

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.evaluation.folders import evaluate, summarize
from MedCLIPSAMLib.evaluation.metrics import dsc, hd95, nsd, nsd_as_published
from MedCLIPSAMLib.evaluation.overlays import overlay, write_contact_sheet
from MedCLIPSAMLib.evaluation.pairs import pairs_of_files, pairs_of_folders
from MedCLIPSAMLib.volumes import Segment, Volume, write_segmentation


def disc(column: float, radius: float = 40, size: int = 200) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return (y - size / 2) ** 2 + (x - column) ** 2 <= radius**2


def square(row: int = 20, column: int = 20) -> np.ndarray:
    mask = np.zeros((60, 60), bool)
    mask[row : row + 20, column : column + 20] = True
    return mask


def test_dsc_of_a_half_covered_square():
    half = square()
    half[30:] = False
    assert dsc(half, square()) == pytest.approx(2 * 200 / 600)


def test_empty_masks_score_one_together_and_nothing_alone():
    empty, full = np.zeros((60, 60), bool), square()
    assert dsc(empty, empty) == nsd(empty, empty, (1, 1), 2) == 1.0
    assert dsc(empty, full) == dsc(full, empty) == nsd(empty, full, (1, 1), 2) == nsd(full, empty, (1, 1), 2) == 0.0
    assert math.isnan(hd95(empty, empty, (1, 1)))
    assert math.isinf(hd95(empty, full, (1, 1)))


def test_nsd_of_shifted_discs_is_that_of_their_contours():
    """The contours are within 2 px where |6 cos(angle)| <= 2: 4 asin(1/3) of 2 pi, less what the pixel grid adds."""
    expected = 4 * math.asin(1 / 3) / (2 * math.pi)
    first, second = disc(97), disc(103)
    assert nsd(first, second, (1, 1), 2) == pytest.approx(expected, abs=0.07)
    assert nsd(first, second, (1, 1), 2) == pytest.approx(0.277, abs=0.002)
    assert nsd_as_published(first, second) == pytest.approx(0.951, abs=0.001)
    assert hd95(first, second, (1, 1)) == pytest.approx(6, abs=0.3)


def test_a_volume_of_one_slice_is_measured_by_its_contour():
    first, second = disc(97), disc(103)
    for axis in range(3):
        spacing = np.insert([1.0, 1.0], axis, 5.0)
        volumes = np.expand_dims(first, axis), np.expand_dims(second, axis)
        assert nsd(*volumes, spacing, 2) == nsd(first, second, (1, 1), 2)
        assert hd95(*volumes, spacing) == hd95(first, second, (1, 1))


@pytest.mark.parametrize("spacing", [(3.0, 1.0), (2.0, 3.0, 0.5)])
def test_hd95_is_a_percentile_over_the_outermost_pixels_by_their_centers(spacing):
    """Each counts once, whatever the area of surface that it stands for."""
    pixels = lambda mask: np.argwhere(mask & ~binary_erosion(mask)) * spacing
    shape, inner = (30,) * len(spacing), (slice(8, 18),) * len(spacing)
    truth, pred = np.zeros(shape, bool), np.zeros(shape, bool)
    truth[inner] = pred[inner] = True
    pred[(slice(10, 17),) * (len(spacing) - 1)] = True
    distances = cdist(pixels(pred), pixels(truth))
    expected = max(np.percentile(distances.min(axis), 95) for axis in (0, 1))
    assert hd95(pred, truth, spacing) == pytest.approx(expected, rel=1e-5)


def test_a_single_row_of_pixels_has_a_dsc_and_no_contour():
    first, second = np.arange(12) < 6, np.arange(12) < 3
    for shape in ((1, 12), (12, 1), (1, 1, 12)):
        pair = first.reshape(shape), second.reshape(shape)
        spacing = (1.0,) * len(shape)
        assert dsc(*pair) == pytest.approx(2 / 3)
        assert math.isnan(nsd(*pair, spacing, 2)) and math.isnan(hd95(*pair, spacing))
        none = np.zeros(shape, bool)
        assert (nsd(none, none, spacing, 2), nsd(pair[0], none, spacing, 2)) == (1.0, 0.0)
        assert math.isinf(hd95(pair[0], none, spacing))


def test_a_case_of_a_single_row_is_scored_by_what_it_has(run, tmp_path):
    for side, stop in (("pred", 6), ("truth", 3)):
        row = (np.arange(12) < stop).astype(np.uint8).reshape(1, 1, 12)
        write_masks(tmp_path / side, "row.nii.gz", row)
        write_masks(tmp_path / side, "whole.nii.gz", labels((20, 20)))
    found = evaluate(pairs_of_folders(tmp_path / "pred", tmp_path / "truth"))
    row, whole = found.scores
    assert row.dsc == pytest.approx(2 / 3) and row.difference_ml == pytest.approx(3 * 3 / 1000)
    assert math.isnan(row.nsd) and math.isnan(row.hd95) and row.note == "a single row of pixels"
    assert (whole.nsd, found.summary("nsd").n, found.summary("dsc").n) == (1.0, 1, 2) and not found.failed
    code, text, err = run("evaluate", tmp_path / "pred", tmp_path / "truth")
    assert code == 0, err
    assert "NSD and HD95 leave out 1 mask of a single row of pixels, without a contour." in text


def test_spacing_belongs_to_its_axis():
    """Rows are 3 mm apart, columns 1 mm. One row too low, only the sides agree within 2 mm: 120 of 160 mm."""
    assert nsd(square(21), square(), (3, 1), 2) == pytest.approx(120 / 160, abs=0.02)
    assert nsd(square(20, 21), square(), (3, 1), 2) == 1.0
    assert hd95(square(21), square(), (3, 1)) == pytest.approx(3)
    assert hd95(square(20, 21), square(), (3, 1)) == pytest.approx(1)


def test_surface_of_a_volume_is_weighted_by_its_area():
    """A box of 10 x 20 x 20 voxels of 3 x 1 x 1 mm one slice too high: the four sides agree, 2400 of 3200 mm2."""
    box = np.zeros((20, 40, 40), bool)
    box[5:15, 10:30, 10:30] = True
    assert nsd(np.roll(box, 1, 0), box, (3, 1, 1), 2) == pytest.approx(2400 / 3200, abs=0.03)
    assert nsd(np.roll(box, 1, 2), box, (3, 1, 1), 2) == 1.0


@pytest.mark.parametrize("spacing", [(3.0, 0.7), (2.5, 0.7, 1.1)])
def test_nsd_is_the_share_of_surface_whose_nearest_piece_is_near_by_every_pair(spacing):
    """Every piece of one surface against every piece of the other; masks reach the borders of the image."""
    rng, shape = np.random.default_rng(5), (9, 11, 8)[: len(spacing)]
    measures, kernel = (np.asarray(values) for values in get_code_to_measure_table(spacing))

    def pieces(mask):
        codes = correlate(np.pad(mask, 1).astype(int), kernel.squeeze(), mode="valid", method="direct")
        found = np.argwhere((codes > 0) & (codes < len(measures) - 1))
        return found * spacing, measures[codes[tuple(found.T)]].astype(float)

    for share, tolerance in itertools.product((0.1, 0.5, 0.9), (0.0, 0.7, 1.1, 2.6, 9.0)):
        pred, truth = (rng.random(shape) < share for _ in "pt")
        truth[:3] = pred[:3]
        (first, own), (second, other) = pieces(pred[..., ::-1]), pieces(truth[..., ::-1])
        distances = cdist(first, second)
        close = own[distances.min(1) <= tolerance + 1e-9].sum() + other[distances.min(0) <= tolerance + 1e-9].sum()
        expected = close / (own.sum() + other.sum())
        assert nsd(pred[..., ::-1], truth[..., ::-1], spacing, tolerance) == pytest.approx(expected, rel=1e-6)


def test_a_distance_of_the_tolerance_is_within_it_whatever_it_is_rounded_to():
    """3 pixels of 0.1 mm are 0.30000000000000004 mm."""
    first, second = np.zeros((2, 30, 30), bool)
    first[5:20], second[8:20] = True, True
    assert nsd(first, second, (0.1, 0.1), 0.3) > nsd(first, second, (0.1, 0.1), 0.29)


def test_masks_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="different shapes"):
        dsc(square(), square()[:50])
    with pytest.raises(ValueError, match="2 spacings"):
        nsd(square()[None], square()[None], (1, 1), 2)


def write_masks(folder: Path, name: str, labels: np.ndarray, origin=(0.0, 0.0, 0.0), spacing=(1.0, 1.0, 3.0)) -> None:
    folder.mkdir(exist_ok=True)
    if name.endswith(".png"):
        image = sitk.GetImageFromArray(labels[0])
    else:
        image = sitk.GetImageFromArray(labels)
        image.SetOrigin(origin)
        image.SetSpacing(spacing)
    sitk.WriteImage(image, str(folder / name))


def labels(*places: tuple[int, int], values: tuple[int, ...] = (1, 2), slices: int = 1) -> np.ndarray:
    array = np.zeros((slices, 60, 60), np.uint8)
    for value, place in zip(values, places):
        array[:, square(*place)] = value
    return array


def test_folders_are_matched_by_name_whatever_the_format(tmp_path):
    pred, truth = tmp_path / "pred", tmp_path / "truth"
    write_masks(truth, "a.png", labels((20, 20)) * 255)
    write_masks(truth, "b.nii.gz", labels((5, 5)))
    write_masks(truth, "c.png", labels((20, 20)) * 255)
    write_masks(pred, "b.nrrd", labels((5, 5)))
    write_masks(pred, "a.nii.gz", labels((20, 30)))
    write_masks(pred, "z.png", labels((20, 20)))
    found = evaluate(pairs_of_folders(pred, truth))
    assert [(score.case, score.dsc) for score in found.scores] == [("a", 0.5), ("b", 1.0), ("c", 0.0)]
    assert found.scores[0].hd95 == pytest.approx(10)
    assert found.scores[2].note == "no prediction"
    assert (found.missing, found.extra) == (["c"], ["z"])
    summary = found.summary("dsc")
    assert (summary.n, summary.mean, summary.median) == (3, 0.5, 0.5)
    assert summary.low == 0.0 and summary.high == 1.0
    assert found.summary("hd95").n == 2


def test_an_image_stored_as_a_volume_scores_like_the_image(tmp_path):
    for suffix in (".png", ".nii.gz"):
        write_masks(tmp_path / f"truth{suffix}", f"a{suffix}", labels((20, 20)))
        write_masks(tmp_path / f"pred{suffix}", f"a{suffix}", labels((20, 26)))
    flat = evaluate(pairs_of_folders(tmp_path / "pred.png", tmp_path / "truth.png"))
    volume = evaluate(pairs_of_folders(tmp_path / "pred.nii.gz", tmp_path / "truth.nii.gz"))
    assert [replace(score, unit="pixels") for score in volume.scores] == flat.scores
    assert 0.2 < flat.scores[0].nsd < 0.8


def test_spacing_of_the_file_is_that_of_its_axes(tmp_path):
    write_masks(tmp_path / "truth", "a.nii.gz", labels((20, 20)), spacing=(1.0, 3.0, 1.0))
    write_masks(tmp_path / "pred", "a.nii.gz", labels((21, 20)), spacing=(1.0, 3.0, 1.0))
    assert evaluate(pairs_of_folders(tmp_path / "pred", tmp_path / "truth")).scores[0].hd95 == pytest.approx(3)


def test_segments_are_matched_by_label(tmp_path):
    pred, truth = tmp_path / "pred", tmp_path / "truth"
    write_masks(truth, "a.nii.gz", labels((0, 0), (30, 30)))
    write_masks(pred, "a.nii.gz", labels((30, 30), values=(2,)))
    write_masks(truth, "b.nii.gz", labels((0, 0), values=(1,)))
    write_masks(pred, "b.nii.gz", labels((0, 0), (30, 30), values=(2, 7)))
    found = evaluate(pairs_of_folders(pred, truth))
    got = [(score.case, score.segment, score.dsc) for score in found.scores]
    assert got == [("a", "1", 0.0), ("a", "2", 1.0), ("b", "1", 0.0), ("b", "2", 0.0)]
    assert found.extra_segments == ["b: 7"] and found.extra == []


@pytest.mark.parametrize("values", [(1,), (1, 2)], ids=["one label", "two labels"])
def test_every_case_has_a_score_for_every_label_of_the_truth(run, tmp_path, values):
    """Of each label a find (DSC 1, HD95 0), both empty (1, none), a false positive (0), a missing prediction (0)."""
    pred, truth = tmp_path / "pred", tmp_path / "truth"
    drawn, none = labels((0, 0), (30, 30), values=values), labels()
    for name, predicted, true in (("a", drawn, drawn), ("healthy", none, none), ("wrong", drawn, none)):
        write_masks(pred, f"{name}.nii.gz", predicted), write_masks(truth, f"{name}.nii.gz", true)
    write_masks(truth, "gone.nii.gz", none)
    found = evaluate(pairs_of_folders(pred, truth))
    assert len(found.scores) == 4 * len(values)
    for segment in found.segments:
        scores = {score.case: score for score in found.scores if score.segment == segment}
        assert {name: (score.dsc, score.nsd, score.note) for name, score in scores.items()} == {
            "a": (1.0, 1.0, ""),
            "gone": (0.0, 0.0, "no prediction"),
            "healthy": (1.0, 1.0, "empty in both"),
            "wrong": (0.0, 0.0, ""),
        }
        assert found.summary("hd95", segment).n == 1 and found.summary("dsc", segment).mean == 0.5
    code, text, err = run("evaluate", pred, truth, "--csv", tmp_path / "s.csv")
    assert code == 0, err
    count = len(values)
    assert f"HD95 leaves out {2 * count} of {4 * count} masks" in text
    assert f"Empty in both: {count} of {4 * count} masks" in text and "mean DSC of the others 0.3333" in text
    assert (tmp_path / "s.csv").read_text(encoding="utf-8").count("empty in both") == count


def test_over_all_segments_each_case_counts_once_by_its_mean(run, tmp_path):
    """Two masks of one image are not independent: of two cases with two labels each n is 2, and the mean by case."""
    pred, truth = tmp_path / "pred", tmp_path / "truth"
    for name, predicted in (("a", labels((0, 0), (30, 30))), ("b", labels((0, 20), (30, 50)))):
        write_masks(pred, f"{name}.nii.gz", predicted)
        write_masks(truth, f"{name}.nii.gz", labels((0, 0), (30, 30)))
    found = evaluate(pairs_of_folders(pred, truth))
    by_case = [np.mean([score.dsc for score in found.scores if score.case == case]) for case in "ab"]
    whole = found.summary("dsc")
    assert (whole.n, whole.mean) == (2, pytest.approx(np.mean(by_case)))
    assert whole.sd == pytest.approx(np.std(by_case, ddof=1))
    for tolerance in (np.inf, np.nan, -1.0):
        with pytest.raises(InputError, match="Expected a tolerance of 0 or more"):
            evaluate(pairs_of_folders(pred, truth), tolerance)
    code, _, err = run("evaluate", pred, truth, "--tolerance", "inf")
    assert code == 2 and "Expected a tolerance of 0 or more, got inf" in err


def test_a_map_of_probabilities_is_no_mask(tmp_path):
    shares = np.zeros((1, 60, 80), np.float32)
    shares[0, 2:4] = 0.5
    sitk.WriteImage(sitk.GetImageFromArray(shares), str(tmp_path / "a.nii.gz"))
    with pytest.raises(InputError, match=r"got 2 different values, such as 0\.5") as caught:
        evaluate(pairs_of_files(tmp_path / "a.nii.gz", tmp_path / "a.nii.gz"))
    assert "integer values" in str(caught.value)


def test_cropped_slicer_segmentations_are_put_in_place(tmp_path):
    image = sitk.Image(60, 60, 4, sitk.sitkUInt8)
    image.SetSpacing((1.0, 1.0, 3.0))
    image.SetOrigin((5.0, -7.0, 2.0))
    mask = np.repeat(square()[None], 4, 0)
    for name in ("pred", "truth"):
        (tmp_path / name).mkdir()
    write_segmentation(tmp_path / "truth" / "a.seg.nrrd", [Segment("Liver", mask)], Volume.from_sitk(image))
    cropped = image[10:50, 15:45, 1:]
    inside = mask[1:, 15:45, 10:50]
    write_segmentation(tmp_path / "pred" / "a.seg.nrrd", [Segment("liver", inside)], Volume.from_sitk(cropped))
    for folders in (("pred", "truth"), ("truth", "pred")):
        score = evaluate(pairs_of_folders(*(tmp_path / name for name in folders))).scores[0]
        assert score.dsc == pytest.approx(2 * 3 / (3 + 4))
        assert score.hd95 == pytest.approx(3)


@pytest.mark.parametrize("shift", [{"origin": (0.0, 0.0, 4.0)}, {"spacing": (1.0, 1.0, 2.0)}])
def test_different_grids_are_refused_by_case(tmp_path, shift):
    write_masks(tmp_path / "truth", "patient7.nii.gz", labels((20, 20), slices=2))
    write_masks(tmp_path / "pred", "patient7.nii.gz", labels((20, 20), slices=2), **shift)
    with pytest.raises(InputError, match="patient7.*different grids"):
        evaluate(pairs_of_folders(tmp_path / "pred", tmp_path / "truth"))


def test_foreign_segment_names_are_refused(tmp_path):
    write_masks(tmp_path / "truth", "a.nii.gz", labels((0, 0), (30, 30)))
    write_masks(tmp_path / "pred", "a.nii.gz", labels((0, 0), (30, 30), values=(8, 9)))
    with pytest.raises(InputError, match=r"\('8', '9'\) and of the truth \('1', '2'\)"):
        evaluate(pairs_of_folders(tmp_path / "pred", tmp_path / "truth"))


def test_bootstrap_interval_is_that_of_the_mean_and_repeatable():
    values = np.random.default_rng(1).normal(0.7, 0.1, 400)
    summary = summarize(values)
    error = 1.96 * values.std(ddof=1) / 20
    assert summary.low == pytest.approx(values.mean() - error, abs=0.002)
    assert summary.high == pytest.approx(values.mean() + error, abs=0.002)
    assert summary == summarize(values)


def test_overlay_enlarges_small_images_and_draws_contours():
    image = np.full((60, 60, 3), 100, np.uint8)
    drawn = overlay(image, {"a": square()}, {"a": (1.0, 0.0, 0.0)}, boxes=np.array([[10, 10, 50, 50]]))
    factor = 9
    assert drawn.shape == (60 * factor, 60 * factor, 3)
    assert tuple(drawn[20 * factor, 30 * factor]) == (255, 0, 0)
    assert tuple(drawn[30 * factor, 30 * factor]) == (143, 72, 72)
    assert tuple(drawn[10 * factor, 30 * factor]) == (255, 255, 255)
    assert tuple(drawn[2, 2]) == (100, 100, 100)


def test_contact_sheet_is_written_with_and_without_truth(tmp_path):
    image = np.full((60, 60, 3), 100, np.uint8)
    row = {"title": "a case", "caption": "DSC 1.00", "image": image, "saliency": square().astype(float)}
    row |= {"coarse": square(), "mask": square(), "truth": square(), "boxes": np.array([[20, 20, 40, 40]])}
    write_contact_sheet([row, row | {"truth": None}], tmp_path / "both.png")
    write_contact_sheet([row | {"truth": None}], tmp_path / "without.png")
    with Image.open(tmp_path / "both.png") as both, Image.open(tmp_path / "without.png") as without:
        assert both.width * 4 == without.width * 5
        assert (without.height, both.height) == pytest.approx((548, 1036), abs=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["both.png", "without.png"]
