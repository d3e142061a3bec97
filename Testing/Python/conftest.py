"""Property tests must not fail because the machine is slow, nor a test because of the log that another one set up."""

import logging
import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

for name in ("MEDCLIPSAM_MODEL", "MEDCLIPSAM_SAM"):  # small and fast, in processes of the tests too
    os.environ.setdefault(name, "demo")
pytest.register_assert_rewrite("helpers")

from helpers.command_line import run  # noqa: E402, F401  # a fixture
from helpers.worker import images, segmenter, shared, worker  # noqa: E402, F401  # fixtures

LONG = "weak finetune_resume command_worker signals benchmark_real ray_engine worker worker_engine".split()
"""Files of few but long tests, which begin first, so that no process ends long after the other."""

for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    if hasattr(signal, name) and signal.getsignal(signal.Signals[name]) == signal.SIG_IGN:
        signal.signal(signal.Signals[name], handler)  # ignored by nohup, and in the background of a script

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def log_as_before():
    """The command line, called by a test, sets up our log; the next test finds it as it was."""
    log = logging.getLogger("MedCLIPSAMLib")
    level, propagate, handlers = log.level, log.propagate, log.handlers[:]
    yield
    log.setLevel(level)
    log.propagate, log.handlers[:] = propagate, handlers


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m gpu`, files without such tests are not imported: a machine with a GPU need not have what they need."""
    if config.option.markexpr != "gpu" or not collection_path.match("test_*.py"):
        return None
    return "pytest.mark.gpu" not in collection_path.read_text(encoding="utf-8") or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files."""
    items.sort(key=lambda item: item.path.stem.removeprefix("test_") not in LONG)


@pytest.fixture(scope="session")
def device() -> str:
    """Where the models of a test run: on the GPU of this machine, else on the CPU."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
