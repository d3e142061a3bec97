"""What an export takes of a folder tree: images, never masks, overlays or its own outputs."""

import gzip
import json
import os
import shutil
import time
from contextlib import nullcontext
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_made import image, save
from PIL import Image
from recording_reply import RecordingReply

from MedCLIPSAMLib.errors import InputError, PromptError
from MedCLIPSAMLib.export.cases import find_cases
from MedCLIPSAMLib.export.masks_beside import masks_among
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.volumes import Segment, read_volume, write_saliency, write_segmentation
from MedCLIPSAMLib.volumes.mark import MARK
from MedCLIPSAMLib.volumes.volume import clean_name
from MedCLIPSAMLib.volumes.write import write_png
from MedCLIPSAMLib.worker.exporting import export_dataset
from MedCLIPSAMLib.worker.protocol import Message

PROMPTS = {"tumor": "brain tumor"}
ROOT = Path(__file__).resolve().parents[2]


def scan(path, slices: int = 1):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = make_phantom("validation", 1, "MR", 1).image
    if path.suffix == ".png":
        Image.fromarray(image).save(path)
    else:
        gray = image if image.ndim == 2 else image[..., 0]
        sitk.WriteImage(sitk.GetImageFromArray(np.stack([gray] * slices)), str(path))
    return path


def names(folder, **choice):
    return [case.name for case in find_cases(folder, PROMPTS, **choice)]


MASKS = ["a_mask.png", "a-seg.nii.gz", "a gt.png", "mask_a.png", "a_Label 1.png", "a_pred.png", "masks/a.png"]


@pytest.mark.parametrize("mask", MASKS)
def test_masks_beside_images_are_no_cases(tmp_path, mask):
    scan(tmp_path / "a.png"), scan(tmp_path / mask)
    assert names(tmp_path) == ["a"]
    assert len(names(tmp_path, include=["*"])) == 2  # who asks for them has them


def test_masks_beside_several_images_of_a_case_and_maps_beside_segmentations_are_no_cases(tmp_path):
    for name in ("b_t1.nii.gz", "b_flair.nii.gz", "b_seg.nii.gz", "c_uncertainty.nii.gz", "d/b_seg.nii.gz"):
        scan(tmp_path / name, 2)
    (tmp_path / "c.seg.nrrd").write_bytes(b"x")
    assert names(tmp_path) == ["b_flair", "b_t1", "d_b_seg"]


def test_thousands_of_files_are_looked_through_in_seconds(tmp_path):
    for number in range(3000):
        (tmp_path / f"{number}.png").write_bytes(b"")
        (tmp_path / f"{number}_mask.png").write_bytes(b"")
    started = time.monotonic()
    found = masks_among(sorted(tmp_path.iterdir()))
    assert len(found) == 3000 and time.monotonic() - started < 20


def test_a_lone_dicom_file_is_named_by_itself_beside_other_images_and_by_its_folder_else(tmp_path):
    for folder in ("alone", "mixed"):
        (tmp_path / folder).mkdir()
        shutil.copy(ROOT / "Resources" / "samples" / "brain_mri.dcm", tmp_path / folder)
    scan(tmp_path / "mixed" / "a.png")
    assert names(tmp_path) == ["alone", "mixed_brain_mri", "mixed_a"]


def test_images_that_are_named_like_masks_are_cases_where_nothing_is_beside_them(tmp_path):
    for name in (
        "seg_study_1.png",
        "b_mask.png",
        "masks/c.png",
        "unmasked.png",
        "a.png",
        "a_masked.png",
        "d/labels.png",
    ):
        scan(tmp_path / name)
    assert len(names(tmp_path)) == 7


