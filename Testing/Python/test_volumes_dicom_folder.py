"""Files of a DICOM folder that cannot be read are told of: a missing slice at an end leaves the spacing even."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from dicom_made import save, slice_at, write_series

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.export.image_names import hide_names
from MedCLIPSAMLib.volumes import read_volume
from MedCLIPSAMLib.volumes.dicom_list import list_series


def link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nowhere/at/all")


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda path: path.write_bytes(b""), "0 bytes"),
        (lambda path: path.write_bytes(bytes(path.stat().st_size)), "zeros only"),
        (lambda path: path.write_bytes(path.read_bytes()[:130]), "cut short"),
        (lambda path: path.write_text("<html>404 Not Found</html>"), "not DICOM"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n"), "git-lfs"),
        (lambda path: path.write_text("/annex/objects/SHA256E-s5--0.dcm\n"), "git-annex"),
        (link_to_nothing, "a link to a missing file"),
        (make_pipe, "not a file"),
        (lambda path: path.rename(path.with_name(f".{path.name}")), "hidden"),
    ],
)
@pytest.mark.parametrize("name", ["{}.dcm", "IM{}", "1.2.840.{}", "{}.MR"])
def test_a_slice_that_is_no_dicom_is_told_of(
    tmp_path: Path, name: str, spoil: Callable[[Path], object], why: str
) -> None:
    for number in range(8):
        save(slice_at((0, 0, 2 * number), number), tmp_path / name.format(number))
    spoil(tmp_path / name.format(7))
    volume = read_volume(tmp_path)
    assert volume.array[:, 0, 0].tolist() == list(range(7)) and len(volume.notes) == 1
    for expected in ("1 file was not read", "slices may be missing", why, name.format(7)):
        assert expected in volume.notes[0]
    assert name.format(7) not in hide_names(volume.notes[0], tmp_path, tmp_path)  # as for reports without names


@pytest.mark.parametrize("which", [None, "1.2.3.4"])
def test_a_slice_that_is_cut_within_its_header_is_told_of(tmp_path: Path, which: str | None) -> None:
    write_series(tmp_path, range(3))
    last = tmp_path / "s-002.dcm"
    whole = last.read_bytes()
    for length in range(140, whole.find(b"\x28\x00\x10\x00US"), 40):  # before the number of rows
        last.write_bytes(whole[:length])
        volume = read_volume(tmp_path, series=which)
        assert volume.shape[0] == 2 and "s-002.dcm" in volume.notes[0]


@pytest.mark.parametrize("name", ["s-{}.dcm", "IM{:04}", "1.2.840.{}", "{}"])
def test_files_of_other_kinds_or_names_are_not_told_of(tmp_path: Path, name: str) -> None:
    for number in range(3):
        save(slice_at((0, 0, 2 * number), number), tmp_path / name.format(number))
    for other in (
        "README",
        "notes.txt",
        "series.json",
        ".DS_Store",
        "._s-001.dcm",
        "Thumbs.db",
        "_SUCCESS",
        "a.nii.gz",
    ):
        (tmp_path / other).write_bytes(b"")
    for other in ("README2", "VERSION1", "notes_2024", "2024-11-01", "IM0003_old"):
        (tmp_path / other).write_text("text")
    assert read_volume(tmp_path).notes == []


def test_a_folder_where_nothing_can_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "0.dcm").symlink_to("/nowhere")
    with pytest.raises(InputError, match=r"no DICOM object. 1 file was not read.* '0.dcm' \(a link to"):
        read_volume(tmp_path)


def test_a_folder_that_cannot_be_listed_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path, range(3))
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def refuse(path: str) -> object:
        if os.path.basename(path) == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert "'closed' (not readable)" in read_volume(tmp_path).notes[0]


def test_links_are_followed_to_folders_within_and_once(tmp_path: Path) -> None:
    write_series(tmp_path / "other", range(3), SeriesInstanceUID="1.2.9")
    study = tmp_path / "study"
    write_series(study / ".store", range(4))
    for name, target in {"link": ".store", "again": ".store", "up": "..", "self": ".", "before": "../other"}.items():
        (study / name).symlink_to(target)
    volume = read_volume(study)
    assert volume.array[:, 0, 0].tolist() == [0, 1, 2, 3] and volume.notes == []


def test_a_folder_of_nothing_but_links_out_of_it_says_where_they_lead(tmp_path: Path) -> None:
    write_series(tmp_path / "source", range(3))
    study = tmp_path / "study"
    study.mkdir()
    (study / "link").symlink_to(tmp_path / "source")
    with pytest.raises(InputError, match=f"holds only a link to '{tmp_path / 'source'}'. Give that folder"):
        read_volume(study)
    (study / "up").symlink_to(tmp_path)
    links = f"'{tmp_path}', '{tmp_path / 'source'}'"
    with pytest.raises(InputError, match=f"holds only links to {links}. Give one of these"):
        read_volume(study)


def test_lost_files_beside_another_series_are_told_of_where_none_was_chosen(tmp_path: Path) -> None:
    write_series(tmp_path / "A", range(3), SeriesInstanceUID="1.2.5")
    write_series(tmp_path / "B", range(3), SeriesInstanceUID="1.2.6")
    (tmp_path / "B" / "empty.dcm").touch()
    last = tmp_path / "B" / "1.2.6-002.dcm"
    last.write_bytes(last.read_bytes()[:400])
    assert read_volume(tmp_path, series="1.2.5").notes == []
    for notes in (read_volume(tmp_path, series="1.2.6").notes, list_series(tmp_path)[1]):
        assert "'empty.dcm' (0 bytes)" in notes[0] and last.name in notes[1] and len(notes) == 2


@pytest.mark.parametrize("name", ["x.zip", "x.dcm.gz"])
def test_compressed_files_are_named_where_there_is_no_dicom(tmp_path: Path, name: str) -> None:
    content = b"PK\x05\x06" + bytes(18) if name == "x.zip" else gzip.compress(b"DICOM")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"compressed files: '{name}'.*zip file itself, or unpack other archives"):
        read_volume(tmp_path)


def test_what_is_compressed_by_gzip_is_to_be_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm.gz"
    path.write_bytes(gzip.compress(save(slice_at((0, 0, 0), 1), tmp_path / "x.dcm").read_bytes()))
    with pytest.raises(InputError, match="compressed by gzip.*Unpack it"):
        read_volume(path)
