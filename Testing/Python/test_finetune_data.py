"""Tables of captions: what is read, cleaned and left out, and the split by patient."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from finetuning import LONG, image_folder
from PIL import Image

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.finetune.caption_text import clean_caption, count_characters
from MedCLIPSAMLib.finetune.captions import Pair, read_captions, split_by_patient

FIXTURES = (image_folder,)


def table(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


LAYOUTS = {
    "a csv with a patient": ("a.csv", f'Image,Caption,Patient_ID\nimage1.png,"{LONG}, left",p7\n'),
    "semicolons": ("a.csv", f"caption;image;case\n{LONG}, left;image1.png;p7\n"),
    "open_clip": ("a.csv", f"filepath\ttitle\nimage1.png\t{LONG}, left\n"),
    "ROCO v2": ("captions.csv", f'ID,Caption\nimage1,"{LONG}, left"\n'),
    "ROCO v1": ("captions.txt", f"image1\t{LONG}, left\n"),
    "MedPix": (
        "Descriptions.jsonl",
        json.dumps({"image": "image1", "U_id": "p7", "Description": {"Caption": f"{LONG}, left", "Modality": "MR"}}),
    ),
    "Excel's line with the delimiter": ("a.csv", f"sep=;\nimage;caption;Patient ID\nimage1.png;{LONG}, left;p7\n"),
    "empty lines and rows first": ("a.csv", f'\n,,\nimage,caption,Patient-ID\nimage1.png,"{LONG}, left",p7\n'),
    "COCO": (
        "a.json",
        json.dumps(
            {
                "images": [{"id": 3, "file_name": "image1.png", "Patient ID": "p7"}],
                "annotations": [{"id": 9, "image_id": 3, "caption": f"{LONG}, left"}],
            }
        ),
    ),
    "JSON lines in a file .json": (
        "a.json",
        f'{{"image": "image1.png", "caption": "{LONG}, left"}}\n\n{{"image": "image2.png", "caption": "short"}}\n',
    ),
    "a number of an image": ("a.csv", f'image_id,subject_id,caption\nimage1,p7,"{LONG}, left"\n'),
    "a report of MIMIC": ("a.csv", f'dicom_id,subject_id,findings\nimage1,p7,"{LONG}, left"\n'),
    "columns of pandas": (
        "a.json",
        json.dumps({"image": {"0": "image1.png"}, "caption": {"0": f"{LONG}, left"}, "patient": {"0": "p7"}}),
    ),
    "rows of pandas": ("a.json", json.dumps({"0": {"image": "image1.png", "caption": f"{LONG}, left"}})),
    "a list in an object": ("a.json", json.dumps({"data": [{"image": "image1.png", "caption": f"{LONG}, left"}]})),
    "one record": ("a.json", json.dumps({"image": "image1.png", "caption": f"{LONG}, left"})),
    "JSON by name": ("a.json", json.dumps({"image1.png": f"{LONG}, left"})),
    "a list of pandas": ("a.csv", f"image,caption\nimage1.png,\"['{LONG}, left']\"\n"),
    "captions in a list": ("a.jsonl", json.dumps({"image": "image1.png", "captions": [f"{LONG}, left"]})),
}


@pytest.mark.parametrize("name, text", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_tables_are_read_by_the_names_of_their_columns(folder, name, text):
    found = read_captions(table(folder, name, text))
    assert [(pair.image.name, pair.caption) for pair in found.pairs] == [("image1.png", f"{LONG}, left")]
    assert found.patients == ({"p7"} if "p7" in text else set()) and found.pairs[0].patient == (
        "p7" if "p7" in text else found.pairs[0].patient
    )


def test_what_cannot_be_used_is_counted_and_listed(folder):
    rows = [
        ("image0.png", LONG),
        ("image0.png", LONG),
        ("image1.png", "too short"),
        ("image2.png", ""),
        ("gone.png", LONG),
    ]
    rows += [("image3.png", LONG), ("../../etc/passwd\0", LONG)]
    path = table(folder, "a.jsonl", "".join(json.dumps({"image": image, "text": text}) + "\n" for image, text in rows))
    found = read_captions(path)
    assert [pair.image.name for pair in found.pairs] == ["image0.png", "image3.png"]
    parts = (
        "2 pairs",
        "1 pairs are duplicates",
        "2 captions have fewer than 20",
        "2 images are missing",
        "another image",
    )
    assert all(part in found.summary() for part in parts)
    assert ("images are missing", "gone.png") in found.dropped


@pytest.mark.parametrize(
    "text, cleaned",
    [
        ("  <b>MRI</b>\nof the&nbsp;brain ★ (T2) , see https://x.org/a?b=1 .", "MRI of the brain (T2), see."),
        ("Größe 3 cm – Läsion\u0007", "Größe 3 cm - Läsion"),
        ("A mass.\\nNo cyst.\\r\\n3 cm \\times 2", "A mass. No cyst. 3 cm times 2"),
        ("★★★", ""),
        ("Cyst <3 cm. No nodule; mass >5 cm in the liver", "Cyst <3 cm. No nodule; mass >5 cm in the liver"),
        ("ADC &lt; 1.0 and &amp;gt; 50 percent", "ADC < 1.0 and > 50 percent"),
        ("Cyst <three cm. No nodule; mass >five cm", "Cyst <three cm. No nodule; mass >five cm"),
        ("2–3 cm between L4—L5, HU −50", "2-3 cm between L4-L5, HU -50"),  # noqa: RUF001
        ("4 × 5 mm ± 1, ≤ 2 and ≥3", "4 x 5 mm +- 1, <= 2 and >=3"),  # noqa: RUF001
        ("<p class='a b' id=c>Left<br/>lung<!-- 2 > 1 --></p>", "Left lung"),
        ("1½ cm and 1¹⁄₂, 2½–3, ½", "1 1/2 cm and 1 1/2, 2 1/2-3, 1/2"),  # noqa: RUF001
        ("12×10³ cells, 3·10⁻³ mm²/s, s⁻¹", "12x10^3 cells, 3x10^-3 mm2/s, s^-1"),  # noqa: RUF001
        ("10^3, ¹⁸F, Ca²⁺, CO₂, χ²", "10^3, 18F, Ca2+, CO2, χ2"),
        ("0.5‰, 37°C, 37 ºC, 45˚", "0.5 per mille, 37 degrees C, 37 degrees C, 45 degrees"),
        ("5~10 mm, 5 ∼ 10 mm, ~5 mm, ≈3", "5-10 mm, 5-10 mm, ~5 mm, ~3"),  # noqa: RUF001
        ("1·5 cm, 1٫5, 5→3 mm", "1.5 cm, 1.5, 5 to 3 mm"),
        ("♀, 45 y, T2↑, ↓ADC", "female, 45 y, T2 increased, decreased ADC"),
        ("T2*-weighted, A & B, rib #3", "T2*-weighted, A & B, rib #3"),
        ("malignant tumor? The patient’s", "malignant tumor? The patient's"),  # noqa: RUF001
        ("स्तन में घातक ट्यूमर", "स्तन में घातक ट्यूमर"),
        ("มะเร็งที่เต้านม", "มะเร็งที่เต้านม"),
        ("tu\u00admor, e\u0301, \u0301x, ❤\ufe0f, 1\ufe0f\u20e3", "tumor, é, x,, 1"),
    ],
)
def test_captions_lose_markup_and_no_number_or_sign_with_a_meaning(text, cleaned):
    assert clean_caption(text) == cleaned


def test_a_chinese_japanese_or_korean_character_is_as_long_as_a_word(folder):
    assert [count_characters(text) for text in ("乳腺超声", "유방 종양", "かん", "é a")] == [20, 21, 10, 3]
    path = table(folder, "a.csv", "image,caption\nimage0.png,乳腺超声显示恶性肿瘤\nimage1.png,肿瘤\n")
    found = read_captions(path)
    assert [pair.caption for pair in found.pairs] == ["乳腺超声显示恶性肿瘤"] and len(found.dropped) == 1


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("a.csv", "picture,words\n1,2\n", "no column with images.*picture, words"),
        ("a.csv", "image,words\n1,2\n", "no column with captions"),
        ("a.csv", "", "no rows"),
        ("a.csv", f"image0.png,{LONG}\n", "header line and lines of images, got one line"),
        ("a.json", '{"image0.png": {"en": "x"}}', "no pair that can be used.*captions are not text"),
        ("a.jsonl", "{not json", "cannot be read"),
        ("a.jsonl", '\n{"image": "a", "caption": "b"}\n[1, 2]\n', r"as line 3 of .*got \[1, 2\]"),
        ("a.jsonl", '{"image": "a", "caption": "b"}\n{x}\n', "line 2: Expecting property name"),
        ("a.jsonl", "null\n", "line 1 of .*got null"),
        ("a.json", '{"image": ["a", "b"], "caption": ["c"]}', "its columns differ in length"),
        ("a.json", '{"images": [], "annotations": [{"image_id": 1}]}', "not as COCO has them"),
        ("a.json", "5", "list of records .*got 5"),
        ("a.json", "null", "list of records .*got null"),
        ("a.json", '"image0.png"', 'list of records .*got "image0.png"'),
        ("a.json", "9" * 5000, "cannot be read"),
        ("a.json", "[" * 100_000, "cannot be read"),
        ("a.csv", "image,caption\nimage0.png,short\n", "no pair that can be used.*fewer than 20"),
        ("a.csv", "image,caption\n\u00e9", "no pair"),
        ("a.csv", "image,caption\nimage0.png,A mass, 3 cm wide, malignant\n", "Line 2 of .* 4 fields for 2 columns"),
        ("a.csv", f'image,caption\nimage0.png,{LONG}\nimage1.png,"{LONG}\nimage2.png,{LONG}\n', "Line 3 of"),
        ("a.csv", f'image,caption\nimage0.png,"{LONG}\nimage1.png,"{LONG}, left"\n', "Line 2 of"),
        ("a.csv", f"image,caption, Caption\nimage0.png,{LONG},{LONG}\n", "two columns 'caption'"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(folder, name, text, message):
    with pytest.raises(InputError, match=message):
        read_captions(table(folder, name, text))


def test_tables_of_excel_are_read_and_other_encodings_refused_by_line(folder):
    text = f"image\tcaption\r\nimage0.png\t{LONG} Größe 3 cm\r\n"
    (folder / "unicode.txt").write_bytes(text.encode("utf-16"))
    assert read_captions(folder / "unicode.txt").pairs[0].caption == f"{LONG} Größe 3 cm"
    (folder / "latin.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8, got other bytes in line 2 of '.*latin.csv'.*CSV UTF-8"):
        read_captions(folder / "latin.csv")


@pytest.mark.parametrize("sign", ["\u2028", "\x0b", "\x85"])
def test_lines_end_at_ends_of_lines_only(folder, sign):
    long = f"{LONG}{sign}on the left"
    rows = [{"image": "image0.png", "caption": long}, {"image": "image1.png", "caption": LONG}]
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    texts = {"a.csv": f"image,caption\r\nimage0.png,{long}\r\nimage1.png,{LONG}\r\n", "a.jsonl": lines}
    texts["a.txt"] = f"image0.png\t{long}\nimage1.png\t{LONG}\n"
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode())
        assert [pair.caption for pair in read_captions(folder / name).pairs] == [f"{LONG} on the left", LONG]


def test_fields_without_a_column_are_no_surplus_while_they_are_empty(folder):
    """As spreadsheets and pandas write them: empty columns at the end, an index without a name, an empty line."""
    path = table(folder, "a.csv", f"image,caption,,\nimage0.png,{LONG},,\n\nimage1.png,{LONG},\n")
    assert len(read_captions(path).pairs) == 2
    path = table(folder, "a.csv", f",image,caption\n0,image0.png,{LONG}\n")
    assert [pair.image.name for pair in read_captions(path).pairs] == ["image0.png"]


def test_all_records_say_whether_there_are_patients(folder):
    rows: list[dict] = [{"image": f"image{number}.png", "caption": LONG} for number in range(4)]
    rows[1]["patient"], rows[2]["patient"], rows[3]["patient"] = "P7", 0, " "
    found = read_captions(table(folder, "a.jsonl", "\n".join(map(json.dumps, rows))))
    assert found.patients == {"P7", "0"} and found.unknown == 2
    assert [pair.patient for pair in found.pairs] == ["image0.png", "P7", "0", "image3.png"]
    for unknown in ("", "NA", "n/a", "#N/A", "Unknown"):  # as R, spreadsheets and people write it
        blank = read_captions(table(folder, "a.csv", f"image,caption,patient\nimage0.png,{LONG},{unknown}\n"))
        assert not blank.patients


def test_an_image_has_one_file_and_one_patient_whatever_rows_name_it_by(folder):
    (folder / "link.png").symlink_to(folder / "image0.png")
    names = ("image0.png", "image0", "./x/../image0.png", "link.png", "image1")
    (folder / "x").mkdir()
    text = "".join(f"{name},{LONG} {number}\n" for number, name in enumerate(names))
    pairs = read_captions(table(folder, "a.csv", f"image,caption\n{text}image0,{LONG} 0\n")).pairs
    assert [pair.image for pair in pairs] == [folder / "image0.png"] * 4 + [folder / "image1.png"]
    assert [pair.patient for pair in pairs] == ["image0.png"] * 4 + ["image1.png"]


def test_the_patients_of_an_image_are_one(folder):
    """P1 and P2 share image 0, P2 and P3 image 1; the row without a patient is of image 0, and 3 is nobody's."""
    rows = ["image0.png,a,P2", "image0,short,P1", "image0.png,b,", "image1.png,c,P3", "image1.png,d,P2"]
    rows += ["image2.png,e,P3", "image3.png,f,nan", "image4.png,g,P4"]
    long = [row if "short" in row else row.replace(",", f",{LONG} ", 1) for row in rows]
    found = read_captions(table(folder, "a.csv", "\n".join(["image,caption,patient", *long])))
    assert [pair.patient for pair in found.pairs] == ["P1"] * 5 + ["image3.png", "P4"]
    assert found.unknown == 1 and found.patients == {"P1", "P2", "P3", "P4"}
    assert [path.name for path in found.contradicting] == ["image0.png", "image1.png"]


