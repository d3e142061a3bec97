"""Masks, maps and overlays beside images are no cases; images that are named like them are."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_made import SC, image, save, slice_at
from PIL import Image
from scans_made import PROMPTS, names, scan

from MedCLIPSAMLib.export.cases import find_cases
from MedCLIPSAMLib.export.masks_beside import masks_among
from MedCLIPSAMLib.volumes import Segment, read_volume, write_saliency, write_segmentation
from MedCLIPSAMLib.volumes.mark import MARK
from MedCLIPSAMLib.volumes.write import write_png

ROOT = Path(__file__).resolve().parents[2]


def labels(path: Path, values: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = (np.arange(300).reshape(3, 10, 10) % values).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path))


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


@pytest.mark.parametrize(
    "images",
    [
        "positive_instances/1.png normal/1.png",
        "case/a.nii.gz case/instances/b.nii.gz case/for_segmentation/c.nii.gz case/structures/d.nii.gz",
        "manual/1.png automatic/1.png PVE/1.png",
        "derivatives/a.nii.gz b.nii.gz",
        "segmentation_p1.nii.gz segmentation_p2.nii.gz atlas.nii.gz",
        "sub-01_mask.nii.gz sub-02_roi.nii.gz sub-02_T1w.nii.gz",
    ],
)
def test_images_of_names_that_masks_may_have_are_cases_by_their_values(tmp_path, images):
    for name in images.split():
        scan(tmp_path / name, 3)
    assert {case.image.relative_to(tmp_path).as_posix() for case in find_cases(tmp_path, PROMPTS)} == set(
        images.split()
    )


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
        "sub-1/anat/sub-1_label-lesion_mask.nii.gz* sub-1/anat/sub-1_FLAIR_roi.nii.gz* sub-1/anat/sub-1_probseg.nii.gz "
        "derivatives/manual/sub-1/anat/sub-1_space-orig_dseg.nii.gz derivatives/prep/sub-1/anat/sub-1_T1w.nii.gz",
    ),
    "BIDS, its derivatives alone": (
        "derivatives/prep/sub-1/sub-1_desc-preproc_T1w.nii.gz derivatives/prep/sub-2/sub-2_masked.nii.gz",
        "derivatives/prep/sub-1/sub-1_desc-brain_mask.nii.gz* derivatives/sub-2/sub-2_ses-1_lesion-msk.nii.gz",
    ),
    "TotalSegmentator": (
        "s0/ct.nii.gz s1/ct.nii.gz",
        "s0/segmentations/liver.nii.gz s0/segmentations/rib_left_1.nii.gz s1/segmentations/liver.nii.gz",
    ),
    "KiTS23": ("case_0/imaging.nii.gz", "case_0/instances/kidney_instance-1_annotation-1.nii.gz*"),
    "MRBrainS": ("1/pre/FLAIR.nii.gz 2/pre/FLAIR.nii.gz", "1/segm.nii.gz 2/segm.nii.gz"),
    "QaTa-COV19": ("Images/c.png", "Ground-truths/mask_c.png"),
    "FSL and SynthSeg": ("T1.nii.gz", "T1_pve_0.nii.gz T1_synthseg.nii.gz T1_seg.nii.gz"),
    "nnU-Net, predicted": ("imagesTs/a_0000.nii.gz imagesTs/b_0000.nii.gz", "preds/a.nii.gz"),
    "PDDCA and AbdomenAtlas": ("1/img.nii.gz", "1/structures/BrainStem.nii.gz* 1/combined_labels.nii.gz"),
    "GlaS": ("train_1.png train_2.png", "train_1_anno.png thumbnails/train_2.png"),
    "BTCV": ("img/img0001.nii.gz img/img0002.nii.gz", "label/label0001.nii.gz label/label0002.nii.gz"),
    "Slicer": (
        "CT.nrrd",
        "Master~Scene~View.png Segmentation.seg.nrrd Segmentation-label.nrrd Segmentation_tumor.nrrd* CT-label.nrrd",
    ),
    "PI-CAI": ("images/1/1_2_t2w.mha images/1/1_2_adc.mha", "picai_labels/csPCa/human_expert/1_2.nii.gz*"),
    "HECKTOR": ("imagesTr/A-1__CT.nii.gz imagesTr/A-1__PT.nii.gz", "labelsTr/A-1.nii.gz*"),
    "COVID-19-CT-Seg": ("COVID-19-CT-Seg_20cases/a.nii.gz", "Lung_Mask/a.nii.gz*"),
    "FreeSurfer": ("mri/T1.nii.gz", "mri/aparc+aseg.nii.gz mri/aparc.a2009s+aseg.nii.gz mri/ribbon.nii.gz"),
    "CHASE and RIM-ONE": ("Image_01L.png N-1-L.png", "Image_01L_1stHO.png* N-1-L-Disc-exp1.png*"),
    "pictures": ("1/image.png 2/a.png", "1/tumor.png* 2/a_tumor.png*"),
    "labels by number": ("volume-0.png volume-1.png", "labels-0.png labels-1.png"),
    "a task": ("Lung_Segmentation/1/ct.nii.gz Brain/1/ct.nii.gz", "Lung_Segmentation/1/seg/ct.nii.gz"),
}


@pytest.mark.parametrize("images, masks", LAYOUTS.values(), ids=LAYOUTS)
def test_masks_of_well_known_layouts_are_no_cases(tmp_path, images, masks):
    for name in f"{images} {masks}".split():
        if name.endswith("*"):  # known by its values
            labels(tmp_path / name[:-1], 2)
        else:
            scan(tmp_path / name.replace("~", " "))
    found = find_cases(tmp_path, PROMPTS)
    assert {case.image.relative_to(tmp_path).as_posix() for case in found} == set(images.split())


def test_a_mask_named_after_another_image_is_known_by_its_values(tmp_path):
    """As BraTS20_Training_355 has it; an image of such a name is a case."""
    scan(tmp_path / "BraTS_355_flair.nii.gz", 3), scan(tmp_path / "b_seg.nii.gz", 3), scan(tmp_path / "c_mask.png")
    for name, values in (("W39_Segm", 4), ("d_mask", 2)):
        labels(tmp_path / f"{name}.nii.gz", values)
    assert names(tmp_path) == ["BraTS_355_flair", "b_seg", "c_mask"]


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
    tagged = sitk.ReadImage(str(tmp_path / "ct.nrrd"), sitk.sitkInt16)
    tagged.SetMetaData("Segment0_ID", "taken on")
    sitk.WriteImage(tagged, str(tmp_path / "tagged.nrrd"))
    assert names(tmp_path) == ["ct", "tagged"]


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


@pytest.mark.parametrize("of", ["ct.nii.gz", "ct/1.dcm", "1.dcm"])
def test_a_mask_beside_its_image_is_known_whatever_it_is_called(tmp_path, of):
    """A small volume of few values beside a large one or a DICOM series; a small one of many values is an image."""
    scanned = tmp_path / of
    scanned.parent.mkdir(exist_ok=True)
    if scanned.suffix == ".dcm":
        shutil.copy(ROOT / "Resources" / "samples" / "brain_mri.dcm", scanned)
    else:
        noise = np.random.default_rng(0).integers(0, 999, (9, 40, 40), np.int16)
        sitk.WriteImage(sitk.GetImageFromArray(noise), str(scanned))
    for name in ("liver.nii.gz", "kidney_left.nii.gz"):
        labels(scanned.parent / name, 2)
    labels(scanned.parent / "scout.nii.gz", 200)
    assert sorted(case.image.name for case in find_cases(tmp_path, PROMPTS))[:2] == [scanned.name, "scout.nii.gz"]


def test_masks_that_are_dicom_images_in_folders_of_masks_are_no_cases(tmp_path):
    """As of 3D-IRCADb, and of CBIS-DDSM, where a cropped image lies beside the mask; alone they are what is there."""
    noise = np.random.default_rng(0).integers(0, 999, (20, 30), np.int16)
    save(slice_at((0, 0, 0), 1, SeriesInstanceUID="1.1"), tmp_path / "PATIENT_DICOM" / "image_0")
    mask = np.eye(20, 30, dtype=np.uint8) * 255
    for number, (folder, pixels) in enumerate({"MASKS_DICOM/liver": mask, "MASKS_DICOM/noise": noise}.items()):
        place = {"ImagePositionPatient": [0.0, 0.0, 0.0], "ImageOrientationPatient": [1.0, 0, 0, 0, 1, 0]}
        made = image(pixels, SeriesInstanceUID=f"1.2.{number}", SeriesNumber=f"{number}", **place)
        save(made, tmp_path / folder / "image_0")
    cropped = tmp_path / "Mass_P_1_CC" / "ROI mask images"
    for name, pixels in {"1-1.dcm": noise, "1-2.dcm": mask}.items():
        save(image(pixels, SC, "MG", SeriesInstanceUID="1.3"), cropped / name)
    assert names(tmp_path) == ["MASKS_DICOM_noise", "Mass_P_1_CC_ROI_mask_images_1-1", "PATIENT_DICOM"]
    assert names(tmp_path / "MASKS_DICOM" / "liver") == ["case"]


def test_what_images_of_bids_were_made_of_is_not_there_twice(tmp_path):
    save(slice_at((0, 0, 0), 1), tmp_path / "sourcedata" / "sub-01" / "T1" / "1")
    scan(tmp_path / "sourcedata" / "sub-01" / "anat" / "faced.nii.gz")
    assert len(names(tmp_path)) == 2
    scan(tmp_path / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    assert names(tmp_path) == ["sub-01_anat_sub-01_T1w"]


def test_a_picture_in_a_language_that_is_run_is_not_opened(tmp_path, monkeypatch):
    """Pillow hands PostScript to Ghostscript, whatever its ending."""
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("ran"))
    scan(tmp_path / "a.png")
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    (tmp_path / "a_tumor.png").write_bytes(content)
    assert names(tmp_path) == ["a", "a_tumor"]
