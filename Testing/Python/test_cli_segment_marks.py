"""Boxes, points and regions of `medclipsam segment`, in indices of files of any geometry."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from segmenting import TURNED, models_stay_loaded, phantom_png, turned_volume

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.phantoms.volumes import make_volume
from MedCLIPSAMLib.segmentation import segmenter as segmenters
from MedCLIPSAMLib.tasks.marks import Marks, parse_point
from MedCLIPSAMLib.volumes import Geometry, SliceStack, Volume, read_segmentation

FIXTURES = (models_stay_loaded,)


def test_boxes_and_points_outline_an_image_without_text(run, tmp_path):
    phantom = make_phantom("validation", 1, "MR", 1)
    head = phantom_png(tmp_path / "head.png")
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
    assert code == 2 and "outside of 'head'" in err and "pixels" in err and "voxels" not in err


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("turned", TURNED)
def test_a_mark_in_a_volume_is_at_its_voxel_whatever_the_geometry(turned, plane):
    """The image of the slice shows, at the place of the point, what the file has at its index."""
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
    assert stack.image(number)[int(y), int(x), 0] > 150 and stack.source_index(number) == (i, j, k)[axis]
    _, boxes = Marks(((*low, *high),)).place(stack, None)
    x0, y0, x1, y1 = boxes.boxes[0]
    assert np.allclose([(x0 + x1) / 2, (y0 + y1) / 2], [x, y], atol=0.01)
    pixels = [spacing for n, spacing in enumerate(volume.geometry.spacing) if n != axis]
    mm = sorted([(x1 - x0) * stack.pixel_spacing[1], (y1 - y0) * stack.pixel_spacing[0]])
    assert np.allclose(mm, sorted(3 * value for value in pixels), rtol=0.02)
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
    head = phantom_png(tmp_path / "head.png")
    rows, columns = np.nonzero(phantom.lesion_mask)
    middle, side = (int(columns.mean()), int(rows.mean())), 60
    x0, y0 = (max(0, center - side) for center in middle)
    x1, y1 = (min(limit - 1, center + side) for center, limit in zip(middle, phantom.lesion_mask.shape[::-1]))
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
    """What SAM 2 is given is recorded: a box in pixels of the region's image, of a flipped volume."""
    requested = []

    def outlined(self, sam_prompts, *_, **__):
        requested.append((self._shown[0].images[0].shape[:2], sam_prompts.boxes.tolist()))
        x0, y0, x1, y1 = sam_prompts.boxes[0].round().astype(int)
        mask = np.zeros(requested[-1][0], bool)
        mask[y0:y1, x0:x1] = True
        return mask, np.array([0.9], np.float32)

    monkeypatch.setattr(segmenters.TextSegmenter, "predict_mask", outlined)
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
    assert [shape for shape, _ in requested] == [(30, 30), (50, 60), (50, 60), (30, 30)]
    assert requested[0][1] == [[15, 21, 20, 25]]  # x from 39 - 24, y from 34 - 13
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
    with pytest.raises(InputError, match="Expected a --point"):
        parse_point(text)
