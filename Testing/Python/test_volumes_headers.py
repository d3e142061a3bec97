"""NRRD and MetaImage headers come from elsewhere: they may not lead to other files, and shear is no volume."""

from __future__ import annotations

import time
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_made import write_series
from helpers.remedies import follow

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes import read_segmentation, read_volume
from MedCLIPSAMLib.volumes.slice_count import slice_count

NRRD = "NRRD0004\ntype: unsigned char\ndimension: 3\nsizes: 2 3 4\nspace: left-posterior-superior\n{}encoding: raw\n"
META = "ObjectType = Image\nNDims = 3\nDimSize = 2 3 4\nElementType = MET_UCHAR\n{}ElementDataFile = {}\n"
PACKED = "CompressedData = True\n"
VOXELS = np.arange(24, dtype=np.uint8)


def nrrd(path: Path, data: str, more: str = "space directions: (1,0,0) (0,1,0) (0,0,1)\n") -> Path:
    path.write_text(NRRD.format(more) + f"{data}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../x.raw",
        "sub/x.raw",
        "list/../../x.raw",
        "..\\x.raw",
        "C:\\x.raw",
        "./../x.raw",
        "././",
        "/etc/%s%n",
        "x%s.raw",
        "/etc/pass%d 1 4 1 2",
    ],
)
@pytest.mark.parametrize("kind", ["data file", "datafile", "list", "meta", "meta list"])
def test_voxels_of_other_files_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / "x.raw").write_bytes(VOXELS.tobytes())
    if kind == "meta":
        path = tmp_path / "x.mhd"
        path.write_text(META.format("", name))
    elif kind == "meta list":
        path = tmp_path / "x.mhd"
        path.write_text(META.format("", f"LIST 2\n{name}\n{name}"))
    else:
        path = nrrd(tmp_path / "x.nhdr", f"data file: LIST\n{name}" if kind == "list" else f"{kind}: {name}")
    for read in (read_volume, read_segmentation):
        with pytest.raises(InputError, match="plain name"):
            read(path)


@pytest.mark.parametrize("end", ["\x85", "\x0b", "\x0c", "\x1c", "\r"])
def test_a_line_ends_where_itk_ends_it(tmp_path: Path, end: str) -> None:
    names = f"data file: ../x.raw\ncontent: a{end}data file: x.nhdr\n"
    (tmp_path / "x.nhdr").write_bytes((NRRD.format("") + names).encode("latin-1"))
    with pytest.raises(InputError, match="plain name"):
        read_volume(tmp_path / "x.nhdr")


@pytest.mark.parametrize("before, name", [("", "the voxels é.raw"), ("./", "the voxels é.raw"), ("", "Lister.raw")])
def test_voxels_beside_the_header_are_read(tmp_path: Path, before: str, name: str) -> None:
    (tmp_path / name).write_bytes(VOXELS.tobytes())
    (tmp_path / "é.zraw").write_bytes(zlib.compress(VOXELS.tobytes()))
    (tmp_path / "x.mhd").write_text(META.format("", f"{before}{name}"), encoding="utf-8")
    (tmp_path / "z.mhd").write_text(META.format(PACKED, f"{before}é.zraw"), encoding="utf-8")
    for path in (nrrd(tmp_path / "x.nhdr", f"data file: {before}{name}"), *tmp_path.glob("*.mhd")):
        assert np.array_equal(read_volume(path).array.ravel(), VOXELS)
    for k in range(4):
        (tmp_path / f"s{k:02d}.raw").write_bytes(VOXELS[6 * k : 6 * k + 6].tobytes())
    names = "\n".join(f"{before}s{k:02d}.raw" for k in range(4))
    for each in ("", " 2", " 2D"):
        (tmp_path / f"list{each}.mhd").write_text(META.format("", f"LIST{each}\n{names}"))
    (tmp_path / "pattern.mhd").write_text(META.format("", f"{before}s%02d.raw 0 3 1"))
    paths = [
        nrrd(tmp_path / "l.nhdr", f"data file: LIST 2\n{names}"),
        nrrd(tmp_path / "p.nhdr", f"data file: {before}s%02d.raw 0 3 1 2"),
    ]
    for path in (*paths, *tmp_path.glob("list*.mhd"), tmp_path / "pattern.mhd"):
        assert np.array_equal(read_volume(path).array.ravel(), VOXELS), path


