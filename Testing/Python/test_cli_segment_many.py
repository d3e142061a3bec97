"""`medclipsam segment` on many images in one start, with labels, boxes, points and regions."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_made import AXIAL, image, save
from hypothesis import given
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw
from skimage.measure import points_in_poly

from MedCLIPSAMLib import cli
from MedCLIPSAMLib.choices import MaskFormat
from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.phantoms.volumes import make_volume
from MedCLIPSAMLib.segmentation import segmenter as segmenters
from MedCLIPSAMLib.tasks.inputs import find_inputs
from MedCLIPSAMLib.tasks.marks import Marks, parse_point
from MedCLIPSAMLib.tasks.rtstruct import outlines
from MedCLIPSAMLib.tasks.writing import write_masks
from MedCLIPSAMLib.volumes import Geometry, Segment, SliceStack, Volume, read_segmentation, read_volume


@pytest.fixture()
def run(monkeypatch, capsys):
    """Run the command line in this process: (exit code, output, error output)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["medclipsam", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        written = capsys.readouterr()
        return code, written.out, written.err

    return call


def picture(path: Path, number: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(make_phantom("validation", 1, "MR", number).picture).save(path)
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


def test_pictures_volumes_and_series_are_segmented_in_one_start(run, tmp_path, monkeypatch):
    """One file each, models loaded once; a damaged file is a line, and the exit code says so at the end."""
    study = tmp_path / "study"
    picture(study / "a" / "head.png"), picture(study / "b" / "head.png")
    series(study / "scan")
    sitk.WriteImage(sitk.GetImageFromArray(make_volume("validation", 8, "MR", 1).slices[8:10]), study / "v.nii.gz")
    (study / "broken.nii.gz").write_bytes(b"\x1f\x8b no image")
    more = picture(tmp_path / "more.png")
    loads = []
    load = segmenters.load_segmenter
    monkeypatch.setattr(segmenters, "load_segmenter", lambda *a, **k: loads.append(a) or load(*a, **k))
    out = tmp_path / "out"
    ask = ("segment", study, more, "-p", "tumor: brain tumor", "-o", out, "--format", "nii.gz", "--json")
    code, text, err = run(*ask)
    assert code == 1 and len(loads) == 1
    made = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    assert made == {f"{name}.nii.gz" for name in ("a_head", "b_head", "scan", "v", "more")}
    assert [line for line in err.splitlines() if line.startswith("failed: broken: ")] and "Traceback" not in err
    said = json.loads(text)
    assert len(said["images"]) == 5 and [each["input"] for each in said["failed"]] == [str(study / "broken.nii.gz")]
    assert {row["label"] for each in said["images"] for row in each["results"]} == {"tumor"}
    for name, source in {"scan": study / "scan", "v": study / "v.nii.gz"}.items():
        mask, scan = sitk.ReadImage(str(out / f"{name}.nii.gz")), read_volume(source)
        assert mask.GetSize() == scan.shape[::-1] and np.allclose(mask.GetSpacing(), scan.geometry.spacing)
    # The same command does only what is not there, another one is refused, and --overwrite does all again.
    (out / "v.nii.gz").unlink()
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")}
    code, text, _ = run(*ask)
    said = json.loads(text)
    assert code == 1 and [each["output"] for each in said["images"]] == [str(out / "v.nii.gz")]
    assert len(said["kept"]) == 4 and all(path.stat().st_mtime_ns == time for path, time in before.items())
    code, _, err = run("segment", more, "-p", "ventricles", "-o", out, "--format", "nii.gz")
    assert code == 2 and "other prompts" in err
    code, _, _ = run("segment", more, "-p", "ventricles", "-o", out, "--format", "nii.gz", "--overwrite")
    assert code == 0 and (out / "more.nii.gz").stat().st_mtime_ns > before[out / "more.nii.gz"]


def test_several_images_do_not_go_into_one_file_nor_into_a_folder_of_something_else(run, tmp_path):
    one, other = picture(tmp_path / "in" / "one.png"), picture(tmp_path / "in" / "other.png")
    code, _, err = run("segment", one, other, "-p", "brain", "--model", "none", "-o", tmp_path / "out.nii.gz")
    assert code == 2 and "-o a folder" in err
    code, _, err = run("segment", tmp_path / "in", "-p", "brain", "-o", tmp_path / "out.nii.gz")
    assert code == 2 and "give -o a folder too" in err
    code, _, err = run("segment", one, other, "-p", "brain", "--model", "none", "-o", tmp_path / "in")
    assert (
        code == 2
        and "not empty" in err
        and sorted(path.name for path in (tmp_path / "in").iterdir())
        == [
            "one.png",
            "other.png",
        ]
    )


def test_names_of_outputs_do_not_collide(tmp_path):
    paths = [picture(tmp_path / name) for name in ("a/x.png", "b/x.png", "b/x.bmp", "y.png")]
    names = [each.name for each in find_inputs([*paths, tmp_path / "b" / ".." / "y.png"])]
    assert len(names) == 4 == len({name.lower() for name in names})
    assert names[0] == "a_x" and names[3] == "y"


def test_prompts_with_labels_name_the_segments(run, tmp_path):
    head = picture(tmp_path / "head.png")
    out = tmp_path / "out.seg.nrrd"
    code, text, err = run("segment", head, "-p", "lesion: brain tumor", "-p", "ventricles", "-o", out, "--json")
    assert code == 0, err
    segments = read_segmentation(out)
    assert [segment.name for segment in segments] == ["lesion", "ventricles"]
    assert segments[0].tags["MedCLIPSAM.Prompt"] == "brain tumor"
    assert [(row["label"], row["prompt"]) for row in json.loads(text)["results"]] == [
        ("lesion", "brain tumor"),
        ("ventricles", "ventricles"),
    ]
    for wrong in (["x:"], [": x"], ["x: a", "x: b"]):
        asked = [part for each in wrong for part in ("-p", each)]
        assert run("segment", head, *asked, "-o", tmp_path / "no.png")[0] == 2


def test_boxes_and_points_outline_a_picture_without_text(run, tmp_path):
    phantom = make_phantom("validation", 1, "MR", 1)
    head = picture(tmp_path / "head.png")
    rows, columns = np.nonzero(phantom.lesion_mask)
    box = f"{columns.min()},{rows.min()},{columns.max()},{rows.max()}"
    inside = f"{int(columns.mean())},{int(rows.mean())},+"
    for name, options in {"box": ["--box", box], "both": ["--box", box, "--point", inside, "--point", "2,2,-"]}.items():
        out = tmp_path / f"{name}.seg.nrrd"
        code, text, err = run("segment", head, *options, "-p", "my lesion", "-o", out)
        assert code == 0 and "Outlined 'my lesion'" in text, err
        (segment,) = read_segmentation(out)
        assert segment.name == "my lesion" and dsc(segment.mask[0], phantom.lesion_mask) > 0.75
        assert segment.tags["MedCLIPSAM.Boxes"] == box
    code, _, err = run("segment", head, "--point", inside, "-o", tmp_path / "point.png")
    assert code == 0, err
    assert np.asarray(Image.open(tmp_path / "point.png"))[int(rows.mean()), int(columns.mean())] == 255
    code, _, err = run("segment", head, "--box", "0,0,9999,5", "-o", tmp_path / "no.png")
    assert code == 2 and "outside of 'head'" in err


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


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("turned", TURNED)
def test_a_mark_in_a_volume_is_at_its_voxel_whatever_the_geometry(turned, plane):
    """The picture of the slice shows, at the place of the point, what the file has at its index."""
    volume, (i, j, k) = turned_volume(TURNED[turned])
    marked = volume.array.copy()
    marked[k, j, i] = 2000
    volume = Volume(marked, volume.geometry)
    stack = SliceStack(volume, plane, (0, 2000))
    marks = Marks(((i - 1, j - 1, k - 1, i + 1, j + 1, k + 1),))
    axis = "IJK".index(stack.source_axis)
    low, high = [i - 1, j - 1, k - 1], [i + 1, j + 1, k + 1]
    low[axis] = high[axis] = (i, j, k)[axis]
    number, prompts = Marks((), (((i, j, k), True),)).place(stack, None)
    x, y = prompts.points[0, 0]
    assert stack.picture(number)[int(y), int(x), 0] > 150 and stack.source_index(number) == (i, j, k)[axis]
    _, boxes = Marks(((*low, *high),)).place(stack, None)
    x0, y0, x1, y1 = boxes.boxes[0]
    assert np.allclose([(x0 + x1) / 2, (y0 + y1) / 2], [x, y], atol=0.01)
    pixels = [spacing for n, spacing in enumerate(volume.geometry.spacing) if n != axis]
    mm = sorted([(x1 - x0) * stack.pixel_spacing[1], (y1 - y0) * stack.pixel_spacing[0]])
    assert np.allclose(mm, sorted(3 * each for each in pixels), rtol=0.02)
    with pytest.raises(InputError, match="slices"):
        marks.place(stack, None)
    # Two indices and the slice are the same place.
    rest = tuple(value for n, value in enumerate((i, j, k)) if n != axis)
    same, again = Marks((), ((rest, True),)).place(stack, number)
    assert same == number and np.allclose(again.points, prompts.points)


@pytest.mark.parametrize("turned", TURNED)
def test_a_point_in_a_turned_volume_gives_a_mask_at_that_voxel(run, tmp_path, turned):
    volume, (i, j, k) = turned_volume(TURNED[turned])
    sitk.WriteImage(volume.to_sitk(), str(tmp_path / "v.nrrd"))
    out = tmp_path / "out.nii.gz"
    code, text, err = run("segment", tmp_path / "v.nrrd", "--point", f"{i},{j},{k}", "-o", out, "--statistics")
    assert code == 0, err
    mask = sitk.ReadImage(str(out))
    place = volume.geometry.affine @ (i, j, k, 1)  # by hand: the point of the patient that was marked
    assert mask[mask.TransformPhysicalPointToIndex(place[:3].tolist())] == 1
    found = sitk.GetArrayFromImage(mask) > 0
    truth = volume.array > 500
    assert (found & truth).sum() > 0.5 * found.sum()
    code, _, err = run("segment", tmp_path / "v.nrrd", "--point", f"{i},{j}", "-o", tmp_path / "no.nii.gz")
    assert code == 2 and "two indices" in err


def test_a_region_is_looked_at_as_if_it_were_the_whole_image(run, tmp_path):
    phantom = make_phantom("validation", 1, "MR", 1)
    head = picture(tmp_path / "head.png")
    rows, columns = np.nonzero(phantom.lesion_mask)
    middle, side = (int(columns.mean()), int(rows.mean())), 60
    x0, y0 = (max(0, each - side) for each in middle)
    x1, y1 = (min(limit - 1, each + side) for each, limit in zip(middle, phantom.lesion_mask.shape[::-1]))
    ask = ("segment", head, "-p", "brain tumor", "--presence", 0, "--roi", f"{x0},{y0},{x1},{y1}", "--json")
    code, text, err = run(*ask, "-o", tmp_path / "out.png", "--saliency", tmp_path / "s.nii.gz")
    assert code == 0, err
    mask = np.asarray(Image.open(tmp_path / "out.png")) > 0
    outside = np.ones_like(mask)
    outside[y0 : y1 + 1, x0 : x1 + 1] = False
    assert mask.shape == phantom.lesion_mask.shape and mask.any() and not mask[outside].any()
    saliency = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "s.nii.gz")))[0]
    assert saliency.shape == mask.shape and saliency.max() > 0.9 and not saliency[outside].any()
    Image.open(head).crop((x0, y0, x1 + 1, y1 + 1)).save(tmp_path / "cut.png")
    assert run("segment", tmp_path / "cut.png", *ask[2:6], "-o", tmp_path / "cut_out.png")[0] == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "cut_out.png")) > 0, mask[y0 : y1 + 1, x0 : x1 + 1])
    for bx0, by0, bx1, by1 in json.loads(text)["results"][0]["boxes"]:
        assert x0 <= bx0 <= bx1 <= x1 + 1 and y0 <= by0 <= by1 <= y1 + 1


