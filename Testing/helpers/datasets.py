"""Sets of real images as they are laid out, made up."""

import numpy as np
from PIL import Image


def write_breast_set(folder, rows=("1,train", "2,train", "3,test")):
    """Write three ultrasound images of 100 x 80, a bright square of 20 x 20 at column 60, row 10, of each patient."""
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
