"""Reading of images, upright slices for the models, and writing of masks on the source voxels.

Each name is imported on first access, so that code that reads no image file does not need SimpleITK.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from MedCLIPSAMLib.volumes.geometry import Geometry
    from MedCLIPSAMLib.volumes.read import read_volume
    from MedCLIPSAMLib.volumes.segment import Segment
    from MedCLIPSAMLib.volumes.segmentation import read_segmentation
    from MedCLIPSAMLib.volumes.slices import SliceStack
    from MedCLIPSAMLib.volumes.volume import Volume
    from MedCLIPSAMLib.volumes.write import write_saliency, write_segmentation

__all__ = [
    "Geometry",
    "Segment",
    "SliceStack",
    "Volume",
    "read_segmentation",
    "read_volume",
    "write_saliency",
    "write_segmentation",
]

_MODULE_OF = {
    "Geometry": "geometry",
    "Segment": "segment",
    "SliceStack": "slices",
    "Volume": "volume",
    "read_segmentation": "segmentation",
    "read_volume": "read",
    "write_saliency": "write",
    "write_segmentation": "write",
}


def __getattr__(name: str) -> Any:
    """Import a name on first access."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value