def test_marks_go_with_a_region_and_a_region_alone_is_a_box(run, tmp_path, monkeypatch):
    """What SAM 2 is given is recorded: a box in pixels of the region's picture, of a flipped volume."""
    asked = []

    def outlined(self, sam_prompts, *_, **__):
        asked.append((self._shown[0].images[0].shape[:2], sam_prompts.boxes.tolist()))
        x0, y0, x1, y1 = sam_prompts.boxes[0].round().astype(int)
        mask = np.zeros(asked[-1][0], bool)
        mask[y0:y1, x0:x1] = True
        return mask, np.array([0.9], np.float32)

    monkeypatch.setattr(segmenters.TextSegmenter, "outline", outlined)
    voxels = np.random.default_rng(0).integers(0, 900, (6, 50, 60)).astype(np.int16)
    volume = Volume(voxels, Geometry(direction=tuple(np.diag([-1.0, -1.0, -1.0]).ravel())))
    sitk.WriteImage(volume.to_sitk(), str(tmp_path / "v.nrrd"))
    masks = {}
    for name, options in {
        "both": ("--roi", "10,5,1,39,34,4", "--box", "20,10,3,24,13,3"),
        "box": ("--box", "20,10,3,24,13,3"),
        "roi": ("--roi", "20,10,3,24,13,3"),
        "flat": ("--roi", "10,5,39,34", "--box", "20,10,24,13", "--slice", "2"),  # 2 from the other end is 3
    }.items():
        code, _, err = run("segment", tmp_path / "v.nrrd", *options, "-o", tmp_path / f"{name}.nii.gz")
        assert code == 0, err
        masks[name] = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"{name}.nii.gz"))) > 0
        truth = np.zeros(voxels.shape, bool)
        truth[3, 10:14, 20:25] = True
        assert np.array_equal(masks[name], truth), name
    assert [shape for shape, _ in asked] == [(30, 30), (50, 60), (50, 60), (30, 30)]
    assert asked[0][1] == [[15, 21, 20, 25]]  # x from 39 - 24, y from 34 - 13
    for wrong in (
        ("--roi", "10,5,1,39,34,4", "--box", "20,10,5,24,13,5"),
        ("--roi", "10,5,39,34", "--point", "5,20,3"),
        ("--box", "20,10,3,24,13,3", "-p", "a", "-p", "b"),
        ("--box", "20,10,3,24,13,3", "--all"),
        ("--roi", "10,5,1,39,34,4", "-p", "a", "--all"),
    ):
        code, _, err = run("segment", tmp_path / "v.nrrd", *wrong, "-o", tmp_path / "no.nii.gz")
        assert code == 2 and len(err.strip().splitlines()) == 2


