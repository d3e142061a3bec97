"""Property tests must not fail because the machine is slow, nor a test because of the log that another one set up."""

import logging

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("helpers")

from helpers.worker import pictures, segmenter, shared, worker  # noqa: E402, F401  # fixtures

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
