"""`medclipsam segment` on real files, and the messages for input that cannot work."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedCLIPSAMLib.choices import CoarseMethod, Precision, SamPromptKind
from MedCLIPSAMLib.commands.option_groups import ComputeOptions, MaskOptions
from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.phantoms.samples import SAMPLES
from MedCLIPSAMLib.phantoms.volumes import make_volume
from MedCLIPSAMLib.segmentation.settings import default_settings
from MedCLIPSAMLib.validated import with_changes
from MedCLIPSAMLib.volumes import read_segmentation, read_volume

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def _write(path, array):
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    return path


@pytest.fixture()
def brain(tmp_path):
    image = sitk.GetImageFromArray(make_phantom("validation", 1, "MR", 1).image[None])
    image.SetSpacing((1.4, 1.4, 5.0))
    sitk.WriteImage(image, str(tmp_path / "brain.nii.gz"))
    return tmp_path / "brain.nii.gz"


def test_everything_is_written_and_reported(run, brain, tmp_path):
    prompts = ("-p", "brain tumor", "-p", "ventricles")
    beside = ("--saliency", tmp_path / "saliency.nii.gz", "--overlay", tmp_path / "overlay.png")
    code, out, err = run("segment", brain, *prompts, "-o", tmp_path / "out.seg.nrrd", *beside, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert [row["prompt"] for row in report["results"]] == ["brain tumor", "ventricles"]
    assert report["results"][0]["found"]
    volume = read_volume(brain)
    segments = read_segmentation(tmp_path / "out.seg.nrrd", volume)
    assert [segment.name for segment in segments] == ["brain tumor", "ventricles"]
    assert segments[0].mask.sum() == report["results"][0]["pixels"] > 30
    saliency = sitk.ReadImage(str(tmp_path / "saliency.nii.gz"))
    assert saliency.GetSize() == volume.to_sitk().GetSize()
    assert np.allclose(saliency.GetSpacing(), volume.geometry.spacing)
    assert 0.9 < sitk.GetArrayFromImage(saliency).max() <= 1.0
    assert (tmp_path / "overlay.png").stat().st_size > 1000
    assert not list(tmp_path.glob(".*")) and len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_shipped_samples(run, tmp_path, sample):
    code, out, _ = run("segment", sample.image, "-p", sample.prompt, "-o", tmp_path / "out.nii.gz", "--json")
    assert code == 0 and json.loads(out)["results"][0]["found"]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real images of ../shared/data are not here")
@pytest.mark.parametrize(
    "name, ending",
    [
        ("MR_Gd.nii.gz", ".seg.nrrd"),
        ("CT_pitch.nii.gz", ".nii.gz"),
        ("ct-3slice", ".seg.nrrd"),
        ("us_femur.png", ".png"),
    ],
)
def test_real_images(run, tmp_path, name, ending):
    out = tmp_path / f"out{ending}"
    code, _, err = run("segment", SHARED / name, "-p", "tumor", "--presence", "0", "-o", out)
    assert code == 0, err
    mask = sitk.ReadImage(str(out))
    source = read_volume(SHARED / name).to_sitk()
    assert mask.GetSize()[:2] == source.GetSize()[:2] and sitk.GetArrayFromImage(mask).any()
    if ending != ".png":
        assert np.allclose(mask.GetDirection(), source.GetDirection(), atol=1e-5)
        assert np.allclose(mask.GetOrigin(), source.GetOrigin(), atol=1e-3)


@pytest.mark.parametrize("strategy", ["memory", "boxes"])
def test_one_prompt_for_a_whole_volume(run, tmp_path, strategy):
    phantom = make_volume("validation", 8, "MR", 1)
    image = sitk.GetImageFromArray(phantom.slices)
    image.SetSpacing((1.0, 1.0, 3.0))
    sitk.WriteImage(image, str(tmp_path / "head.nii.gz"))
    out = tmp_path / "out.nii.gz"
    arguments = ("segment", tmp_path / "head.nii.gz", "-p", "brain tumor", "--propagate", strategy, "-o", out)
    code, text, err = run(*arguments, "--window", "0:255", "--overlay", tmp_path / "o.png")
    assert code == 0, err
    assert "of 24 slices" in text and (tmp_path / "o.png").is_file()
    assert dsc(sitk.GetArrayFromImage(sitk.ReadImage(str(out))) > 0, phantom.lesion_mask) > 0.6
    code, text, err = run(*arguments, "--window", "0:255", "--json", "--overwrite")
    rows = json.loads(text)["results"]
    assert any(row["presence"] is None and "propagated" in row["message"] for row in rows)


def test_slices_at_uneven_positions_are_followed_in_their_order_and_noted(run, tmp_path):
    """A DICOM series of 5 mm slices of which one is missing, stored upside down."""
    phantom = make_volume("validation", 8, "MR", 1)
    numbers = [k for k in range(len(phantom.slices)) if k != int(phantom.lesion_mask.sum((1, 2)).argmax()) + 1]
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    (tmp_path / "head").mkdir()
    for k in numbers:
        image = sitk.GetImageFromArray(phantom.slices[k][None].astype(np.int16))
        tags = {"0008|0060": "MR", "0008|0018": f"1.2.3.{k + 1}", "0020|000e": "1.2.3", "0020|000d": "1.2"}
        tags |= {"0020|0032": f"0\\0\\{5 * k}", "0020|0037": "1\\0\\0\\0\\1\\0", "0020|0013": str(100 - k)}
        for key, value in tags.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(tmp_path / "head" / f"{100 - k}.dcm"))
        writer.Execute(image)
    out = tmp_path / "out.nii.gz"
    arguments = ("segment", tmp_path / "head", "-p", "brain tumor", "--propagate", "memory", "--window", "0:255")
    code, text, err = run(*arguments, "-o", out)
    assert code == 0, err
    assert "Uneven slice spacing (5.00 to 10.00 mm)" in err and "of 23 slices" in text
    assert dsc(sitk.GetArrayFromImage(sitk.ReadImage(str(out))) > 0, phantom.lesion_mask[numbers]) > 0.6


def test_an_interrupted_run_goes_on_where_it_was(tmp_path, run):
    """Ctrl+C in a process of its own, then the same command again."""
    _write(tmp_path / "head.nrrd", make_volume("validation", 8, "MR", 1).slices)
    out = tmp_path / "out.seg.nrrd"
    command = [sys.executable, "-m", "MedCLIPSAMLib", "segment", str(tmp_path / "head.nrrd"), "-p", "brain tumor"]
    command += ["--all", "--window", "0:255", "-o", str(out)]
    running = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        cwd=Path(__file__).resolve().parents[2],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while running.poll() is None and len(list(tmp_path.glob("out.seg.nrrd.unfinished/*.npz"))) < 8:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=120)
    assert running.returncode == 130 and "the same command resumes from there" in err and not out.exists()
    code, text, err = run(*command[3:])
    assert code == 0 and "Resuming a run that was stopped" in err and "Found" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["head.nrrd", "out.seg.nrrd"]


BAD_INPUT = {
    "missing file": (lambda folder: folder / "nowhere.nii.gz", [], "nowhere"),
    "4-D volume": (lambda folder: _write_4d(folder), [], "4"),
    "empty folder": (lambda folder: _folder(folder), [], "empty"),
    "truncated file": (lambda folder: _truncated(folder), [], "cut"),
    "only NaN": (lambda folder: _write(folder / "nan.nrrd", np.full((2, 8, 8), np.nan, np.float32)), [], "NaN"),
    "slice out of range": (None, ["--slice", "7"], "7"),
    "slices backwards": (None, ["--slices", "5:2"], "5:2"),
    "slices that are no numbers": (None, ["--slices=--5:7"], "--5:7"),
    "slices beyond all volumes": (None, ["--slices=0:99999999999"], "range A:B"),
    "two ways to choose": (None, ["--slice", "0", "--all"], "one"),
    "unknown model": (None, ["--model", "clippy"], "clippy"),
    "unknown SAM": (None, ["--sam", "sam9"], "sam9"),
    "model that was not downloaded": (None, ["--model", "biomedclip"], "download"),
    "no CUDA": (None, ["--device", "cuda"], "CUDA"),
    "bad layer": (None, ["--layer", "40"], "40"),
    "bad window": (None, ["--window", "a:b"], "a:b"),
    "unwritable output": (None, ["-o", "/nowhere/out.nii.gz"], "/nowhere"),
    "unknown ending": (None, ["-o", "out.docx"], "docx"),
}


def _write_4d(folder):
    image = sitk.JoinSeries([sitk.GetImageFromArray(np.zeros((4, 8, 8), np.float32))] * 3)
    sitk.WriteImage(image, str(folder / "four.nii.gz"))
    return folder / "four.nii.gz"


def _folder(folder):
    (folder / "nothing").mkdir()
    return folder / "nothing"


def _truncated(folder):
    _write(folder / "whole.nii.gz", np.random.default_rng(0).normal(size=(8, 64, 64)).astype(np.float32))
    (folder / "cut.nii.gz").write_bytes((folder / "whole.nii.gz").read_bytes()[:20000])
    return folder / "cut.nii.gz"


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_refused_in_two_lines(run, brain, tmp_path, monkeypatch, case):
    monkeypatch.delenv("MEDCLIPSAM_MODELS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    make, options, named = BAD_INPUT[case]
    if case == "no CUDA":
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has CUDA")
    image = make(tmp_path) if make else brain
    output = [] if "-o" in options else ["-o", tmp_path / "out.seg.nrrd"]
    code, out, err = run("segment", image, "-p", "brain tumor", *output, *options)
    assert code == 2 and not (tmp_path / "out.seg.nrrd").exists()
    assert err.startswith("error: ") and named in err and "Traceback" not in err and len(err.strip().splitlines()) <= 2
    assert not out


@pytest.mark.parametrize("prompt", ["", "   ", "tumor " * 300, "qwxzj"])
def test_bad_prompts_are_refused(run, brain, tmp_path, prompt):
    code, _, err = run("segment", brain, "-p", prompt, "-o", tmp_path / "out.png")
    assert code == 2 and "prompt" in err and not (tmp_path / "out.png").exists()


def test_nothing_found_is_a_result_and_not_an_error(run, brain, tmp_path):
    code, out, _ = run("segment", brain, "-p", "sitting on a chair", "-o", tmp_path / "out.seg.nrrd")
    assert code == 0 and "Nothing found" in out
    assert not read_segmentation(tmp_path / "out.seg.nrrd")[0].mask.any()


def test_phantoms_make_writes_a_data_set(run, tmp_path):
    assert run("phantoms", "make", "-o", tmp_path / "data", "--count", "4", "--split", "validation")[0] == 0
    assert len(list((tmp_path / "data" / "images").glob("*.png"))) == 4
    assert run("phantoms", "make", "-o", tmp_path / "data", "--split", "exam")[0] == 2
    for command in ("phantoms", "volumes"):
        code, _, err = run("benchmark", command, "--cases", "1", "--split", "exam")
        assert code == 2 and "Expected the split validation or test, got 'exam'" in err


def test_the_search_command_finds_pairs_by_name(run, tmp_path):
    (tmp_path / "images").mkdir(), (tmp_path / "truth").mkdir()
    phantom = make_phantom("validation", 0, "XR")
    _write(tmp_path / "images" / "a.png", phantom.image)
    _write(tmp_path / "truth" / "a_mask.png", phantom.lungs_mask.astype(np.uint8) * 255)
    code, out, err = run(
        "search", tmp_path / "images", tmp_path / "truth", "-p", "lungs", "--layers", "3", "--betas", "0.1,1", "--json"
    )
    assert code == 0, err
    assert json.loads(out)["cases"] == 1 and len(json.loads(out)["trials"]) == 2
    assert run("search", tmp_path / "images", tmp_path, "-p", "lungs")[0] == 2
    ask = ("search", tmp_path / "images", tmp_path / "truth", "-p", "lungs", "--layers", "3", "--betas", "1", "--json")
    dscs = []
    for number, mask in enumerate((phantom.lungs_mask, phantom.lungs_mask, np.zeros_like(phantom.lungs_mask))):
        (truth,) = (tmp_path / "truth").iterdir()
        truth.unlink()
        # As JPEG the mask has other small values than 0 all around; it is the brighter half, as in evaluate.
        path = tmp_path / "truth" / ("a_mask.png" if number != 1 else "a_mask.jpg")
        _write(path, mask.astype(np.uint8) * 255)
        code, out, err = run(*ask)
        assert code == 0, err
        dscs.append(json.loads(out)["trials"][0]["coarse_dsc"])
    assert abs(dscs[0] - dscs[1]) < 0.01 and dscs[2] == 0
    code, _, err = run("search", tmp_path / "images", tmp_path / "images", "-p", "lungs", "--layers", "3")
    assert code == 2 and "gray levels" in err
    code, _, err = run(*ask, "--steps", ",")
    assert code == 2 and "Expected numbers for --betas and --steps" in err
    _write(tmp_path / "images" / "a.bmp", phantom.image)
    code, _, err = run("search", tmp_path / "images", tmp_path / "truth", "-p", "lungs")
    assert code == 2 and "are the same case" in err


def test_verbose_says_what_was_chosen_and_an_option_overrides_it(run, brain, tmp_path):
    output, maps = {}, {}
    for precision in ("auto", "f32", "bf16"):
        out, saliency = tmp_path / f"{precision}.seg.nrrd", tmp_path / f"{precision}.nrrd"
        options = ("--precision", precision, "--device", "cpu", "--verbose", "--saliency", saliency, "-o", out)
        code, _, output[precision] = run("segment", brain, "-p", "brain tumor", *options)
        assert code == 0, output
        maps[precision] = sitk.GetArrayFromImage(sitk.ReadImage(str(saliency)))
    assert ": f32 for 'demo' and 'demo'" in output["auto"] and ": bf16 for 'demo'" in output["bf16"]
    assert np.array_equal(maps["auto"], maps["f32"])
    assert 1e-5 < np.abs(maps["bf16"] - maps["f32"]).max() < 0.2


def test_slices_taken_together_give_the_same_segmentation(run, tmp_path):
    slices = make_volume("validation", 1, "MR", 1).slices[8:13]
    head = _write(tmp_path / "head.nrrd", slices)
    options = "-p tumor --all --propagate slices --window 0:255 --device cpu --verbose".split()
    masks = {}
    for at_once in (0, 3):
        out = tmp_path / f"{at_once}.nii.gz"
        code, _, output = run("segment", head, *options, "--at-once", at_once, "--no-capture", "-o", out)
        assert code == 0 and ("images 3 at once" if at_once else "images one by one") in output
        masks[at_once] = sitk.GetArrayFromImage(sitk.ReadImage(str(out)))
    assert masks[0].any() and (masks[0] != masks[3]).sum() <= 0.01 * masks[0].sum()
    assert run("segment", head, *options, "--at-once", -1, "-o", tmp_path / "x.nii.gz")[0] == 2


def test_a_stopped_run_may_go_on_with_other_slices_together():
    settings = default_settings("demo")
    other = replace(settings, at_once=4, capture=False)
    assert settings != other and settings.deciding() == other.deciding()
    assert replace(settings, min_part=0.2).deciding() != settings.deciding()


def test_the_settings_of_a_model_stay_where_no_option_is_given():
    answer = {"prompts": {"kind": "points", "margin": 0.3}, "min_part": 0.0, "style": "P1", "kind": "malignant"}
    answer |= {"coarse": {"method": "threshold", "threshold": 0.6}, "precision": "f32"}
    settings = with_changes(default_settings("demo"), answer)
    assert MaskOptions().apply(settings) == ComputeOptions().apply(settings) == settings
    assert ComputeOptions(Precision.BF16).apply(settings).precision == "bf16"
    options = MaskOptions(coarse=CoarseMethod.OTSU, prompts=SamPromptKind.BOXES, min_part=0.05, kind="*")
    changed = options.apply(settings)
    assert (changed.coarse.method, changed.coarse.threshold) == ("otsu", 0.6)
    assert (changed.prompts.kind, changed.prompts.margin) == ("boxes", 0.3)
    assert (changed.min_part, changed.style, changed.kind) == (0.05, "P1", "*")
