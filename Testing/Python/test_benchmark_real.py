"""The benchmark on real images: which cases it takes, what it refuses, and what it says, on folders made here."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import run_python
from PIL import Image

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.experiments.controls import make_true_boxes, scale_boxes
from MedCLIPSAMLib.experiments.prompted import mean_interval
from MedCLIPSAMLib.experiments.real import benchmark_real
from MedCLIPSAMLib.experiments.real_sets import REAL_SETS, choose_cases
from MedCLIPSAMLib.experiments.tumor_free import tumor_free_part
from MedCLIPSAMLib.phantoms.dataset import make_phantom

REPOSITORY = Path(__file__).resolve().parents[2]
REAL = REPOSITORY.parent / "shared" / "real"
REAL = REAL if REAL.is_dir() else REPOSITORY.parents[1] / "shared" / "real"
BREAST, BRAIN, LUNGS, NODULE = REAL_SETS


def write_set(data: Path, name: str, rows: list[dict], images: list | None = None) -> Path:
    """Write a set: rows of index.csv, and for each an image and a mask, by default 20 x 16 with a marked square."""
    folder = data / name
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    mark = np.zeros((16, 20), np.uint8)
    mark[4:9, 6:12] = 255
    for row, (image, mask) in zip(rows, images or [(np.full((16, 20), 90, np.uint8), mark)] * len(rows)):
        Image.fromarray(image).save(folder / "images" / row["image"])
        Image.fromarray(mask).save(folder / "masks" / f"{Path(row['image']).stem}.png")
    with (folder / "index.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def rows_of(patients: str, split: str = "test") -> list[dict]:
    """A row for every letter, which is its patient."""
    return [
        {"image": f"{patient}{at:03d}.jpg", "patient": patient, "split": split} for at, patient in enumerate(patients)
    ]


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """All four sets, of phantoms: three ultrasound images, two of every other kind."""
    data = tmp_path_factory.mktemp("of") / "phantoms"
    for name, modality, count in ((BREAST, "US", 3), (BRAIN, "MR", 2), (LUNGS, "XR", 2), (NODULE, "CT", 2)):
        made = [make_phantom("test", at, modality, 1) for at in range(count)]
        rows = [{"image": f"{at}.jpg", REAL_SETS[name].group: str(at), "split": "test"} for at in range(count)]
        rows = [row | {"nodule": row["image"], "slice": "0"} for row in rows] if name == NODULE else rows
        truths = [phantom.lungs_mask if modality == "XR" else phantom.lesion_mask for phantom in made]
        write_set(data, name, rows, [(p.image, 255 * t.astype(np.uint8)) for p, t in zip(made, truths)])
    return data


@pytest.fixture()
def run(run):
    """The exit status, what is printed and what is said of errors by `medclipsam benchmark real`."""
    return lambda *arguments: run("benchmark", "real", *arguments)


def test_every_patient_gives_one_image_before_any_gives_two(tmp_path):
    write_set(tmp_path, BREAST, rows_of("aaaabbcd"))
    taken = lambda count: Counter(case.group for case in choose_cases(tmp_path, BREAST, "test", count))
    assert taken(4) == {"a": 1, "b": 1, "c": 1, "d": 1}
    assert taken(6) == {"a": 2, "b": 2, "c": 1, "d": 1}
    assert taken(100) == {"a": 4, "b": 2, "c": 1, "d": 1}
    assert set(taken(2)) == {"b", "d"}, "at even distances: (0 + 1/2) 4 / 2 = 1 and 3"
    again = choose_cases(tmp_path, BREAST, "test", 6)
    assert again == choose_cases(tmp_path, BREAST, "test", 6)


def test_of_a_nodule_the_middle_slice_that_is_marked_is_taken(tmp_path):
    rows = [
        {"image": f"{nodule}{at}.jpg", "patient": "p", "nodule": nodule, "slice": str(at), "split": "val"}
        for nodule, count in (("a", 5), ("b", 4), ("c", 11), ("d", 1))
        for at in range(count)
    ]
    folder = write_set(tmp_path, NODULE, rows)
    for name in ("a0", "a1", "d0"):
        Image.new("L", (20, 16)).save(folder / "masks" / f"{name}.png")
    chosen = {case.name for case in choose_cases(tmp_path, NODULE, "validation", 10)}
    assert chosen == {"a3.jpg", "b2.jpg", "c5.jpg"}, "of 2 3 4; of 0 to 3 the upper of two; by number, 10 after 9"


def test_a_slice_that_is_no_number_is_refused(tmp_path):
    rows = [{"image": f"{at}.jpg", "patient": "p", "nodule": "n", "slice": f"z{at}", "split": "test"} for at in (1, 2)]
    write_set(tmp_path, NODULE, rows)
    with pytest.raises(InputError, match="Expected a whole number as slice of '1.jpg', got 'z1'"):
        choose_cases(tmp_path, NODULE, "test", 2)


def test_a_gap_between_splits_may_share_a_block_and_is_not_measured(tmp_path):
    rows = [{"image": f"{split}.jpg", "block": "1", "split": split} for split in ("test", "gap")]
    write_set(tmp_path, BRAIN, rows)
    assert [case.name for case in choose_cases(tmp_path, BRAIN, "test", 9)] == ["test.jpg"]


def edited(before, after):
    """Change the text of a set's index.csv."""

    def edit(folder):
        path = folder / "index.csv"
        text = path.read_bytes()
        assert before in text
        path.write_bytes(text.replace(before, after, 1))

    return edit