def test_zero_nan_objects_and_folders_in_records_are_what_they_are(folder):
    Image.new("L", (9, 9)).save(folder / "0.png")
    records = [
        {"id": 0, "caption": LONG, "patient": float("nan")},
        {"id": "image1", "caption": [f"{LONG}, left", {"raw": LONG}], "patient": None},
        {"id": "image2", "caption": {"en": LONG}},
        {"id": "image3", "caption": []},
        {"id": ["image4.png"], "caption": LONG},
        {"id": ".", "caption": LONG},
        {"id": float("nan"), "caption": LONG},
    ]
    found = read_captions(table(folder, "a.jsonl", "\n".join(map(json.dumps, records))))
    assert [(pair.image.name, pair.caption) for pair in found.pairs] == [
        ("0.png", LONG),
        ("image1.png", f"{LONG}, left"),
    ]
    assert not found.patients and found.unknown == 2
    table(folder, "b.csv", f"image,caption,patient\nimage0.png,{LONG},7.0\nimage1.png,{LONG},\n")
    assert read_captions(folder / "b.csv").patients == {"7"}
    assert [reason for reason, _ in found.dropped] == [
        "captions are not text",
        "captions are not text",
        "captions have fewer than 20 characters",
        "image names are not text",
        "images are folders",
        "images are missing",
    ]


