"""The paragraph of a report as prompts: what is there, what is not, and what is said of it."""

from __future__ import annotations

import sys
import time

import pytest

from MedCLIPSAMLib.errors import PromptError
from MedCLIPSAMLib.segmentation.report import ABSENT, BEFORE, MAX_CHARACTERS, NORMAL, UNKNOWN, parse_report


def test_a_paragraph_becomes_its_findings_and_what_is_left_out_is_said():
    report = parse_report(
        "There is a 2 cm irregular mass in the left breast. No calcifications. Lungs are clear. Possible rib fracture."
    )
    assert report.prompts == ["irregular mass in the left breast", "rib fracture"]
    assert [(part.text, part.reason) for part in report.left_out] == [
        ("No calcifications", ABSENT),
        ("Lungs are clear", NORMAL),
    ]
    assert report.findings[0].note == ""
    assert "'rib fracture' is looked for, but the report is not certain of it." in report.notes
    assert "'No calcifications' in the report was left out: it says what is not there." in report.notes


PRESENT = [
    ("A brain tumour is seen.", ["brain tumor"]),
    ("Multiple masses in the right breast.", ["mass in the right breast"]),
    ("Round hypoechoic lesions within the breast, 12 x 8 mm.", ["round hypoechoic lesion within the breast"]),
    ("FINDINGS: ring enhancing lesion in the right hemisphere.", ["ring enhancing lesion in the right hemisphere"]),
    ("There is a mass in the\nleft breast.", ["mass in the left breast"]),
    ("Mass lesion of the brain.", ["mass lesion of the brain"]),
    ("Enlarged heart.", ["enlarged heart"]),
    ("Both lungs are seen.", ["lungs"]),
    ("Two masses at 3 o'clock in the left breast.", ["mass in the left breast"]),
    ("Dr. Miller sees a cyst found in the liver.", ["cyst in the liver"]),
    # negations that are none
    ("Without change: known meningioma of the falx.", ["meningioma"]),
    ("There is no doubt that a brain tumor is present.", ["brain tumor"]),
    ("The previously seen nodule is unchanged.", ["nodule"]),
    ("Compared to prior study, the mass has grown.", ["mass"]),
    ("Partially resected meningioma.", ["meningioma"]),
    ("Residual meningioma status post resection.", ["residual meningioma"]),
    ("The pneumonia has not completely resolved.", ["pneumonia"]),
    ("The pneumonia has partially resolved.", ["pneumonia"]),
    ("Incomplete resolution of the pneumonia.", ["pneumonia"]),
    ("Near complete resolution of the pneumonia.", ["pneumonia"]),
    ("No resolution of the pneumonia.", ["pneumonia"]),
    ("Unresolved pneumonia.", ["unresolved pneumonia"]),
    ("Nothing has changed in the mass.", ["mass"]),
    ("BI-RADS 0 mass.", ["mass"]),
    # what is denied beside them
    ("There are zero nodules and one cyst.", ["cyst"]),
    ("0 masses, 2 cysts.", ["cyst"]),
    ("Pneumonia has resolved, a nodule remains.", ["nodule"]),
    # places
    ("Mass in the upper outer quadrant of the right breast.", ["mass in the upper outer quadrant of the right breast"]),
    ("In the upper outer quadrant of the right breast there is a mass.",
     ["mass in the upper outer quadrant of the right breast"]),
    ("Right and left lower lobe opacities.", ["right lower lobe opacity", "left lower lobe opacity"]),
    ("Left breast 3 o'clock mass.", ["mass in the left breast"]),
    ("Right breast: At 10 o'clock, 4 cm from the nipple, there is a mass.", ["mass in the right breast"]),
    ("Mass, left breast cyst.", ["mass", "left breast cyst"]),
    # and what turns them
    ("No abnormality except for a lung nodule.", ["lung nodule"]),
    ("A mass is seen and calcifications are absent.", ["mass"]),
    ("The lungs are clear with the exception of a nodule in the left lung.", ["nodule in the left lung"]),
]  # fmt: skip


@pytest.mark.parametrize("text, prompts", PRESENT)
def test_what_is_there_is_a_prompt(text, prompts):
    report = parse_report(text)
    assert report.prompts == prompts
    assert not [finding for finding in report.findings if finding.note]


