"""Two runs on the same cases, by hand-computed figures, and what is left after review."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from scipy.stats import wilcoxon

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.evaluation.compare import compare_paired, error_after_review
from MedCLIPSAMLib.evaluation.tables import pair_scores

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
    assert result.difference == pytest.approx(0.44 / 6) and (result.higher, result.lower, result.n) == (4, 1, 6)
    assert result.low < result.difference < result.high
    assert result.p == pytest.approx(wilcoxon(change, zero_method="zsplit").pvalue)
    same = compare_paired(FIRST, FIRST)
    assert same.p == 1 and same.difference == 0 and same.higher == same.lower == 0
    assert compare_paired([1, np.inf], [1, 2]).n == 1 and np.isnan(compare_paired([1, np.inf], [1, 2]).p)
    with pytest.raises(InputError, match="cannot be paired"):
        compare_paired([1], [1, 2])


def test_review_takes_away_the_error_of_the_cases_that_are_looked_at():
    errors, order = [0.4, 0.1, 0.3, 0.2], [9, 1, 2, 3]
    assert error_after_review(errors, order, 0) == pytest.approx(0.25)
    assert error_after_review(errors, order, 0.25) == pytest.approx(0.15)
    assert error_after_review(errors, order, 0.5) == pytest.approx(0.1)
    assert error_after_review(errors, order, 1) == 0


def test_the_command_compares_tables_and_draws_them(tmp_path, run):
    first, second = table(tmp_path / "zero.csv", FIRST), table(tmp_path / "weak.csv", SECOND)
    code, out, error = run("compare", first, second, "--plot", tmp_path / "p.png", "--json")
    report = json.loads(out)["differences"]["tumor"]
    assert code == 0 and "HD95 leaves out 1 of 6 masks" in error
    assert report["dsc"]["difference"] == pytest.approx(0.44 / 6) and report["hd95"]["n"] == 5
    assert Image.open(tmp_path / "p.png").size[0] > 800
    (tmp_path / "excel.csv").write_text(first.read_text().replace(",", ";").replace(".", ","))
    assert pair_scores(tmp_path / "excel.csv", first).pairs("dsc") == pair_scores(first, first).pairs("dsc")


def test_tables_that_cannot_be_compared_are_refused_with_the_reason(tmp_path):
    first = table(tmp_path / "zero.csv", FIRST)
    for value in (71.2, -0.1, "nan"):  # percent, of another program
        (tmp_path / "other.csv").write_text(first.read_text().replace("tumor,0.5,", f"tumor,{value},"))
        with pytest.raises(InputError, match=f"Expected a DSC from 0 to 1 in line 2 of .*other.csv', got {value}"):
            pair_scores(first, tmp_path / "other.csv")
    with pytest.raises(InputError, match="one table only: 1 mask, such as 'tumor' of 'c5' in '.*zero.csv'"):
        pair_scores(first, table(tmp_path / "short.csv", SECOND[:5]))
    (tmp_path / "renamed.csv").write_text(first.read_text().replace("c5,tumor", "c5,lesion"))
    with pytest.raises(InputError, match="2 masks, such as 'lesion' of 'c5' in '.*renamed.csv'"):
        pair_scores(first, tmp_path / "renamed.csv")
    (tmp_path / "bad.csv").write_text("case,dsc\n1,2\n")
    with pytest.raises(InputError, match="without a column 'segment'"):
        pair_scores(first, tmp_path / "bad.csv")
    (tmp_path / "text.csv").write_text(first.read_text().replace("0.5,", "high,", 1))
    with pytest.raises(InputError, match="'dsc' in line 2 of '.*text.csv', got 'high'"):
        pair_scores(first, tmp_path / "text.csv")


def test_lengths_in_other_units_and_nsd_at_other_tolerances_are_left_out(tmp_path, run):
    heading = "case,segment,dsc,nsd,hd95,unit,tolerance,note\n"
    rows = lambda unit, tolerance, more: "".join(
        f"k{n},a,.{n},.{n},{n + more},{unit},{tolerance},\n" for n in (1, 2, 3)
    )
    (tmp_path / "mm.csv").write_text(heading + rows("mm", 2, 0))
    (tmp_path / "pixels.csv").write_text(heading + rows("pixels", 2, 3))
    (tmp_path / "wide.csv").write_text(heading + rows("mm", 4, 3))
    code, out, error = run("compare", tmp_path / "mm.csv", tmp_path / "pixels.csv", "--json")
    found = json.loads(out)["differences"]["a"]
    assert code == 0 and found["dsc"]["n"] == 3 and found["nsd"]["n"] == 0 and "hd95" not in found
    assert found["nsd"]["p"] is None and "3 of 3 masks, whose lengths are in mm in one table" in error
    found = json.loads(run("compare", tmp_path / "mm.csv", tmp_path / "wide.csv", "--json")[1])
    assert found["differences"]["a"]["hd95"]["difference"] == 3 and found["differences"]["a"]["hd95"]["higher"] == 3
    assert found["differences"]["a"]["nsd"]["n"] == 0 and "other tolerances" in found["notes"][0]


def test_segments_of_a_case_are_no_cases_of_their_own(tmp_path, run):
    heading = "case,segment,dsc,nsd,hd95,unit,note\n"
    rows = lambda more: "".join(f"k{n},{name},{0.1 * n + more},.5,1,mm,\n" for n in (1, 2, 3) for name in "ab")
    (tmp_path / "one.csv").write_text(heading + rows(0))
    (tmp_path / "two.csv").write_text(heading + rows(0.1).replace("k1,b,0.2", "k1,b,0.3"))
    found = json.loads(run("compare", tmp_path / "one.csv", tmp_path / "two.csv", "--json")[1])["differences"]
    assert {name: row["dsc"]["n"] for name, row in found.items()} == {"a": 3, "b": 3, "all": 3}
    assert found["b"]["dsc"]["difference"] == pytest.approx(0.4 / 3)
    assert found["all"]["dsc"]["difference"] == pytest.approx((0.15 + 0.1 + 0.1) / 3)
