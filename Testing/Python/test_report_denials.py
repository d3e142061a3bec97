"""Denials in a report that are about another time, another place or another finding than the one beside them."""

from __future__ import annotations

import pytest

from MedCLIPSAMLib.segmentation.report import ABSENT, parse_report


@pytest.mark.parametrize(
    "text, prompt",
    [
        ("Nodule in the right lung, not visible on the prior CT.", "nodule in the right lung"),
        ("A left pleural effusion not present on the prior study.", "left pleural effusion"),
        ("New mass in the left breast, which was not present in 2019.", "mass in the left breast"),
        ("Tumor in the brain not seen on the previous MRI.", "tumor in the brain"),
        ("Effusion not seen previously is now present on the left.", "effusion"),
        ("Nodule not identified a few months ago.", "nodule"),
        ("A fracture that had not been present on May 3, 2021.", "fracture"),
        ("Fracture not present on the prior radiograph of 12-Mar-2020.", "fracture"),
        ("A nodule that has not been seen before.", "nodule"),
        ("A not previously described nodule.", "nodule"),
        ("A previously unseen nodule.", "nodule"),
        ("Nodule in the right lung, none seen on the prior CT.", "nodule in the right lung"),
        ("New mass, none in 2019.", "mass"),
        ("A mass which in 2019 was not visible.", "mass"),
        ("There is a mass which was not seen in this area on the patient's last CT.", "mass"),
        ("A new lesion has developed where there was none before.", "lesion"),
        ("No effusion on the prior CT, now a large effusion.", "large effusion"),
        ("The effusion, which had resolved, is now seen again.", "effusion"),
        ("The meningioma, resected in 2019, has recurred.", "meningioma"),
        ("New effusion, absent on the CT of 3/4/2020.", "effusion"),
        ("New nodule, absent on this patient's prior CT.", "nodule"),
        ("A nodule which was not seen at the last follow-up.", "nodule"),
        ("A nodule that was absent on admission.", "nodule"),
        ("A mass that at presentation was not visible.", "mass"),
        ("Nodule not seen earlier on CT.", "nodule"),
        ("A nodule is now seen in the right lung, not visible on 3/4/2020.", "nodule in the right lung"),
        ("Mass in the left breast, not seen in 2019, now 15 mm.", "mass in the left breast"),
        ("Nodule not seen on earlier images.", "nodule"),
        ("Nodule not seen on the prior CT or MRI.", "nodule"),
        ("Nodule which was not seen in 2018 or 2019.", "nodule"),
        ("The lung nodule is new since 2019 when it was not visible.", "lung nodule"),
        ("In comparison with the prior CT, there is a nodule.", "nodule"),
        ("A mass, not seen on the 7/2025 study, measures 5 mm.", "mass"),
        ("Previously normal right lung now shows a nodule.", "nodule in the right lung"),
    ],
)
def test_what_was_not_there_before_is_there_now(text, prompt):
    report = parse_report(text)
    assert report.prompts == [prompt]
    assert not report.findings[0].note


@pytest.mark.parametrize(
    "text",
    [
        "Nodule is not seen on the prior or current CT.",
        "Nodule not seen on this or the prior CT.",
        "The nodule is not visible, unlike on the prior CT.",
        "The mass is not seen where it was before.",
        "Mass not visible on earlier images or this one.",
        "Mass not seen on the prior CT and the follow-up CT.",
        "Fracture not present on May 3, 2026.",
        "Mass, none in 2026.",
        "A mass which was not present at admission or discharge.",
        "A new nodule in the left lung, not seen on this image.",
        "A new nodule in the left lung, which is not seen on the current image.",
        "A new nodule, not on this image.",
        "A new nodule in the left lung, not on the current CT.",
        "A new nodule in the left lung, absent today.",
        "Effusion not seen before and still not seen.",
        "No new nodule not seen on the prior CT, or mass.",
        "There is not now a mass.",
    ],
)
def test_what_is_not_there_now_is_denied_whatever_was_before(text):
    report = parse_report(text)
    assert report.prompts == [] and ABSENT in {part.reason for part in report.left_out}


@pytest.mark.parametrize(
    "text",
    [
        "Fractures are seen in none of the ribs.",
        "Fractures are seen in 0 of 24 ribs.",
        "Mass is seen nowhere.",
        "A mass is seen neither in the left nor in the right breast.",
        "A mass is neither seen nor suspected.",
        "A nodule is found in no lobe.",
        "A mass is visible on none of the images.",
        "A mass is present in not a single slice.",
        "A mass isn't in either breast.",
        "A mass is never seen.",
        "A mass has not been seen.",
        "A mass is not observed.",
        "A nodule was not discernible.",
        "A mass is not to be seen.",
        "Mass failed to be identified.",
        "A mass does not exist.",
        "A mass was sought in vain.",
        "A mass remains undetected.",
        "A mass is not likely.",
        "Not seen: mass.",
        "Negative MRI of the brain for a tumor.",
        "None of the masses is seen.",
        "None of the masses remains.",
        "None of the sequences shows a mass.",
        "No sign of recurrence of the mass.",
        "No evidence of the mass.",
        "No evidence of change, mass, or cyst is seen.",
        "None of the previously described masses is visible today.",
        "A mass is not convincingly seen.",
        "A mass is no more visible.",
        "Mass, nodule and cyst are negative.",
        "Mass and cyst: negative.",
        "Mass (negative).",
        "Mass denied by the patient.",
        "No masses, cysts are seen.",
        "No calcified, large mass.",
        "No effusion, small nodule or mass.",
        "Negative CT for a mass, cyst is not seen.",
        "A fracture is unlikely to be present.",
        "I do not see any of the nodules.",
        "No re-accumulation of the effusion. No reappearance of the mass.",
    ],
)
def test_a_denial_behind_a_finding_denies_it(text):
    report = parse_report(text)
    assert report.prompts == [] and {part.reason for part in report.left_out} == {ABSENT}


