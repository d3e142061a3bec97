"""Child process in which ITK and GDCM read untrusted files; see `itk_read`. It imports nothing of this package.

Each request is a line of JSON, {"path": ..., "reader": ..., "voxels": true, "number": 1}. The answer is a line of JSON
with the same number, followed by the bytes of the voxels if they were requested.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress

READERS = ("GDCMImageIO", "MetaImageIO", "NrrdImageIO", "NiftiImageIO", "JPEGImageIO", "PNGImageIO", "TIFFImageIO")
"""ITK's readers that are used; others return uninitialized memory for truncated files (VTK, GIPL, MRC)."""


def main() -> None:
    """Answer requests until the end of the input."""
    _limit_memory()
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(2)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # keeps what libraries print out of the answers
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            path = os.fsdecode(bytes.fromhex(request["path"]))
            about, voxels = _read(sitk, path, request["reader"], request["voxels"])
        except Exception as error:
            about, voxels = {"error": type(error).__name__, "said": str(error)[-4000:]}, None
        answers.write(json.dumps({**about, "number": request["number"]}).encode() + b"\n")
        if voxels is not None:
            answers.write(memoryview(voxels).cast("B"))
        answers.flush()


def _read(sitk, path: str, kind: str, wanted: bool):
    """Read the header of an image, and optionally its voxels, with the named reader or the one that ITK chooses."""
    reader = sitk.ImageFileReader()
    kind = kind or reader.GetImageIOFromFileName(path)
    if kind not in READERS:
        return {"known": False}, None
    reader.SetImageIO(kind)
    reader.SetFileName(path)
    reader.ReadImageInformation()
    about = {"known": True, "size": reader.GetSize(), "spacing": reader.GetSpacing()}
    about |= {"origin": reader.GetOrigin(), "direction": reader.GetDirection()}
    if not wanted:
        return about, None
    image = reader.Execute()
    voxels = sitk.GetArrayFromImage(image)
    about |= {"origin": image.GetOrigin(), "spacing": image.GetSpacing(), "direction": image.GetDirection()}
    about |= {"dtype": voxels.dtype.str, "shape": voxels.shape, "channels": image.GetNumberOfComponentsPerPixel()}
    about["tags"] = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    return about, voxels


def _limit_memory() -> None:
    """Limit memory to that of the machine, so that a header that declares more ends only this process."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        max_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (max_bytes, max_bytes))


if __name__ == "__main__":
    main()