def test_names_that_no_file_can_have_are_missing_images(folder):
    names = ["x" * 300, "a\0b", "\ud83d", "image0.png"]
    rows = [{"image": name, "caption": LONG, "patient": "\ud83d"} for name in names] + [
        {"image": f"image{number}.png", "caption": LONG, "patient": number + 0.0} for number in range(1, 6)
    ]
    found = read_captions(table(folder, "a.jsonl", "\n".join(map(json.dumps, rows))))
    assert [reason for reason, _ in found.dropped] == ["images are missing"] * 3
    assert found.patients == {"\ud83d", "1", "2", "3", "4", "5"}
    assert sum(map(len, split_by_patient(found.pairs, 0.5, seed=1))) == 6


def test_names_are_found_as_windows_and_macos_write_them(folder):
    (folder / "images").mkdir()
    for source, target in (("image0", "images/Größe.png"), ("image1", "images/b.PNG"), ("image2", "images/c.png")):
        (folder / f"{source}.png").rename(folder / target)
    names = unicodedata.normalize("NFD", "images/Größe.png"), "images/b", "images\\c.png", ".\\image3.png"
    path = table(folder, "a.csv", "image,caption\n" + "".join(f"{name},{LONG} {name}\n" for name in names))
    found = [pair.image.name for pair in read_captions(path).pairs]
    assert found == ["Größe.png", "b.PNG", "c.png", "image3.png"]