@pytest.mark.parametrize(
    "text, prompts",
    [
        ("A mass is seen nowhere but in the liver.", ["mass"]),
        ("A mass in the left breast and cysts in neither kidney.", ["mass in the left breast"]),
        ("Patient in no acute distress with a mass in the liver.", ["mass in the liver"]),
        ("CT with and without IV contrast: mass in the liver.", ["mass in the liver"]),
        ("No more than a small effusion.", ["small effusion"]),
        ("Tumor board: cyst in the liver.", ["cyst in the liver"]),
        ("Mass in the left breast and axillary nodes are negative.", ["mass in the left breast"]),
        ("Mass in the left breast, pain denied.", ["mass in the left breast"]),
        ("Mass in the liver (AFP negative).", ["mass in the liver"]),
        ("Mass in the left breast - biopsy negative.", ["mass in the left breast"]),
        ("The mass was not initially seen.", ["mass"]),
        ("Should symptoms persist, repeat imaging for the nodule in the left lung.", ["nodule in the left lung"]),
    ],
)
def test_what_else_is_denied_leaves_the_finding(text, prompts):
    assert parse_report(text).prompts == prompts


@pytest.mark.parametrize(
    "text, prompts",
    [
        ("No mass in the left breast and, in the right breast, a cyst.", ["cyst in the right breast"]),
        ("Absence of a mass in the left breast and presence of a cyst in the right.", ["cyst on the right"]),
        ("The opacity is unlikely to represent a mass.", ["opacity"]),
        ("No longer evident is the mass. The liver lacks a nodule. A cyst.", ["cyst"]),
        ("Interval resolution of the effusion with new nodule.", ["nodule"]),
        ("Interval resolution of the left effusion with persistent opacity.", ["persistent opacity"]),
        ("Right pleural effusion, no pneumothorax seen.", ["right pleural effusion"]),
        ("Meningioma; no edema seen.", ["meningioma"]),
        ("Edema no mass visible", ["edema"]),
        ("Mass - no cyst, 2 cm", ["mass"]),
        ("No mass on the left and a cyst on the right.", ["cyst on the right"]),
    ],
)
def test_a_finding_elsewhere_is_not_denied_with_the_one_before(text, prompts):
    report = parse_report(text)
    assert report.prompts == prompts and ABSENT in {part.reason for part in report.left_out}


@pytest.mark.parametrize(
    "text, prompt",
    [
        ("No effusion, small nodule LLL", "small nodule in the left lower lobe"),
        ("No pneumothorax, 5 mm nodule RUL.", "nodule in the right upper lobe"),
        ("No acute abnormality, stable nodule in the left lung.", "stable nodule in the left lung"),
        ("Negative CT for mass, cysts are present.", "cyst"),
        ("CT negative for a mass, positive for a cyst.", "cyst"),
        ("Cyst positive, mass negative.", "cyst"),
        ("Cyst present, mass absent.", "cyst"),
        ("Cyst stable, mass resolved.", "cyst"),
        ("No mass, cyst unchanged.", "cyst"),
    ],
)
def test_what_has_a_size_or_a_verb_of_its_own_is_not_denied_with_the_list_before(text, prompt):
    report = parse_report(text)
    assert report.prompts == [prompt] and ABSENT in {part.reason for part in report.left_out}


@pytest.mark.parametrize(
    "text",
    [
        "The prior mass and the cyst have grown.",
        "Prior mass in the left breast and cyst in the liver are unchanged.",
        "Resected mass and cyst recurred.",
        "Prior mass and cyst have not grown.",
    ],
)
def test_past_findings_share_what_is_said_of_them_now(text):
    assert [finding.prompt.split()[0] for finding in parse_report(text).findings] == ["mass", "cyst"]


@pytest.mark.parametrize(
    "text",
    [
        "No mass and a cyst.",
        "No evidence of a mass in the left breast and a cyst in the right breast.",
        "A mass in the left breast and a cyst in the right breast are not seen.",
        "No calcification in the left breast, a sign of malignancy in the right breast.",
    ],
)
def test_findings_that_one_denial_is_of_are_denied_together(text):
    assert parse_report(text).prompts == []


@pytest.mark.parametrize(
    "text, denial",
    [
        ("Mass was seen in 2019, but is not seen now.", "is not seen now"),
        ("There had been a mass; it is gone.", "it is gone"),
    ],
)
def test_a_denial_of_the_finding_before_is_told_beside_it(text, denial):
    report = parse_report(text)
    assert report.findings[0].note == f"'mass' is looked for, but the report also says: '{denial}'."


def test_what_is_said_of_a_finding_is_no_denial_of_it():
    assert parse_report("There is a mass. It is not calcified. No effusion is seen.").findings[0].note == ""


@pytest.mark.parametrize(
    "text",
    [
        "None of the masses is calcified.",
        "No flow within the mass.",
        "No evidence of invasion by the mass.",
        "Not significantly changed mass.",
        "Without question there is a mass.",
        "There is no evidence of progression of the mass.",
        "Without signs of interval growth of the mass.",
        "There is no evidence of worsening of the mass.",
        "Without cyst, previously noted mass is smaller.",
        "No significant interval change, with a mass that is solid or cystic.",
        "None of the masses has resolved.",
        "One of the masses has resolved.",
        "Not all masses have resolved.",
        "Some masses are not seen.",
    ],
)
def test_a_change_or_a_property_that_is_denied_leaves_the_finding(text):
    report = parse_report(text)
    assert report.prompts == ["mass"] and not report.findings[0].note