@pytest.mark.parametrize(
    "text, reason",
    [
        ("No mass.", ABSENT),
        ("There is no mass, nodule, or calcification.", ABSENT),
        ("Neither mass nor cyst.", ABSENT),
        ("There is no\n2 cm mass.", ABSENT),
        ("No evidence of\nMass.", ABSENT),
        ("No mass,\n\ncyst or nodule.", ABSENT),
        ("A mass can't be identified.", ABSENT),
        ("Brain tumor is absent.", ABSENT),
        ("The brain is free of metastases.", ABSENT),
        ("Probably no mass.", ABSENT),
        ("The breast mass is gone.", ABSENT),
        ("A mass could not be identified.", ABSENT),
        ("Fracture has been excluded.", ABSENT),
        ("A mass is no longer seen.", ABSENT),
        ("CT has ruled out a fracture.", ABSENT),
        ("The lungs have been cleared of nodules.", ABSENT),
        ("Complete resolution of pneumonia in the right lung.", ABSENT),
        ("Resolution of the pneumonia.", ABSENT),
        ("Pneumonia with complete resolution.", ABSENT),
        ("Completely resolved right lower lobe pneumonia.", ABSENT),
        ("The pneumonia has since resolved.", ABSENT),
        ("Pneumonia resolved since the last study.", ABSENT),
        ("The pneumonia has cleared.", ABSENT),
        ("The nodule disappeared.", ABSENT),
        ("Interval disappearance of the nodule.", ABSENT),
        ("Interval clearing of the pneumonia.", ABSENT),
        ("Exam fails to demonstrate a nodule.", ABSENT),
        ("The exam failed to show a nodule.", ABSENT),
        ("Unable to identify a nodule.", ABSENT),
        ("Mass (none).", ABSENT),
        ("Mass - no", ABSENT),
        ("Tumor-free brain.", ABSENT),
        ("The brain is tumor free.", ABSENT),
        ("Tumor free brain.", ABSENT),
        ("The liver is devoid of metastases.", ABSENT),
        ("Denies mass.", ABSENT),
        ("The patient denied a breast mass.", ABSENT),
        ("There is nothing to suggest a mass.", ABSENT),
        ("Absent nodule.", ABSENT),
        ("The mass no longer exists.", ABSENT),
        ("The heart is normal.", NORMAL),
        ("Liver and spleen are unremarkable.", NORMAL),
        ("INDICATION: breast mass.", BEFORE),
        ("Evaluate for fracture.", BEFORE),
        ("Status post resection of a meningioma.", BEFORE),
        ("Lesion: none.", ABSENT),
        ("Pleural effusion - none seen.", ABSENT),
        ("HISTORY:\nBreast cancer.", BEFORE),
        ("MRI of the brain was performed.", UNKNOWN),
    ],
)
def test_what_is_not_there_is_no_prompt_and_is_said(text, reason):
    report = parse_report(text)
    assert report.prompts == []
    assert {part.reason for part in report.left_out} == {reason}


@pytest.mark.parametrize(
    "text, prompt",
    [
        ("Cannot exclude mass.", "mass"),
        ("A lung nodule can not be ruled out.", "lung nodule"),
        ("Possible mass in the left breast.", "mass in the left breast"),
        ("There may be a brain tumor.", "brain tumor"),
        ("Probable cyst, no mass.", "cyst"),
        ("Tumor is less likely.", "tumor"),
        ("Meningioma is favored.", "meningioma"),
        ("Pneumonia?", "pneumonia"),
    ],
)
def test_what_is_uncertain_is_looked_for_with_a_note(text, prompt):
    report = parse_report(text)
    assert report.prompts == [prompt]
    assert report.findings[0].note == f"'{prompt}' is looked for, but the report is not certain of it."


@pytest.mark.parametrize("words", ["rather than", "instead of", "as opposed to", "not"])
def test_what_a_mass_is_not_is_left_out(words):
    report = parse_report(f"A mass {words} a cyst in the left breast.")
    assert report.prompts == ["mass"]
    assert [(part.text, part.reason) for part in report.left_out] == [("cyst in the left breast", ABSENT)]


def test_a_mass_with_and_without_says_both():
    report = parse_report("A brain tumor with edema, without hemorrhage.")
    assert report.prompts == ["brain tumor", "edema"]
    assert [(part.text, part.reason) for part in report.left_out] == [("hemorrhage", ABSENT)]