LAYOUTS = {
    "KiTS": ("case_00001/imaging.nii.gz", "case_00001/segmentation.nii.gz"),
    "several images": ("1/t1.nii.gz 1/flair.nii.gz", "1/mask.nii.gz"),
    "by number": ("volume-0.nii volume-1.nii", "segmentation-0.nii segmentation-1.nii"),
    "COVID-QU-Ex": ("Lung_Segmentation/images/a.png", "Lung_Segmentation/lung_masks/a.png"),
    "Montgomery": ("CXR_png/a.png", "ManualMask/leftMask/a.png ManualMask/rightMask/a.png"),
    "splits": ("images/train/a.png images/test/b.png", "masks/train/a.png masks/test/b.png"),
    "a folder a scan": ("images/scan1/a.png", "masks/scan1/a.png"),
    "nnU-Net": ("imagesTr/a_0000.nii.gz imagesTs/b_0000.nii.gz", "labelsTr/a.nii.gz"),
    "nnU-Net, small letters": ("imagestr/a_0000.nii.gz", "labelstr/a.nii.gz"),
    "a finding": ("GroundGlass/a.png Normal/a.png", "Ground/a.png"),
    "BIDS": (
        "sub-1/anat/sub-1_T1w.nii.gz sub-1/anat/sub-1_FLAIR.nii.gz",
        "sub-1/anat/sub-1_label-lesion_mask.nii.gz sub-1/anat/sub-1_FLAIR_roi.nii.gz sub-1/anat/sub-1_probseg.nii.gz "
        "derivatives/manual/sub-1/anat/sub-1_space-orig_dseg.nii.gz derivatives/prep/sub-1/anat/sub-1_T1w.nii.gz",
    ),
    "BIDS, its derivatives alone": (
        "derivatives/prep/sub-1/sub-1_desc-preproc_T1w.nii.gz derivatives/prep/sub-2/sub-2_masked.nii.gz",
        "derivatives/prep/sub-1/sub-1_desc-brain_mask.nii.gz derivatives/sub-2/sub-2_ses-1_lesion-msk.nii.gz",
    ),
    "TotalSegmentator": (
        "s0/ct.nii.gz s1/ct.nii.gz",
        "s0/segmentations/liver.nii.gz s0/segmentations/rib_left_1.nii.gz s1/segmentations/liver.nii.gz",
    ),
    "KiTS23": ("case_0/imaging.nii.gz", "case_0/instances/kidney_instance-1_annotation-1.nii.gz"),
    "MRBrainS": ("1/pre/FLAIR.nii.gz 2/pre/FLAIR.nii.gz", "1/segm.nii.gz 2/segm.nii.gz"),
    "QaTa-COV19": ("Images/c.png", "Ground-truths/mask_c.png"),
    "FSL and SynthSeg": ("T1.nii.gz", "T1_pve_0.nii.gz T1_synthseg.nii.gz T1_seg.nii.gz"),
    "nnU-Net, predicted": ("imagesTs/a_0000.nii.gz imagesTs/b_0000.nii.gz", "preds/a.nii.gz"),
    "PDDCA and AbdomenAtlas": ("1/img.nii.gz", "1/structures/BrainStem.nii.gz 1/combined_labels.nii.gz"),
    "GlaS": ("train_1.png train_2.png", "train_1_anno.png thumbnails/train_2.png"),
    "BTCV": ("img/img0001.nii.gz img/img0002.nii.gz", "label/label0001.nii.gz label/label0002.nii.gz"),
    "Slicer": (
        "CT.nrrd",
        "Master~Scene~View.png Segmentation.seg.nrrd Segmentation-label.nrrd Segmentation_tumor.nrrd CT-label.nrrd",
    ),
    "a task": ("Lung_Segmentation/1/ct.nii.gz Brain/1/ct.nii.gz", "Lung_Segmentation/1/seg/ct.nii.gz"),
}


@pytest.mark.parametrize("images, masks", LAYOUTS.values(), ids=LAYOUTS)
def test_masks_of_well_known_layouts_are_no_cases(tmp_path, images, masks):
    for name in f"{images} {masks}".split():
        scan(tmp_path / name.replace("~", " "))
    found = find_cases(tmp_path, PROMPTS)
    assert {case.image.relative_to(tmp_path).as_posix() for case in found} == set(images.split())


