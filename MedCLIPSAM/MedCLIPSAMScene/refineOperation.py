"""Correct a segment on single slices: from points, from its painted mask, and from boxes.

operations.refine.run(segmentation, segmentId, volumeNode, 12, points=[(x, y, z)], labels=[1])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.segmentation.mask_prompt import mask_box
from MedCLIPSAMLib.worker.request import Request

from . import markups, protect, segments, segmentTags
from .jobs import Job, SliceJob
from .requestedSlices import checkSlices
from .results import PromptResult, SceneResult
from .sequences import itemOf
from .session import Progressed, Session
from .sliceGeometry import SceneSlices
from .sliceMasks import SliceMasks
from .strings import _
from .waiting import Finished


class RefineOperation:
    """Refine a segment on some slices with SAM, from points, masks or boxes."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def run(
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
        """Refine a segment on one slice from its current mask and from points, and wait for the result.

        Args:
            segmentId: id of the segment, or its name if it is unique.
            number: number of the slice.
            points: (P, 3) in world RAS, mm; points off the slice are moved to its nearest pixel.
            labels: 1 inside or 0 outside for each point; all are inside if None.

        Raises:
            MedCLIPSAMError: why there is no result; the segment is as it was. TimeoutError: the time is up.
        """
        geometry, segmentId = SceneSlices(volumeNode, plane), segments.segmentIdOf(segmentationNode, segmentId)
        (number,) = checkSlices(geometry, [number])
        world = _pointsInWorld(points)
        inside = np.array([1] * len(world) if labels is None else labels, object)
        pixels = np.array([geometry.toImage(point)[1:] for point in world], np.float32).reshape(-1, 2)
        marks = [markups.mark(label, point) for label, point in zip(inside.ravel(), world)]
        return self._session.wait(
            lambda done: self.start(
                segmentationNode, segmentId, geometry, number, pixels, inside, marks, finished=done
            ),
            timeout,
        )

    def start(
        self,
        segmentationNode,
        segmentId: str | None,
        geometry: SceneSlices,
        number: int,
        points: np.ndarray,
        labels: np.ndarray,
        marks: Sequence[str] = (),
        finished: Finished = lambda result, error: None,
        progressed: Progressed = lambda fraction, stage: None,
        name: str = "",
    ) -> Job:
        """Start to refine a segment on one slice; see `run`.

        Args:
            segmentationNode: None makes a new one next to the volume, with a new segment.
            segmentId: None adds a segment, in the same undo step.
            points, labels: (P, 2) x y in pixels of the slice's image, and (P,) 1 inside or 0 outside.
            marks: marks of the points, stored with the segment; see `markups.mark`.
            name: name of the segment if one is added.

        Raises:
            InputError: there is neither a mask nor an inside point to start from, points and labels differ in number, a
                label is not 0 or 1, or there is no such segment.
        """
        if segmentationNode is not None:
            segments.requireFit(segmentationNode, geometry.volumeNode)
        if labels.shape != (len(points),) or not np.isin(labels, (0, 1)).all():
            raise InputError(
                _("Expected a label for each point, 1 inside or 0 outside, got {labels}.").format(
                    labels=labels.tolist()
                ),
                _("Give as many labels as points."),
            )
        mask, labels = np.zeros(geometry.stack.image_shape, bool), labels.astype(np.int32)
        if segmentId is not None:
            segments.requireSegment(segmentationNode, segmentId)
            mask = segments.readSlice(segmentationNode, segmentId, geometry, number)
        inside = points[labels == 1] if len(points) else np.zeros((0, 2), np.float32)
        if not mask.any() and not len(inside):
            raise InputError(
                _("The segment is empty on this slice and no point marks its inside."),
                _("Place a point inside the structure, or paint it first."),
            )

        def ask(key: str, number: int) -> Request:
            # SAM takes a mask only together with another prompt: the box around the mask and the inside points.
            prompts: dict[str, np.ndarray] = {}
            if mask.any():
                prompts["masks"] = mask[None]
                prompts["boxes"] = mask_box(mask, inside)[None]
            if len(points):
                prompts["points"], prompts["labels"] = points[None], labels[None]
            return self._session.client.predict_mask(key, 0, **prompts)

        return self._startPrediction(
            segmentationNode, segmentId, geometry, [number], ask, marks, name, finished=finished, progressed=progressed
        )

    def startFromBoxes(
        self,
        segmentationNode,
        segmentId: str | None,
        geometry: SceneSlices,
        boxes: Mapping[int, np.ndarray],
        finished: Finished = lambda result, error: None,
        progressed: Progressed = lambda fraction, stage: None,
        name: str = "",
    ) -> Job:
        """Start to outline what is in boxes, and replace the segment on their slices.

        Args:
            segmentationNode, segmentId, name: see `start`.
            boxes: slice number -> (B, 4), x0 y0 x1 y1 in pixels.

        Raises:
            InputError: there is no box.
        """
        if not boxes:
            raise InputError(
                _("There is no box on the slice shown."),
                _("Show the slice of a box, or place one with 'Add box'."),
            )

        def ask(key: str, number: int) -> Request:
            return self._session.client.predict_mask(key, 0, boxes=boxes[number])

        return self._startPrediction(
            segmentationNode,
            segmentId,
            geometry,
            sorted(boxes),
            ask,
            (),
            name,
            finished=finished,
            progressed=progressed,
        )

    def _startPrediction(
        self,
        segmentationNode,
        segmentId: str | None,
        geometry: SceneSlices,
        numbers: list[int],
        ask: Callable[[str, int], Request],
        marks: Sequence[str],
        newName: str,
        *,
        finished: Finished,
        progressed: Progressed,
    ) -> Job:
        if segmentId is not None:
            segments.requireItemOf(segmentationNode, segmentId, geometry.item)
            protect.requireUnlocked(segmentationNode, segmentId, geometry.plane, numbers, geometry.volumeNode)
            before = segments.readSlices(segmentationNode, segmentId, geometry, numbers)
        masks: dict[int, np.ndarray] = {}
        qualities: list[float] = []
        ignored: list[int] = []

        def take(number: int, request: Request) -> None:
            result = request.answer()
            masks[number] = result.arrays["mask"] > 0
            qualities.append(float(result.arrays["predicted_iou"].mean()))
            ignored.append(int(result.fields["ignored_points"]))

        def write(job: Job, notes: list[str]) -> SceneResult:
            if segmentId is not None:
                protect.requireUnlocked(segmentationNode, segmentId, geometry.plane, masks, geometry.volumeNode)
                protect.requireUnchanged(segmentationNode, segmentId, geometry, before)
            node = segmentationNode or segments.newSegmentation(geometry.volumeNode)
            written: list[str] = []

            def change() -> None:
                segments.takeGeometry(node, geometry.volumeNode)
                item = geometry.item if itemOf(node) is None else None
                identifier = segmentId or segments.addSegment(node, newName or _("Segment"), item)
                written.append(identifier)
                protect.writeUnlocked(node, identifier, SliceMasks.of(geometry, masks))
                tags = _tags(node, identifier, geometry, masks, marks)
                if segmentId is None and newName:
                    tags[segmentTags.MARKED_TAG] = newName
                segmentTags.setTags(node, identifier, tags)
                segmentTags.addNotes(node, identifier, notes)
                protect.forgetWritten(node, identifier, geometry, masks)

            self._session.change(node, change)
            name = node.GetSegmentation().GetSegment(written[0]).GetName()
            quality, found = float(np.mean(qualities)), sum(bool(mask.any()) for mask in masks.values())
            message = _message(name, quality, found, sum(ignored))
            promptResult = PromptResult(
                name, written[0], quality, 1.0, message, (found, len(masks)), np.zeros((0, 4)), min(masks)
            )
            device = str(job.about["device"])
            return SceneResult(geometry.volumeNode, node, [promptResult], geometry.plane, device, job.seconds, notes)

        client = self._session.client
        return self._session.start(
            geometry,
            lambda listeners: SliceJob(client, geometry, numbers, ask, take, listeners),
            write,
            segmentationNode,
            finished,
            progressed,
        )


