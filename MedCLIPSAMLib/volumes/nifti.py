"""NIfTI files: read once, checked, and written with the matrices of their source."""

from __future__ import annotations

import gzip
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes.geometry import UNPLACED_NOTE, Geometry, check_spacing, straight
from MedCLIPSAMLib.volumes.nifti_file import NiftiFile, load_nibabel, open_content, read_header, read_voxels
from MedCLIPSAMLib.volumes.volume import clean_name, stem

if TYPE_CHECKING:
    import nibabel

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SCANNER = 1
"""The code of a matrix to scanner coordinates."""
MILLIMETERS = {1: 1e3, 3: 1e-3}
"""Millimeters by the code of the unit of length: 1 is m, 3 is micrometers; all others are mm."""
SHEAR_REMEDY = (
    'Resample it, for example: python -c "import nibabel as n, nibabel.processing as p; '
    "n.save(p.resample_to_output(n.load('{name}')), 'straight.nii.gz')\""
)


@dataclass(frozen=True, eq=False)
class NiftiMatrices:
    """The matrices of a NIfTI file from voxels to RAS, in its own unit of length, each with its code (0: absent)."""

    sform: np.ndarray
    sform_code: int
    qform: np.ndarray
    qform_code: int
    unit: int


def read_nifti(file: NiftiFile, path: Path, notes: list[str]) -> tuple[np.ndarray, Geometry, dict[str, Any]]:
    """Read voxels (K, J, I), or (K, J, I, channels), in their stored type; float32 where the file has a scale.

    Where sform and qform disagree, the one that ITK and 3D Slicer use is used, with a note. A file without a
    position lies along left, posterior and superior, as there.

    Args:
        path: as the user named it.

    Returns:
        The voxels, their geometry, and further attributes of `Volume` by name.

    Raises:
        InputError: truncated, of several time points, impossible spacing or shear.
    """
    with open_content(file.header) as content:
        header = read_header(content, file.header)
        shape = [int(extent) for extent in header["dim"][1 : 1 + int(header["dim"][0])]]
        channels = _channels(shape, path)
        shape = (shape + [1, 1, 1])[:3]
        size = (*shape, channels) if channels > 1 else tuple(shape)
        with nullcontext(content) if file.voxels == file.header else open_content(file.voxels) as voxels:
            array = read_voxels(voxels, header, size, file.voxels, is_single=file.voxels == file.header)
    geometry, forms = _place(header, shape, path, notes)
    low, high = float(header["cal_min"]), float(header["cal_max"])
    flat = int(header["dim"][0]) == 2 and not (forms.sform_code or forms.qform_code)
    known = {
        "name": clean_name(stem(path)),
        "window": ((low + high) / 2, high - low) if np.isfinite([low, high]).all() and high > low else None,
        "path": path,
        "forms": forms,
        "natural": flat,
    }
    return array, geometry, known