def test_a_mask_named_after_another_image_is_known_by_its_values(tmp_path):
    """As BraTS20_Training_355 has it; an image of such a name is a case."""
    scan(tmp_path / "BraTS_355_flair.nii.gz", 3), scan(tmp_path / "b_seg.nii.gz", 3), scan(tmp_path / "c_mask.png")
    for name, values in (("W39_Segm", 4), ("d_mask", 2)):
        labels = (np.arange(300).reshape(3, 10, 10) % values).astype(np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(labels), str(tmp_path / f"{name}.nii.gz"))
    assert names(tmp_path) == ["BraTS_355_flair", "b_seg", "c_mask"]


def test_no_case_has_the_name_of_a_device_of_windows(tmp_path):
    for name in ("CON.png", "aux.1.png", "console.png"):
        scan(tmp_path / name)
    assert names(tmp_path) == ["_CON", "_aux.1", "console"]
    assert clean_name("NUL") == "_NUL" and clean_name("com1.t1") == "_com1.t1" and clean_name("nulliparous") != "_nul"


def test_masks_beside_a_dicom_series_or_in_a_folder_of_them_are_no_cases(tmp_path):
    """As of CHAOS: masks are named as no image is."""
    for folder in ("CT/1", "CT/1/seg"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / "Resources" / "samples" / "brain_mri.dcm", tmp_path / "CT" / "1")
    scan(tmp_path / "CT" / "1" / "mask.nii.gz")
    Image.fromarray(np.eye(40, dtype=np.uint8) * 255).save(tmp_path / "CT" / "1" / "seg" / "liver_GT_000.png")
    assert names(tmp_path) == ["CT_1_brain_mri"]


def test_segmentations_of_slicer_and_the_picture_of_a_scene_are_no_cases_whatever_their_names(tmp_path):
    scan(tmp_path / "ct.nrrd")
    volume = read_volume(tmp_path / "ct.nrrd")
    write_segmentation(tmp_path / "x.seg.nrrd", [Segment("liver", np.ones(volume.shape, bool))], volume)
    (tmp_path / "x.seg.nrrd").rename(tmp_path / "liver.nrrd")
    content = (tmp_path / "liver.nrrd").read_bytes().replace(MARK.encode(), b"-" * len(MARK))
    (tmp_path / "liver.nrrd").write_bytes(content)
    scan(tmp_path / "Scene.png"), (tmp_path / "Scene.mrml").touch()
    assert names(tmp_path) == ["ct"]


def test_an_image_of_few_values_beside_an_image_of_its_name_is_its_mask(tmp_path):
    scan(tmp_path / "a.nii.gz", 3), scan(tmp_path / "b.nii.gz", 3), scan(tmp_path / "b.png")
    Image.fromarray(np.eye(40, dtype=np.uint8) * 255).save(tmp_path / "a.png")
    Image.fromarray(np.eye(40, dtype=np.uint8) * 255).save(tmp_path / "c.png")
    assert len(names(tmp_path)) == 4
    assert masks_among(sorted(tmp_path.iterdir())) == {tmp_path / "a.png"}