def test_texts_beside_images_in_a_folder_are_their_captions(folder):
    (folder / "1.2.840").mkdir()
    (folder / "image1.png").rename(folder / "1.2.840" / "1.2.3.png")
    for name in ("image0.TXT", "1.2.840/1.2.3.txt", "nothing.txt"):
        table(folder, name, f"{LONG}\n{name[0]}\n")
    found = read_captions(folder)
    assert [(pair.image.name, pair.caption) for pair in found.pairs] == [
        ("1.2.3.png", f"{LONG} 1"),
        ("image0.png", f"{LONG} i"),
    ]
    assert found.dropped == [("images are missing", "nothing")]
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="holds no rows.*NAME.txt beside NAME.png"):
        read_captions(folder / "empty")


def test_a_line_of_roco_without_a_tab_is_listed(folder):
    found = read_captions(table(folder, "captions.txt", f"image0\t{LONG}\nthat goes on in a second line\n\n"))
    assert len(found.pairs) == 1 and found.dropped == [("images are missing", "that goes on in a second line")]


def test_absent_tables_and_folders_are_refused(folder):
    with pytest.raises(InputError, match="no table"):
        read_captions(folder / "absent.csv")
    with pytest.raises(InputError, match="folder of images .* does not exist"):
        read_captions(table(folder, "a.csv", "image,caption\n"), folder / "absent")


def test_no_patient_is_on_both_sides_and_the_split_stays():
    pairs = [Pair(Path(f"{n}.png"), f"caption {n}", f"patient {n // 3}") for n in range(300)]
    train, validation = split_by_patient(pairs, 0.2)
    assert {pair.patient for pair in train}.isdisjoint(pair.patient for pair in validation)
    assert len(train) + len(validation) == 300 and 30 <= len(validation) <= 90
    more = [*pairs, Pair(Path("new.png"), "new", "patient new")]
    assert set(validation) <= set(split_by_patient(more, 0.2)[1])
    assert split_by_patient(pairs, 0.2, seed=1)[1] != validation
    with pytest.raises(InputError, match="1 patients cannot be split"):
        split_by_patient(pairs[:3], 0.2)
    with pytest.raises(InputError, match="between 0 and 1, got 1.5"):
        split_by_patient(pairs, 1.5)
