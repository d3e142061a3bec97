"""What `medclipsam segment` writes for real images opens in 3D Slicer on the voxels where the engine drew it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import slicer.util
from helpers.scene import load_segmentation, load_volume, mask_on_volume

from MedCLIPSAMLib import cli
from MedCLIPSAMLib.volumes import read_segmentation, read_volume


@pytest.mark.parametrize(
    "name, plane", [("MR_Gd.nii.gz", "coronal"), ("CT_pitch.nii.gz", "sagittal"), ("ct-3slice", "axial")]
)
def test_real_images(
    monkeypatch: pytest.MonkeyPatch,
    logics: dict[str, object],
    scene: object,
    shared_data: Path,
    tmp_path: Path,
    name: str,
    plane: str,
) -> None:
    source, out = shared_data / name, tmp_path / "out.seg.nrrd"
    arguments = ["segment", str(source), "-p", "tumor", "-o", str(out), "--plane", plane, "--presence", "0"]
    monkeypatch.setattr(sys, "argv", ["medclipsam", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    node = load_segmentation(out)
    assert node.GetSegmentation().GetNthSegment(0).GetName() == "tumor"
    volume_node = load_volume(logics, source / "03.dcm" if source.is_dir() else source)
    ours = read_segmentation(out, read_volume(source))[0].mask
    assert ours.any()
    np.testing.assert_array_equal(mask_on_volume(logics, node, volume_node), ours)
    if name == "ct-3slice":
        return
    # The mask covers only tissue of the slice asked for: one index along one voxel axis.
    assert min(len(set(axis)) for axis in np.nonzero(ours)) == 1
    assert slicer.util.arrayFromVolume(volume_node).shape == ours.shape