@pytest.mark.parametrize(
    "spoil, expected",
    [
        (lambda folder: (folder / "index.csv").unlink(), r"There is no file '.*index.csv'"),
        (edited(b"patient", b"who"), r"Expected the columns image, patient, split in .*, got image, who, split"),
        (edited(b"image,patient,split", b"a,b,c"), r"Expected the columns image, patient, split in .*, got a, b, c"),
        (edited(b"a000.jpg,a,test", b"a000.jpg,a"), r"Expected one of train, .* as split in line 2.*, got ''"),
        (edited(b"a000.jpg,a,test", b"a000.jpg,a,test,1"), r"Line 2 of .* has 4 fields for 3 columns"),
        (edited(b"a000.jpg,a,test", b"a000.jpg,a,tset"), r"Expected one of train, .* as split in line 2.*, got 'tset'"),
        (edited(b"a000.jpg,a,test", b"a000.jpg,b,train"), r"Expected every patient in one split, got patient 'b' in"),
        (edited(b"a000.jpg", b"b001.jpg"), r"Expected every image once, got 'b001.jpg' again in line 3"),
        (edited(b"a000.jpg", b"b001.png"), r"got 'b001.jpg' again in line 3.*would share a mask"),
        (edited(b"a000.jpg", b"../a000.jpg"), r"Expected the name of a file in images in line 2.*, got '../a000.jpg'"),
        (edited(b"a000.jpg", b"..\\a000.jpg"), r"Expected the name of a file in images"),
        (edited(b"a000.jpg", b"\xff\xfe"), r"text in UTF-8, got other bytes in line 2 of '.*index.csv'"),
        (edited(b"a000.jpg", b'"a000.jpg'), r"Line 2 of '.*index.csv' cannot be read"),
        (lambda folder: (folder / "masks" / "b001.png").unlink(), r"Expected the file '.*b001.png', got none"),
        (lambda folder: (folder / "images" / "b001.jpg").unlink(), r"Expected the file '.*b001.jpg', got none"),
    ],
)
def test_data_that_is_not_as_it_should_be_is_refused_before_anything_is_measured(tmp_path, spoil, expected):
    spoil(write_set(tmp_path, BREAST, rows_of("abb")))
    with pytest.raises(InputError, match=expected):
        benchmark_real(None, tmp_path, sets=[BREAST])


