"""NIfTI files: read once, checked, and written with the matrices of their source.

nibabel is imported at the first file: 3D Slicer, which loads this module with its own, does not bring it.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes.geometry import Geometry, check_spacing, straight
from MedCLIPSAMLib.volumes.volume import clean_name, stem

if TYPE_CHECKING:
    import nibabel

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SCANNER = 1
"""The code of a matrix to scanner coordinates."""
MILLIMETERS = {1: 1e3, 3: 1e-3}
"""Millimeters by the code of the unit of length: 1 is m, 3 is micrometers; all others are mm."""
MAX_COMPRESSION = 1100
"""Deflate shrinks no file by more than this factor: a header that declares more is wrong."""
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


def _load_nibabel() -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise InputError(
            f"NIfTI files need a package that is not installed: {error.name}.",
            "In 3D Slicer press Install under Installation, elsewhere run: pip install nibabel",
        ) from error
    return nibabel


def is_nifti(path: Path) -> bool:
    """Tell whether a file begins as single-file NIfTI does, compressed or not, whatever its name is."""
    try:
        with _open(path) as file:
            head = file.read(348)
    except (OSError, EOFError, zlib.error):
        return False
    return head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0"


def count_slices(path: Path) -> int:
    """Count the slices along K by the header.

    Raises:
        InputError: it is damaged.
    """
    with _open(path) as file:
        dimensions = _header(file, path)["dim"]
    return int(dimensions[3]) if int(dimensions[0]) > 2 else 1


def read_nifti(path: Path, notes: list[str]) -> tuple[np.ndarray, Geometry, dict[str, Any]]:
    """Read voxels (K, J, I), or (K, J, I, channels), in their stored type; float32 where the file has a scale.

    Where sform and qform disagree, the one that ITK and 3D Slicer use is used, with a note. A file without a
    position lies along left, posterior and superior, as there.

    Returns:
        The voxels, their geometry, and further attributes of `Volume` by name.

    Raises:
        InputError: truncated, of several time points, impossible spacing or shear.
    """
    with _open(path) as file:
        header = _header(file, path)
        shape = [int(extent) for extent in header["dim"][1 : 1 + int(header["dim"][0])]]
        channels = _channels(shape, path)
        shape = (shape + [1, 1, 1])[:3]
        array = _voxels(file, header, (*shape, channels) if channels > 1 else tuple(shape), path)
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
    nibabel = _load_nibabel()
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


def is_packed(path: Path) -> bool:
    """Tell whether a file begins like gzip."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    """Open the content of a file, unpacking gzip."""
    packed = is_packed(path)
    with path.open("rb") as file:
        if not packed:
            yield file
            return
        with gzip.open(file) as content:
            yield content  # type: ignore[misc]


def _header(file: IO[bytes], path: Path) -> nibabel.Nifti1Header:
    nibabel = _load_nibabel()
    head = file.read(348)
    kind = nibabel.Nifti1Header
    if head[344:348] != b"n+1\0":
        head += file.read(540 - 348)
        kind = nibabel.Nifti2Header
    try:
        header = kind(head, check=False)
        if not 1 <= int(header["dim"][0]) <= 7 or header.get_data_dtype().itemsize == 0:
            raise ValueError("impossible dimensions or type")
    except (nibabel.spatialimages.HeaderDataError, KeyError, ValueError) as error:
        raise InputError(f"'{path}' has a damaged NIfTI header: {error}.", "Copy or export it again.") from error
    return header


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


def _voxels(file: IO[bytes], header: nibabel.Nifti1Header, shape: tuple[int, ...], path: Path) -> np.ndarray:
    kind = header.get_data_dtype()
    size, start = kind.itemsize * math.prod(shape), int(header["vox_offset"])
    max_size = path.stat().st_size * (MAX_COMPRESSION if isinstance(file, gzip.GzipFile) else 1)
    data = b""
    try:
        if size <= max_size:
            file.read(max(start - file.tell(), 0))
            data = file.read(size)
            file.read(1)  # which checks the sum at the end of a compressed file
    except (EOFError, zlib.error, gzip.BadGzipFile):
        data = b""
    if len(data) < size:
        raise InputError(f"'{path}' is truncated: voxels are missing at its end.", "Copy or export it again.")
    array = np.frombuffer(data, kind)
    if kind.names:  # RGB or RGBA
        array = array.view(np.uint8).reshape(len(kind.names), *shape, order="F")
        return np.moveaxis(array, 0, -1).transpose(2, 1, 0, 3)
    array = array.reshape(shape, order="F")
    array = array.transpose(2, 1, 0, *range(3, len(shape)))
    if not kind.isnative:
        array = array.astype(kind.newbyteorder("="))
    if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        array = array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64)
    try:
        slope, intercept = header.get_slope_inter()
    except _load_nibabel().spatialimages.HeaderDataError as error:
        raise InputError(f"Expected a finite scale in '{path}': {error}.", "Export it again.") from error
    if slope is None or array.dtype.kind == "c" or (slope == 1 and not intercept):
        return array
    return (array * np.float64(slope) + (intercept or 0.0)).astype(np.float32)


def _place(
    header: nibabel.Nifti1Header, shape: list[int], path: Path, notes: list[str]
) -> tuple[Geometry, NiftiMatrices]:
    unit = int(header["xyzt_units"]) & 7
    scale = MILLIMETERS.get(unit, 1.0)
    steps = header["pixdim"]
    for axis, extent in enumerate(shape, 1):
        if extent == 1 and steps[axis] == 0:
            steps[axis] = 1  # no distance is needed
    spacing = tuple(float(step) * scale for step in steps[1:4])
    check_spacing(spacing, f"'{path}'")
    try:
        codes = int(header["sform_code"]), int(header["qform_code"])
        sform = header.get_sform()
        qform = header.get_qform() if codes[1] > 0 else np.eye(4)
    except (_load_nibabel().spatialimages.HeaderDataError, ValueError) as error:
        raise InputError(f"'{path}' has a damaged position: {error}.", "Correct its header.") from error
    forms = NiftiMatrices(sform, codes[0], qform, codes[1], unit)
    in_mm = np.diag([scale, scale, scale, 1.0])
    sform = RAS_TO_LPS @ in_mm @ _with_normal(sform, shape, steps)
    qform = RAS_TO_LPS @ in_mm @ qform
    if codes[0] <= 0 and codes[1] <= 0:
        if len(shape) > 2 and int(header["dim"][0]) > 2:
            notes.append(
                "The file does not say how it lies in the patient: its axes are taken for left, posterior and superior."
            )
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
