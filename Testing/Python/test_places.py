"""Where the outputs of `medclipsam segment` go, and by which names."""

from pathlib import Path

import pytest

from MedCLIPSAMLib.choices import MaskFormat, OutputLayout
from MedCLIPSAMLib.errors import OutputError
from MedCLIPSAMLib.tasks.places import Outputs


@pytest.mark.parametrize(
    "name, form",
    [
        ("x.seg.nrrd", MaskFormat.SEG_NRRD),
        ("x.nrrd", MaskFormat.NRRD),
        ("X.NII.GZ", MaskFormat.NIFTI),
        ("x.y.nii", MaskFormat.NIFTI_PLAIN),
        ("X.PNG", MaskFormat.PNG),
        ("x.dcm", MaskFormat.DICOM_SEG),
    ],
)
def test_the_ending_chooses_the_format_and_the_name_stays(tmp_path, name, form):
    outputs = Outputs(tmp_path / name)
    assert outputs.check() == form and outputs.places(["image"], ["a", "b"])[0].files == [tmp_path / name]


def test_a_format_must_suit_the_ending(tmp_path):
    assert Outputs(tmp_path / "x.dcm", MaskFormat.RTSTRUCT).check() == MaskFormat.RTSTRUCT
    for name, form in (("x.nii.gz", MaskFormat.NIFTI_PLAIN), ("x.png", MaskFormat.RTSTRUCT), ("x.jpg", None)):
        with pytest.raises(OutputError):
            Outputs(tmp_path / name, form).check()


def test_a_file_for_each_label_keeps_the_ending_and_differs_on_every_disk(tmp_path):
    outputs = Outputs(tmp_path / "m.nii.gz", layout=OutputLayout.FILE_PER_LABEL)
    (places,) = outputs.places(["image"], ["left lung", "Left Lung", "a/../b", "ä"])
    assert [path.name for path in places.files] == [
        "m_left_lung.nii.gz",
        "m_Left_Lung_2.nii.gz",
        "m_a_.._b.nii.gz",
        "m_ä.nii.gz",
    ]
    assert all(path.parent == tmp_path for path in places.files)


def test_a_path_without_an_ending_is_a_folder_with_files_named_after_the_images(tmp_path):
    maps = {"saliency": tmp_path / "s", "overlay": Path("out")}
    outputs = Outputs(tmp_path / "out", MaskFormat.RTSTRUCT, maps=maps)
    assert outputs.is_folder
    (first, second) = outputs.places(["a", "b"], ["x"])
    assert (
        first.masks == {"": tmp_path / "out" / "a.dcm"}
        and second.maps["saliency"] == tmp_path / "s" / "b_saliency.nii.gz"
    )
    assert len(set(first.files + second.files)) == 6
    (tmp_path / "of.2026").mkdir()
    assert Outputs(tmp_path / "of.2026").is_folder
