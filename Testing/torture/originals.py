"""Small images in every supported format."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
MAX_BYTES = 150_000
ENDINGS = {"NIfTI": (".nii", ".nii.gz"), "NRRD": (".nrrd", ".nhdr"), "MetaImage": (".mha", ".mhd"), "DICOM": (".dcm",)}
ENDINGS |= {"raster image": (".png", ".jpg", ".bmp", ".tif")}


@dataclass(frozen=True)
class Original:
    """A file whose header is to be damaged, and the files that belong to it."""

    path: Path
    beside: tuple[Path, ...] = ()


def make_originals(folder: Path, more: Sequence[Path] = ()) -> dict[str, list[Original]]:
    """Write small images, find further ones below the folders `more`, and return both by format."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(1)
    for number, kind in enumerate((np.int16, np.uint8, np.float32)):
        image = sitk.GetImageFromArray((chance.random((4, 9, 11)) * 100).astype(kind))
        image.SetSpacing((0.7, 0.9, 3.0))
        image.SetDirection((0, 0, 1, 1, 0, 0, 0, 1, 0))
        for ending in (".nii", ".nii.gz", ".nrrd", ".mha", ".nhdr", ".mhd"):
            sitk.WriteImage(image, str(folder / f"v{number}{ending}"), useCompression=ending in (".nrrd", ".mha"))
    sitk.WriteImage(image, str(folder / "plain.nrrd"))
    gray = (chance.random((24, 30)) * 255).astype(np.uint8)
    for ending in ("png", "jpg", "bmp", "tif"):
        Image.fromarray(gray).save(folder / f"gray.{ending}")
        Image.fromarray(np.stack([gray] * 3, -1)).save(folder / f"color.{ending}")
    Image.fromarray(gray.astype(np.uint16) * 200).save(folder / "deep.png")
    shutil.copyfile(ROOT / "Resources" / "samples" / "brain_mri.dcm", folder / "brain.dcm")
    _write_series(folder)
    found: dict[str, list[Original]] = {kind: [] for kind in ENDINGS}
    for place in (folder, *more):
        for path in sorted(place.rglob("*")):
            kind = _kind(path)
            if kind and path.stat().st_size <= MAX_BYTES:
                found[kind].append(Original(path, _beside(path)))
    return found


def _write_series(folder: Path) -> None:
    import pydicom

    one = pydicom.dcmread(folder / "brain.dcm")
    (folder / "series").mkdir()
    one.Rows = one.Columns = 16
    one.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    for number in range(3):
        one.PixelData = bytes(16 * 16 * one.BitsAllocated // 8 * int(one.get("SamplesPerPixel", 1)))
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        one.InstanceNumber, one.ImagePositionPatient = number, [0, 0, 3 * number]
        one.ImageOrientationPatient, one.SliceThickness = [1, 0, 0, 0, 1, 0], 3
        one.save_as(folder / "series" / f"{number}.dcm")


def _kind(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        if file.read(132)[128:] == b"DICM":
            return "DICOM"
    return next((kind for kind, endings in ENDINGS.items() if path.name.lower().endswith(endings)), None)


def _beside(path: Path) -> tuple[Path, ...]:
    if path.suffix in (".nhdr", ".mhd"):
        return tuple(other for other in path.parent.glob(f"{path.stem}.*") if other.suffix in (".raw", ".zraw"))
    if path.parent.name == "series":
        return tuple(other for other in sorted(path.parent.iterdir()) if other != path)
    return ()