def _pointsInWorld(points: Sequence[Sequence[float]] | None) -> np.ndarray:
    """Return points from a script as a (P, 3) array; raise InputError if they are invalid."""
    if points is None or len(points) == 0:
        return np.zeros((0, 3))
    try:
        world = np.array(points, float)
    except (TypeError, ValueError):
        world = np.zeros(0)
    if world.ndim != 2 or world.shape[1] != 3 or not np.isfinite(world).all():
        raise InputError(
            _("Expected points (R, A, S) in mm, got {points!r}.").format(points=points),
            _("Give a list of points, such as [(12.0, -30.0, 41.5)]."),
        )
    return world


def _tags(segmentationNode, segmentId: str, geometry: SceneSlices, masks, marks: Sequence[str]) -> dict[str, str]:
    numbers = ", ".join(str(number) for number in sorted(masks))
    tags = {"MedCLIPSAM.Corrected": f"{geometry.plane} slices {numbers}"}
    if marks:
        tags[segmentTags.POINTS_TAG] = " ".join(
            dict.fromkeys([*segmentTags.pointsOf(segmentationNode, segmentId), *marks])
        )
    return tags


def _message(name: str, quality: float, found: int, ignored: int) -> str:
    if not found:
        return _("SAM sees no object there; '{name}' is empty on the slice. Undo brings it back.").format(name=name)
    message = _("Refined '{name}': predicted mask quality {quality:.2f}.").format(name=name, quality=quality)
    if ignored:
        message += " " + _("SAM did not follow {count} of the points: paint or erase there.").format(count=ignored)
    return message
