"""The tags that this project stores with segments and reads again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import slicer.util
import vtk

PROMPT_TAG = "MedCLIPSAM.Prompt"
ITEM_TAG = "MedCLIPSAM.Item"
"""Index value of the sequence item that a segment belongs to, if the segmentation itself is not in a sequence."""
MARKED_TAG = "MedCLIPSAM.Marked"
"""The prompt in the panel when a segment was made from a point or a box."""
POINTS_TAG = "MedCLIPSAM.Points"
"""The points that corrected a segment, as `markups.mark` writes them, separated by blanks."""
NOTES_TAG = "MedCLIPSAM.Notes"
"""Notes on the runs that made a segment, separated by `BETWEEN_NOTES`."""
BETWEEN_NOTES = " // "
TAGS = (
    *("Score", "Slices", "Version", "Model", "Sam", "Date", "Settings"),
    *("Negative", "Plane", "Window", "Device", "Corrected", "Strategy", "Points", "Notes", "Item", "Marked"),
)
"""Names of the tags of a segment besides its prompt, without the prefix "MedCLIPSAM."."""


def tags(segment) -> dict[str, str]:
    """Return the tags of this project on a segment."""
    found = {}
    for name in (PROMPT_TAG, *(f"MedCLIPSAM.{part}" for part in TAGS)):
        value = vtk.mutable("")
        if segment.GetTag(name, value):
            found[name] = str(value)
    return found


def tag(segmentationNode, segmentId: str, name: str) -> str:
    """Return the value of a tag of a segment; empty if there is no such tag or segment."""
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    value = vtk.mutable("")
    return str(value) if segment is not None and segment.GetTag(name, value) else ""


def pointsOf(segmentationNode, segmentId: str) -> list[str]:
    """Return the marks of the points that corrected a segment; undo restores those of the previous state."""
    return tag(segmentationNode, segmentId, POINTS_TAG).split()


def pointsInScene() -> set[str]:
    """Return the marks of the points that corrected any segment of the scene."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    segments = [(node, segment) for node in nodes for segment in node.GetSegmentation().GetSegmentIDs()]
    return {mark for node, segment in segments for mark in pointsOf(node, segment)}


def setTags(segmentationNode, segmentId: str, values: Mapping[str, str]) -> None:
    """Store tags with a segment, each value as one line without the characters that .seg.nrrd reserves."""
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    for name, value in values.items():
        segment.SetTag(name, tagText(value))


def tagText(value: object) -> str:
    """Return a value as it is stored in a tag."""
    return " ".join(str(value).replace("|", " ").split())


def notesOf(segmentationNode, segmentId: str) -> list[str]:
    """Return the notes on the runs that made a segment."""
    return [note for note in tag(segmentationNode, segmentId, NOTES_TAG).split(BETWEEN_NOTES) if note]


def setNotes(segmentationNode, segmentId: str, notes: Sequence[str]) -> None:
    """Replace the notes stored with a segment; undo restores the previous ones."""
    if notes:
        setTags(segmentationNode, segmentId, {NOTES_TAG: BETWEEN_NOTES.join(dict.fromkeys(notes))})
    else:
        segmentationNode.GetSegmentation().GetSegment(segmentId).RemoveTag(NOTES_TAG)


def addNotes(segmentationNode, segmentId: str, notes: Sequence[str]) -> None:
    """Add notes on a correction to those stored with a segment."""
    setNotes(segmentationNode, segmentId, [*notesOf(segmentationNode, segmentId), *notes])
