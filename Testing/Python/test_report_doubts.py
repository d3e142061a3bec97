"""Doubts, conditions, questions and histories in a report, and the findings that are there beside them."""

from __future__ import annotations

import pytest

from MedCLIPSAMLib.segmentation.report import BEFORE, parse_report


@pytest.mark.parametrize(
    "text",
    [
        "The mass was not seen at last follow-up.",
        "The mass was not seen preoperatively.",
        "The mass is not well seen.",
        "The mass is not completely visualized.",
        "The mass is not easily seen.",
        "A mass may be obscured.",
        "A mass is not entirely excluded.",
        "The mass crosses none of the ribs.",
        "Consider mass.",
        "Cannot distinguish a mass from artifact.",
        "Unclear whether there is a mass.",
        "It is not certain that there is a mass.",
        "Question of mass.",
        "Suggestion of a mass.",
        "Doubtful mass.",
        "Doubt mass.",
        "Raises the possibility of a mass.",
        "Potential mass.",
        "A mass is in the differential.",
        "A mass is poorly seen.",
        "A mass is not clearly seen.",
        "Cannot tell whether there is a mass.",
        "Low probability for a mass.",
        "No displaced fracture, mass cannot be excluded.",
    ],
)
def test_what_may_be_there_is_looked_for_in_doubt(text):
    report = parse_report(text)
    assert report.prompts == ["mass"] and "not certain" in report.findings[0].note


@pytest.mark.parametrize(
    "text, prompts",
    [
        ("Either atelectasis or a pneumonia is seen.", ["atelectasis", "pneumonia"]),
        ("There is atelectasis and/or pneumonia.", ["atelectasis", "pneumonia"]),
        ("A cyst, nodule or abscess in the liver.", ["cyst", "nodule", "abscess in the liver"]),
        ("Atelectasis or scarring.", ["atelectasis"]),
        ("Fibrosis or an effusion.", ["effusion"]),
        ("Atelectasis or scarring in the left lung base.", ["atelectasis in the left lung base"]),
        ("Atelectasis/pneumonia.", ["atelectasis", "pneumonia"]),
        ("Consolidation / atelectasis / effusion.", ["consolidation", "atelectasis", "effusion"]),
        ("Scarring/atelectasis.", ["atelectasis"]),
        ("A mass or, alternatively, an abscess.", ["mass", "abscess"]),
    ],
)
def test_of_what_one_or_the_other_is_there_each_is_looked_for_in_doubt(text, prompts):
    report = parse_report(text)
    assert report.prompts == prompts and all("not certain" in finding.note for finding in report.findings)


def test_what_may_or_may_not_be_there_beside_a_finding_is_in_doubt():
    for text in ("Effusion +/- pneumonia.", "Effusion (\u00b1pneumonia)."):
        effusion, pneumonia = parse_report(text).findings
        assert (effusion.prompt, effusion.note) == ("effusion", "")
        assert pneumonia.prompt == "pneumonia" and "not certain" in pneumonia.note
    assert not parse_report("A mass of 3 \u00b1 1 cm.").findings[0].note


@pytest.mark.parametrize(
    "text",
    [
        "A mass in the left breast or axilla.",
        "A mass with or without a cyst.",
        "A mass w/cyst.",
        "A 2/3 cm mass.",
        "Infiltrate/consolidation in the right lower lobe.",
        "Ill-defined masses/lesions in the liver.",
        "Metastasis/metastases in the liver.",
        "A mass in the left breast, cyst or nodule in the right breast.",
    ],
)
def test_an_or_that_is_of_something_else_leaves_a_finding_certain(text):
    assert parse_report(text).findings[0].note == ""


@pytest.mark.parametrize(
    "text",
    ["A mass or, less likely, a cyst.", "Either a mass or, more likely, a cyst is seen.", "Mass, less likely a cyst."],
)
def test_what_is_less_likely_is_what_a_finding_may_be(text):
    report = parse_report(text)
    assert report.prompts == ["mass"] and "not certain what it is: 'cyst'" in report.findings[0].note


def test_advice_on_a_finding_is_no_doubt_about_it():
    report = parse_report("Consider MRI-guided biopsy of the mass in the left breast.")
    assert report.prompts == ["mass in the left breast"] and not report.findings[0].note


@pytest.mark.parametrize(
    "text",
    [
        "Evaluate whether the mass has grown.",
        "Unless the mass has grown, follow-up is enough.",
        "Her mother had cancer that has recurred.",
        "Previously diagnosed lymphoma.",
        "None of the treated masses has recurred.",
        "Concern that the resected mass has recurred.",
        "If there is a mass, or the mass grows, biopsy is recommended.",
        "Should a mass be found at follow-up, consider PET.",
        "In case of a mass, MRI is advised.",
        "The study was done to look for a mass.",
        "Clinical concern for a mass.",
        "Her sister was diagnosed with a brain tumor.",
        "Sister: brain tumor.",
        "Breast cancer in her mother.",
        "Chief complaint: mass.",
        "Clinical concern: mass",
        "Correlate with mammography for malignancy.",
        "Dense breasts, which may obscure small masses.",
        "Previous CT showed a mass.",
        "Mass seen only on the prior CT.",
    ],
)
def test_conditions_questions_and_relatives_are_no_findings(text):
    report = parse_report(text)
    assert report.prompts == [] and BEFORE in {part.reason for part in report.left_out}


@pytest.mark.parametrize(
    "text, prompt",
    [
        ("Status post mastectomy with a nodule in the left axilla.", "nodule in the left axilla"),
        ("Day 3 after resection of a glioma: small hematoma.", "small hematoma"),
        ("Treated for pneumonia, now with a new effusion.", "effusion"),
        ("Screening for nodules of the lung showed a nodule in the left lung.", "nodule in the left lung"),
        ("Previously 5 mm nodule now measures 8 mm.", "nodule"),
        ("Previously treated metastasis has enlarged.", "metastasis"),
        ("The prior lesion is now larger.", "lesion"),
        ("Resected tumor has recurred.", "tumor"),
        ("Treated lymphoma, and the nodules have grown.", "nodule"),
        ("Previous nodule in the left lung measures 5 mm.", "nodule in the left lung"),
        ("Treated metastasis has shrunk.", "metastasis"),
        ("No change in the prior mass.", "mass"),
        ("Meningioma, previously resected, now recurrent.", "meningioma"),
        ("History of lung cancer, 8 mm nodule in the left lung.", "nodule in the left lung"),
    ],
)
def test_what_is_there_beside_a_history_is_a_prompt(text, prompt):
    report = parse_report(text)
    assert report.prompts == [prompt] and not report.findings[0].note


@pytest.mark.parametrize(
    "text",
    [
        "Findings suggest a mass that has grown.",
        "Negative margins and concern for a mass.",
        "Negative biopsy suspicious for a mass.",
    ],
)
def test_a_doubt_stays_a_doubt(text):
    report = parse_report(text)
    assert report.prompts == ["mass"] and report.findings[0].note
