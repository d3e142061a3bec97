"""A real worker process for tests, as fixtures imported by Python/conftest.py."""

import numpy as np
import pytest


class Worker:
    """A client of a worker process that records the events and waits for requests."""

    def __init__(self, *options):
        from MedCLIPSAMLib.worker.client import WorkerClient
        from MedCLIPSAMLib.worker.subprocess_transport import SubprocessTransport, worker_command

        self.events = []
        self.transport = SubprocessTransport(worker_command(*options))
        self.client = WorkerClient(self.transport, lambda request, message: self.events.append((request, message)))

    def wait(self, request, timeout=60):
        return self.transport.wait(request, timeout)

    def wait_until_it_computes(self):
        """Wait until M2IB has begun, not only the loading of models."""
        self.transport.run_until(lambda: any(reply.fields.get("stage") == "saliency" for _, reply in self.events), 60)


@pytest.fixture(scope="module")
def shared():
    worker = Worker()
    worker.client.load("demo", "demo", "cpu")
    yield worker
    worker.client.shutdown()


@pytest.fixture
def worker(shared):
    shared.events.clear()
    return shared


@pytest.fixture(scope="module")
def images():
    from MedCLIPSAMLib.experiments.phantom_benchmark import to_rgb
    from MedCLIPSAMLib.phantoms.dataset import make_phantom

    return np.stack([to_rgb(make_phantom("validation", index, "MR", 1)) for index in (1, 2)])


@pytest.fixture(scope="module")
def segmenter():
    from MedCLIPSAMLib.segmentation.segmenter import load_segmenter

    return load_segmenter("demo", "demo", "cpu")
