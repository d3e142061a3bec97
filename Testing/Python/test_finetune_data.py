"""Tables of captions, shards, the split by patient, and batches that depend on the step alone."""

from __future__ import annotations

import json
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from MedCLIPSAMLib.errors import Cancelled, InputError
from MedCLIPSAMLib.finetune.batches import PairSource, read_slice, readable, square
from MedCLIPSAMLib.finetune.caption_text import clean_caption, length_of
from MedCLIPSAMLib.finetune.captions import Pair, read_captions, split_by_patient
from MedCLIPSAMLib.finetune.shards import ShardSource, expand_shards
from MedCLIPSAMLib.run_context import RunContext

LONG = "Axial MRI of the brain with a large mass"


@pytest.fixture()
def folder(tmp_path):
    for number in range(6):
        Image.fromarray(np.full((20 + number, 30, 3), 40 * number, np.uint8)).save(tmp_path / f"image{number}.png")
    return tmp_path


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
    "JSON by name": ("a.json", json.dumps({"image1.png": f"{LONG}, left"})),
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
    output = found.summary()
    for part in (
        "2 pairs",
        "1 pairs are there twice",
        "2 captions have less than 20",
        "2 images are missing",
        "another image",
    ):
        assert part in output
    assert ("images are missing", "gone.png") in found.dropped


def test_captions_are_cleaned():
    assert (
        clean_caption("  <b>MRI</b>\nof the&nbsp;brain ★ (T2) , see https://x.org/a?b=1 .")
        == "MRI of the brain (T2), see."
    )
    assert clean_caption("Größe 3 cm – Läsion\u0007") == "Größe 3 cm - Läsion"
    assert clean_caption("★★★") == ""


@pytest.mark.parametrize(
    "text, cleaned",
    [
        ("Cyst <3 cm. No nodule; mass >5 cm in the liver", "Cyst <3 cm. No nodule; mass >5 cm in the liver"),
        ("ADC &lt; 1.0 and &gt; 50 percent", "ADC < 1.0 and > 50 percent"),
        ("Cyst <three cm. No nodule; mass >five cm", "Cyst <three cm. No nodule; mass >five cm"),
        ("2–3 cm between L4—L5, HU −50", "2-3 cm between L4-L5, HU -50"),  # noqa: RUF001
        ("4 × 5 mm ± 1, ≤ 2 and ≥3", "4 x 5 mm +- 1, <= 2 and >=3"),  # noqa: RUF001
        ("<p class='a b' id=c>Left<br/>lung<!-- 2 > 1 --></p>", "Left lung"),
    ],
)
def test_no_sign_that_says_more_or_less_is_lost(text, cleaned):
    assert clean_caption(text) == cleaned


@pytest.mark.parametrize(
    "text, cleaned",
    [
        ("1½ cm and 1¹⁄₂, 2½–3, ½", "1 1/2 cm and 1 1/2, 2 1/2-3, 1/2"),  # noqa: RUF001
        ("12×10³ cells, 3·10⁻³ mm²/s, s⁻¹", "12x10^3 cells, 3x10^-3 mm2/s, s^-1"),  # noqa: RUF001
        ("10^3, ¹⁸F, Ca²⁺, CO₂, χ²", "10^3, 18F, Ca2+, CO2, χ2"),
        ("0.5‰, 37°C, 37 ºC, 45˚", "0.5 per mille, 37 degrees C, 37 degrees C, 45 degrees"),
        ("5~10 mm, 5 ∼ 10 mm, ~5 mm, ≈3", "5-10 mm, 5-10 mm, ~5 mm, ~3"),  # noqa: RUF001
        ("1·5 cm, 1٫5, 5→3 mm", "1.5 cm, 1.5, 5 to 3 mm"),
        ("T2*-weighted, A & B, rib #3", "T2*-weighted, A & B, rib #3"),
        ("malignant tumor? The patient’s", "malignant tumor? The patient's"),  # noqa: RUF001
        ("स्तन में घातक ट्यूमर", "स्तन में घातक ट्यूमर"),
        ("มะเร็งที่เต้านม", "มะเร็งที่เต้านม"),
        ("tu\u00admor, e\u0301, \u0301x, ❤\ufe0f, 1\ufe0f\u20e3", "tumor, é, x,, 1"),
    ],
)
def test_numbers_and_meaning_stay(text, cleaned):
    assert clean_caption(text) == cleaned


