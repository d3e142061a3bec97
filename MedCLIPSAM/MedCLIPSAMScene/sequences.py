"""Items of sequences. A proxy node stays the same node, with other content, when another item is shown."""

from __future__ import annotations

from dataclasses import dataclass, field

import slicer.util

from MedCLIPSAMLib.errors import InputError

from .strings import _


@dataclass(frozen=True)
class Item:
    """The item of a sequence that a node shows.

    Args:
        sequence: name of the sequence.
        value: index value of the item, such as its time.
        number, count: position of the item, from 1, and number of items.
    """

    sequence: str
    value: str
    number: int = field(compare=False)
    count: int = field(compare=False)


def itemOf(node) -> Item | None:
    """Return the item of a sequence that a node shows now; None if it is not in a sequence."""
    for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode") if node is not None else ():
        sequence, number = browser.GetSequenceNode(node), browser.GetSelectedItemNumber()
        if sequence is not None and number >= 0 and browser.GetPlayback(sequence):
            # Items of other sequences of the browser are found by the index value of the master's item.
            value = browser.GetMasterSequenceNode().GetNthIndexValue(number)
            return Item(sequence.GetName(), value, number + 1, sequence.GetNumberOfDataNodes())
    return None


def unsavedNotes(node) -> list[str]:
    """Return a sentence if changes of a node are lost when another item of its sequence is shown; otherwise none."""
    for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode") if node is not None else ():
        sequence = browser.GetSequenceNode(node)
        if sequence is not None and browser.GetPlayback(sequence) and not browser.GetSaveChanges(sequence):
            text = _(
                "'{name}' is an item of the sequence '{sequence}', which does not keep changes: check 'Save changes' "
                "in the Sequences module before you show another item, or the result is lost."
            )
            return [text.format(name=node.GetName(), sequence=sequence.GetName())]
    return []


def requireItem(node, before: Item | None) -> None:
    """Check that a node shows the item of a sequence that it showed before.

    Raises:
        InputError: it shows another item, which the result does not belong to.
    """
    if itemOf(node) != before:
        raise InputError(
            _("'{name}' shows another item of its sequence than at the start.").format(name=node.GetName()),
            _("Nothing was written: show one item until the run has ended, and start again."),
        )
