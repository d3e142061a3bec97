"""The client of the worker, which sends requests and receives events. It needs no torch, threads or event loop.

    transport = SubprocessTransport([sys.executable, "-m", "MedCLIPSAMLib.worker"])
    client = WorkerClient(transport, on_event=print_progress)
    client.load("demo", "demo", "cpu")
    client.set_image("brain", image)
    request = client.segment("brain", ["brain tumor"])
    transport.run_until(lambda: request.done)
    mask = request.value().parts[0].arrays["mask"]

The owner of the transport passes on what it reads by calling `feed`, `feed_log` and `ended`, all from one thread.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..choices import DEFAULT_MODEL, DEFAULT_SAM
from ..errors import InputError
from ..segmentation.prompts import check_prompts
from .connection import Connection, Transport
from .protocol import Message, ProtocolError
from .request import Request

MAX_IMAGES = 4
"""Maximum number of image stacks kept to be sent again to a restarted worker, which keeps as many."""


class WorkerClient(Connection):
    """Sends requests to a worker; a restarted worker is sent the models and images again. See `Connection`."""

    def __init__(
        self, transport: Transport, on_event: Callable[[Request | None, Message], None] = lambda request, message: None
    ) -> None:
        super().__init__(transport, on_event)
        self._load: dict[str, Any] | None = None
        self._load_request: Request | None = None
        self._images: OrderedDict[str, np.ndarray] = OrderedDict()
        self._image_requests: dict[str, Request] = {}

    def models(self, models_dir: Path | str | None = None) -> Request:
        """List the models and devices of the worker's machine.

        The result has the fields models (as `models.store.Status.as_dict`), devices (name, title), torch and built_for.
        """
        self._ensure_running()
        return self._request("models", {"models_dir": models_dir and str(models_dir)})

    def download(self, name: str, kind: str | None = None) -> Request:
        """Download a model to the worker's machine; other requests wait for it. "progress" has file and fraction."""
        self._ensure_running()
        return self._request("download", {"name": name, "kind": kind})

    def load(self, clip: str, sam: str, device: str = "auto", models_dir: Path | str | None = None) -> Request:
        """Load models of the catalogue unless they are loaded already.

        The result has the fields device, device_name, torch, settings (defaults) and seconds.

        Args:
            models_dir: folder of models on the worker's machine.
        """
        self._load = {"clip": clip, "sam": sam, "device": device, "models_dir": models_dir and str(models_dir)}
        self._ensure_running()
        return self._send_load()

    def set_image(self, key: str, images: np.ndarray) -> Request:
        """Send images, uint8 (H, W, 3) or (N, H, W, 3), to the worker under a key.

        They are kept without copying, to be sent again to a restarted worker: do not modify them.

        Raises:
            ProtocolError: the images have a type that cannot be sent. Images kept before are still kept.
        """
        before = self._images.copy()
        self._images[key] = images
        self._images.move_to_end(key)
        while len(self._images) > MAX_IMAGES:
            self._image_requests.pop(self._images.popitem(last=False)[0], None)
        self._ensure_running()
        try:
            return self._send_image(key)
        except ProtocolError:
            self._images = before
            raise

    def has_image(self, key: str) -> bool:
        """Tell whether images under this key are kept, so the caller need not send them again."""
        return key in self._images

    def segment(
        self,
        key: str,
        prompts: Sequence[str],
        slices: Sequence[int] | None = None,
        negative: str | None = None,
        settings: Mapping[str, Any] | None = None,
        saliency: bool = True,
        uncertainty: bool = False,
    ) -> Request:
        """Segment what each prompt names on slices of images that were sent before.

        There is a part for each prompt and slice. Its fields are prompt, slice, found, score, message, presence and
        seconds. Its arrays are mask (H, W) uint8; saliency (H, W) float32, unless declined; uncertainty (H, W) float32,
        if requested and the settings let several masks vote; boxes (B, 4), points (B, P, 2), labels (B, P) and
        predicted_iou (B,). The result has the fields device, tags and seconds.

        Args:
            slices: slice numbers; None for all.
            settings: changes to the defaults of the model, by the names in `segmentation.settings.Settings`.
        """
        fields = {
            "image": key,
            "prompts": list(check_prompts(prompts)),
            "slices": None if slices is None else list(slices),
            "negative": negative,
            "settings": dict(settings or {}),
            "saliency": saliency,
            "uncertainty": uncertainty,
        }
        self._ensure_given(key)
        return self._request("segment", fields)

    def predict_mask(
        self,
        key: str,
        number: int = 0,
        boxes: np.ndarray | None = None,
        points: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        masks: np.ndarray | None = None,
    ) -> Request:
        """Predict the mask of B objects on one slice with SAM 2.

        The result has the arrays mask (H, W) uint8, the union of the objects' masks, and predicted_iou (B,) float32,
        and the field ignored_points, the number of points that the mask contradicts.

        Args:
            boxes: (B, 4), x0 y0 x1 y1 in pixels.
            points: (B, P, 2), x y in pixels.
            labels: (B, P), 1 for points inside and 0 for points outside.
            masks: (B, H, W), a mask to start from for each object, nonzero inside; H and W as in the image.
        """
        named = {"boxes": boxes, "points": points, "labels": labels}
        arrays = {name: np.asarray(array, np.float32) for name, array in named.items() if array is not None}
        if masks is not None:
            arrays["masks"] = (np.asarray(masks) != 0).astype(np.uint8)
        self._ensure_given(key)
        return self._request("predict_mask", {"image": key, "slice": number}, arrays)

    def set_slice(self, key: str, image: np.ndarray, number: int, count: int) -> Request:
        """Send one slice, uint8 (H, W, 3), of a stack of `count` slices; large stacks are sent slice by slice.

        The slice is not kept: after a restart of the worker, all slices must be sent again.
        """
        self._ensure_running()
        return self._request("image", {"key": key, "slice": number, "of": count}, {"images": image})

    def propagate_masks(
        self, key: str, masks: Mapping[int, np.ndarray], reach: int | None = None, method: str = "memory"
    ) -> Request:
        """Propagate the masks of one object from some slices of a stack to the others.

        There is a part for each slice reached, with the field slice and the array mask (H, W) uint8. The result has
        the fields device and seconds.

        Args:
            masks: slice number -> mask, (H, W) bool. Not all may be empty; an empty one says that the object is absent
                from the slice.
            reach: number of slices to go beyond the outermost given ones; None goes as far as the object is seen.
            method: "memory" or "boxes"; see `propagation.propagate_masks`.

        Raises:
            InputError: there is no mask, or the masks differ in size.
        """
        numbers = sorted(masks)
        try:
            arrays = {"masks": np.stack([np.asarray(masks[k]) != 0 for k in numbers]).astype(np.uint8)}
        except ValueError as error:
            raise InputError(f"Masks: {error}.", "Give a mask for each slice, with the size of the image.") from error
        self._ensure_given(key)
        return self._request(
            "propagate_masks", {"image": key, "slices": numbers, "reach": reach, "method": method}, arrays
        )

    def propagate(
        self,
        key: str,
        prompts: Sequence[str],
        negative: str | None = None,
        settings: Mapping[str, Any] | None = None,
        method: str = "memory",
    ) -> Request:
        """Segment what each prompt names in a whole stack: on key slices, whose masks are propagated to the others.

        There is a part for each prompt and segmented slice, whether something was found or not, as in `segment` but
        without saliency, points and predicted IoU. The result has the fields device, tags and seconds.
        """
        fields = {
            "image": key,
            "prompts": list(check_prompts(prompts)),
            "negative": negative,
            "settings": dict(settings or {}),
        }
        self._ensure_given(key)
        return self._request("propagate", {**fields, "method": method})

    def finetune(
        self,
        captions: str,
        name: str,
        images: str | None = None,
        validation: str | None = None,
        settings: Mapping[str, Any] | None = None,
        device: str = "auto",
        models_dir: str | None = None,
        out: str | None = None,
        replace: bool = False,
    ) -> Request:
        """Fine-tune a text-image model; other requests wait for it. All paths are on the worker's machine.

        "progress" has the fields of `finetune.step_log.StepFigures`, except in the stage "encoding"; "notice" is a
        sentence about the data for the user. The result has the fields model and run (folders), before and after
        (retrieval), step and steps.

        Args:
            settings: changes to `finetune.settings.FineTuneSettings`.
            out: folder of the run, resumed if it exists; None for one with the model's name in the user's data.
        """
        self._ensure_running()
        fields: dict[str, Any] = {"captions": captions, "name": name, "images": images, "validation": validation}
        fields |= {"settings": dict(settings or {}), "device": device, "models_dir": models_dir}
        return self._request("finetune", {**fields, "out": out, "replace": replace})

    def export(
        self,
        inputs: str,
        prompts: Mapping[str, str],
        out: str,
        export: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        negative: str | None = None,
        clip: str = DEFAULT_MODEL,
        sam: str = DEFAULT_SAM,
        device: str = "auto",
        models_dir: str | None = None,
        retry: bool = False,
        anonymous: str | None = None,
    ) -> Request:
        """Write pseudo-labels for a collection; other requests wait for it. All paths are on the worker's machine.

        "progress" has the fields done, total, case, status and seconds_left. The result has the fields counts (by
        status), cases and report.

        Args:
            prompts: label -> prompt.
            export: changes to `export.job.ExportSettings`.
            settings: changes to `segmentation.settings.Settings`.
            anonymous: file of the key, if cases are to be named by number; see `export.case_key.CaseKey`.
        """
        self._ensure_running()
        fields: dict[str, Any] = {"inputs": inputs, "prompts": dict(prompts), "out": out, "export": dict(export or {})}
        fields |= {"settings": dict(settings or {}), "negative": negative, "clip": clip, "sam": sam}
        fields |= {"device": device, "models_dir": models_dir, "retry": retry, "anonymous": anonymous}
        return self._request("export", fields)

    def _ensure_running(self) -> bool:
        started = super()._ensure_running()
        if started:
            self._load_request, self._image_requests = None, {}
        return started

    def _ensure_given(self, key: str) -> None:
        """Start a worker if none is running, and send it the models and images that it lacks."""
        self._ensure_running()
        if self._load and not _is_given(self._load_request):
            self._send_load()
        if key in self._images:
            self._images.move_to_end(key)
            if not _is_given(self._image_requests.get(key)):
                self._send_image(key)

    def _send_load(self) -> Request:
        self._load_request = self._request("load", self._load or {})
        return self._load_request

    def _send_image(self, key: str) -> Request:
        fields = {"key": key, "keep": list(self._images)}
        self._image_requests[key] = self._request("image", fields, {"images": self._images[key]})
        return self._image_requests[key]


def _is_given(request: Request | None) -> bool:
    """Tell whether the worker has received what a request sends, or will have before it handles the next request."""
    return request is not None and request.error is None and not request.cancelled
