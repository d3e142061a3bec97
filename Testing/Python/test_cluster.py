"""A simulated cluster: the engine, manifest and report of an export, with workers that sleep."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("ray")


def test_every_case_is_recorded_once_also_where_workers_die(run, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")  # a cluster of the user's is not the one that is measured
    figures = tmp_path / "figures.json"
    ask = ("benchmark", "cluster", "--workers", 2, "--cases", 6, "--seconds", 0.2, "--json", figures, "--overwrite")
    code, text, err = run(*ask, "--deaths", 0)
    assert code == 0 and "6 of 6 cases recorded, 0 of them failed" in text, err
    measured = json.loads(figures.read_text(encoding="utf-8"))
    assert 0.3 < measured["busy"] <= 1 and measured["slept"] == pytest.approx(1.2, rel=0.5)
    code, text, err = run(*ask, "--deaths", 1)
    assert code == 0 and "6 of 6 cases recorded, 6 of them failed" in text, err
