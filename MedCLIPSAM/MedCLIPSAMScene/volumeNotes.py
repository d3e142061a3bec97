"""Notes for the user on a volume of the scene, collected while its slices are sent to the models."""

from __future__ import annotations

import numpy as np

from .sequences import Item
from .strings import _, counted

SQUARE_DEGREES = 0.1
"""Maximum deviation of voxel axes from right angles without a note, in degrees."""
FEW_VOXELS = 16
"""Minimum number of voxels along a side of a slice; a smaller slice shows too little."""


class VolumeNotes:
    """Notes on a volume and on its slices that were sent to the models.

    Args:
        volumeNode: scalar or RGB volume.
        axes: (3, 3), voxel axes in world coordinates as columns of length 1.
        window: (low, high) that is shown as black and white.
        inverted: whether the models see the image inverted.
        item: item of a sequence that the volume shows, or None.
    """

    def __init__(
        self, volumeNode, axes: np.ndarray, window: tuple[float, float], inverted: bool, item: Item | None
    ) -> None:
        self._volumeNode, self._axes, self._window, self._inverted = volumeNode, axes, window, inverted
        self._item = item
        self._shape: tuple[int, ...] = ()
        self._count = self._notFinite = self._constant = self._blank = 0

    def look(self, voxels: np.ndarray, image: np.ndarray) -> None:
        """Add a slice that is sent to the models.

        Args:
            voxels: (rows, columns), or (rows, columns, 3) for RGB.
            image: (H, W, 3) uint8, as the models see it.
        """
        self._count += 1
        self._shape = voxels.shape
        if voxels.dtype.kind == "f":
            self._notFinite += int(voxels.size - np.isfinite(voxels).sum())
        if (image == image[0, 0]).all():
            same = voxels.min() == voxels.max()
            self._constant, self._blank = self._constant + same, self._blank + (not same)

    def sentences(self) -> list[str]:
        """Return the notes, one or two sentences each."""
        notes = []
        if self._item is not None:
            notes.append(
                _("This is item {number} of {all} of the sequence '{name}': the result is for this item only.").format(
                    number=self._item.number, all=self._item.count, name=self._item.sequence
                )
            )
        cosines = np.abs(self._axes.T @ self._axes - np.eye(3)).max()
        degrees = float(np.degrees(np.arcsin(min(cosines, 1.0))))
        if degrees > SQUARE_DEGREES:
            notes.append(
                _(
                    "The voxel axes are {degrees:.1f} degrees from right angles, as with a tilted gantry or a shearing "
                    "transform: the models saw the slices as they are stored, slightly distorted."
                ).format(degrees=degrees)
            )
        if self._count and min(self._shape[:2]) < FEW_VOXELS:
            notes.append(
                _(
                    "A slice has only {rows} x {columns} voxels, which show little: choose another plane or view."
                ).format(rows=self._shape[0], columns=self._shape[1])
            )
        if self._notFinite:
            notes.append(
                counted(
                    self._notFinite,
                    _("One voxel of these slices is NaN or infinite: the models saw black or white there."),
                    _("{count} voxels of these slices are NaN or infinite: the models saw black or white there."),
                )
            )
        if self._count and self._constant == self._count:
            notes.append(_("These slices are empty: all of their voxels have the same value."))
        elif self._count and self._constant + self._blank == self._count:
            notes.append(
                _(
                    "The display window ({low:g} to {high:g}) shows nothing but black or white there, and the models "
                    "see what the views show: change brightness and contrast."
                ).format(low=self._window[0], high=self._window[1])
            )
        if self._inverted:
            notes.append(_("The models saw the image inverted, as the views show it, which may change what they find."))
        if how := _windowMapping(self._volumeNode):
            notes.append(
                _("The views map the display window by '{how}', but the models saw it mapped linearly.").format(how=how)
            )
        if self._volumeNode.GetImageData().GetNumberOfScalarComponents() == 4:
            notes.append(_("The transparency (alpha) of the image was ignored."))
        return notes


def _windowMapping(volumeNode) -> str:
    """Return the name of the mapping from intensities to gray in Slicer 5.12 and later; empty if it is linear."""
    display, components = volumeNode.GetDisplayNode(), volumeNode.GetImageData().GetNumberOfScalarComponents()
    if components > 1 or getattr(display, "GetWindowMappingMethod", None) is None:
        return ""
    method = display.GetWindowMappingMethod()
    return str(display.GetWindowMappingMethodAsString(method)) if method else ""
