"""A real MRML scene from slicer-core, without the desktop: the classes that 3D Slicer itself loads files with."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

for name in ("MEDCLIPSAM_MODEL", "MEDCLIPSAM_SAM"):  # small and fast, in processes of the tests too
    os.environ.setdefault(name, "demo")
pytest.register_assert_rewrite("helpers")

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from helpers.mrml import make_scene  # noqa: E402

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "MedCLIPSAM"), str(Path(__file__).resolve().parent)]

SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def logics() -> dict[str, object]:
    """The logics of a scene that is set as `slicer.mrmlScene`; see `make_scene`."""
    return make_scene()


@pytest.fixture
def scene(logics: dict[str, object]) -> Iterator[object]:
    """The scene, empty before and after the test."""
    slicer.mrmlScene.Clear(False)
    yield slicer.mrmlScene
    slicer.mrmlScene.Clear(False)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real images are not at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def warm_operations(logics: dict[str, object]) -> Iterator[object]:
    """The module's operations with the real worker process, which stays warm throughout the session."""
    from MedCLIPSAMScene.operations import Operations

    from MedCLIPSAMLib.worker.subprocess_transport import SubprocessTransport, worker_command

    made = Operations(lambda: SubprocessTransport(worker_command()))
    yield made
    made.close()


@pytest.fixture
def operations(scene: object, warm_operations: object) -> Iterator[object]:
    """The operations on the empty scene with the demo models on the CPU."""
    warm_operations.session.models = ("demo", "demo", "cpu", None)
    yield warm_operations
    warm_operations.session.forgetScene()


@pytest.fixture(scope="session")
def phantom() -> object:
    """A brain MRI with a tumor that is not small."""
    from MedCLIPSAMLib.phantoms.dataset import make_phantom

    made = (make_phantom("validation", index, "MR", 1) for index in range(3, 40))
    return next(item for item in made if item.lesion_mask.sum() > 300)
