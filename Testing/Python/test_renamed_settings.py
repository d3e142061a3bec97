"""Settings by the names of earlier versions, in the files of runs, in models and in requests."""

import json
from pathlib import Path

import numpy as np
import pytest

from MedCLIPSAMLib.checkpoints import CheckpointFolder
from MedCLIPSAMLib.errors import ModelError, OutputError
from MedCLIPSAMLib.files.claim import claim
from MedCLIPSAMLib.models.trained import ENTRY, read_entry
from MedCLIPSAMLib.segmentation.settings import default_settings
from MedCLIPSAMLib.validated import with_changes

OLD = {"segmenter": {"least_part": 0.05, "agreement": {"least": 0.1, "least_in_doubt": 0.4}, "components": [1]}}
NEW = {"segmenter": {"min_part": 0.05, "agreement": {"min_iou": 0.1, "min_iou_in_doubt": 0.4}, "components": [1]}}
OTHER = {"segmenter": NEW["segmenter"] | {"min_part": 0.1}}


def test_the_folder_of_an_earlier_export_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text(json.dumps(OLD), encoding="utf-8")
    claim(tmp_path, "export.json", NEW).close()
    claim(tmp_path, "export.json", OLD).close()  # as `strike` gives it, read from that file
    with pytest.raises(OutputError, match="other segmenter"):
        claim(tmp_path, "export.json", OTHER)


def test_the_finished_slices_of_an_earlier_run_are_taken(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "run")
    folder.open(OLD)
    folder.store("3", {"mask": np.ones(2, bool)})
    folder.open(NEW)
    assert folder.count == 1
    folder.open(OTHER)
    assert folder.count == 0


def test_a_model_of_an_earlier_training_has_its_settings(tmp_path: Path) -> None:
    entry = {name: "mine" for name in ("name", "title", "purpose", "licence", "base")}
    entry |= {"image_size": 224, "saliency": {}, "by_word": {}, "answer": OLD["segmenter"]}
    (tmp_path / ENTRY).write_text(json.dumps(entry), encoding="utf-8")
    model = read_entry(tmp_path)
    assert dict(model.answer) == NEW["segmenter"] and model.license == "mine"


def test_a_model_without_a_license_is_refused_by_the_current_name(tmp_path: Path) -> None:
    (tmp_path / ENTRY).write_text(json.dumps({"name": "mine"}), encoding="utf-8")
    with pytest.raises(ModelError, match="license"):
        read_entry(tmp_path)


def test_a_request_may_use_an_earlier_name() -> None:
    assert with_changes(default_settings("demo"), {"least_part": 0.2, "agreement": {"least": 0.3}}).min_part == 0.2