FEWER, OTHERS = "Expected 4 files of slices of '.*', got [23]", "names its voxel files by '{}', which is not supported"


@pytest.mark.parametrize(
    "names, said",
    [
        *((names, FEWER) for names in ("s%d.raw 0 2 1", "s%d.raw 0 3 2", "s%d.raw 0 2", "LIST\ns0.raw\ns1.raw")),
        ("LIST 2\ns0.raw\ns1.raw\ns2.raw", FEWER),
        *((names, OTHERS.format(names)) for names in ("s%d.raw 0 3", "s%d.raw 0 3 1 2")),
        ("LIST 3\ns0.raw\ns1.raw\ns2.raw\ns3.raw", OTHERS.format("LIST 3")),
    ],
)
def test_files_of_slices_that_itk_makes_of_memory_are_refused(tmp_path: Path, names: str, said: str) -> None:
    for k in range(4):
        (tmp_path / f"s{k}.raw").write_bytes(VOXELS[6 * k : 6 * k + 6].tobytes())
    (tmp_path / "x.mhd").write_text(META.format("", names))
    with pytest.raises(InputError, match=said):
        read_volume(tmp_path / "x.mhd")


def test_a_missing_file_of_voxels_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.mhd").write_text(META.format("", "a b.raw"))
    for path in (nrrd(tmp_path / "x.nhdr", "data file: a b.raw"), tmp_path / "x.mhd"):
        with pytest.raises(InputError, match="in the file 'a b.raw' beside it, got none. Copy that file"):
            read_volume(path)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_many_dimensions_are_refused_before_itk_sees_them(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x{ending}"
    sizes = " ".join(["1"] * 16)
    if ending == ".nrrd":
        path.write_text(f"NRRD0004\ntype: uchar\ndimension: 16\nsizes: {sizes}\nencoding: raw\n\n0")
    else:
        path.write_text(
            f"ObjectType = Image\nNDims = 16\nDimSize = {sizes}\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n0"
        )
    with pytest.raises(InputError, match="16-D"):
        read_volume(path)


def sheared(path: Path, by: float) -> Path:
    image = sitk.GetImageFromArray(VOXELS.reshape(4, 3, 2))
    sitk.WriteImage(image, str(path))
    data = path.read_bytes()
    before, after = (
        (b"TransformMatrix = 1 0 0 0 1 0 0 0 1", f"TransformMatrix = 1 0 0 {by} 1 0 0 0 1".encode())
        if path.suffix == ".mha"
        else (b"(0,1,0)", f"({by},1,0)".encode())
    )
    assert before in data
    path.write_bytes(data.replace(before, after))
    return path


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_shear_is_refused_with_a_remedy_that_works(tmp_path: Path, ending: str) -> None:
    path = sheared(tmp_path / f"x{ending}", 0.4)
    with pytest.raises(InputError, match="degrees from right angles") as caught:
        read_volume(path)
    follow(caught.value.remedy, tmp_path)
    assert not any("angles" in note for note in read_volume(tmp_path / "straight.nrrd").notes)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_rounded_axes_are_straightened_with_a_note(tmp_path: Path, ending: str) -> None:
    volume = read_volume(sheared(tmp_path / f"x{ending}", 0.01))
    assert "0.57 degrees from right angles" in volume.notes[0]
    np.testing.assert_allclose(volume.geometry.cosines.T @ volume.geometry.cosines, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("number", ["1e308", "inf", "nan"])
def test_directions_over_which_itk_computes_without_end_are_refused_at_once(tmp_path: Path, number: str) -> None:
    path = tmp_path / "a.mha"
    header = f"ObjectType = Image\nNDims = 3\nTransformMatrix = 0 1 0 0 0 1 1 {number} 0\nDimSize = 2 2 2\n"
    path.write_bytes(f"{header}ElementType = MET_UCHAR\nElementDataFile = LOCAL\n".encode() + bytes(8))
    started = time.monotonic()
    with pytest.raises(InputError, match="finite numbers up to 1e.09 as TransformMatrix"):
        read_volume(path)
    assert time.monotonic() - started < 30


def test_empty_lines_of_a_header_cost_no_time(tmp_path: Path) -> None:
    """A million of them; at a time that grows with their square these would take hours."""
    path = tmp_path / "x.mha"
    path.write_bytes(b"\n" * 1_000_000 + META.format("", "LOCAL").encode() + VOXELS.tobytes())
    started = time.monotonic()
    with suppress(InputError):
        read_volume(path)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("spacing", ["1 1 0", "1 1 1e30", "1 1 1e-9"])
def test_impossible_spacing_is_refused(tmp_path: Path, spacing: str) -> None:
    path = tmp_path / "x.mha"
    path.write_bytes(META.format(f"ElementSpacing = {spacing}\n", "LOCAL").encode() + VOXELS.tobytes())
    with pytest.raises(InputError) as caught:
        read_volume(path)
    assert caught.value.remedy and "\n" not in str(caught.value)


def test_the_place_of_a_voxel_in_an_oblique_flipped_nrrd(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(VOXELS.reshape(4, 3, 2))
    angle = np.radians(40)
    direction = np.array([[np.cos(angle), np.sin(angle), 0], [np.sin(angle), -np.cos(angle), 0], [0, 0, 1]])
    image.SetDirection(direction.ravel().tolist())
    image.SetSpacing((0.5, 2, 3))
    image.SetOrigin((1, -2, 3))
    for ending in (".nrrd", ".mha", ".nii", ".nii.gz"):
        sitk.WriteImage(image, str(tmp_path / f"mr scan{ending}"))
        volume = read_volume(tmp_path / f"mr scan{ending}")
        assert (volume.name, volume.modality, volume.window, volume.natural) == ("mr scan", None, None, False)
        by_hand = np.array([1, -2, 3]) + direction @ np.array([0.5 * 1, 2 * 2, 3 * 3])
        np.testing.assert_allclose((volume.geometry.affine @ (1, 2, 3, 1))[:3], by_hand, atol=1e-5)
        assert np.array_equal(volume.array.ravel(), VOXELS) and volume.notes == []


def test_negative_spacing_turns_the_axis_round_as_in_itk(tmp_path: Path) -> None:
    path = tmp_path / "x.mha"
    header = META.format("ElementSpacing = -0.5 2 3\nOffset = 10 20 30\n", "LOCAL")
    path.write_bytes(header.encode() + VOXELS.tobytes())
    volume = read_volume(path)
    by_hand = (10 - 0.5, 20 + 2, 30 + 3)
    assert tuple((volume.geometry.affine @ (1, 1, 1, 1))[:3]) == by_hand and volume.geometry.spacing == (0.5, 2, 3)
    assert sitk.ReadImage(str(path)).TransformIndexToPhysicalPoint((1, 1, 1)) == by_hand
    assert "negative" in volume.notes[0]


@pytest.mark.parametrize("ending", [".vtk", ".gipl"])
def test_formats_whose_readers_return_memory_are_not_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS.reshape(4, 3, 2)), str(path))
    with pytest.raises(InputError, match="no known image format"):
        read_volume(path)


THREE = "space directions: (2,0,0) (0,3,0) (0,0,4)\nspace origin: (10,20,30)\n"
FOUR = "space directions: (2,0,0,0) (0,3,0,0) (0,0,4,0) (0,0,0,1)\nspace origin: (10,20,30,0)\n"
UNPLACED = "The file does not say how it lies in the patient: its axes were taken to be left, posterior and superior."
BY_EXTENT = (
    "The file gives its voxel sizes only by 'axis mins' and 'axis maxs', which 3D Slicer does not read: "
    "1 mm was assumed, as there."
)
UNSIZED = "The file does not say how large its voxels are: 1 mm was assumed."


def nrrd_of(path: Path, more: str, sizes: str = "2 3 4") -> Path:
    text = f"NRRD0005\ntype: uchar\ndimension: {len(sizes.split())}\nsizes: {sizes}\nencoding: raw\n{more}\n"
    path.write_bytes(text.encode() + VOXELS.tobytes())
    return path


@pytest.mark.parametrize(
    "space, place",  # of voxel (1, 1, 1) in LPS: 10 + 2, 20 + 3 and 30 + 4 along the axes of the space
    [
        ("right-anterior-superior", (-12, -23, 34)),
        ("RAS", (-12, -23, 34)),
        ("Left-Anterior-Superior", (12, -23, 34)),
        ("LPS", (12, 23, 34)),
        ("left-posterior-superior-time", (12, 23, 34)),
        ("LPST", (12, 23, 34)),
    ],
)
def test_a_voxel_of_nrrd_lies_where_its_space_says(tmp_path: Path, space: str, place: tuple[int, ...]) -> None:
    in_time = space.lower().endswith("t") or "time" in space
    path = nrrd_of(
        tmp_path / "x.nrrd", f"space: {space}\n{FOUR if in_time else THREE}", "2 3 4 1" if in_time else "2 3 4"
    )
    volume = read_volume(path)
    assert tuple((volume.geometry.affine @ (1, 1, 1, 1))[:3]) == place and volume.notes == []
    assert volume.array[1, 1, 1] == 1 + 2 + 6


@pytest.mark.parametrize("space", ["right-anterior-superior-time", "RAST", "left-anterior-superior-time", "last"])
def test_spaces_with_time_that_itk_takes_for_another_are_refused(tmp_path: Path, space: str) -> None:
    path = nrrd_of(tmp_path / "x.nrrd", f"space: {space}\n{FOUR}", "2 3 4 1")
    for read in (read_volume, read_segmentation):
        with pytest.raises(InputError, match=f"got '{space.lower()}', which would be read as another one") as caught:
            read(path)
    short = caught.value.remedy.split("'space: ")[1].split("'")[0]
    nrrd_of(path, f"space: {short}\n{THREE}")
    assert (read_volume(path).geometry.affine @ (1, 1, 1, 1))[1] == -23  # as the remedy says


@pytest.mark.parametrize("unit", ["cm", "m", "um", "µm", "Microns", "inches"])
@pytest.mark.parametrize("field", ["space units", "units"])
def test_units_that_are_no_millimeters_are_refused(tmp_path: Path, unit: str, field: str) -> None:
    place = f"space: LPS\n{THREE}" if field == "space units" else "spacings: 2 3 4\n"
    path = nrrd_of(tmp_path / "x.nrrd", place + " ".join([f"{field}:", *[f'"{unit}"'] * 3]) + "\n")
    with pytest.raises(InputError, match=f"Expected millimeters in '.*x.nrrd', got the unit '{unit}'"):
        read_volume(path)


@pytest.mark.parametrize(
    "unit, is_read",
    [(unit, False) for unit in ("cm", "um", "m")] + [(unit, True) for unit in ("mm", "?", "Millimeters")],
)
def test_units_of_meta_image_that_are_no_millimeters_are_refused(tmp_path: Path, unit: str, is_read: bool) -> None:
    path = tmp_path / "x.mha"
    path.write_bytes(
        META.format(f"DistanceUnits = {unit}\nElementSpacing = 2 3 4\n", "LOCAL").encode() + VOXELS.tobytes()
    )
    if is_read:
        assert read_volume(path).geometry.spacing == (2, 3, 4)
        return
    with pytest.raises(InputError, match=f"Expected millimeters in '.*x.mha', got the unit '{unit}'"):
        read_volume(path)


@pytest.mark.parametrize(
    "header, notes",
    [
        (f'space: LPS\nspace units: "mm" "mm" "mm"\n{THREE}', []),
        ('spacings: 2 3 4\nunits: "mm" "mm" "ms"\n', [UNPLACED]),
        (f"space: 3D-right-handed\n{THREE}", [UNPLACED]),
        (f"space: scanner-xyz\n{THREE}", [UNPLACED]),
        (f"space dimension: 3\n{THREE}", [UNPLACED]),
        ("spacings: 2 3 4\n", [UNPLACED]),
        ("", [UNSIZED, UNPLACED]),
        ("axis mins: 0 0 0\naxis maxs: 4 9 16\n", [BY_EXTENT, UNPLACED]),
    ],
)
def test_what_a_header_of_nrrd_does_not_say_is_noted(tmp_path: Path, header: str, notes: list[str]) -> None:
    volume = read_volume(nrrd_of(tmp_path / "x.nrrd", header))
    assert volume.notes == notes and volume.geometry.spacing == ((2, 3, 4) if notes in ([], [UNPLACED]) else (1, 1, 1))


def test_flat_colors_in_nrrd_have_no_place_in_the_patient(tmp_path: Path) -> None:
    kinds = "kinds: RGB-color domain domain\nspacings: nan 1 1\n"
    assert read_volume(nrrd_of(tmp_path / "x.nrrd", kinds, "3 2 4")).notes == []


def test_voxels_that_begin_in_the_header_of_meta_image_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.mha"
    path.write_bytes(META.format("HeaderSize = 7\n", "LOCAL").encode() + VOXELS.tobytes())
    with pytest.raises(InputError, match="voxels begin at byte 7"):
        read_volume(path)
    path.write_bytes(META.format("HeaderSize = -1\n", "LOCAL").encode() + VOXELS.tobytes())
    assert read_volume(path).array.ravel().tolist() == list(range(24))


def test_voxels_of_meta_image_as_text_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.mha"
    path.write_text(META.format("BinaryData = False\n", "LOCAL") + " ".join(map(str, VOXELS)))
    with pytest.raises(InputError, match="as text"):
        read_volume(path)


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.nrrd", "x.mha", "x.mhd", "folder"])
def test_slices_are_counted_by_the_header_alone(tmp_path: Path, name: str) -> None:
    volume = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 999, (6, 50, 40), dtype=np.int16))
    path = tmp_path / name
    if name == "folder":
        write_series(path, range(6))
        files = list(path.iterdir())
    else:
        sitk.WriteImage(volume, str(path))
        files = [path.with_suffix(".raw") if name == "x.mhd" else path]
    assert slice_count(path) == 6
    for file in files:
        file.write_bytes(file.read_bytes()[: -file.stat().st_size // 8])  # of the voxels, which are at the end
    with pytest.raises(InputError):
        read_volume(path)
    assert slice_count(path) == 6


def test_a_file_of_voxels_that_holds_more_than_its_header_says_is_noted(tmp_path: Path) -> None:
    """The first bytes are voxels, as in ITK; where the header says how many to skip, all is said."""
    (tmp_path / "x.raw").write_bytes(bytes(6) + VOXELS.tobytes())
    (tmp_path / "x.mhd").write_text(META.format("", "x.raw"))
    nrrd(tmp_path / "x.nhdr", "data file: x.raw")
    for name in ("x.mhd", "x.nhdr"):
        found = read_volume(tmp_path / name)
        assert found.array.max() == 17 and any("6 bytes more" in note for note in found.notes)
    (tmp_path / "x.mhd").write_text(META.format("HeaderSize = 6\n", "x.raw"))
    nrrd(tmp_path / "x.nhdr", "byte skip: 6\ndata file: x.raw")
    for name in ("x.mhd", "x.nhdr"):
        found = read_volume(tmp_path / name)
        assert found.array.max() == 23 and not any("bytes more" in note for note in found.notes)
    (tmp_path / "LOCAL").write_bytes(bytes(9999))  # the word for voxels in the file itself
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS.reshape(2, 3, 4)), str(tmp_path / "own.mha"))
    assert not read_volume(tmp_path / "own.mha").notes
