"""The public API of MedCLIPSAM under the name of its distribution; see `MedCLIPSAMLib`.

The source lies in a folder of its own, away from MedCLIPSAM/: their names differ in case only.
"""

from typing import TYPE_CHECKING, Any

import MedCLIPSAMLib
from MedCLIPSAMLib import __version__ as __version__

if TYPE_CHECKING:
    from MedCLIPSAMLib import *  # noqa: F403

__all__ = list(MedCLIPSAMLib.__all__)


def __getattr__(name: str) -> Any:
    """Import a public name on first access."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(MedCLIPSAMLib, name)


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted(__all__)
