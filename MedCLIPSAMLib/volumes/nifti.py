"""NIfTI files: reading with checks, and writing with the matrices of the source."""

from __future__ import annotations

import gzip
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from MedCLIPSAMLib.errors import InputError, load_package
from MedCLIPSAMLib.volumes.geometry import UNPLACED_NOTE, Geometry, check_spacing, straight
from MedCLIPSAMLib.volumes.itk_header import MAX_NUMBER
from MedCLIPSAMLib.volumes.itk_read import itk_header
from MedCLIPSAMLib.volumes.nifti_file import (
    SINGLE,
    NiftiFile,
    is_loop,
    kind_of_values,
    open_content,
    read_header,
    read_voxels,
)
from MedCLIPSAMLib.volumes.volume import clean_name, stem

if TYPE_CHECKING:
    import nibabel

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SCANNER = 1
"""Code of a matrix to scanner coordinates."""
MILLIMETERS = {1: 1e3, 3: 1e-3}
"""Millimeters by the code of the unit of length: 1 is meters, 3 is micrometers; all others are mm."""
SHEAR_REMEDY = (
    'Resample it, for example: python -c "import nibabel as n, nibabel.processing as p; '
    "n.save(p.resample_to_output(n.load('{name}')), 'straight.nii.gz')\""
)


