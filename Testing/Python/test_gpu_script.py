"""tools/gpu.sh, tried on a CPU with a few steps: what comes back from a GPU machine is whole and small."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

from helpers.datasets import write_breast_set

from MedCLIPSAMLib.models.clip import load_clip
from MedCLIPSAMLib.models.sam import load_sam
from MedCLIPSAMLib.starter.pack import write_pack

ROOT = Path(__file__).parents[2]
WITHOUT_SCANS = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("SimpleITK", "pydicom", "nibabel"):
            raise ModuleNotFoundError(f"no {name} here", name=name)
sys.meta_path.insert(0, Absent())
"""


def test_both_models_come_back_from_a_machine_without_simpleitk(tmp_path):
    write_breast_set(tmp_path / "real", ("1,train", "2,train", "3,train", "4,train"))
    (tmp_path / "bundle").mkdir()
    write_pack(tmp_path / "real", tmp_path / "bundle" / "real.pack")
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent" / "sitecustomize.py").write_text(WITHOUT_SCANS, encoding="utf-8")
    out = tmp_path / "out"
    environment = os.environ | {
        "OUT": str(out),
        "BUNDLE": str(tmp_path / "bundle"),
        "PARTS": "train",
        "DEVICE": "cpu",
        "TRIAL": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(tmp_path / "absent"),
    }
    done = subprocess.run(
        ["bash", str(ROOT / "tools" / "gpu.sh")], env=environment, capture_output=True, encoding="utf-8", timeout=550
    )
    assert done.returncode == 0, done.stdout + done.stderr
    files = sorted(path.name for path in out.iterdir())
    assert files == ["clip.safetensors", "layout.tar.gz", "machine.txt", "sam.safetensors", "train.txt"]
    assert all(path.stat().st_size < 16 * 2**20 for path in out.iterdir())
    with tarfile.open(out / "layout.tar.gz") as archive:
        archive.extractall(tmp_path / "models", filter="data")
    (out / "clip.safetensors").rename(tmp_path / "models" / "starter-clip" / "open_clip_model.safetensors")
    (out / "sam.safetensors").rename(tmp_path / "models" / "starter-sam" / "model.safetensors")
    assert load_clip("starter", models_dir=tmp_path / "models").image_size == 224
    assert load_sam("starter", models_dir=tmp_path / "models").image_size == 320
