"""Made-up image sets: in the layout of the sets of real images, and phantoms with captions."""

import json

import numpy as np
from PIL import Image

from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.volumes.write import write_png

NAMES = {"US": "breast ultrasound", "MR": "brain MRI", "XR": "chest X-ray", "CT": "chest CT"}


def write_caption_set(folder, count):
    """Write phantoms, each of a different patient, and their captions.jsonl; return its path."""
    rows = []
    for number in range(count):
        phantom = make_phantom("train", number)
        write_png(folder / f"{number}.png", np.repeat(phantom.image[..., None], 3, 2))
        seen = "two masses" if len(phantom.lesions) > 1 else "one mass" if phantom.lesions else "no mass"
        caption = f"{NAMES[phantom.modality]} number {number} showing {seen}"
        rows.append(json.dumps({"image": f"{number}.png", "caption": caption, "patient": f"p{number}"}))
    (folder / "captions.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "captions.jsonl"


def write_breast_set(folder, rows=("1,train", "2,train", "3,test")):
    """Write ultrasound images of 100 x 80 with a bright square of 20 x 20 at column 60, row 10.

    Args:
        rows: patient and split of each image.
    """
    made = folder / "breast_us_busbra"
    for name in ("images", "masks"):
        (made / name).mkdir(parents=True)
    lines = ["image,patient,split,pathology"]
    for number, row in enumerate(rows):
        pixels = np.full((80, 100), 40, np.uint8)
        pixels[10:30, 60:80] = 200
        Image.fromarray(pixels).save(made / "images" / f"a{number}.jpg", quality=95)
        Image.fromarray((pixels > 100).astype(np.uint8) * 255).save(made / "masks" / f"a{number}.png")
        lines.append(f"a{number}.jpg,{row},benign")
    (made / "index.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return made