PLACE = (
    *("xyzt_units", "qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("sform_code", "srow_x", "srow_y", "srow_z"),
)
"""Header fields that, with the first four of pixdim, give the position of the voxels."""


@dataclass(frozen=True, eq=False)
class NiftiMatrices:
    """Matrices of a NIfTI file, sform and qform, with their codes and unit as in the header.

    Attributes:
        fields: values of `PLACE` by name.
        steps: sign of the third axis of qform (qfac), and distances along I, J and K.
    """

    fields: dict[str, np.ndarray]
    steps: np.ndarray

    @classmethod
    def of(cls, header: nibabel.Nifti1Header) -> NiftiMatrices:
        """Return the matrices of a header."""
        return cls({name: np.array(header[name]) for name in PLACE}, np.array(header["pixdim"][:4]))

    @property
    def codes(self) -> tuple[int, int]:
        """Codes of sform and qform; 0 if missing."""
        return max(0, int(self.fields["sform_code"])), max(0, int(self.fields["qform_code"]))

    @property
    def scale(self) -> float:
        """Millimeters per unit of length."""
        return MILLIMETERS.get(int(self.fields["xyzt_units"]) & 7, 1.0)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distances along I, J and K in mm."""
        x, y, z = (abs(float(step)) * self.scale for step in self.steps[1:])
        return x, y, z

    def matrices(self) -> dict[str, np.ndarray]:
        """Return the matrices that the file has, by name: 4 x 4, from voxel indices to LPS in mm."""
        made = {}
        in_mm = RAS_TO_LPS @ np.diag([self.scale, self.scale, self.scale, 1.0])
        with_sform, with_qform = self.codes
        if with_sform:
            rows = [self.fields[f"srow_{axis}"] for axis in "xyz"]
            made["sform"] = in_mm @ np.array([*rows, (0, 0, 0, 1)], float)
        if with_qform:
            turn = np.array([self.fields[f"quatern_{axis}"] for axis in "bcd"], float)
            first = np.sqrt(max(0.0, 1.0 - float(turn @ turn)))
            rotation = load_package("nibabel", "NIfTI").quaternions.quat2mat((first, *turn))
            affine = np.eye(4)
            affine[:3, :3] = rotation * np.abs(self.steps[1:]) * (1, 1, -1 if self.steps[0] < 0 else 1)
            affine[:3, 3] = [self.fields[f"qoffset_{axis}"] for axis in "xyz"]
            made["qform"] = in_mm @ affine
        return made

    def give(self, header: nibabel.Nifti1Header) -> None:
        """Write the matrices into another header."""
        for name, value in self.fields.items():
            header[name] = value
        header["pixdim"][:4] = self.steps


def read_nifti(file: NiftiFile, path: Path, notes: list[str]) -> tuple[np.ndarray, str, Geometry, dict[str, Any]]:
    """Read voxels (K, J, I), or (K, J, I, channels), in their stored type, or float32 if the file has a scale.

    They are placed where ITK and 3D Slicer place them, with a note if the header also gives another position.

    Args:
        file: the unpacked file.
        path: path as the user named it.
        notes: receives notes for the user.

    Returns:
        The voxels, the meaning of several values per voxel, the geometry, and further attributes of `Volume` by name.

    Raises:
        InputError: the file is truncated, has several time points, an impossible spacing, or shear.
    """
    with open_content(file.header) as content:
        header = read_header(content, file.header)
        shape, channels, times = _shape(header, path)
        if times > 1:
            notes.append(f"Its {times} images are time points of one slice: they are shown as slices.")
        size = (*shape, channels) if channels > 1 else tuple(shape)
        with nullcontext(content) if file.voxels == file.header else open_content(file.voxels) as voxels:
            array = read_voxels(voxels, header, size, file.voxels, notes, is_single=file.voxels == file.header)
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if np.isinf(slope) or ((np.isnan(slope) or slope == 0) and np.isfinite(intercept) and intercept != 0):
        added = f", to which 3D Slicer adds {intercept:g}" if slope == 0 else ""
        notes.append(
            f"The scale of the file ({slope:g} x value + {intercept:g}) is invalid: values are used as stored{added}."
        )
    elif np.isfinite(slope) and slope != 0 and not np.isfinite(intercept):
        notes.append(f"The offset of the scale ({slope:g} x value + {intercept:g}) is not a number: 0 was used.")
    geometry, forms = _place(header, [*shape[:2], 1] if times > 1 else shape, path, notes)
    low, high = float(header["cal_min"]), float(header["cal_max"])
    known = {
        "name": clean_name(stem(path)),
        "window": ((low + high) / 2, high - low) if np.isfinite([low, high]).all() and high > low else None,
        "path": path,
        "forms": forms,
        "natural": times > 1 or (int(header["dim"][0]) == 2 and not any(forms.codes)),
    }
    return array, kind_of_values(header), geometry, known


def write_nifti(
    file: IO[bytes],
    array: np.ndarray,
    geometry: Geometry,
    forms: NiftiMatrices | None,
    compress: bool,
    description: str = "",
) -> None:
    """Write an array (K, J, I) with the matrices of its source, or with those of its geometry if `forms` is None.

    Args:
        description: at most 79 ASCII characters.
    """
    if array.dtype.itemsize == 8 and array.dtype.kind in "iu":  # few programs read 64-bit integers
        array = array.astype(np.int32 if np.abs(array).max() <= np.iinfo(np.int32).max else np.float64)
    nibabel = load_package("nibabel", "NIfTI")
    kind = nibabel.Nifti2Image if max(array.shape) > np.iinfo(np.int16).max else nibabel.Nifti1Image
    affine = RAS_TO_LPS @ geometry.affine
    image = kind(array.T, affine if forms is None else None)
    image.header["descrip"] = description.encode("ascii")
    if forms is None:
        image.header.set_xyzt_units("mm", "sec")
        image.set_sform(affine, SCANNER)
        image.set_qform(affine, SCANNER)
    else:
        forms.give(image.header)
    if not compress:
        image.to_stream(file)
        return
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as packed:
        image.to_stream(packed)


def count_slices(file: NiftiFile, path: Path) -> int:
    """Return the number of slices by the header, or of time points shown as slices; errors as in `read_nifti`."""
    with open_content(file.header) as content:
        return _shape(read_header(content, file.header), path)[0][2]


def _shape(header: nibabel.Nifti1Header, path: Path) -> tuple[list[int], int, int]:
    """Return (I, J, K), the number of values per voxel, and the number of time points shown as slices, otherwise 1."""
    shape = [int(extent) for extent in header["dim"][1 : 1 + int(header["dim"][0])]]
    shape[3:] = [max(1, extent) for extent in shape[3:]]  # 0 means that there is no such axis
    times = shape[3] if is_loop(shape) else 1
    if times > 1:
        shape = [*shape[:2], times]
    return (shape + [1, 1, 1])[:3], _channels(shape, path), times


def _channels(shape: list[int], path: Path) -> int:
    """Return the number of values per voxel; refuse a file of several time points."""
    if min(shape) < 1:
        raise InputError(f"'{path}' has no voxels: its size is {tuple(shape)}.", "Export it again.")
    if any(extent > 1 for extent in shape[3:4] + shape[5:]):
        raise InputError(
            f"'{path}' is {len(shape)}-D ({' x '.join(str(extent) for extent in shape)}), not a single volume.",
            'Save one time point, for example: python -c "import nibabel as n; '
            f"n.save(n.load('{path.name}').slicer[..., 0], 'one.nii.gz')\"",
        )
    return shape[4] if len(shape) > 4 else 1


def _place(
    header: nibabel.Nifti1Header, shape: list[int], path: Path, notes: list[str]
) -> tuple[Geometry, NiftiMatrices]:
    """Place the voxels where ITK does, with a note if the header also gives another position."""
    steps = header["pixdim"]
    for axis, extent in enumerate(shape, 1):
        if extent == 1 and steps[axis] == 0:
            steps[axis] = 1  # a single voxel needs no distance
    forms = NiftiMatrices.of(header)
    check_spacing(forms.spacing, f"'{path}'")
    matrices = forms.matrices()
    if any(not (np.abs(matrix) <= MAX_NUMBER).all() for matrix in matrices.values()):
        raise InputError(
            f"Expected finite numbers up to {MAX_NUMBER:g} as the position of '{path}'.", "Correct its header."
        )
    placed = _by_itk(forms)
    if placed is None:  # the axes are not at right angles
        affine = _with_normal(matrices["sform"], shape, forms.spacing)
        return straight(affine, f"'{path}'", notes, SHEAR_REMEDY.format(name=path.name)), forms
    geometry = replace(straight(placed.affine, f"'{path}'", notes, "Correct its header."), spacing=placed.spacing)
    if not matrices:
        if len(shape) > 2 and int(header["dim"][0]) > 2:
            notes.append(UNPLACED_NOTE)
        return geometry, forms
    corners = np.array(np.meshgrid(*[(0, extent - 1) for extent in shape], (1,))).reshape(4, -1)
    apart = {
        name: float(np.linalg.norm(((geometry.affine - matrix) @ corners)[:3], axis=0).max())
        for name, matrix in matrices.items()
    }
    nearest, farthest = min(apart, key=lambda name: apart[name]), max(apart.values())
    if farthest <= 0.1 * min(forms.spacing):
        return geometry, forms
    if apart[nearest] <= 0.1 * min(forms.spacing):
        notes.append(
            f"The two positions of the file (sform, qform) are {farthest:.1f} mm apart: {nearest} is used, as in 3D "
            "Slicer; NIfTI files written for it keep both."
        )
    else:
        notes.append(
            f"The voxel sizes of the file ({' x '.join(f'{step:g}' for step in forms.steps[1:])}) do not fit its "
            f"{nearest}: they are used with the directions of the {nearest}, as in 3D Slicer, and voxels are up to "
            f"{apart[nearest]:.1f} mm from where that places them."
        )
    return geometry, forms


def _by_itk(forms: NiftiMatrices) -> Geometry | None:
    """Ask ITK where it places voxels with such matrices; None if it refuses them.

    ITK chooses between the two by several comparisons, one of which depends on its singular value decomposition.
    """
    header = load_package("nibabel", "NIfTI").Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((1, 1, 1))
    forms.give(header)
    header["magic"], header["vox_offset"] = SINGLE[0], 352
    with tempfile.TemporaryDirectory(prefix="medclipsam-") as folder:
        path = Path(folder, "place.nii")
        path.write_bytes(header.binaryblock + bytes(5))
        try:
            found = itk_header(path)
        except RuntimeError:
            return None
    if found is None or not np.isfinite([*found.origin, *found.direction]).all():
        return None
    origin, spacing = ((x, y, z) for x, y, z in (found.origin, found.spacing))
    return Geometry(origin, spacing, found.direction)


def _with_normal(affine: np.ndarray, shape: list[int], spacing: tuple[float, ...]) -> np.ndarray:
    """Set the third axis of the matrix of a flat image to the normal if it is missing."""
    if shape[2] != 1 or affine[:3, 2].any():
        return affine
    made = affine.copy()
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    made[:3, 2] = normal / max(float(np.linalg.norm(normal)), 1e-12) * spacing[2]
    return made
