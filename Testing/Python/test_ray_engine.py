"""The export on a real Ray of this machine, with two workers: the same files, and nothing lost with a worker."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedCLIPSAMLib.errors import DeviceError, ModelError
from MedCLIPSAMLib.export import ray_engine
from MedCLIPSAMLib.export.cases import find_cases
from MedCLIPSAMLib.export.engines import LocalEngine
from MedCLIPSAMLib.export.export import export
from MedCLIPSAMLib.export.job import ExportSettings
from MedCLIPSAMLib.export.manifest import MANIFEST, read_records
from MedCLIPSAMLib.export.ray_engine import RayEngine
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.run_context import RunContext
from MedCLIPSAMLib.segmentation.model_choice import ModelChoice
from MedCLIPSAMLib.segmentation.segmenter import load_segmenter
from MedCLIPSAMLib.volumes.write import write_png

pytest.importorskip("ray")
PROMPTS = {"tumor": "brain tumor", "ventricles": "ventricles"}


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Seven heads and a broken file."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(7):
        image = make_phantom("validation", number, "MR", number % 2).image
        write_png(folder / f"{number}.png", np.repeat(image[..., None], 3, 2))
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    return find_cases(folder, PROMPTS)


@pytest.fixture(scope="module")
def cluster():
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    told = []
    before = signal.signal(signal.SIGTERM, lambda *_: told.append("ended"))
    engine = RayEngine(ModelChoice(device="cpu"), workers=2)
    os.kill(os.getpid(), signal.SIGTERM)  # as a batch system does: the program ends in order, Ray does not abort it
    signal.signal(signal.SIGTERM, before)
    assert told
    yield engine
    engine.close()
    assert not ray.is_initialized()


@pytest.fixture(scope="module")
def local(cases, tmp_path_factory):
    out = tmp_path_factory.mktemp("local") / "Dataset001_Heads"
    export(cases, LocalEngine(load_segmenter("demo", "demo", "cpu")), out)
    return out


def files_of(out):
    """What is the same in every run of an export: not the times, and the report, which holds them."""
    names = [path for path in sorted(out.rglob("*")) if path.is_file() and path.name not in (MANIFEST, "report.html")]
    return {str(path.relative_to(out)): path.read_bytes() for path in names}


def lines_of(out):
    return {
        name: {key: record[key] for key in record.keys() - {"time", "seconds"}}
        for name, record in read_records(out).items()
    }


def at_work():
    """The processes of workers that are doing a case: Ray names them so."""
    titles = ((int(path.parent.name), path) for path in Path("/proc").glob("[0-9]*/cmdline"))
    found = set()
    for process, path in titles:
        try:
            if path.read_bytes().startswith(b"ray::_Worker.do"):
                found.add(process)
        except OSError:  # ended meanwhile
            continue
    return found


def test_two_workers_write_what_this_process_writes_byte_for_byte(cases, cluster, local, tmp_path):
    out, progress = tmp_path / "Dataset001_Heads", []
    counts = export(cases, cluster, out, context=RunContext(progress.append))
    assert cluster.pids and os.getpid() not in cluster.pids  # the second one may be ready after the last case
    assert sum(counts.values()) == len(cases) == progress[-1].done and counts["failed"] == 1
    assert files_of(out) == files_of(local) and len(files_of(out)) > 20
    assert lines_of(out) == lines_of(local)


def test_a_worker_that_is_killed_in_the_middle_loses_nothing(cases, cluster, local, tmp_path):
    out, killed = tmp_path / "Dataset001_Heads", []

    def kill_one(progress) -> None:
        if progress.done == 2:
            os.kill(cluster.pids[0], signal.SIGKILL)
            killed.append(cluster.pids[0])
            half_written = out / "report" / ".0badcafe.partial"  # as the worker leaves it, if it is killed just then
            half_written.mkdir()
            (half_written / "data.png").touch()

    export(cases, cluster, out, context=RunContext(kill_one))
    assert killed and lines_of(out) == lines_of(local) and files_of(out) == files_of(local)
    lines = (out / MANIFEST).read_text().splitlines()
    assert sorted(json.loads(line)["case"] for line in lines) == sorted(case.name for case in cases)
    assert not list(out.rglob(".*.partial*"))


def test_the_case_of_a_machine_that_is_gone_is_done_by_another(cases, cluster, local, monkeypatch, tmp_path):
    """No place is left for the worker that would come for the killed one."""
    out = tmp_path / "Dataset001_Heads"

    def kill_one(progress) -> None:
        if progress.done == 2:
            monkeypatch.setattr(cluster, "_resources", {"num_cpus": 1000})
            os.kill(cluster.pids[0], signal.SIGKILL)

    export(cases, cluster, out, context=RunContext(kill_one))
    assert lines_of(out) == lines_of(local)


def test_a_case_that_kills_every_worker_is_recorded_and_the_run_goes_on(cases, cluster, monkeypatch, tmp_path):
    """A volume that takes minutes, whose worker is killed each time."""
    import ray

    noise = np.random.default_rng(1).integers(0, 255, (200, 128, 128), np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(noise), str(tmp_path / "long.nii.gz"))
    long = find_cases(tmp_path, PROMPTS)[0]
    out, killed, given = tmp_path / "out", [], ray.wait
    monkeypatch.setattr(ray_engine, "ATTEMPTS", 2)  # the real number takes longer

    def wait(running, num_returns, timeout):
        done, others = given(running, num_returns=num_returns, timeout=timeout)
        for process in at_work() - set(killed) if len(killed) < 2 and not done else ():
            os.kill(process, signal.SIGKILL)
            killed.append(process)
        return done, others

    monkeypatch.setattr(ray, "wait", wait)
    counts = export([long, cases[0]], RayEngine(ModelChoice(device="cpu"), workers=1), out, ExportSettings("nii.gz"))
    record = read_records(out)["long"]
    assert len(killed) == 2 and counts["failed"] == 1 and sum(counts.values()) == 2
    assert "died" in record["problem"] and "--retry" in record["remedy"] and record["source"]["sha256"]


def test_a_cluster_without_room_for_a_worker_is_said_to_have_none(cases, cluster, monkeypatch, tmp_path):
    monkeypatch.setattr(ray_engine, "START", 2.0)
    engine = RayEngine(ModelChoice(device="cpu"), workers=1)
    engine._resources = {"num_cpus": 1000}
    with pytest.raises(DeviceError, match="No worker could start.*CPU"):
        export(cases[:1], engine, tmp_path / "out", ExportSettings("nii.gz"))


def test_what_a_worker_cannot_load_ends_the_run_with_the_cause(cases, cluster, tmp_path):
    engine = RayEngine(ModelChoice("biomedclip", "demo", "cpu", tmp_path), workers=1)
    with pytest.raises(ModelError, match="biomedclip"):
        export(cases[:1], engine, tmp_path / "out", ExportSettings("nii.gz"))
    assert read_records(tmp_path / "out") == {}


def test_the_command_exports_on_ray(cases, cluster, tmp_path, run):
    ask = ("export", cases[0].image, "-p", "brain tumor", "--format", "seg.nrrd", "-o", tmp_path / "out")
    code, text, err = run(*ask, "--engine", "ray", "--workers", 1, "--device", "cpu", "--json")
    assert code == 0, err
    answer = json.loads(text)
    del answer["notes"]
    assert sum(answer.values()) == 1
