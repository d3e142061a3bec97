"""Batches of pairs from files and from shards, which depend on the step alone."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from finetuning import LONG, image_folder, png, write_shard

from MedCLIPSAMLib.errors import Cancelled, InputError
from MedCLIPSAMLib.finetune.batches import PairSource, read_slice, readable, square
from MedCLIPSAMLib.finetune.captions import Pair, read_captions
from MedCLIPSAMLib.finetune.shards import ShardSource, expand_shards
from MedCLIPSAMLib.run_context import RunContext

FIXTURES = (image_folder,)


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


def test_processes_that_windows_and_macos_start_read_the_same_batches(folder):
    """There they are spawned: what they are given must be pickled."""
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("spawn", force=True)
    try:
        read = list(source(folder, crop=0.5, workers=1).batches(3))
    finally:
        multiprocessing.set_start_method(before, force=True)
    for (images, captions), (here, same) in zip(read, source(folder, crop=0.5).batches(3), strict=True):
        assert torch.equal(images, here) and captions == same


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_is_gone_is_named_without_a_traceback(folder, workers):
    made = source(folder, workers=workers)
    (folder / "image3.png").unlink()
    with pytest.raises(InputError, match="image3.png") as refused:
        list(made.batches(0))
    assert "Traceback" not in str(refused.value)


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


PAIRS = [[(f"{key}.png", png()), (f"{key}.txt", f"{LONG} {key}".encode())] for key in "abc"]
MEMBERS = [member for pair in PAIRS for member in pair]


@pytest.fixture()
def shards(folder):
    """Two of five pairs, of which one caption is too short and one image is broken."""
    for shard in range(2):
        texts = [f"Ultrasound number {shard} {number}" for number in range(5)]
        captions = [("txt", text.encode()) for text in texts]
        captions[2], captions[3] = ("txt", b"short"), ("json", json.dumps({"caption": texts[3]}).encode())
        images = [*map(png, range(0, 80, 20)), b"broken"]
        code = ("pyd", b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")
        write_shard(
            folder / f"part-{shard:02d}.tar",
            [
                (f"case{shard}{number}.{ending}", content)
                for number in range(5)
                for ending, content in (("png", images[number]), captions[number], code)
            ],
        )
    return str(folder / "part-{00..01}.tar")


def test_shards_give_the_pairs_that_can_be_used(shards, folder):
    made = ShardSource(expand_shards(shards), 16, 2, record=folder / "record.json")
    assert made.count == 6 and made.steps == 3 and len(made.dropped) == 4
    assert {reason for reason, _ in made.dropped} == {"images cannot be read", "captions have fewer than 20 characters"}
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


def test_equal_captions_of_shards_come_in_different_batches_while_there_are_others(tmp_path):
    members = [
        (f"case{number}.{ending}", content)
        for number in range(40)
        for ending, content in (("png", png(number)), ("txt", f"Ultrasound of kind {number // 4}".encode()))
    ]
    made = ShardSource([write_shard(tmp_path / "a.tar", members)], 16, 8, min_characters=5)
    for epoch in range(4):
        batches = [captions for _, captions in made.batches(epoch)]
        assert sorted(sum(batches, [])) == sorted(content.decode() for name, content in members if name[-1] == "t")
        repeated = [number for number, captions in enumerate(batches) if len(set(captions)) < 8]
        assert all(set(sum(batches[number + 1 :], [])) <= set(batches[number]) for number in repeated)
        assert len(repeated) < 3


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
    members = [
        (f"{key}.{ending}", content)
        for key, record in records.items()
        for ending, content in (("png", png()), ("json", json.dumps(record).encode()))
    ]
    members += [("i.png", png()), ("i.txt", f"Größe {LONG}".encode("latin-1"))]
    write_shard(folder / "part.tar", members)
    every = ShardSource([folder / "part.tar"], 16, 2, keep_rest=True, record=folder / "record.json")
    ((_, captions), *others) = [*every.batches(0)]
    captions += [caption for _, some in others for caption in some]
    assert sorted(captions) == [LONG] * 3 + [left, right] and every.count == 5
    names = [name.split(": ")[1] for name in every.image_names(0)]
    assert sorted(names) == ["a", "a", "b", "c", "e"]
    assert {captions[at] for at, name in enumerate(names) if name == "a"} == {left, right}
    assert [(reason, what[-1]) for reason, what in every.dropped] == [
        ("captions have fewer than 20 characters", "a"),
        ("captions are not text", "d"),
        ("captions cannot be read", "f"),
        ("captions are not text", "g"),
        ("captions have fewer than 20 characters", "h"),
        ("captions cannot be read", "i"),
    ]
    training = ShardSource([folder / "part.tar"], 16, 4, record=folder / "record.json")
    epochs = [[*training.batches(epoch)] for epoch in range(2)]
    assert training.count == 4 and [len(captions) for ((_, captions),) in epochs] == [4, 4]
    assert {caption for ((_, captions),) in epochs for caption in captions} == {LONG, left, right}


def test_keys_that_repeat_in_other_shards_name_other_pairs(folder):
    for shard in range(2):
        captions = [f"Ultrasound number {shard} {number}".encode() for number in range(3)]
        captions[1] = captions[1] if shard else b"short"
        members = [((f"{n:04d}.png", png()), (f"{n:04d}.txt", caption)) for n, caption in enumerate(captions)]
        write_shard(folder / f"part-{shard:02d}.tar", [member for pair in members for member in pair])
    (folder / "record.json").write_text("{}")
    for _ in range(2):  # the second time from its record
        made = ShardSource(expand_shards(str(folder / "part-{00..01}.tar")), 16, 5, record=folder / "record.json")
        assert (made.count, made.steps, len(list(made.batches(0)))) == (5, 1, 1)
        assert [name for _, name in made.dropped] == [f"{folder / 'part-00.tar'}: 0001"]


@pytest.mark.parametrize(
    "members",
    [
        [x for name, content in MEMBERS for x in ((f"set/._{name}", b"Mac OS X"), (f"set/{name}", content))],
        [(name, content.decode().encode("utf-16") if name.endswith("txt") else content) for name, content in MEMBERS],
        [(f"\udcff{name}", content) for name, content in MEMBERS],
        [(f"../../{name.upper()}", content) for name, content in MEMBERS],
    ],
    ids=["AppleDouble files of macOS", "UTF-16", "a name of bytes", "a path that leads out"],
)
def test_members_of_shards_are_what_their_makers_meant(tmp_path, members):
    path = write_shard(tmp_path / "part.tar.gz", members, "w:gz")
    made = ShardSource(expand_shards(str(path)), 16, 3)
    assert made.count == 3 and not made.dropped
    ((_, captions),) = made.batches(0)
    assert sorted(captions) == [f"{LONG} {key}" for key in "abc"]


@pytest.mark.parametrize(
    "members, reasons",
    [
        ([*MEMBERS[::2], *MEMBERS[1::2]], "; 3 captions are missing; 3 images are missing"),
        ([(f"1.2.840.{name}", content) for name, content in MEMBERS], "; 3 names have a dot before their suffix"),
        ([], ""),
    ],
)
def test_shards_without_a_pair_say_why(tmp_path, members, reasons):
    path = write_shard(tmp_path / "part.tar", members)
    with pytest.raises(InputError, match=f"beginning with '.*part.tar', hold no pair that can be used{reasons}\\."):
        ShardSource(expand_shards(str(path)), 16, 2)


@pytest.mark.parametrize("name", ["pipe:touch owned; cat plain.tar", "a #1?.tar", "http:x.tar"])
def test_the_name_of_a_shard_is_no_address_and_no_command(tmp_path, monkeypatch, name):
    """Webdataset runs what follows "pipe:", and downloads what begins as an address."""
    monkeypatch.chdir(tmp_path)
    write_shard(Path(name), MEMBERS)
    assert ShardSource(expand_shards(name), 16, 2).count == 3
    assert not Path("owned").exists()


def test_shards_that_are_missing_damaged_or_commands_are_refused(shards, folder):
    with pytest.raises(InputError, match=r"part-02.tar.*\(1 of 3 are missing\)"):
        expand_shards(shards.replace("..01", "..02"))
    with pytest.raises(InputError, match="Expected a table of captions, got the shards"):
        read_captions(expand_shards(shards)[0])
    with pytest.raises(InputError, match="no shard"):
        expand_shards("pipe:touch owned.tar")
    (folder / "part-01.tar").write_bytes(b"no tar file at all")
    with pytest.raises(InputError, match="cannot be read"):
        ShardSource(expand_shards(shards), 16, 2)
    with pytest.raises(InputError, match="do not fill a batch"):
        ShardSource(expand_shards(shards)[:1], 16, 4)
    (folder / "part-01.tar").write_bytes((folder / "part-00.tar").read_bytes()[:3000])
    with pytest.raises(InputError, match=r"part-01.tar' cannot be read: unexpected end of data\."):
        ShardSource(expand_shards(shards), 16, 2)
