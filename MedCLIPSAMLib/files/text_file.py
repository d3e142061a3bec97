"""Text files from users: tables, prompts, lists."""

from __future__ import annotations

import codecs
from pathlib import Path

from ..errors import InputError
from .regular import check_file


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, or in UTF-16 with a byte order mark (Excel's "Unicode Text"); convert line ends to LF.

    Raises:
        InputError: the path is not a file, cannot be read, or has another encoding.
    """
    check_file(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"'{path}' cannot be read: {error.strerror}.", "Check the path and the permissions."
        ) from error
    try:
        return decode_text(content)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"Expected text in UTF-8, got other bytes in line {line} of '{path}'.",
            "Save it as UTF-8; in Excel, choose 'CSV UTF-8'.",
        ) from error


def decode_text(content: bytes) -> str:
    """Decode a text as `read_text` does; raises UnicodeDecodeError for another encoding."""
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_wide else "utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
