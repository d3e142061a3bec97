"""Random changes to the bytes of a file's header."""

from __future__ import annotations

import gzip
import random
import re
import struct
import zlib

SECRET = b"\xa5secret\x5a"
NUMBERS = ("0", "-1", "1", "2", "7", "65535", "99999999999", "-99999999999999999999", "1e308", "nan", "inf", "0.0", "")
TEXTS = (
    "../secret.raw",
    "/etc/passwd",
    "\x1b[31mred",
    "\xff\xfe",
    "LOCAL",
    "raw",
    "gzip",
    "x" * 3000,
    "%d %s %n",
    "1 " * 40,
)
TAGS = (
    *((0x28, 0x2), (0x28, 0x4), (0x28, 0x8), (0x28, 0x10), (0x28, 0x11), (0x28, 0x30), (0x28, 0x100), (0x28, 0x101)),
    *((0x28, 0x102), (0x28, 0x103), (0x28, 0x1050), (0x28, 0x1051), (0x28, 0x1052), (0x28, 0x1053), (0x20, 0x32)),
    *((0x20, 0x37), (0x20, 0xD), (0x20, 0xE), (0x20, 0x13), (0x18, 0x50), (0x8, 0x5), (0x8, 0x16), (0x2, 0x10)),
    *((0x8, 0x60), (0x10, 0x10), (0x7FE0, 0x10), (0x28, 0x6), (0x18, 0x88), (0x8, 0x103E)),
)
"""DICOM tags that readers use."""


def damaged(data: bytes, kind: str, chance: random.Random) -> bytes:
    """Change the header of a file of the format `kind` one to six times."""
    packed = data[:2] == b"\x1f\x8b"
    if packed and chance.random() < 0.75:
        return gzip.compress(damaged(gzip.decompress(data), kind, chance), mtime=0)
    end = _header_end(data, kind)
    header, rest = bytearray(data[:end]), data[end:]
    for _ in range(chance.randint(1, 6)):
        if not header:
            break
        if kind in ("NRRD", "MetaImage") and chance.random() < 0.75:
            header = bytearray(_changed_line(bytes(header), chance))
        elif kind == "DICOM" and chance.random() < 0.75:
            _change_tag(header, chance)
        elif kind == "raster image" and data[:4] == b"\x89PNG" and chance.random() < 0.5:
            _change_chunk(header, chance)
        else:
            _change_bytes(header, chance)
    if chance.random() < 0.1:
        rest = rest[: chance.randrange(len(rest) + 1)]
    return bytes(header) + rest


def _header_end(data: bytes, kind: str) -> int:
    if kind == "NRRD":
        found = re.search(rb"\r?\n\r?\n", data)
        return found.end() if found else len(data)
    if kind == "MetaImage":
        found = re.search(rb"ElementDataFile[^\n]*\n", data)
        return found.end() if found else len(data)
    if kind == "DICOM":
        place = data.find(struct.pack("<HH", 0x7FE0, 0x10))
        return place + 12 if place > 0 else min(len(data), 4096)
    return min(len(data), 352 if kind == "NIfTI" else 256)


def _changed_line(header: bytes, chance: random.Random) -> bytes:
    lines = header.split(b"\n")
    place = chance.randrange(len(lines))
    how = chance.random()
    if how < 0.15:
        del lines[place]
    elif how < 0.25:
        lines.insert(place, chance.choice(lines))
    elif how < 0.75:
        numbers = list(re.finditer(rb"[-\d.e]+", lines[place]))
        if numbers:
            found = chance.choice(numbers)
            new = chance.choice(NUMBERS).encode()
            lines[place] = lines[place][: found.start()] + new + lines[place][found.end() :]
    else:
        key, sign, _ = re.match(rb"([^:=]*)([:=]?)(.*)", lines[place], re.DOTALL).groups()  # type: ignore[union-attr]
        lines[place] = key + (sign or b":") + b" " + chance.choice(TEXTS + NUMBERS).encode("latin-1")
    return b"\n".join(lines)


def _change_tag(header: bytearray, chance: random.Random) -> None:
    """Overwrite the value, length or type of a DICOM tag."""
    for _ in range(10):
        place = header.find(struct.pack("<HH", *chance.choice(TAGS)), 132)
        if place >= 0:
            break
    else:
        return
    size = int.from_bytes(header[place + 6 : place + 8], "little")
    how = chance.random()
    if how < 0.15:
        header[place + 4 : place + 6] = chance.choice((b"US", b"SS", b"DS", b"IS", b"SQ", b"OB", b"UN", b"FD", b"LO"))
    elif how < 0.3:
        header[place + 6 : place + 8] = struct.pack("<H", chance.choice((0, 1, 2, 3, size + 1, 0xFFFF, 0xFFFE)))
    elif how < 0.35:
        del header[place : place + 8 + size]
    elif size == 2 and how < 0.9:
        header[place + 8 : place + 10] = struct.pack("<H", chance.choice((0, 1, 2, 3, 12, 32, 255, 4096, 65535)))
    else:
        text = (chance.choice(NUMBERS) + chance.choice(("", "\\", "\\0\\0\\0", "\\nan"))).encode() * 3
        header[place + 8 : place + 8 + size] = text.ljust(size)[:size]


def _change_chunk(header: bytearray, chance: random.Random) -> None:
    """Change a number in the first chunk of a PNG and correct the checksum."""
    place = 16 + chance.randrange(13)
    header[place] = chance.choice((0, 1, 2, 3, 4, 6, 8, 16, 127, 255))
    header[29:33] = struct.pack(">I", zlib.crc32(header[12:29]))


def _change_bytes(header: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(header))
    how = chance.randrange(6)
    if how == 0:
        header[place] ^= 1 << chance.randrange(8)
    elif how == 1:
        header[place] = chance.choice((0, 1, 127, 128, 255))
    elif how == 2:
        place &= ~1
        header[place : place + 2] = struct.pack("<h", chance.choice((0, 1, -1, 32767, -32768, 5)))
    elif how == 3:
        place &= ~3
        value = struct.pack("<f", chance.choice((0.0, -1.0, float("nan"), float("inf"), 1e30, 1e-30)))
        header[place : place + 4] = chance.choice((value, struct.pack("<i", chance.choice((-1, 2**31 - 1, 0)))))
    elif how == 4:
        del header[place : place + chance.randint(1, 30)]
    else:
        header[place:place] = chance.randbytes(chance.randint(1, 30))
