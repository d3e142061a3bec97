"""Propagate masks from slice to slice by SAM 2's memory, treating a stack of slices as a video.

    memory = SliceMemory(sam, len(stack), stack.image, stack.image_shape)
    memory.give("tumour", 12, mask)                       # known masks, on any number of slices
    for k, masks in memory.follow(12, len(stack) - 1):    # upwards, or downwards if the end is below the start
        masks["tumour"]                                   # bool (H, W)

Slices are read and embedded one at a time, and the memory of slices that are too far back is dropped, so memory use
does not grow with the stack (SAM 2, Ravi et al. 2024, section 4).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from sam2.sam2_video_predictor import SAM2VideoPredictor

from ..checkpoints import CheckpointFolder
from ..errors import InputError
from ..models.sam import Sam2

_REMEMBERED = ("maskmem_features", "obj_ptr")


def _without_progress_bar(method: Callable) -> Callable:
    """Copy a method of the predictor with a `tqdm` that draws nothing, as standard error is the worker's log.

    The predictor has no option for this. Its module stays unchanged, as other code may use it.
    """
    original = method.__wrapped__  # type: ignore[attr-defined]  # below torch.inference_mode
    quiet = {**original.__globals__, "tqdm": lambda order, **options: order}
    copy = FunctionType(original.__code__, quiet, original.__name__, original.__defaults__, original.__closure__)
    return torch.inference_mode()(copy)


_propagate_in_video = _without_progress_bar(SAM2VideoPredictor.propagate_in_video)


class _Images:
    """A stack of slices as the video of the predictor: normalized frames (3, S, S) float32, each made on access."""

    def __init__(self, count: int, image: Callable[[int], np.ndarray], sam: Sam2) -> None:
        self._count, self._image, self._sam = count, image, sam

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, k: int) -> torch.Tensor:
        return self._sam.preprocess(self._image(k)[None])[0]


class SliceMemory:
    """SAM 2's memory of some objects in a stack of slices.

    Args:
        sam: a SAM 2 model.
        count: number of slices in the stack.
        image: slice number -> uint8 (H, W, 3).
        shape: (H, W).
    """

    def __init__(self, sam: Sam2, count: int, image: Callable[[int], np.ndarray], shape: tuple[int, int]) -> None:
        self._sam, self._shape = sam, shape
        self._kept = max(sam.num_maskmem, sam.max_obj_ptrs_in_encoder) + 1
        by_object = ("point_inputs_per_obj", "mask_inputs_per_obj", "output_dict_per_obj", "temp_output_dict_per_obj")
        self._state: dict[str, Any] = {
            name: {} for name in (*by_object, "frames_tracked_per_obj", "cached_features", "constants")
        }
        self._state |= {
            "images": _Images(count, image, sam),
            "num_frames": count,
            "offload_video_to_cpu": False,
            "offload_state_to_cpu": False,
            "video_height": shape[0],
            "video_width": shape[1],
            "device": sam.device,
            "storage_device": sam.device,
            "obj_id_to_idx": OrderedDict(),
            "obj_idx_to_id": OrderedDict(),
            "obj_ids": [],
        }

    def give(self, name: str, k: int, mask: np.ndarray) -> None:
        """Give the mask of an object on slice k, bool (H, W). Give all masks before the first call of `follow`.

        Raises:
            InputError: the mask has another shape, or the first mask of an object is empty.
        """
        if mask.shape != self._shape:
            raise InputError(f"Expected a mask of shape {self._shape}, got {mask.shape}.", "Give a mask of the slice.")
        if not mask.any() and name not in self._state["obj_ids"]:
            raise InputError(f"The mask of '{name}' on slice {k} is empty.", "Give a slice that shows it.")
        self._sam.add_new_mask(self._state, k, name, torch.from_numpy(np.ascontiguousarray(mask, bool)))

    def follow(
        self, start: int, end: int, checkpoints: CheckpointFolder | None = None
    ) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Follow the objects from `start` up or down to `end`, yielding (slice, masks by name) for each slice.

        A mask is empty where SAM 2 no longer sees the object (object score below 0). Given masks are yielded unchanged.
        Stop iterating when all objects have ended.

        Args:
            checkpoints: where the masks and the memory of the last slices are stored, and resumed from.
        """
        down = end < start
        self._sam.propagate_in_video_preflight(self._state)
        outputs = self._state["output_dict_per_obj"]
        for of_object in outputs.values():
            of_object["non_cond_frame_outputs"].clear()
        at, step = start, -1 if down else 1
        if checkpoints:
            for at, stored in self._resume(range(start + step, end + step, step), checkpoints):
                yield at, stored
            if at == end:
                return
        for k, names, logits in _propagate_in_video(self._sam, self._state, at, abs(end - at), down):
            for of_object in outputs.values():
                of_object["non_cond_frame_outputs"].pop(k - step * self._kept, None)
            if k == at:
                continue
            masks = (logits[:, 0] > 0).cpu().numpy()
            if checkpoints:
                checkpoints.store(f"{k}-memory", {"tensors": np.frombuffer(save(self._memory_of(k)), np.uint8)})
                checkpoints.store(f"{k}", {"masks": masks})
                checkpoints.discard(f"{k - step * self._kept}-memory")
            yield k, dict(zip(names, masks))

    def _memory_of(self, k: int) -> dict[str, torch.Tensor]:
        """Return the memory of slice k that later slices attend to; none of objects whose mask is given on slice k."""
        return {
            f"{index}.{name}": of_object["non_cond_frame_outputs"][k][name].contiguous()
            for index, of_object in self._state["output_dict_per_obj"].items()
            for name in _REMEMBERED
            if k in of_object["non_cond_frame_outputs"]
        }

    def _resume(self, slices: range, checkpoints: CheckpointFolder) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Resume from the stored slices, up to the last one with all the memories that the next slice needs."""
        masks = []
        for k in slices:
            arrays = checkpoints.load(f"{k}")
            if arrays is None:
                break
            masks.append(arrays["masks"])
        memories: dict[int, dict[str, torch.Tensor]] = {}
        while masks and not memories:
            last = slices[: len(masks)][-self._kept :]
            found = {k: checkpoints.load(f"{k}-memory") for k in last}
            if all(found.values()):
                memories = {k: load(arrays["tensors"].tobytes()) for k, arrays in found.items() if arrays}
            else:
                masks.pop()
        position = self._state["constants"].get("maskmem_pos_enc")
        for k, tensors in memories.items():
            for index, of_object in self._state["output_dict_per_obj"].items():
                if f"{index}.{_REMEMBERED[0]}" in tensors:
                    of_object["non_cond_frame_outputs"][k] = {"maskmem_pos_enc": position} | {
                        name: tensors[f"{index}.{name}"].to(self._state["device"]) for name in _REMEMBERED
                    }
        names = self._state["obj_ids"]
        yield from ((k, dict(zip(names, slice_masks))) for k, slice_masks in zip(slices, masks))
