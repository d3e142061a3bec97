"""Tables of images, files of prompts and lists of cases, as an export and `strike` read them."""

from __future__ import annotations

import pytest

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.export.cases import find_cases
from MedCLIPSAMLib.export.prompt_file import read_prompts
from MedCLIPSAMLib.export.strike import read_list


@pytest.mark.parametrize(
    "text, message",
    [
        ("image,prompts\na.png,x\n", "unknown column 'prompts'"),
        ("prompt\nx\n", "no column 'image'"),
        ("image,prompt\ngone.png,x\n", "Line 2.*no image 'gone.png'"),
        ("image,prompt\na.png,\n", "Line 2.*no prompt"),
        ("image,prompt\na.png,NaN\n", "Line 2.*no prompt"),
        ("prompt,image\nx\n", "Line 2.*no image ''"),
        ("image,prompt\na.png,x\na.png,x\n", "Line 3.*occurs twice"),
        ("image,prompt\n", "holds no images"),
        ("image,prompt,label\na.png,brain tumor, left lobe,tumor\n", "Line 2.*4 fields for 3 columns"),
        ('image,prompt\na.png,"x\n', "Line 2.*cannot be read"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(tmp_path, text, message):
    (tmp_path / "a.png").touch()
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        find_cases(tmp_path / "table.csv", None)


def test_what_pandas_writes_into_empty_fields_is_nothing(tmp_path):
    (tmp_path / "a.png").touch(), (tmp_path / "t.xlsx").touch()
    (tmp_path / "t.csv").write_text("image,label,prompt,negative,case\na.png,nan,mass,NaN,<NA>\n")
    (case,) = find_cases(tmp_path / "t.csv", None)
    assert (case.name, case.prompts, case.negative) == ("a", {"mass": "mass"}, None)
    (tmp_path / "NA").mkdir()
    (tmp_path / "t.csv").write_text("image\nNA\n")
    assert [case.name for case in find_cases(tmp_path / "t.csv", {"x": "x"})] == ["NA"]
    with pytest.raises(InputError, match=r"spreadsheet.*Save it as CSV"):
        find_cases(tmp_path / "t.xlsx", {"x": "x"})


@pytest.mark.parametrize("name, delimiter", [("t.csv", ","), ("t.csv", ";"), ("t.tsv", "\t")])
def test_lines_of_a_table_on_one_image_are_one_case_with_one_negative_prompt(tmp_path, name, delimiter):
    """Where a label is lacking, the prompt is the label."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").touch()
    lines = ["Image,label,prompt,negative", "in/a.png,tumor,brain tumor,", "./in/a.png,,edema,vessel"]
    write = lambda lines: (tmp_path / name).write_text("\n".join(lines).replace(",", delimiter), encoding="utf-8-sig")
    write(lines)
    (case,) = find_cases(tmp_path / name, None, negative="bone")
    assert (case.name, case.negative, case.prompts) == ("in_a", "vessel", {"tumor": "brain tumor", "edema": "edema"})
    write([*lines, "in/a.png,skull,skull,bone"])
    with pytest.raises(InputError, match="Line 4 of .* has another negative prompt than 'in/a.png' before"):
        find_cases(tmp_path / name, None)


def test_labels_that_differ_in_case_only_are_refused_before_the_work(run, tmp_path):
    (tmp_path / "a.png").touch(), (tmp_path / "b.png").touch()
    (tmp_path / "t.csv").write_text("image,label,prompt\na.png,Tumor,brain tumor\nb.png,tumor,brain tumor\n")
    code, _, err = run("export", tmp_path / "t.csv", "-o", tmp_path / "out", "--format", "png", "--dry-run")
    assert code == 2 and "'Tumor' and 'tumor' differ only in case" in err


@pytest.mark.parametrize(
    "name, text, prompts",
    [
        ("p.txt", "# a note\n  # x: off\n\t#\na: A tumor: bright\nskull\n", {"a": "A tumor: bright", "skull": "skull"}),
        ("p.json", '{"tumor": "brain tumor"}', {"tumor": "brain tumor"}),
        ("p.csv", "label;prompt\ntumor;brain tumor, bright\n", {"tumor": "brain tumor, bright"}),
    ],
)
def test_prompts_come_from_a_text_json_or_a_table(tmp_path, name, text, prompts):
    (tmp_path / name).write_text(text)
    assert read_prompts(tmp_path / name) == prompts


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("p.txt", "", "holds no prompts"),
        ("p.txt", "tumor:\n", "or an empty one"),
        ("p.txt", "a: x\na: y\n", "same label twice"),
        ("p.tsv", "image\tprompt\na\tb\n", "label and prompt in .*got image, prompt.*instead of the folder"),
        ("p.json", '["brain tumor"]', "not a JSON object"),
        ("p.json", '{"tumor": "x", "tumor": "y"}', "occurs twice"),
        ("p.json", '{"tumor": "\\ud800"}', "cannot be read"),
        ("p.json", '{"\\udfff": "x"}', "cannot be read"),
        ("p.json", "[" * 100_000, "deep"),
        ("p.json", '{"tumor": 1e999}', "too large"),
    ],
    ids=range(10),
)
def test_prompts_that_cannot_be_are_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_prompts(tmp_path / name)


def test_a_folder_without_images_and_images_without_prompts_are_refused(tmp_path):
    with pytest.raises(InputError, match="No prompts"):
        find_cases(tmp_path, None)
    with pytest.raises(InputError, match="holds no images"):
        find_cases(tmp_path, {"x": "x"})


def test_a_list_to_strike_may_be_a_table(tmp_path):
    for text in ("# bad\na_b\nc\n", "case\na_b\nc\n", "sep=;\nCase;dsc\na_b;0,3\nc;0,2\n", '"case"\n"a_b"\n"c"\n'):
        (tmp_path / "list.txt").write_text(text)
        assert read_list(tmp_path / "list.txt") == ["a_b", "c"]
    (tmp_path / "agreement.csv").write_text("case,dsc,struck,trusted\na_b,0.1,1,0\nc,0.9,0,0\n")
    with pytest.raises(InputError, match="got '.*agreement.csv', a table.*Give the list"):
        read_list(tmp_path / "agreement.csv")
