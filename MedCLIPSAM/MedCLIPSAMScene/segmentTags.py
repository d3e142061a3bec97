"""The tags of segments: what this project stores with them, and reads again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import slicer.util
import vtk

PROMPT_TAG = "MedCLIPSAM.Prompt"
ITEM_TAG = "MedCLIPSAM.Item"
"""Index value of the item of a sequence that a segment is of, where the segmentation itself is in none."""
MARKED_TAG = "MedCLIPSAM.Marked"
"""The prompt that stood in the panel when a point or a box made a segment."""
POINTS_TAG = "MedCLIPSAM.Points"
"""The points that corrected a segment, as `markups.mark` writes them, separated by blanks."""
NOTES_TAG = "MedCLIPSAM.Notes"
"""Notes on the runs that made a segment, separated by `BETWEEN_NOTES`."""
BETWEEN_NOTES = " // "
TAGS = (
    *("Score", "Slices", "Version", "Model", "Sam", "Date", "Settings"),
    *("Negative", "Plane", "Window", "Device", "Corrected", "Strategy", "Points", "Notes", "Item", "Marked"),
)
"""Tags of a segment besides its prompt, each as MedCLIPSAM.NAME."""


def tags(segment) -> dict[str, str]:
    """Return the tags of this project on a segment."""
    found = {}
    for name in (PROMPT_TAG, *(f"MedCLIPSAM.{part}" for part in TAGS)):
        value = vtk.mutable("")
        if segment.GetTag(name, value):
            found[name] = str(value)
    return found


def tag(segmentationNode, segmentId: str, name: str) -> str:
    """Return the value of a tag of a segment; empty where it has none, or there is no such segment."""
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    value = vtk.mutable("")
    return str(value) if segment is not None and segment.GetTag(name, value) else ""


def pointsOf(segmentationNode, segmentId: str) -> list[str]:
    """Return the marks of the points that corrected a segment; undo brings back those of the state before."""
    return tag(segmentationNode, segmentId, POINTS_TAG).split()


def pointsInScene() -> set[str]:
    """Return the marks of the points that corrected any segment of the scene."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    segments = [(node, segment) for node in nodes for segment in node.GetSegmentation().GetSegmentIDs()]
    return {mark for node, segment in segments for mark in pointsOf(node, segment)}


def setTags(segmentationNode, segmentId: str, values: Mapping[str, str]) -> None:
    """Store provenance with a segment; values become one line without the characters that .seg.nrrd reserves."""
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    for name, value in values.items():
        segment.SetTag(name, tagText(value))


def tagText(value: object) -> str:
    """Return a value as a tag stores it."""
    return " ".join(str(value).replace("|", " ").split())


def notesOf(segmentationNode, segmentId: str) -> list[str]:
    """Return the notes on the runs that made a segment."""
    return [note for note in tag(segmentationNode, segmentId, NOTES_TAG).split(BETWEEN_NOTES) if note]


def setNotes(segmentationNode, segmentId: str, notes: Sequence[str]) -> None:
    """Store notes with a segment in place of the previous ones; undo restores these."""
    if notes:
        setTags(segmentationNode, segmentId, {NOTES_TAG: BETWEEN_NOTES.join(dict.fromkeys(notes))})
    else:
        segmentationNode.GetSegmentation().GetSegment(segmentId).RemoveTag(NOTES_TAG)


def addNotes(segmentationNode, segmentId: str, notes: Sequence[str]) -> None:
    """Store notes on a correction with a segment, besides the earlier ones."""
    setNotes(segmentationNode, segmentId, [*notesOf(segmentationNode, segmentId), *notes])