def write_nifti(
    file: IO[bytes],
    array: np.ndarray,
    geometry: Geometry,
    forms: NiftiMatrices | None,
    compress: bool,
    description: str = "",
) -> None:
    """Write an array (K, J, I) with the matrices of its source, or those of its geometry where there are none.

    Args:
        description: at most 79 letters of ASCII.
    """
    if array.dtype.itemsize == 8 and array.dtype.kind in "iu":  # which few programs read
        array = array.astype(np.int32 if np.abs(array).max() <= np.iinfo(np.int32).max else np.float64)
    nibabel = load_nibabel()
    kind = nibabel.Nifti2Image if max(array.shape) > np.iinfo(np.int16).max else nibabel.Nifti1Image
    affine = RAS_TO_LPS @ geometry.affine
    image = kind(array.T, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = description.encode("ascii")
    image.set_sform(affine, SCANNER)
    image.set_qform(affine, SCANNER)
    if forms is not None:
        image.header["xyzt_units"] = forms.unit
        if forms.unit in MILLIMETERS and not forms.qform_code:
            image.header["pixdim"][1:4] = np.array(geometry.spacing) / MILLIMETERS[forms.unit]
        image.set_sform(forms.sform, forms.sform_code)
        # The last one, after which nibabel knows the image's affine: saving writes another one over the sform.
        image.set_qform(forms.qform if forms.qform_code else None, forms.qform_code)
    if not compress:
        image.to_stream(file)
        return
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as packed:
        image.to_stream(packed)


def _channels(shape: list[int], path: Path) -> int:
    """Return the number of values per voxel; a file of several time points is refused."""
    if min(shape) < 1:
        raise InputError(f"'{path}' has no voxels: its size is {tuple(shape)}.", "Export it again.")
    if any(extent > 1 for extent in shape[3:4] + shape[5:]):
        raise InputError(
            f"'{path}' is {len(shape)}-D ({' x '.join(str(extent) for extent in shape)}), not a single volume.",
            'Save one time point, for example: python -c "import SimpleITK as s; '
            f"s.WriteImage(s.ReadImage('{path.name}')[..., 0], 'one.nii.gz')\"",
        )
    return shape[4] if len(shape) > 4 else 1


def _place(
    header: nibabel.Nifti1Header, shape: list[int], path: Path, notes: list[str]
) -> tuple[Geometry, NiftiMatrices]:
    unit = int(header["xyzt_units"]) & 7
    scale = MILLIMETERS.get(unit, 1.0)
    steps = header["pixdim"]
    if steps[0] == 0:
        steps[0] = 1  # as nifti1.h says of its "qfac"
    for axis, extent in enumerate(shape, 1):
        if extent == 1 and steps[axis] == 0:
            steps[axis] = 1  # no distance is needed
    spacing = tuple(float(step) * scale for step in steps[1:4])
    check_spacing(spacing, f"'{path}'")
    try:
        codes = int(header["sform_code"]), int(header["qform_code"])
        sform = header.get_sform()
        qform = header.get_qform() if codes[1] > 0 else np.eye(4)
    except (load_nibabel().spatialimages.HeaderDataError, ValueError) as error:
        raise InputError(f"'{path}' has a damaged position: {error}.", "Correct its header.") from error
    forms = NiftiMatrices(sform, codes[0], qform, codes[1], unit)
    in_mm = np.diag([scale, scale, scale, 1.0])
    sform = RAS_TO_LPS @ in_mm @ _with_normal(sform, shape, steps)
    qform = RAS_TO_LPS @ in_mm @ qform
    if codes[0] <= 0 and codes[1] <= 0:
        if len(shape) > 2 and int(header["dim"][0]) > 2:
            notes.append(UNPLACED_NOTE)
        return Geometry(spacing=(spacing[0], spacing[1], spacing[2])), forms
    by_sform = codes[0] > 0 and (codes[0] == SCANNER or codes[1] <= 0)
    if codes[0] > 0 and codes[1] > 0:
        corners = np.array(np.meshgrid(*[(0, extent - 1) for extent in shape], (1,))).reshape(4, -1)
        apart = float(np.linalg.norm(((sform - qform) @ corners)[:3], axis=0).max())
        if not apart <= 0.1 * min(spacing):
            notes.append(
                f"The two positions of the file (sform, qform) are {apart:.1f} mm apart: "
                f"{'sform' if by_sform else 'qform'} is used, as in 3D Slicer; NIfTI files written for it keep both."
            )
    remedy = SHEAR_REMEDY.format(name=path.name)
    geometry = straight(sform if by_sform else qform, f"'{path}'", notes, remedy)
    if np.allclose(geometry.spacing, spacing, rtol=0.01):  # a matrix may be rounded
        return replace(geometry, spacing=(spacing[0], spacing[1], spacing[2])), forms
    notes.append(
        f"The voxel sizes of the file ({' x '.join(f'{step:g}' for step in spacing)} mm) are not those of its matrix "
        f"({' x '.join(f'{step:g}' for step in geometry.spacing)} mm), which are used."
    )
    return geometry, forms


def _with_normal(affine: np.ndarray, shape: list[int], steps: np.ndarray) -> np.ndarray:
    """Complete the matrix of a flat image, whose third axis is missing, with the normal."""
    if shape[2] != 1 or affine[:3, 2].any():
        return affine
    made = affine.copy()
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    made[:3, 2] = normal / max(float(np.linalg.norm(normal)), 1e-12) * steps[3]
    return made
