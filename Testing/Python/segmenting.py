"""Images made for the tests of `medclipsam segment`, and what these tests have in common."""

from pathlib import Path

import numpy as np
import pytest
from dicom_made import AXIAL, image, save
from PIL import Image

from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.phantoms.volumes import make_volume
from MedCLIPSAMLib.segmentation import segmenter as segmenters
from MedCLIPSAMLib.volumes import Geometry, Volume

LOADED = {}


@pytest.fixture(autouse=True)
def models_stay_loaded(monkeypatch):
    """Load the demo models once for all tests, as loading takes longer than most of them."""
    load = segmenters.load_segmenter

    def cached(model, sam, device, models_dir, settings):
        if (model, sam) != ("demo", "demo"):
            return load(model, sam, device, models_dir, settings)
        if device not in LOADED:
            LOADED[device] = load(model, sam, device, models_dir, settings)
        return LOADED[device].with_settings(settings)

    monkeypatch.setattr(segmenters, "load_segmenter", cached)


def phantom_png(path: Path, number: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(make_phantom("validation", 1, "MR", number).image).save(path)
    return path


def series(folder: Path, count: int = 3) -> Path:
    """A series of axial slices, 2 mm apart, of a phantom."""
    slices = make_volume("validation", 8, "MR", 1).slices
    for k in range(count):
        tags = {"ImagePositionPatient": [0, 0, 2.0 * k], "ImageOrientationPatient": list(AXIAL)}
        tags |= {"PixelSpacing": [1.5, 0.5], "InstanceNumber": str(k + 1), "SeriesInstanceUID": "1.2.3.9"}
        made = image(slices[k + 8].astype(np.int16), "1.2.840.10008.5.1.4.1.1.4", "MR", **tags)
        save(made, folder / f"{k}.dcm")
    return folder


def turned_volume(cosines: np.ndarray) -> tuple[Volume, tuple[int, int, int]]:
    """A bright ball in a volume of 40 x 30 x 20 voxels of 0.8 x 1 x 2 mm, whose axes are turned; and its center."""
    center = (27, 9, 6)
    k, j, i = np.indices((20, 30, 40))
    far = np.sqrt((0.8 * (i - center[0])) ** 2 + (j - center[1]) ** 2 + (2.0 * (k - center[2])) ** 2)
    voxels = np.where(far < 5, 900, 100).astype(np.int16)
    return Volume(voxels, Geometry((3.0, -40.0, 12.0), (0.8, 1.0, 2.0), tuple(cosines.ravel()))), center


def oblique() -> np.ndarray:
    a, b = np.radians(25), np.radians(-15)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return about_z @ about_x


TURNED = {
    "as stored": np.eye(3),
    "flipped": np.diag([-1.0, -1.0, -1.0]),
    "coronal": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "oblique": oblique() @ np.diag([-1.0, 1.0, -1.0]),
}
