"""Write a file under a temporary name and rename it, so that a killed run leaves no half file."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from MedCLIPSAMLib.errors import OutputError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well it is renamed to `path`, else removed.

    The temporary name keeps the suffixes (".nii.gz"), because writers choose the format by them.

    Raises:
        OutputError: the parent folder is missing, `path` is a folder, or the file cannot be written.
    """
    path = Path(path)
    check_writable(path)
    temporary = path.with_name(f".{secrets.token_hex(4)}.partial{''.join(path.suffixes[-2:])}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:  # a full disk may show only now
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(
            f"Cannot write '{path}': {error.strerror or error}.", "Check the permissions and the free space."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Refuse a path that cannot be written, before long work is done for it.

    Raises:
        OutputError: the parent folder is missing or may not be written to, or `path` is a folder.
    """
    if not path.parent.is_dir():
        raise OutputError(f"Cannot write '{path}': the folder '{path.parent}' does not exist.", "Create it first.")
    if path.is_dir():
        raise OutputError(f"Cannot write '{path}': it is a folder.", "Give a file name in it.")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(
            f"Cannot write '{path}': the folder '{path.parent}' is read-only for you.", "Choose another folder."
        )