def test_a_chinese_japanese_or_korean_character_is_as_long_as_a_word(folder):
    assert [length_of(text) for text in ("乳腺超声", "유방 종양", "かん", "é a")] == [20, 21, 10, 3]
    path = table(folder, "a.csv", "image,caption\nimage0.png,乳腺超声显示恶性肿瘤\nimage1.png,肿瘤\n")
    found = read_captions(path)
    assert [pair.caption for pair in found.pairs] == ["乳腺超声显示恶性肿瘤"] and len(found.dropped) == 1


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("a.csv", "picture,words\n1,2\n", "no column with images.*picture, words"),
        ("a.csv", "image,words\n1,2\n", "no column with captions"),
        ("a.csv", "", "no rows"),
        ("a.csv", f"image0.png,{LONG}\n", "line with the names of the columns.*got one line"),
        ("a.json", '{"image0.png": {"en": "x"}}', "no pair that can be used.*captions are no text"),
        ("a.jsonl", "{not json", "cannot be read"),
        ("a.jsonl", "[1, 2]\n", "Expected records"),
        ("a.json", "5", "holds 5, no list"),
        ("a.json", "null", "holds None, no list"),
        ("a.json", '"image0.png"', "holds 'image0.png', no list"),
        ("a.json", "9" * 5000, "cannot be read"),
        ("a.json", "[" * 100_000, "cannot be read"),
        ("a.csv", "image,caption\nimage0.png,short\n", "no pair that can be used.*less than 20"),
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
    blank = read_captions(table(folder, "a.csv", f"image,caption,patient\nimage0.png,{LONG},\n"))
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
    assert [reason for reason, _ in found.dropped] == [
        "captions are no text",
        "captions are no text",
        "captions have less than 20 characters",
        "names of images are no text",
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


def test_unreadable_images_are_listed_once_and_remembered(folder):
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n half")
    pairs = [Pair(folder / name, LONG, name) for name in ("image0.png", "broken.png", "image1.png", "broken.png")]
    good, bad = readable(pairs, folder / "record.json")
    assert [pair.image.name for pair in good] == ["image0.png", "image1.png"]
    assert len(bad) == 1 and "broken.png" in bad[0][1] and bad[0][0] == "images cannot be read"
    (folder / "image0.png").chmod(0o644)
    assert readable(pairs, folder / "record.json") == (good, bad)


def test_a_cancelled_check_of_images_goes_on_and_a_file_that_is_gone_is_one_that_cannot_be_read(folder, monkeypatch):
    read = []

    def counted(path):
        read.append(path)
        return read_slice(path)

    monkeypatch.setattr("MedCLIPSAMLib.finetune.batches.read_slice", counted)
    pairs = [Pair(folder / f"image{number}.png", LONG, str(number)) for number in range(6)]
    with pytest.raises(Cancelled):
        readable(pairs, folder / "record.json", RunContext(is_cancelled=lambda: True))
    assert set(json.loads((folder / "record.json").read_text()).values()) == {""}
    (folder / "image5.png").unlink()
    good, bad = readable(pairs, folder / "record.json")
    assert good == pairs[:5] and bad == [
        ("images cannot be read", f"{folder / 'image5.png'}: No such file or directory")
    ]
    assert len(read) == len(set(read))


def source(folder, count=6, **options):
    pairs = [Pair(folder / f"image{n}.png", f"caption {n}", str(n)) for n in range(count)]
    return PairSource(pairs, 16, **{"batch": 2} | options)


def test_batches_depend_on_the_epoch_and_go_on_from_any_step(folder):
    every = list(source(folder, crop=0.5).batches(3))
    assert len(every) == 3 and every[0][0].shape == (2, 16, 16, 3) and every[0][0].dtype == torch.uint8
    later = list(source(folder, crop=0.5).batches(3, 1))
    for (images, captions), (again, same) in zip(every[1:], later):
        assert torch.equal(images, again) and captions == same
    assert sorted(caption for _, captions in every for caption in captions) == [f"caption {n}" for n in range(6)]
    assert source(folder).order(3) != source(folder).order(4)


def test_processes_share_a_batch(folder):
    whole = [captions for _, captions in source(folder).batches(0)]
    parts = [[captions for _, captions in source(folder, rank=rank, world=2).batches(0)] for rank in (0, 1)]
    assert [sorted(a + b) for a, b in zip(*parts)] == [sorted(captions) for captions in whole]
    with pytest.raises(InputError, match="cannot be shared by 4"):
        source(folder, world=4)


def test_equal_captions_come_in_different_batches_while_others_are_left():
    pairs = [Pair(Path(f"{n}.png"), f"caption {n % 4}", str(n)) for n in range(40)]
    for epoch in range(3):
        batches = PairSource(pairs, 16, 4).order(epoch)
        assert sorted(number for batch in batches for number in batch) == list(range(40))
        assert all(len({pairs[number].caption for number in batch}) == 4 for batch in batches)
        six = PairSource(pairs, 16, 6).order(epoch)
        assert [len({pairs[number].caption for number in batch}) for batch in six] == [4] * 6


@pytest.mark.parametrize(
    "times, batch, steps",
    [([5] * 8, 8, 5), ([5] * 8, 6, 6), ([9, 1, 1, 1, 1, 1], 2, 5), ([4, 4, 2, 1], 3, 3), ([1] * 7, 3, 2)],
)
def test_a_batch_has_one_pair_of_an_image_at_most(times, batch, steps):
    """By hand: the most batches of different images; such as 5 of 9 pairs of an image, with 5 of others."""
    owners = [image for image, count in enumerate(times) for _ in range(count)]
    pairs = [Pair(Path(f"{image}.png"), f"caption {n % 11}", str(image)) for n, image in enumerate(owners)]
    source = PairSource(pairs, 16, batch)
    seen = set()
    for epoch in range(6):
        order = source.order(epoch)
        assert [len(numbers) for numbers in order] == [batch] * steps and source.steps == steps
        assert all(len({pairs[number].image for number in numbers}) == batch for numbers in order)
        seen.update(number for numbers in order for number in numbers)
        assert source.image_names(epoch) == [str(pairs[n].image) for numbers in order for n in numbers]
    assert len(seen) > steps * batch or steps * batch == len(pairs)
    every = PairSource(pairs, 16, batch, keep_rest=True).order(0)
    assert sorted(number for numbers in every for number in numbers) == list(range(len(pairs)))


def test_few_images_with_many_captions_do_not_fill_a_batch():
    pairs = [Pair(Path(f"{n % 3}.png"), f"caption {n}", "") for n in range(30)]
    with pytest.raises(InputError, match="30 usable pairs of 3 images do not fill a batch of 4"):
        PairSource(pairs, 16, 4)


def test_an_image_is_squared_whole_or_by_a_crop():
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 40:] = 200
    whole = square(image, 16)
    assert whole.shape == (16, 16, 3) and whole[:, :6].max() < 5 and whole[:, 10:].min() > 195
    assert square(image, 16, (0.5, 1.0, 0.0)).min() > 195  # the right half


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, BytesIO(content))


