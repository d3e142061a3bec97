"""From a prompt to segments of the scene, and corrections of them: all that the panel does, without a widget.

    logic = MedCLIPSAMLogic()
    result = logic.segment(volumeNode, ["brain tumor"], plane="axial", slices=[12])
    logic.refine(result.segmentation, result.prompts[0].segmentId, volumeNode, 12, points=[(x, y, z)], labels=[1])
    logic.undo(result.segmentation)

Methods that begin with "start" return at once and call back; the others wait, and Slicer's events run meanwhile. MRML
is written when everything has come back: one change and one step of undo for each result, or nothing at all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import slicer

from MedCLIPSAMLib.errors import InputError, MedCLIPSAMError, PromptError
from MedCLIPSAMLib.worker.client import WorkerClient
from MedCLIPSAMLib.worker.protocol import Message
from MedCLIPSAMLib.worker.request import Request, WorkerError

from . import overlay, protect, segments
from .correctLogic import CorrectLogic
from .history import History, SceneHistory
from .jobs import Job, Listeners, SliceAnswer, SliceJob, answerOf
from .longRun import waited
from .results import PromptResult, SceneResult
from .sliceGeometry import SceneSlices
from .sliceMasks import SliceMasks
from .stackLogic import StackLogic
from .strings import _

SALIENCY_SLICES = 40
"""Saliency maps are kept for runs up to this length; those of a whole volume would take more memory than the volume."""

Finished = Callable[["SceneResult | None", "MedCLIPSAMError | None"], None]
"""Called once at the end of a run: the result, or why there is none."""


class SceneLogic(CorrectLogic, StackLogic):
    """The state of the work on a scene: the worker, the models chosen, the running job, and what can be undone.

    Args:
        transport: a `worker.client.Transport` with `run_until(done, timeout)`.

    Attributes:
        models: (clip, sam, device, folder of models or None) for the next run.
        saliencyThreshold: 0 to 1, for saliency maps that are written.
        onProgress, onNotice: called while a job runs; see `jobs.Job`.
        history: where states for undo are kept; see `history.History`.
    """

    def __init__(self, transport) -> None:
        self.models: tuple[str, str, str, str | None] = ("demo", "demo", "auto", None)
        self.saliencyThreshold = 0.3
        self.onProgress: Callable[[float, str], None] = lambda fraction, text: None
        self.onNotice: Callable[[str], None] = lambda text: None
        self.history: History = SceneHistory()
        self.job: Job | None = None
        self.transport = transport
        self.client = WorkerClient(transport, self._receive)
        self._loaded: tuple | None = None
        self._load: Request | None = None
        self._notices: list[str] = []

    # Segment

    def segment(
        self,
        volumeNode,
        prompts: Sequence[str],
        segmentationNode=None,
        plane: str = "axial",
        slices: Sequence[int] | None = None,
        negative: str | None = None,
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> SceneResult:
        """Segment what each prompt names on slices of a volume, and wait for it. See `startSegment`.

        Raises:
            MedCLIPSAMError: why there is no result; the scene is as it was. TimeoutError.
        """
        return self._wait(
            lambda done: self.startSegment(
                volumeNode, prompts, segmentationNode, plane, slices, negative, settings, finished=done
            ),
            timeout,
        )

    def segmentVolume(self, volumeNode, prompts: Sequence[str], segmentationNode=None, **more) -> SceneResult:
        """Segment every slice of a volume along `plane`; see `segment`."""
        slices = SceneSlices(volumeNode, more.get("plane", "axial"))
        return self.segment(volumeNode, prompts, segmentationNode, slices=range(len(slices)), **more)

    def startSegment(
        self,
        volumeNode,
        prompts: Sequence[str],
        segmentationNode=None,
        plane: str = "axial",
        slices: Sequence[int] | None = None,
        negative: str | None = None,
        settings: Mapping[str, Any] | None = None,
        saliency: bool = True,
        finished: Finished = lambda result, error: None,
    ) -> Job:
        """Start to segment what each prompt names.

        A prompt gets a segment of its own. One that has a segment in the segmentation from an earlier run changes it on
        these slices only.

        Args:
            volumeNode: scalar or RGB volume.
            segmentationNode: where the segments go; a new one beside the volume when None.
            plane: "axial", "coronal" or "sagittal".
            slices: numbers along the plane, from inferior, posterior or right; the middle one when None.
            negative: what not to take.
            settings: changes to the model's defaults, by the names in `zeroshot.segmenter.Settings`.
            saliency: keep the saliency map of the first prompt as a volume, where the slices follow one another and are
                not more than SALIENCY_SLICES.

        Raises:
            InputError, PromptError: what was given cannot be used. WorkerError: the worker cannot be started.
        """
        geometry = SceneSlices(volumeNode, plane)
        prompts, numbers = self._checked(geometry, prompts, [len(geometry) // 2] if slices is None else slices)
        if segmentationNode is not None:
            segments.requireFit(segmentationNode, volumeNode)
        saliency = saliency and numbers[-1] - numbers[0] == len(numbers) - 1 < SALIENCY_SLICES
        answers: dict[str, dict[int, SliceAnswer]] = {prompt: {} for prompt in prompts}
        masks = {prompt: SliceMasks(geometry, numbers) for prompt in prompts}

        def ask(key: str, number: int) -> Request:
            return self.client.segment(key, prompts, [0], negative, settings, saliency)

        def take(number: int, request: Request) -> None:
            for part in request.parts:
                answer = answerOf(part)
                prompt = part.fields["prompt"]
                if prompt != prompts[0]:
                    answer.saliency = None
                answers[prompt][number] = answer
                masks[prompt].put(number, part.arrays["mask"] > 0)

        def write(job: Job) -> SceneResult:
            tags = dict(job.about["tags"]) | {"MedCLIPSAM.Plane": plane, "MedCLIPSAM.Device": job.about["device"]}
            anything = any(masks.values())
            node = segmentationNode or (segments.newSegmentation(volumeNode) if anything else None)
            found = self._writeAnswers(node, answers, masks, tags)
            if saliency:
                maps = {number: answer.saliency for number, answer in answers[prompts[0]].items()}
                overlay.writeSaliency(geometry, prompts[0], maps, self.saliencyThreshold)
            return SceneResult(node, found, plane, job.about["device"], job.seconds, list(self._notices))

        make = lambda listeners: SliceJob(self.client, geometry, numbers, ask, take, listeners)
        return self._start(geometry, make, write, finished, segmentationNode)

    def _checked(self, geometry, prompts: Sequence[str], slices: Sequence[int]) -> tuple[list[str], list[int]]:
        """Prompts without blanks, and slice numbers in order.

        Raises:
            PromptError: no prompt, or one given twice. InputError: slices that the volume does not have.
        """
        prompts = [each.strip() for each in prompts if each.strip()]
        if not prompts:
            raise PromptError(_("No prompt was given."), _("Say what to segment, such as 'brain tumor'."))
        if len({each.lower() for each in prompts}) < len(prompts):
            raise PromptError(_("The same prompt was given twice."), _("Give each structure once."))
        numbers = sorted(set(slices))
        if not numbers or numbers[0] < 0 or numbers[-1] >= len(geometry):
            raise InputError(
                _("Slices {first} to {last} were asked for.").format(
                    first=numbers[0] if numbers else "-", last=numbers[-1] if numbers else "-"
                ),
                _("'{name}' has {plane} slices 0 to {last}.").format(
                    name=geometry.volumeNode.GetName(), plane=geometry.plane, last=len(geometry) - 1
                ),
            )
        return prompts, numbers

    def undo(self, segmentationNode) -> bool:
        """Take back the last result or correction of a segmentation; False when there is none."""
        return self.history.undo(segmentationNode)

    def cancel(self) -> None:
        """End the running job; the scene stays as it is."""
        if self.job is not None:
            self.job.cancel()

    def sceneClosing(self) -> None:
        """Forget the scene: the running job ends, undo states go. The worker stays warm."""
        self.cancel()
        self.history = SceneHistory()

    def close(self) -> None:
        """End the worker."""
        self.cancel()
        self.client.shutdown()

    # What both share

    def _start(
        self,
        geometry,
        make: Callable[[Listeners], Job],
        write: Callable[[Job], SceneResult],
        finished,
        segmentationNode,
    ) -> Job:
        """Begin a job; when it went well, `write` puts its result into the scene.

        Args:
            make: gives the job, which tells these listeners.
        """
        if self.job is not None:
            raise InputError(_("Another run is not finished."), _("Wait for it, or cancel it."))
        self._notices = []

        def end(job: Job) -> None:
            self.job = None
            error, result = job.error, None
            if error is None:
                try:
                    self._requirePresent(geometry.volumeNode, segmentationNode)
                    result = write(job)
                except MedCLIPSAMError as problem:
                    error = problem
                except Exception as problem:
                    logging.exception("MedCLIPSAM: the result could not be written")
                    error = WorkerError(_("The result could not be written: {problem}").format(problem=problem))
            finished(result, error)

        job = make(Listeners(end, self._progress, self._notice))
        self.job = job
        try:
            self._loadModels()
            job.begin()
        except Exception:
            self.job = None
            raise
        return job

    def _writeAnswers(
        self, node, answers, masks, tags: Mapping[str, str], count: int | None = None
    ) -> list[PromptResult]:
        """Put the answers to prompts into their segments; `count` is the number of slices, where not all have one."""
        found: list[PromptResult] = []

        def write() -> None:
            for prompt, byNumber in answers.items():
                identifier = segments.segmentOfPrompt(node, prompt) if node else None
                shown = [number for number, answer in byNumber.items() if answer.found]
                if identifier is None and shown:
                    identifier = segments.addSegment(node, prompt)
                rank = lambda each: (each.score, len(each.boxes) > 0, each.presence)
                best = max(byNumber, key=lambda number: rank(byNumber[number]))
                answer = byNumber[best]
                if identifier is not None:
                    mine = masks[prompt]
                    mine.drop(protect.locked(node, identifier, mine.slices.plane))
                    segments.writeSlices(node, identifier, mine)
                    protect.recordWritten(node, identifier, mine.slices.plane, mine.checks)
                    own = {segments.PROMPT_TAG: prompt, "MedCLIPSAM.Score": f"{answer.score:.3f}"}
                    own["MedCLIPSAM.Slices"] = f"{min(byNumber)} to {max(byNumber)}"
                    segments.setTags(node, identifier, {**tags, **own})
                message = answer.message
                asked = count or len(byNumber)
                if asked > 1 and shown:
                    message += " " + _("Seen on {shown} of {all} slices, best on slice {best}.").format(
                        shown=len(shown), all=asked, best=best
                    )
                found.append(
                    PromptResult(
                        prompt,
                        identifier if shown else None,
                        answer.score,
                        answer.presence,
                        message,
                        (len(shown), asked),
                        answer.boxes if answer.found else answer.boxes[:0],
                        best,
                    )
                )

        if node is None:
            write()
        else:
            self._change(node, write)
        return found

    def _change(self, segmentationNode, write: Callable[[], None]) -> None:
        """One change of a segmentation: kept for undo before it, told to the scene once."""
        self.history.save(segmentationNode)
        modified = segmentationNode.StartModify()
        try:
            write()
        except Exception:
            self.history.undo(segmentationNode)
            raise
        finally:
            segmentationNode.EndModify(modified)

    def _requirePresent(self, *nodes) -> None:
        for node in nodes:
            if node is not None and (node.GetScene() is None or not slicer.mrmlScene.IsNodePresent(node)):
                raise InputError(_("'{name}' was removed while it was worked on.").format(name=node.GetName()))

    def _loadModels(self) -> None:
        """Load the models that are chosen, where others are loaded or none; what they are comes with the answer."""
        if self.models != self._loaded or not self.client.running:
            self._load = self.client.load(*self.models)
            self._loaded = self.models

    def _receive(self, request: Request | None, message: Message) -> None:
        if request is self._load and message.type == "error":
            self._loaded = None
        if message.type == "ended":
            self._loaded = None
        if self.job is not None:
            self.job.receive(request, message)

    def _progress(self, fraction: float, text: str) -> None:
        self.onProgress(fraction, text)

    def _notice(self, text: str) -> None:
        self._notices.append(text)
        self.onNotice(text)

    def _wait(self, start: Callable[[Finished], Job], timeout: float | None) -> SceneResult:
        return waited(self.transport, start, self.cancel, timeout)