def test_a_region_of_a_flipped_volume_takes_its_slices_and_voxels(run, tmp_path):
    slices = make_volume("validation", 8, "MR", 1).slices
    geometry = Geometry((0, 0, 0), (1, 1, 3), tuple(np.diag([-1.0, -1.0, -1.0]).ravel()))
    volume = Volume(slices[:, ::-1, ::-1][::-1].copy(), geometry)
    sitk.WriteImage(volume.to_sitk(), str(tmp_path / "v.nii.gz"))
    height, width = slices.shape[1:]
    roi = f"20,10,4,{width - 1},{height - 30},7"
    ask = ("segment", tmp_path / "v.nii.gz", "-p", "brain tumor", "--presence", 0, "--window", "0:255", "--roi", roi)
    code, text, err = run(*ask, "--propagate", "slices", "-o", tmp_path / "out.nii.gz", "--json")
    assert code == 0, err
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out.nii.gz"))) > 0
    k, j, i = np.nonzero(mask)
    assert mask.any() and set(k) <= {4, 5, 6, 7} and i.min() >= 20 and j.min() >= 10 and j.max() <= height - 30
    last = len(slices) - 1
    assert {row["slice"] for row in json.loads(text)["results"]} == {last - 7, last - 6, last - 5, last - 4}


