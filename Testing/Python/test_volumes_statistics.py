"""Sizes of segments, against figures worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_made import image, save

from MedCLIPSAMLib.volumes import Segment, read_volume
from MedCLIPSAMLib.volumes.statistics import measure

MAMMOGRAPHY, ULTRASOUND = (f"1.2.840.10008.5.1.4.1.1.{ending}" for ending in ("1.2", "3.1"))


def test_the_area_in_a_loop_is_that_of_its_largest_image(tmp_path: Path) -> None:
    pixels = np.zeros((3, 10, 10), np.uint8)
    pixels[0, :2, :5], pixels[1, :4, :5], pixels[2, :1, :5] = 9, 9, 9
    volume = read_volume(save(image(pixels, ULTRASOUND, "US", PixelSpacing=[0.5, 0.2]), tmp_path / "x.dcm"))
    sizes = measure(Segment("x", volume.array > 5), volume)
    assert (sizes.voxels, sizes.slices, sizes.ml) == (35, 3, None)
    assert sizes.mm2 == pytest.approx(2.0)  # 20 pixels of 0.1 mm²


@pytest.mark.parametrize(
    ("tags", "area"),
    [
        ({"ImagerPixelSpacing": [0.1, 0.1]}, 1.0),  # 100 pixels of 0.01 mm²
        ({"ImagerPixelSpacing": [0.1, 0.1], "EstimatedRadiographicMagnificationFactor": 2.0}, 0.25),
        ({"ImagerPixelSpacing": [0.1, 0.1], "EstimatedRadiographicMagnificationFactor": 0.0}, 1.0),
        (
            {
                "ImagerPixelSpacing": [0.1, 0.1],
                "PixelSpacing": [0.05, 0.05],
                "EstimatedRadiographicMagnificationFactor": 2.0,
            },
            0.25,
        ),
    ],
)
def test_areas_in_a_radiograph_are_those_in_the_body(tmp_path: Path, tags: dict[str, Any], area: float) -> None:
    pixels = np.zeros((20, 20), np.uint16)
    pixels[:10, :10] = 9
    volume = read_volume(save(image(pixels, MAMMOGRAPHY, "MG", **tags), tmp_path / "x.dcm"))
    assert measure(Segment("x", volume.array > 5), volume).mm2 == pytest.approx(area)
    spacing = tags.get("PixelSpacing", tags["ImagerPixelSpacing"])  # as 3D Slicer has it, so that masks fit
    assert volume.geometry.spacing[:2] == tuple(spacing)
