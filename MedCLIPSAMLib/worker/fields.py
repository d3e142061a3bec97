"""What the fields and arrays of a message mean, checked; and a result as fields and arrays."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..zeroshot.sam_prompts import SamPrompts
from ..zeroshot.segmenter import Result
from .protocol import Message


def text_of(message: Message, name: str, default: str | None = None) -> str:
    value = message.fields.get(name)
    value = default if value is None else value
    if not isinstance(value, str):
        raise InputError(f"'{message.type}' came with {name} = {value!r}.", f"Give '{name}' as text.")
    return value


def models_folder(message: Message) -> Path | None:
    return Path(text_of(message, "models_dir")) if message.fields.get("models_dir") else None


def require_slice(number: Any, stack: np.ndarray) -> None:
    if type(number) is not int or not 0 <= number < len(stack):
        raise InputError(f"There is no slice {number!r}.", f"Slices are numbered 0 to {len(stack) - 1}.")


def sam_prompts_of(arrays: dict[str, np.ndarray]) -> SamPrompts:
    """Prompts from boxes (B, 4), points (B, P, 2) and labels (B, P) of a message, of which some may be absent."""
    boxes, points, labels = (arrays.get(name) for name in ("boxes", "points", "labels"))
    count = len(boxes) if boxes is not None and boxes.ndim else len(points) if points is not None and points.ndim else 0
    boxes = np.zeros((0, 4), np.float32) if boxes is None else boxes
    points = np.zeros((count, 0, 2), np.float32) if points is None else points
    labels = np.zeros((count, 0), np.int32) if labels is None else labels
    fits = boxes.shape in ((0, 4), (count, 4)) and points.ndim == 3 and points.shape[::2] == (count, 2)
    if not count or not fits or labels.shape != points.shape[:2] or not (len(boxes) or points.shape[1]):
        raise InputError(
            f"Boxes {boxes.shape}, points {points.shape} and labels {labels.shape} came.",
            "Give boxes (B, 4), or points (B, P, 2) with labels (B, P), or all three, of one object at least.",
        )
    return SamPrompts(boxes.astype(np.float32), points.astype(np.float32), labels.astype(np.int32))


def part_of(result: Result, number: int, with_saliency: bool) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    fields = {
        "prompt": result.prompt,
        "slice": number,
        "found": result.found,
        "score": result.score,
        "message": result.message,
        "presence": asdict(result.where.presence),
        "seconds": result.seconds,
    }
    arrays = {
        "mask": result.mask.astype(np.uint8),
        "boxes": result.sam_prompts.boxes,
        "points": result.sam_prompts.points,
        "labels": result.sam_prompts.labels,
        "predicted_iou": result.predicted_iou,
    }
    return fields, arrays | ({"saliency": result.where.saliency} if with_saliency else {})