@pytest.mark.parametrize("text", ["1", "1,2,3,4", "a,b", "1,2,x", "nan,2", "1,2,3,4,-"])
def test_points_that_are_none_are_refused(text):
    with pytest.raises(InputError, match="no point"):
        parse_point(text)


def test_statistics_of_volumes_pictures_and_unknown_spacing(run, tmp_path):
    """ml by the spacing of the volume; mm² of a radiograph that says how large a pixel is; else a word."""
    volume, _ = turned_volume(TURNED["oblique"])
    sitk.WriteImage(volume.to_sitk(), str(tmp_path / "v.nrrd"))
    box = ("--box", "22,4,6,32,14,6", "--statistics", "--json")
    code, text, err = run("segment", tmp_path / "v.nrrd", *box, "-o", tmp_path / "out.nii.gz")
    assert code == 0, err
    voxels = int((sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out.nii.gz"))) > 0).sum())
    (row,) = json.loads(text)["statistics"]
    assert row["voxels"] == voxels > 20 and row["slices"] == 1 and row["mm2"] is None
    assert row["ml"] == pytest.approx(voxels * 0.8 * 1.0 * 2.0 / 1000)
    pixels = np.full((60, 80), 100, np.uint16)
    pixels[20:40, 30:60] = 900
    save(image(pixels, "1.2.840.10008.5.1.4.1.1.1", "CR", PixelSpacing=[0.5, 0.25]), tmp_path / "r.dcm")
    Image.fromarray((pixels // 4).astype(np.uint8)).save(tmp_path / "r.png")
    box = ("--box", "30,20,59,39", "--statistics")
    code, text, err = run("segment", tmp_path / "r.dcm", *box, "--json", "-o", tmp_path / "r.nii.gz")
    assert code == 0, err
    (row,) = json.loads(text)["statistics"]
    assert row["mm2"] == pytest.approx(row["voxels"] * 0.125) and row["ml"] is None and row["voxels"] > 300
    code, text, _ = run("segment", tmp_path / "r.png", *box, "-o", tmp_path / "p.png")
    assert code == 0 and "unknown" in text and "how large a pixel is" in text


def test_a_file_for_each_label(run, tmp_path):
    head = picture(tmp_path / "head.png")
    ask = ("segment", head, "-p", "lesion: brain tumor", "-p", "LESION: ventricles", "--output-layout")
    code, _, err = run(*ask, "one-file-per-label", "-o", tmp_path / "m.png")
    assert code == 0, err
    made = sorted(path.name for path in tmp_path.glob("m*.png"))
    assert made == ["m_LESION_2.png", "m_lesion.png"]
    assert all(set(np.unique(np.asarray(Image.open(tmp_path / name)))) == {0, 255} for name in made)
    assert run(*ask, "one-file-per-label", "-o", tmp_path / "m.png")[0] == 2  # they are there


@pytest.fixture()
def lesion_of(monkeypatch):
    """Outlines are a box of voxels, whatever is asked: what is written of it can be computed by hand."""

    def outlined(self, sam_prompts, *_, **__):
        x0, y0, x1, y1 = sam_prompts.boxes[0].round().astype(int)
        mask = np.zeros(self._shown[0].images[0].shape[:2], bool)
        mask[y0:y1, x0:x1] = True
        return mask, np.array([0.9], np.float32)

    monkeypatch.setattr(segmenters.TextSegmenter, "outline", outlined)


@pytest.mark.parametrize("named", [True, False], ids=["patient known", "without birth date and sex"])
def test_dicom_seg_and_rtstruct_lie_where_the_series_does(run, tmp_path, lesion_of, named):
    """Of an oblique series of pixels of 0.5 x 1.5 mm, read back by pydicom, against points computed by hand."""
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    turn = oblique()
    identity = {"PatientBirthDate": "19700101", "PatientSex": "F", "PatientName": "Ä^B"} if named else {}
    for k in range(3):
        place = np.array([10.0, -20.0, 30.0]) + 4.0 * k * turn[:, 2]
        tags = {"ImagePositionPatient": [round(float(v), 5) for v in place], "InstanceNumber": str(k + 1)}
        tags |= {"ImageOrientationPatient": [float(v) for v in (*turn[:, 0], *turn[:, 1])], "PixelSpacing": [1.5, 0.5]}
        tags |= {"SpecificCharacterSet": "ISO_IR 192", **identity}
        save(image(np.full((24, 64), 50 * k, np.int16), **tags), tmp_path / "scan" / f"{3 - k}.dcm")
    ask = ("segment", tmp_path / "scan", "-p", "x: lung nodule", "--box", "40,6,1,44,9,1")
    code, _, err = run(*ask, "-o", tmp_path / "seg.dcm")
    assert code == 0, err
    code, _, err = run(*ask, "-o", tmp_path / "rt.dcm", "--format", "rtstruct")
    assert code == 0, err
    corner = lambda i, j: np.array([10, -20, 30]) + 4.0 * turn[:, 2] + 0.5 * i * turn[:, 0] + 1.5 * j * turn[:, 1]
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    (frame,) = seg.PerFrameFunctionalGroupsSequence
    assert np.allclose(frame.PlanePositionSequence[0].ImagePositionPatient, corner(0, 0), atol=1e-3)
    j, i = np.nonzero(seg.pixel_array)
    assert (i.min(), i.max(), j.min(), j.max()) == (40, 44, 6, 9) and seg.SegmentSequence[0].SegmentLabel == "x"
    rt = pydicom.dcmread(tmp_path / "rt.dcm")
    assert rt.Modality == "RTSTRUCT" and rt.StructureSetROISequence[0].ROIName == "x"
    (contour,) = rt.ROIContourSequence[0].ContourSequence
    points = np.array(contour.ContourData, float).reshape(-1, 3)
    assert contour.NumberOfContourPoints == len(points)
    # Half a voxel outside of the first row, at the column 42: a point of the contour.
    assert np.linalg.norm(points - corner(42, 5.5), axis=1).min() < 1e-3
    assert np.linalg.norm(points - corner(44.5, 7), axis=1).min() < 1e-3
    middle = pydicom.dcmread(tmp_path / "scan" / "2.dcm")
    assert contour.ContourImageSequence[0].ReferencedSOPInstanceUID == middle.SOPInstanceUID
    for made in (seg, rt):
        assert made.PatientID == "p1" and made.StudyInstanceUID == middle.StudyInstanceUID
        assert made.PatientSex == ("F" if named else "") and str(made.PatientName) == ("Ä^B" if named else "")


def test_dicom_objects_are_refused_for_other_images_before_the_models_load(run, tmp_path):
    head = picture(tmp_path / "head.png")
    for options in (["-o", tmp_path / "x.dcm"], ["-o", tmp_path / "x.dcm", "--format", "rtstruct"]):
        code, _, err = run("segment", head, "-p", "x", "--sam", "none", *options)
        assert code == 2 and "no DICOM series" in err
    code, _, err = run("segment", head, "-p", "x", "--sam", "none", "-o", tmp_path / "x.png", "--format", "rtstruct")
    assert code == 2 and ".dcm" in err


def test_nothing_found_is_written_as_dicom_too(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    volume = read_volume(series(tmp_path / "scan"))
    nothing = [Segment("tumor", np.zeros(volume.shape, bool))]
    for form in (MaskFormat.DICOM_SEG, MaskFormat.RTSTRUCT):
        write_masks(tmp_path / f"{form}.dcm", form, nothing, volume)
    assert not pydicom.dcmread(tmp_path / "dcm.dcm").pixel_array.any()
    rt = pydicom.dcmread(tmp_path / "rtstruct.dcm")
    assert rt.StructureSetROISequence[0].ROIName == "tumor" and "ContourSequence" not in rt.ROIContourSequence[0]


@given(arrays(bool, (9, 11)))
def test_contours_enclose_the_centers_of_the_mask_and_no_others(mask):
    """Holes and corners too: the centers inside of an odd number of turns are the mask."""
    centers = np.stack(np.nonzero(np.ones_like(mask)), 1)
    inside = np.zeros(len(centers), bool)
    for line in outlines(mask):
        inside ^= points_in_poly(centers, line)
    assert np.array_equal(inside.reshape(mask.shape), mask)


def test_overlays_and_montages_say_what_they_show(run, tmp_path, monkeypatch):
    """Names, slice and score are drawn; a montage has a cell for each slice with a find."""
    written = []
    draw = ImageDraw.ImageDraw.text
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda *a, **k: written.append(a[2]) or draw(*a, **k))
    head = tmp_path / "head.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(make_volume("validation", 8, "MR", 1).slices), str(head))
    files = ("-o", tmp_path / "o.nii.gz", "--overlay", tmp_path / "o.png", "--montage", tmp_path / "m.png")
    ask = ("-p", "t: brain tumor", "--window", "0:255", "--slices", "12:15", "--propagate", "slices", "--json")
    code, text, err = run("segment", head, *ask, *files)
    assert code == 0, err
    rows = json.loads(text)["results"]
    best = max(rows, key=lambda row: row["score"])
    assert f"head, axial slice {best['slice']} of 0 to 23" in written and f"t {best['score']:.2f}" in written
    assert [f"slice {row['slice']}" for row in rows if row["found"]] == [
        each for each in written if each.startswith("slice ")
    ]
    picture_size, sheet = Image.open(tmp_path / "o.png").size, np.asarray(Image.open(tmp_path / "m.png"))
    assert picture_size[0] >= 512 and sheet.shape[0] > 240 and len(np.unique(sheet)) > 50


def test_a_run_over_a_folder_that_is_ended_goes_on_with_the_next_image(tmp_path):
    """By SIGTERM, after the first images; the same command then does the others only."""
    for number in range(12):
        picture(tmp_path / "in" / f"{number}.png", number)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "MedCLIPSAMLib", "segment", str(tmp_path / "in"), "-p", "brain tumor"]
    command += ["-o", str(out), "--json"]
    root = Path(__file__).resolve().parents[2]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=root, stdout=pipe, stderr=pipe, encoding="utf-8") as running:
        until = time.monotonic() + 120
        while len(list(out.glob("*.seg.nrrd"))) < 2:
            assert running.poll() is None and time.monotonic() < until
            time.sleep(0.02)
        running.terminate()
        _, err = running.communicate(timeout=60)
    assert running.returncode == 143 and "goes on with the next image" in err and "Traceback" not in err
    done = {path: path.stat().st_mtime_ns for path in out.glob("*.seg.nrrd")}
    again = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", timeout=300)
    said = json.loads(again.stdout)
    assert again.returncode == 0 and 2 <= len(said["kept"]) < 12 and len(said["kept"]) + len(said["images"]) == 12
    assert all(path.stat().st_mtime_ns == time_ for path, time_ in done.items())
    assert {path.name for path in out.iterdir()} == {
        ".lock",
        ".medclipsam.json",
        *(f"{number}.seg.nrrd" for number in range(12)),
    }
