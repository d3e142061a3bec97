"""The trial of filters of pseudo-labels, dry: with the real labels and files, and a threshold in place of nnU-Net."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from MedCLIPSAMLib.commands.reproduce_filters import filter_tables
from MedCLIPSAMLib.experiments.filters_summary import summary
from MedCLIPSAMLib.experiments.reproduce_filters import FILTERS, expected_quality, make_filter_plan, reproduce
from MedCLIPSAMLib.experiments.weak_plan import quick
from MedCLIPSAMLib.nnunet.raw_dataset import read_dataset


@pytest.fixture
def trainings(monkeypatch):
    """What was trained: dataset and seed; the networks take dark pixels for the target."""
    done = []

    def train(dataset, out, settings, context=None):
        done.append((out.parent.name, read_dataset(dataset).cases, settings.seed))

    def predict(volume, context=None):
        labels = (volume.array < np.quantile(volume.array, 0.1)).astype(np.uint8)
        return SimpleNamespace(labels=labels, probabilities=np.stack([1 - labels, labels]).astype(np.float32))

    network = SimpleNamespace(name="dark", labels={1: "target"}, predict=predict, device="cpu")
    monkeypatch.setattr("MedCLIPSAMLib.nnunet.train.train", train)
    monkeypatch.setattr("MedCLIPSAMLib.nnunet.ensemble.Ensemble", lambda *_, **__: network)
    return done


def test_each_filter_trains_without_its_own_worst_and_the_trial_goes_on(tmp_path, trainings):
    plan = make_filter_plan()
    plan = replace(plan, weak=replace(quick(plan.weak), train=6), share=0.3)
    first = reproduce(plan, [1], tmp_path)
    found = first["cases"]["found"]
    without = round(0.3 * found)
    assert found >= 5 and first["cases"]["test"] == 3 and first["set"] == "us_tumour"
    assert [(name, seed) for name, _, seed in trainings] == [(f"{name}-1", 1) for name in FILTERS]
    kept = {name: set(runs[0]["kept"]) for name, runs in first["runs"].items()}
    assert [set(cases) for _, cases, _ in trainings] == list(kept.values())
    assert kept["all"] == first["dsc"].keys() and {len(kept[name]) for name in FILTERS} == {found, found - without}
    for name, order in (("score", first["score"]), ("truth", first["dsc"])):
        assert kept["all"] - kept[name] == set(sorted(order, key=lambda case: (order[case], case))[:without])
    order = first["runs"]["disagree"][0]["order"]
    assert order.keys() == kept["all"] and max(order[case] for case in kept["all"] - kept["disagree"]) <= min(
        order[case] for case in kept["disagree"]
    )
    assert len(first["runs"]["all"][0]["last"]) == 3

    second = reproduce(plan, [1], tmp_path)
    assert len(trainings) == len(FILTERS) and second == first  # nothing is trained twice
    second["summary"] = summary(second)
    console = Console(file=StringIO(), width=200)
    for table in filter_tables(second):
        console.print(table)
    shown = console.file.getvalue()
    assert all(label in shown for label in FILTERS.values()) and "3 test images, mean over 1 seed " in shown


def test_the_summary_pairs_images_and_averages_seeds():
    run = lambda *values, kept="ab", order={}: {  # noqa: B006
        "kept": list(kept),
        "order": order,
        "ensemble": list(values),
        "last": list(values),
    }
    runs = {
        "all": [run(0.2, 0.6), run(0.4, 0.6)],
        "score": [run(0.4, 0.6, kept="b", order={"a": 0.1, "b": 0.9})] * 2,
    }
    found = summary({"runs": runs, "dsc": {"a": 0.3, "b": 0.7}})
    assert found["all"]["ensemble"]["by_seed"] == pytest.approx([0.4, 0.5])
    assert found["all"]["labels_dsc"] == pytest.approx(0.5) and found["score"]["labels_dsc"] == pytest.approx(0.7)
    assert found["all"]["rank_correlation"] is None and found["score"]["rank_correlation"] == pytest.approx(1)
    difference = found["score"]["ensemble"]["less"]["all"]
    assert difference["difference"] == pytest.approx(0.05) and (difference["higher"], difference["lower"]) == (1, 0)
    assert found["score"]["last"]["less"]["all"]["by_seed"] == pytest.approx([0.1, 0.0])


def test_the_score_of_a_record_is_the_mean_over_its_labels():
    assert expected_quality({"labels": {"tumor": {"score": 0.4}, "cyst": {"score": 0.8}}}) == pytest.approx(0.6)
