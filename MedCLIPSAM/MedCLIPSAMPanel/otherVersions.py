"""Parameters in scenes of other versions, on which Slicer's parameter node wrapper would fail."""

from __future__ import annotations

import logging
from typing import Any

from slicer.parameterNodeWrapper import Default, isParameterPack, unannotatedType

from .parameters import MedCLIPSAMParameters

PATHS = (
    *("export.inputs", "export.out", "export.key", "review.folder", "review.dataset"),
    *("fineTune.captions", "fineTune.images"),
)
"""Parameters of earlier versions that may name patients; paths are now stored in the settings of the machine."""


def forgetPaths(parameterNode) -> None:
    """Remove the paths that an earlier version has stored in a scene."""
    for name in PATHS:
        if parameterNode.GetParameter(name):
            parameterNode.UnsetParameter(name)


def takeDefaults(parameterNode, owner: Any = MedCLIPSAMParameters, prefix: str = "") -> None:
    """Write the default of each parameter whose value is absent or invalid in this version.

    Examples are a choice that only a later version has, and a member of a pack that an earlier version lacked.
    References to nodes are not changed, because while a scene is loaded they do not refer to its nodes yet.
    """
    for name, parameter in owner.allParameters.items():
        full, kind, default = prefix + name, unannotatedType(parameter.unalteredType), parameter.default
        default = default.value if isinstance(default, Default) else default  # in a pack it is the value itself
        if isParameterPack(kind):
            takeDefaults(parameterNode, kind, f"{full}.")
        elif default is not None and not _isUsable(parameterNode, full, parameter.serializer):
            parameter.serializer.write(parameterNode, full, default)


def _isUsable(parameterNode, name: str, serializer: Any) -> bool:
    if not serializer.isIn(parameterNode, name):
        return False
    try:
        serializer.validate(serializer.read(parameterNode, name))
    except (ValueError, TypeError) as error:
        logging.warning("MedCLIPSAM: '%s' in the scene is of another version, so its default is used: %s", name, error)
        return False
    return True
