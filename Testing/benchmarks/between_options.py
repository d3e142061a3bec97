"""Ways to find the components of a saliency map: their milliseconds, and their boxes beside those of all pixels.

    python Testing/benchmarks/between_options.py [--maps N] [--real ../shared/real]

One thread; the least of many turns, which the ways take one after the other. OpenCV and connected-components-3d are
measured where they are installed. The maps are those of the demo model: of phantoms of the validation split, and with
--real of real images of the validation split too.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from skimage.measure import label

from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.experiments.phantom_benchmark import TASKS, to_rgb
from MedCLIPSAMLib.experiments.speed.between import _on_all_pixels, _values
from MedCLIPSAMLib.segmentation import components as module
from MedCLIPSAMLib.segmentation.coarse import CoarseSettings, coarse_mask, cut_level, two_means_threshold
from MedCLIPSAMLib.segmentation.components import ComponentSettings, components, components_of_map
from MedCLIPSAMLib.segmentation.saliency_map import SaliencyMap
from MedCLIPSAMLib.segmentation.sam_prompts import SamPromptSettings, make_sam_prompts
from MedCLIPSAMLib.segmentation.segmenter import load_segmenter

REAL = {"breast_us_busbra": "breast tumor", "brain_mr_cheng": "brain tumor", "chest_xray_covid": "lungs"}
CUT, KEPT = CoarseSettings(), ComponentSettings()


def best_times(calls: dict[str, object], turns: int = 30) -> dict[str, float]:
    """Milliseconds by name."""
    ms = dict.fromkeys(calls, np.inf)
    for _ in range(turns):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            ms[name] = min(ms[name], 1e3 * (time.perf_counter() - started))
    return ms


def times(pixels: int) -> dict[str, float]:
    saliency = SaliencyMap(_values(), (pixels, pixels))
    level = cut_level(saliency.sample(module.SIDE), CUT)
    mask, sample = saliency.pixels > level, saliency.sample(module.SIDE)
    small, fresh = sample > level, lambda: SaliencyMap(_values(), (pixels, pixels))
    calls = {
        "level: all values sorted": lambda: two_means_threshold(saliency.pixels),
        "level: sample of 128 x 128 sorted": lambda: two_means_threshold(saliency.sample(128)),
        "level: histogram of a sample of 256 x 256": lambda: cut_level(saliency.sample(256), CUT),
        "map: torch's interpolate, scaled": lambda: fresh().pixels,
        "map: two small matrix products": lambda: fresh().at(slice(None), slice(None)),
        "labels of all pixels: scipy": lambda: ndimage.label(mask, np.ones((3, 3))),
        "labels within the bounds: scikit-image": lambda: label(mask[module.bounds(mask)], connectivity=2),
        "labels of the sample within the bounds: scikit-image": lambda: label(
            small[module.bounds(small)], connectivity=2
        ),
        "all of it on all pixels": lambda: _on_all_pixels(_values(), pixels),
        "all of it as it is": lambda: make_sam_prompts(components_of_map(fresh(), CUT, KEPT), SamPromptSettings()),
    }
    try:
        import cc3d

        calls["labels of all pixels: connected-components-3d"] = lambda: cc3d.connected_components(mask, connectivity=8)
    except ImportError:
        pass
    try:
        import cv2

        cv2.setNumThreads(1)
        calls["labels of all pixels: OpenCV"] = lambda: cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
        calls["map: OpenCV's resize"] = lambda: cv2.resize(_values(), (pixels, pixels))
    except ImportError:
        pass
    return dict(sorted(best_times(calls).items()))


def maps(count: int, real: Path | None) -> list[np.ndarray]:
    segmenter, found = load_segmenter(device="cpu"), []

    def look(image: np.ndarray, prompt: str) -> None:
        segmenter.set_image(image)
        found.append(segmenter.saliency(prompt).map.values)

    for task in TASKS.values():
        for index in range(count):
            look(to_rgb(task.phantom("validation", index)), task.prompt)
    for folder, prompt in REAL.items() if real else ():
        with (real / folder / "index.csv").open(encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["split"].startswith("val")]
        for row in rows[:count]:
            look(np.asarray(Image.open(real / folder / "images" / row["image"]).convert("RGB")), prompt)
    return found


def agreement(values: list[np.ndarray], shape: tuple[int, int], side: int) -> str:
    """How components from a sample of `side` compare with those of all pixels."""
    module.SIDE = side
    other, overlap, apart = 0, [], []
    for values_ in values:
        saliency = SaliencyMap(values_, shape)
        plain = components(coarse_mask(saliency.pixels, CUT), saliency.pixels, KEPT)
        found = components_of_map(saliency, CUT, KEPT)
        boxes = [make_sam_prompts(labels, SamPromptSettings()).boxes for labels in (plain, found)]
        overlap.append(dsc(plain > 0, found > 0))
        if len(boxes[0]) != len(boxes[1]):
            other += 1
        elif len(boxes[0]):
            apart += np.abs(boxes[0] - boxes[1]).max(1).tolist()
    far = sum(distance > 1 for distance in apart)
    return (
        f"{shape}, sample of {side}: another number of components {other} of {len(values)}, boxes over a pixel apart "
        f"{far} of {len(apart)} (median {np.median(apart):.0f}), DSC of the coarse masks {np.mean(overlap):.4f} "
        f"(least {min(overlap):.4f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=int, default=40, help="of each task")
    parser.add_argument("--real", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    both = {pixels: times(pixels) for pixels in (512, 1024)}
    for name in both[512]:
        print(f"| {name} | {both[512][name]:.2f} | {both[1024][name]:.2f} |")
    values = maps(given.maps, given.real)
    for shape in ((512, 512), (1024, 1024), (700, 300)):
        for side in (128, 256):
            print(agreement(values, shape, side))


if __name__ == "__main__":
    main()