@pytest.mark.parametrize("ending", [".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".mha", ".png"])
def test_what_the_program_wrote_is_no_case_whatever_it_is_called(tmp_path, ending):
    volume = read_volume(scan(tmp_path / "a.png"))
    write_segmentation(tmp_path / f"result{ending}", [Segment("x", volume.array > 90)], volume)
    if ending in (".nii.gz", ".nrrd"):
        write_saliency(tmp_path / f"where{ending}", volume.array / 255, volume)
    write_png(tmp_path / "image.png", np.stack([volume.array[0]] * 3, -1), marked=True)
    assert names(tmp_path) == ["a"]


def test_a_pair_of_files_is_one_case(tmp_path):
    made = nibabel.Nifti1Pair(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    nibabel.save(made, tmp_path / "a.hdr")
    for ending in (".hdr", ".img"):
        (tmp_path / f"b{ending}.gz").write_bytes(gzip.compress((tmp_path / f"a{ending}").read_bytes()))
    cases = find_cases(tmp_path, PROMPTS)
    assert [(case.name, case.image.name) for case in cases] == [("a", "a.hdr"), ("b", "b.hdr.gz")]
    assert all(read_volume(case.image).shape == (5, 4, 3) for case in cases)


def test_files_that_are_left_out_are_counted_by_kind(tmp_path, caplog):
    scan(tmp_path / "a.png"), scan(tmp_path / "b.mhd", 2), scan(tmp_path / "c.nhdr", 2)
    assert names(tmp_path) == ["a", "b", "c"] and not caplog.records  # b.raw and c.raw.gz are their voxels
    shutil.copy(ROOT / "Resources" / "samples" / "brain_mri.dcm", tmp_path / "d")
    slide = image(np.zeros((4, 6), np.uint16), "1.2.840.10008.5.1.4.1.1.66.4", "SEG")
    save(slide, tmp_path / "e")
    (tmp_path / "sub").mkdir()
    others = "x.gif sub/y.GIF z.mgz t.tar.gz alone.img alone2.hdr s.seg.nrrd README .h.nii.gz ._a.png .DS_Store 1.2.3.4"
    for name in others.split():
        (tmp_path / name).write_bytes(b"x")
    assert names(tmp_path) == ["d", "a", "b", "c"]
    assert [record.message for record in caplog.records] == [
        "Left out as no images: 2 .gif, 2 without an ending, 1 .hdr, 1 .img, 1 .mgz, 1 .seg.nrrd, 1 .tar.gz, "
        "1 DICOM (segmentation), 1 hidden."
    ]


def test_results_folders_inside_of_the_inputs_are_no_cases(run, tmp_path):
    """As in three runs in one folder, whose outputs lay in it."""
    scan(tmp_path / "a.png"), scan(tmp_path / "b.png")
    for _ in range(2):
        for command in (["segment", "-o", tmp_path / "out"], ["export", "-o", tmp_path / "Dataset301_In"]):
            code, _, err = run(command[0], tmp_path, "-p", "brain tumor", *command[1:])
            assert code == 0, err
            assert names(tmp_path) == ["a", "b"]
    assert len(list((tmp_path / "out").glob("*.seg.nrrd"))) == 2
    with pytest.raises(InputError, match="other results"):
        find_cases(tmp_path / "out", PROMPTS)


def test_patterns_choose_and_a_dry_run_lists_without_models(run, tmp_path):
    for name in ("p1/a.png", "p1/b.nii.gz", "p2/a.png", "p2/deep/c.png"):
        scan(tmp_path / "in" / name, 2)
    assert names(tmp_path / "in", include=["p1/*"]) == ["p1_a", "p1_b"]
    assert names(tmp_path / "in", include=["*.png"], exclude=["p2/*", "nothing*"]) == ["p1_a"]
    out = tmp_path / "out"
    options = ("--format", "png", "--model", "none", "--dry-run")
    ask = ("export", tmp_path / "in", "-p", "t: tumor", "-o", out, *options)
    code, text, err = run(*ask, "--exclude", "*.nii.gz", "--json")
    assert code == 0 and [case["case"] for case in json.loads(text)["cases"]] == ["p1_a", "p2_a", "p2_deep_c"]
    assert not out.exists()
    code, text, _ = run(*ask, "--include", "p1/a*")
    assert code == 0 and "1 case; nothing was done." in text and "p1_a: " in text
    code, _, err = run(*ask, "--include", "*.jpg")
    assert code == 2 and "None of the 4 images" in err and "fits the patterns" in err


def test_volumes_are_refused_for_images_before_the_work(run, tmp_path):
    scan(tmp_path / "in" / "a.png"), scan(tmp_path / "in" / "b.nii.gz", 3), scan(tmp_path / "in" / "flat.nii.gz", 1)
    ask = ("export", tmp_path / "in", "-p", "t: tumor", "-o", tmp_path / "out", "--format", "png")
    code, _, err = run(*ask, "--sam", "none")
    assert code == 2 and "'b' has 3 slices" in err and not (tmp_path / "out").exists()
    code, text, err = run(*ask, "--exclude", "b.nii.gz", "--dry-run")
    assert code == 0 and "2 cases" in text


def test_images_by_any_name_of_their_format_are_found(tmp_path):
    for name, kind in (("a.jfif", "JPEG"), ("b.JPE", "JPEG"), ("c.dib", "BMP")):
        Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(tmp_path / name, kind)
    cases = find_cases(tmp_path, {"x": "tumor"})
    assert [case.name for case in cases] == ["a", "b", "c"]
    assert [read_volume(case.image).notes for case in cases] == [[]] * 3


def test_images_that_no_dicom_seg_can_refer_to_are_refused_before_the_work(run, tmp_path):
    scan(tmp_path / "in" / "a.png"), scan(tmp_path / "in" / "b.nii.gz", 3)
    shutil.copy(ROOT / "Resources" / "samples" / "brain_mri.dcm", tmp_path / "in" / "c.dcm")
    shutil.make_archive(str(tmp_path / "d"), "zip", tmp_path / "in")
    rows = [f"in/{name},tumor" for name in ("a.png", "b.nii.gz", "c.dcm")] + ["d.zip,tumor"]
    (tmp_path / "table.csv").write_text("\n".join(["image,prompt", *rows]), encoding="utf-8")
    asked = ("-o", tmp_path / "out", "--format", "dcm", "--sam", "none")
    for inputs, said in (("in", "2 of 3 images"), ("table.csv", "3 of 4 images")):
        prompt = ("-p", "t: tumor") if inputs == "in" else ()
        code, _, err = run("export", tmp_path / inputs, *prompt, *asked)
        assert code == 2 and said in err and "'a.png', 'b.nii.gz'" in err and "'c.dcm'" not in err
        assert len(err.splitlines()) == 2 and "Leave them out" in err and not (tmp_path / "out").exists()
    code, text, err = run("export", tmp_path / "in" / "c.dcm", "-p", "t: tumor", *asked, "--dry-run")
    assert code == 0 and "1 case" in text, err


def test_labels_of_prompts_are_those_of_the_dataset(run, tmp_path):
    scan(tmp_path / "a.png")
    code, _, err = run("export", tmp_path / "a.png", "-p", "lesion: brain tumor", "-o", tmp_path / "Dataset007_X")
    assert code == 0, err
    described = json.loads((tmp_path / "Dataset007_X" / "dataset.json").read_text(encoding="utf-8"))
    assert described["labels"] == {"background": 0, "lesion": 1}


def test_words_that_the_model_does_not_know_are_told_before_the_work(run, tmp_path):
    write_png(tmp_path / "a.png", np.zeros((40, 40, 3), np.uint8))
    ask = ("export", tmp_path / "a.png", "--format", "png", "--model", "demo", "--sam", "demo", "--device", "cpu")
    code, _, err = run(*ask, "-o", tmp_path / "out", "-p", "brest tumor")
    assert (
        code == 0
        and err.count("note: The model 'demo' does not know, and leaves out: brest. Did you mean 'breast'?") == 1
    )
    code, _, err = run(*ask, "-o", tmp_path / "none", "-p", "zorblax")
    assert code == 2 and "knows no word of the prompt 'zorblax'" in err and not (tmp_path / "none").exists()
    ask = {"inputs": str(tmp_path / "a.png"), "clip": "demo", "sam": "demo", "device": "cpu", "export": {"form": "png"}}
    for out, prompt in (("by worker", "brest tumor"), ("by worker, none", "zorblax")):
        fields, reply = ask | {"out": str(tmp_path / out), "prompts": {"x": prompt}}, RecordingReply()
        with pytest.raises(PromptError, match="knows no word") if prompt == "zorblax" else nullcontext():
            export_dataset(Message("export", 1, fields), reply)
            (notice,) = reply.of("notice")
            assert notice.fields["message"].startswith("The model 'demo' does not know, and leaves out: brest.")
    assert not (tmp_path / "by worker, none").exists()


def test_what_is_there_twice_by_links_is_one_case(tmp_path):
    scan(tmp_path / "a.png")
    (tmp_path / "again.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "all").symlink_to(tmp_path)
    (tmp_path / "up").symlink_to(tmp_path.parent)
    assert names(tmp_path) == ["a"]


def test_folders_that_are_links_are_looked_into_once(tmp_path):
    """As a cohort is put together of patients that lie elsewhere."""
    scan(tmp_path / "store" / "p1" / "deep" / "a.png"), scan(tmp_path / "store" / "p2" / "b.nii.gz", 2)
    (tmp_path / "store" / "p1" / "deep" / "loop").symlink_to(tmp_path / "store" / "p1")
    (tmp_path / "cohort").mkdir()
    for link in ("p1", "p2", "again"):
        (tmp_path / "cohort" / link).symlink_to(tmp_path / "store" / link.replace("again", "p2"))
    assert len(names(tmp_path / "cohort")) == 2 and "p1_deep_a" in names(tmp_path / "cohort")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with a name")
def test_broken_links_and_pipes_in_a_folder_are_counted_and_not_read(tmp_path, caplog):
    scan(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "not-fetched" / "b.png")  # as git-annex leaves them
    (tmp_path / ".#a.png").symlink_to("user@host")  # as Emacs locks a file
    os.mkfifo(tmp_path / "pipe")
    assert names(tmp_path) == ["a"]
    (record,) = caplog.records
    assert record.message == "Left out as no images: 1 link (broken), 1 pipe or device."


@pytest.mark.parametrize("command", ["export", "segment"])
def test_what_is_left_out_is_a_note_in_the_terminal_and_in_the_json(run, tmp_path, command):
    scan(tmp_path / "in" / "a.png"), scan(tmp_path / "in" / "a_mask.png"), scan(tmp_path / "in" / "b.png")
    (tmp_path / "in" / "notes.txt").write_text("x")
    notes = [
        "Left out as no images: 1 .txt.",
        "Left out as masks or results: a_mask.png. They are taken where a pattern, a table or a path names them.",
    ]
    ask = (command, tmp_path / "in", "-p", "t: brain tumor", "-o", tmp_path / "Dataset301_In", "--json")
    for more in ([], ["--dry-run"])[: 2 if command == "export" else 1]:
        code, text, err = run(*ask, *more)
        assert code == 0 and json.loads(text)["notes"][:2] == notes
        assert all(f"note: {note}\n" in err for note in notes) and "WARNING" not in err
    if command == "export":
        scan(tmp_path / "more" / "c.png")
        code, text, _ = run(command, tmp_path / "more", *ask[2:])
        assert code == 0 and any(note.startswith("These images come from") for note in json.loads(text)["notes"])


def test_a_folder_of_something_else_is_refused_before_the_models_load(run, tmp_path):
    scan(tmp_path / "in" / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    ask = ("export", tmp_path / "in", "-p", "t: brain tumor", "--format", "png")
    for more in (["--dry-run"], ["--model", "none"]):
        code, _, err = run(*ask, "-o", tmp_path / "out", *more)
        assert code == 2 and "holds no export.json of an earlier run" in err
    assert run(*ask, "-o", tmp_path / "masks", "--anonymous", tmp_path / "key.csv")[0] == 0
    code, _, err = run(*ask, "-o", tmp_path / "masks")
    assert code == 2 and "holds results of other settings: anonymous was True, is not given." in err
