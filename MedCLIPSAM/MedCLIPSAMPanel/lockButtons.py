"""Locks: protect the chosen segment, or its shown slice, from prompts and SAM."""

from __future__ import annotations

from MedCLIPSAMScene import protect
from MedCLIPSAMScene.strings import _

from MedCLIPSAMLib.errors import MedCLIPSAMError

from .enabling import enable

PLANES = {"axial": _("axial"), "coronal": _("coronal"), "sagittal": _("sagittal")}


class LockButtons:
    """Two buttons that show and change the locks of the segment and the slice that the user sees.

    Args:
        corrections: the section that they belong to.
    """

    def __init__(self, panel, corrections) -> None:
        self._panel, self._corrections, ui = panel, corrections, panel.ui
        ui.lockSliceButton.connect("clicked(bool)", lambda *_arguments: self._toggle(self._toggleSlice))
        ui.lockSegmentButton.connect("clicked(bool)", lambda *_arguments: self._toggle(self._toggleSegment))

    def update(self, reason: str) -> None:
        """Show the locks of the scene.

        Args:
            reason: why nothing can be locked; empty if a segment is chosen.
        """
        ui, sliceReason = self._panel.ui, reason
        sliceLocked = segmentLocked = False
        ui.lockSliceButton.text = _("Lock slice")
        if not reason:
            try:
                plane, number = self._panel.inputs.shown()
            except MedCLIPSAMError as error:  # the view shows another volume or none
                sliceReason = str(error)
                plane, number = "", -1
            else:
                ui.lockSliceButton.text = _("Lock {plane} {number}").format(plane=PLANES[plane], number=number)
            parameters = self._panel.parameters
            locked = protect.locked(parameters.segmentation, self._corrections.segment(), plane, parameters.inputVolume)
            segmentLocked = isinstance(locked, protect.Everything)
            sliceLocked = not sliceReason and number in locked
            if locked is protect.ELSEWHERE:
                sliceReason = _(
                    "Slices were locked on a volume with another voxel grid, so the whole segment is locked on this "
                    "volume: choose that volume, or unlock the segment."
                )
            elif segmentLocked and not sliceReason:
                sliceReason = _("The whole segment is locked.")
        ui.lockSliceButton.checked, ui.lockSegmentButton.checked = sliceLocked, segmentLocked
        enable(ui.lockSliceButton, sliceReason)
        enable(ui.lockSegmentButton, reason)

    def _toggle(self, change) -> None:
        self._panel.attempt(change)
        self._panel.update()  # after a refused change, the button must not stay pressed

    def _toggleSlice(self) -> None:
        parameters, segment = self._panel.parameters, self._corrections.requireSegment()
        plane, number = self._panel.inputs.shown()
        locked = protect.locked(parameters.segmentation, segment, plane, parameters.inputVolume)
        if not isinstance(locked, protect.Everything):
            self._set(segment, plane, locked ^ {number})

    def _toggleSegment(self) -> None:
        parameters, segment = self._panel.parameters, self._corrections.requireSegment()
        locked = protect.locked(parameters.segmentation, segment, "", parameters.inputVolume)
        self._set(segment, "", set() if isinstance(locked, protect.Everything) else protect.EVERYTHING)

    def _set(self, segment: str, plane: str, value) -> None:
        """Change locks as a separate undo step, so that undoing an earlier change does not undo them."""
        node, volume = self._panel.parameters.segmentation, self._panel.parameters.inputVolume
        self._panel.session.change(node, lambda: protect.setLocked(node, segment, plane, value, volume))
