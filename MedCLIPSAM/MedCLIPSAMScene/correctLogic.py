"""Corrections of a segment on single slices: by points, by what was painted, and from boxes.

logic.refine(segmentation, segmentId, volumeNode, 12, points=[(x, y, z)], labels=[1])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.worker.request import Request
from MedCLIPSAMLib.zeroshot.mask_prompt import mask_box

from . import markups, protect, segments
from .jobs import Job, SliceJob
from .results import PromptResult, SceneResult
from .sliceGeometry import SceneSlices
from .sliceMasks import SliceMasks
from .strings import _

if TYPE_CHECKING:
    from .sceneLogic import Finished


class CorrectLogic:
    """The part of `sceneLogic.SceneLogic` that corrects slices."""

    def refine(
        self,
        segmentationNode,
        segmentId: str,
        volumeNode,
        number: int,
        plane: str = "axial",
        points: Sequence[Sequence[float]] | None = None,
        labels: Sequence[int] | None = None,
        timeout: float | None = None,
    ) -> SceneResult:
        """Outline a segment anew on one slice with SAM, from its present mask and from points, and wait for it.

        Args:
            number: the slice.
            points: (P, 3) in world RAS, mm; those off the slice are taken at their nearest pixel of it.
            labels: 1 inside, 0 outside, for each point.

        Raises:
            MedCLIPSAMError: why there is no result; the segment is as it was. TimeoutError.
        """
        geometry = SceneSlices(volumeNode, plane)
        pixels = np.array([geometry.toPicture(point)[1:] for point in points or []], np.float32).reshape(-1, 2)
        return self._wait(
            lambda done: self.startRefine(
                segmentationNode,
                segmentId,
                geometry,
                number,
                pixels,
                np.array(labels or [], np.int32),
                [markups.mark(label, point) for label, point in zip(labels or [], points or [])],
                finished=done,
            ),
            timeout,
        )

    def startRefine(
        self,
        segmentationNode,
        segmentId: str,
        geometry: SceneSlices,
        number: int,
        points: np.ndarray,
        labels: np.ndarray,
        marks: Sequence[str] = (),
        finished: Finished = lambda result, error: None,
    ) -> Job:
        """Start to outline a segment anew on one slice; see `refine`.

        Args:
            points, labels: (P, 2) x y in pixels of the slice's picture, and (P,) 1 inside or 0 outside.
            marks: of the points, kept with the segment; see `markups.mark`.

        Raises:
            InputError: neither a mask nor a point inside to start from.
        """
        segments.requireFit(segmentationNode, geometry.volumeNode)
        mask = segments.readSlice(segmentationNode, segmentId, geometry, number)
        inside = points[labels == 1] if len(points) else np.zeros((0, 2), np.float32)
        if not mask.any() and not len(inside):
            raise InputError(
                _("The segment is empty on this slice and no point marks its inside."),
                _("Place a point inside the structure, or paint it first."),
            )

        def ask(key: str, number: int) -> Request:
            # SAM takes a mask only beside another prompt: the box around it and around the points inside.
            given: dict[str, np.ndarray] = {}
            if mask.any():
                given["masks"] = mask[None]
                given["boxes"] = mask_box(mask, inside)[None]
            if len(points):
                given["points"], given["labels"] = points[None], labels[None]
            return self.client.outline(key, 0, **given)

        return self._startOutline(segmentationNode, segmentId, geometry, [number], ask, finished, marks)

    def startFromBoxes(
        self,
        segmentationNode,
        segmentId: str,
        geometry: SceneSlices,
        boxes: Mapping[int, np.ndarray],
        finished: Finished = lambda result, error: None,
    ) -> Job:
        """Start to outline what is in boxes, which replaces the segment on their slices.

        Args:
            boxes: slice number -> (B, 4), x0 y0 x1 y1 in pixels.

        Raises:
            InputError: no box.
        """
        segments.requireFit(segmentationNode, geometry.volumeNode)
        if not boxes:
            raise InputError(
                _("There is no box inside the volume."), _("Segment first, or place a box with 'Add box'.")
            )

        def ask(key: str, number: int) -> Request:
            return self.client.outline(key, 0, boxes=boxes[number])

        return self._startOutline(segmentationNode, segmentId, geometry, sorted(boxes), ask, finished)

    def addSegment(self, segmentationNode, name: str) -> str:
        """The id of a new, empty segment; undo takes it away."""
        added: list[str] = []
        self._change(segmentationNode, lambda: added.append(segments.addSegment(segmentationNode, name)))
        return added[0]

    def _startOutline(self, segmentationNode, segmentId, geometry, numbers, ask, finished, marks=()) -> Job:
        protect.requireUnlocked(segmentationNode, segmentId, geometry.plane, numbers)
        masks: dict[int, np.ndarray] = {}
        qualities: list[float] = []
        ignored: list[int] = []

        def take(number: int, request: Request) -> None:
            masks[number] = request.result.arrays["mask"] > 0
            qualities.append(float(request.result.arrays["predicted_iou"].mean()))
            ignored.append(int(request.result.fields["ignored_points"]))

        def write(job: Job) -> SceneResult:
            segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
            if segment is None:
                raise InputError(_("The segment was removed meanwhile."), _("Choose another one."))
            protect.requireUnlocked(segmentationNode, segmentId, geometry.plane, masks)
            gathered = SliceMasks.of(geometry, masks)
            self._change(segmentationNode, lambda: segments.writeSlices(segmentationNode, segmentId, gathered))
            corrected = ", ".join(str(number) for number in sorted(masks))
            tags = {"MedCLIPSAM.Corrected": f"{geometry.plane} slices {corrected}"}
            if marks:
                used = dict.fromkeys([*segments.pointsOf(segmentationNode, segmentId), *marks])
                tags[segments.POINTS_TAG] = " ".join(used)
            segments.setTags(segmentationNode, segmentId, tags)
            protect.forgetWritten(segmentationNode, segmentId, geometry.plane, masks)
            quality, found = float(np.mean(qualities)), sum(bool(mask.any()) for mask in masks.values())
            message = (
                _("Outlined '{name}' anew: predicted mask quality {quality:.2f}.")
                if found
                else _("SAM sees no object there; '{name}' is empty on the slice. Undo brings it back.")
            ).format(name=segment.GetName(), quality=quality)
            if found and sum(ignored):
                message += " " + _("SAM did not follow {count} of the points: paint or erase there.").format(
                    count=sum(ignored)
                )
            one = PromptResult(
                segment.GetName(), segmentId, quality, 1.0, message, (found, len(masks)), np.zeros((0, 4)), min(masks)
            )
            device = str(job.about["device"])
            return SceneResult(segmentationNode, [one], geometry.plane, device, job.seconds, list(self._notices))

        make = lambda listeners: SliceJob(self.client, geometry, numbers, ask, take, listeners)
        return self._start(geometry, make, write, finished, segmentationNode)
