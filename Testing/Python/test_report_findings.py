"""Which words of a report are one finding: misspelled, said again, read as something, or named beside it."""

from __future__ import annotations

import pytest

from MedCLIPSAMLib.segmentation.report import ABSENT, BEFORE, UNKNOWN, parse_report
from MedCLIPSAMLib.segmentation.spelling import is_one_slip, suggest


@pytest.mark.parametrize(
    "written, read",
    [
        ("noduel", "nodule"),
        ("calcifcations", "calcification"),
        ("elsion", "lesion"),
    ],
)
def test_a_slip_in_a_known_word_is_mended_and_said(written, read):
    report = parse_report(f"There is a small {written}.")
    assert report.prompts == [f"small {read}"]
    assert report.notes == [f"'{written}' in the report was read as '{read}'."]


@pytest.mark.parametrize(
    "written, read",
    [("Ireegular", "irregular"), ("hypoecohic", "hypoechoic"), ("malignnat", "malignant"), ("spiculted", "spiculated")],
)
def test_a_slip_in_a_word_beside_a_finding_is_mended_too(written, read):
    report = parse_report(f"{written} mass.")
    assert report.prompts == [f"{read} mass"]
    assert report.notes == [f"'{written.lower()}' in the report was read as '{read}'."]


@pytest.mark.parametrize(
    "word", ["medical", "median", "annular", "larger", "smaller", "rounded", "pelvic", "vertebral"]
)
def test_a_correct_word_beside_a_finding_stays(word):
    assert parse_report(f"A {word} mass.").prompts == [f"{word} mass"]


@pytest.mark.parametrize("word", ["mask", "mess", "lesson", "cost", "nodes", "river", "fat"])
def test_other_words_are_not_taken_for_slips(word):
    assert parse_report(f"There is a {word} here.").prompts == []


@pytest.mark.parametrize(
    "text", ["Liver withuot mass.", "Ngative for a mass.", "Absennce of a mass.", "A mass is unlikly."]
)
def test_a_slip_in_a_denial_denies_all_the_same(text):
    assert not parse_report(text).findings


@pytest.mark.parametrize(
    "text, prompts",
    [
        ("There is a mass on the left and a mass on the right.", ["mass on the left", "mass on the right"]),
        ("Pleural effusion: left, small.", ["pleural effusion on the left"]),
        ("Effusion on the left larger than on the right. Opacities R/L.", ["effusion", "opacity"]),
        ("Left lung: nodule. Hiatal hernia.", ["nodule in the left lung", "hiatal hernia"]),
        ("A mass at the 2 o'clock position of the left breast.", ["mass in the left breast"]),
        ("LEFT BREAST:\nThere is a mass.\nAt 3:00: cyst.", ["mass in the left breast", "cyst in the left breast"]),
        ("RIGHT: negative. LEFT: 1.5 cm mass at 3:00.", ["mass on the left"]),
        ("Nodule 1: right lobe, 8 mm. Nodule 2: left lobe.", ["nodule in the right lobe", "nodule in the left lobe"]),
        ("Nodule #1: Right, mid, 1.4 cm. Nodule #2: Left, lower.", ["nodule on the right", "nodule on the left"]),
        ("There are cysts in both the left and the right kidney.", ["cyst in both the left and the right kidney"]),
        ("The left hepatic lobe contains a mass.", ["mass in the left hepatic lobe"]),
        ("Lung nodule in the left lower lobe.", ["lung nodule in the left lower lobe"]),
        ("Left breast mass in the upper outer quadrant.", ["left breast mass in the upper outer quadrant"]),
        ("Left breast mass and cyst in the liver.", ["left breast mass", "cyst in the liver"]),
        ("Mass along the right sphenoid wing. Effusions bilaterally.", ["mass on the right", "effusion on both sides"]),
        (
            "Pneumothorax, right apical. Pneumonia in the right clinical setting.",
            ["pneumothorax on the right", "pneumonia"],
        ),
        ("Left breast has a mass at 3:00 and a cyst at 9:00.", ["mass in the left breast", "cyst in the left breast"]),
        ("Mass at 3:00 left breast. Cyst at 3 o'clock in the liver.", ["mass in the left breast", "cyst in the liver"]),
        ("Lesion 1: 2 cm mass in the liver.", ["mass in the liver"]),
        ("Mass: left breast, nodule in the liver.", ["mass in the left breast", "nodule in the liver"]),
        ("Mass, lower pole of the left kidney.", ["mass in the lower pole of the left kidney"]),
        ("A mass in the posterior fossa. A left adrenal cyst.", ["mass in the posterior fossa", "left adrenal cyst"]),
        ("Mass arising from the upper pole of the left kidney.", ["mass in the upper pole of the left kidney"]),
        ("Tumor: 3 x 2 cm, left temporal lobe.", ["tumor in the left temporal lobe"]),
        ("Left breast: mass in the upper outer quadrant.", ["mass in the upper outer quadrant of the left breast"]),
        (
            "LEFT BREAST:\nThere is a mass.\nThere is a cyst.\n\nRIGHT BREAST:\nNo mass.",
            ["mass in the left breast", "cyst in the left breast"],
        ),
        ("LEFT BREAST:\n\nMass: 2 cm at 3:00\nCyst: none\nOther: nodule", ["mass in the left breast", "nodule"]),
        ("Left kidney: 2 cm cyst. Stone.", ["cyst in the left kidney", "stone in the left kidney"]),
        ("Liver: 2 cm cyst. Small effusion.", ["cyst in the liver", "small effusion"]),
        ("Liver: normal.\nThere is a nodule.", ["nodule"]),
        ("Left breast: normal. A cyst is in the right breast.", ["cyst in the right breast"]),
        ("Masses in the liver and spleen.", ["mass in the liver and spleen"]),
        ("Mass to the left of the trachea. Tumor bed is clear.", ["mass"]),
    ],
)
def test_a_finding_has_its_side_and_place(text, prompts):
    assert parse_report(text).prompts == prompts