def test_a_split_or_a_set_that_is_not_there_is_refused(tmp_path):
    write_set(tmp_path, BREAST, rows_of("a", "train"))
    with pytest.raises(InputError, match="Expected images of the split 'test' with masks"):
        benchmark_real(None, tmp_path, sets=[BREAST])
    with pytest.raises(InputError, match="Expected the split validation or test, got 'train'"):
        benchmark_real(None, tmp_path, "train", sets=[BREAST])
    with pytest.raises(InputError, match="Expected sets among breast_us_busbra, .*, got livers"):
        benchmark_real(None, tmp_path, sets=[BREAST, "livers"])
    with pytest.raises(InputError, match="no file '.*brain_mr_cheng.*index.csv'"):
        benchmark_real(None, tmp_path, sets=[BRAIN])


def test_images_that_cannot_be_used_are_left_out_and_listed(tmp_path, segmenter):
    made = [make_phantom("test", at, "US", 1) for at in range(4)]
    images = [(each.image, 255 * each.lesion_mask.astype(np.uint8)) for each in made]
    folder = write_set(tmp_path, BREAST, rows_of("abcd"), images)
    whole = (folder / "images" / "a000.jpg").read_bytes()
    (folder / "images" / "a000.jpg").write_bytes(whole[: len(whole) // 2])
    Image.new("L", (128, 128)).save(folder / "masks" / "b001.png")
    Image.new("L", (64, 128), 255).save(folder / "masks" / "d003.png")
    figures = benchmark_real(segmenter, tmp_path, cases=4, sets=[BREAST]).figures["sets"][BREAST]
    assert figures["cases"] == 1 and figures["skipped"] == ["a000.jpg", "b001.jpg", "d003.jpg"]
    (folder / "images" / "c002.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match="Expected usable images in 'breast_us_busbra', but none of 4"):
        benchmark_real(segmenter, tmp_path, sets=[BREAST])


def test_the_command_writes_figures_of_the_pipeline_and_a_sheet(phantoms, segmenter, tmp_path, run):
    out, sheet = tmp_path / "figures.json", tmp_path / "sheet.png"
    status, expected, error = run(phantoms, "--device", "cpu", "--cases", 2, "--json", out, "--sheet", sheet)
    assert status == 0, error
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert set(figures) == {"sets", "tumor_free"} and list(figures["sets"]) == list(REAL_SETS)
    for name, row in figures["sets"].items():
        assert row["cases"] == 2 and name in expected
        assert {"dsc", "nsd", "coarse_dsc", "presence", "sam_true_box_dsc", "sam_loose_box_dsc"} < set(row)
        assert list(row["controls"]) == ["random_box", "full_box", "other_saliency"]
        for key, (low, high) in row["intervals"].items():
            assert low <= row.get(key, row["controls"].get(key)) <= high
    free = figures["tumor_free"]
    kinds = {"US phantoms": 2, "MR phantoms": 2, "CT phantoms": 2}
    assert {kind: free["by_kind"][kind]["cases"] for kind in kinds} == kinds
    assert free["cases"] == sum(shares["cases"] for shares in free["by_kind"].values())
    with Image.open(sheet) as image:
        assert image.width == 2100
    found = []
    for case in choose_cases(phantoms, BREAST, "test", 2):
        image, truth = case.load()
        segmenter.set_image(image)
        result = segmenter.segment("breast tumor")
        found.append((dsc(result.mask, truth), dsc(result.coarse, truth)))
    row = figures["sets"][BREAST]
    assert np.allclose(np.mean(found, 0), (row["dsc"], row["coarse_dsc"]), atol=1e-6)


def test_the_sheet_and_the_figures_are_never_put_where_patients_images_must_not_be_changed_or_published(phantoms, run):
    for option, place in (("--sheet", phantoms), ("--json", phantoms), ("--sheet", REPOSITORY)):
        status, _, error = run(phantoms, option, place / "new.png")
        assert status == 2 and "Expected an output outside of" in " ".join(error.split())
        assert not (place / "new.png").exists()


def test_the_sheet_lies_beside_the_parent_of_the_data_by_default(tmp_path, run):
    data = tmp_path / "of" / "data"
    phantom = make_phantom("test", 0, "XR")
    truth = 255 * phantom.lungs_mask.astype(np.uint8)
    write_set(data, LUNGS, rows_of("a", "val"), [(phantom.image, truth)])
    options = "--device", "cpu", "--sets", LUNGS, "--split", "validation"
    assert run(data, *options)[0] == 0
    assert (tmp_path / "data-validation.png").is_file()
    status, _, error = run(data, *options)
    assert status == 2 and "--overwrite" in error


def test_it_works_where_simpleitk_is_not_installed(phantoms, tmp_path):
    script = "import sys; sys.modules['SimpleITK'] = None; from MedCLIPSAMLib.cli import main; main()"
    options = f"benchmark real {phantoms} --device cpu --cases 1 --sets {BREAST} --sheet {tmp_path / 'sheet.png'}"
    done = run_python(script, *options.split())
    assert done.returncode == 0, done.stderr


def test_a_part_beside_the_tumor_keeps_three_pixels_away_and_is_always_the_same():
    image = np.arange(100 * 200 * 3, dtype=np.uint32).astype(np.uint8).reshape(100, 200, 3)
    truth = np.zeros((100, 200), bool)
    truth[20:80, 20:60] = True
    part = tumor_free_part("a", image, truth)
    assert np.array_equal(part, image[:, 62:]), "above, below and left of it less than 0.35 of a side is free"
    truth[:, 100] = True
    assert np.array_equal(tumor_free_part("a", image, truth), image[:, 103:])
    truth[:, 150] = True
    assert tumor_free_part("a", image, truth) is None
    middle = np.zeros((100, 200), bool)
    middle[48:52, 98:102] = True
    parts = [tumor_free_part(name, image, middle) for name in "abcdefgh"]
    assert all(np.array_equal(part, tumor_free_part(name, image, middle)) for part, name in zip(parts, "abcdefgh"))
    assert {part.shape[:2] for part in parts} == {(100, 95), (100, 96), (45, 200), (46, 200)}


def test_true_boxes_and_looser_ones_worked_out_by_hand():
    truth = np.zeros((50, 100), bool)
    truth[10:20, 10:30] = truth[30:40, 60:90] = True
    truth[45, 45] = True
    assert make_true_boxes(truth).boxes.tolist() == [[10, 10, 30, 20], [60, 30, 90, 40]], "without the speck"
    assert make_true_boxes(truth, 0.2).boxes.tolist() == [[6, 8, 34, 22], [54, 28, 96, 42]]
    scaled = scale_boxes(make_true_boxes(truth).boxes, (50, 100), (100, 50)).boxes
    assert scaled.tolist() == [[5, 20, 15, 40], [30, 60, 45, 80]]


def test_the_interval_of_a_mean():
    assert mean_interval(np.array([0.5, 0.5, 0.5])) == [0.5, 0.5] and mean_interval(np.array([0.7])) == [0.7, 0.7]
    values = np.array([0.0, 1.0] * 50)
    low, high = mean_interval(values)
    assert abs(low - 0.402) < 0.02 and abs(high - 0.598) < 0.02, "1.96 standard errors of 0.05 around 0.5"


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real images in {REAL}")
def test_the_real_sets_can_be_read_and_measured(segmenter):
    """The demo models know none of them, so that only what needs no knowledge is asserted."""
    found = benchmark_real(segmenter, REAL, cases=2, sets=[LUNGS, NODULE])
    assert [row["cases"] for row in found.figures["sets"].values()] == [2, 2]
    assert not any(row["skipped"] for row in found.figures["sets"].values())
    for name in REAL_SETS:
        for split in ("validation", "test"):
            for case in choose_cases(REAL, name, split, 10_000):
                assert case.mask.is_file()