def test_what_a_terminal_obeys_is_no_part_of_a_prompt():
    report = parse_report("A \x1b[31mbrain\x00 tumor\u202e is seen.\r\n\x07No mass.")
    assert [prompt.isprintable() for prompt in report.prompts] == [True]
    assert report.prompts[0].endswith("brain tumor") and report.left_out[0].text == "No mass"


@pytest.mark.parametrize("text", ["", " \n\t ", "\x00\x07", "{\\rtf1 A mass.}", "a" * (MAX_CHARACTERS + 1)])
def test_no_text_and_too_much_are_refused(text):
    with pytest.raises(PromptError):
        parse_report(text)


@pytest.mark.parametrize("text", ["...!!!", "---", "12. 13.", "?", ":", ",,,, and , and"])
def test_signs_without_words_give_nothing(text):
    assert parse_report(text).prompts == []


def steps_of(text: str) -> int:
    """Count the steps of Python that a text takes to be read."""
    steps, before = 0, sys.gettrace()

    def count(frame, event, _):
        nonlocal steps
        steps += 1
        frame.f_trace_opcodes = True
        return count

    sys.settrace(count)
    try:
        parse_report(text)
    finally:
        sys.settrace(before)
    return steps


@pytest.mark.parametrize(
    "words", ["none cyst of ", "mass, ", "mass or big cyst, ", "no mass and a cyst ", "mass and unknown and "]
)
def test_four_times_the_words_take_four_times_the_steps(words):
    once, more = (steps_of(f"a mass, {words * number}") for number in (50, 200))
    assert more < 5 * once


@pytest.mark.parametrize("words", ["no ", "x", "prior ", "mass in ", "not seen masses ", "treated mass grew ", "[ "])
def test_the_longest_report_is_read_at_once(words):
    """Patterns do not go back over what is long."""
    started = time.process_time()
    parse_report("[x] mass " + words * ((MAX_CHARACTERS - 9) // len(words)))
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "text",
    [
        "Kein Tumor. Unauffälliger Befund beidseits.",
        "Absence de masse. Pas de tumeur ni de nodule.",
        "Sin evidencia de tumor.",
    ],
)
def test_a_report_in_another_language_is_refused_as_its_denials_would_not_be_read(text):
    with pytest.raises(PromptError, match="in English"):
        parse_report(text)


@pytest.mark.parametrize(
    "text",
    [
        "5 mm nodule left upper lobe (se 4, im 123).",
        "AV malformation, frontal lobe mass, 3 cm.",
        "8 mm solid nodule RUL (im 45).",
    ],
)
def test_short_reports_in_english_are_read(text):
    assert parse_report(text).findings


@pytest.mark.parametrize(
    "text",
    [
        "Patient had a tumor removed in 2015.",
        "Lumpectomy of a tumor. Mass removed two years ago.",
        "No longer visible: the mass at 6 o'clock.",
        "Father had a brain tumor.",
        "Lesions: 0.",
        "Mass ruled out in left breast",
    ],
)
def test_what_was_removed_or_is_denied_in_a_few_words_is_no_prompt(text):
    assert not parse_report(text).findings


@pytest.mark.parametrize("text", ["Mass: 0.5 cm.", "A nodule along the resected tumor bed."])
def test_what_is_there_beside_such_words_is_a_prompt(text):
    assert parse_report(text).findings


@pytest.mark.parametrize("denial", ["Kein Tumor", "Sin tumor", "Geen nodule", "Brak tumor", "Pas de nodule"])
def test_a_denial_in_another_language_within_an_english_report_denies(denial):
    report = parse_report(f"There is a cyst in the liver. {denial}.")
    assert report.prompts == ["cyst in the liver"] and denial in [part.text for part in report.left_out]


@pytest.mark.parametrize(
    "text",
    [
        "A stone is lying free in the bladder.",
        "Mild resolution of the hematoma.",
        "Slow resolution of the mass.",
        "Resolution of the mass is incomplete.",
        "Series 0 nodule in the lung.",
        "Zero doubt: there is a mass in the breast.",
    ],
)
def test_what_only_looks_like_a_denial_leaves_the_finding(text):
    assert parse_report(text).findings
