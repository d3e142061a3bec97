"""Images for SAM 2, embedded at first use and prompted with many objects at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from ..run_context import RunContext
from .device import to_device, to_host
from .interrupt import interruptible
from .sam import Sam2, decode, embed
from .threads import run_on_threads

PIXELS = 4 * 1024**2
"""Maximum number of pixels, at SAM 2's image size, that a GPU embeds together."""
OBJECTS = 16
"""Maximum number of objects that a GPU segments together."""

ChangeMask = Callable[[int, np.ndarray], np.ndarray]
"""Function of an object's number and its mask at SAM 2's size, (h, w) bool, that returns the corrected mask."""


class SamImageBatch:
    """A batch of images of one size, on which SAM 2 predicts masks.

    Attributes:
        at_once: whether several images and objects are processed together, which is faster on a GPU and takes more
            memory.
    """

    def __init__(self, sam: Sam2) -> None:
        self.at_once = sam.device.type != "cpu"
        self._sam = sam
        self._images = torch.empty(0)
        self._by_precision: dict[bool, dict[int, list[torch.Tensor]]] = {}

    def set(self, images: np.ndarray | torch.Tensor) -> None:
        """Replace the images by new ones, uint8 (N, H, W, 3)."""
        self._images, self._by_precision = to_device(self._sam.device, images), {}

    @property
    def _features(self) -> dict[int, list[torch.Tensor]]:
        """The features by image, in SAM 2's current precision."""
        return self._by_precision.setdefault(self._sam.bfloat16, {})

    @property
    def shape(self) -> tuple[int, int]:
        """The size (H, W) of the images."""
        height, width = self._images.shape[1:3]
        return height, width

    def are_embedded(self, numbers: Sequence[int]) -> bool:
        """Tell whether all images with these numbers are embedded."""
        return all(number in self._features for number in numbers)

    def embed(self, numbers: Sequence[int], context: RunContext = RunContext()) -> None:
        """Embed the images that are not embedded yet; cancellation takes effect between two blocks of the encoder."""
        left = [number for number in dict.fromkeys(numbers) if number not in self._features]
        together = max(1, PIXELS // self._sam.image_size**2) if self.at_once else 1
        for start in range(0, len(left), together):
            some = left[start : start + together]
            with torch.no_grad(), interruptible(self._sam.image_encoder.trunk.blocks, context):
                embedding, fine = embed(
                    self._sam, self._sam.preprocess(torch.stack([self._images[number] for number in some]))
                )
            for row, number in enumerate(some):
                self._features[number] = [level[row : row + 1] for level in (*fine, embedding)]

    @torch.no_grad()
    def masks(
        self,
        numbers: Sequence[int],
        boxes: np.ndarray | None,
        points: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        logits: np.ndarray | None = None,
        change_mask: ChangeMask | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predict one mask per object, (B, H, W) bool, and the IoU of each, (B,) float32.

        Args:
            numbers: number of each object's image.
            boxes: (B, 4), x0 y0 x1 y1 in pixels of the images.
            points: (B, P, 2), x y in pixels of the images.
            labels: (B, P), 1 for points inside the object, 0 for points outside.
            logits: (B, h, w) float32 to start from; see `TextSegmenter.predict_mask`.
            change_mask: changes each mask at SAM 2's size, before it is enlarged to the much larger size of the image.
        """
        self.embed(numbers)
        together = OBJECTS if self.at_once else 1
        found = []
        for start in range(0, len(numbers), together):
            some = np.s_[start : start + together]
            given = (None if array is None else array[some] for array in (boxes, points, labels, logits))
            predicted, iou = self._logits(numbers[some], *given)
            if change_mask:
                predicted = _change_logits(change_mask, start, predicted)
            enlarged = F.interpolate(predicted.float(), self.shape, mode="bilinear", align_corners=False) > 0
            found.append(to_host(enlarged[:, 0], iou[:, 0].float()))
        masks, quality = map(np.concatenate, zip(*found))
        return masks, quality

    def features(self, number: int) -> list[torch.Tensor]:
        """Return an image's features, (1, C, h, w) at strides of 4, 8 and 16 pixels, embedding it if necessary."""
        self.embed([number])
        return self._features[number]

    def candidates(
        self,
        numbers: Sequence[int],
        boxes: np.ndarray | None,
        points: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        several: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predict masks of each object at SAM 2's own size, (B, M, h, w) bool, and their IoU, (B, M) float32.

        Args:
            numbers, boxes, points, labels: see `masks`.
            several: whether to predict three masks per object; otherwise one, as in `masks`.
        """
        self.embed(numbers)
        found = []
        for row in range(len(numbers)):
            some = np.s_[row : row + 1]
            given = (None if array is None else array[some] for array in (boxes, points, labels))
            logits, predicted = self._logits(numbers[some], *given, several=several)
            found.append(to_host(logits[0] > 0, predicted[0].float()))
        masks, quality = map(np.stack, zip(*found))
        return masks, quality

    @torch.no_grad()
    def enlarge(self, maps: np.ndarray) -> np.ndarray:
        """Enlarge maps of any size, (B, h, w) float32, bilinearly to the size of the images, (B, H, W)."""
        return F.interpolate(torch.from_numpy(maps)[None], self.shape, mode="bilinear", align_corners=False)[0].numpy()

    @torch.no_grad()
    def _logits(
        self,
        numbers: Sequence[int],
        boxes: np.ndarray | None,
        points: np.ndarray | None,
        labels: np.ndarray | None,
        logits: np.ndarray | None = None,
        *,
        several: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict mask logits (B, M, h, w) and IoU (B, M)."""
        device = self._sam.device
        places, kinds = [], []
        if boxes is not None:  # a box is its two corners, with labels 2 and 3
            places.append(boxes.reshape(-1, 2, 2))
            kinds.append(np.broadcast_to([2, 3], (len(boxes), 2)))
        if points is not None and labels is not None:
            places.append(points)
            kinds.append(labels)
        prompts = (
            to_device(device, self._scaled(np.concatenate(places, 1))),
            to_device(device, np.concatenate(kinds, 1, dtype=np.int32, casting="unsafe")),
        )
        start = None if logits is None else to_device(device, logits[:, None])
        levels = [self._features[number] for number in numbers]
        *fine, coarse = levels[0] if len(levels) == 1 else map(torch.cat, zip(*levels))
        found, quality, _ = decode(self._sam, coarse, fine, prompts, start, several)
        return found, quality

    def _scaled(self, places: np.ndarray) -> np.ndarray:
        """Scale coordinates x, y from pixels of the images to SAM 2's image size, as float32."""
        height, width = self.shape
        return places.astype(np.float32) / np.array([width, height], np.float32) * np.float32(self._sam.image_size)


def _change_logits(change_mask: ChangeMask, first: int, logits: torch.Tensor) -> torch.Tensor:
    """Flip the sign of logits (B, 1, h, w), positive inside, where `change_mask` changes the mask.

    The objects are numbered from `first` on.
    """
    (masks,) = to_host(logits[:, 0] > 0)
    wanted = np.stack(run_on_threads(change_mask, range(first, first + len(masks)), masks))
    if np.array_equal(wanted, masks):
        return logits
    changed, inside = (to_device(logits.device, changed)[:, None] for changed in (wanted != masks, wanted))
    size = logits.abs() + torch.finfo(logits.dtype).tiny
    return torch.where(changed, torch.where(inside, size, -size), logits)
