"""Two runs on the same cases, by hand-computed figures, and what is left after review."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from PIL import Image
from scipy.stats import wilcoxon

from MedCLIPSAMLib import cli
from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.evaluation.compare import compare_paired, error_after_review
from MedCLIPSAMLib.evaluation.tables import paired_values

FIRST, SECOND = [0.5, 0.6, 0.7, 0.8, 0.9, 0.4], [0.6, 0.8, 0.69, 0.9, 0.95, 0.4]


def table(path, values):
    rows = [
        f"c{number},tumor,{value},{value / 2},{'inf' if number == 0 else 3},\n" for number, value in enumerate(values)
    ]
    path.write_text("case,segment,dsc,nsd,hd95,note\n" + "".join(rows))
    return path


def test_differences_are_taken_case_by_case():
    result = compare_paired(FIRST, SECOND)
    change = np.subtract(SECOND, FIRST)
    assert result.difference == pytest.approx(0.44 / 6) and (result.better, result.worse, result.n) == (4, 1, 6)
    assert result.low < result.difference < result.high
    assert result.p == pytest.approx(wilcoxon(change, zero_method="zsplit").pvalue)
    same = compare_paired(FIRST, FIRST)
    assert same.p == 1 and same.difference == 0 and same.better == same.worse == 0
    assert compare_paired([1, np.inf], [1, 2]).n == 1 and np.isnan(compare_paired([1, np.inf], [1, 2]).p)
    with pytest.raises(InputError, match="cannot be paired"):
        compare_paired([1], [1, 2])


def test_review_takes_away_the_error_of_the_cases_that_are_looked_at():
    errors, order = [0.4, 0.1, 0.3, 0.2], [9, 1, 2, 3]
    assert error_after_review(errors, order, 0) == pytest.approx(0.25)
    assert error_after_review(errors, order, 0.25) == pytest.approx(0.15)
    assert error_after_review(errors, order, 0.5) == pytest.approx(0.1)
    assert error_after_review(errors, order, 1) == 0


def test_the_command_compares_tables_and_draws_them(tmp_path, monkeypatch, capsys):
    first, second = table(tmp_path / "zero.csv", FIRST), table(tmp_path / "weak.csv", SECOND)
    words = ["medclipsam", "compare", str(first), str(second), "--plot", str(tmp_path / "p.png"), "--json"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    report = json.loads(capsys.readouterr().out)
    assert report["dsc"]["difference"] == pytest.approx(0.44 / 6) and report["hd95"]["n"] == 5
    assert Image.open(tmp_path / "p.png").size[0] > 800
    with pytest.raises(InputError, match="one table only.*'c5'|'c5'"):
        paired_values(first, table(tmp_path / "short.csv", SECOND[:5]), "dsc")
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="Expected a table of scores.*line 2"):
        paired_values(first, tmp_path / "bad.csv", "dsc")
    (tmp_path / "excel.csv").write_text(first.read_text().replace(",", ";"))
    assert paired_values(first, tmp_path / "excel.csv", "dsc") == paired_values(first, first, "dsc")
