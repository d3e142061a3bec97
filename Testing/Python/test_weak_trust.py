"""Corrections of pseudo-labels as trusted labels."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from helpers.weak import write_dataset
from PIL import Image

from MedCLIPSAMLib.errors import InputError, OutputError
from MedCLIPSAMLib.export.cases import find_cases
from MedCLIPSAMLib.export.dataset import segments_of, write_case, write_description
from MedCLIPSAMLib.export.engines import LocalEngine
from MedCLIPSAMLib.export.export import export
from MedCLIPSAMLib.export.manifest import Manifest, read_records
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


def test_a_correction_becomes_a_trusted_label_and_the_guess_is_kept(exported, run):
    out, cases, engine = exported
    guess = (out / "labelsTr" / "0.nii.gz").read_bytes()
    volume = read_volume(out / "imagesTr" / "0_0000.nii.gz")
    mask = np.zeros(volume.shape, bool)
    mask[0, 20:40, 50:70] = True
    folders = (out / "image_folders.json").read_bytes()
    assert trust(out, "0", {"tumor": mask}, volume) == 1 and trusted_cases(out) == {"0"}
    assert (out / "image_folders.json").read_bytes() == folders  # its image is that of the export
    written = sitk.ReadImage(str(out / "labelsTr" / "0.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(written) == 1, mask)
    assert (out / "replaced" / "0.nii.gz").read_bytes() == guess
    assert export(cases, engine, out, retry=True) == {"found": 2}  # no export does it again
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(out / "labelsTr" / "0.nii.gz"))) == 1, mask)
    record = read_records(out)["0"]
    assert record["trusted"] and record["status"] == "found" and "notes" not in record
    size = {"voxels": 400, "size": 0.4, "unit": "thousand pixels", "message": "The mask was given by hand."}
    of_guess = {"prompt": "brain tumor", "score": None, "expected_dsc": None, "status": "found"}
    assert record["labels"]["tumor"] == of_guess | size
    assert '"The mask was given by hand."' in (out / "report.html").read_text(encoding="utf-8")
    with Image.open(out / "report" / "0.png") as shown:
        pixels, factor = np.asarray(shown.convert("RGB")).astype(int), shown.width // volume.shape[2]
    colored = np.ptp(pixels[factor // 2 :: factor, factor // 2 :: factor], axis=-1) > 0
    assert np.array_equal(colored, mask[0])  # the image is gray

    # By the command, of a case that was struck out: it comes back.
    strike(out, ["1"])
    corrected = out.parent / "mine.seg.nrrd"
    write_segmentation(corrected, [Segment("tumor", mask)], read_volume(cases[1].image))
    assert run("weak", "trust", out, "1", corrected, "--image", cases[1].image)[0] == 0
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
    with pytest.raises(InputError, match="cannot be the name of a case"):
        trust(out, "../outside", {"tumor": mask}, volume)
    with pytest.raises(InputError, match="--image"):
        trust_file(out, "unknown", out / "labelsTr" / "0.nii.gz")
    with pytest.raises(InputError, match="medclipsam export"):
        trust(write_dataset(tmp_path / "Dataset004_Other", 1), "ct00", {"lungs": mask}, volume)
    with pytest.raises(InputError, match="no case 'ct0'. Did you mean 'ct00'. A new case needs"):
        trust_file(tmp_path / "Dataset004_Other", "ct0", out / "labelsTr" / "0.nii.gz")
    lock = lock_folder(out)
    with pytest.raises(OutputError, match="Another run"):
        trust(out, "0", {"tumor": mask}, volume)
    lock.close()
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.fixture
def two_labels(tmp_path):
    """A dataset with tumor = 1 and lung = 2 of an image of 4 x 6 x 5 voxels (I, J, K), of 1 x 2 x 3 mm."""
    out = tmp_path / "Dataset301_X"
    volume = sitk.GetImageFromArray(np.arange(120, dtype=np.int16).reshape(5, 6, 4))
    volume.SetSpacing((1.0, 2.0, 3.0))
    sitk.WriteImage(volume, str(tmp_path / "a.nii.gz"))
    image = read_volume(tmp_path / "a.nii.gz")
    request = {"made by": "a test", "labels": ["tumor", "lung"], "export": {"form": "nnunet"}}
    manifest = Manifest(out, request)
    for name in ("a", "b"):
        segments = segments_of(["tumor", "lung"], {"tumor": np.ones(image.shape, bool)}, {})
        files = write_case(out, name, "nnunet", image, segments)
        manifest.write({"case": name, "image": "a.nii.gz", "status": "found", "labels": {}, "files": files})
    manifest.close()
    write_description(out, "nnunet", ["tumor", "lung"], ["a", "b"], "CT")
    return out, image


def save(image, array, path, change=lambda image: image):
    """Write an array as a label map on the grid of an image, changed."""
    sitk.WriteImage(change(image.to_sitk(array.astype(np.uint8))), str(path))
    return path


def values_of(dataset, case):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(dataset / "labelsTr" / f"{case}.nii.gz")))


def test_the_size_of_a_mask_keeps_its_unit(two_labels):
    """Seven voxels of 1 x 2 x 3 mm are .042 ml; of an image (a volume in the dataset) .007 thousand pixels."""
    out, image = two_labels
    mask = np.zeros(image.shape, bool)
    mask[2, 1, :], mask[3, 1, :3] = True, True
    guess = {"status": "found", "score": 0.9, "size": 1.0, "unit": "thousand pixels"}
    record = read_records(out)["b"] | {"labels": {"tumor": guess}}
    with (out / "manifest.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    for case, size, unit in (("a", 0.042, "ml"), ("b", 0.007, "thousand pixels")):
        trust(out, case, {"tumor": mask}, image)
        labels = read_records(out)[case]["labels"]
        assert (labels["tumor"]["size"], labels["tumor"]["unit"], labels["lung"]["status"]) == (size, unit, "empty")


def test_the_values_of_a_label_map_decide_and_the_name_of_the_file_says_nothing(two_labels, tmp_path):
    out, image = two_labels
    mask = np.zeros(image.shape, np.uint8)
    mask[1, 2, 3] = 1
    trust_file(out, "a", save(image, mask, tmp_path / "patient 2.nii.gz"))
    assert np.array_equal(values_of(out, "a"), mask)
    trust_file(out, "a", save(image, mask * 2, tmp_path / "patient 1.nii.gz"))
    assert np.array_equal(values_of(out, "a"), mask * 2)
    with pytest.raises(InputError, match="segments 3"):
        trust_file(out, "a", save(image, mask * 3, tmp_path / "patient 1.nii.gz"))
    write_segmentation(tmp_path / "named 1.seg.nrrd", [Segment("lung", mask == 1)], image)
    trust_file(out, "b", tmp_path / "named 1.seg.nrrd")
    assert np.array_equal(values_of(out, "b"), mask * 2)
    for names in (["Segment 1"], ["lung", "lung"]):
        write_segmentation(tmp_path / "other.seg.nrrd", [Segment(name, mask == 1) for name in names], image)
        with pytest.raises(InputError, match="segments " + ", ".join(names)):
            trust_file(out, "b", tmp_path / "other.seg.nrrd")


@pytest.mark.parametrize("ending, value", [("png", 255), ("png", 2), ("jpg", 255)])
def test_white_says_which_label_it_is_where_there_is_one_only(tmp_path, ending, value):
    dataset = write_dataset(tmp_path / "Dataset005_Two", 1)
    about = json.loads((dataset / "dataset.json").read_text()) | {"labels": {"background": 0, "tumor": 1, "lungs": 2}}
    (dataset / "dataset.json").write_text(json.dumps(about))
    (dataset / "export.json").write_text(json.dumps({"export": {"form": "nnunet"}}))
    label = sitk.GetArrayFromImage(sitk.ReadImage(str(dataset / "labelsTr" / "ct00.nii.gz")))
    pixels = np.zeros(label.shape[1:], np.uint8)
    pixels[2:20, 4:12] = value
    Image.fromarray(pixels).save(mask := tmp_path / f"mask.{ending}")
    if value == 255:
        with pytest.raises(InputError, match=r"black and white.* 1 \(tumor\), 2 \(lungs\)"):
            trust_file(dataset, "ct00", mask)
    else:
        trust_file(dataset, "ct00", mask)
        assert np.array_equal(values_of(dataset, "ct00")[0], pixels)


def test_a_mask_on_another_grid_is_refused_and_turned_axes_are_not(two_labels, tmp_path):
    out, image = two_labels
    mask = np.zeros(image.shape, np.uint8)
    mask[1, 2, 3] = 1

    def moved(image):
        image.SetOrigin((0.5, 0.0, 0.0))
        return image

    for name, change in (
        ("moved", moved),
        ("cut", lambda image: image[:, :, :4]),
        ("coarse", lambda image: sitk.Shrink(image, (2, 1, 1))),
    ):
        with pytest.raises(InputError, match="different grids"):
            trust_file(out, "a", save(image, mask, tmp_path / f"{name}.nii.gz", change))
    assert values_of(out, "a").all() and not trusted_cases(out)
    trust_file(
        out, "a", save(image, mask, tmp_path / "flipped.nii.gz", lambda image: sitk.Flip(image, (True, False, True)))
    )
    assert np.array_equal(values_of(out, "a"), mask)
    # A segmentation of Slicer, cropped to its content, or drawn beyond the image.
    write_segmentation(tmp_path / "whole.seg.nrrd", [Segment("tumor", mask == 1)], image)
    whole = sitk.ReadImage(str(tmp_path / "whole.seg.nrrd"))

    def save_segments(image, name):
        for key in whole.GetMetaDataKeys():
            image.SetMetaData(key, whole.GetMetaData(key))
        sitk.WriteImage(image, str(tmp_path / name))
        return tmp_path / name

    wide = sitk.ConstantPad(whole, (0, 0, 0), (1, 0, 0), 0)
    for part in (whole[2:4, 1:3, 1:2], wide):
        trust_file(out, "b", save_segments(part, "part.seg.nrrd"))
        assert np.array_equal(values_of(out, "b"), mask)
    with pytest.raises(InputError, match="beyond its image"):
        trust_file(out, "b", save_segments(sitk.ConstantPad(whole, (0, 0, 0), (1, 0, 0), 1), "beyond.seg.nrrd"))
    for key in whole.GetMetaDataKeys():
        whole.EraseMetaData(key)
    sitk.WriteImage(whole, str(tmp_path / "nameless.seg.nrrd"))
    with pytest.raises(InputError, match="does not describe"):
        trust_file(out, "b", tmp_path / "nameless.seg.nrrd")


def test_a_case_that_was_struck_out_comes_back_with_its_own_image(two_labels, tmp_path):
    out, image = two_labels
    mask = np.zeros(image.shape, np.uint8)
    mask[1, 2, 3] = 2
    strike(out, ["b"])
    assert read_dataset(out).cases == ("a",)
    trust_file(out, "b", save(image, mask, tmp_path / "mine.nii.gz"))
    assert read_dataset(out).cases == ("a", "b") and np.array_equal(values_of(out, "b"), mask)


def test_a_new_case_whose_name_differs_in_case_only_is_refused(two_labels):
    """Many systems have one file for both names: the label of the other case would be written over."""
    out, image = two_labels
    before = {path: path.read_bytes() for path in out.rglob("*.*") if path.is_file()}
    with pytest.raises(InputError, match="'A' differs from the dataset's case 'a' only in upper and lower case"):
        trust(out, "A", {"lung": np.ones(image.shape, bool)}, image)
    assert {path: path.read_bytes() for path in out.rglob("*.*") if path.is_file()} == before


def test_two_known_cases_whose_names_differ_in_case_only_are_corrected(two_labels):
    """Of an export to a file system that has two files for them."""
    out, image = two_labels
    manifest = Manifest(out, json.loads((out / "export.json").read_text()))
    record = manifest.records["b"]
    manifest.write(record | {"case": "B", "files": [name.replace("/b", "/B") for name in record["files"]]})
    manifest.close()
    for case in ("b", "B"):
        trust(out, case, {"lung": np.ones(image.shape, bool)}, image)
        assert (values_of(out, case) == 2).all() and read_records(out)[case]["trusted"]


def test_a_line_of_the_manifest_that_was_changed_by_hand_is_told_and_one_that_was_cut_is_not(exported):
    """Left out in silence, the correction that it records would be replaced by a guess in the next export."""
    out, cases, engine = exported
    volume = read_volume(out / "imagesTr" / "0_0000.nii.gz")
    trust(out, "0", {"tumor": np.ones(volume.shape, bool)}, volume)
    manifest, label = out / "manifest.jsonl", out / "labelsTr" / "0.nii.gz"
    lines, corrected = manifest.read_text().splitlines(keepends=True), label.read_bytes()
    for number, line in enumerate(lines):
        for before, after in (('"case": ', '"case" '), ('"case": "', '"case": '), ("}", ",}"), ('", ', '" ')):
            manifest.write_text("".join([*lines[:number], line.replace(before, after, 1), *lines[number + 1 :]]))
            with pytest.raises(InputError, match=f"Line {number + 1} of .* cannot be used"):
                export(cases, engine, out)
    for cut in range(1, len(lines[0]) - 1):
        manifest.write_text("".join([lines[0][:cut] + "\n", *lines]))
        assert read_records(out)["0"]["trusted"], lines[0][:cut]
    manifest.write_text("".join([*lines, "\0" * 40]))  # as a loss of power leaves the end of a file
    assert export(cases, engine, out) == {"found": 2} and label.read_bytes() == corrected