@pytest.fixture()
def shards(folder):
    for shard in range(2):
        with tarfile.open(folder / f"part-{shard:02d}.tar", "w") as tar:
            for number in range(5):
                key = f"case{shard}{number}"
                image = BytesIO()
                Image.fromarray(np.full((24, 24), 20 * number, np.uint8)).save(image, "PNG")
                add(tar, f"{key}.png", b"broken" if number == 4 else image.getvalue())
                caption = f"Ultrasound number {shard} {number}"
                if number == 3:
                    add(tar, f"{key}.json", json.dumps({"caption": caption}).encode())
                else:
                    add(tar, f"{key}.txt", b"short" if number == 2 else caption.encode())
                add(tar, f"{key}.pyd", b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")
    return str(folder / "part-{00..01}.tar")


def test_shards_give_the_pairs_that_can_be_used(shards, folder):
    made = ShardSource(expand_shards(shards), 16, 2, record=folder / "record.json")
    assert made.count == 6 and made.steps == 3 and len(made.dropped) == 4
    assert {reason for reason, _ in made.dropped} == {"images cannot be read", "captions have less than 20 characters"}
    every = list(made.batches(0))
    assert sorted(caption for _, captions in every for caption in captions) == [
        f"Ultrasound number {shard} {number}" for shard in range(2) for number in (0, 1, 3)
    ]
    again = ShardSource(
        expand_shards(shards), 16, 2, record=folder / "record.json", context=RunContext(lambda progress: 1 / 0)
    )
    assert [captions for _, captions in again.batches(0, 1)] == [captions for _, captions in every[1:]]
    assert [captions for _, captions in again.batches(1)] != [captions for _, captions in every]
    parts = [list(ShardSource(expand_shards(shards), 16, 2, rank=rank, world=2).batches(0)) for rank in (0, 1)]
    assert [a[1] + b[1] for a, b in zip(*parts)] == [captions for _, captions in every]


@pytest.mark.parametrize("batch, sizes", [(2, [2, 2, 2]), (4, [4, 2]), (5, [6]), (6, [6]), (64, [6])])
def test_validation_keeps_the_rest_of_shards_as_of_files(shards, folder, batch, sizes):
    made = ShardSource(expand_shards(shards), 16, batch, keep_rest=True)
    for kept in (made, source(folder, batch=batch, keep_rest=True)):
        assert [len(captions) for _, captions in kept.batches(0)] == sizes and kept.steps == len(sizes)
        assert [len(captions) for _, captions in kept.batches(0, 1)] == sizes[1:]


def test_records_in_shards_are_read_as_those_of_json_lines(folder):
    """Texts, lists, nested fields as of MedPix, and what is no caption."""
    left, right = f"{LONG}, left", f"{LONG}, right"
    records = {
        "a": {"caption": [left, right, left, "short"]},
        "b": {"description": {"Caption": LONG}},
        "c": {"U_id": 7, "Description": {"Caption": LONG, "Modality": "MR"}},
        "d": {"caption": {"en": LONG}},
        "e": {"Caption": LONG},
        "f": [LONG],
        "g": {"text": [{"raw": LONG}]},
        "h": {},
    }
    image = BytesIO()
    Image.fromarray(np.zeros((24, 24), np.uint8)).save(image, "PNG")
    with tarfile.open(folder / "part.tar", "w") as tar:
        for key, record in records.items():
            add(tar, f"{key}.png", image.getvalue())
            add(tar, f"{key}.json", json.dumps(record).encode())
        add(tar, "i.png", image.getvalue())
        add(tar, "i.txt", f"Größe {LONG}".encode("latin-1"))
    every = ShardSource([folder / "part.tar"], 16, 2, keep_rest=True, record=folder / "record.json")
    ((_, captions), *others) = [*every.batches(0)]
    captions += [caption for _, some in others for caption in some]
    assert sorted(captions) == [LONG] * 3 + [left, right] and every.count == 5
    names = [name.split(": ")[1] for name in every.image_names(0)]
    assert sorted(names) == ["a", "a", "b", "c", "e"]
    assert {captions[at] for at, name in enumerate(names) if name == "a"} == {left, right}
    assert [(reason, what[-1]) for reason, what in every.dropped] == [
        ("captions have less than 20 characters", "a"),
        ("captions are no text", "d"),
        ("captions cannot be read", "f"),
        ("captions are no text", "g"),
        ("captions have less than 20 characters", "h"),
        ("captions cannot be read", "i"),
    ]
    training = ShardSource([folder / "part.tar"], 16, 4, record=folder / "record.json")
    epochs = [[*training.batches(epoch)] for epoch in range(2)]
    assert training.count == 4 and [len(captions) for ((_, captions),) in epochs] == [4, 4]
    assert {caption for ((_, captions),) in epochs for caption in captions} == {LONG, left, right}


def test_keys_that_repeat_in_other_shards_name_other_pairs(folder):
    image = BytesIO()
    Image.fromarray(np.zeros((24, 24), np.uint8)).save(image, "PNG")
    for shard in range(2):
        with tarfile.open(folder / f"part-{shard:02d}.tar", "w") as tar:
            for number in range(3):
                caption = "short" if (shard, number) == (0, 1) else f"Ultrasound number {shard} {number}"
                add(tar, f"{number:04d}.png", image.getvalue())
                add(tar, f"{number:04d}.txt", caption.encode())
    (folder / "record.json").write_text("{}")
    for _ in range(2):  # the second time from its record
        made = ShardSource(expand_shards(str(folder / "part-{00..01}.tar")), 16, 5, record=folder / "record.json")
        assert (made.count, made.steps, len(list(made.batches(0)))) == (5, 1, 1)
        assert [name for _, name in made.dropped] == [f"{folder / 'part-00.tar'}: 0001"]


def test_shards_that_are_missing_damaged_or_commands_are_refused(shards, folder):
    with pytest.raises(InputError, match=r"part-02.tar.*\(1 of 3 are missing\)"):
        expand_shards(shards.replace("..01", "..02"))
    with pytest.raises(InputError, match="no shard"):
        expand_shards("pipe:touch owned.tar")
    (folder / "part-01.tar").write_bytes(b"no tar file at all")
    with pytest.raises(InputError, match="cannot be read"):
        ShardSource(expand_shards(shards), 16, 2)
    with pytest.raises(InputError, match="do not fill a batch"):
        ShardSource(expand_shards(shards)[:1], 16, 4)
