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
        "INDICATION\nLeft breast mass\n\nFINDINGS\nNo suspicious mass.",
        "UNDERLYING MEDICAL CONDITION:\n man with a lung mass\nREASON FOR THIS EXAMINATION:\n evaluate for mass",
        "Provided history: left breast mass",
        "Clinical details: lump, ?cyst",
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
        ("L spine: mass.", ["mass in the spine"]),
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
        ("A cyst measuring [ ] cm.", ["cyst"]),
        ("Mass in the left breast\\nNo cyst\\r\\nno nodule", ["mass in the left breast"]),
        ("OBX|1|TX|||Mass in the left breast\\.br\\No cyst", ["mass in the left breast"]),
        ("<p>A <b>mass</b> in the left&nbsp;breast</p><p>No cyst</p>", ["mass in the left breast"]),
        ("A nodule <5 mm and a cyst >3 mm.", ["nodule", "cyst"]),
        ("Mass: no\nCyst: yes", ["cyst"]),
        (
            "Cyst: no\nmass in the liver\nThe lungs: no\neffusion.\nImpression: no\nnodule. Size: small.",
            ["mass in the liver"],
        ),
        ("Findings: negative\nfor a mass. Cyst: no \nnodule: yes", ["nodule"]),
        ("mass: none\ncyst: present\nnodule: no", ["cyst"]),
        ("Mass: Y; cyst: N", ["mass"]),
        ("Mass [N], cyst [Y]", ["cyst"]),
        ("Mass (Y), cyst (N)", ["mass"]),
        ("mass = no, cyst = yes", ["cyst"]),
        ("Mass:No\nCyst:Yes\nNodule:0", ["cyst"]),
        ("Mass: false\nCyst: TRUE", ["cyst"]),
        ("Mass? N\nCyst? Y", ["cyst"]),
        ("Negative: mass, cyst. Positive: nodule.", ["nodule"]),
        ("Mass\tNo\nCyst\tYes", ["cyst"]),
        ("Mass no\nCyst yes\nCalcifications no", ["cyst"]),
        ("CT of the chest\nmass no\ncyst yes", ["cyst"]),
        ("No pneumothorax or pleural\neffusion present.\nNO EVIDENCE OF\nMASS SEEN", []),
        ("There is a large left pleural\neffusion seen.", ["large left pleural effusion"]),
        ("mass right breast no\ncyst left breast yes\n", ["cyst in the left breast"]),
        ("Mass - no\nCyst - yes, left kidney", ["cyst in the left kidney"]),
        ("He had no\nmass. There is an effusion, no\nmass is seen.", ["effusion"]),
        ("finding,present,side\nmass,yes,left\ncyst,no,right", ["mass on the left"]),
        ('"Mass";"No"\n"Cyst";"Yes"', ["cyst"]),
        ("Pleural Effusion|Yes|Left\nPneumothorax|No|", ["pleural effusion on the left"]),
        ('{"mass": true, "cyst": false}', ["mass"]),
        ('{"findings": "No mass.", "impression": "Left breast cyst."}', ["left breast cyst"]),
        ("Lesion 1\nLocation: right lobe of the liver\nSize: 2 cm", ["lesion in the right lobe of the liver"]),
        ("Finding: mass\nSize: 2 cm\nSide: left\nCyst: no\nLocation: n/a", ["mass on the left"]),
        ("<table><tr><td>Mass</td><td>No</td></tr><tr><td>Cyst</td> <td>Yes</td></tr></table>", ["cyst"]),
        ("Mass:\n  Present: yes\n  Side: left\nCyst:\n  Present: no", ["mass on the left"]),
        ("Mass \u2713, cyst \u2717\nNodule: \u2718", ["mass"]),
        ("Mass = 1, Cyst = 0", ["mass"]),
        ("mass,1\ncyst,0", ["mass"]),
        ("mass,1,left\ncyst,0,right", ["mass on the left"]),
        ("HISTORY:\nCyst\n\nIMPRESSION AND RECOMMENDATIONS:\n1. Left breast mass.", ["left breast mass"]),
        ("Present: mass, effusion\nAbsent: pneumothorax, cyst", ["mass", "effusion"]),
        ("1) No effusion 2) Nodule in the left lung (series 2, image 3) 3) No mass", ["nodule in the left lung"]),
        ("Effusion: ( ) none (x) small ( ) large", ["effusion"]),
        ("Mass: yes [ ] no [x]\nEffusion: [ ] none [x] left [ ] right", ["effusion on the left"]),
        ("Mass: \u2610 Yes \u2611 No; Cyst: \u2611 Yes \u2610 No", ["cyst"]),
        ("Mass: yes, left breast", ["mass in the left breast"]),
        ("Mass: present (right breast). Cyst: yes in the liver", ["mass in the right breast", "cyst in the liver"]),
        ("Cyst: yes, left kidney: normal", ["cyst"]),
        ("Small PTX on R. Effusion: L, small", ["small pneumothorax on the right", "effusion on the left"]),
        (r"Images in C:\reports\no\nodule.dcm. Left cyst\nNo mass", ["left cyst"]),
        ("Mass:\tnegative\nCyst:\tpresent", ["cyst"]),
        ("| Organ | Finding |\n| Liver | Mass |\n| Lung | no |", ["mass in the liver"]),
        ("| Mass | no |\n| Cyst | yes |", ["cyst"]),
        ("ER: N, mass in the left breast", ["mass in the left breast"]),
        ("Mass not seen on prior is now visible.", ["mass"]),
        ("Left/right effusions.", ["left effusion", "right effusion"]),
        ("R/L effusions.", ["right effusion", "left effusion"]),
        ("Nodule in RUL/RML.", ["nodule in right upper lobe and right middle lobe"]),
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


@pytest.mark.parametrize("to", [": ", " = ", " - ", " \u2014 ", "... ", " | ", "\t", "; ", ", ", " (", "? ", " "])
@pytest.mark.parametrize("no, yes", [("no", "yes"), ("neg", "pos"), ("not seen", "seen"), ("0", "1"), ("none", "2 cm")])
def test_lines_of_answers_are_read_whatever_stands_between(to, no, yes):
    end = ")" if to == " (" else ""
    mass, cyst = f"mass{to}{no}{end}", f"cyst{to}{yes}{end}"
    for joint in ("\n", "\n- ", ". ", " / "):
        assert [parse_report(joint.join(pair)).prompts for pair in ((mass, cyst), (cyst, mass))] == [["cyst"]] * 2