def test_one_finding_is_one_prompt_however_often_it_is_spoken_of():
    report = parse_report("A mass in the left breast. The mass is irregular. A mass in the left breast is seen again.")
    assert report.prompts == ["mass in the left breast"]
    assert [part.reason for part in report.left_out] == ["it mentions 'mass in the left breast' again"] * 2


@pytest.mark.parametrize(
    "text, prompt, reading",
    [
        ("2 cm spiculated mass at 3 o'clock, suspicious for malignancy.", "spiculated mass", "malignancy"),
        ("Extra-axial mass compatible with meningioma.", "extra-axial mass", "meningioma"),
        ("Oval mass with posterior enhancement consistent with a cyst.", "oval mass", "cyst"),
        ("A mass with shadowing and skin thickening, suspicious for malignancy.", "mass", "malignancy"),
        ("The mass is favored to represent a meningioma.", "mass", "meningioma"),
        ("A mass corresponds to a cyst on ultrasound.", "mass", "cyst"),
        ("Left breast mass. BI-RADS 5 - highly suggestive of malignancy.", "left breast mass", "malignancy"),
        ("Lung opacity. This likely represents pneumonia.", "lung opacity", "pneumonia"),
    ],
)
def test_what_a_mass_may_be_is_doubt_about_it_and_no_finding_of_its_own(text, prompt, reading):
    report = parse_report(text)
    assert report.prompts == [prompt]
    assert report.findings[0].note == (
        f"'{prompt}' is looked for, but the report is not certain what it is: '{reading}'."
    )
    assert (reading, f"it says what '{prompt}' may be") in [(part.text, part.reason) for part in report.left_out]


def test_alternatives_behind_a_finding_are_no_doubt_whether_it_is_there():
    report = parse_report("Nodule in the left lung, suspicious for metastasis vs. carcinoma.")
    assert report.prompts == ["nodule in the left lung"]
    assert [part.text for part in report.left_out] == ["metastasis", "carcinoma"]
    assert parse_report("Opacity in the left lung, atelectasis vs. pneumonia.").findings[0].note == ""


