"""What a command that was given wrongly says: what is wrong with which argument, and how it is given."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from MedCLIPSAMLib.resources import resource_path

SEGMENT = "segment breast_us.png -p tumor"
REFUSED = {
    "segment breast_us.png -o x.png": ["No prompt was given", '-p "brain tumor"'],
    "segment tumor breast_us.png -o x.png": ["no file or folder 'tumor'", '-p "tumor"'],
    "segment breast_us.png -p breast tumor -o x.png": ["no file or folder 'tumor'", '-p "breast tumor"'],
    "segment breast_us.png -p \u201cbreast tumor\u201d -o x.png": ["no file or folder 'tumor", '-p "breast tumor"'],
    "segment breast_us.png \u2014p tumor -o x.png": ["'\u2014p'", "not with a dash"],
    "segment study -p tumor -o x.png": ["no file or folder 'study'", "Check the path"],
    f"{SEGMENT} -o plainfile": ["'plainfile' is a file"],
    f"{SEGMENT} -o plainfile/x.png": ["'plainfile' is a file"],
    "export images -p tumor -o plainfile/Dataset001_X": ["'plainfile' is a file"],
    "models export demo -o plainfile/model": ["'plainfile' is a file"],
    f"{SEGMENT} -o folder.png/": ["'folder.png/' is not an existing folder"],
    f"{SEGMENT} -o -": ["'-' names no file"],
    "evaluate images truth --csv -": ["'-' names no file"],
    f"{SEGMENT} -o x.png --presence 50": ["for --presence, got '50'"],
    f"{SEGMENT} -o x.png --window lungs": ["low and high, got 'lungs'", "Did you mean 'lung'?"],
    f"{SEGMENT} -o x.png --class malignant": ["--class", "--style, such as P3"],
    f"{SEGMENT} -o x.png --window nothing": ["-1000:400"],
    f"{SEGMENT} -o x.png --model my-clip": ["'my-clip'", "--models-dir"],
    f"{SEGMENT} -o x.png --overlay over.jpg": ["'over.jpg'", "its ending is not .png"],
    "export images -o Dataset001_X": ["No prompt was given", '-p "brain tumor"', "--prompts"],
    "demo-models train -o trained --clip-steps 0": ["--clip-steps", "'0'"],
    "help": ["No such command 'help'", "'medclipsam -h' lists the commands"],
    "models remove x": ["'x'", "--models-dir"],
    "evaluate images": ["got 'images'", "the true masks after it"],
    "evaluate breast_us.png": ["got 'breast_us.png'", "the true masks after it"],
    "evaluate absent.csv": ["There is no file or folder 'absent.csv'"],
    "evaluate breast_us.png absent.png": ["There is no file or folder 'absent.png'"],
    "evaluate images truth": ["'a' and 'a_heart'", "--suffix: _heart or _lung"],
    "search images truth -p tumor": ["'a' and 'a_heart'", "--suffix: _heart or _lung"],
    "strike pairs.csv Dataset101_X": ["got the folder 'Dataset101_X'", "the dataset, then the list"],
    "strike Dataset101_X absent.txt": ["There is no file 'absent.txt'"],
    "weak train Dataset999_X -o run": ["There is no folder 'Dataset999_X'"],
    "weak train Dataset999 -o run": ["There is no folder 'Dataset999'"],
    "weak train Dataset101_X -o run": ["There is no file", "dataset.json'"],
    "benchmark real nope --sheet sheet.png": ["There is no file", "index.csv'"],
    "export images --prompts absent.txt -o Dataset001_X": ["There is no file 'absent.txt'"],
    "retrieval pairs.csv -m demo --images images": ["looked for 'images/images/a.png'"],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(resource_path("samples/breast_us.png"), tmp_path)
    for name in ("images/a.png", "truth/a_heart.png", "truth/a_lung.png"):
        Path(name).parent.mkdir(exist_ok=True)
        shutil.copy("breast_us.png", name)
    Path("plainfile").touch()
    Path("Dataset101_X").mkdir()
    Path("pairs.csv").write_text("image,caption\nimages/a.png,an ultrasound of a breast with a tumor\n")
    return tmp_path


@pytest.mark.parametrize("command", REFUSED)
def test_a_refusal_names_what_is_wrong_and_how_it_is_given(run, folder: Path, command: str) -> None:
    before = set(folder.rglob("*"))
    code, _, err = run(*command.split())
    assert code == 2 and err.startswith("error: ")
    for words in REFUSED[command]:
        assert words in err
    assert "Errno" not in err and len(err.splitlines()) == 2 and set(folder.rglob("*")) == before


def test_another_prompt_into_a_folder_is_told_as_both_were_given(run, folder: Path) -> None:
    run("segment", "breast_us.png", "-p", "tumor: breast tumor", "-o", "out")
    code, _, err = run("segment", "breast_us.png", "-p", "breast tumor", "-o", "out")
    assert code == 2 and "other prompts: made with 'tumor: breast tumor', now 'breast tumor'." in err


def test_two_masks_are_scored_without_folders(run, folder: Path) -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[5:15, 5:15] = 255
    Image.fromarray(mask).save("one.png")
    Image.fromarray(np.roll(mask, 5, 1)).save("other.png")
    code, out, _ = run("evaluate", "one.png", "other.png")
    assert code == 0 and "0.5000" in out


def test_all_that_was_written_is_listed_and_what_the_model_knows_is_told(run, folder: Path) -> None:
    beside = ("--saliency", "map.nii.gz", "--overlay", "over.png", "--montage", "montage.png")
    code, out, err = run("segment", "breast_us.png", "-p", "breast tumor", "-o", "mask.png", *beside)
    assert code == 0 and "Written: mask.png, map.nii.gz, over.png, montage.png." in out
    assert "'demo' knows only synthetic phantoms of breast ultrasound" in err and "docs/" not in err


def test_an_output_beside_which_nothing_can_be_created_is_named_itself(run, folder: Path, monkeypatch) -> None:
    def refuse(path: Path, **_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(Path, "mkdir", refuse)
    code, _, err = run("segment", "breast_us.png", "-p", "breast tumor", "-o", "mask.png")
    assert code == 2 and "'mask.png' cannot be written" in err and "unfinished" not in err
