"""Settings from NumPy's numbers, as a search over np.arange gives them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.propagation.propagate_masks import MaskPropagationSettings
from MedCLIPSAMLib.segmentation.coarse import CoarseSettings
from MedCLIPSAMLib.segmentation.saliency import M2IBSettings
from MedCLIPSAMLib.segmentation.sam_prompts import SamPromptSettings
from MedCLIPSAMLib.segmentation.settings import Settings, default_settings
from MedCLIPSAMLib.validated import with_changes


def test_numbers_of_numpy_are_pythons():
    betas = np.linspace(0, 1, 2, dtype=np.float32)
    found = [M2IBSettings(layer, beta=beta) for layer in np.arange(2) for beta in betas]
    assert found == [M2IBSettings(layer, beta=beta) for layer in (0, 1) for beta in (0.0, 1.0)]
    settings = Settings(found[0], presence_threshold=np.float64(0.5), capture=np.bool_(False), at_once=np.uint8(2))
    settings = replace(settings, by_word={"tumor": {"steps": np.int64(3)}})
    assert json.dumps(settings.deciding()) == json.dumps(
        Settings(M2IBSettings(0, 0.0), by_word={"tumor": {"steps": 3}}).deciding()
    )
    assert json.loads(json.dumps(asdict(settings)))["capture"] is False and settings.at_once == 2


def test_changes_may_be_numbers_of_numpy():
    changes = {"saliency": {"steps": np.int64(3), "mirror": np.bool_(True)}, "presence_threshold": np.float32(0.25)}
    found, plain = default_settings("demo"), {"saliency": {"steps": 3, "mirror": True}, "presence_threshold": 0.25}
    assert with_changes(found, changes) == with_changes(found, plain)


@pytest.mark.parametrize("value", [np.float64(3), np.arange(3), np.bool_(True), "3"])
def test_what_is_no_whole_number_is_refused_all_the_same(value):
    with pytest.raises(InputError, match="valid integer"):
        M2IBSettings(layer=value)


@pytest.mark.parametrize(
    "kind, wrong",
    [
        *((M2IBSettings, {name: -1}) for name in ("layer", "beta", "earliest")),
        *((M2IBSettings, {name: 0}) for name in ("steps", "samples", "learning_rate")),
        *((SamPromptSettings, {name: -1}) for name in ("positive", "negative", "margin")),
        (SamPromptSettings, {"kind": "lasso"}),
        (SamPromptSettings, {"seed": -1}),
        (M2IBSettings, {"seed": 1 << 70}),
        *((CoarseSettings, wrong) for wrong in ({"method": "magic"}, {"threshold": 1.5})),
        (M2IBSettings, {"layer": np.int64(-1)}),
        (MaskPropagationSettings, {"method": "telepathy"}),
    ],
)
def test_values_out_of_range_are_refused_by_name(kind, wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(InputError, match=f"Setting '{name}': expected .*, got .*{value}"):
        kind(**wrong)