def test_a_reading_is_the_finding_that_it_was_said_of_in_the_impression():
    report = parse_report("FINDINGS: Opacity in the right lower lobe, likely pneumonia. IMPRESSION: RLL pneumonia.")
    assert report.prompts == ["opacity in the right lower lobe"]
    assert report.left_out[-1].reason == "it mentions 'opacity in the right lower lobe' again"


def test_a_reading_may_be_one_of_two():
    report = parse_report("Mass in the left breast, likely fibroadenoma or cyst.")
    assert report.prompts == ["mass in the left breast"]
    assert [part.text for part in report.left_out] == ["fibroadenoma", "cyst"]


@pytest.mark.parametrize(
    "text", ["Glioma vs metastasis.", "Glioma versus metastasis", "Glioma favored over metastasis."]
)
def test_alternatives_are_both_looked_for_in_doubt(text):
    report = parse_report(text)
    assert report.prompts == ["glioma", "metastasis"] and all(finding.note for finding in report.findings)


def test_a_mass_that_is_not_suspicious_is_there_and_what_it_would_be_is_not():
    report = parse_report("Calcifications, not suspicious for malignancy.")
    assert report.prompts == ["calcification"] and report.findings[0].note == ""
    assert [(part.text, part.reason) for part in report.left_out] == [("malignancy", ABSENT)]


AGAIN = [
    "FINDINGS:\nIrregular mass in the left breast.\n\nIMPRESSION:\n1. Suspicious left breast mass, BI-RADS 5.",
    "Nodule in the right upper lobe. Right lung nodule.",
    "Cyst in the left kidney. CONCLUSION: Left renal cyst.",
    "There is a mass in the left breast. The lesion is irregular.",
    "FINDINGS: Nodule in the right upper lobe. IMPRESSION: Right upper lobe mass.",
]


@pytest.mark.parametrize("text", AGAIN)
def test_what_is_said_again_in_other_words_is_one_finding(text):
    report = parse_report(text)
    assert len(report.prompts) == 1
    assert report.left_out[0].reason == f"it mentions '{report.prompts[0]}' again"


@pytest.mark.parametrize(
    "text",
    [
        "A nodule in the right upper lobe. A second nodule in the right upper lobe.",
        "Nodule in the right upper lobe. Nodule in the right lower lobe.",
        "Nodule in the left lower lobe. Stable nodule in the lingula.",
        "A mass in the breast. A lesion of the skin.",
        "Cyst on the left and right effusion.",
    ],
)
def test_what_is_elsewhere_or_looks_otherwise_is_another_finding(text):
    assert len(parse_report(text).prompts) == 2


@pytest.mark.parametrize(
    "text, named, reason",
    [
        ("Brain tumor with edema and 4 mm of midline shift.", "midline shift", UNKNOWN),
        ("Brain tumor without midline shift or mass effect.", "mass effect", ABSENT),
        ("Resected meningioma with edema.", "meningioma", BEFORE),
        ("Mass in the left breast and in the right breast.", "in the right breast", UNKNOWN),
        ("Masses in the left breast (2 cm) and right breast (1 cm).", "right breast", UNKNOWN),
    ],
)
def test_what_is_named_beside_a_finding_is_listed(text, named, reason):
    report = parse_report(text)
    assert report.prompts and (named, reason) in [(part.text, part.reason) for part in report.left_out]


def test_words_that_only_describe_are_not_listed():
    report = parse_report("An oval, well-defined, hypoechoic mass is seen at 3 o'clock, stable and 12 x 8 mm.")
    assert report.left_out == ()


@pytest.mark.parametrize("written", ["brest", "breasst", "breest", "braest", "reast", "rbeast"])
def test_a_letter_too_few_too_many_another_or_two_swapped_is_one_slip(written):
    assert is_one_slip(written, "breast") and suggest(f"{written},", ["brain", "breast"]) == "breast"


@pytest.mark.parametrize("written", ["breast", "beats", "brsaet", "xylophone", "brt"])
def test_more_is_more_than_one_slip(written):
    assert not is_one_slip(written, "breast") and suggest(written, ["brain", "breast"]) is None
