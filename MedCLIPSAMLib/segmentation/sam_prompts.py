"""Make SAM 2 prompts from the components of a coarse mask: a box, points, or both for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from scipy import ndimage

from ..choices import SamPromptKind
from ..errors import InputError
from ..validated import Choice, Seed, settings_class
from .components import bounds


@settings_class
class SamPromptSettings:
    """Settings of the prompts that SAM 2 is given for a component.

    Args:
        kind: "boxes" (the best in the paper for ultrasound, MRI and CT), "points" (for X-ray), or "both".
        margin: the box is widened by this share of its sides, half of it at either end.
        positive: number of random points in the component (10 in the paper).
        negative: number of random points well outside of all components.
        seed: seed of the random points.
    """

    kind: Choice[SamPromptKind] = SamPromptKind.BOXES
    margin: Annotated[float, Field(ge=0)] = 0.0
    positive: Annotated[int, Field(ge=1)] = 10
    negative: Annotated[int, Field(ge=0)] = 0
    seed: Seed = 12


_UNUSED: Any = None


@dataclass(frozen=True, eq=False)
class SamPrompts:
    """Prompts for B objects, in pixels of the image; pixel (row, column) covers [column, column + 1] x [row, row + 1].

        SamPrompts([[20, 30, 90, 80]])                                # a box
        SamPrompts(points=[[[40, 50], [10, 12]]], labels=[[1, 0]])    # a point inside and one outside
        SamPrompts()                                                  # no object

    Args:
        boxes: (B, 4), x0 y0 x1 y1, outer edges of the outermost pixels; converted to float32. It has no rows if only
            points are used.
        points: (B, P, 2), x y; converted to float32. P is 0 if only boxes are used.
        labels: (B, P), 1 inside, 0 outside; converted to int32.

    Raises:
        InputError: values are not numbers or not finite, shapes do not match, an object has neither a box nor points, a
            box ends before it begins, or a label is not 0 or 1.
    """

    boxes: np.ndarray = _UNUSED
    points: np.ndarray = _UNUSED
    labels: np.ndarray = _UNUSED

    def __post_init__(self) -> None:
        boxes = _numbers(self.boxes, (0, 4))
        count = len(boxes) if boxes.ndim else 0
        points, labels = _numbers(self.points, (count, 0, 2)), _numbers(self.labels, (count, 0))
        count = len(points) if points.ndim else 0
        fits = boxes.shape in ((0, 4), (count, 4)) and points.ndim == 3 and points.shape[2] == 2
        if not fits or labels.shape != points.shape[:2] or (count and not len(boxes) and not points.shape[1]):
            raise InputError(
                "Expected boxes (B, 4), or points (B, P, 2) with labels (B, P), or all three, "
                f"got boxes {boxes.shape}, points {points.shape} and labels {labels.shape}.",
                "Give boxes or points of at least one object.",
            )
        for box in boxes:
            if not np.isfinite(box).all() or (box[:2] >= box[2:]).any():
                raise InputError(f"Expected a box with x0 < x1 and y0 < y1, got {_shown(box)}.", "Give x0, y0, x1, y1.")
        if not np.isfinite(points).all():
            raise InputError("Expected finite points, got NaN or infinity.", "Give x, y in pixels.")
        if strange := sorted({*labels.ravel().tolist()} - {0, 1}):
            raise InputError(f"Expected point labels 1 or 0, got {strange[0]:g}.", "1 is inside, 0 outside.")
        object.__setattr__(self, "boxes", boxes.astype(np.float32))
        object.__setattr__(self, "points", points.astype(np.float32))
        object.__setattr__(self, "labels", labels.astype(np.int32))

    def __len__(self) -> int:
        return len(self.points)

    def require_within(self, shape: tuple[int, int]) -> None:
        """Refuse boxes and points that lie outside of an image (H, W) by a pixel or more.

        Raises:
            InputError: a box or point lies outside; the message names the first one.
        """
        height, width = shape
        for what, ends in (("box", self.boxes), ("point", self.points.reshape(-1, 2))):
            for end in ends:
                x, y = end[::2], end[1::2]
                if min(x.min(), y.min()) <= -1 or x.max() >= width + 1 or y.max() >= height + 1:
                    raise InputError(
                        f"The {what} {_shown(end)} lies outside of the image of {width} x {height} pixels.",
                        "Give pixels of the image: x from the left, y from the top.",
                    )

    def row(self, index: int) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
        """Return (box, points, labels) of one object, with None for what it does not have."""
        box = self.boxes[index] if len(self.boxes) else None
        has_points = self.points.shape[1] > 0
        return box, self.points[index] if has_points else None, self.labels[index] if has_points else None


def make_sam_prompts(components: np.ndarray, settings: SamPromptSettings) -> SamPrompts:
    """Make prompts for all components of an (H, W) int array from `components.components`, which may have none.

    The random points inside a component do not depend on the other components.
    """
    count = int(components.max(initial=0))
    extents = [bounds(components == index) for index in range(1, count + 1)]
    edges = [(columns.start, rows.start, columns.stop, rows.stop) for rows, columns in extents]
    boxes = widen_boxes(np.array(edges, float).reshape(-1, 4), settings.margin, components.shape)
    if settings.kind == SamPromptKind.BOXES:
        return SamPrompts(boxes)
    outside = ndimage.distance_transform_edt(components == 0) > 0.05 * max(components.shape)
    points, labels = [], []
    for index in range(1, count + 1):
        rng = np.random.default_rng(settings.seed)
        inside = _draw(rng, components == index, settings.positive)
        around = _draw(rng, outside, settings.negative) if outside.any() else inside[:0]
        points.append(np.concatenate([inside, around]))
        labels.append([1] * len(inside) + [0] * len(around))
    shape = (count, len(labels[0]) if labels else 0)
    sam_boxes = boxes if settings.kind == SamPromptKind.BOTH else boxes[:0]
    return SamPrompts(sam_boxes, np.array(points).reshape(*shape, 2), np.array(labels).reshape(shape))


def widen_boxes(boxes: np.ndarray, margin: float, shape: tuple[int, ...]) -> np.ndarray:
    """Widen boxes by a share of their sides, half of it at either end, clipped to an image (H, W): (B, 4) float32."""
    low, high = boxes[:, :2], boxes[:, 2:]
    more = (high - low) * margin / 2
    size = np.array(shape[::-1], np.float32)
    return np.concatenate([np.clip(low - more, 0, size), np.clip(high + more, 0, size)], 1).astype(np.float32)


def follows_points(mask: np.ndarray, points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Tell for each point whether the mask (H, W) agrees with its label, (P,) bool: 1 inside the mask, 0 outside."""
    columns, rows = np.floor(points).astype(int).T
    height, width = mask.shape
    return mask[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)] == (labels == 1)


def _numbers(given: np.ndarray | None, default_shape: tuple[int, ...]) -> np.ndarray:
    """Convert numbers to an array; None becomes zeros of the default shape."""
    try:
        return np.zeros(default_shape) if given is None else np.asarray(given, float)
    except (TypeError, ValueError) as error:
        raise InputError(
            "Expected boxes, points and labels as arrays of numbers.", "Give one row per object."
        ) from error


def _shown(numbers: np.ndarray) -> str:
    return "[" + ", ".join(f"{number:g}" for number in numbers) + "]"


def _draw(rng: np.random.Generator, mask: np.ndarray, count: int) -> np.ndarray:
    """Draw `count` random pixel centers (x, y) inside the mask, with repetition only if it has fewer pixels."""
    pixels = np.argwhere(mask)
    chosen = pixels[rng.choice(len(pixels), count, replace=len(pixels) < count)]
    return chosen[:, ::-1] + 0.5
