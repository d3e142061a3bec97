"""Reports as they are typed: abbreviations, signs, and questions with their answers."""

from __future__ import annotations

import pytest

from MedCLIPSAMLib.segmentation.report import ABSENT, BEFORE, parse_report


@pytest.mark.parametrize(
    "text",
    [
        "Pt with h/o lung cancer.",
        "PMH: breast cancer, kidney stones.",
        "FHx: breast cancer (mother), brain tumor (uncle).",
        "Strong family hx of breast cancer.",
        "R/O mass.",
        "Mass, s/p resection.",
    ],
)
def test_a_history_or_a_question_in_short_is_no_prompt(text):
    report = parse_report(text)
    assert report.prompts == [] and BEFORE in {part.reason for part in report.left_out}


@pytest.mark.parametrize(
    "text",
    ["Neg for mass.", "neg. for mass", "Liver w/o mass.", "(-) mass, (-) cyst", "Cyst (-), mass (-).", "Mass? No."],
)
def test_a_denial_in_short_denies(text):
    report = parse_report(text)
    assert report.prompts == [] and {part.reason for part in report.left_out} == {ABSENT}


@pytest.mark.parametrize(
    "text, prompts",
    [
        ("L breast mass. R breast: no mass.", ["left breast mass"]),
        ("No effusion\nRUL nodule", ["right upper lobe nodule"]),
        ("Opacity RLL, no PTX.", ["opacity in the right lower lobe"]),
        ("Lt. breast mass. Rt. breast neg.", ["left breast mass"]),
        ("L spine: mass.", ["mass"]),
        ("About 1.5 L effusion.", ["effusion"]),
        ("Nodule w/calcification.", ["nodule", "calcification"]),
        ("CT w/wo contrast: nodule.", ["nodule"]),
        ("Cyst: +, mass: -", ["cyst"]),
        ("Mass -, cyst +.", ["cyst"]),
        ("+ cyst, - mass", ["cyst"]),
        ("+ cyst\n- mass", ["cyst"]),
        ("CT of the chest, +contrast.\n- cyst\n- nodule", ["cyst", "nodule"]),
        ("[x] Cyst [ ] Mass", ["cyst"]),
        ("Cyst [x] Mass [ ]", ["cyst"]),
        ("\u2610 Mass\n\u2611 Cyst", ["cyst"]),
        ("Infiltrate/consolidation.", ["infiltrate", "consolidation"]),
        ("Both kidneys contain cysts.", ["cyst in both kidneys"]),
        ("Cyst (+), mass (-).", ["cyst"]),
        ("Mass (-) cyst (+)", ["cyst"]),
        ("Pleural effusion: neg. Nodule: present.", ["nodule"]),
        ("Is there a mass? No. Is there an effusion? Yes.", ["effusion"]),
    ],
)
def test_what_is_there_in_short_is_a_prompt(text, prompts):
    report = parse_report(text)
    assert report.prompts == prompts and not any(finding.note for finding in report.findings)


@pytest.mark.parametrize("text", ["Findings c/w mass.", "Findings s/o mass.", "Susp. mass.", "DDx: mass."])
def test_a_doubt_in_short_is_a_doubt(text):
    report = parse_report(text)
    assert report.prompts == ["mass"] and "not certain" in report.findings[0].note
