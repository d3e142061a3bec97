"""Images that are in a series again, under another UID: sent twice, or made anonymous twice."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes.dicom_decode import decode
from MedCLIPSAMLib.volumes.dicom_header import Frame
from MedCLIPSAMLib.volumes.dicom_phases import depths_of


def without_copies(frames: Sequence[Frame], notes: list[str]) -> list[Frame]:
    """Leave out images that have the pixels of another one at their position, with a note in `notes`."""
    kept: list[Frame] = []
    seen: set[tuple[float, bytes]] = set()
    depths = depths_of(frames)
    count = Counter(depths)
    for frame, depth in zip(frames, depths):
        pixels = None
        if frame.single and count[depth] > 1:
            with suppress(InputError):  # which reading it says, where it is of what is chosen
                pixels = decode(frame.path)[0][frame.index]
        key = (float(depth), hashlib.sha256(pixels.tobytes() if pixels is not None else b"").digest())
        if pixels is None or key not in seen:
            kept.append(frame)
        seen.add(key)
    if copies := len(frames) - len(kept):
        images = "1 image" if copies == 1 else f"{copies} images"
        notes.append(f"Left out: {images} with the pixels of another one at the same position.")
    return kept
