"""What the options of the method gain, measured on the same phantoms, laid out like the real sets."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from test_benchmark_real import BREAST, rows_of, write_set

from MedCLIPSAMLib.commands.benchmark_options import report
from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.experiments.options import BASE, OPTIONS, ImageSet, choose_options, measure_options, plain
from MedCLIPSAMLib.experiments.phantom_benchmark import to_rgb
from MedCLIPSAMLib.experiments.prompted import TruthImage
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.segmentation.agreement import AgreementSettings
from MedCLIPSAMLib.segmentation.settings import default_settings


def test_options_are_chosen_by_how_their_names_begin():
    assert list(choose_options(["3 prompts x", "mirror"])) == [
        BASE,
        "mirror image",
        *(name for name in OPTIONS if name.startswith("3 prompts x")),
    ]
    assert choose_options([]) == dict(OPTIONS)
    with pytest.raises(InputError, match="got 'magic'"):
        choose_options(["magic"])


def test_the_papers_way_is_the_first_of_its_options_and_each_later_one_adds_something():
    settings = default_settings("starter")
    made = {name: option.settings(settings) for name, option in choose_options(["paper"]).items() if name != BASE}
    first, tuned, *added = made.values()
    assert first == plain(settings) and first.saliency.layer == settings.saliency.layer == 7
    for prompt in ("brain tumor", "lungs", "breast tumor"):
        assert first.saliency_for(prompt).candidates == range(10, 11)
    assert first.prompts.margin == 0 and first.agreement == AgreementSettings() and not first.saliency.mirror
    assert [tuned.saliency_for(prompt).steps for prompt in ("brain tumor", "lungs", "lung nodule")] == [7, 15, 10]
    assert [one.saliency.candidates for one in added] == [range(8, 13)] * 4
    assert [one.prompts.margin for one in added] == [0, 0.2, 0.2, 0.2]
    assert [one.agreement.min_iou for one in added] == [0, 0, 0.15, 0.15]
    assert [one.saliency.mirror for one in added] == [False, False, False, True]


@pytest.mark.parametrize("command", ["real", "options", "without-masks"])
@pytest.mark.parametrize(
    "options, words",
    [
        (["--sets", "livers"], "Expected sets among breast_us_busbra, "),
        (["--split", "train"], "Expected the split validation or test, got 'train'"),
        ([], "Expected usable images in 'breast_us_busbra', but none of 2"),
    ],
)
def test_what_cannot_be_measured_is_refused(tmp_path, run, command, options, words):
    folder = write_set(tmp_path / "of" / "data", BREAST, rows_of("ab", "val") + rows_of("cd", "train"))
    for path in (folder / "images").iterdir():
        path.write_bytes(b"no image")
    ask = ("benchmark", command, folder.parent, "--device", "cpu", "--sets", BREAST, "--split", "validation")
    code, _, error = run(*ask, *options)
    assert code == 2 and words in error


def test_the_command_measures_gains_image_by_image(tmp_path, run, segmenter):
    made = [make_phantom("validation", at, "US", 1) for at in range(2)]
    images = [(phantom.image, 255 * phantom.lesion_mask.astype(np.uint8)) for phantom in made]
    data, out = tmp_path / "data", tmp_path / "figures.json"
    write_set(data, BREAST, rows_of("ab", "val"), images)
    only = "mirror image,3 prompts x 3 masks,two scales,affinity of,GradCAM"
    options = ("--device", "cpu", "--cases", 2, "--sets", BREAST, "--only", only, "--json", out)
    code, output, error = run("benchmark", "options", data, *options)
    assert code == 0, error
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert report(figures) in output
    rows = figures[BREAST]["options"]
    assert figures[BREAST]["cases"] == 2 and list(rows) == list(choose_options(only.split(",")))
    mirrored = segmenter.with_settings(segmenter.settings.with_saliency(mirror=True))
    by_option = {BASE: [], "mirror image": []}
    for path, phantom in zip(sorted((data / BREAST / "images").iterdir()), made):
        segmenter.set_image(np.array(Image.open(path).convert("RGB")))
        for name, one in ((BASE, segmenter), ("mirror image", mirrored)):
            by_option[name].append(dsc(one.segment("breast tumor").mask, phantom.lesion_mask))
    for name, scores in by_option.items():
        assert rows[name]["dsc"] == pytest.approx(np.mean(scores), abs=1e-6)
    gains = np.subtract(by_option["mirror image"], by_option[BASE])
    assert rows["mirror image"]["gain"] == pytest.approx(gains.mean(), abs=1e-6)
    low, high = rows["mirror image"]["interval"]
    assert low - 1e-9 <= gains.mean() <= high + 1e-9 and rows[BASE]["gain"] == 0
    votes = rows["3 prompts x 3 masks, mean"]
    assert votes["coarse_dsc"] == rows[BASE]["coarse_dsc"] and votes["dsc"] != rows[BASE]["dsc"]
    assert all(row["seconds"] >= figures[BREAST]["map_seconds"] for name, row in rows.items() if "masks" in name)
    assert figures[BREAST]["without_target"]["US phantoms"]["cases"] == 2


def test_what_is_found_with_and_without_the_target_depends_on_the_threshold_of_presence(segmenter):
    there, free = (to_rgb(make_phantom("validation", 0, "US", lesions)) for lesions in (1, 0))
    image = TruthImage("0", there, make_phantom("validation", 0, "US", 1).lesion_mask)
    sets = {"breast": ImageSet("breast tumor", [image], without={"none": [free, there]})}
    names = [f"presence {threshold}" for threshold in (0.3, 0.95)]
    figures = measure_options(segmenter, sets, choose_options(names))["breast"]
    presence = []
    for shown in (there, free):
        segmenter.set_image(shown)
        presence.append(segmenter.saliency("breast tumor").presence.probability)
    assert presence[0] > 0.95 and presence[1] < 0.3
    for name in names:
        assert figures["options"][name]["found"] == 1
        assert figures["without_target"]["none"] == {"cases": 2, "found": dict.fromkeys((BASE, *names), 0.5)}


def test_a_wording_is_measured_as_its_prompt_alone_and_leaves_other_prompts(segmenter):
    phantom = make_phantom("validation", 0, "US", 1)
    image = TruthImage("0", to_rgb(phantom), phantom.lesion_mask)
    options = choose_options(["wording: tumor alone", "wording: of a report"])
    sets = {"breast": ImageSet("breast tumor", [image]), "other": ImageSet("lung nodule", [image])}
    figures = measure_options(segmenter, sets, options)
    segmenter.set_image(image.image)
    for name, prompt in (("tumor alone", "tumor"), ("of a report", "irregular mass in the breast")):
        alone = segmenter.segment(prompt)
        measured = figures["breast"]["options"][f"wording: {name}"]
        assert measured["dsc"] == pytest.approx(dsc(alone.mask, phantom.lesion_mask), abs=1e-6)
        assert measured["coarse_dsc"] == pytest.approx(dsc(alone.coarse, phantom.lesion_mask), abs=1e-6)
        assert figures["other"]["options"][f"wording: {name}"]["coarse_gain"] == 0
        assert measured["interval"] is measured["coarse_interval"] is None, "one image has no interval"
    assert " to " not in report(figures) and "(+0.000)" in report(figures)
